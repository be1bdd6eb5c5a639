"""Runs first inside a sandbox: makes namespaces with Lambda's files in them, and starts a program.

Imports nothing of layerpack, is imported by nothing, and runs on Python 3.9 or later. Called as
`python namespaces.py SPECIFICATION CHANNEL [entered]`: a JSON file, and the number of an open Unix
socket; `entered` where another program has made the namespaces already.
The JSON holds `host` (the process that started this one), `root` (an empty folder), `binds` ([from,
to] pairs, mounted read-only), `links` (path -> target), `devices`, `tmp_bytes`, `network` (whether
the host's is shared), `uid` and `gid` to have in it, `folder` to start in, `command`, and
`environment`, in whose variables `with_port` the word PORT stands for a number.

That number is the port of a listening TCP socket, which is sent over the channel: the host serves
it, though a network namespace has a loopback of its own. What cannot be done ends the process with
125, with the reason in JSON over the channel.

Names and values of system calls are those of unshare(2), mount(2), pivot_root(2), prctl(2),
netdevice(7) and user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE = 1024, 2048, 4096, 16384, 1 << 18
MS_RELATIME = 1 << 21
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
# statvfs(3) gives the flags of a mount, which a user namespace may not take from it.
KEPT = {2: MS_NOSUID, 4: MS_NODEV, 8: MS_NOEXEC, 1024: MS_NOATIME, 2048: MS_NODIRATIME}
FAILED = 125
FILES = 1024

libc = ctypes.CDLL(None, use_errno=True)


class CannotError(Exception):
    """A step that the kernel refuses; the message says which, and why."""


def call(name: str, *arguments: Any) -> None:
    """Call a function of libc that gives -1 where it fails. Raises CannotError."""
    if getattr(libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        shown = [a.decode() for a in arguments if isinstance(a, bytes)]
        raise CannotError(f"{name} {' '.join(shown)}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )


def enter_namespaces(specification: dict[str, Any]) -> None:
    """Leave the host's users, mounts, processes and, if so wished, network."""
    uid, gid = os.geteuid(), os.getegid()
    wanted = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
    if not specification["network"]:
        wanted |= CLONE_NEWNET
    call("unshare", wanted)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    for kind, inside, outside in (
        ("uid", specification["uid"], uid),
        ("gid", specification["gid"], gid),
    ):
        Path(f"/proc/self/{kind}_map").write_text(f"{inside} {outside} 1", encoding="ascii")
    # Nothing that is mounted from here on is seen outside.
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def listen(network: bool) -> socket.socket:
    """A listening socket on the loopback that the function will see."""
    if not network:
        with socket.socket() as control:
            request = struct.pack("16sh14x", b"lo", 0)
            flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
    return socket.create_server(("127.0.0.1", 0), backlog=16)


def read_only(target: str, also: int = 0) -> None:
    """Take the right to write from a bind mount."""
    found = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in KEPT.items() if found & bit)
    kept |= MS_RELATIME if not found & 1024 else 0
    mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept | also)


def mounts_at(path: str) -> list[str]:
    """A mount and those below it, by proc(5)'s mountinfo (which escapes blanks)."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    points = [
        re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        for line in lines.splitlines()
    ]
    return [path, *(point for point in points if point.startswith(path + "/"))]


def place(root: Path, target: str, *, folder: bool) -> Path:
    """An empty folder or file at `target` below `root`, to mount something on."""
    path = root / target.lstrip("/")
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        path.mkdir()
    else:
        path.touch()
    return path


def build_root(specification: dict[str, Any]) -> None:
    """Mount everything below the root folder."""
    root = Path(specification["root"])
    mount("tmpfs", str(root), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m")
    for path, target in specification["links"].items():
        link = root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for source, target in specification["binds"]:
        folder = Path(source).is_dir()
        path = str(place(root, target, folder=folder))
        mount(source, path, None, MS_BIND | MS_REC)
        for one in mounts_at(path) if folder else [path]:
            read_only(one)
    for name in specification["devices"]:
        path = str(place(root, f"/dev/{name}", folder=False))
        mount(f"/dev/{name}", path, None, MS_BIND)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/{target}")
    place(root, "tmp", folder=True)
    place(root, "proc", folder=True)
    size = specification["tmp_bytes"]
    mount("tmpfs", str(root / "tmp"), "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size}")


def enter_root(root: str) -> None:
    """Make the root folder `/`, and let go of the host's."""
    # A container may cover parts of /proc, and then no new one can be mounted.
    try:
        mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except CannotError:
        mount("/proc", f"{root}/proc", None, MS_BIND | MS_REC)
    os.chdir(root)
    # The old root is stacked on the new one, and taken off again.
    pivot_root = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
    call("syscall", pivot_root, b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/")
    read_only("/", MS_NOSUID | MS_NODEV)


def start(specification: dict[str, Any], port: int) -> NoReturn:
    """Become the program, without a capability."""
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Lambda's quota of file descriptors.
    most = min(FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.chdir(specification["folder"])
    environment = {
        name: value.replace("PORT", str(port)) if name in specification["with_port"] else value
        for name, value in specification["environment"].items()
    }
    command = specification["command"]
    # Capabilities go with it, since the user has a number other than 0.
    os.execve(command[0], command, environment)  # noqa: S606


def wait_for(child: int, told: int) -> NoReturn:
    """As process 1: end when the program does, with all that it left behind, and tell its status.

    Process 1 cannot kill itself as the program was killed.
    """
    while True:
        ended, status = os.wait()
        if ended == child:
            os.write(told, struct.pack("i", status))
            os._exit(0)


def end_as(status: int) -> NoReturn:
    """End as a process did whose status (wait(2)) this is."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def forbid_namespaces() -> None:
    """Forbid new namespaces: the function could gain capabilities in them."""
    # Where /proc is the host's, it cannot be written to.
    with suppress(OSError):
        Path("/proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")


def die_with_parent() -> None:
    """Be killed when the process that started this one ends."""
    call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def main() -> None:
    """See above."""
    specification = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    channel = socket.socket(fileno=int(sys.argv[2]))
    if len(sys.argv) > 3:
        with listen(network=True) as server:
            port = server.getsockname()[1]
            socket.send_fds(channel, [b"{}"], [server.fileno()])
        channel.close()
        start(specification, port)
    try:
        die_with_parent()
        if os.getppid() != specification["host"]:
            os._exit(FAILED)
        enter_namespaces(specification)
        server = listen(specification["network"])
        build_root(specification)
        told, tells = os.pipe()
        first = os.fork()
        if first == 0:
            # Process 1 of the new namespace.
            die_with_parent()
            enter_root(specification["root"])
            port = server.getsockname()[1]
            socket.send_fds(channel, [b"{}"], [server.fileno()])
            server.close()
            channel.close()
            os.close(told)
            forbid_namespaces()
            child = os.fork()
            if child == 0:
                start(specification, port)
            wait_for(child, tells)
    except (CannotError, OSError) as error:
        channel.send(json.dumps({"error": str(error)}).encode())
        os._exit(FAILED)
    channel.close()
    server.close()
    os.close(tells)
    text = os.read(told, 4)
    _, status = os.waitpid(first, 0)
    end_as(struct.unpack("i", text)[0] if text else status)


if __name__ == "__main__":
    main()
