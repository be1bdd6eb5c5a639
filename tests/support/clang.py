"""The pager, compiled by clang with its sanitizers, from the sources that the build takes.

The tests that need it have the marker `fuzz` or `sanitizers`; they need what Debian calls clang-19
and libclang-rt-19-dev.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from layerpack.elf import pager
from layerpack.elf.pager import PAGER_SONAME
from layerpack.elf.pager.build import decoder_source, unpacked_decoder

SOURCES: Final = Path(pager.__file__).parent
_CLANG: Final = "clang-19"
_COMPILE: Final = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wno-deprecated-declarations")
_LINK: Final = (
    *(f"-Wl,-soname,{PAGER_SONAME}", f"-Wl,--version-script={SOURCES / 'pager.map'}"),
    *("-Wl,-z,now", "-Wl,-z,nodelete", "-Wl,--gc-sections"),
)


def sources(*without: str) -> list[Path]:
    """The pager's C files, but for some."""
    return sorted(path for path in SOURCES.glob("*.c") if path.stem not in without)


def decoder(folder: Path) -> Path:
    """zstd's source, as a folder to include, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return unpacked_decoder(decoder_source(folder), folder)


def objects(
    folder: Path, files: Iterable[Path], zstd: Path, options: Sequence[str], lighter: Sequence[str]
) -> list[Path]:
    """Compile each file into `folder`, with `options`; the one with zstd, which takes longest, with
    the options `lighter`."""
    folder.mkdir(parents=True, exist_ok=True)

    def compiled(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        chosen = lighter if source.stem == "inflate" else options
        clang(*chosen, f"-I{SOURCES}", f"-isystem{zstd}", "-c", str(source), "-o", str(target))
        return target

    # The longest first.
    ordered = sorted(files, key=lambda path: path.stem != "inflate")
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(compiled, ordered))


def library(folder: Path, zstd: Path, options: Sequence[str], runtime: str) -> Path:
    """The whole pager, as a library in `folder`, linked with the option `runtime`."""
    shared = ("-fPIC", "-fvisibility=hidden", "-ffunction-sections", *options)
    made = objects(folder / "objects", sources(), zstd, shared, shared)
    target = folder / PAGER_SONAME
    sanitize = [option for option in options if option.startswith("-fsanitize")]
    clang(*sanitize, runtime, "-shared", *_LINK, *map(str, made), "-o", str(target))
    return target


def clang(*words: str) -> None:
    """Run the compiler."""
    subprocess.run([_tool(), *_COMPILE, *words], check=True)


def runtime(name: str) -> Path:
    """A run-time library of the compiler's: `asan`, `tsan`."""
    command = [_tool(), f"-print-file-name=libclang_rt.{name}-x86_64.so"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path = Path(done.stdout.strip())
    assert path.is_absolute() and path.is_file(), f"install libclang-rt-19-dev: there is no {path}"
    return path


def _tool() -> str:
    found = shutil.which(_CLANG)
    assert found is not None, f"{_CLANG} is not installed"
    return found
