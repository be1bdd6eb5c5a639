"""How long a trial's programs may run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from layerpack.cache import Cache
from layerpack.emulator.environment import Invocation
from layerpack.emulator.sandbox import Program, Settings
from layerpack.emulator.trees import Trees
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.isolation import Isolator
from layerpack.trial import Trial
from tests.support.recipes import load

ANSWER = {"failing": {}, "mapped": {}, "python": "3.12.1", "processor": ""}
LATE = {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 5.00 seconds"}


class Fake:
    """An isolator and its environment, which answers at once."""

    isolation = "process"

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.settings = Settings()
        self.seconds = 0.0
        self.system = SimpleNamespace(foreign=lambda files: ())

    def environment(self, program: Program, settings: Settings, log: object) -> Fake:
        """As of an Isolator."""
        self.settings = settings
        return self

    def invoke(self, event: bytes) -> Invocation:
        """As of an Environment."""
        self.seconds = json.loads(event)["seconds"]
        return Invocation(
            request="1",
            payload=json.dumps(self.answer).encode(),
            error_type=self.answer.get("errorType", ""),
            duration_ms=1.0,
            billed_ms=1,
            init_ms=None,
            memory_mb=1,
            read_bytes=0,
        )

    def close(self) -> None:
        """As of an Environment."""


def trial(folder: Path, cache: Cache, fake: Fake) -> Trial:
    """A trial whose programs are the fake's."""
    made = Trial(
        load(folder),
        cache=cache,
        events=Events(),
        scratch=folder,
        isolator=cast("Isolator", fake),
    )
    made.__dict__["_client"] = folder
    return made


def test_modules_are_tried_no_longer_than_the_search_lasts(tmp_path: Path, cache: Cache) -> None:
    fake, trees = Fake(ANSWER), Trees(opt=tmp_path, task=tmp_path)
    tried = trial(tmp_path, cache, fake)
    assert tried.failing(trees, ["alpha"]) == {}
    assert (fake.seconds, fake.settings.timeout) == (60, 300)
    tried.until = time.monotonic() + 5
    assert tried.failing(trees, ["alpha"]) == {}
    assert 1 <= fake.seconds <= 5
    assert 1 <= fake.settings.timeout <= 5
    tried.until = time.monotonic() - 5
    assert tried.failing(trees, ["alpha"]) == {}
    assert (fake.seconds, fake.settings.timeout) == (1, 1)


def test_a_try_that_the_end_of_the_search_cuts_short_is_no_error(
    tmp_path: Path, cache: Cache
) -> None:
    trees = Trees(opt=tmp_path, task=tmp_path)
    tried = trial(tmp_path, cache, Fake(LATE))
    with pytest.raises(VerificationError):
        tried.failing(trees, ["alpha"])
    tried.until = time.monotonic()
    assert tried.failing(trees, ["alpha"]) == {"alpha": "it does not come to an end"}
