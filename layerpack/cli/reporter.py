"""What a command shows on standard error while it works."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from layerpack.events import Events

# A stage shows its bar once it takes this long; shorter ones would only flicker.
_PATIENCE_SECONDS = 0.5
# So much of a tool's line that it stays on one line of a terminal with the step before it.
_OUTPUT_SHOWN = 50


class Reporter:
    """Progress, notes and warnings on standard error.

    Bars only on a terminal; steps and notes as lines with `verbose`; nothing but warnings with
    `quiet`.
    """

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._verbose = verbose and not quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None, visible=False)
        self._step = ""
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_step()
        self._progress.stop()

    @property
    def events(self) -> Events:
        """The callbacks for the pipeline."""
        return Events(
            step=self._begin_step,
            progress=self._advance,
            output=self._output,
            note=self._note,
            say=self.tell,
            warn=self._warn,
        )

    def tell(self, text: str) -> None:
        """A line that is always told, unless quiet."""
        if not self._quiet:
            self._console.print(escape(text))

    def _begin_step(self, text: str) -> None:
        self._end_step()
        self._step = text
        self._progress.reset(self._task, total=None, visible=True, description=escape(text))

    def _end_step(self) -> None:
        if self._step and self._verbose:
            seconds = time.monotonic() - self._started
            self._console.print(f"{escape(self._step)} ({seconds:.1f} s)", style="dim")
        self._step = ""
        self._started = time.monotonic()

    def _advance(self, done: int, total: int) -> None:
        if time.monotonic() - self._started > _PATIENCE_SECONDS:
            # A bar that only moves where the end is not known.
            self._progress.update(self._task, completed=done, total=total or None)

    def _output(self, line: str) -> None:
        """A tool's line: kept with `verbose`, else shown behind the step until the next one."""
        if self._verbose:
            self._console.print(f"  {escape(line)}", style="dim")
        else:
            shown = f"{self._step}: {line.strip()[:_OUTPUT_SHOWN]}"
            self._progress.update(self._task, description=escape(shown))

    def _note(self, text: str) -> None:
        if self._verbose:
            self._console.print(escape(text), style="dim")

    def _warn(self, text: str) -> None:
        self._console.print(f"[yellow]warning:[/yellow] {escape(text)}")
