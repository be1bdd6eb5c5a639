"""A function for each stack, with its requirements as inline script metadata (PEP 723)."""
