"""Compile modules to bytecode that is valid on Lambda, as far as there is room.

Where the room does not do for all, modules that the workloads import come first: their bytecode is
what makes a cold start faster. What is left goes to whole distributions, the smallest first, for
what a function imports in other cases.

/opt cannot be written, so without bytecode every cold start compiles all it imports. Bytecode
that is checked against a date never holds in a zip; unchecked-hash bytecode (PEP 552) always does.

The same source must give the same bytes on every machine. marshal writes a constant's first
occurrence with a flag when something else refers to it too, so its bytes depend on what else lives
in the process (https://github.com/python/cpython/issues/78274). Hence one fresh process a
distribution, with its files in sorted order, no site-packages, and a fixed hash seed, on which the
order of sets in older Pythons depends. That rules out `-I`, which ignores PYTHONHASHSEED; no other
variable that Python reads is passed on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import ClassVar, Final

from layerpack import process
from layerpack.errors import BuildToolError
from layerpack.interpreters import interpreter_version
from layerpack.passes.api import RESERVE, Add, Edit, Keep, PassContext
from layerpack.passes.folders import parts_in_site
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Recipe
from layerpack.units import folder_aside, key_of, read_checked, sha256_file, touch, write_checked

_NOTES: Final = "notes.json"
_NO_ROOM: Final = "no bytecode: the limits leave no room"
#: Part of the cache's key: another number means that other bytes may come out.
_VERSION: Final = 2
_WORKER: Final = Path(__file__).with_name("compile_worker.py")
#: Where a layer lies on Lambda: what tracebacks and inspect.getsource show.
_MOUNT: Final = "/opt"


class Compile:
    """Unchecked-hash `.pyc` files for every module, or for as many as fit."""

    name: ClassVar[str] = "compile"
    summary: ClassVar[str] = "bytecode that is valid on Lambda, as far as there is room"
    after: ClassVar[frozenset[str]] = frozenset(
        {
            "tests",
            "docs",
            "bytecode",
            "sources",
            "metadata",
            "spacy-languages",
            "runtime-provided",
            "duplicates",
            "symbols",
            "mxnet-wrappers",
            "paged",
        }
    )

    def wanted(self, recipe: Recipe) -> bool:
        """Unless the recipe says `strip.bytecode: none`."""
        return recipe.strip.bytecode != "none"

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Add bytecode: of what the workloads import, then of whole distributions, while it fits.

        Raises BuildToolError when bytecode is asked for by name and cannot be made.
        """
        everything = context.recipe.strip.bytecode == "unchecked-hash"
        batches = _batches(payload)
        modules = [entry for batch in batches for entry in batch.entries]
        if context.interpreter is None:
            if everything:
                raise _no_interpreter(context)
            yield from _skip(modules, f"no bytecode: no Python {context.profile.python} here")
            return
        room = None if everything else context.room - RESERVE
        if room is not None and room <= 0:
            yield from _skip(modules, _NO_ROOM)
            return
        shares = _shares(batches, context.imported)
        yield from _compile(payload, shares, room, context, context.interpreter)


def bytecode_bytes(payload: Payload, context: PassContext) -> int | None:
    """Bytes that the bytecode of all modules takes; None without the target's Python.

    What is compiled for that is kept for the pass.
    """
    if context.interpreter is None:
        return None
    shares = _shares(_batches(payload), frozenset())
    edits = _compile(payload, shares, None, context, context.interpreter)
    return sum(edit.entry.size for edit in edits if isinstance(edit, Add))


