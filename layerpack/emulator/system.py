"""What of a system stands for Lambda's: this machine's, or an image's, in a container of it.

Libraries that the runtime provides, the interpreter with those that it and its standard library
need, and the programs of Lambda's images (data/runtime_system.json) with theirs.

In a container it is a program: it reads an order (see `Order`) as JSON, its argument, copies what
stands for Lambda's to the folder `COPY`, and prints what there is (see `Found`) as JSON. So it
imports only modules that are copied in beside it (`MODULES`), and runs on Python 3.9 or later.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypedDict

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

from layerpack.emulator.etc import ca_bundle, write_etc
from layerpack.loader import CACHE, cache_of, libraries_in, libraries_of, loader_of

#: Where programs are that Lambda has, and where there are others.
_SEARCH_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
_OTHERS: Final = "/usr/local/bin:/usr/local/sbin:/var/lang/bin"
_PASSED: Final = ("LD_LIBRARY_PATH", "PATH")
#: Folders that are replaced by what stands for Lambda's of them, where the image has them; of its
#: other folders nothing does, but for those that the engine or the function brings.
FOLDERS: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/etc", "/run"),
    *("/var", "/var/lang"),
)
_KEPT: Final = ("/dev", "/proc", "/sys", "/tmp", "/opt")  # noqa: S108
_OWN_FOLDERS: Final = ("/var/task", "/var/runtime", "/var/rapid")
COPY: Final = "/var/rapid/system"
#: What the program imports of layerpack.
MODULES: Final = ("__init__.py", "loader.py", "emulator/__init__.py", "emulator/etc.py")
#: Below `COPY`, in place of the image's other folders.
EMPTY: Final = "/empty"
# Beside libc: character sets, and what OpenSSL loads.
_PLUGIN_FOLDERS: Final = ("gconv", "ossl-modules", "engines-3")
_NOT_COPIED: Final = ("site-packages", "dist-packages")


class Order(TypedDict):
    """What to look for: the runtime, and the names of its interpreter; the programs, libraries and
    folders of data that Lambda has; extension modules of Python's that Lambda lacks; the fields of
    its /etc/os-release."""

    runtime: str
    names: Sequence[str]
    programs: list[str]
    sonames: list[str]
    data_folders: list[str]
    absent_modules: list[str]
    os_release: Mapping[str, str]


class Found(TypedDict):
    """The interpreter, its prefix, and the folders of its modules; paths of folders (of data, and
    of libc's plug-ins), programs and libraries, each with its file or folder without links; the
    libraries that each program and extension module needs; Lambda's and Python's own files; the
    path that its OpenSSL reads CA certificates from, or nothing."""

    interpreter: str
    prefix: str
    modules: list[str]
    folders: dict[str, str]
    programs: dict[str, str]
    libraries: dict[str, str]
    needs: dict[str, list[str]]
    provided: list[str]
    ca_file: str


class FoundInImage(Found):
    """Also all of the image's libraries by their names, sonames by their files, and programs; and
    which of its folders are replaced by a copy of those found, or covered by an empty one."""

    listed: Mapping[str, Sequence[str]]
    sonames: dict[str, str]
    all_programs: list[str]
    replaced: list[str]
    covered: list[str]


def find(order: Order, interpreter: Path, listed: dict[str, tuple[str, ...]]) -> Found:
    """What of a system stands for Lambda's; `listed` are its libraries (libraries_in). Raises
    LookupError where the loader does not tell."""
    interpreter = interpreter.resolve()
    prefix = interpreter.parent.parent
    loader = loader_of(interpreter)
    places = {(prefix / name / order["runtime"]).resolve() for name in ("lib", "lib64")}
    python = sorted(folder for folder in places if folder.is_dir())
    modules = [
        path
        for folder in python
        for path in (folder / "lib-dynload").glob("*.so")
        if path.name.partition(".")[0] not in order["absent_modules"]
    ]
    programs = programs_in(order)
    provided = [
        path
        for soname in order["sonames"]
        for path in (prefix / "lib" / soname, *map(Path, listed.get(soname, ())))
        if path.is_file()
    ]
    files = sorted({interpreter, *modules, *programs.values(), *provided})
    with ThreadPoolExecutor() as threads:
        needed = threads.map(lambda file: libraries_of(file, loader, prefix / "lib"), files)
        needs = dict(zip(files, needed))  # noqa: B905 (Python 3.9 has no strict)
    libraries = {*provided, *(path for paths in needs.values() for path in paths)}
    libc = {path.parent.resolve() for path in libraries if path.name == "libc.so.6"}
    plugins = [folder / name for folder in sorted(libc) for name in _PLUGIN_FOLDERS]
    always = {*provided, *(path for file in (interpreter, *provided) for path in needs[file])}
    return {
        "interpreter": str(interpreter),
        "prefix": str(prefix),
        "modules": [str(folder) for folder in python],
        "folders": {
            str(folder): str(folder.resolve())
            for folder in (*map(Path, order["data_folders"]), *plugins)
            if folder.is_dir()
        },
        "programs": {path: str(file) for path, file in programs.items()},
        "libraries": {canonical(path): str(path.resolve()) for path in libraries},
        "needs": {str(file.resolve()): _files(paths) for file, paths in needs.items()},
        "provided": _files({interpreter, *always}),
        "ca_file": _ca_file(interpreter),
    }


def _ca_file(interpreter: Path) -> str:
    ask = "import ssl; print(ssl.get_default_verify_paths().openssl_cafile, end='')"
    command = [str(interpreter), "-I", "-S", "-c", ask]
    # None of the caller's variables but what an interpreter may need to start.
    variables = {name: os.environ[name] for name in _PASSED if name in os.environ}
    asked = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    path = os.fsdecode(asked.stdout)
    return canonical(Path(path)) if path and not path.startswith("/etc/") else path


def shown_cache(found: Found) -> bytes:
    """The loader's cache with the libraries that stand for Lambda's, which code finds by it
    (ctypes.util.find_library); those that only programs or modules need are left out where the
    loader finds them without it, beside libc."""
    provided = set(found["provided"])
    beside = {str(Path(file).parent) for file in provided if "/libc.so" in file}

    def is_shown(path: Path) -> bool:
        name = canonical(path)
        file = found["libraries"].get(name)
        return file in provided or (file is not None and str(Path(name).parent) not in beside)

    return cache_of(CACHE.read_bytes(), is_shown) if CACHE.is_file() else b""


def programs_in(order: Order) -> dict[str, Path]:
    """Path of each program that Lambda has too, and its file."""
    found = (shutil.which(name, path=_SEARCH_PATH) for name in order["programs"])
    return {canonical(Path(path)): Path(path).resolve() for path in found if path}


def sonames_in(listed: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The soname of each listed library's file, links followed."""
    # A compiler's `libx.so` is another name of what programs need as `libx.so.1`.
    by_length = sorted(listed.items(), key=lambda item: len(item[0]))
    return {str(Path(path).resolve()): soname for soname, (path, *_) in by_length}


def canonical(path: Path) -> str:
    """The path without links among its folders: no mount may lead out of the sandbox's root."""
    return str(path.parent.resolve() / path.name)


def _files(paths: Iterable[Path]) -> list[str]:
    return sorted({str(path.resolve()) for path in paths})


# In a container.


def _copy(found: Found, replaced: Sequence[str], names: Iterable[str]) -> None:
    """Copy what was found below folders that are `replaced`; the interpreter stays where the image
    has it, with links to it under more `names`."""
    own = tuple(f"{folder}/" for folder in replaced)
    for folder in replaced:
        for entry in os.scandir(folder):
            if entry.is_symlink() and entry.is_dir() and folder != "/etc":
                _link(os.readlink(entry.path), entry.path)  # noqa: PTH115
    for path, folder in (*((one, one) for one in found["modules"]), *found["folders"].items()):
        if path.startswith(own):
            ignore = shutil.ignore_patterns(*_NOT_COPIED)
            shutil.copytree(folder, COPY + path, symlinks=True, ignore=ignore, dirs_exist_ok=True)
    interpreter = found["interpreter"]
    copied: dict[str, str] = {}
    for path, file in {interpreter: interpreter, **found["programs"], **found["libraries"]}.items():
        target = Path(COPY + path)
        if path.startswith(own) and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if file in copied:
                os.link(copied[file], target)
            else:
                copied[file] = shutil.copy2(file, str(target))
    for path in map(canonical, map(Path, names)):
        if path.startswith(own):
            _link(interpreter, path)
    bundle, target = ca_bundle(), Path(COPY + found["ca_file"])
    if bundle is not None and found["ca_file"].startswith(own) and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle, str(target))


