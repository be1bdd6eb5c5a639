"""What a proof tells of functions that answer oddly, and `layerpack verify` on what is built."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.emulator.trees import Trees
from layerpack.events import Events
from layerpack.isolation import Isolator, Wanted
from layerpack.trial import Trial
from tests.integration.emulator.test_verify import FUNCTION, HANDLER, build, project, record
from tests.support.command import Ended, layerpack
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, load

NO_WORKLOADS = "function: {source: code, handler: app.handler}\n"
#: Fails on its second call where alpha's data is not as it was.
SECOND = """\
import alpha

CALLS = []


def handler(event, context):
    CALLS.append(1)
    return alpha.value() if len(CALLS) == 2 else "first"
"""


def verify(folder: Path, cache: Cache, *options: str) -> Ended:
    """Run `layerpack verify` on the recipe."""
    return layerpack("verify", "recipe.yaml", *options, folder=folder, cache=cache.root)


@pytest.mark.exhaustive
def test_an_answer_that_changes_from_run_to_run_is_nobodys_fault(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = "def handler(event, context):\n    return context.aws_request_id\n"
    project(tmp_path, index, handler=handler)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    told = (
        "workload ask: the answer changes from run to run, also in the plain install: "
        r"answer is '[\w-]{36}' from one run, '[\w-]{36}' from the next\n"
    )
    assert re.search(told, ended.errors), ended.errors
    assert "The pass" not in ended.errors


@pytest.mark.exhaustive
def test_fields_that_differ_by_design_are_ignored(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = (
        "import json\n\n\ndef handler(event, context):\n"
        "    return {'body': json.dumps({'id': context.aws_request_id, 'a': 1})}\n"
    )
    project(tmp_path, index, handler=handler)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "ignore: [body.id]" in ended.errors
    with (tmp_path / "recipe.yaml").open("a") as recipe:
        recipe.write("verify: {ignore: [body.id, rows.*.id]}\n")
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    assert "verify.ignore: 'rows.*.id' names no field" in ended.errors
    assert "body.id" not in ended.errors and "but for body.id" in " ".join(ended.output.split())
    (workload,) = record(tmp_path)["workloads"]
    assert workload["equal"] is True
    # Published functions are compared so too.
    answers = json.loads((tmp_path / "build/small/answers.json").read_text())
    assert answers["ignore"] == ["body.id", "rows.*.id"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("if name == 'alpha/value.txt': yield Remove(path=entry.path, reason='x')", "value.txt"),
        (
            "if name == 'alpha/value.txt': yield Rewrite(path=entry.path, reason='x', "
            "source=payload['python/alpha/other.txt'].source)",
            "answer is 1.5 from the plain install, 2.5 from the layers",
        ),
    ],
)
def test_the_second_answer_counts_too(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, body: str, message: str
) -> None:
    project(tmp_path, index, body, handler=SECOND)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert message in ended.errors
    assert "The pass 'own' does it, by python/alpha/value.txt" in ended.errors


@pytest.mark.exhaustive
def test_what_is_known_of_a_function_is_not_anothers(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = "def handler(event, context):\n    return context.function_name\n"
    project(tmp_path, index, handler=handler)
    assert build(tmp_path, emulator_cache).code == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: small", "name: other"))
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors


def test_without_workloads_the_function_must_import_as_it_did(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    # In the middle of a module that nothing else imports.
    body = "if name == 'alpha/value.txt': yield Remove(path=entry.path, reason='x')"
    handler = HANDLER + "\n\nVALUE = alpha.value()\n"
    project(tmp_path, index, body, handler=handler, more=NO_WORKLOADS)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "the function does not import any more: FileNotFoundError" in ended.errors
    assert "by python/alpha/value.txt" in ended.errors


@pytest.mark.exhaustive
def test_the_variables_of_a_function_are_there_wherever_it_runs(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = "import os\nTABLE = os.environ['TABLE']\ndef handler(event, context): return TABLE\n"
    more = """\
