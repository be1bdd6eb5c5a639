"""Builders: from a lock to wheels for the target."""