def _add_mount_points(folders: Iterable[str], copy: str = "") -> None:
    """Have what engines mount something on, and so cannot make where a volume is read-only."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    for point in (*_OWN_FOLDERS, *(line.split(" ")[4] for line in lines)):
        for folder in folders:
            if point.startswith(f"{folder}/") and not point.startswith(f"{COPY}/"):
                place = Path(COPY + (copy + point[len(folder) :] if copy else point))
                place.parent.mkdir(parents=True, exist_ok=True)
                if Path(point).is_file():
                    place.touch()
                else:
                    place.mkdir(exist_ok=True)


def _link(target: str, path: str) -> None:
    place = Path(COPY + path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(place):
        place.symlink_to(target)


def main() -> None:
    """See above."""
    order: Order = json.loads(sys.argv[1])
    tool = shutil.which("ldconfig", path=_SEARCH_PATH)
    if tool is None:
        raise SystemExit("the image has no ldconfig, which lists its libraries")
    listing = subprocess.run([tool, "-p"], stdout=subprocess.PIPE, check=True)
    listed = libraries_in(listing.stdout.decode(errors="replace"), os.uname().machine)
    python = Path(sys.executable)
    try:
        found = find(order, python, listed)
    except LookupError as error:
        raise SystemExit(str(error)) from None
    replaced = [name for name in FOLDERS if Path(name).is_dir() and not Path(name).is_symlink()]
    top = [entry.path for entry in os.scandir("/") if entry.is_dir(follow_symlinks=False)]
    covered = sorted({*top}.difference(FOLDERS, _KEPT))
    write_etc(Path(COPY + "/etc"), order["os_release"], shown_cache(found), found["ca_file"])
    Path(COPY + "/var/tmp").mkdir(parents=True, exist_ok=True)  # noqa: S108
    _copy(found, replaced, [sys.executable, *(str(python.with_name(n)) for n in order["names"])])
    _add_mount_points(replaced)
    _add_mount_points(covered, EMPTY)
    folders = f"{_SEARCH_PATH}:{_OTHERS}".split(":")
    everywhere = [str(path) for name in folders for path in sorted(Path(name).glob("*"))]
    told: FoundInImage = {
        **found,
        "listed": listed,
        "sonames": sonames_in(listed),
        "all_programs": everywhere,
        "replaced": replaced,
        "covered": covered,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
