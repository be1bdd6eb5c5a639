"""The sandbox as a container: what the layers are built in, they are run in.

The function's files lie in the volumes of a container that does nothing else, since an engine may
be on another machine; each environment is a container that has them read-only, and in place of the
image's system what of that stands for Lambda's (emulator/image_system.py). What the engine
gives (no /dev/shm, a read-only root, a user, no capability) is that of `docker run --ipc=none
--read-only --user`; memory and processor are held by inside/agent.py, which runs the function.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, Any, Final

from layerpack.emulator.etc import GROUP, USER
from layerpack.emulator.image_system import (
    COPIES,
    HOME,
    PACKAGE,
    SEARCH,
    ImageSystem,
    volume,
)
from layerpack.emulator.sandbox import (
    BOOTSTRAP,
    CannotIsolateError,
    Program,
    Settings,
    bootstrap_of,
    surroundings,
)
from layerpack.emulator.system import COPY
from layerpack.held_container import HeldContainer, Member, file_member, folder_member
from layerpack.units import sorted_walk

#: Where agent.py looks for them.
_MODULES: Final = (
    *("__init__.py", "process_tree.py"),
    *(f"emulator/{n}.py" for n in ("__init__", "mapped", "memory", "processor")),
)
_AGENT: Final = f"{HOME}/agent.py"
_FOLDERS: Final = ("/opt", "/var/task", "/var/runtime", HOME)
# Enough for an emulated processor.
_START_SECONDS: Final = 60.0
_CONTROL, _OUTPUT = 0, 1
_HEAD: Final = struct.Struct(">II")
# "Attach to a container" in the engine's API.
_STREAM_HEAD: Final = struct.Struct(">BxxxL")
_CHUNK: Final = 1 << 16


class Carrier:
    """A program's files, in an engine; `start` runs it there, in containers with the `system`.

    Raises BuildToolError where the engine refuses.
    """

    def __init__(self, system: ImageSystem, program: Program) -> None:
        self._system = system
        host = {"mounts": [volume(path) for path in _FOLDERS]}
        self._held = HeldContainer(system.engine, system.image, system.profile, host=host)
        try:
            self._held.put(_members(program))
        except BaseException:
            self._held.close()
            raise

    def start(self, program: Program, settings: Settings) -> DockerRunning:
        """Start the function's process. Raises CannotIsolateError where that does not start, and
        BuildToolError."""
        system = self._system
        python = f"python{system.profile.python}"
        held = HeldContainer(
            system.engine,
            system.image,
            system.profile,
            # Not by the image's own variables, which may name another one.
            ("/bin/sh", "-c", f"PATH={SEARCH}; exec {python} -I -S -B {_AGENT}"),
            talking=True,
            user=f"{USER}:{GROUP}",
            host={
                "volumes_from": [f"{self._held.id}:ro", *system.volumes_from],
                "mounts": system.mounts,
                "read_only": True,
                "ipc_mode": "none",
                "cap_drop": ["ALL"],
                "security_opt": ["no-new-privileges"],
                "network_mode": "bridge" if settings.network else "none",
                "tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={settings.tmp_mb}m"},  # noqa: S108
            },
            working_dir="/var/task",
        )
        running = DockerRunning(held)
        try:
            running.begin(
                {
                    "arguments": bootstrap_of(program),
                    **surroundings(program, settings),
                    "memory_bytes": settings.memory_mb * 2**20,
                    "processors": settings.processors,
                }
            )
        except BaseException:
            running.end()
            raise
        return running

    def close(self) -> None:
        """Remove the files."""
        self._held.close()


def _members(program: Program) -> Iterator[Member]:
    for place, folder in (
        ("/opt", program.opt),
        ("/var/task", program.task),
        ("/var/runtime", program.client),
    ):
        for path in sorted_walk(folder):
            yield file_member(f"{place}/{path.as_posix()}", folder / path)
    # The system's volumes are mounted there, too, and this one is read-only then.
    yield from map(folder_member, (COPY, *COPIES))
    inside = PACKAGE / "emulator/inside"
    yield file_member(_AGENT, inside / "agent.py")
    yield file_member(BOOTSTRAP, inside / "runtime.py")
    for name in _MODULES:
        yield file_member(f"{HOME}/layerpack/{name}", PACKAGE / name)


class DockerRunning:
    """A function in a container (see sandbox.Running), with the agent there to speak to."""

    def __init__(self, held: HeldContainer) -> None:
        self._held = held
        # The SDK gives a file of the socket, which cannot be written to.
        self._socket: socket.socket = getattr(held.socket, "_sock", held.socket)
        self._sending = threading.Lock()
        self._connections: dict[int, socket.socket] = {}
        self._started = threading.Event()
        self._code: int | None = None
        self._peak = self._read = 0
        self._said = bytearray()
        self.out_of_memory = False
        self.mapped: set[str] = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        reading, self._printed = os.pipe()
        self.output: IO[bytes] = os.fdopen(reading, "rb", buffering=0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self, order: dict[str, Any]) -> None:
        """Have the agent start the function. Raises CannotIsolateError."""
        self._thread.start()
        self._send(_CONTROL, json.dumps(order).encode())
        if self._started.wait(_START_SECONDS) and self._code is None:
            return
        said = self._said.decode(errors="replace").strip().splitlines()
        if not said and self._code is not None:
            # Its first program could not even begin.
            self._held.raise_foreign()
        raise CannotIsolateError(said[-1] if said else "the container's agent did not start")

    def look(self) -> tuple[int, int]:
        """See sandbox.Running: the agent tells before each of the function's words."""
        return self._peak, self._read

    def wait(self) -> int:
        """See sandbox.Running."""
        self._thread.join()
        assert self._code is not None  # noqa: S101 (the thread's last deed)
        return self._code

    def kill(self) -> None:
        """See sandbox.Running."""
        self._held.remove()
        # An engine that no longer answers would not end it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """See sandbox.Running."""
        self.kill()
        if self._thread.is_alive():
            self._thread.join()
        self._held.close()

    # What comes from the agent.

    def _run(self) -> None:
        try:
            for channel, data in _split(self._stdout(), _HEAD):
                self._take(channel, data)
                if self._code is not None:
                    break
        except OSError:
            # The container was removed, or the engine is gone.
            pass
        finally:
            if self._code is None:
                self._code = -signal.SIGKILL
                with suppress(OSError):
                    os.write(self._printed, self._said)
            self._started.set()
            for connection in self._connections.values():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            os.close(self._printed)

    def _stdout(self) -> Iterator[bytes]:
        """The agent's standard output; its standard error is kept, as the reason why it ended."""
        received = iter(lambda: self._socket.recv(_CHUNK), b"")
        for stream, content in _split(received, _STREAM_HEAD):
            if stream == 1:
                yield content
            else:
                self._said += content

    def _take(self, channel: int, data: bytes) -> None:
        if channel == _CONTROL:
            message = json.loads(data)
            self._peak = message.get("peak", self._peak)
            self._read = message.get("read", self._read)
            self.mapped.update(message.get("mapped", ()))
            if "ended" in message:
                self.out_of_memory = message["out_of_memory"]
                self._code = message["ended"]
            elif "started" in message:
                self._started.set()
        elif channel == _OUTPUT:
            while data:
                data = data[os.write(self._printed, data) :]
        else:
            self._pass_on(channel, data)

    def _pass_on(self, channel: int, data: bytes) -> None:
        connection = self._connections.get(channel)
        try:
            if connection is None:
                connection = socket.create_connection(self.listener.getsockname())
                self._connections[channel] = connection
                threading.Thread(
                    target=self._answer, args=(channel, connection), daemon=True
                ).start()
            if data:
                connection.sendall(data)
            else:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            # Nobody listens any more: the environment is being closed.
            pass

    def _answer(self, channel: int, connection: socket.socket) -> None:
        """Carry what the Runtime API answers on a connection."""
        with connection, suppress(OSError):
            while data := connection.recv(_CHUNK):
                self._send(channel, data)
            self._send(channel, b"")

    def _send(self, channel: int, data: bytes) -> None:
        with self._sending:
            self._socket.sendall(_HEAD.pack(channel, len(data)) + data)


def _split(pieces: Iterable[bytes], head: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """The frames of a stream that comes in any pieces: `head` has a frame's number and size."""
    data = bytearray()
    for piece in pieces:
        data += piece
        while len(data) >= head.size:
            number, size = head.unpack_from(data)
            end = head.size + size
            if len(data) < end:
                break
            content = bytes(data[head.size : end])
            del data[:end]
            yield number, content
