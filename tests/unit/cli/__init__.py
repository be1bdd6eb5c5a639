"""The command line, without running it."""
