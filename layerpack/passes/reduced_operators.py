"""Code of MXNet's operators that the recipe's `mxnet.operators` does not keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from layerpack.elf.code import CODE_VERSION, Code
from layerpack.elf.drops import Drops
from layerpack.elf.drops_json import from_json, to_json
from layerpack.limits import this_machine
from layerpack.manifest import PartRecord
from layerpack.operators.choose import USES, Operators, UnsureError
from layerpack.operators.costs import Cost, costs
from layerpack.operators.probes import probed, probing
from layerpack.operators.reduce import drops
from layerpack.operators.registry import (
    REGISTRY_VERSION,
    Registry,
    RegistryError,
    kept_registry,
    read_registry,
)
from layerpack.operators.wishes import wished
from layerpack.passes.api import PassContext
from layerpack.passes.reduction import Reduction, kept
from layerpack.payload import ASSETS, LIBRARIES, FileEntry, Payload
from layerpack.units import ASIDE, key_of

#: Part of the cache keys: raise it where other code is removed.
_VERSION: Final = 11
_MXNET: Final = "libmxnet.so"


class OperatorReductions:
    """What a recipe leaves of MXNet; `names` and `payload` are as in Reductions, `folder` is for
    what was found. All methods raise RegistryError, UnsureError and ElfError where it cannot be
    told, and RecipeError for operators that there are not."""

    def __init__(
        self,
        payload: Payload,
        context: PassContext,
        names: Callable[[], Mapping[str, frozenset[str]] | None],
        folder: Path,
    ) -> None:
        self._payload = payload
        self._context = context
        self._names = names
        self._folder = folder

    def concern(self, entry: FileEntry) -> bool:
        """Whether a library is MXNet's, and the recipe leaves out some of it."""
        name = entry.path.rpartition("/")[2]
        return self._context.recipe.mxnet.operators != "all" and name == _MXNET

    def missing(self) -> str:
        """That there is no such library, where the recipe leaves out some of it; else empty."""
        if self._context.recipe.mxnet.operators == "all" or any(map(self.concern, self._payload)):
            return ""
        return "mxnet.operators leaves nothing out: there is no MXNet among the distributions"

    def of(self, entry: FileEntry) -> Reduction:
        """What goes of a library that this concerns."""
        recipe = self._context.recipe
        if recipe.mxnet.records and self._context.operators is None:
            return Reduction(reason="no recording tells which operators the workloads run")
        training = recipe.mxnet.training
        registry = self._registry(entry)
        asked = wished(
            registry,
            recipe=recipe.path,
            listed=[name for name in recipe.mxnet.listed if name != "recorded"],
            recorded=self._context.operators or () if recipe.mxnet.records else (),
            models={
                one.path: one.source
                for one in self._payload
                if one.path.startswith(f"{ASSETS}/") and one.path.endswith(".json")
            },
        )

        def make() -> dict[str, Any]:
            operators = self._read(entry, registry)
            choice = operators.choose(asked, training=training)
            return Reduction(
                drops=drops(operators, choice),
                parts=tuple(_part(one, registry) for one in costs(operators, choice, asked)),
            ).to_json()

        key = [*self._identity(entry), asked, training]
        return kept(self._folder, "operators", key, make, read=Reduction.from_json)

    def watched(self, entry: FileEntry) -> bool:
        """Whether a recording is to tell which operators of a library run."""
        return self._context.recipe.mxnet.records and self.concern(entry)

    def probes(self, entry: FileEntry) -> Drops:
        """What makes a library tell which operators run."""
        return self._probes(entry)[0]

    def run_operators(self, entry: FileEntry, addresses: Iterable[int]) -> frozenset[str]:
        """The operators whose probes are among the addresses."""
        by_address = self._probes(entry)[1]
        return frozenset(name for at in addresses for name in by_address.get(str(at), ()))

    def _probes(self, entry: FileEntry) -> tuple[Drops, Mapping[str, list[str]]]:
        """The probes, and the operators that each tells of."""

        def make() -> dict[str, Any]:
            operators = self._read(entry, self._registry(entry))
            by_address = {str(at): list(names) for at, names in probed(operators).items()}
            return {"drops": to_json(probing(operators)), "operators": by_address}

        def read(value: dict[str, Any]) -> tuple[Drops, Mapping[str, list[str]]]:
            return from_json(value["drops"]), value["operators"]

        return kept(self._folder, "probes", self._identity(entry), make, read=read)

    def _identity(self, entry: FileEntry) -> list[Any]:
        versions = [_VERSION, CODE_VERSION, REGISTRY_VERSION, USES]
        return [*versions, entry.sha256, sorted(self._spelled(entry))]

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
        if (registry := kept_registry(kept)) is not None:
            return registry
        machine = self._context.profile.machine
        if self._context.interpreter is None or this_machine() != machine:
            raise RegistryError(
                "the library itself lists its operators, and it runs only on "
                f"{machine} with Python {self._context.profile.python}"
            )
        folder = entry.path.rpartition("/")[0]
        libraries = [
            one
            for one in self._payload
            if one.path.rpartition("/")[0] in (folder, LIBRARIES) and ".so" in one.path
        ]
        self._folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=ASIDE, dir=self._folder) as scratch:
            root = Path(scratch)
            Payload(libraries).materialise(root)
            return read_registry(
                root / entry.path,
                [root / folder, root / LIBRARIES],
                self._context.interpreter,
                kept,
            )


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
