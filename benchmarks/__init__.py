"""Benchmarks: figures for people, never for tests."""