def _no_interpreter(context: PassContext) -> BuildToolError:
    python = context.profile.python
    return BuildToolError(
        f"no Python {python} on this machine to compile bytecode with (strip.bytecode)",
        f"Install it (`uv python install {python}`), or set 'bytecode' to 'auto' or 'none'.",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """The modules of one distribution, in sorted order."""

    distribution: str
    entries: tuple[FileEntry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


def _batches(payload: Payload) -> list[_Batch]:
    """What can be imported, by distribution, the smallest first."""
    found: dict[str, list[FileEntry]] = defaultdict(list)
    for entry in payload:
        parts = parts_in_site(payload, entry)
        if parts is None or not entry.path.endswith(".py"):
            continue
        # A folder like `templates-2.0` cannot be imported from.
        if all(part.isidentifier() for part in (*parts[:-1], parts[-1][:-3])):
            found[entry.distribution].append(entry)
    batches = [_Batch(distribution=name, entries=tuple(found[name])) for name in sorted(found)]
    return sorted(batches, key=lambda batch: batch.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Share:
    """Modules of a batch, to get bytecode all together, or as many as fit."""

    batch: _Batch
    entries: tuple[FileEntry, ...]
    together: bool

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


def _shares(batches: Iterable[_Batch], imported: frozenset[str]) -> list[_Share]:
    """What is imported, then what is not, each the smallest first."""
    first, rest = [], []
    for batch in batches:
        ours = tuple(entry for entry in batch.entries if entry.path in imported)
        others = tuple(entry for entry in batch.entries if entry.path not in imported)
        first.append(_Share(batch=batch, entries=ours, together=False))
        rest.append(_Share(batch=batch, entries=others, together=True))
    size = attrgetter("size")
    return [one for one in (*sorted(first, key=size), *sorted(rest, key=size)) if one.entries]


def _skip(entries: Iterable[FileEntry], reason: str) -> Iterator[Edit]:
    for entry in entries:
        yield Keep(path=entry.path, reason=reason)


def _compile(
    payload: Payload,
    shares: list[_Share],
    room: int | None,
    context: PassContext,
    interpreter: Path,
) -> Iterator[Edit]:
    version = interpreter_version(interpreter)
    workers = os.cpu_count() or 1
    total, done = sum(share.size for share in shares), 0
    with ThreadPoolExecutor(max_workers=workers) as pool:
        # A few ahead of the one whose size decides: what does not fit is compiled in vain.
        running = {}
        for index, share in enumerate(shares):
            for ahead in shares[index : index + workers]:
                if ahead.batch.distribution not in running:
                    running[ahead.batch.distribution] = pool.submit(
                        _compiled, ahead.batch, context.cache / "bytecode", interpreter, version
                    )
            result = running[share.batch.distribution].result()
            done += share.size
            context.progress(done, total)
            full = False
            for group in _groups(payload, share, result, version.split()[-1]):
                size = sum(edit.entry.size for _, edit in group if isinstance(edit, Add))
                full |= room is not None and size > room
                if full:
                    yield from _skip((entry for entry, _ in group), _NO_ROOM)
                    continue
                yield from (edit for _, edit in group)
                if room is not None:
                    room -= size
            if full:
                left = (entry for one in shares[index + 1 :] for entry in one.entries)
                yield from _skip(left, _NO_ROOM)
                return


def _compiled(batch: _Batch, cache: Path, interpreter: Path, version: str) -> Path:
    """The folder with a batch's bytecode: `N.pyc` for its Nth module, and `notes.json`."""
    content = [(entry.path, entry.sha256) for entry in batch.entries]
    folder = cache / key_of("bytecode", _VERSION, version, content)
    if _is_whole(folder, batch):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    with folder_aside(folder, _NOTES) as aside:
        jobs = [
            (str(entry.source), f"{_MOUNT}/{entry.path}", str(aside / f"{index}.pyc"))
            for index, entry in enumerate(batch.entries)
        ]
        (aside / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        result = process.run(
            [interpreter, "-S", "-s", "-B", _WORKER, aside / "jobs.json"],
            environment={"PYTHONUTF8": "1"},
        )
        if result.returncode != 0:
            raise BuildToolError(
                f"compiling {batch.distribution} failed:\n{result.tail()}",
                "Set 'strip.bytecode' to 'none' to build without bytecode.",
            )
        failed = json.loads(result.output)["failed"]
        by_index = {
            str(index): failed[job[0]] for index, job in enumerate(jobs) if job[0] in failed
        }
        made = {
            str(index): sha256_file(aside / f"{index}.pyc")
            for index in range(len(jobs))
            if str(index) not in by_index
        }
        write_checked(aside / _NOTES, {"failed": by_index, "sha256": made})
        (aside / "jobs.json").unlink()
    return folder


def _is_whole(folder: Path, batch: _Batch) -> bool:
    """Whether each module has its bytecode, as it was made, or its error there."""
    notes = read_checked(folder / _NOTES)
    if notes is None or len(notes["sha256"]) + len(notes["failed"]) != len(batch.entries):
        return False
    touch(folder)
    try:
        return all(
            sha256_file(folder / f"{index}.pyc") == digest
            for index, digest in notes["sha256"].items()
        )
    except OSError:
        return False


def _groups(
    payload: Payload, share: _Share, folder: Path, tag: str
) -> list[list[tuple[FileEntry, Edit]]]:
    """Modules with their edits: those of a group must fit together."""
    failed = (read_checked(folder / _NOTES) or {"failed": {}})["failed"]
    numbers = {entry.path: number for number, entry in enumerate(share.batch.entries)}
    found: list[tuple[FileEntry, Edit]] = []
    for entry in share.entries:
        number = numbers[entry.path]
        where, _, name = entry.path.rpartition("/")
        path = f"{where}/__pycache__/{name[:-3]}.{tag}.pyc"
        if str(number) in failed:
            reason = failed[str(number)].partition("\n")[0]
            text = f"no bytecode: it does not compile ({reason})"
            found.append((entry, Keep(path=entry.path, reason=text)))
        elif path not in payload:
            added = FileEntry.of(folder / f"{number}.pyc", path, entry.distribution)
            found.append((entry, Add(entry=added, reason="bytecode that is valid on Lambda")))
    return [found] if share.together else [[one] for one in found]
