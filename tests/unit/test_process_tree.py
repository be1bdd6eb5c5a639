"""Ending processes by their numbers: none that another process has by then is signalled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from layerpack import process_tree

# It gets another session when it is told to, and says so.
CHANGING = """\
import os, sys
sys.stdin.readline()
os.setsid()
print("changed", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("changes", [True, False])
def test_a_number_that_is_another_processs_by_then_is_not_signalled(
    monkeypatch: pytest.MonkeyPatch, changes: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHANGING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        stdin, stdout = child.stdin, child.stdout
        opened = os.pidfd_open

        def opening(number: int) -> int:
            # Between the two looks: a number is not used again at will, but a session can change.
            if changes:
                stdin.write("\n")
                stdin.flush()
                assert stdout.readline() == "changed\n"
            return opened(number)

        monkeypatch.setattr(os, "pidfd_open", opening)
        found = iter([{child.pid}])
        process_tree._end(lambda: next(found, set()))
        if changes:
            assert child.poll() is None
        else:
            assert child.wait() < 0
