"""Runs first in a container: starts the function, and carries what it says to layerpack and back.

A container's loopback cannot be reached from outside, so all goes through this program's standard
input and output, in frames: the number of a channel and a size (both 32 bits, big-endian), and so
many bytes. Channel 0 is for JSON, 1 for what the function prints, and every further one for a
connection to the port that stands for Lambda's Runtime API; a frame without bytes ends one.

The first frame, on channel 0, holds `arguments` for Python, `environment` (in whose variables
`with_port` the word PORT stands for the port), `folder`, `memory_bytes` and `processors` (or null).
What comes back on it: `{"started": true}`; `{"peak": bytes, "read": bytes, "mapped": [file]}`,
which goes ahead of everything that the function sends, with further files that it ran code of;
and in the end `{"ended": code, "out_of_memory": false}`. All ends when standard input does.

Of layerpack it imports modules that are copied in beside it, and runs on Python 3.9 or later.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

from layerpack.emulator.memory import MemoryWatch
from layerpack.emulator.processor import ProcessorShare

CONTROL, OUTPUT, FIRST = 0, 1, 2
HEAD = struct.Struct(">II")
CHUNK = 1 << 16
FILES = 1024


def receive(size: int) -> bytes:
    """So many bytes of standard input; ends the program, and with it the container, without."""
    data = bytearray()
    while len(data) < size:
        piece = os.read(0, min(CHUNK, size - len(data)))
        if not piece:
            os._exit(0)
        data += piece
    return bytes(data)


def frame() -> tuple[int, bytes]:
    """The next frame: its channel and content."""
    channel, size = HEAD.unpack(receive(HEAD.size))
    return channel, receive(size)


def send(channel: int, data: bytes) -> None:
    """Send a frame."""
    left = memoryview(HEAD.pack(channel, len(data)) + data)
    while left:
        left = left[os.write(1, left) :]


class Agent:
    """The function's process, and its connections by their channels."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.server = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.connections: dict[int, socket.socket] = {}
        self.opened = FIRST
        #: The connections on which layerpack spoke last, or nobody yet.
        self.silent: set[int] = set()
        self.selector = selectors.DefaultSelector()
        port = str(self.server.getsockname()[1])
        environment = {
            name: value.replace("PORT", port) if name in order["with_port"] else value
            for name, value in order["environment"].items()
        }
        self.process = subprocess.Popen(
            # Without the distributions of the image's Python, which the runtime does not have.
            [sys.executable, "-S", *order["arguments"]],
            env=environment,
            cwd=order["folder"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # Lambda's quota of file descriptors.
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        assert self.process.stdout is not None  # noqa: S101
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.output, False)
        self.out_of_memory = False
        #: Mapped files that layerpack knows.
        self.told: set[str] = set()
        self.watch = MemoryWatch(self.process.pid, order["memory_bytes"], self.kill)
        if order["processors"] is not None:
            ProcessorShare(self.process.pid, order["processors"])
        # The end of a child is one more thing to read.
        self.ended, theirs = os.pipe()
        os.set_blocking(theirs, False)
        signal.set_wakeup_fd(theirs)
        signal.signal(signal.SIGCHLD, lambda number, stack: None)
        for readable in (0, self.output, self.server, self.ended):
            self.selector.register(readable, selectors.EVENT_READ)
        tell({"started": True})

    def kill(self) -> None:
        """The function takes more memory than it may."""
        self.out_of_memory = True
        os.kill(self.process.pid, signal.SIGKILL)

    def run(self) -> int:
        """Carry what comes, until the function's process ends: its exit code as Popen has it."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.server:
                    self.accept()
                elif key.fd == 0:
                    self.give(*frame())
                elif key.fd == self.output:
                    self.print()
                elif key.fd == self.ended:
                    os.read(self.ended, CHUNK)
                else:
                    self.take(key.data)
            code = self.reap()
            if code is not None:
                return code

    def reap(self) -> int | None:
        """As process 1: collect what has ended; the function's code if it is among that."""
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if child == self.process.pid:
                if os.WIFSIGNALED(status):
                    return -os.WTERMSIG(status)
                return os.WEXITSTATUS(status)
            if child == 0:
                return None

    def accept(self) -> None:
        """A connection of the function's."""
        connection, _ = self.server.accept()
        self.connections[self.opened] = connection
        self.silent.add(self.opened)
        self.selector.register(connection, selectors.EVENT_READ, self.opened)
        self.opened += 1

    def give(self, channel: int, data: bytes) -> None:
        """Pass on what layerpack answers."""
        connection = self.connections.get(channel)
        if connection is None:
            return
        self.silent.add(channel)
        try:
            connection.sendall(data)
        except OSError:
            data = b""
        if not data:
            self.forget(channel)

    def take(self, channel: int) -> None:
        """Pass on what the function says, after all that it printed before."""
        connection = self.connections.get(channel)
        if connection is None:
            return
        try:
            data = connection.recv(CHUNK)
        except OSError:
            data = b""
        self.tell_all(begins=channel in self.silent)
        self.silent.discard(channel)
        send(channel, data)
        if not data:
            self.forget(channel)

    def forget(self, channel: int) -> None:
        """A connection is over."""
        connection = self.connections.pop(channel)
        self.selector.unregister(connection)
        connection.close()

    def print(self) -> bool:
        """Pass on a piece of what the function prints; false where there is none for now."""
        if self.output < 0:
            return False
        try:
            data = os.read(self.output, CHUNK)
        except BlockingIOError:
            return False
        if data:
            send(OUTPUT, data)
        else:
            self.selector.unregister(self.output)
            self.output = -1
        return bool(data)

    def tell_all(self, *, begins: bool = False) -> None:
        """What it printed by now, what it took and mapped; all maps are read where it begins to
        speak, as that takes long."""
        while self.print():
            pass
        self.watch.look(anew=begins)
        # A copy: the watch goes on.
        mapped = set(self.watch.mapped) - self.told
        self.told |= mapped
        tell({"peak": self.watch.peak, "read": self.watch.read, "mapped": sorted(mapped)})


def tell(message: dict[str, Any]) -> None:
    """Send a frame of JSON."""
    send(CONTROL, json.dumps(message).encode())


def main() -> None:
    """See above."""
    agent = Agent(json.loads(frame()[1]))
    code = agent.run()
    agent.tell_all()
    tell({"ended": code, "out_of_memory": agent.out_of_memory})
    # The container ends with this process, which waits for no thread.
    os._exit(0)


if __name__ == "__main__":
    main()
