"""Other systems: an older Debian in a folder, and an emulated machine.

The tests that use them have the marker `roots`, and need what Debian calls debootstrap, dpkg and
bubblewrap, or a cross-compiler and qemu-user; none needs to be root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layerpack.elf import PackOptions, PackResult, pack, read_file
from layerpack.elf.pager import PAGER_SONAME, pager_file
from layerpack.units import key_of
from tests.support import twins
from tests.support.twins import FUNCTIONS, Run, Twins, filler

#: Where Debian has tools for administrators, which are no less for others.
_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
#: Compilers for C and C++, and Python, in an older Debian.
_PACKAGES: Final = ("g++", "libc6-dev", "python3")
_AARCH64: Final = "aarch64-linux-gnu"


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """Where programs are compiled and run.

    `compilers` are the commands for C and C++; `enter` is put before a command to run it there.
    Files are seen there by the same paths as here.
    """

    compilers: tuple[Sequence[str], Sequence[str]]
    enter: tuple[str, ...]

    def compile(self, path: Path, source: str, *options: str, cxx: bool = False) -> Path:
        """A library at `path`, or a program with `-pie` among the options."""
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = ["-fPIE"] if "-pie" in options else ["-shared", "-fPIC"]
        command = [*self.compilers[cxx], *kind, "-O1", "-pthread", "-o", str(path)]
        command += ["-D_GNU_SOURCE", f"-DFUNCTIONS={FUNCTIONS}", "-x", "c++" if cxx else "c", "-"]
        subprocess.run([*command, *options, "-ldl"], input=source, text=True, check=True)
        return path

    def twins(
        self,
        folder: Path,
        source: str,
        *defined: str,
        cxx: bool = False,
        options: PackOptions | None = None,
    ) -> Twins:
        """Compile `source`, with `filler` before it, and pack the result here."""
        original = folder / "original/libtwin.so"
        self.compile(original, filler() + source, *defined, cxx=cxx)
        return packed(original, folder / "packed", options)

    def run(
        self, *command: str | Path, library: Path, environment: dict[str, str] | None = None
    ) -> Run:
        """Run a program that is to load `library`, which lies in the loader's path."""
        return twins.run(*self.enter, *command, library=library, env=environment)


def packed(original: Path, folder: Path, options: PackOptions | None = None) -> Twins:
    """The packed form of a library, with the pager for its machine beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    result = pack(original, folder / original.name, options or PackOptions(level=3))
    assert isinstance(result, PackResult), result
    shutil.copy(pager_file(read_file(original).machine), folder / PAGER_SONAME)
    return Twins(original=original, packed=folder / original.name)


def debian(suite: str, cache: Path, work: Path) -> System:
    """A release of Debian with compilers and Python; its files are kept in the folder `cache`.

    Its programs see the folder `work`, and may write there.
    """
    root = cache / f"{suite}-{key_of(_PACKAGES)[:8]}"
    if not root.exists():
        aside = cache / f".{root.name}"
        shutil.rmtree(aside, ignore_errors=True)
        _unpack_debian(suite, aside)
        aside.rename(root)
    enter = [_tool("bwrap"), "--bind", str(root), "/", "--dev", "/dev", "--proc", "/proc"]
    enter += ["--tmpfs", "/tmp", "--bind", str(work), str(work), "--die-with-parent"]
    enter += ["--setenv", "PATH", "/usr/bin:/bin", "--chdir", str(work)]
    return System(compilers=((*enter, "gcc"), (*enter, "g++")), enter=tuple(enter))


def _unpack_debian(suite: str, root: Path) -> None:
    """Download packages, and unpack them: no maintainer's script is needed, so no right either."""
    downloads = root / "downloads"
    command = [_tool("debootstrap"), "--download-only", "--variant=minbase"]
    command += [f"--include={','.join(_PACKAGES)}", suite, str(downloads)]
    downloads.mkdir(parents=True)
    subprocess.run(
        command, check=True, env={**os.environ, "PATH": _PATH}, stdout=subprocess.DEVNULL
    )
    packages = sorted(downloads.glob("var/cache/apt/archives/*.deb"))
    assert packages
    for package in packages:
        subprocess.run([_tool("dpkg-deb"), "--extract", package, root], check=True)
    shutil.rmtree(downloads)


def emulated_aarch64() -> System:
    """An aarch64 machine, emulated, with the C library of Debian's cross-compiler."""
    names = tuple((_tool(f"{_AARCH64}-{name}"),) for name in ("gcc", "g++"))
    enter = (_tool("qemu-aarch64"), "-L", f"/usr/{_AARCH64}")
    return System(compilers=(names[0], names[1]), enter=enter)


def _tool(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"the tests marked `roots` need {name}, which is not installed"
    return found
