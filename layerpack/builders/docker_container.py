"""A container to work in: files go in and out through the engine's API, programs run inside.

Nothing of this machine is mounted, so the engine may be remote. Secrets (proxies, index addresses)
are in the environment of the programs that need them, never in the container's configuration.
"""

from __future__ import annotations

import codecs
import io
import posixpath
import re
import signal
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from layerpack import process
from layerpack.builders.docker_engine import (
    DISK_FULL,
    ENGINE_ERRORS,
    NOT_FOUND,
    Engine,
    Image,
    ended_error,
    engine_error,
    platform_of,
    proxy_variables,
    told,
)
from layerpack.builders.docker_settings import CA_VARIABLES, passed_settings
from layerpack.errors import BuildToolError
from layerpack.limits import RuntimeProfile
from layerpack.units import sorted_walk

#: Where layerpack's files are in a container.
HOME = "/layerpack"
#: Marks our containers: `docker ps --filter label=layerpack`.
LABEL = "layerpack"

# Some user who is not root; images need not know the number.
_USER = 1000
_CA_BUNDLE = f"{HOME}/ca-bundle.pem"
# Another layerpack needs far less from making a container to starting it; clocks may differ.
_NEVER_STARTED_SECONDS = 600.0
_ENDING_SECONDS = 5.0
# cgroups count what the kernel killed in them: version 2 here, version 1 there.
_KILLS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_KILLED = re.compile(r"^oom_kill (\d+)", re.MULTILINE)


