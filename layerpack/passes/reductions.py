"""What a recipe leaves out of which library, found once and kept by content.

A library that is left as it is for want of knowledge is no error: the reason is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from layerpack.elf import ElfError
from layerpack.elf.code import CODE_VERSION, Code
from layerpack.elf.drops import NO_DROPS, Drops
from layerpack.elf.drops_json import from_json, to_json
from layerpack.limits import this_machine
from layerpack.manifest import PartRecord
from layerpack.operators.choose import Operators, UnsureError
from layerpack.operators.costs import Cost, costs
from layerpack.operators.probes import probed, probing
from layerpack.operators.reduce import drops
from layerpack.operators.registry import (
    REGISTRY_VERSION,
    Registry,
    RegistryError,
    read_registry,
)
from layerpack.operators.wishes import wished
from layerpack.passes.api import PassContext
from layerpack.payload import ASSETS, LIBRARIES, FileEntry, Payload
from layerpack.units import key_of, write_text

#: Part of the keys of what is kept: another number means that other code may go.
REDUCTIONS_VERSION: Final = 4
_MXNET: Final = "libmxnet.so"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """What goes of one library, and its parts with what each costs; `reason` says why nothing does,
    where that is not the recipe's wish."""

    drops: Drops = NO_DROPS
    parts: tuple[PartRecord, ...] = ()
    reason: str = ""


class Reductions:
    """What a recipe leaves out of the libraries of a payload.

    `names` are those that others look up in each library, by its path (see paged_names); None
    where they are not known.
    """

    def __init__(
        self,
        payload: Payload,
        context: PassContext,
        names: Callable[[], Mapping[str, frozenset[str]] | None],
    ) -> None:
        self._payload = payload
        self._context = context
        self._names = names
        self._folder = context.cache / "reduced"

    def concern(self, entry: FileEntry) -> bool:
        """Whether the recipe may leave out something of a library."""
        return self._context.recipe.mxnet.operators != "all" and _is_mxnet(entry)

    def of(self, entry: FileEntry) -> Reduction:
        """What goes of a library."""
        if not self.concern(entry):
            return Reduction()
        recipe = self._context.recipe
        if recipe.mxnet.operators == "recorded" and self._context.operators is None:
            return Reduction(reason="no recording tells which operators the workloads run")
        try:
            return self._operators(entry)
        except (RegistryError, UnsureError, ElfError) as error:
            return Reduction(reason=str(error))

    def probing(self, entry: FileEntry) -> Reduction:
        """What makes a library tell which operators run; nothing where that is not asked for."""
        if self._context.recipe.mxnet.operators != "recorded" or not _is_mxnet(entry):
            return Reduction()
        try:
            return Reduction(drops=from_json(self._probes(entry)["drops"]))
        except (RegistryError, UnsureError, ElfError):
            # Told where the layers are packed.
            return Reduction()

    def run_operators(self, entry: FileEntry, addresses: Iterable[int]) -> frozenset[str]:
        """The operators whose probes are among the addresses."""
        by_address = self._probes(entry)["operators"]
        return frozenset(name for at in addresses for name in by_address.get(str(at), ()))

    def _probes(self, entry: FileEntry) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            operators = self._read(entry, self._registry(entry))
            by_address = {str(at): list(names) for at, names in probed(operators).items()}
            return {"drops": to_json(probing(operators)), "operators": by_address}

        return self._kept("probes", self._identity(entry), make=make)

    def _operators(self, entry: FileEntry) -> Reduction:
        recipe = self._context.recipe
        listed = recipe.mxnet.operators
        registry = self._registry(entry)
        asked = wished(
            registry,
            listed=() if isinstance(listed, str) else listed,
            recorded=self._context.operators or (),
            models={
                one.path: one.source
                for one in self._payload
                if one.path.startswith(f"{ASSETS}/") and one.path.endswith(".json")
            },
        )
        training = recipe.mxnet.training

        def make() -> dict[str, Any]:
            operators = self._read(entry, registry)
            choice = operators.choose(asked, training=training)
            return {
                "drops": to_json(drops(operators, choice)),
                "parts": [asdict(_part(one, registry)) for one in costs(operators, choice, asked)],
            }

        value = self._kept("operators", self._identity(entry), asked, training, make=make)
        return Reduction(
            drops=from_json(value["drops"]),
            parts=tuple(
                PartRecord(**{**part, "aliases": tuple(part["aliases"])}) for part in value["parts"]
            ),
        )

    def _identity(self, entry: FileEntry) -> list[Any]:
        return [entry.sha256, sorted(self._spelled(entry))]

    def _spelled(self, entry: FileEntry) -> frozenset[str]:
        names = self._names()
        if names is None:
            raise UnsureError("which of its names others look up cannot be told")
        return names[entry.path]

    def _read(self, entry: FileEntry, registry: Registry) -> Operators:
        code = Code(entry.source, progress=self._context.progress)
        return Operators(code, registry, self._spelled(entry))

    def _registry(self, entry: FileEntry) -> Registry:
        kept = self._folder / f"registry-{key_of(REGISTRY_VERSION, entry.sha256)}.json"
        if kept.is_file():
            return read_registry(Path(), [], Path(), kept)
        machine = self._context.profile.machine
        if self._context.interpreter is None or this_machine() != machine:
            raise RegistryError(
                f"its operators are told by itself, and it runs on {machine} with Python "
                f"{self._context.profile.python}"
            )
        folder = entry.path.rpartition("/")[0]
        libraries = [
            one
            for one in self._payload
            if one.path.rpartition("/")[0] in (folder, LIBRARIES) and ".so" in one.path
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=self._folder) as scratch:
            root = Path(scratch)
            Payload(libraries).materialise(root)
            return read_registry(
                root / entry.path,
                [root / folder, root / LIBRARIES],
                self._context.interpreter,
                kept,
            )

    def _kept(self, kind: str, *parts: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` gives, kept by what it is made from."""
        key = key_of(kind, REDUCTIONS_VERSION, CODE_VERSION, REGISTRY_VERSION, *parts)
        path = self._folder / f"{kind}-{key}.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            value = json.loads(json.dumps(make()))
            write_text(path, json.dumps(value, separators=(",", ":")))
        if not isinstance(value, dict):
            raise ElfError(f"{path} is damaged")
        return value


def _part(cost: Cost, registry: Registry) -> PartRecord:
    return PartRecord(
        kind="operator",
        name=cost.name,
        kept=cost.kept,
        reason=cost.reason,
        code_bytes=cost.code_bytes,
        aliases=tuple(
            sorted(
                alias
                for alias, name in registry.aliases.items()
                if name == cost.name and alias != name
            )
        ),
    )


def _is_mxnet(entry: FileEntry) -> bool:
    return entry.path.rpartition("/")[2] == _MXNET
