"""A container that ends with this process, and the files that are copied into it.

It runs for as long as its standard input is open, which this process holds: so it does not outlive
a layerpack that was killed, and the engine removes it. Nothing of this machine is mounted, so the
engine may be remote.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from layerpack.docker_engine import (
    ENGINE_ERRORS,
    NOT_FOUND,
    Engine,
    Image,
    engine_error,
    platform_of,
    told,
)
from layerpack.errors import BuildToolError
from layerpack.limits import RuntimeProfile

#: Marks our containers, with their owner: `docker ps --filter label=layerpack`.
LABEL: Final = "layerpack"
#: A program that does nothing until its standard input ends.
WAITING: Final = ("/bin/sh", "-c", "cat >/dev/null")
#: A user who is not root; images need not know the number.
USER: Final = 1000

#: A file's or folder's entry in a tar archive, and the file with its content.
Member = tuple[tarfile.TarInfo, Path | None]


class HeldContainer:
    """A running container, gone after `close` and also when this process dies.

    `command` must end when its standard input does. With `talking`, `socket` carries that and the
    program's output (see "Attach to a container" in the engine's API). `host` and `more` are
    options of the SDK's create_host_config and create_container. Raises BuildToolError where the
    engine refuses.
    """

    def __init__(
        self,
        engine: Engine,
        image: Image,
        profile: RuntimeProfile,
        command: Sequence[str] = WAITING,
        *,
        talking: bool = False,
        user: str = f"{USER}:{USER}",
        host: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        assert engine.owner is not None  # noqa: S101 (see connect)
        self._owner = engine.owner
        self._api = engine.api
        self._is_native = engine.is_native(profile)
        self._doing = f"starting a container of {image.reference}"
        self.id = ""
        self.socket: Any = None

        def create() -> None:
            created = self._api.create_container(
                image.identity,
                command=[],
                entrypoint=list(command),
                stdin_open=True,
                user=user,
                labels={LABEL: self._owner.name},
                platform=platform_of(profile),
                # The proxies of Docker's configuration may hold secrets, and go to programs alone.
                use_config_proxy=False,
                host_config=self._api.create_host_config(auto_remove=True, **(host or {})),
                **more,
            )
            self.id = created["Id"]

        streams = {"stdin": 1, "stream": 1, **({"stdout": 1, "stderr": 1} if talking else {})}
        try:
            with told(self._doing):
                self._sweep()
                # In a thread, which is waited for also where this one is cancelled meanwhile: the
                # engine makes the container all the same, and only who knows its identity can
                # remove it.
                with ThreadPoolExecutor(max_workers=1) as thread:
                    thread.submit(create).result()
                self.socket = self._api.attach_socket(self.id, params=streams)
                self._api.start(self.id)
        except BaseException:
            # One that the engine made without telling of it.
            self._owner.leaves |= not self.id
            self.close()
            raise

    def _sweep(self) -> None:
        """Remove what a layerpack left that was killed between making a container and starting
        it: the engine removes only those that ran."""
        with self._owner.ended() as owners:
            for container in self._api.containers(all=True, filters={"label": LABEL}):
                if container["Labels"][LABEL] in owners:
                    with suppress(*ENGINE_ERRORS):
                        self._api.remove_container(container["Id"], v=True, force=True)

    def runs(self) -> bool:
        """Whether it has not ended; true where the engine does not tell."""
        try:
            return bool(self._api.inspect_container(self.id)["State"]["Running"])
        except NOT_FOUND:
            return False
        except ENGINE_ERRORS:
            return True

    def put(self, members: Iterable[Member]) -> None:
        """Copy files and folders in, by their paths below `/`.

        Raises BuildToolError where the engine refuses, as it does where the container ended because
        the image is for another architecture.
        """
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
            try:
                with told("copying files into the container"):
                    self._api.put_archive(self.id, "/", stream)
            except BuildToolError:
                if not self.runs():
                    self.raise_foreign()
                raise

    def raise_foreign(self) -> None:
        """For a container whose first program did not even begin: raises BuildToolError where it
        is for another architecture than the engine's."""
        if not self._is_native:
            raise engine_error(self._doing, "exec format error") from None

    def remove(self) -> None:
        """Remove it, with its volumes and all that still runs in it; what `socket` carries ends."""
        identity, self.id = self.id, ""
        if identity:
            try:
                self._api.remove_container(identity, v=True, force=True)
            except NOT_FOUND:
                pass
            except ENGINE_ERRORS:
                # Where it runs, an engine that no longer answers removes it by itself.
                self._owner.leaves = True

    def close(self) -> None:
        """Remove it, and let go of its socket."""
        self.remove()
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def folder_member(path: str) -> Member:
    """The archive's entry for a folder."""
    info = _info(path, 0o755)
    info.type = tarfile.DIRTYPE
    return info, None


def file_member(path: str, source: Path) -> Member:
    """The archive's entry for a file: all may read it, and run it where its owner may."""
    status = source.stat()
    info = _info(path, 0o755 if status.st_mode & 0o100 else 0o644)
    info.size = status.st_size
    return info, source


def _info(path: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.removeprefix("/"))
    info.uid = info.gid = USER
    info.mode = mode
    return info