class Container:
    """A running container of an image, gone after `close` and also when this process dies."""

    def __init__(self, engine: Engine, image: Image, profile: RuntimeProfile) -> None:
        """Start it. Raises BuildToolError where the engine refuses."""
        self._engine = engine
        self._api = engine.api
        self._image = image
        self._folders = 0
        self._id = ""
        self._held: Any = None
        self._kills = 0
        self.doing = ""
        """What is done in it, for errors: `building gluonnlp==0.10.0`."""
        try:
            with told(f"starting a container of {image.reference}"):
                self._sweep()
                self._start(platform_of(profile))
            self._prepare()
        except BuildToolError:
            ended = not self._runs()
            self.close()
            if ended and not engine.is_native(profile):
                # Its first program could not even begin, and the engine removed it.
                doing = f"starting a container of {image.reference}"
                raise engine_error(doing, "exec format error") from None
            raise
        except BaseException:
            self.close()
            raise

    def _sweep(self) -> None:
        """Remove what a layerpack left that was killed between making a container and starting
        it: the engine removes only those that ran."""
        left = self._api.containers(all=True, filters={"label": LABEL, "status": "created"})
        for container in left:
            if container["Created"] < time.time() - _NEVER_STARTED_SECONDS:
                with suppress(*ENGINE_ERRORS):
                    self._api.remove_container(container["Id"], v=True, force=True)

    def _start(self, platform: str) -> None:
        # In a thread, which is waited for also where this one is cancelled meanwhile: the engine
        # makes the container all the same, and only who knows its identity can remove it.
        with ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(self._create, platform).result()
        self._held = self._api.attach_socket(self._id, params={"stdin": 1, "stream": 1})
        self._api.start(self._id)

    def _create(self, platform: str) -> None:
        created = self._api.create_container(
            self._image.identity,
            # It ends when its standard input does, which this process holds: so a container does
            # not outlive a layerpack that was killed, and the engine removes it.
            command=[],
            entrypoint=["/bin/sh", "-c", "cat >/dev/null"],
            stdin_open=True,
            user=f"{_USER}:{_USER}",
            working_dir="/",
            labels={LABEL: ""},
            platform=platform,
            # The proxies of Docker's configuration may hold secrets, and go to programs alone.
            use_config_proxy=False,
            host_config=self._api.create_host_config(auto_remove=True),
        )
        self._id = created["Id"]

    def _prepare(self) -> None:
        members: list[tuple[tarfile.TarInfo, Path | None]] = []
        members += [_folder(HOME), _folder(f"{HOME}/home"), _folder(f"{HOME}/work")]
        self._settings = passed_settings()
        if self._settings.ca_bundle is not None:
            members.append(_file(_CA_BUNDLE, self._settings.ca_bundle))
        self._put(members)

    def _runs(self) -> bool:
        """Whether it has not ended; true where the engine does not tell."""
        try:
            return bool(self._api.inspect_container(self._id)["State"]["Running"])
        except NOT_FOUND:
            return False
        except ENGINE_ERRORS:
            return True

    def close(self) -> None:
        """Remove it, with all that still runs in it."""
        identity, self._id = self._id, ""
        if identity:
            # It may be gone already, and an engine that no longer answers removes it by itself.
            with suppress(*ENGINE_ERRORS):
                self._api.remove_container(identity, v=True, force=True)
        if self._held is not None:
            self._held.close()
            self._held = None

    def add(self, place: str, root: Path, paths: Iterable[Path]) -> None:
        """Copy files of the folder `root`, given relative to it, to the folder `place` inside."""
        self._put([_file(f"{place}/{path.as_posix()}", root / path) for path in paths])

    def read(self, path: str) -> bytes | None:
        """The content of a file inside; None where there is none (a link is not followed)."""
        with told(f"reading {path} in the container"):
            try:
                chunks, _ = self._api.get_archive(self._id, path)
            except NOT_FOUND:
                return None
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                member = archive.next()
                stream = archive.extractfile(member) if member and member.isreg() else None
                return stream.read() if stream else None

    def install(self, packages: Sequence[str], script: str, on_line: Callable[[str], None]) -> str:
        """Install packages of the image's system, as root within it; returns what that printed.

        Raises BuildToolError with the last lines where it fails.
        """
        result = self._exec(
            ["/bin/sh", "-c", script, "install-packages", *packages],
            environment=self._environment(),
            folder="/",
            on_line=on_line,
            user="0",
        )
        printed = result.output + result.errors
        if result.returncode != 0:
            raise PackagesError(printed)
        return printed

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> process.Result:
        """Run a program inside (see process.Runner): `folder` is copied in, and out at its end.

        Folders that the arguments name for pip's `--find-links` are copied in, too. Raises
        BuildToolError when the engine fails, or the program for want of memory or disk.
        """
        inside = "/"
        if folder is not None:
            inside = self._place()
            self._put([_folder(inside)])
            self.add(inside, folder, sorted_walk(folder))
        words, indexes = _without_indexes(self._with_links(arguments))
        result = self._exec(
            words,
            environment={**self._environment(), **(environment or {}), **indexes},
            folder=inside,
            on_line=on_line or (lambda line: None),
            user=f"{_USER}:{_USER}",
        )
        if folder is not None:
            self._take(inside, folder)
        return result

    def _place(self) -> str:
        self._folders += 1
        return f"{HOME}/work/{self._folders}"

    def _with_links(self, arguments: Sequence[str | Path]) -> list[str]:
        words = [str(argument) for argument in arguments]
        for number, word in enumerate(words[:-1], start=1):
            if word == "--find-links" and (links := Path(words[number])).is_dir():
                words[number] = place = self._place()
                self._put([_folder(place)])
                self.add(place, links, [Path(one.name) for one in links.iterdir() if one.is_file()])
        return words

    def _environment(self) -> dict[str, str]:
        bundle = dict.fromkeys(CA_VARIABLES, _CA_BUNDLE) if self._settings.ca_bundle else {}
        # The user has no entry in the image's list of users.
        return {
            **proxy_variables(),
            **self._settings.variables,
            **bundle,
            "HOME": f"{HOME}/home",
            "USER": "layerpack",
            "LC_ALL": "C.UTF-8",
        }

    def _put(self, members: Iterable[tuple[tarfile.TarInfo, Path | None]]) -> None:
        # On disk: the files may be as large as a model.
        with tempfile.TemporaryFile() as stream:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                for info, source in members:
                    if source is None:
                        archive.addfile(info)
                    else:
                        with source.open("rb") as content:
                            archive.addfile(info, content)
            stream.seek(0)
            with told("copying files into the container"):
                self._api.put_archive(self._id, "/", stream)

    def _take(self, inside: str, folder: Path) -> None:
        """Copy the files of a folder inside to one here, as its user's own plain files."""
        with tempfile.TemporaryFile() as stream, told("copying files out of the container"):
            chunks, _ = self._api.get_archive(self._id, f"{inside}/.")
            for chunk in chunks:
                stream.write(chunk)
            stream.seek(0)
            with tarfile.open(fileobj=stream) as archive:
                for member in archive:
                    path = posixpath.normpath(member.name)
                    content = archive.extractfile(member) if member.isreg() else None
                    # Nothing that a build made may lead out of the folder, or be other than a file.
                    if content is None or path.startswith(("..", "/")):
                        continue
                    target = folder / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as out:
                        while block := content.read(1 << 20):
                            out.write(block)

    def _exec(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: str,
        on_line: Callable[[str], None],
        user: str,
    ) -> process.Result:
        doing = self.doing or f"running {posixpath.basename(arguments[0])} in the container"
        streams = (_Lines(on_line), _Lines(on_line))
        with told(doing):
            started = self._api.exec_create(
                self._id, list(arguments), environment=dict(environment), workdir=folder, user=user
            )
            for number, chunk in self._engine.output_of(started["Id"]):
                streams[number].feed(chunk)
            for stream in streams:
                stream.end()
            code = self._api.exec_inspect(started["Id"])["ExitCode"]
        if code is None:
            self._require_running(doing)
            raise BuildToolError(
                f"{doing} failed: the connection to the container broke",
                "A network device may end connections that are silent for long: build again.",
            )
        result = process.Result(returncode=code, output=streams[0].text, errors=streams[1].text)
        if code != 0:
            self._check_resources(doing, result)
        return result

    def _check_resources(self, doing: str, result: process.Result) -> None:
        """Raises ResourcesError where memory or disk were what a failed program lacked, and
        BuildToolError where the container was ended."""
        # One that was killed may be so since its container is being ended, which takes a moment.
        killed = result.returncode == 128 + signal.SIGKILL
        end = time.monotonic() + (_ENDING_SECONDS if killed else 0.0)
        while self._runs() and time.monotonic() < end:
            time.sleep(0.1)
        self._require_running(doing)
        if DISK_FULL in (result.output + result.errors).lower():
            cause = engine_error(doing, DISK_FULL)
            raise ResourcesError(cause.message, cause.hint, result)
        with told(doing):
            # Whatever the program was, the kernel counts in the container's group what it killed.
            asked = self._api.exec_create(self._id, ["/bin/cat", *_KILLS])
            counts = b"".join(chunk for _, chunk in self._engine.output_of(asked["Id"]))
        match = _KILLED.search(counts.decode("utf-8", "replace"))
        kills = int(match[1]) if match else 0
        # One that a former program outlived is not what this one died of.
        before, self._kills = self._kills, kills
        if kills > before:
            raise ResourcesError(
                f"{doing} failed: it was killed, as the container had no memory left",
                "Give the engine more memory (Docker Desktop: Settings, Resources), or let it "
                "compile fewer files at once (MAX_JOBS=1).",
                result,
            )

    def _require_running(self, doing: str) -> None:
        if not self._runs():
            raise ended_error(doing)


