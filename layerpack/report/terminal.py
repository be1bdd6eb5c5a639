"""A size report for a terminal of 80 columns or a text file: colour alone informs of nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from layerpack.report import terminal_parts as parts
from layerpack.report.limit_use import LimitUse
from layerpack.report.model import SizeReport
from layerpack.units import human_size

_BAR = 18
_SMALL_BAR = 12
_DISTRIBUTIONS = 15
_LIBRARIES = 5
_WORKLOADS = 4
_IMPORTS = 12


def print_size_report(report: SizeReport, console: Console) -> None:
    """Print a size report: limits with bars, layers, distributions, passes, files, advice."""
    parts.print_title(
        console, f"{report.name} · {report.runtime} · {report.architecture}", report.description
    )
    style = parts.BAD if report.exceeds else parts.WARN if report.over else parts.GOOD
    console.print(Text(parts.capital(report.verdict) + ".", style=style))
    if report.proof:
        parts.print_indented(console, parts.capital(report.proof) + ".", 0)
    _limits(report, console)
    _sizes(report, console)
    _layers(report, console)
    _distributions(report, console)
    if report.passes:
        table = parts.new_table("Pass", ">Files", ">Change", ">Left")
        for item in report.passes:
            table.add_row(
                parts.plain(item.name),
                f"{item.files:,}",
                parts.signed(-item.saved_bytes),
                human_size(item.bytes_after),
            )
        parts.print_table(table, console)
    _paged(report, console)
    _left_out(report, console)
    if report.largest:
        table = parts.new_table("Largest files", ">Zipped", ">Unzipped")
        for file in report.largest:
            path = parts.tail(file.path, parts.room_beside(console, 26))
            table.add_row(path, human_size(file.zipped), human_size(file.size))
        parts.print_table(table, console)
    _starts(report, console)
    _imports(report, console)
    _advice(report, console)
    if report.notes:
        console.print()
    for note in report.notes:
        console.print(Text(f"Note: {parts.clean(note)}"))


def print_proof(report: SizeReport, console: Console) -> None:
    """Print what a build's proof found: its line, the starts of the workloads, the imports."""
    parts.print_indented(console, parts.capital(report.proof) + ".", 0)
    _starts(report, console)
    _imports(report, console)


def print_paging(paging: Sequence[Mapping[str, Any]] | None, console: Console) -> None:
    """Print what bringing code in took, by library; nothing where that was not measured."""
    if paging is None:
        return
    table = parts.new_table(
        "Code brought in", ">Windows", ">Bytes", ">Packed", ">Time", ">Decoding"
    )
    for one in paging:
        table.add_row(
            parts.tail(one["path"], parts.room_beside(console, 53)),
            f"{one['windows']:,}",
            human_size(one["bytes"]),
            human_size(one["packed_bytes"]),
            f"{one['ms']:.1f} ms",
            f"{one['decoding_ms']:.1f} ms",
        )
    parts.print_table(table, console)


def _limits(report: SizeReport, console: Console) -> None:
    table = parts.new_table("Limit", parts.BARS, ">%", ">Used", ">Limit", ">Room")
    zips = [use for use in report.limits if use.kind == "zip"]
    shown = [use for use in report.limits if use.kind != "zip"]
    if zips:
        shown.append(max(zips, key=lambda use: use.used))
    for use in shown:
        style = parts.GOOD if not use.excess else parts.BAD if use.hard else parts.WARN
        show = str if use.kind == "layers" else human_size
        table.add_row(
            parts.plain(_label(use)),
            Text(parts.bar(use.share, _bar_width(console), console), style=style),
            f"{parts.percent(use.share)}{'!' if use.excess else ''}",
            show(use.used),
            show(use.limit),
            Text(show(use.room) if not use.excess else f"-{show(use.excess)}", style=style),
        )
    parts.print_table(table, console)
    if report.function:
        console.print(Text("* layerpack's own budget, not a limit of AWS", style=parts.DIM))


def _label(use: LimitUse) -> str:
    match use.kind:
        case "unzipped":
            return "Unzipped, in all"
        case "layers":
            return "Layers"
        case "function":
            return "Function's code *"
        case "zip":
            return "Largest zip"


def _bar_width(console: Console) -> int:
    """Bars give way on a narrow terminal, so that names and figures stay whole."""
    return max(4, min(_BAR, console.width - 60))


def _sizes(report: SizeReport, console: Console) -> None:
    table = parts.new_table("Size", parts.BARS, ">%", ">", ">Bytes")
    for name, count in (
        ("Plain install", report.naive_bytes),
        ("Packed", report.unzipped_bytes),
        ("Packed, zipped", report.zipped_bytes),
    ):
        share = count / report.naive_bytes if report.naive_bytes else 0.0
        bar = Text(parts.bar(share, _bar_width(console), console))
        table.add_row(name, bar, parts.percent(share), human_size(count), f"{count:,}")
    parts.print_table(table, console)


