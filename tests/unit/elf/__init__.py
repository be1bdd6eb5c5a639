"""Tests of the ELF reader and stripper."""