def _without_indexes(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command of pip's without its indexes, and the variables that tell it of them: an engine
    shows everyone the arguments of what it runs, and an address may hold a password."""
    names = {"--index-url": "PIP_INDEX_URL", "--extra-index-url": "PIP_EXTRA_INDEX_URL"}
    left: list[str] = []
    found: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word in names:
            found.setdefault(names[word], []).append(next(rest, ""))
        else:
            left.append(word)
    return left, {name: " ".join(values) for name, values in found.items()}


class ResourcesError(BuildToolError):
    """A program lacked memory or disk; `result` is what it printed."""

    def __init__(self, message: str, hint: str, result: process.Result) -> None:
        super().__init__(message, hint)
        self.result = result


class PackagesError(Exception):
    """System packages could not be installed; the message is all that was printed."""


class _Lines:
    """Text that comes in pieces of bytes, told line by line."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._on_line = on_line
        self._parts: list[str] = []
        self._rest = ""

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def feed(self, data: bytes, *, final: bool = False) -> None:
        piece = self._decode(data, final)
        self._parts.append(piece)
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            self._on_line(_shown(line))

    def end(self) -> None:
        self.feed(b"", final=True)
        if self._rest:
            self._on_line(_shown(self._rest))


def _shown(line: str) -> str:
    """What a terminal would show of a line at last: progress bars begin it over and over."""
    return line.rstrip("\r").rpartition("\r")[2]


def _info(path: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.removeprefix("/"))
    info.uid = info.gid = _USER
    info.mode = mode
    return info


def _folder(path: str) -> tuple[tarfile.TarInfo, None]:
    info = _info(path, 0o755)
    info.type = tarfile.DIRTYPE
    return info, None


def _file(path: str, source: Path) -> tuple[tarfile.TarInfo, Path]:
    info = _info(path, 0o644)
    info.size = source.stat().st_size
    return info, source
