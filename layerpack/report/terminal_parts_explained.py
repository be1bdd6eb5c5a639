"""What operators and kernels cost, for a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

from layerpack.manifest import PartRecord
from layerpack.report import terminal_parts as parts
from layerpack.report.explain_parts import LibraryParts, PartsExplanation
from layerpack.units import human_size

_SHOWN: Final = 20
_HEADS: Final = {"operator": "Operator", "variant": "Variant"}


def print_parts(explanation: PartsExplanation, console: Console) -> None:
    """Print every library's parts, or the one that was asked for."""
    if explanation.remark:
        parts.print_indented(console, explanation.remark, 0)
    for library in explanation.libraries:
        console.print(Text(parts.clean(library.path), style="bold"), soft_wrap=True)
        if explanation.name:
            for part in library.parts:
                _one(part, console)
        else:
            _all(explanation, library, console)


def _one(part: PartRecord, console: Console) -> None:
    code = human_size(part.code_bytes)
    also = f" (also called {', '.join(part.aliases)})" if part.aliases else ""
    parts.print_indented(console, f"{part.kind} {part.name}{also}")
    state = "stays" if part.kept else "is left out"
    parts.print_indented(console, f"It {state}: {part.reason}.")
    if part.kept:
        parts.print_indented(console, f"{code} of code would go without it.")
    else:
        parts.print_indented(console, f"To keep it would take {code} of code, not compressed.")


def _all(explanation: PartsExplanation, library: LibraryParts, console: Console) -> None:
    kept = sum(part.kept for part in library.parts)
    parts.print_indented(
        console,
        f"{kept:,} of {len(library.parts):,} {explanation.kind}s stay; of "
        f"{human_size(library.code_bytes)} of code {human_size(library.dropped_bytes)} are left "
        "out. Parts share code, which counts for none of them.",
    )
    table = parts.new_table(_HEADS[explanation.kind], ">Code", "State", "Why")
    for part in library.parts[:_SHOWN]:
        table.add_row(
            parts.plain(part.name),
            human_size(part.code_bytes),
            "stays" if part.kept else "left out",
            parts.plain(part.reason),
        )
    parts.print_table(table, console)
    parts.print_more(console, len(library.parts) - _SHOWN, explanation.kind)
    if len(library.parts) > _SHOWN:
        console.print(Text("--format json has all of them", style=parts.DIM))
