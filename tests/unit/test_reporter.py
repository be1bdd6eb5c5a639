"""Progress on a terminal, seen through a real one."""

from __future__ import annotations

import os
import pty
import sys
from contextlib import suppress

import pytest

from layerpack.cli.reporter import Reporter


def everything(terminal: int) -> str:
    """What was written to a terminal whose other end is closed; closes this one."""
    data = b""
    # Linux ends it with EIO, other systems with nothing.
    with suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            data += piece
    os.close(terminal)
    return data.decode()


@pytest.mark.parametrize("total", [1000, 0], ids=["known end", "unknown end"])
def test_a_step_shows_a_bar(monkeypatch: pytest.MonkeyPatch, total: int) -> None:
    monkeypatch.setattr("layerpack.cli.reporter._PATIENCE_SECONDS", -1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with Reporter(quiet=False, verbose=False) as reporter:
            reporter.events.step("downloading the asset model")
            reporter.events.progress(500, total)
    shown = everything(ours)
    assert "downloading the asset model" in shown
    assert "\u2501" in shown
