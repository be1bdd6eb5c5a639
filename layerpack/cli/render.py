"""Results on standard output, as a table or as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from layerpack.cli.options import Format
from layerpack.errors import LimitError
from layerpack.lock import Lock
from layerpack.passes.declared import Declared
from layerpack.report import (
    json_,
    terminal,
    terminal_diff,
    terminal_explain,
    terminal_parts,
    terminal_parts_explained,
)
from layerpack.report.diff import ReportDiff
from layerpack.report.explain import Explanation
from layerpack.report.explain_parts import PartsExplanation
from layerpack.report.model import SizeReport, limit_error
from layerpack.units import human_size

if TYPE_CHECKING:
    from layerpack.cache_upkeep import Removed, Stock

    # It loads the container engine's SDK, which takes longer than most commands.
    from layerpack.doctor import Check

#: Columns that no line of a report has.
_WIDE = 1000
_ADVICE_ABOVE = "The report's last part, 'What to do', names what would help."


def _out() -> TextIO:
    """Standard output. The work is done by now: where the reader leaves (`| head`), so do we."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return sys.stdout


def console() -> Console:
    """Standard output, for tables: as wide as the terminal, or COLUMNS; whoever reads a pipe or a
    file gets whole lines."""
    out = _out()
    wide = not out.isatty() and not os.environ.get("COLUMNS")
    return Console(file=out, width=_WIDE if wide else None)


def print_json(value: Any) -> None:
    """A value as JSON."""
    _out().write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_report(report: SizeReport, format_: Format) -> None:
    """A size report. Raises LimitError, after it, for a build that is over a limit."""
    if format_ is Format.JSON:
        _out().write(json_.size_report_json(report))
    else:
        terminal.print_size_report(report, console())
    _out().flush()
    error = limit_error(report)
    if error is not None:
        # The table ends with the advice; JSON readers get it in one place more, for people.
        raise error if format_ is Format.JSON else LimitError(error.message, _ADVICE_ABOVE)


def print_parts_explanation(explanation: PartsExplanation, format_: Format) -> None:
    """What operators or variants cost."""
    if format_ is Format.JSON:
        _out().write(json_.parts_json(explanation))
    else:
        terminal_parts_explained.print_parts(explanation, console())


def print_proof(report: SizeReport, verified: Mapping[str, Any], format_: Format) -> None:
    """What was proven and measured of a build; `verified` is its manifest's record."""
    if format_ is Format.JSON:
        print_json(verified)
    else:
        terminal.print_proof(report, console())
        terminal.print_paging(verified.get("paging"), console())


def print_diff(diff: ReportDiff, format_: Format) -> None:
    """The difference of two builds."""
    if format_ is Format.JSON:
        _out().write(json_.diff_json(diff))
    else:
        terminal_diff.print_diff(diff, console())


def print_explanation(explanation: Explanation, format_: Format) -> None:
    """Why a file is gone, smaller, or here."""
    if format_ is Format.JSON:
        _out().write(json_.explanation_json(explanation))
    else:
        terminal_explain.print_explanation(explanation, console())


def print_schema(text: str) -> None:
    """The schema of recipes."""
    _out().write(text)


def print_passes(passes: Sequence[tuple[Declared, bool | None]], format_: Format) -> None:
    """The passes; each with whether a recipe asks for it, or None where there is no recipe."""
    if format_ is Format.JSON:
        print_json(
            [
                {"name": one.name, "summary": one.summary, "after": sorted(one.after)}
                | ({} if wanted is None else {"wanted": wanted})
                | ({"remark": one.remark} if one.remark else {})
                for one, wanted in passes
            ]
        )
        return
    width = max(len(one.name) for one, _ in passes)
    for one, wanted in passes:
        mark = "" if wanted is None else "on   " if wanted else "off  "
        remark = f"; {one.remark}" if one.remark else ""
        _out().write(f"{mark}{one.name:<{width}}  {one.summary}{remark}\n")


def print_checks(checks: Sequence[Check], format_: Format) -> None:
    """What `doctor` found."""
    if format_ is Format.JSON:
        print_json([asdict(check) for check in checks])
        return
    width = max(len(check.name) for check in checks)
    marks = {"found": "ok", "missing": "-", "low": "!"}
    for check in checks:
        shown = check.detail or "not found"
        if check.status != "found":
            shown += f" (for {check.purpose})"
        _out().write(f"{marks[check.status]:<3} {check.name:<{width}}  {shown}\n")


def print_plan(plan: dict[str, object], format_: Format) -> None:
    """What `build --dry-run` found."""
    if format_ is Format.JSON:
        print_json(plan)
        return
    for key, value in plan.items():
        if isinstance(value, dict):
            shown = ", ".join(f"{name}: {_shown(one)}" for name, one in value.items() if one != "")
        else:
            shown = _shown(value)
        _out().write(f"{key.replace('_', ' ')}: {shown}\n")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def print_cache(root: Path, limit: int | None, stocks: Sequence[Stock], format_: Format) -> None:
    """What the cache at `root` holds; `limit` in bytes, None for none."""
    total = sum(one.bytes for one in stocks)
    if format_ is Format.JSON:
        kinds = [asdict(one) for one in stocks]
        print_json({"root": str(root), "limit_bytes": limit, "total_bytes": total, "kinds": kinds})
        return
    out = console()
    shown = "no limit" if limit is None else f"at most {human_size(limit)}"
    out.print(f"{root}: {human_size(total)}, {shown}", highlight=False, markup=False)
    if stocks:
        table = terminal_parts.new_table("Kind", ">Entries", ">Size")
        for one in sorted(stocks, key=lambda one: (-one.bytes, one.kind)):
            table.add_row(one.kind, f"{one.entries:,}", human_size(one.bytes))
        terminal_parts.print_table(table, out)


def print_removed(removed: Removed, format_: Format) -> None:
    """What was removed from the cache."""
    if format_ is Format.JSON:
        print_json(asdict(removed))
        return
    _out().write(
        f"removed {removed.entries:,} entries, {human_size(removed.bytes)}; "
        f"{human_size(removed.left_bytes)} are left\n"
    )


def print_lock_change(path: Path, former: Lock | None, new: Lock, format_: Format) -> None:
    """What a new lock holds, and what it changed."""
    before, after = _versions(former), _versions(new)
    changed = {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if former is not None and before.get(name) != after.get(name)
    }
    if format_ is Format.JSON:
        print_json({"file": str(path), "distributions": after, "changed": changed})
        return
    for name, change in changed.items():
        old, now = change["before"], change["after"]
        shown = f"{old} -> {now}" if old and now else f"added {now}" if now else f"gone {old}"
        _out().write(f"{name}: {shown}\n")
    _out().write(f"{path}: {len(after)} distributions\n")


def _versions(lock: Lock | None) -> dict[str, str]:
    pins = (*lock.requirements, *lock.assets) if lock else ()
    return {pin.name: pin.version for pin in pins}
