"""Starts of common stacks, packed and plain; `handlers` holds a small function for each."""
