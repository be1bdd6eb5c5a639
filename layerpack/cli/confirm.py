"""Asking before what cannot be taken back."""

from __future__ import annotations

import sys

from layerpack.errors import UsageError


def confirm(question: str, silent: str) -> None:
    """Ask on the terminal. Raises UsageError where the answer is no, and where nobody can be asked,
    with `silent` saying so."""
    if not sys.stdin.isatty():
        raise UsageError(silent, "Add --yes if that is what you want.")
    sys.stderr.write(f"{question} [y/N]: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was done")
