"""How an interpreter is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.emulator import system


def test_the_interpreter_gets_none_of_the_callers_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text('#!/bin/sh\nprintf "/x/$TOKEN$LD_LIBRARY_PATH"\n')
    interpreter.chmod(0o755)
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "lib")
    assert system._ca_file(interpreter) == "/x/lib"
