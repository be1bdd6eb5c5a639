"""The plain install is tried first: a function that fails by itself is never packed."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.cache import Cache
from layerpack.emulator.sandbox import Isolation, Program
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.inputs import function_entries
from layerpack.limits import this_machine
from layerpack.plain_run import PlainRun, open_plain_run
from tests.integration.emulator.conftest import ISOLATIONS, Log, started
from tests.integration.emulator.test_verify import ALPHA, FUNCTION, HANDLER, build, project
from tests.support.index import LocalIndex
from tests.support.libraries import make_library
from tests.support.recipes import HERE, load, payload_in
from tests.support.wheels import make_wheel

#: As clients do that try again and again, and print why.
ASKS = """
        import socket
        try:
            socket.create_connection(("192.0.2.1", 80))
        except OSError as error:
            print(error)
        while True:
            pass
"""
NO_WORKLOADS = "function: {source: code, handler: app.handler}\n"


@contextmanager
def opened(folder: Path, cache: Cache, handler: str, *, more: str) -> Iterator[PlainRun]:
    """A function beside alpha, without building anything."""
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(handler)
    (folder / "ask.json").write_text('{"a": 1}')
    recipe = load(folder, runtime=HERE, more=more)
    naive = payload_in(folder / "plain", {f"python/{name}": text for name, text in ALPHA.items()})
    function = function_entries(recipe)
    with open_plain_run(recipe, naive, function, cache=cache, events=Events()) as plain:
        yield plain


def check(
    folder: Path,
    cache: Cache,
    handler: str,
    *,
    more: str = NO_WORKLOADS,
    memory: tuple[int, ...] = (),
) -> None:
    """Check a function beside alpha, and with sizes of memory."""
    with opened(folder, cache, handler, more=more) as plain:
        plain.check()
        for size in memory:
            plain.with_memory(size)


@pytest.mark.parametrize(
    ("handler", "message", "hint"),
    [
        ("def handler(event, context)\n    pass\n", "Runtime.UserCodeSyntaxError", "syntax"),
        (f"import pandas\n{HANDLER}", "No module named 'pandas'", "'pandas' to requirements"),
        (f"import alpha.gone\n{HANDLER}", "No module named 'alpha.gone'", "'alpha' is installed"),
        ("def other(event, context): # no handler\n    pass\n", "'handler' missing", "handler."),
        (
            "import os\nTABLE = os.environ['TABLE']\ndef handler(event, context): pass\n",
            "KeyError: 'TABLE'",
            "TABLE to function.environment",
        ),
        ("import os\nos._exit(3)\ndef handler(event, context): pass\n", "status 3", "Fix"),
        ("handler = 5\n", "app.handler is of type int", "function.handler"),
        ("import json as handler\n", "app.handler is of type module", "function.handler"),
        ("def handler(event): pass\n", "cannot be called with an event", "function.handler"),
        ("async def handler(event, context): pass\n", "is a coroutine", "a plain function"),
    ],
    ids=[
        *("syntax", "missing", "part", "handler", "variable", "ends"),
        *("number", "module", "signature", "coroutine"),
    ],
)
def test_a_function_that_does_not_import_is_refused(
    tmp_path: Path, emulator_cache: Cache, handler: str, message: str, hint: str
) -> None:
    with pytest.raises(VerificationError) as caught:
        check(tmp_path, emulator_cache, handler)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.exhaustive
def test_so_is_one_whose_workload_meets_the_error(tmp_path: Path, emulator_cache: Cache) -> None:
    with pytest.raises(VerificationError) as caught:
        check(tmp_path, emulator_cache, f"import pandas\n{HANDLER}", more=FUNCTION)
    assert "workload ask" in caught.value.message
    assert "'pandas' to requirements" in caught.value.hint


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("handler = 5\n", "app.handler is of type int"),
        ("def handler(event): pass\n", "app.handler cannot be called with an event and a context"),
        ("def handler(event, *, context): pass\n", "app.handler cannot be called with an event"),
        ("async def handler(event, context): pass\n", "app.handler is a coroutine"),
        ("def handler(event, context): yield\n", "app.handler is a coroutine or a generator"),
    ],
    ids=["number", "one", "by name", "coroutine", "generator"],
)
def test_a_handler_that_lambda_cannot_call_is_told_by_its_key(
    tmp_path: Path, emulator_cache: Cache, handler: str, message: str
) -> None:
    with pytest.raises(VerificationError) as caught:
        check(tmp_path, emulator_cache, handler, more=FUNCTION)
    assert message in caught.value.message
    assert "function.handler: app.handler" in caught.value.hint


@pytest.mark.parametrize("more", [NO_WORKLOADS, FUNCTION], ids=["import", "workload"])
def test_what_a_process_printed_before_it_ended_by_itself_is_shown(
    tmp_path: Path, emulator_cache: Cache, more: str
) -> None:
    called = "handler(0, 0)\n" if more == NO_WORKLOADS else ""
    handler = (
        "import os, sys\n\n\ndef handler(event, context):\n"
        "    for n in range(50):\n        print(f'line {n:02}', 'x' * 40, file=sys.stderr)\n"
        "    print('fatal: ' + 'y' * 9000 + ' no device', file=sys.stderr, flush=True)\n"
        "    os._exit(3)\n" + called
    )
    with pytest.raises(VerificationError) as caught:
        check(tmp_path, emulator_cache, handler, more=more)
    first, _, words = caught.value.message.partition("\nit printed last:\n")
    assert "Runtime.ExitError" in first and "exit status 3" in first
    assert words.endswith("yyy no device")
    assert 1000 < len(words) < 2100
    (tmp_path / "short").mkdir()
    handler = handler.replace("'y' * 9000", "''")
    with pytest.raises(VerificationError) as caught:
        check(tmp_path / "short", emulator_cache, handler, more=more)
    lines = caught.value.message.partition("\nit printed last:\n")[2].splitlines()
    assert [line.split()[:2] for line in lines] == [
        *(["line", str(n)] for n in range(41, 50)),
        ["fatal:", "no"],
    ]


@pytest.mark.exhaustive
@pytest.mark.parametrize("isolation", [*ISOLATIONS, "process"])
def test_every_isolation_can_refuse_such_a_handler(program: Program, isolation: Isolation) -> None:
    (program.task / "app.py").write_text("handler = 5\n")
    checking = replace(program, checks_handler=True)
    for one, error in ((program, ""), (checking, "app.handler is of type int")):
        with closing(started(one, Log(), isolation)) as environment:
            problem = environment.initialise()
        assert error in problem and bool(problem) == bool(error)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("body", "network"), [("while True: pass", False), (ASKS, True)], ids=["busy", "asking"]
)
@pytest.mark.parametrize("more", [NO_WORKLOADS, FUNCTION], ids=["import", "workload"])
def test_a_timeout_names_its_key_and_the_network_only_where_that_was_missed(
    tmp_path: Path, emulator_cache: Cache, body: str, network: bool, more: str
) -> None:
    called = "handler(0, 0)\n" if more == NO_WORKLOADS else ""
    handler = f"def handler(event, context):\n    if True:\n        {body.strip()}\n{called}"
    with pytest.raises(VerificationError) as caught:
        check(tmp_path, emulator_cache, handler, more=more + "verify: {timeout: 1.5}\n")
    assert "1.50 seconds" in caught.value.message
    assert "verify.timeout" in caught.value.hint
    assert ("verify.network" in caught.value.hint) == network


@pytest.mark.exhaustive
@pytest.mark.parametrize("more", [NO_WORKLOADS, FUNCTION], ids=["import", "workload"])
def test_a_shorter_timeout_is_tried_on_the_plain_install(
    tmp_path: Path, emulator_cache: Cache, more: str
) -> None:
    # Lambda gives the import ten seconds of its own, where an event follows.
    place = "    " if more == FUNCTION else ""
    slow = f"{place}time.sleep(3)\n"
    handler = f"import time\ndef handler(event, context):\n    pass\n{slow}"
    check(tmp_path, emulator_cache, handler, more=more)
    (tmp_path / "again").mkdir()
    with pytest.raises(VerificationError, match="plain install") as caught:
        shorter = f"{more}verify: {{timeout: 1}}\n"
        check(tmp_path / "again", emulator_cache, handler, more=shorter)
    assert "verify.timeout" in caught.value.hint


@pytest.mark.exhaustive
def test_an_import_that_fails_by_now_is_no_fault_of_the_layers(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        handler = f"import socket\nsocket.create_connection(('127.0.0.1', {port}))\n{HANDLER}"
        more = NO_WORKLOADS + "verify: {network: true}\n"
        project(tmp_path, index, handler=handler, more=more)
        ended = build(tmp_path, emulator_cache)
        assert ended.code == 0, ended.errors
    shutil.rmtree(tmp_path / "build")
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "does not import in the plain install" in ended.errors
    assert "Connection refused" in ended.errors


def test_what_a_function_prints_takes_bounded_memory(tmp_path: Path, emulator_cache: Cache) -> None:
    handler = """\
