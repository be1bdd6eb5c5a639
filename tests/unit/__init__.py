"""A test module for each module, without network and without a whole build."""
