"""How builds in Docker end that do not succeed: one message each, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.command import Ended, layerpack, start
from tests.support.engine import OFFLINE, RUNTIME, Engine, locked_source, reached, until
from tests.support.recipes import minimal
from tests.support.wheels import make_sdist, make_wheel

pytestmark = pytest.mark.engine

# What a build does that its test waits for, and that waits for the test.
WAIT = "import pathlib, time; pathlib.Path('/tmp/reached').touch(); time.sleep(600)"
GROW = (
    "import pathlib, time; pathlib.Path('/tmp/reached').touch()\n"
    "    while not pathlib.Path('/tmp/go').exists(): time.sleep(0.1)\n"
    "    bytearray(1 << 30)"
)
FULL = "open('/dev/full', 'w').write('x' * 100_000)"


def refused(*arguments: str, folder: Path, extra: dict[str, str], code: int = 6) -> str:
    """The message of a build that ends with an exit code."""
    ended = layerpack(
        "build", "recipe.yaml", *arguments, folder=folder, cache=folder / "cache", extra=extra
    )
    assert ended.code == code, ended.errors
    assert ended.output == ""
    assert "Traceback" not in ended.errors.partition("its last lines:")[0]
    return ended.errors[ended.errors.index("error: ") :]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["Ctrl-C", "kill", "kill -9"],
)
def test_a_cancelled_build_leaves_no_container(
    tmp_path: Path, engine: Engine, stand_in: str, number: int, code: int
) -> None:
    locked_source(tmp_path, make_sdist(tmp_path / "s", "slowly", statement=WAIT))
    images = engine.images()
    secret = {"HTTPS_PROXY": "http://somebody:secret@127.0.0.1:9"}
    process = start(
        *("build", "recipe.yaml", "--base-image", stand_in),
        folder=tmp_path,
        cache=tmp_path / "cache",
        extra={**OFFLINE, **secret},
    )
    until(lambda: reached(engine))
    # Programs get the proxy; the container's configuration, which others may read, does not.
    assert "secret" not in json.dumps(engine.running().attrs)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    if number == signal.SIGKILL:
        # It cannot remove the container itself: that ends by itself, and the engine removes it.
        until(lambda: not engine.containers(), 30)
    else:
        assert list((tmp_path / "cache/scratch").iterdir()) == []
    assert engine.containers() == []
    assert engine.images() == images


# Makes a container, tells its identity, and never starts it.
MAKES = f"""\
import sys
from pathlib import Path
from layerpack.docker_engine import connect, need_image
from layerpack.held_container import HeldContainer
from layerpack.limits import RuntimeProfile

