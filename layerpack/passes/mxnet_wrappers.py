"""Make the functions of MXNet's operators once, and not at every start.

`import mxnet` generates a Python function for each operator, as text, and compiles it: two thirds
of its time. Here that is done once, by MXNet itself under the target's interpreter; what comes out
is kept compiled in a file beside each register.py, which then takes the functions from there. The
functions are the same: signatures, documentation, even their code, with the operator's address put
in as MXNet does. Where at run time the library is another one or has other operators (see
mxnet_wrappers_inside.py), MXNet makes them as ever.

The files hold no text: Lambda would compile that at every start, where no bytecode fits. A process
of its own packs them, as `compile` says why; and before they ship, every function is compared with
the one that MXNet makes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

from layerpack import process
from layerpack.interpreters import interpreter_version
from layerpack.limits import this_machine
from layerpack.passes.api import KEPT, RESERVE, Add, Edit, Keep, PassContext, Rewrite
from layerpack.passes.compile import Compile
from layerpack.passes.mxnet_registers import INSIDE, KINDS, takes_made
from layerpack.passes.patterns import matcher
from layerpack.passes.runner import applied
from layerpack.payload import ASSETS, LIBRARIES, PYTHON, FileEntry, Payload
from layerpack.recipe import Recipe
from layerpack.units import (
    ASIDE,
    folder_aside,
    keep_by_content,
    key_of,
    read_checked,
    sha256_file,
    touch,
    write_checked,
)

_WORKER: Final = Path(__file__).with_name("mxnet_wrappers_worker.py")
_STEPS: Final = ("describe", "pack", "check")
_NOTES: Final = "notes.json"
#: Columns are of no use without a text, and would make functions of one form differ.
_OPTIONS: Final = ("-s", "-S", "-B", "-X", "no_debug_ranges")


class MxnetWrappers:
    """register.wrappers beside MXNet's two register.py, which take functions from there."""

    name: ClassVar[str] = "mxnet-wrappers"
    summary: ClassVar[str] = "functions of MXNet's operators, made once instead of at every start"
    # It imports MXNet as it will ship, and takes of the room that bytecode would have.
    after: ClassVar[frozenset[str]] = Compile.after - {name}

    def wanted(self, recipe: Recipe) -> bool:
        """By default; `mxnet.wrappers: false` turns it off."""
        return recipe.mxnet.wrappers

    def plan(self, payload: Payload, context: PassContext) -> Iterable[Edit]:
        """Rewrite both register.py and add what they take; keep them, with a reason, where that
        cannot be made."""
        found = [payload.get(f"{payload.site}/mxnet/{kind}/register.py") for kind in KINDS]
        registers = [entry for entry in found if entry is not None]
        if len(registers) < len(KINDS):
            return
        try:
            edits = _planned(payload, registers, context)
        except _KeepError as error:
            if error.is_odd:
                context.warn(
                    f"MXNet makes its operators' functions at every start ({error}); set "
                    "mxnet.wrappers to false to say so"
                )
            edits = [Keep(path=entry.path, reason=str(error)) for entry in registers]
        yield from edits


class _KeepError(Exception):
    """Why the files stay as they are; `is_odd` where the user ought to know."""

    def __init__(self, reason: str, *, is_odd: bool = False) -> None:
        super().__init__(reason)
        self.is_odd = is_odd


@dataclass(frozen=True, kw_only=True, slots=True)
class _Register:
    """A register.py, as it is and as it takes functions from the file at `beside`."""

    kind: str
    entry: FileEntry
    rewritten: Path

    @property
    def beside(self) -> str:
        return f"{self.entry.path.removesuffix('.py')}.wrappers"

    def edits(self, folder: Path) -> Iterator[Edit]:
        """With the file of this kind in `folder`."""
        name = self.beside.rpartition("/")[2]
        yield Rewrite(
            path=self.entry.path,
            source=self.rewritten,
            reason=f"takes the functions of operators from {name}",
        )
        made = FileEntry.of(folder / self.kind, self.beside, self.entry.distribution)
        yield Add(entry=made, reason="the functions of operators, made once")


def _planned(payload: Payload, entries: list[FileEntry], context: PassContext) -> list[Edit]:
    """The edits. Raises _KeepError."""
    protected = matcher(context.recipe.strip.keep)
    if any(protected(payload, entry.path) for entry in entries):
        raise _KeepError(KEPT)
    registers = [
        _register(kind, entry, context.cache) for kind, entry in zip(KINDS, entries, strict=True)
    ]
    python, machine = context.profile.python, context.profile.machine
    if context.interpreter is None:
        raise _KeepError(f"no Python {python} here to import MXNet with")
    if this_machine() != machine:
        raise _KeepError(f"MXNet for {machine} cannot be imported here")
    folder = _made(payload, registers, context, context.interpreter)
    edits = [edit for one in registers for edit in one.edits(folder)]
    if not _has_room(payload, edits, context):
        raise _KeepError("the limits leave no room for its functions beside bytecode")
    return edits


