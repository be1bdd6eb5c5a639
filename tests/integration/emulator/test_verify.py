"""Builds that prove themselves: what breaks is found, and named."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest

from layerpack.cache import Cache
from layerpack.processor_levels import flags_here, lacking
from tests.support.code import ANSWER, code_wheel
from tests.support.command import Ended, layerpack
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

FUNCTION = """\
function: {source: code, handler: app.handler}
workloads: [{name: ask, event: ask.json}]
"""
HANDLER = """\
import alpha


def handler(event, context):
    return {"value": alpha.value(), "event": event}
"""
ALPHA = {
    "alpha/__init__.py": (
        "from pathlib import Path\n\n\n"
        "def value():\n    return float(Path(__file__).with_name('value.txt').read_text())\n"
    ),
    "alpha/value.txt": "1.5",
    "alpha/other.txt": "2.5",
    "beta/__init__.py": "import beta.part\n",
    "beta/part.py": "",
    "broken.py": "import what_is_nowhere\n",
}
PASS = """\
from layerpack.passes.api import Remove, Rewrite
from pathlib import Path


class Own:
    name = "own"
    summary = "what the test wants"
    after = frozenset()

    def wanted(self, recipe):
        return True

    def plan(self, payload, context):
        for entry in payload:
            name = entry.path.removeprefix("python/")
            {body}
