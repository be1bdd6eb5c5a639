"""Stages and commands against a package index on this machine."""
