"""What `invoke` and `serve` share: the function's options, and its execution environments."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from layerpack.emulator.environment import Environment


class IsolationOption(StrEnum):
    """How the function is kept apart from this machine."""

    AUTO = "auto"
    DOCKER = "docker"
    NAMESPACES = "namespaces"
    BUBBLEWRAP = "bubblewrap"
    PROCESS = "process"


Memory = Annotated[int, typer.Option(min=128, max=10240, help="The function's memory, in MB.")]
Timeout = Annotated[
    float, typer.Option(min=0.1, max=900, help="Seconds that an invocation may take.")
]
TmpSize = Annotated[int, typer.Option(min=512, max=10240, help="The size of /tmp, in MB.")]
Network = Annotated[
    bool, typer.Option("--network/--no-network", help="Whether the function reaches the network.")
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A variable for the function; repeatable."),
]
Isolation = Annotated[
    IsolationOption,
    typer.Option(
        help="A container, Linux namespaces, bubblewrap, a plain process, or the best of these "
        "that works here."
    ),
]
ImageName = Annotated[
    str,
    typer.Option(
        "--image",
        metavar="NAME",
        help="The image for a container (default: the one that it was built in, else AWS's own).",
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Emulated:
    """A build's function: its name, what starts an execution environment of it, and what writes a
    line on an error between the function's own. Starting raises what `Isolator.environment`
    raises."""

    name: str
    start: Callable[[], Environment]
    report: Callable[[str], None]


@contextmanager
def emulated(
    build: Path,
    *,
    memory: int,
    timeout: float,
    tmp_size: int,
    network: bool,
    env: list[str] | None,
    isolation: IsolationOption,
    image: str,
    quiet: bool,
    verbose: bool,
    cache_dir: Path | None,
) -> Iterator[Emulated]:
    """The function of a build (its folder or recipe), with these options. Its logs go to standard
    error, unless `quiet`.

    Raises UsageError for a build or options that do not do, and what `program_of` raises.
    """
    from layerpack.cache import Cache
    from layerpack.cache_upkeep import in_use
    from layerpack.cli.builds import find_build
    from layerpack.cli.reporter import Reporter
    from layerpack.emulation import isolator_of, program_of, settings_of

    found = find_build(build)
    settings = settings_of(
        found.manifest,
        memory_mb=memory,
        timeout=timeout,
        tmp_mb=tmp_size,
        network=network,
        variables=env or [],
    )
    cache = Cache.at(cache_dir)
    errors = _locked_log()
    log = _ignore if quiet else errors
    reporter = Reporter(quiet=quiet, verbose=verbose)
    with (
        closing(
            isolator_of(found.manifest, isolation.value, image, reporter.events, cache)
        ) as isolator,
        ExitStack() as held,
    ):
        with reporter, in_use(cache, reporter.events):
            program = program_of(found.folder, found.manifest, cache, reporter.events)
            held.enter_context(cache.holding(program.opt, program.client))
            isolator.prepare(program)
        yield Emulated(
            name=program.name,
            start=lambda: isolator.environment(program, settings, log),
            report=lambda text: errors(f"error: {text}\n".encode()),
        )


def _ignore(data: bytes) -> None:
    pass


def _locked_log() -> Callable[[bytes], None]:
    """Writes to standard error, from several threads one after the other."""
    lock = threading.Lock()

    def log(data: bytes) -> None:
        with lock:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()

    return log