"""


def project(
    folder: Path,
    index: LocalIndex,
    body: str = "",
    *,
    handler: str = HANDLER,
    more: str = FUNCTION,
    runtime: str = HERE,
) -> None:
    """A recipe of one distribution, with a pass of its own that does `body` to each entry."""
    index.add(make_wheel(folder / "wheels", "alpha", files=ALPHA))
    (folder / "code").mkdir(parents=True)
    (folder / "code/app.py").write_text(handler)
    (folder / "ask.json").write_text('{"a": 1}')
    passes = ""
    if body:
        (folder / "own.py").write_text(PASS.format(body=body))
        passes = "passes: [own.py:Own]\n"
    minimal(folder, runtime=runtime, index=index.url, more=more + passes)


def build(folder: Path, cache: Cache, *options: str) -> Ended:
    """Build it, verified."""
    extra = {"LAYERPACK_VERIFY": "1"}
    arguments = ("build", "recipe.yaml", *options)
    return layerpack(*arguments, folder=folder, cache=cache.root, extra=extra)


def record(folder: Path) -> dict[str, Any]:
    """What the manifest says of the proof."""
    text = (folder / "build/small/manifest.json").read_text()
    verified: dict[str, Any] = json.loads(text)["verified"]
    return verified


def test_a_build_is_verified_and_tells_what_it_took(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    proof = record(tmp_path)
    assert (proof["state"], proof["isolation"], proof["modules"]) == ("verified", "namespaces", 3)
    # It does not import from the plain install either.
    assert list(proof["not_importable"]) == ["broken"]
    (workload,) = proof["workloads"]
    assert (workload["name"], workload["equal"]) == ("ask", True)
    for side in ("plain", "packed", "plain_compiled"):
        assert workload[side]["init_ms"] > 0 and workload[side]["first_ms"] > 0
        assert 5 < workload[side]["memory_mb"] < 200
    assert proof["baseline"]["python"] == platform.python_version()
    assert "awslambdaric" not in [one["name"] for one in proof["imports"]]
    output = " ".join(ended.output.split())
    assert "ask plain, bytecode" in output
    assert f"without bytecode, measured on {proof['baseline']['processor']}, Python" in output


def test_what_was_not_verified_is_verified_by_the_next_build(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index)
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    assert record(tmp_path) == {"state": "not verified", "reason": "--no-verify"}
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0 and "nothing changed" not in ended.errors
    assert record(tmp_path)["state"] == "verified"
    for option in ("--verify", "--no-verify"):
        assert "nothing changed" in build(tmp_path, emulator_cache, option).errors


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            (
                'if name == "alpha/value.txt": yield Remove(path=entry.path, reason="why not")',
                "workload ask: FileNotFoundError",
                "python/alpha/value.txt",
            ),
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            (
                'if name.startswith("beta/part"): yield Remove(path=entry.path, reason="why not")',
                "beta does not import any more: ModuleNotFoundError: No module named 'beta.part'",
                "python/beta/part.py",
            ),
            marks=pytest.mark.exhaustive,
        ),
        (
            'if name == "alpha/value.txt": yield Rewrite(path=entry.path, reason="why not", '
            'source=Path(payload["python/alpha/other.txt"].source))',
            "workload ask: answer.value is 1.5 from the plain install, 2.5 from the layers",
            "python/alpha/value.txt",
        ),
    ],
)
def test_what_breaks_is_named_and_the_former_build_stays(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, case: tuple[str, str, str]
) -> None:
    body, message, file = case
    project(tmp_path, index)
    assert build(tmp_path, emulator_cache).code == 0
    before = (tmp_path / "build/small/manifest.json").read_bytes()
    (tmp_path / "own.py").write_text(PASS.format(body=body))
    with (tmp_path / "recipe.yaml").open("a") as recipe:
        recipe.write("passes: [own.py:Own]\n")
    ended = build(tmp_path, emulator_cache, "--verbose")
    assert ended.code == 7
    assert f"error: {message}" in ended.errors
    assert "looking for the cause, try 2" in ended.errors
    assert f"The pass 'own' does it, by {file}:" in ended.errors
    assert "Traceback" not in ended.errors
    assert (tmp_path / "build/small/manifest.json").read_bytes() == before
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0


@pytest.mark.exhaustive
def test_numbers_may_differ_by_what_the_recipe_allows(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    body = (
        'if name == "alpha/value.txt": yield Rewrite(path=entry.path, reason="why not", '
        'source=Path(payload["python/alpha/other.txt"].source))'
    )
    project(tmp_path, index, body, more=FUNCTION + "verify: {tolerance: 0.4}\n")
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    assert record(tmp_path)["workloads"][0]["equal"] is False


@pytest.mark.exhaustive
def test_each_level_of_the_processor_is_verified_or_told(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    more = FUNCTION + "cpu: {x86_64: [avx2, avx512]}\n"
    project(tmp_path, index, more=more)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    levels = record(tmp_path)["levels"]
    assert [one["level"] for one in levels] == ["avx2", "avx512"]
    for one in levels:
        if lacks := lacking(one["level"], flags_here()):
            assert one["reason"] == f"this processor lacks {', '.join(lacks)}"
            assert f"not verified at {one['level']}" in ended.errors
        else:
            assert (one["state"], one["equal"]) == ("verified", True)


def test_what_must_be_proven_and_cannot_be_is_refused(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    project(tmp_path, index)
    ended = build(tmp_path, emulator_cache, "--no-verify", "--require-verified")
    assert ended.code == 7 and "--no-verify" in ended.errors
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    # One that is built, and not verified, is verified.
    ended = build(tmp_path, emulator_cache, "--require-verified")
    assert ended.code == 0, ended.errors
    assert record(tmp_path)["state"] == "verified"
    assert "nothing changed" in build(tmp_path, emulator_cache, "--require-verified").errors
    # By the recipe; nothing runs on layers for another architecture here.
    before = (tmp_path / "build/small/manifest.json").read_bytes()
    with (tmp_path / "recipe.yaml").open("a") as recipe:
        recipe.write("architecture: arm64\nverify: {required: true}\n")
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7 and "aarch64" in ended.errors
    assert (tmp_path / "build/small/manifest.json").read_bytes() == before


def test_layers_for_other_processors_are_not_proven_and_it_is_told(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    lacks = lacking("avx512", flags_here())
    project(tmp_path, index, more=FUNCTION + "cpu: {x86_64: [avx512]}\n")
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    if lacks:
        reason = f"this processor lacks {', '.join(lacks)} for avx512"
        assert record(tmp_path) == {"state": "not verified", "reason": reason}
        assert f"the layers are not verified: {reason}" in ended.errors
    else:
        assert record(tmp_path)["state"] == "verified"


def test_what_lambda_cannot_do_is_told_with_its_line(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = (
        "import multiprocessing\n\n\n"
        "def handler(event, context):\n    return multiprocessing.Pool(2).map(abs, [1])\n"
    )
    project(tmp_path, index, handler=handler)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "workload ask fails in the plain install: FileNotFoundError" in ended.errors
    assert 'File "/var/task/app.py", line 5, in handler' in ended.errors
    assert "Lambda has no /dev/shm" in ended.errors


def paged(folder: Path, index: LocalIndex, more: str = "") -> None:
    """A recipe of a library that is paged, and a function that calls it."""
    index.add(code_wheel(folder / "wheels"))
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(
        "import alpha._code\n\n\ndef handler(event, context):\n    return alpha._code.run()\n"
    )
    (folder / "ask.json").write_text("{}")
    native = f"native: {{store: paged, level: 3{more}}}\n"
    minimal(folder, runtime=HERE, index=index.url, more=FUNCTION + native)


@pytest.mark.exhaustive
@pytest.mark.parametrize("touched", ["mapped", "packed"])
def test_what_bringing_code_in_takes_is_told_by_library(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, touched: str
) -> None:
    paged(tmp_path, index, f", touched: {touched}")
    assert build(tmp_path, emulator_cache).code == 0
    assert "paging" not in record(tmp_path)
    ended = layerpack(
        "verify", "recipe.yaml", "--timings", folder=tmp_path, cache=emulator_cache.root
    )
    assert ended.code == 0, ended.errors
    assert "Code brought in" in ended.output
    paging = record(tmp_path)["paging"]
    if touched == "mapped":
        assert paging == []
        return
    (one,) = paging
    assert one["path"].endswith(".so") and one["path"].startswith("python/")
    assert one["windows"] >= 1 and one["bytes"] > one["packed_bytes"] > 0
    assert one["ms"] > one["decoding_ms"] > 0


@pytest.mark.exhaustive
def test_a_function_that_fails_while_it_is_measured_is_told(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = (
        "import os\n\nMEASURED = {'LAYERPACK_TIMINGS', 'PYTHONPROFILEIMPORTTIME'}\n\n\n"
        "def handler(event, context):\n    assert MEASURED.isdisjoint(os.environ), 'measured'\n"
    )
    project(tmp_path, index, handler=handler)
    assert build(tmp_path, emulator_cache).code == 0
    ended = layerpack(
        "verify", "recipe.yaml", "--timings", folder=tmp_path, cache=emulator_cache.root
    )
    assert ended.code == 0, ended.errors
    for what in ("imports take", "bringing code in takes"):
        told = f"what {what} is not complete, as the function fails: AssertionError: measured"
        assert told in " ".join(ended.errors.split())


@pytest.mark.exhaustive
def test_libraries_that_are_paged_are_verified_paged(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    paged(tmp_path, index)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors
    assert record(tmp_path)["workloads"][0]["equal"] is True
    answer = layerpack(
        *("invoke", "build/small", "--event", "ask.json"),
        folder=tmp_path,
        cache=emulator_cache.root,
    )
    assert (answer.code, json.loads(answer.output)) == (0, ANSWER)


UNSEEN = """\
import importlib