engine = connect(Path(sys.argv[1]))
profile = RuntimeProfile.load({RUNTIME!r}, "x86_64")
image = need_image(engine, sys.argv[2], profile, lambda _: None, lambda *_: None)
engine.api.start = lambda identity: [print(identity, flush=True), sys.stdin.read()]
HeldContainer(engine, image, profile).close()
engine.close()
"""


@contextmanager
def maker(owners: Path, image: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has made a container, and the container; it is killed in the end."""
    command = [sys.executable, "-c", MAKES, str(owners), image]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_what_was_made_and_never_started_goes_once_its_process_has_ended(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    nobodys = engine.client.containers.create(stand_in, ["true"], labels={"layerpack": "x"})

    def left(owners: Path) -> set[str]:
        """What is there after another one of those owners came and went."""
        with maker(owners, stand_in) as (process, own):
            process.communicate("")
            assert process.returncode == 0
        made = {one.id for one in engine.client.containers.list(all=True, ignore_removed=True)}
        assert own not in made
        return made

    try:
        with maker(elsewhere, stand_in) as (_, other), maker(here, stand_in) as (process, one):
            assert {nobodys.id, other, one} <= left(here)
            process.kill()
            process.wait()
            after = left(here)
            # The other's owner lives, and is not of the same cache.
            assert one not in after and {nobodys.id, other} <= after
        assert other in left(here) and other not in left(elsewhere)
    finally:
        nobodys.remove(force=True)


def test_the_record_of_an_owner_that_ended_goes_a_day_later(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    owners = tmp_path / "owners"
    with maker(owners, stand_in) as (process, made):
        process.kill()
        process.wait()
    (record,) = owners.iterdir()
    with maker(owners, stand_in):
        # The engine may only now make what it was asked for.
        assert record.exists()
    os.utime(record / "ended", (0, 0))
    with maker(owners, stand_in) as (process, _):
        assert not record.exists()
        process.communicate("")
    assert made not in {one.id for one in engine.client.containers.list(all=True)}


def test_proxies_and_pips_settings_reach_the_build(tmp_path: Path, stand_in: str) -> None:
    statement = (
        "import os; raise SystemExit(f\"{os.environ['HTTPS_PROXY']} {os.environ['PIP_NO_INDEX']} \""
        "f\"{os.environ.get('PIP_INDEX_URL')} {os.environ.get('PIP_EXTRA_INDEX_URL')} \""
        "f\"{os.environ.get('PIP_CONFIG_FILE')} {os.getuid()} {open('/proc/self/mounts').read()}"
        "{open(f'/proc/{os.getppid()}/cwd/requirements.txt').read()}\")"
    )
    locked_source(tmp_path, make_sdist(tmp_path / "s", "telling", statement=statement))
    # The index is in a file here, as `aws codeartifact login` writes it; a folder is none inside.
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://name:secret@127.0.0.1:9/simple\n"
        "extra-index-url = file:///somewhere\n"
    )
    extra = {
        **OFFLINE,
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
    }
    refused("--base-image", stand_in, folder=tmp_path, extra=extra)
    log = (tmp_path / "cache/logs/telling-1.0.log").read_text()
    assert "http://127.0.0.1:9 1 None None None 1000 overlay / " in log
    # The index is pip's alone, not the source's.
    assert "\n  --index-url http://****@127.0.0.1:9/simple\n" in log
    # Nothing of this machine is mounted.
    assert str(tmp_path) not in log


def test_a_build_that_runs_out_of_memory_is_told_so(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    locked_source(tmp_path, make_sdist(tmp_path / "s", "greedy", statement=GROW))
    process = start(
        *("build", "recipe.yaml", "--base-image", stand_in),
        folder=tmp_path,
        cache=tmp_path / "cache",
        extra=OFFLINE,
    )
    until(lambda: reached(engine))
    container = engine.running()
    container.update(mem_limit="100m", memswap_limit="100m")
    container.exec_run(["touch", "/tmp/go"])
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 6
    text = errors[errors.index("error: ") :]
    assert text.startswith(
        "error: building greedy==1.0 failed: it was killed, as the container had no memory left; "
        "its last lines:\n"
    )
    assert (tmp_path / "cache/logs/greedy-1.0.log").is_file()
    assert text.endswith(
        "\n  Give the engine more memory (Docker Desktop: Settings, Resources), or let it compile "
        "fewer files at once (MAX_JOBS=1).\n"
    )


def test_a_full_disk_is_told_so(tmp_path: Path, stand_in: str) -> None:
    locked_source(tmp_path, make_sdist(tmp_path / "s", "bulky", statement=FULL))
    text = refused("--base-image", stand_in, folder=tmp_path, extra=OFFLINE)
    assert text.startswith(
        "error: building bulky==1.0 failed: the container engine has no space left; its last lines:"
    )
    assert "\n  Free some: " in text
    assert "No space left on device" in (tmp_path / "cache/logs/bulky-1.0.log").read_text()


def test_an_image_without_the_runtimes_python_is_told(tmp_path: Path, stand_in: str) -> None:
    path = locked_source(tmp_path, make_sdist(tmp_path / "s", "simple"))
    path.write_text(path.read_text().replace(RUNTIME, "python3.12"))
    lock = path.with_suffix(".lock")
    lock.unlink()
    text = refused("--base-image", stand_in, folder=tmp_path, extra=OFFLINE)
    assert text.startswith(f"error: {stand_in} has no python3.12 to build with: ")
    assert not lock.exists()


def test_an_image_for_another_architecture_is_told(tmp_path: Path, stand_in: str) -> None:
    minimal(tmp_path, runtime=RUNTIME, more="architecture: arm64")
    text = refused("--base-image", stand_in, folder=tmp_path, extra=OFFLINE)
    # It was looked for in its registry, and what that said is told as well.
    assert text.startswith(
        f"error: the image {stand_in} is for linux/amd64, and the recipe needs linux/arm64 (the "
        f"image {stand_in} cannot be pulled: "
    )
    assert text.endswith(
        "\n  Name an image of that architecture with --base-image or build.image.\n"
    )


@pytest.mark.parametrize("where", ["option", "recipe"])
def test_an_image_that_cannot_be_pulled_is_told(tmp_path: Path, where: str) -> None:
    image = "127.0.0.1:9/no-such:1"
    minimal(tmp_path, runtime=RUNTIME, more=f"build: {{image: '{image}'}}")
    other = ["--base-image", "127.0.0.1:9/other@sha256:" + "0" * 64]
    text = refused(*(other if where == "option" else []), folder=tmp_path, extra=OFFLINE)
    assert text.startswith(
        f"error: the image {other[1] if where == 'option' else image} cannot be "
    )
    assert "connection refused" in text
    assert text.endswith("name another with --base-image or build.image.\n")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            "tcp://127.0.0.1:9",
            "the container engine at tcp://127.0.0.1:9 (from DOCKER_HOST) does not answer: "
            "Connection refused",
        ),
        ("unix:///none.sock", "there is no container engine: unix:///none.sock does not exist"),
        (
            "nonsense://x",
            "the container engine at nonsense://x (from DOCKER_HOST) does not answer: Invalid bind "
            "address protocol: nonsense://x",
        ),
    ],
    ids=["unreachable", "absent", "nonsense"],
)
def test_an_engine_that_does_not_answer_is_told(tmp_path: Path, host: str, message: str) -> None:
    minimal(tmp_path, runtime=RUNTIME)
    text = refused("--builder", "docker", folder=tmp_path, extra={"DOCKER_HOST": host})
    assert text == (
        f"error: {message}\n  Install and start Docker (or Podman with its socket), name an engine "
        "with DOCKER_HOST, or use --builder local.\n"
    )


