"""Compile the pager, for both machines, into the folder `lib` beside this file.

Run by the wheel build (`hatch_build.py` in the repository), and by hand after a change to the C
sources: `python layerpack/elf/pager/build.py`. So it uses the standard library alone. Compiler and
decoder come from the package index, by pip: `ziglang` is a C compiler for any glibc, and the
source distribution of `zstandard` carries zstd as one C file; layerpack's own source distribution
has that file beside this one. The same sources give the same bytes on any machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

SONAME: Final = "liblayerpack_pager.so.1"
MACHINES: Final = ("x86_64", "aarch64")
#: Amazon Linux 2 has 2.26; this is what manylinux2014 asks for, and what all wheels run on.
GLIBC: Final = "2.17"
#: pyproject.toml pins the same for the tests.
ZIG: Final = "0.17.1"
ZSTANDARD: Final = "0.25.0"
#: Of zstandard-0.25.0.tar.gz on PyPI, which has zstd 1.5.7.
ZSTANDARD_SHA256: Final = "7713e1179d162cf5c7906da876ec2ccb9c3a9dcbdffef0cc7f70c3667a205f0b"

#: The handler may run on a signal stack of few kilobytes, before any set-up: no stack protector.
_COMPILE: Final = (
    *("-shared", "-fPIC", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fvisibility=hidden"),
    *("-fno-stack-protector", "-fno-sanitize=all", "-ffunction-sections", "-fdata-sections"),
    *("-Wall", "-Wextra", "-Werror"),
    # sigset is wrapped, so it is called.
    "-Wno-deprecated-declarations",
)
#: -z nodelete, since a signal handler must never be unmapped.
_LINK: Final = (
    *(f"-Wl,-soname,{SONAME}", "-Wl,--version-script=pager.map", "-Wl,-z,now", "-Wl,-z,relro"),
    *("-Wl,-z,nodelete", "-Wl,--gc-sections", "-Wl,--strip-all"),
)
#: Of this process's variables, what the compiler gets: it looks for headers in those that CPATH
#: names before its own. pip's isolated builds name their packages in PYTHONPATH.
_PASSED: Final = frozenset(
    {
        *("HOME", "LD_LIBRARY_PATH", "PATH", "TMPDIR"),
        *("PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH"),
    }
)
#: And pip, to reach its index (layerpack/child_variables.py has the same, for builds).
_INDEX: Final = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("NETRC", "PYTHON_KEYRING_BACKEND", "DBUS_SESSION_BUS_ADDRESS"),
    }
)
_INDEX_PREFIXES: Final = ("PIP_", "XDG_", "KEYRING_")
_FOLDER = Path(__file__).parent
_KEY = "key.json"
_LICENSE = "LICENSE-zstd"
_ARCHIVE = f"zstandard-{ZSTANDARD}.tar.gz"


class PagerBuildError(Exception):
    """The pager could not be built; the message says why, and what to do."""


def requirements(*, sdist: bool = False) -> list[str]:
    """What `build` needs of the package index, or `decoder_source` for a source distribution."""
    needed = []
    if not sdist and not _up_to_date(_FOLDER / "lib", _sources_hash()):
        needed.append(f"ziglang=={ZIG}")
    if (sdist or needed) and not _is_decoder(_FOLDER / _ARCHIVE):
        # pip asks a source distribution for its metadata, which takes setuptools.
        needed += ["pip>=25.3", "packaging>=25", "setuptools>=80"]
    return needed


def decoder_source(folder: Path) -> Path:
    """The archive with zstd's source: the one beside this file, or downloaded into `folder`.

    Raises PagerBuildError where it cannot be downloaded.
    """
    if _is_decoder(beside := _FOLDER / _ARCHIVE):
        return beside
    return _download_zstd(folder)


def unpacked_decoder(archive: Path, work: Path) -> Path:
    """The folder with zstd.c, from that archive, below `work`."""
    with tarfile.open(archive) as opened:
        opened.extractall(work, filter="data")
    return work / f"zstandard-{ZSTANDARD}" / "zstd"


def _is_decoder(archive: Path) -> bool:
    return archive.is_file() and _hash(archive) == ZSTANDARD_SHA256


def build(folder: Path = _FOLDER / "lib") -> bool:
    """Build what is not up to date in `folder`; whether anything was built.

    Raises PagerBuildError, and OSError where `folder` cannot be written.
    """
    sources = _sources_hash()
    if _up_to_date(folder, sources):
        return False
    _check_compiler()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        zstd = unpacked_decoder(decoder_source(work), work)
        # Compiled from one folder by relative names, so that no path gets into the result.
        for source in _sources():
            shutil.copy(source, work)
        with ThreadPoolExecutor() as pool:
            built = list(pool.map(lambda machine: _compile(work, machine), MACHINES))
        outputs = {f"{m}/{SONAME}": path for m, path in zip(MACHINES, built, strict=True)}
        outputs[_LICENSE] = zstd / "LICENSE"
        for name, path in outputs.items():
            _replace(folder / name, path.read_bytes())
    key = {"sources": sources, "files": {name: _hash(folder / name) for name in outputs}}
    _replace(folder / _KEY, json.dumps(key, indent=1, sort_keys=True).encode())
    return True


def _sources() -> list[Path]:
    return sorted(p for p in _FOLDER.iterdir() if p.suffix in {".c", ".h", ".map"})


def _sources_hash() -> str:
    """One for all that the result depends on: this file names compiler, decoder and options."""
    digest = hashlib.sha256()
    for path in [Path(__file__), *_sources()]:
        digest.update(f"{path.name} {_hash(path)}\n".encode())
    return digest.hexdigest()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _up_to_date(folder: Path, sources: str) -> bool:
    try:
        key = json.loads((folder / _KEY).read_bytes())
        return bool(key["sources"] == sources) and all(
            _hash(folder / name) == digest for name, digest in key["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_compiler() -> None:
    try:
        found = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != ZIG:
        raise PagerBuildError(
            f"building the pager needs ziglang {ZIG}, and this interpreter has {found}: "
            f"run {sys.executable} -m pip install ziglang=={ZIG}"
        )


def _download_zstd(work: Path) -> Path:
    """The archive with zstd's source, from the package index that pip is set to."""
    requirements = work / "requirements.txt"
    requirements.write_text(f"zstandard=={ZSTANDARD} --hash=sha256:{ZSTANDARD_SHA256}\n")
    # pip asks even a source distribution that is only downloaded for its metadata; without build
    # isolation that takes setuptools alone, which `requirements` names for this.
    options = ("--no-deps", "--no-binary=zstandard", "--no-build-isolation", "--require-hashes")
    _run(
        [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements), "-d", "."],
        work,
        _chosen(_PASSED | _INDEX, _INDEX_PREFIXES),
        f"the source of zstandard {ZSTANDARD} could not be downloaded; it has the zstd decoder "
        "that the pager is built with. Check the connection, or pip's index settings",
    )
    return work / _ARCHIVE


