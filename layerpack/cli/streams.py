"""Standard streams that may be closed or full: no traceback, and no other exit code."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any

from layerpack.errors import BuildToolError


class _Output(io.FileIO):
    """Standard output: the first write that fails is an error, and the rest is discarded."""

    _failed = False

    def write(self, data: Any, /) -> int:
        """Raises BuildToolError, and BrokenPipeError where the reader has gone."""
        # typer tries a stream by writing nothing, and takes no notice of errors.
        if len(data) and not self._failed:
            try:
                return super().write(data)
            except BlockingIOError:
                raise
            except OSError as error:
                self._failed = True
                if isinstance(error, BrokenPipeError):
                    raise
                raise BuildToolError(
                    f"standard output cannot be written: {error.strerror}",
                    "Free some space where it is sent to, or send it elsewhere.",
                ) from None
        return len(data)


class _Errors(io.FileIO):
    """Standard error: messages that cannot be written are lost, and nothing else."""

    def write(self, data: Any, /) -> int:
        """Never raises OSError."""
        with suppress(OSError):
            return super().write(data)
        return len(data)


def prepare() -> None:
    """Have three standard streams: a closed one reads nothing, or discards what is written."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else a file that is opened later has its number, and gets what programs print.
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = _stream(sys.stdout, _Output(1, "wb", closefd=False))
    sys.stderr = _stream(sys.stderr, _Errors(2, "wb", closefd=False), lines=True)


def _stream(former: Any, raw: io.FileIO, *, lines: bool = False) -> Any:
    if former is not None and not isinstance(former, io.TextIOWrapper):
        return former
    # As `python -u` has them.
    plain = getattr(former, "write_through", False)
    return io.TextIOWrapper(
        raw if plain else io.BufferedWriter(raw),
        encoding=getattr(former, "encoding", "utf-8"),
        # A terminal that cannot show a bar or a name still gets the report.
        errors="replace",
        newline="\n",
        line_buffering=lines or raw.isatty(),
        write_through=plain,
    )
