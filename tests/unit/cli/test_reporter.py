"""What is shown on standard error while a command works."""

from __future__ import annotations

import pytest

from layerpack.cli.reporter import Reporter


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"quiet": True, "verbose": False}, ["careful"]),
        ({"quiet": True, "verbose": True}, ["careful"]),
        ({"quiet": False, "verbose": False}, ["careful", "said"]),
        ({"quiet": False, "verbose": True}, ["careful", "said", "noted", "printed", "step"]),
    ],
)
def test_warnings_are_always_shown(
    options: dict[str, bool], shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter(**options) as reporter:
        events = reporter.events
        events.warn("careful")
        events.say("said")
        events.note("noted")
        events.output("printed")
        events.step("step")
    caught = capsys.readouterr()
    assert caught.out == ""
    words = ["careful", "said", "noted", "printed", "step"]
    assert [word for word in words if word in caught.err] == [w for w in words if w in shown]
