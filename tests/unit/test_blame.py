"""Which pass and which file break something."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.blame import Cause, Step, find_cause
from layerpack.payload import FileEntry, Payload
from tests.support.recipes import payload_in

PATHS = [f"python/{name}.py" for name in "abcdefgh"]


@pytest.fixture
def before(tmp_path: Path) -> Payload:
    """Eight files."""
    return payload_in(tmp_path / "before", dict.fromkeys(PATHS, "old\n"))


def rewritten(payload: Payload, folder: Path, *paths: str, text: str = "new\n") -> Payload:
    """The payload with other content at some paths."""
    folder.mkdir(exist_ok=True)
    (folder / "new.py").write_text(text)
    return payload.updated(add=[payload[path].with_content(folder / "new.py") for path in paths])


def steps(before: Payload, tmp_path: Path) -> list[Step]:
    """Four passes: one changes nothing, two rewrite, one removes."""
    second = rewritten(before, tmp_path / "second", *PATHS[:4])
    third = second.updated(remove=PATHS[4:6])
    fourth = rewritten(third, tmp_path / "fourth", PATHS[6], text="newer\n")
    payloads = {"first": before, "second": second, "third": third, "fourth": fourth}
    return [Step(name=name, payload=payload) for name, payload in payloads.items()]


@pytest.mark.parametrize(
    ("path", "name"),
    [(PATHS[0], "second"), (PATHS[3], "second"), (PATHS[5], "third"), (PATHS[6], "fourth")],
)
def test_the_pass_and_the_file_are_found(
    before: Payload, tmp_path: Path, path: str, name: str
) -> None:
    def breaks(payload: Payload) -> bool:
        entry = payload.get(path)
        return entry is None or entry.sha256 != before[path].sha256

    found = find_cause(before, steps(before, tmp_path), breaks)
    assert found == Cause(pass_name=name, path=path)


def test_what_two_files_break_together_is_the_later_ones(before: Payload, tmp_path: Path) -> None:
    def breaks(payload: Payload) -> bool:
        both = (payload.get(PATHS[1]), payload.get(PATHS[2]))
        return all(entry is not None and entry.size == 4 for entry in both) and (
            both[0] is not None
            and both[1] is not None
            and {both[0].sha256, both[1].sha256}.isdisjoint({before[PATHS[1]].sha256})
        )

    found = find_cause(before, steps(before, tmp_path), breaks)
    assert found == Cause(pass_name="second", path=PATHS[2])


def test_what_a_pass_adds_may_break_it(before: Payload, tmp_path: Path) -> None:
    (tmp_path / "added.py").write_text("")
    entry = FileEntry.of(tmp_path / "added.py", "python/added.py", "alpha")
    after = [Step(name="adds", payload=before.updated(add=[entry]))]
    found = find_cause(before, after, lambda payload: "python/added.py" in payload)
    assert found == Cause(pass_name="adds", path="python/added.py")


def test_what_does_not_break_has_no_cause(before: Payload, tmp_path: Path) -> None:
    assert find_cause(before, steps(before, tmp_path), lambda payload: False) is None
    assert find_cause(before, [], lambda payload: True) is None


def test_no_pass_is_to_blame_for_what_was_broken_before(before: Payload, tmp_path: Path) -> None:
    assert find_cause(before, steps(before, tmp_path), lambda payload: True) is None