def value():
    return importlib.import_module(".".join(["alpha", "tests"])).VALUE


"""


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        ("def handler(event, context):\n    return value()\n", "ModuleNotFoundError"),
        (
            "VALUE = value()\n\n\ndef handler(event, context):\n    return VALUE\n",
            "Runtime.ImportModuleError",
        ),
    ],
    ids=["when asked", "at initialisation"],
)
def test_what_was_stripped_and_is_imported_unseen_is_named_and_is_lambdas_error(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex, handler: str, kind: str
) -> None:
    project(tmp_path, index, handler=UNSEEN + handler)
    # No line of code says that a test suite is needed.
    files = {**ALPHA, "alpha/tests/__init__.py": "VALUE = 7\n"}
    index.add(make_wheel(tmp_path / "wheels", "alpha", version="1.1", files=files))
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert f"error: workload ask: {kind}: " in ended.errors
    assert "No module named 'alpha.tests'" in ended.errors
    assert "The pass 'tests' does it, by python/alpha/tests/__init__.py:" in ended.errors
    assert build(tmp_path, emulator_cache, "--no-verify").code == 0
    answer = layerpack(
        *("invoke", "build/small", "--event", "ask.json"),
        folder=tmp_path,
        cache=emulator_cache.root,
    )
    assert answer.code == 7
    error = json.loads(answer.output)
    assert error["errorType"] == kind
    assert "No module named 'alpha.tests'" in error["errorMessage"]
    # As the message says how to mend it.
    with (tmp_path / "recipe.yaml").open("a") as recipe:
        recipe.write("strip: {keep: ['alpha/tests/*']}\n")
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 0, ended.errors


@pytest.mark.exhaustive
def test_the_cause_of_a_process_that_ends_is_found_whatever_it_printed(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    handler = (
        "import os, sys\nimport alpha\n\n\ndef handler(event, context):\n"
        "    try:\n        return alpha.value()\n    except OSError:\n"
        "        print('no value', os.urandom(4).hex(), file=sys.stderr, flush=True)\n"
        "        os._exit(3)\n"
    )
    body = 'if name == "alpha/value.txt": yield Remove(path=entry.path, reason="why not")'
    project(tmp_path, index, body, handler=handler)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "exit status 3\nit printed last:\n  no value " in ended.errors
    assert "The pass 'own' does it, by python/alpha/value.txt:" in ended.errors
