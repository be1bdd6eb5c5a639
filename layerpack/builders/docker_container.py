"""A container to work in: files go in and out through the engine's API, programs run inside.

Nothing of this machine is mounted, so the engine may be remote. Secrets (proxies, index addresses)
are in the environment of the programs that need them, never in the container's configuration.
"""

from __future__ import annotations

import io
import posixpath
import re
import signal
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from layerpack import process
from layerpack.builders.docker_settings import CA_VARIABLES, passed_settings
from layerpack.docker_engine import (
    DISK_FULL,
    NOT_FOUND,
    Engine,
    Image,
    ended_error,
    engine_error,
    proxy_variables,
    told,
)
from layerpack.errors import BuildToolError
from layerpack.held_container import USER, HeldContainer, file_member, folder_member
from layerpack.indexes import hide_indexes, pip_indexes, section_of
from layerpack.limits import RuntimeProfile
from layerpack.units import sorted_walk

#: Where layerpack's files are in a container.
HOME = "/layerpack"
# Of pip's configuration: what is no command of pip's reads this one.
_SECTION = "install"
_CA_BUNDLE = f"{HOME}/ca-bundle.pem"
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
        self._kills = 0
        self.doing = ""
        """What is done in it, for errors: `building gluonnlp==0.10.0`."""
        self._held = HeldContainer(engine, image, profile, working_dir="/")
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        members = [folder_member(path) for path in (HOME, f"{HOME}/home", f"{HOME}/work")]
        self._passed = cache(passed_settings)
        if (bundle := self._passed(_SECTION).ca_bundle) is not None:
            members.append(file_member(_CA_BUNDLE, bundle))
        self._held.put(members)

    def close(self) -> None:
        """Remove it, with all that still runs in it."""
        self._held.close()

    def add(self, place: str, root: Path, paths: Iterable[Path]) -> None:
        """Copy files of the folder `root`, given relative to it, to the folder `place` inside."""
        self._held.put([file_member(f"{place}/{path.as_posix()}", root / path) for path in paths])

    def read(self, path: str) -> bytes | None:
        """The content of a file inside; None where there is none (a link is not followed)."""
        with told(f"reading {path} in the container"):
            try:
                chunks, _ = self._api.get_archive(self._held.id, path)
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
        # An engine shows everyone the arguments of what it runs.
        words, indexes = pip_indexes(self._with_links(arguments), configured=False)
        own = self._environment(section_of(words))
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
            if name in indexes and name in own:
                indexes[name] = f"{own[name]} {indexes[name]}"
        variables = {**own, **(environment or {}), **indexes}
        inside = "/"
        if folder is not None:
            if "--requirement" in words:
                variables = hide_indexes(words, variables, folder)
            inside = self._place()
            self._held.put([folder_member(inside)])
            self.add(inside, folder, sorted_walk(folder))
        result = self._exec(
            words,
            environment=variables,
            folder=inside,
            on_line=on_line or (lambda line: None),
            user=f"{USER}:{USER}",
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
                self._held.put([folder_member(place)])
                self.add(place, links, [Path(one.name) for one in links.iterdir() if one.is_file()])
        return words

    def _environment(self, section: str = _SECTION) -> dict[str, str]:
        has_bundle = self._passed(_SECTION).ca_bundle is not None
        bundle = dict.fromkeys(CA_VARIABLES, _CA_BUNDLE) if has_bundle else {}
        # The user has no entry in the image's list of users.
        return {
            **proxy_variables(),
            **self._passed(section).variables,
            **bundle,
            "HOME": f"{HOME}/home",
            "USER": "layerpack",
            "LC_ALL": "C.UTF-8",
        }

    def _take(self, inside: str, folder: Path) -> None:
        """Copy the files of a folder inside to one here, as its user's own plain files."""
        with tempfile.TemporaryFile() as stream, told("copying files out of the container"):
            chunks, _ = self._api.get_archive(self._held.id, f"{inside}/.")
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
        streams = (process.Lines(on_line), process.Lines(on_line))
        with told(doing):
            started = self._api.exec_create(
                self._held.id,
                list(arguments),
                environment=dict(environment),
                workdir=folder,
                user=user,
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
        while self._held.runs() and time.monotonic() < end:
            time.sleep(0.1)
        self._require_running(doing)
        if DISK_FULL in (result.output + result.errors).lower():
            cause = engine_error(doing, DISK_FULL)
            raise ResourcesError(cause.message, cause.hint, result)
        with told(doing):
            # Whatever the program was, the kernel counts in the container's group what it killed.
            asked = self._api.exec_create(self._held.id, ["/bin/cat", *_KILLS])
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
        if not self._held.runs():
            raise ended_error(doing)


class ResourcesError(BuildToolError):
    """A program lacked memory or disk; `result` is what it printed."""

    def __init__(self, message: str, hint: str, result: process.Result) -> None:
        super().__init__(message, hint)
        self.result = result


class PackagesError(Exception):
    """System packages could not be installed; the message is all that was printed."""