function: {source: code, handler: app.handler, environment: {TABLE: words}}
workloads: [{name: ask, event: ask.json}]
verify: {tolerance: 1e-5, memory: [512, 512]}
"""
    project(tmp_path, index, handler=handler, more=more)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    assert [one["memory_mb"] for one in record(tmp_path)["memory"]] == [512]
    for options, table in (((), '"words"'), (("--env", "TABLE=others"), '"others"')):
        arguments = ("invoke", "build/small", "--event", "ask.json", *options)
        answered = layerpack(*arguments, folder=tmp_path, cache=emulator_cache.root)
        assert answered.output.strip() == table, answered.errors
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("TABLE: words", "AWS_REGION: words"))
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 4 and "Lambda reserves the variable AWS_REGION" in ended.errors


@pytest.mark.exhaustive
def test_a_size_of_memory_that_does_not_do_is_told(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = "def handler(event, context): return len(b'x' * 300_000_000)\n"
    project(tmp_path, index, handler=handler)
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    ended = verify(tmp_path, emulator_cache, "--memory", "256", "--memory", "2048")
    assert ended.code == 0, ended.errors
    assert "with 256 MB the function fails: Runtime.OutOfMemory" in ended.errors
    assert "with 2048 MB" not in ended.errors


def test_what_is_built_is_proven_and_measured_without_building(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index)
    ended = verify(tmp_path, emulator_cache)
    assert ended.code == 2
    assert "build/small is not there: recipe.yaml is not built" in ended.errors
    assert "layerpack build recipe.yaml" in ended.errors

    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    zips = {path: path.stat().st_mtime_ns for path in tmp_path.glob("build/small/**/*.zip")}
    ended = verify(tmp_path, emulator_cache, "--memory", "1024", "--memory", "3008")
    assert ended.code == 0, ended.errors
    assert "1 workload answers as in a plain install" in " ".join(ended.output.split())
    assert "ask, 1024 MB" in ended.output
    proof = record(tmp_path)
    assert [one["memory_mb"] for one in proof["memory"]] == [1024, 3008]
    assert {path: path.stat().st_mtime_ns for path in zips} == zips
    assert "1 workload answers" in (tmp_path / "build/small/report.html").read_text()
    # It is the same build still.
    assert "nothing changed" in build(tmp_path, emulator_cache).errors

    ended = verify(tmp_path, emulator_cache, "--format", "json", "--isolation", "namespaces")
    assert json.loads(ended.output) == record(tmp_path)

    (tmp_path / "code/app.py").write_text(HANDLER + "\n")
    ended = verify(tmp_path, emulator_cache)
    assert ended.code == 2
    assert "build/small is not the build of recipe.yaml as it is now" in ended.errors

    for name in (".state.json", "manifest.json"):
        (tmp_path / "build/small" / name).unlink()
        ended = verify(tmp_path, emulator_cache)
        assert ended.code == 2
        assert f"build/small is not a build: it has no {name}" in ended.errors
        assert "remove it and run: layerpack build recipe.yaml" in ended.errors
        assert "would be replaced" not in ended.errors


def test_a_build_that_fails_its_proof_stays_as_it_was(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    body = "if name == 'alpha/value.txt': yield Remove(path=entry.path, reason='x')"
    project(tmp_path, index, body)
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("build/small/*.*")}
    ended = verify(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "The pass 'own' does it" in ended.errors
    assert {path: path.read_bytes() for path in before} == before


CONNECTS = """\
import socket


def handler(event, context):
    socket.create_connection(("127.0.0.1", {port})).close()
    return "connected"
"""


def test_a_function_that_needs_the_network_is_told_which_key_gives_it(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        project(tmp_path, index, handler=CONNECTS.format(port=server.getsockname()[1]))
        ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "ConnectionRefusedError" in ended.errors and "verify.network" in ended.errors


@pytest.mark.parametrize(
    ("wanted", "network", "error"),
    [
        ("namespaces", False, "ConnectionRefusedError"),
        ("namespaces", True, ""),
        # There it cannot be cut, which is a remark and no failure.
        ("process", False, ""),
    ],
)
def test_workloads_have_no_network_unless_the_recipe_asks(
    tmp_path: Path, emulator_cache: Cache, wanted: Wanted, network: bool, error: str
) -> None:
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "opt").mkdir()
        (tmp_path / "code").mkdir()
        code = CONNECTS.format(port=server.getsockname()[1])
        (tmp_path / "code/app.py").write_text(code)
        (tmp_path / "ask.json").write_text("{}")
        more = f"{FUNCTION}verify: {{network: {str(network).lower()}}}\n"
        recipe = load(tmp_path, runtime=HERE, more=more)
        events = Events(warn=warnings.append)
        isolator = Isolator(wanted, recipe.profile, events, emulator_cache, must_cut=False)
        trial = Trial(
            recipe, cache=emulator_cache, events=events, scratch=tmp_path, isolator=isolator
        )
        trees = Trees(opt=tmp_path / "opt", task=tmp_path / "code")
        (ran,) = trial.ran(trees)
    assert ran.error_type == error
    assert ("reaches the network" in "".join(warnings)) == (wanted == "process")


@pytest.mark.exhaustive
def test_memory_beyond_the_default_is_told_until_a_size_is_named_for_it(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = "def handler(event, context):\n    return len(b'x' * 1_900_000_000)\n"
    project(tmp_path, index, handler=handler)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    taken = record(tmp_path)["workloads"][0]["packed"]["memory_mb"]
    (told,) = [one for one in ended.errors.splitlines() if "of memory" in one]
    assert told.startswith(f"warning: workload ask takes {taken:,} MB of memory")
    assert "1,769 MB" in told and "--memory 1856" in told and "verify.memory" in told
    ended = verify(tmp_path, emulator_cache, "--memory", "3008")
    assert (ended.code, "of memory" in ended.errors) == (0, False), ended.errors
