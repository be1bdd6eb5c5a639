"""The runner applies what passes plan, measures it, and refuses what cannot be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from layerpack.errors import BuildToolError, RecipeError
from layerpack.manifest import PagedRecord, PassRecord
from layerpack.passes.api import Add, Edit, Keep, Pass, PassContext, Remark, Remove, Rewrite
from layerpack.passes.docs import Docs
from layerpack.passes.runner import run_passes
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe
from tests.unit.passes.helpers import context_in, payload_of


@dataclass
class _Fixed:
    """A pass that plans what it is told, and remembers the room it was given."""

    edits: list[Edit]
    rooms: list[int] = field(default_factory=list)
    name: ClassVar[str] = "fixed"
    summary: ClassVar[str] = "what it is told"
    after: ClassVar[frozenset[str]] = frozenset()

    def wanted(self, recipe: Recipe) -> bool:
        return True

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        self.rooms.append(context.room)
        return self.edits


@pytest.fixture
def payload(tmp_path: Path) -> Payload:
    files = {"alpha/a.py": "12345", "alpha/b.py": "1234567", "alpha/sub/c.py": "1"}
    return payload_of(tmp_path / "in", {"alpha": files})


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_edits_are_applied_measured_and_told(tmp_path: Path, payload: Payload) -> None:
    short = _written(tmp_path / "short", "123")
    new = FileEntry.of(_written(tmp_path / "new", "1234"), "lib/new.so", "system")
    first = _Fixed(
        [
            Remove(path="python/alpha/a.py", reason="not needed"),
            Rewrite(path="python/alpha/b.py", source=short, reason="shorter"),
            Keep(path="python/alpha/sub/c.py", reason="needed"),
        ]
    )
    second = _Fixed([Add(entry=new, reason="new")])
    outcome = run_passes(payload, [first, second], context_in(tmp_path, room=100))

    assert {entry.path: entry.size for entry in outcome.payload} == {
        "lib/new.so": 4,
        "python/alpha/b.py": 3,
        "python/alpha/sub/c.py": 1,
    }
    assert outcome.payload["python/alpha/b.py"].source == short
    assert outcome.records == (
        PassRecord(name="fixed", files=2, bytes_before=13, bytes_after=4),
        PassRecord(name="fixed", files=1, bytes_before=4, bytes_after=8),
    )
    assert (first.rooms, second.rooms) == ([100], [109])
    assert [
        (remark.action, remark.path, remark.distribution, remark.bytes_before, remark.bytes_after)
        for remark in outcome.remarks
    ] == [
        ("remove", "python/alpha/a.py", "alpha", 5, 0),
        ("rewrite", "python/alpha/b.py", "alpha", 7, 3),
        ("keep", "python/alpha/sub/c.py", "alpha", 1, 1),
        ("add", "lib/new.so", "system", 0, 4),
    ]
    # The passes' input is as it was.
    assert payload.size == 13


@pytest.mark.parametrize(
    ("pattern", "stays"),
    [
        ("alpha/a.py", {"alpha/a.py"}),
        ("alpha/*.py", {"alpha/a.py", "alpha/b.py", "alpha/sub/c.py"}),
        ("alpha/sub", {"alpha/sub/c.py"}),
        ("alpha/sub/", {"alpha/sub/c.py"}),
        ("**/c.py", {"alpha/sub/c.py"}),
        ("**/alpha/a.py", {"alpha/a.py"}),
        ("alpha/su", set()),
        ("a.py", set()),
    ],
)
def test_what_the_recipe_keeps_is_not_touched(
    tmp_path: Path, payload: Payload, pattern: str, stays: set[str]
) -> None:
    edits: list[Edit] = [Remove(path=entry.path, reason="all") for entry in payload]
    context = context_in(tmp_path, f"keep: ['{pattern}']")
    outcome = run_passes(payload, [_Fixed(edits)], context)
    assert {entry.path.removeprefix("python/") for entry in outcome.payload} == stays
    kept = [remark for remark in outcome.remarks if remark.action == "keep"]
    assert {remark.reason for remark in kept} <= {"kept by strip.keep"}
    assert len(kept) == len(stays)


def test_the_figures_of_a_packed_library_go_with_its_remark(
    tmp_path: Path, payload: Payload
) -> None:
    figures = PagedRecord(
        original_bytes=7, mapped_bytes=1, paged_bytes=6, compressed_bytes=2, hot_pages=0
    )
    short = _written(tmp_path / "short", "123")
    edit = Rewrite(path="python/alpha/b.py", source=short, reason="packed", paged=figures)
    (remark,) = run_passes(payload, [_Fixed([edit])], context_in(tmp_path)).remarks
    assert remark.paged == figures
    (remark,) = run_passes(payload, [_Fixed([edit])], context_in(tmp_path, "keep: [alpha]")).remarks
    assert (remark.action, remark.paged) == ("keep", None)


def test_the_context_of_a_pass_may_be_completed_from_the_payload_that_it_gets(
    tmp_path: Path, payload: Payload
) -> None:
    @dataclass
    class Asking(_Fixed):
        def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
            asked.append(dict(context.recordings))
            return []

    asked: list[dict[str, tuple[int, ...]]] = []
    heard: list[tuple[str, int, int]] = []

    def prepare(item: Pass, payload: Payload, context: PassContext) -> PassContext:
        heard.append((item.name, len(payload), context.room))
        return replace(context, recordings={"hash": (len(payload),)})

    first = _Fixed([Remove(path="python/alpha/a.py", reason="not needed")])
    context = context_in(tmp_path, room=100)
    run_passes(payload, [first, Asking([])], context, prepare=prepare)
    assert heard == [("fixed", 3, 100), ("fixed", 2, 105)]
    assert asked == [{"hash": (2,)}]


def test_a_rewrite_of_what_the_recipe_keeps_is_not_made(tmp_path: Path, payload: Payload) -> None:
    edit = Rewrite(path="python/alpha/a.py", source=_written(tmp_path / "x", ""), reason="empty")
    outcome = run_passes(payload, [_Fixed([edit])], context_in(tmp_path, "keep: [alpha]"))
    assert outcome.payload["python/alpha/a.py"].size == 5
    assert outcome.remarks == (
        Remark(
            pass_name="fixed",
            action="keep",
            path="python/alpha/a.py",
            distribution="alpha",
            reason="kept by strip.keep",
            bytes_before=5,
            bytes_after=5,
        ),
    )


def test_plans_that_cannot_be_right_are_the_own_passes_fault(
    tmp_path: Path, payload: Payload
) -> None:
    entry = payload["python/alpha/a.py"]
    plans: list[tuple[list[Edit], str]] = [
        ([Remove(path="python/none", reason="")], "python/none, which does not exist"),
        ([Keep(path="python/none", reason="")], "python/none, which does not exist"),
        ([Add(entry=entry, reason="")], "a.py, which exists"),
        (
            [Remove(path=entry.path, reason=""), Keep(path=entry.path, reason="")],
            "pass 'fixed' plans two edits",
        ),
    ]
    for edits, message in plans:
        with pytest.raises(RecipeError, match=f"the pass 'fixed' failed: ValueError: .*{message}"):
            run_passes(payload, [_Fixed(edits)], context_in(tmp_path))


def test_a_built_in_pass_that_fails_is_a_bug(tmp_path: Path, payload: Payload) -> None:
    gone = payload["python/alpha/a.py"]
    gone.source.unlink()
    # Documentation is held against the code that may name it; this code cannot be read.
    readme = payload_of(tmp_path / "more", {"alpha": {"alpha/README.md": ""}})
    with pytest.raises(FileNotFoundError):
        run_passes(payload.updated(add=readme), [Docs()], context_in(tmp_path))


def test_an_own_pass_that_raises_is_named(tmp_path: Path, payload: Payload) -> None:
    @dataclass
    class Raising(_Fixed):
        def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
            yield Remove(path="python/alpha/a.py", reason="not needed")
            raise KeyError("no such model")

    context = context_in(tmp_path)
    with pytest.raises(RecipeError) as caught:
        run_passes(payload, [Raising([])], context)
    assert caught.value.message == (
        f"{context.recipe.path}: the pass 'fixed' failed: KeyError: 'no such model'"
    )


def test_an_own_pass_may_refuse_in_its_own_words(tmp_path: Path, payload: Payload) -> None:
    @dataclass
    class Refusing(_Fixed):
        def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
            raise BuildToolError("the model is too old")

    with pytest.raises(BuildToolError, match=r"^the model is too old$"):
        run_passes(payload, [Refusing([])], context_in(tmp_path))