@pytest.mark.parametrize("api", ["1.20", "1.40"])
def test_an_engine_that_is_too_old_is_told(tmp_path: Path, api: str) -> None:
    minimal(tmp_path, runtime=RUNTIME)
    with old_engine(api) as host:
        text = refused("--builder", "docker", folder=tmp_path, extra={"DOCKER_HOST": host})
    assert text.startswith(f"error: the container engine at {host} is too old: ")
    assert text.endswith(
        "; layerpack needs API 1.41\n  Update it to Docker 20.10 or Podman 4 or newer, or use "
        "--builder local.\n"
    )


@contextmanager
def old_engine(api: str) -> Iterator[str]:
    """An address where something answers as an engine of that API's time did."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps({"ApiVersion": api, "Version": "1.8"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_auto_takes_docker_where_the_recipe_needs_it_and_it_is_there(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    path = locked_source(tmp_path, make_sdist(tmp_path / "s", "simple"))
    text = path.read_text()
    path.write_text(text.replace("[simple]}", f"[simple], image: '{stand_in}'}}"))
    with engine.counting() as made:
        ended = automatic(tmp_path, {})
    assert len(made) == 1
    assert f"building in {stand_in}@sha256:" in ended.errors
    assert ended.errors.splitlines()[0].endswith(": build.image names an image")


def test_auto_takes_this_machine_where_docker_is_not_needed_or_not_there(tmp_path: Path) -> None:
    dead = {"DOCKER_HOST": "tcp://127.0.0.1:9"}
    wheel = make_wheel(tmp_path / "w", "simple")
    path = locked_source(tmp_path, wheel)
    ended = automatic(tmp_path, dead)
    assert "building on this machine: nothing in the recipe needs Docker\n" in ended.errors
    text = path.read_text()
    path.write_text(text.replace("[simple]}", "[simple], system-packages: [lz4-devel]}"))
    ended = automatic(tmp_path, dead)
    assert ended.errors.startswith(
        "warning: building on this machine, although build.system-packages asks for lz4-devel: the "
        "container engine at tcp://127.0.0.1:9 (from DOCKER_HOST) does not answer: Connection "
        "refused\n"
    )
    # Who names an image on the command line wants it.
    text = refused("--base-image", "x", folder=tmp_path, extra={**OFFLINE, **dead})
    assert "does not answer" in text
    both = ("--builder", "local", "--base-image", "x")
    text = refused(*both, folder=tmp_path, extra=OFFLINE, code=2)
    assert text.startswith("error: --base-image is an image for --builder docker\n")


def automatic(folder: Path, extra: dict[str, str]) -> Ended:
    """A build that leaves the choice to layerpack, and must succeed."""
    ended = layerpack(
        *("build", "recipe.yaml", "--verbose"),
        folder=folder,
        cache=folder / "cache",
        extra={**OFFLINE, **extra},
    )
    assert ended.code == 0, ended.errors
    return ended


def test_doctor_finds_the_engine(tmp_path: Path, engine: Engine) -> None:
    ended = layerpack("doctor", "--format", "json", folder=tmp_path, cache=tmp_path)
    (found,) = [one for one in json.loads(ended.output) if one["name"] == "container engine"]
    version = engine.client.version()
    assert found["status"] == "found"
    assert found["detail"].startswith(f"{version['Version']} (API {version['ApiVersion']}) at ")
