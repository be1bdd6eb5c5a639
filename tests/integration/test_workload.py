"""Workloads, run by a real interpreter on a payload that is laid out as on Lambda."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from layerpack.payload import entries_of
from layerpack.recipe import Mxnet, Recipe
from layerpack.workload import Outcome, record, run_workloads, workloads_key
from tests.support.recipes import HERE, minimal, payload_in

MORE = """\
function: {source: code, handler: app.handler}
workloads:
  - {name: first, event: first.json}
  - {name: second, event: second.json}
"""
#: Writes what it sees beside itself, and leaves a line in the trace as the pager does.
HANDLER = """\
import json, os, sys
from pathlib import Path
import alpha

SEEN = Path(os.environ["HOME"], "..", "seen").resolve()


def handler(event, context):
    with SEEN.open("a") as stream:
        json.dump({
            "event": event,
            "alpha": alpha.__file__,
            "outside": [p for p in sys.path if "site-packages" in p],
            "left": context.get_remaining_time_in_millis(),
            "task": os.getcwd(),
            "variables": sorted(os.environ),
        }, stream)
        stream.write("\\n")
    with open(os.environ["LAYERPACK_TRACE"], "a") as stream:
        for line in event.get("trace", []):
            stream.write(line)
    if "fail" in event:
        raise ValueError("no such\\nthing")
    if "exit" in event:
        os._exit(9)
"""


def project(folder: Path, handler: str = HANDLER, **events: str) -> Recipe:
    """A recipe with a function and two events."""
    (folder / "code").mkdir(parents=True)
    (folder / "code/app.py").write_text(handler)
    for name in ("first", "second"):
        (folder / f"{name}.json").write_text(events.get(name, "{}"))
    return Recipe.load(minimal(folder, runtime=HERE, more=MORE))


def run(recipe: Recipe, folder: Path, provided: Path | None = None) -> tuple[Outcome, ...]:
    """Run the workloads of `project` on a payload of one module."""
    scratch = folder / "scratch"
    scratch.mkdir()
    return run_workloads(
        recipe,
        payload_in(folder / "files", {"python/alpha.py": "VALUE = 1\n"}),
        tuple(entries_of(recipe.folder / "code", ".", "function")),
        interpreter=Path(sys.executable),
        scratch=scratch,
        environment={"LAYERPACK_TRACE": str(folder / "trace")},
        provided=provided,
    ).outcomes


def test_the_handler_sees_the_layers_and_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = project(tmp_path / "r", first='{"a": 1}', second='{"b": 2}')
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody's business")
    outcomes = run(recipe, tmp_path)
    assert outcomes == (Outcome(name="first", error=""), Outcome(name="second", error=""))
    seen = [json.loads(line) for line in (tmp_path / "scratch/seen").open()]
    assert [one["event"] for one in seen] == [{"a": 1}, {"b": 2}]
    assert seen[0]["alpha"] == str(tmp_path / "scratch/opt/python/alpha.py")
    assert seen[0]["outside"] == []
    assert 0 < seen[0]["left"] <= 300_000
    assert "AWS_SECRET_ACCESS_KEY" not in seen[0]["variables"]
    assert {"LD_LIBRARY_PATH", "LAMBDA_TASK_ROOT", "TZ"} <= set(seen[0]["variables"])
    assert seen[0]["task"] == str(tmp_path / "scratch/task")


def test_a_handler_that_raises_is_told_and_the_next_event_comes(tmp_path: Path) -> None:
    recipe = project(tmp_path / "r", first='{"fail": 1}')
    assert run(recipe, tmp_path) == (
        Outcome(name="first", error="ValueError: no such thing"),
        Outcome(name="second", error=""),
    )


def test_a_function_that_does_not_import_is_told(tmp_path: Path) -> None:
    recipe = project(tmp_path / "r", handler="import beta\n")
    outcomes = run(recipe, tmp_path)
    assert [one.error for one in outcomes] == [
        "the function fails on import: ModuleNotFoundError: No module named 'beta'"
    ] * 2


def test_what_the_runtime_brings_is_found_after_the_layers(tmp_path: Path) -> None:
    provided = tmp_path / "provided"
    provided.mkdir()
    (provided / "beta.py").write_text("")
    (provided / "alpha.py").write_text("raise ImportError\n")
    handler = "import alpha, beta\ndef handler(event, context): pass\n"
    recipe = project(tmp_path / "r", handler=handler)
    assert [one.error for one in run(recipe, tmp_path, provided)] == ["", ""]


def test_a_function_that_ends_the_process_is_told(tmp_path: Path) -> None:
    recipe = project(tmp_path / "r", first='{"exit": 1}')
    outcomes = run(recipe, tmp_path)
    assert all(one.error.startswith("the process ended with 9") for one in outcomes)


def test_the_trace_becomes_a_recording(tmp_path: Path) -> None:
    one, other, foreign = "a" * 64, "b" * 64, "c" * 64
    lines = f'["{one} 7\\n", "{other} 1\\n", "{one} 3\\n", "{one} 7\\n", "{foreign} 2\\n", "{one}"]'
    recipe = project(tmp_path / "r", first=f'{{"trace": {lines}}}')
    function = tuple(entries_of(recipe.folder / "code", ".", "function"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    recording, outcomes = record(
        recipe,
        payload_in(tmp_path / "files", {"python/alpha.py": ""}),
        function,
        interpreter=Path(sys.executable),
        libraries={one: "python/one.so", other: "python/other.so", "d" * 64: "python/idle.so"},
        scratch=scratch,
    )
    assert not any(outcome.error for outcome in outcomes)
    assert recording.key == workloads_key(recipe, function)
    # A page once, in the order of first use; a line that was cut off does not count.
    assert recording.pages == {one: (7, 3), other: (1,), "d" * 64: ()}


def test_the_key_changes_with_what_runs(tmp_path: Path) -> None:
    keys = set()
    for name, handler, event in (
        ("a", HANDLER, "{}"),
        ("b", HANDLER + "\n", "{}"),
        ("c", HANDLER, '{"x": 1}'),
    ):
        recipe = project(tmp_path / name, handler=handler, second=event)
        function = tuple(entries_of(recipe.folder / "code", ".", "function"))
        keys.add(workloads_key(recipe, function))
    assert len(keys) == 3


def test_it_changes_with_models_and_modules_where_operators_stay_by_it(tmp_path: Path) -> None:
    recipe = project(tmp_path)
    recorded = recipe.model_copy(update={"mxnet": Mxnet(operators=("recorded", "topk"))})
    function = tuple(entries_of(recipe.folder / "code", ".", "function"))
    keys: dict[str, set[str]] = {"all": set(), "recorded": set()}
    for number, files in enumerate(
        (
            {"assets/net/net.params": "a", "python/alpha.py": "a", "python/x.so": "a"},
            {"assets/net/net.params": "b", "python/alpha.py": "a", "python/x.so": "a"},
            {"assets/net/net.params": "a", "python/alpha.py": "b", "python/x.so": "a"},
            # Libraries are told by their pages.
            {"assets/net/net.params": "a", "python/alpha.py": "a", "python/x.so": "b"},
        )
    ):
        payload = payload_in(tmp_path / str(number), dict(files))
        keys["all"].add(workloads_key(recipe, function, payload))
        keys["recorded"].add(workloads_key(recorded, function, payload))
    assert (len(keys["all"]), len(keys["recorded"])) == (1, 3)