def handler(event, context):
    print("first")
    for _ in range(100):
        print("x" * (1 << 20))
    print("last")
"""
    with opened(tmp_path, emulator_cache, handler, more=FUNCTION) as plain:
        plain.check()
        printed = plain.trial.printed
    assert len(printed) < 40 << 20
    lines = printed.splitlines()
    assert "first" in lines[:3] and "last" in lines[-5:]
    assert any(line.endswith("bytes are left out here]") for line in lines)


@pytest.mark.parametrize("more", [NO_WORKLOADS, FUNCTION], ids=["import", "workload"])
def test_a_function_that_works_is_not_run_again(
    tmp_path: Path, emulator_cache: Cache, more: str
) -> None:
    check(tmp_path, emulator_cache, HANDLER, more=more)
    notes = emulator_cache.folder("plain")
    before = {path: path.read_bytes() for path in notes.iterdir()}
    (tmp_path / "again").mkdir()
    check(tmp_path / "again", emulator_cache, HANDLER, more=more)
    # With the times of the run that was kept.
    assert {path: path.read_bytes() for path in notes.iterdir()} == before


def test_a_measurement_that_failed_is_not_cached(tmp_path: Path, emulator_cache: Cache) -> None:
    handler = """\
import os

def handler(event, context):
    return {"10240": 1, "512": 1}[os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]]
