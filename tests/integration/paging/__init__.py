"""Rewritten libraries, loaded for real."""