def _layers(report: SizeReport, console: Console) -> None:
    table = parts.new_table("Layer", ">Files", ">Unzipped", ">Zipped", ">Of 50 MB", ">Upload")
    table.columns[4].header = f"Of {report.zips[0].limit // 2**20} MB" if report.zips else ""
    for item in report.zips:
        share = item.zipped_bytes / item.limit
        style = parts.WARN if item.needs_s3 else ""
        table.add_row(
            parts.plain(item.name),
            f"{item.files:,}",
            human_size(item.unzipped_bytes),
            human_size(item.zipped_bytes),
            Text(parts.percent(share), style=style),
            Text("S3" if item.needs_s3 else "direct", style=style),
        )
    parts.print_table(table, console)


def _distributions(report: SizeReport, console: Console) -> None:
    if not report.distributions:
        return
    table = parts.new_table("Distribution", "Version", ">Plain", ">Packed", ">%", parts.BARS)
    most = max(item.packed_bytes for item in report.distributions) or 1
    for item in report.distributions[:_DISTRIBUTIONS]:
        table.add_row(
            parts.plain(item.name),
            parts.plain(item.version),
            human_size(item.naive_bytes),
            human_size(item.packed_bytes),
            "-" if item.ratio is None else parts.percent(item.ratio),
            Text(parts.bar(item.packed_bytes / most, _SMALL_BAR, console)),
        )
    rest = report.distributions[_DISTRIBUTIONS:]
    if rest:
        naive, packed = (
            sum(item.naive_bytes for item in rest),
            sum(item.packed_bytes for item in rest),
        )
        table.add_row(
            f"{len(rest)} more",
            "",
            human_size(naive),
            human_size(packed),
            parts.percent(packed / naive) if naive else "-",
            Text(parts.bar(packed / most, _SMALL_BAR, console)),
        )
    parts.print_table(table, console)


def _paged(report: SizeReport, console: Console) -> None:
    if report.paged_total is None:
        return
    table = parts.new_table("Paged libraries", ">Original", ">As is", ">Compressed", ">%")
    shown = report.paged[:_LIBRARIES]
    for item in (*shown, report.paged_total):
        if item is report.paged_total:
            table.add_section()
        table.add_row(
            parts.tail(item.path, parts.room_beside(console, 39)),
            human_size(item.original_bytes),
            human_size(item.mapped_bytes),
            human_size(item.compressed_bytes),
            parts.percent(item.ratio),
        )
    parts.print_table(table, console)


def _left_out(report: SizeReport, console: Console) -> None:
    if not report.left_out:
        return
    table = parts.new_table("Left out of", "What", ">Stay", ">Go", ">Code")
    for item in report.left_out:
        table.add_row(
            parts.tail(item.path, parts.room_beside(console, 39)),
            f"{item.kind}s",
            f"{item.kept:,}",
            f"{item.gone:,}",
            f"-{human_size(item.dropped_bytes)}",
        )
    parts.print_table(table, console)


def _starts(report: SizeReport, console: Console) -> None:
    if not report.starts:
        return
    table = parts.new_table("Workload", "In", ">Init", ">First", ">Second", ">Memory", ">Read")
    names = list(dict.fromkeys(item.workload for item in report.starts))
    for item in report.starts:
        if item.workload not in names[:_WORKLOADS]:
            break
        table.add_row(
            parts.plain(item.workload),
            item.tree,
            parts.milliseconds(item.init_ms),
            parts.milliseconds(item.first_ms),
            parts.milliseconds(item.second_ms),
            f"{item.memory_mb} MB",
            f"{item.read_mb:.0f} MB",
        )
    parts.print_table(table, console)
    parts.print_more(console, len(names) - _WORKLOADS, "workload")
    if report.baseline:
        parts.print_indented(console, parts.capital(report.baseline) + ".", 0)


def _imports(report: SizeReport, console: Console) -> None:
    if not report.imports:
        return
    table = parts.new_table("Imports", ">Layers", ">Plain install")
    for item in report.imports[:_IMPORTS]:
        table.add_row(
            parts.plain("  " * item.depth + item.name),
            parts.milliseconds(item.packed_ms),
            parts.milliseconds(item.plain_ms),
        )
    parts.print_table(table, console)
    parts.print_more(console, len(report.imports) - _IMPORTS, "package")


def _advice(report: SizeReport, console: Console) -> None:
    if not report.advice:
        return
    console.print()
    console.print(Text("What to do", style="bold"))
    subject = ""
    for advice in report.advice:
        if advice.subject != subject:
            subject = advice.subject
            (use,) = (use for use in report.over if use.subject == subject)
            over = str(use.excess) if use.kind == "layers" else human_size(use.excess)
            what = f"{subject}.zip" if use.kind == "zip" else parts.capital(subject)
            style = parts.BAD if use.hard else parts.WARN
            console.print(Text(f"{parts.clean(what)}: {over} over", style=style))
        head = Text("  ").append(", ".join(advice.keys), style="bold")
        console.print(head.append(f"  {human_size(advice.bytes)}"))
        parts.print_indented(console, f"{advice.text}:", 4)
        largest = [
            f"{parts.tail(item.name, console.width - 20)} {human_size(item.bytes)}"
            for item in advice.largest
        ]
        for line in parts.in_lines(largest, console.width - 6):
            console.print(Text(" " * 6 + line), soft_wrap=True)
