"""The pass and the file behind a difference, looked for by running trees with fewer edits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from layerpack.blame import SECONDS, Cause, Step, find_cause
from layerpack.compare import Differences
from layerpack.emulator.trees import Trees
from layerpack.output import Built
from layerpack.payload import Payload
from layerpack.trial import Trial

_LOOK: Final = "Build with --no-verify to look at the layers."


class Culprit:
    """Looks for causes in what was `built`, below the trial's scratch folder."""

    def __init__(self, built: Built, trial: Trial) -> None:
        self._built = built
        self._trial = trial
        self._tries = 0
        self._trees: tuple[Payload, Trees] | None = None

    def hint(self, shown: Differences, problem: Callable[[Trees], Differences]) -> str:
        """What to do about `shown`, which `problem` finds in the layers' tree and not in the plain
        install's."""
        outcome = self._built.outcome
        steps = [
            Step(name=record.name, payload=payload)
            for record, payload in zip(outcome.records, outcome.payloads, strict=True)
        ]
        self._trial.until = time.monotonic() + SECONDS
        cause = find_cause(
            *(self._built.naive, steps, lambda payload: problem(self._laid(payload)), shown),
            tell=lambda what, tries: self._trial.events.step(
                f"looking for the cause, try {tries}: {what}"
            ),
        )
        self._trial.until = None
        return _advice(cause)

    def _laid(self, payload: Payload) -> Trees:
        """One of several trees, of which only the last is needed: what differs is changed."""
        self._tries += 1
        # Another name each time: an engine has its files by the folder's.
        home = self._trial.scratch / f"tried-{self._tries}"
        if self._trees is None:
            trees = self._trial.laid_out(payload, self._built.function, home)
        else:
            former, trees = self._trees
            trees.opt.parent.rename(home)
            trees = Trees(opt=home / "opt", task=home / "task")
            former.change_into(payload, trees.opt)
        self._trees = (payload, trees)
        return trees


def _advice(cause: Cause) -> str:
    given_up = f" The search for the cause was given up after {SECONDS:.0f} seconds."
    keep = "(strip.keep, or native.keep-plain for a library)"
    if cause.path:
        which = "the first of these" if cause.remains else "it"
        return (
            f"The pass '{cause.pass_name}' does {which}, by {cause.path}: keep that file as it is "
            f"{keep}, or switch the pass off."
        )
    if cause.pass_name:
        hint = f"The pass '{cause.pass_name}' does it: switch it off, or keep files {keep}."
    else:
        hint = _LOOK
    return hint + given_up * cause.given_up
