"""Where a recipe's project begins: its paths lead anywhere below, and nowhere else."""

from __future__ import annotations

from pathlib import Path


def project_root(folder: Path) -> Path:
    """The nearest folder from `folder` upward that holds `.git` or `pyproject.toml`, else `folder`;
    absolute, without links."""
    return _nearest(folder, ".git", "pyproject.toml") or folder.resolve()


def repository_root(folder: Path) -> Path | None:
    """The nearest folder from `folder` upward that holds `.git`: a folder, or a worktree's file."""
    return _nearest(folder, ".git")


def _nearest(folder: Path, *markers: str) -> Path | None:
    start = folder.resolve()
    return next(
        (one for one in (start, *start.parents) if any((one / name).exists() for name in markers)),
        None,
    )