def _register(kind: str, entry: FileEntry, cache: Path) -> _Register:
    text = entry.source.read_bytes().decode("utf-8", "surrogateescape")
    rewritten = takes_made(text, kind)
    if rewritten is None:
        raise _KeepError("it makes functions in a way that is not known")
    data = rewritten.encode("utf-8", "surrogateescape")
    return _Register(
        kind=kind, entry=entry, rewritten=keep_by_content(cache / "mxnet-registers", data)
    )


def _has_room(payload: Payload, edits: Sequence[Edit], context: PassContext) -> bool:
    """Whether bytecode that a start needs has the same room beside `edits`.

    What is made saves two thirds of an import, and bytecode nearly all of the rest. Where there are
    recordings, bytecode that no workload imports may give way.
    """
    more = applied(payload, edits)
    less = replace(context, room=context.room + payload.size - more.size)
    before, after = _bytecode(payload, context), _bytecode(more, less)
    lost = before.keys() - after.keys()
    if context.imported:
        lost &= context.imported
    return not lost and less.room - sum(after.values()) >= RESERVE


def _bytecode(payload: Payload, context: PassContext) -> dict[str, int]:
    """The sources that get bytecode, and its size in bytes."""
    compiling = Compile()
    if not compiling.wanted(context.recipe):
        return {}
    edits = compiling.plan(payload, context)
    return {_source(edit.path): edit.entry.size for edit in edits if isinstance(edit, Add)}


def _source(bytecode: str) -> str:
    folder, _, name = bytecode.rpartition("__pycache__/")
    return f"{folder}{name.partition('.')[0]}.py"


def _made(
    payload: Payload, registers: list[_Register], context: PassContext, interpreter: Path
) -> Path:
    """The folder with a file of functions for each kind, from the cache where nothing changed.

    Raises _KeepError where they cannot be made, which is not kept: it may lie in this machine.
    """
    distribution = registers[0].entry.distribution
    key = key_of(
        "mxnet-wrappers",
        [sha256_file(script) for script in (_WORKER, INSIDE)],
        interpreter_version(interpreter),
        [(one.path, one.sha256) for one in payload if one.distribution == distribution],
    )
    folder = context.cache / "mxnet-wrappers" / key
    if _is_whole(folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    with (
        folder_aside(folder, _NOTES) as aside,
        TemporaryDirectory(prefix=ASIDE, dir=context.cache) as scratch,
    ):
        work = _Work(interpreter, Path(scratch).absolute(), context.progress)
        _make(payload, registers, work, aside)
        digests = {kind: sha256_file(aside / kind) for kind in KINDS}
        write_checked(aside / _NOTES, digests)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the files are there as they were made: a cache may lose any file."""
    digests = read_checked(folder / _NOTES)
    try:
        whole = bool(digests == {kind: sha256_file(folder / kind) for kind in KINDS})
    except OSError:
        return False
    touch(folder)
    return whole


def _make(payload: Payload, registers: list[_Register], work: _Work, made: Path) -> None:
    """Have MXNet describe its functions, pack them into the folder `made`, and check them."""
    _link(payload, work.opt)
    sites = [work.opt / path for path in dict.fromkeys((payload.site, PYTHON))]
    work.run("describe", *sites)
    packed = work.run("pack", work.output("describe"))
    for one in registers:
        shutil.copyfile(f"{packed}.{one.kind}", made / one.kind)
        shutil.copyfile(made / one.kind, work.opt / one.beside)
        path = work.opt / one.entry.path
        path.unlink()
        path.symlink_to(one.rewritten.absolute())
    work.run("check", *sites)


def _link(payload: Payload, opt: Path) -> None:
    """A tree like /opt, of links: nothing writes into it, and copying takes long."""
    for entry in payload:
        if not entry.path.startswith(f"{ASSETS}/"):
            target = opt / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(entry.source.absolute())


@dataclass(frozen=True, slots=True)
class _Work:
    """Runs the worker's steps; `scratch` is a folder for their files."""

    interpreter: Path
    scratch: Path
    progress: Callable[[int, int], None]

    @property
    def opt(self) -> Path:
        return self.scratch / "opt"

    def output(self, step: str) -> Path:
        return self.scratch / f"{step}.json"

    def run(self, step: str, *given: Path) -> Path:
        """Run a step, and give its output. Raises _KeepError where it refuses or fails."""
        output = self.output(step)
        self.progress(_STEPS.index(step), len(_STEPS))
        ended = process.run(
            [self.interpreter, *_OPTIONS, _WORKER, step, output, *given],
            folder=self.scratch,
            # Not the user's variables: MXNet heeds dozens of them.
            bare=True,
            environment={
                "HOME": str(self.scratch),
                "LD_LIBRARY_PATH": str(self.opt / LIBRARIES),
                "PYTHONHASHSEED": "0",
                "PYTHONUTF8": "1",
            },
        )
        try:
            told: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            code = ended.returncode
            ending = f"exit code {code}" if code >= 0 else f"signal {-code}"
            last = ended.tail(1) or "no message"
            raise _KeepError(f"Python ended with {ending}: {last}", is_odd=True) from None
        if "refusal" in told:
            raise _KeepError(told["refusal"], is_odd=True)
        return output
