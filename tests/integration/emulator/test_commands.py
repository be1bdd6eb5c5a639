"""`layerpack invoke` and `layerpack serve`, as typed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from layerpack.cache import Cache
from tests.support.command import Ended, layerpack, start
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

HANDLER = """\
import os
import sys
import alpha


def handler(event, context):
    print("asked")
    if event == "end":
        print("no device", file=sys.stderr, flush=True)
        os._exit(3)
    if event == "fail":
        raise ValueError("no such thing")
    return {"version": alpha.VERSION, "event": event, "mode": os.environ.get("MODE")}
"""


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, emulator_cache: Cache, shared_index: LocalIndex
) -> Path:
    """A folder with a recipe that is built, and an event."""
    folder = tmp_path_factory.mktemp("built")
    shared_index.add(make_wheel(folder / "wheels", "alpha"))
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(HANDLER)
    more = "function: {source: code, handler: app.handler}\n"
    minimal(folder, runtime=HERE, index=shared_index.url, more=more)
    (folder / "event.json").write_text('{"a": 1}')
    ended = layerpack("build", "recipe.yaml", folder=folder, cache=emulator_cache.root)
    assert ended.code == 0, ended.errors
    return folder


def invoke(built: Path, cache: Cache, *options: str, event: str = "event.json") -> Ended:
    """Invoke the build."""
    arguments = ("invoke", "build/small", "--event", event, *options)
    return layerpack(*arguments, folder=built, cache=cache.root)


def test_the_answer_is_on_standard_output_and_all_else_on_the_other(
    built: Path, emulator_cache: Cache
) -> None:
    ended = invoke(built, emulator_cache, "--env", "MODE=test", "--memory", "512")
    assert ended.code == 0
    assert json.loads(ended.output) == {"version": "1.0", "event": {"a": 1}, "mode": "test"}
    assert "asked\n" in ended.errors
    assert "Memory Size: 512 MB" in ended.errors
    quiet = invoke(built, emulator_cache, "--quiet")
    assert (quiet.code, quiet.errors) == (0, "")
    # By the recipe too.
    found = layerpack(
        *("invoke", "recipe.yaml", "--event", "event.json"),
        folder=built,
        cache=emulator_cache.root,
    )
    assert found.code == 0


def test_a_function_that_fails_is_an_answer_and_an_exit_code(
    built: Path, emulator_cache: Cache
) -> None:
    (built / "fail.json").write_text('"fail"')
    ended = invoke(built, emulator_cache, event="fail.json")
    assert ended.code == 7
    assert json.loads(ended.output)["errorMessage"] == "no such thing"


def test_the_last_words_of_a_process_are_shown_with_quiet_too(
    built: Path, emulator_cache: Cache
) -> None:
    (built / "end.json").write_text('"end"')
    ended = invoke(built, emulator_cache, "--quiet", event="end.json")
    assert ended.code == 7
    assert json.loads(ended.output)["errorType"] == "Runtime.ExitError"
    assert ended.errors == "asked\nno device\n"


@pytest.mark.parametrize(
    ("event", "options", "message"),
    [
        ("nowhere.json", (), "the event nowhere.json cannot be read: No such file or directory"),
        (".", (), "the event . cannot be read: Is a directory\n  Name a file with one JSON value"),
        ("broken.json", (), "the event broken.json is not JSON"),
        ("large.json", (), "the event large.json has 6,291,457 bytes"),
        ("event.json", ("--env", "MODE"), "NAME=VALUE, got 'MODE'"),
        ("event.json", ("--env", "_HANDLER=x"), "Lambda reserves the variable _HANDLER"),
        ("event.json", ("--isolation", "process", "--no-network"), "cannot be cut off the network"),
    ],
)
def test_mistakes_are_told(
    built: Path, emulator_cache: Cache, event: str, options: tuple[str, ...], message: str
) -> None:
    (built / "broken.json").write_text("{")
    (built / "large.json").write_bytes(b'"' + b"x" * (6 * 2**20 - 1) + b'"')
    ended = invoke(built, emulator_cache, *options, event=event)
    assert ended.code in (2, 6)
    assert ended.output == ""
    assert message in ended.errors
    assert "Traceback" not in ended.errors


def test_zips_that_were_changed_are_told(
    built: Path, emulator_cache: Cache, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-r", built / "build", tmp_path], check=True)
    (tmp_path / "event.json").write_text("{}")
    zip_ = tmp_path / "build/small/function.zip"
    zip_.write_bytes(zip_.read_bytes()[:-1])
    ended = invoke(tmp_path, emulator_cache)
    assert ended.code == 2
    assert "function.zip is not as it was built" in ended.errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_answers_until_it_is_ended(
    built: Path, emulator_cache: Cache, number: signal.Signals
) -> None:
    process = start(
        *("serve", "build/small", "--port", "0"), folder=built, cache=emulator_cache.root
    )
    assert process.stdout is not None
    name, _, url = process.stdout.readline().strip().rpartition(" at ")
    assert name == "small"
    with urllib.request.urlopen(f"{url}/path?x=1", timeout=60) as response:
        answer = json.load(response)
    assert answer["event"]["rawPath"] == "/path"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in errors
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1)


def test_a_port_that_is_taken_is_told(built: Path, emulator_cache: Cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = layerpack(
            *("serve", "build/small", "--port", port), folder=built, cache=emulator_cache.root
        )
    assert ended.code == 2
    assert f"nothing can listen at 127.0.0.1:{port}: Address already in use" in ended.errors


def test_a_server_answers_to_the_names_that_are_allowed(built: Path, emulator_cache: Cache) -> None:
    """As in a network of containers, where a service is reached by its name."""
    process = start(
        *("serve", "build/small", "--port", "0", "--allow-host", "Lambda", "--allow-host", "a.b"),
        folder=built,
        cache=emulator_cache.root,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip().rpartition(" at ")[2]
    for name in ("lambda:9000", "a.b", "localhost"):
        request = urllib.request.Request(f"{url}/path", headers={"Host": name})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.status == 200
    request = urllib.request.Request(f"{url}/path", headers={"Host": "other:9000"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    assert caught.value.code == 403
    assert "--allow-host other" in json.load(caught.value)["Message"]


@pytest.mark.parametrize("name", ["lambda:9000", "http://lambda", "*", ""])
def test_a_name_that_is_none_is_told(built: Path, emulator_cache: Cache, name: str) -> None:
    ended = layerpack(
        *("serve", "build/small", "--port", "0", "--allow-host", name),
        folder=built,
        cache=emulator_cache.root,
    )
    assert ended.code == 2
    assert "--allow-host expects" in ended.errors and repr(name) in ended.errors
