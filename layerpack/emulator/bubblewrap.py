"""The sandbox as bubblewrap makes it, for systems that allow namespaces to it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def bubblewrap_options(specification: dict[str, Any], files: dict[str, Path]) -> list[str]:
    """bwrap(1)'s options for what inside/namespaces.py does by itself.

    `files` are to be there too, by their paths in the sandbox.
    """
    options = ["--unshare-user", "--uid", str(specification["uid"])]
    options += ["--gid", str(specification["gid"]), "--unshare-pid", "--unshare-ipc"]
    options += ["--unshare-uts", "--die-with-parent", "--clearenv"]
    # For a Python whose own library is shared; what it starts gets other variables.
    options += ["--setenv", "LD_LIBRARY_PATH", "/var/lang/lib"]
    if not specification["network"]:
        options.append("--unshare-net")
    for path, target in specification["links"].items():
        options += ["--symlink", target, path]
    for source, target in specification["binds"]:
        options += ["--ro-bind", source, target]
    for name in specification["devices"]:
        options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        options += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    for target, path in files.items():
        options += ["--ro-bind", str(path), target]
    options += ["--proc", "/proc", "--size", str(specification["tmp_bytes"])]
    return [*options, "--perms", "1777", "--tmpfs", "/tmp", "--remount-ro", "/"]  # noqa: S108
