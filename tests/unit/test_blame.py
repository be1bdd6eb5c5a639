"""Which pass and which file break something."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from layerpack.blame import Cause, Step, find_cause, named_files
from layerpack.compare import Difference, Differences, only
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


ERROR = only("it fails")


def failing(breaks: Callable[[Payload], bool]) -> Callable[[Payload], Differences]:
    """A problem: the error, where a payload `breaks`."""
    return lambda payload: ERROR if breaks(payload) else Differences()


def changed(payload: Payload, before: Payload, path: str) -> bool:
    """Whether a file is not as it was."""
    entry = payload.get(path)
    return entry is None or entry.sha256 != before[path].sha256


@pytest.mark.parametrize(
    ("path", "name"),
    [(PATHS[0], "second"), (PATHS[3], "second"), (PATHS[5], "third"), (PATHS[6], "fourth")],
)
def test_the_pass_and_the_file_are_found(
    before: Payload, tmp_path: Path, path: str, name: str
) -> None:
    problem = failing(lambda payload: changed(payload, before, path))
    found = find_cause(before, steps(before, tmp_path), problem, ERROR)
    assert found == Cause(pass_name=name, path=path)


def test_a_file_that_the_error_names_is_tried_first(before: Payload, tmp_path: Path) -> None:
    shown = only(f"FileNotFoundError: /opt/{PATHS[5]}: no such file")
    tried: list[str] = []

    def problem(payload: Payload) -> Differences:
        return shown if changed(payload, before, PATHS[5]) else Differences()

    found = find_cause(
        *(before, steps(before, tmp_path), problem, shown),
        tell=lambda what, number: tried.append(f"{number} {what}"),
    )
    assert found == Cause(pass_name="third", path=PATHS[5])
    assert tried == ["1 all passes", f"2 {PATHS[5]}"]


def test_a_named_file_that_is_innocent_is_not_blamed(before: Payload, tmp_path: Path) -> None:
    shown = only(f"ValueError (File /opt/{PATHS[0]}, line 3)")

    def problem(payload: Payload) -> Differences:
        return shown if changed(payload, before, PATHS[5]) else Differences()

    found = find_cause(before, steps(before, tmp_path), problem, shown)
    assert found == Cause(pass_name="third", path=PATHS[5])


def test_the_pass_is_the_one_whose_version_of_a_named_file_breaks_it(
    before: Payload, tmp_path: Path
) -> None:
    second = rewritten(before, tmp_path / "second", PATHS[0])
    third = rewritten(second, tmp_path / "third", PATHS[0], text="third\n")
    after = [Step(name="second", payload=second), Step(name="third", payload=third)]
    shown = only(f"ValueError in {PATHS[0]}")
    for name, innocent in (("second", [before]), ("third", [before, second])):
        digests = {payload[PATHS[0]].sha256 for payload in innocent}
        found = find_cause(
            *(before, after),
            lambda payload, good=digests: (
                Differences()  # type: ignore[misc]
                if payload[PATHS[0]].sha256 in good
                else shown
            ),
            shown,
        )
        assert found == Cause(pass_name=name, path=PATHS[0])


def test_what_two_files_break_together_is_the_later_ones(before: Payload, tmp_path: Path) -> None:
    problem = failing(
        lambda payload: all(changed(payload, before, path) for path in (PATHS[1], PATHS[2]))
    )
    found = find_cause(before, steps(before, tmp_path), problem, ERROR)
    assert found == Cause(pass_name="second", path=PATHS[2])


def test_no_file_is_blamed_where_another_breaks_it_as_well(before: Payload, tmp_path: Path) -> None:
    problem = failing(
        lambda payload: any(changed(payload, before, path) for path in (PATHS[1], PATHS[2]))
    )
    found = find_cause(before, steps(before, tmp_path), problem, ERROR)
    assert found == Cause(pass_name="second")


def test_the_file_is_the_one_behind_the_first_difference(before: Payload, tmp_path: Path) -> None:
    fields = {PATHS[6]: Difference(text="answer.a", path=("a",))}
    fields[PATHS[0]] = Difference(text="answer.b", path=("b",))

    def problem(payload: Payload) -> Differences:
        paths = [path for path in fields if changed(payload, before, path)]
        return Differences(shown=tuple(fields[path] for path in paths))

    shown = Differences(shown=tuple(fields.values()))
    found = find_cause(before, steps(before, tmp_path), problem, shown)
    assert found == Cause(pass_name="fourth", path=PATHS[6], remains=True)


def test_what_a_pass_adds_may_break_it(before: Payload, tmp_path: Path) -> None:
    entries = []
    for name in ("a1", "b2", "c3"):
        (tmp_path / f"{name}.py").write_text("")
        entries.append(FileEntry.of(tmp_path / f"{name}.py", f"python/{name}.py", "alpha"))
    after = [Step(name="adds", payload=before.updated(add=entries))]
    problem = failing(lambda payload: "python/b2.py" in payload)
    found = find_cause(before, after, problem, ERROR)
    assert found == Cause(pass_name="adds", path="python/b2.py")


def test_bytecode_of_a_file_is_put_back_with_it(before: Payload, tmp_path: Path) -> None:
    second = rewritten(before, tmp_path / "second", PATHS[0])
    (tmp_path / "a.pyc").write_text("bytecode")
    pyc = FileEntry.of(tmp_path / "a.pyc", "python/__pycache__/a.cpython-312.pyc", "alpha")
    third = second.updated(add=[pyc])
    after = [Step(name="rewrites", payload=second), Step(name="compiles", payload=third)]
    problem = failing(lambda payload: pyc.path in payload or changed(payload, before, PATHS[0]))
    found = find_cause(before, after, problem, ERROR)
    assert found == Cause(pass_name="rewrites", path=PATHS[0])


def test_what_does_not_break_has_no_cause(before: Payload, tmp_path: Path) -> None:
    whole = failing(lambda payload: False)
    assert find_cause(before, steps(before, tmp_path), whole, ERROR) == Cause()
    broken = failing(lambda payload: True)
    assert find_cause(before, [], broken, ERROR) == Cause()


def test_no_pass_is_to_blame_for_what_was_broken_before(before: Payload, tmp_path: Path) -> None:
    broken = failing(lambda payload: True)
    assert find_cause(before, steps(before, tmp_path), broken, ERROR) == Cause()


@pytest.mark.parametrize(("tries", "name"), [(1, ""), (3, ""), (5, "second"), (6, "second")])
def test_a_search_that_takes_too_long_is_given_up(
    before: Payload, tmp_path: Path, tries: int, name: str
) -> None:
    problem = failing(lambda payload: changed(payload, before, PATHS[1]))
    ticks = count()
    # The clock is looked at once at the start, and before and after each try.
    found = find_cause(
        *(before, steps(before, tmp_path), problem, ERROR),
        seconds=2 * tries,
        clock=lambda: float(next(ticks)),
    )
    assert found == Cause(pass_name=name, given_up=True)


def test_a_try_that_ends_too_late_tells_nothing(before: Payload, tmp_path: Path) -> None:
    now = [0.0]

    def problem(payload: Payload) -> Differences:
        now[0] += 100.0
        return ERROR

    found = find_cause(
        *(before, steps(before, tmp_path), problem, ERROR), seconds=50.0, clock=lambda: now[0]
    )
    assert found == Cause(given_up=True) and now[0] == 100.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No module named 'alpha.tests'", ["python/alpha/tests/__init__.py"]),
        ("ImportError: /opt/python/alpha/_code.so: undefined symbol", ["python/alpha/_code.so"]),
        ("libbeta.so.1: cannot open shared object file", ["lib/libbeta.so.1"]),
        ("File not found: 'value.txt'", ["python/alpha/value.txt"]),
        ('KeyError (File "/opt/python/alpha/gone.py", line 3)', ["python/alpha/gone.py"]),
        ("answer.alpha is 1.5 from the plain install, 2.5 from the layers", []),
    ],
)
def test_an_error_names_files(tmp_path: Path, text: str, expected: list[str]) -> None:
    paths = [
        *("python/alpha/tests/__init__.py", "python/alpha/_code.so", "lib/libbeta.so.1"),
        *("python/alpha/value.txt", "python/alpha/gone.py", "python/alpha/__init__.py"),
    ]
    before = payload_in(tmp_path, dict.fromkeys(paths, "old"))
    assert named_files(text, before, Payload([])) == expected