"""
    notes = emulator_cache.folder("plain")
    before = {*notes.iterdir()}
    check(tmp_path, emulator_cache, handler, more=FUNCTION, memory=(256, 512))
    # The answers, and the measurement that did not fail.
    assert len({*notes.iterdir()} - before) == 2


def test_a_function_that_fails_by_itself_is_refused_before_any_pass(
    tmp_path: Path, emulator_cache: Cache, index: LocalIndex
) -> None:
    body = "raise RuntimeError('the passes began')"
    project(tmp_path, index, body, handler=f"import pandas\n{HANDLER}", more=NO_WORKLOADS)
    ended = build(tmp_path, emulator_cache)
    assert ended.code == 7
    assert "'pandas' to requirements" in ended.errors
    # The function is not tried where nothing is to be proven.
    ended = build(tmp_path, emulator_cache, "--no-verify")
    assert ended.code == 4 and "the passes began" in ended.errors


@pytest.mark.parametrize("name", ["_user.so", "_user.abi3.so"], ids=["library", "module"])
def test_a_missing_library_is_refused_before_anything_is_packed(
    tmp_path: Path, cache: Cache, index: LocalIndex, name: str
) -> None:
    gone = make_library(tmp_path / "libgone.so.1", soname="libgone.so.1")
    user = make_library(tmp_path / name, needs=[gone])
    files: dict[str, str | bytes] = {"alpha/__init__.py": "", f"alpha/{name}": user.read_bytes()}
    project(tmp_path, index, more="")
    index.add(make_wheel(tmp_path / "wheels", "alpha", "2.0", files=files))
    ended = build(tmp_path, cache, "--verbose", "--no-verify")
    assert ended.code == 7
    assert "libgone.so.1" in ended.errors and "pass sources:" in ended.errors
    assert "pass symbols:" not in ended.errors


def test_a_processor_that_lacks_all_levels_is_told_before_anything_is_packed(
    tmp_path: Path, emulator_cache: Cache
) -> None:
    recipe = load(tmp_path, runtime=HERE, more="cpu: {x86_64: [avx2, avx512]}")
    naive = payload_in(tmp_path / "plain", {f"python/{name}": text for name, text in ALPHA.items()})
    told: list[str] = []
    events = Events(warn=told.append)
    with open_plain_run(recipe, naive, None, cache=emulator_cache, events=events) as plain:
        plain.trial.probe()
        plain.trial.processor = frozenset({"sse2", "fma"})
        plain.check()
        reason = "this processor lacks avx2 for avx2"
        assert told == [f"the layers are not verified: {reason}"]
        # The proof asks again, and warns of nothing twice.
        assert plain.unprovable() == reason
        assert len(told) == 1
        plain.trial.processor |= {"avx2"}
        assert not plain.unprovable()


def test_so_is_another_architecture(tmp_path: Path, emulator_cache: Cache) -> None:
    other = "x86_64" if this_machine() == "aarch64" else "arm64"
    recipe = load(tmp_path, runtime=HERE, more=f"architecture: {other}")
    naive = payload_in(tmp_path / "plain", {"python/alpha.py": ""})
    told: list[str] = []
    events = Events(warn=told.append)
    with open_plain_run(recipe, naive, None, cache=emulator_cache, events=events) as plain:
        plain.check()
        assert told == [f"the layers are not verified: {plain.unprovable()}"]
