"""What a builder gives: wheels for the target, one a locked distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from layerpack.cache import Cache
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked
from layerpack.process import Tool


@dataclass(frozen=True, kw_only=True, slots=True)
class WheelFile:
    """A wheel in the cache: the distribution's normalised name, version, file and its SHA-256.

    `kind` is `wheel` when it came from an index as it is, `source` when it was built from a source
    distribution (`origin_sha256` is then that of the locked source; else the wheel's own).
    """

    name: str
    version: str
    path: Path
    sha256: str
    kind: Literal["wheel", "source"]
    origin_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemLibrary:
    """A shared library to bundle: its file, and where it came from (`pykdtree 1.4.3`, or
    `this machine`), with its licence where that is known (SPDX), and a note to warn of."""

    path: Path
    origin: str
    licence: str = ""
    is_hosts: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildContext:
    """What a builder builds for, and with.

    `from_source` are the distributions that may be built from source, `constraints` the versions
    that their build requirements are held to, `environment` the variables that the recipe gives to
    their builds; `index_options` are pip's (`--index-url` and kin).
    `toolchain` is a key of what builds from source.
    `on_step` gets each step that starts, `progress(done, total)` its progress, `on_output` each
    line that a tool prints.
    """

    profile: RuntimeProfile
    cache: Cache
    from_source: Sequence[str] = ()
    constraints: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    index_options: Sequence[str] = ()
    on_step: Callable[[str], None] = field(default=lambda step: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    toolchain: str = ""
    on_output: Callable[[str], None] = field(default=lambda line: None)


class Builder(Protocol):
    """Makes wheels of locked distributions for a runtime."""

    name: str
    image: str
    """The image that it builds in, with its digest; empty where it builds on this machine."""

    def close(self) -> None:
        """End what it has running, and leave nothing of it behind."""
        ...

    def wheels(self, pins: Sequence[Locked], context: BuildContext) -> tuple[WheelFile, ...]:
        """One wheel for every pin, in the pins' order, each with a hash that the lock has.

        Raises ResolveError when a file cannot be had or is not what was locked, BuildToolError
        when a build fails or its tool is missing.
        """
        ...

    def pip_compile(self) -> Tool | None:
        """pip-tools in the builder's image; None where resolving is done on this machine.

        Raises BuildToolError when it cannot be had.
        """
        ...

    def system_library(self, soname: str, context: BuildContext) -> SystemLibrary | None:
        """A shared library that the runtime lacks; None where the builder has none."""
        ...
