"""The payload: every file that would go into the layers, as values that point at their bytes.

A payload is a plan of a tree, not the tree. An entry's bytes lie where `source` says (an unpacked
wheel in the cache, a rewritten copy), so that removing or rewriting a file copies nothing, and a
build with a warm cache unpacks nothing. `materialise` makes the real tree where one is needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from layerpack.units import sha256_file, sorted_walk

#: Where distributions lie in a layer; /opt/python is on the runtime's sys.path.
PYTHON = "python"
#: Shared libraries; /opt/lib is on the runtime's LD_LIBRARY_PATH.
LIBRARIES = "lib"
#: Assets (models, vocabularies): /opt/assets/NAME.
ASSETS = "assets"
#: Folders beside modules that hold none.
_NO_MODULES = frozenset({"__pycache__", "bin", "include", "share", "lib", "etc", "man"})

COMPILED: Final = "source of a compiled module"
#: Files that only compilers and type checkers read, by their endings.
SOURCE_KINDS: Final = {
    ".pyi": "type stub",
    ".h": "header",
    ".hh": "header",
    ".hpp": "header",
    ".cuh": "header",
    ".c": COMPILED,
    ".cc": COMPILED,
    ".cpp": COMPILED,
    ".cu": COMPILED,
    ".pyx": COMPILED,
    ".pxd": COMPILED,
    ".pxi": COMPILED,
    ".f": COMPILED,
    ".f90": COMPILED,
    ".a": "static library",
    ".la": "static library",
    ".lib": "static library",
}


def is_library_name(path: str) -> bool:
    """Whether a path is called as shared libraries are: `x.so`, `libx.so.1`, `libx.so.1.1.1k`."""
    name = path.rpartition("/")[2]
    return name.endswith(".so") or ".so." in name


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One file of a layer.

    `path` is relative to the layer's root (/opt on Lambda), with `/`; `size` in bytes; `mode` is
    0o644 or 0o755; `sha256` of the content; `distribution` is the normalised name of the
    distribution, or `asset:NAME`, or `system` that it belongs to; `source` holds the bytes.
    """

    path: str
    size: int
    mode: int
    sha256: str
    distribution: str
    source: Path

    @classmethod
    def of(
        cls, source: Path, path: str, distribution: str, *, executable: bool = False
    ) -> FileEntry:
        """The entry for an existing file, measured and hashed."""
        return cls(
            path=path,
            size=source.stat().st_size,
            mode=0o755 if executable else 0o644,
            sha256=sha256_file(source),
            distribution=distribution,
            source=source,
        )

    def with_content(self, source: Path) -> FileEntry:
        """The same file with the bytes of `source`."""
        return replace(self, size=source.stat().st_size, sha256=sha256_file(source), source=source)


class Payload:
    """A sorted set of files, one a path.

    `site` is the folder of the distributions, relative to the layer's root: `python`, or
    `python/lib/python3.X/site-packages` where a distribution brings `.pth` files.
    Raises ValueError when two entries share a path.
    """

    def __init__(self, entries: Iterable[FileEntry], *, site: str = PYTHON) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry.path))
        self.site = site
        if len(self._by_path) != len(self.entries):
            pairs = zip(self.entries, self.entries[1:], strict=False)
            twice = next(one.path for one, other in pairs if one.path == other.path)
            raise ValueError(f"two files at {twice}")

    @cached_property
    def _by_path(self) -> dict[str, FileEntry]:
        return {entry.path: entry for entry in self.entries}

    def __iter__(self) -> Iterator[FileEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, path: object) -> bool:
        return path in self._by_path

    def __getitem__(self, path: str) -> FileEntry:
        return self._by_path[path]

    def get(self, path: str) -> FileEntry | None:
        """The entry at `path`, or None."""
        return self._by_path.get(path)

    @property
    def size(self) -> int:
        """Bytes unzipped, all files together."""
        return sum(entry.size for entry in self.entries)

    def in_site(self, path: str) -> str | None:
        """`path` relative to the distributions' folder (`numpy/__init__.py`), None if outside."""
        prefix = self.site + "/"
        return path[len(prefix) :] if path.startswith(prefix) else None

    def updated(self, *, add: Iterable[FileEntry] = (), remove: Iterable[str] = ()) -> Payload:
        """A payload without the paths of `remove`, and with `add` (replacing by path)."""
        entries = dict(self._by_path)
        for path in remove:
            entries.pop(path, None)
        for entry in add:
            entries[entry.path] = entry
        return Payload(entries.values(), site=self.site)

    def materialise(self, root: Path) -> None:
        """Copy every file below `root`, which then looks like /opt with all layers merged."""
        _copy(self.entries, root)

    def change_into(self, other: Payload, root: Path) -> None:
        """Change the tree below `root`, which is this payload's, into that of another one."""
        for entry in self.entries:
            if other.get(entry.path) != entry:
                target = root / entry.path
                target.unlink()
                # An empty folder would be a namespace package.
                for folder in target.relative_to(root).parents[:-1]:
                    if any((root / folder).iterdir()):
                        break
                    (root / folder).rmdir()
        _copy([entry for entry in other if self.get(entry.path) != entry], root)


def _copy(entries: Iterable[FileEntry], root: Path) -> None:
    for entry in entries:
        target = root / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.source, target)
        target.chmod(entry.mode)


def entries_of(
    folder: Path, prefix: str, distribution: str, paths: Iterable[Path] | None = None
) -> list[FileEntry]:
    """Entries for the files at `paths` below `folder` (None: every one), at `prefix`/ in the
    layer."""
    return [
        FileEntry.of(
            folder / path,
            f"{prefix}/{path.as_posix()}",
            distribution,
            executable=bool((folder / path).stat().st_mode & 0o100),
        )
        for path in (sorted_walk(folder) if paths is None else paths)
    ]


def module_names(payload: Payload) -> Iterator[str]:
    """Names that `import` takes of what is at the top of the distributions' folder, repeated ones
    too."""
    for entry in payload:
        path = payload.in_site(entry.path)
        if path is None:
            continue
        first, _, rest = path.partition("/")
        if rest:
            is_code = rest.endswith((".py", ".so"))
            name = first
        else:
            name, _, ending = first.partition(".")
            is_code = ending == "py" or ending.endswith("so")
        if is_code and name.isidentifier() and name not in _NO_MODULES:
            yield name
