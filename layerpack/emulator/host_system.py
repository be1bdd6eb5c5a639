"""What a sandbox shows of a system: what stands for Lambda's, and nothing else.

All other libraries and programs are absent, as on Lambda, so that nothing works by what only this
machine, or an image, has: whether it is opened by ctypes, by cffi, by a shell or by another
program. What is shown is found by emulator/system.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from layerpack import data
from layerpack.emulator.etc import ca_bundle, write_etc
from layerpack.emulator.system import Found, Order, find, programs_in, shown_cache, sonames_in
from layerpack.host_libraries import host_libraries
from layerpack.limits import Architecture, RuntimeProfile, this_machine

Bind = tuple[str, str]

#: Where Lambda has its Python.
LANG: Final = "/var/lang"
_NO_LIBRARIES: Final = "the libraries of this machine cannot be listed (ldconfig -p)"


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """A system that a function ran on, by its `name` in messages: the paths of its `libraries` by
    soname and the `sonames` by file, what gives the place of a `program`, and what stands for
    Lambda's. That is `found`, None where mapped files are not judged, with the reason in `unjudged`
    unless all of the system is Lambda's; `binds` lead from its files to paths that the function
    sees them at."""

    name: str
    libraries: Mapping[str, tuple[str, ...]]
    sonames: Mapping[str, str]
    program: Callable[[str], str | None]
    found: Found | None
    unjudged: str = ""
    binds: tuple[Bind, ...] = ()

    def place_of(self, path: str) -> str:
        """A file's path in the system, for the path that the function sees it at."""
        for source, target in self.binds:
            if path == target or path.startswith(f"{target}/"):
                return source + path.removeprefix(target)
        return path

    def foreign(self, mapped: Iterable[str]) -> set[str]:
        """Those of the `mapped` files that stand for nothing of Lambda's.

        A library that is shown for a module of Python's (libsqlite3, for _sqlite3) counts with that
        module only: Lambda may have it inside the module.
        """
        if self.found is None:
            return set()
        folders = (*self.found["modules"], *self.found["folders"].values())
        starts = tuple(f"{folder}/" for folder in folders)
        programs = set(self.found["programs"].values())
        own = {path for path in mapped if path in programs or path.startswith(starts)}
        allowed = own.union(self.found["provided"])
        allowed.update(*(self.found["needs"].get(path, ()) for path in own))
        return set(mapped) - allowed


@cache
def this_system(interpreter: Path, runtime: str) -> System:
    """This machine."""
    try:
        found, binds = _found(interpreter, runtime), system_binds(interpreter, runtime)
        unjudged = ""
    except LookupError as error:
        found, binds, unjudged = None, (), str(error)
    return System(
        name="this machine",
        libraries=host_libraries(),
        sonames=sonames_in(host_libraries()),
        program=shutil.which,
        found=found,
        unjudged=unjudged,
        binds=tuple((str(Path(source).resolve()), target) for source, target in binds),
    )


@cache
def system_binds(interpreter: Path, runtime: str) -> tuple[Bind, ...]:
    """Files and folders of this machine for a runtime's sandbox, each with its path in there.

    Raises LookupError, with the reason, where this machine's libraries cannot be listed.
    """
    found = _found(interpreter, runtime)
    prefix = Path(found["prefix"])
    binds = {
        **found["programs"],
        **{path: path for path in found["folders"]},
        **{f"{LANG}/bin/{n}": found["interpreter"] for n in (interpreter.name, *names_of(runtime))},
        **{f"{LANG}/{Path(path).relative_to(prefix)}": path for path in found["modules"]},
    }
    listed = {path for paths in host_libraries().values() for path in paths}
    for path, file in found["libraries"].items():
        # The system's own interpreter shares its folder with the system's libraries.
        own = path.startswith(f"{prefix}/lib/") and path not in listed
        binds[f"{LANG}/{Path(path).relative_to(prefix)}" if own else path] = file
    bundle, ca_file = ca_bundle(), found["ca_file"]
    if bundle is not None and ca_file and not ca_file.startswith("/etc/"):
        binds[ca_file] = str(bundle.resolve())
    return tuple((source, target) for target, source in sorted(binds.items()))


def write_lambda_etc(folder: Path, interpreter: Path, runtime: str) -> None:
    """Fill a new folder with /etc for a runtime's sandbox. Raises as `system_binds`."""
    found = _found(interpreter, runtime)
    order = order_for(_profile(runtime))
    write_etc(folder, order["os_release"], _shown_cache(interpreter, runtime), found["ca_file"])


def empty_folders() -> list[str]:
    """Folders that Lambda has, with nothing in them."""
    folders: list[str] = data.load("runtime_system.json")["empty_folders"]
    return folders


def shown_programs(runtime: str) -> dict[str, Path]:
    """Name of each program of this machine that Lambda has too, and its file."""
    programs = programs_in(order_for(_profile(runtime)))
    return {path.rpartition("/")[2]: file for path, file in programs.items()}


def names_of(runtime: str) -> tuple[str, str]:
    """Names of Lambda's Python."""
    return "python3", runtime


def order_for(profile: RuntimeProfile) -> Order:
    """What to look for that stands for Lambda's (see emulator/system.py)."""
    facts = data.load("runtime_system.json")
    return {
        "runtime": profile.runtime,
        "names": names_of(profile.runtime),
        "programs": [*facts["programs"]["all"], *facts["programs"][profile.system]],
        "sonames": [*sorted(profile.libraries), *facts["name_service_libraries"]],
        "data_folders": facts["data_folders"],
        "absent_modules": facts["absent_extension_modules"],
        "os_release": facts["os_release"][profile.system],
    }


@cache
def _found(interpreter: Path, runtime: str) -> Found:
    if not host_libraries():
        raise LookupError(_NO_LIBRARIES)
    return find(order_for(_profile(runtime)), interpreter, host_libraries())


@cache
def _shown_cache(interpreter: Path, runtime: str) -> bytes:
    return shown_cache(_found(interpreter, runtime))


def _profile(runtime: str) -> RuntimeProfile:
    architecture: Architecture = "arm64" if this_machine() == "aarch64" else "x86_64"
    return RuntimeProfile.load(runtime, architecture)
