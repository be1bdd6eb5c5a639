"""A stand-in for AWS's build images: a Debian with Python and a compiler, in a real engine.

The tests that use it have the marker `engine`. They need an engine that answers, what Debian calls
debootstrap, root's rights to run that, and the package index. The stand-in differs from the real
images in its package manager (apt-get, not dnf) and in its glibc, which is newer than Lambda's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from docker.client import DockerClient

from layerpack.lock import Lock
from layerpack.recipe import Recipe
from layerpack.units import key_of
from tests.support.wheels import sha256

#: The runtime of the stand-in's Python: trixie's is 3.13.
RUNTIME: Final = "python3.13"
#: No package index, and no pip configuration of this machine.
OFFLINE: Final = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}

_SUITE: Final = "trixie"
# No certificates: that those of this machine are passed on is a part of what is tested.
_PACKAGES: Final = ("python3", "python3-dev", "gcc", "libc6-dev")
_NOT_NEEDED: Final = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
)


class Engine:
    """The engine of this machine, and what layerpack has in it."""

    def __init__(self) -> None:
        self.client = DockerClient.from_env(version="auto", timeout=120)
        self.client.ping()

    def containers(self) -> list[Any]:
        """layerpack's containers, running or not."""
        # One may go between the list and a look at it.
        filters = {"label": "layerpack"}
        return list(self.client.containers.list(all=True, filters=filters, ignore_removed=True))

    def images(self) -> set[str]:
        """Every image, those without a name as well."""
        return {image.id for image in self.client.images.list(all=True)}

    def running(self) -> Any:
        """layerpack's container, waited for."""
        return until(lambda: next(iter(self.containers()), None))

    @contextmanager
    def counting(self) -> Iterator[list[str]]:
        """The containers that layerpack made within the block, known after it."""
        made: list[str] = []
        since = self._clock()
        yield made
        filters = {"event": "create", "label": "layerpack"}
        events = self.client.api.events(
            since=since, until=self._clock(), filters=filters, decode=True
        )
        made += [event["id"] for event in events]

    def _clock(self) -> str:
        """The engine's clock, which may be another than ours, in seconds."""
        told = self.client.info()["SystemTime"]
        # Nanoseconds, of which Python takes the first six digits.
        whole, _, fraction = told.rstrip("Z").partition(".")
        return f"{datetime.fromisoformat(whole + '+00:00').timestamp():.0f}.{fraction}"


def until(probe: Callable[[], Any], seconds: float = 120) -> Any:
    """What `probe` gives once that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := probe():
            return value
        time.sleep(0.2)
    raise AssertionError(f"not so within {seconds} s")


def reached(engine: Engine) -> bool:
    """Whether a build has made the file /tmp/reached in its container."""
    containers = engine.containers()
    if not containers or containers[0].status != "running":
        return False
    return bool(containers[0].exec_run(["test", "-e", "/tmp/reached"]).exit_code == 0)


def stand_in_archive(cache: Path) -> Path:
    """The stand-in's root file system as a tar file, kept in the folder `cache`."""
    archive = cache / f"{_SUITE}-{key_of(_PACKAGES, _NOT_NEEDED)[:8]}.tar"
    if not archive.exists():
        root = cache / f".{_SUITE}"
        shutil.rmtree(root, ignore_errors=True)
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
        tool = shutil.which("debootstrap", path=path)
        assert tool is not None, "the tests marked `engine` need debootstrap"
        command = [tool, "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(root)]
        environment = {**os.environ, "PATH": path}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        aside = archive.with_suffix(".new")
        with tarfile.open(aside, "w") as tar:
            tar.add(root, arcname=".", filter=_wanted)
        shutil.rmtree(root)
        aside.rename(archive)
    return archive


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    path = member.name.removeprefix("./")
    inside = any(path.startswith(f"{folder}/") for folder in _NOT_NEEDED)
    return None if inside and not member.isdir() else member


def locked_source(folder: Path, source: Path, more: str = "") -> Path:
    """A recipe, with its lock, of one source distribution or wheel in `folder`/links."""
    links = folder / "links"
    links.mkdir(parents=True)
    shutil.copy(source, links)
    name, version = source.name.removesuffix(".tar.gz").split("-")[:2]
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: small\nruntime: {RUNTIME}\nrequirements: [{name}]\n"
        f"resolve: {{find-links: [links]}}\nbuild: {{from-source: [{name}]}}\n{more}"
    )
    recipe = Recipe.load(path)
    body = f"{name}=={version} --hash=sha256:{sha256(source)}\n"
    Lock.make(recipe, body, ()).write(recipe.lock_path)
    return path