def _compile(work: Path, machine: str) -> Path:
    output = work / machine / SONAME
    output.parent.mkdir()
    # Caches of its own: what an earlier build left must not decide what comes out.
    caches = {f"ZIG_{kind}_CACHE_DIR": str(work / "cache") for kind in ("GLOBAL", "LOCAL")}
    _run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-gnu.{GLIBC}"),
            *_COMPILE,
            *("-isystem", f"zstandard-{ZSTANDARD}/zstd"),
            *(path.name for path in _sources() if path.suffix == ".c"),
            *("-o", f"{machine}/{SONAME}"),
            *_LINK,
        ],
        work,
        {**_chosen(_PASSED), **caches},
        f"the pager could not be compiled for {machine}",
    )
    return output


def _chosen(names: frozenset[str], prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in names or (prefixes and name.startswith(prefixes))
    }


def _run(command: list[str], work: Path, variables: dict[str, str], problem: str) -> None:
    done = subprocess.run(
        command, cwd=work, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PagerBuildError(f"{problem}:\n{done.stdout}{done.stderr}".rstrip())


def _replace(path: Path, data: bytes) -> None:
    """Write aside and rename: a process may have the old library mapped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".new")
    aside.write_bytes(data)
    aside.replace(path)


if __name__ == "__main__":
    try:
        build()
    except PagerBuildError as error:
        sys.exit(str(error))
