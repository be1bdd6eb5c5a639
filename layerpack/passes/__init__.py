"""What is left out of the layers or made smaller: one file a pass (see api.py)."""
