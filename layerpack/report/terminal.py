"""Reports for a terminal of 80 columns, or for a text file: nothing is told by colour alone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from layerpack.report.diff import Change, ReportDiff
from layerpack.report.explain import Explanation, FileExplanation, GroupExplanation
from layerpack.report.limit_use import LimitUse
from layerpack.report.model import RemarkGroup, SizeReport
from layerpack.units import human_size

_BAR = 18
_BARS = "bars"
_SMALL_BAR = 12
_DISTRIBUTIONS = 15
_REASONS = 20
_GOOD, _WARN, _BAD, _DIM = "green", "yellow", "bold red", "dim"
_MARKS = {"added": "+", "removed": "-", "changed": "~", "same": "="}


def print_size_report(report: SizeReport, console: Console) -> None:
    """Print a size report: limits with bars, layers, distributions, passes, files, advice."""
    _title(console, f"{report.name} · {report.runtime} · {report.architecture}", report.description)
    style = _BAD if report.exceeds else _WARN if report.over else _GOOD
    console.print(Text(_capital(report.verdict) + ".", style=style))
    _limits(report, console)
    _sizes(report, console)
    _layers(report, console)
    _distributions(report, console)
    if report.passes:
        table = _table("Pass", ">Files", ">Change", ">Left")
        for item in report.passes:
            table.add_row(
                _plain(item.name),
                f"{item.files:,}",
                _signed(-item.saved_bytes),
                human_size(item.bytes_after),
            )
        _print_table(table, console)
    if report.largest:
        table = _table("Largest files", ">Zipped", ">Unzipped")
        for file in report.largest:
            path = _tail(file.path, _room(console, 26))
            table.add_row(path, human_size(file.zipped), human_size(file.size))
        _print_table(table, console)
    _advice(report, console)
    if report.notes:
        console.print()
    for note in report.notes:
        console.print(Text(f"Note: {_clean(note)}"))


def print_diff(diff: ReportDiff, console: Console) -> None:
    """Print what changed between two builds, and what publishing the new one would upload."""
    _title(console, f"{diff.old_name} → {diff.new_name}", "")
    if diff.identical:
        console.print(Text("Every zip is the same, byte for byte: nothing to upload.", style=_GOOD))
        return
    table = _table("", ">Before", ">After", ">Change", ">Bytes after")
    for name, change in (
        ("Unzipped", diff.unzipped),
        ("Zipped", diff.zipped),
        ("Plain install", diff.naive),
    ):
        table.add_row(name, *_change(change), f"{change.after:,}")
    _print_table(table, console)
    table = _table("Zip", "State", ">Before", ">After", ">To upload")
    for item in diff.zips:
        upload = human_size(item.upload_bytes) if item.upload_bytes else "-"
        sizes = _change(item.zipped)[:2]
        table.add_row(_plain(item.name), f"{_MARKS[item.state]} {item.state}", *sizes, upload)
    table.add_section()
    table.add_row("together", "", "", "", human_size(diff.upload_bytes))
    _print_table(table, console)
    if diff.distributions:
        table = _table("Distribution", "Version", ">Before", ">After", ">Change")
        for dist in diff.distributions:
            versions = [dist.old_version or "-", dist.new_version or "-"]
            version = versions[1] if versions[0] == versions[1] else " → ".join(versions)
            marked = f"{_MARKS[dist.state]} {dist.name}"
            table.add_row(_plain(marked), _plain(version), *_change(dist.packed))
        _print_table(table, console)
    if diff.passes:
        table = _table("Pass saves", ">Before", ">After", ">Change")
        for one in diff.passes:
            table.add_row(_plain(one.name), *_change(one.saved))
        _print_table(table, console)
    if diff.files:
        table = _table("Files that changed most", ">Before", ">After", ">Change")
        for changed in diff.files:
            path = f"{_MARKS[changed.state]} {_tail(changed.path, _room(console, 39)).plain}"
            table.add_row(Text(path), *_change(changed.size))
        _print_table(table, console)
        _more(console, diff.changed_files - len(diff.files), "changed file")


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print why a file, or the files of a folder or pattern, are gone, smaller or still here."""
    if isinstance(explanation, FileExplanation):
        _print_file(explanation, console)
    else:
        _print_group(explanation, console)


def _print_file(file: FileExplanation, console: Console) -> None:
    # Never cut: a path is there to be copied.
    console.print(Text(_clean(file.path), style="bold"), soft_wrap=True)
    _indented(console, f"of {file.distribution}")
    if file.size is None:
        fate = f"removed, {_exact(file.bytes_before)}"
    else:
        fate = f"in {file.layer}: {_exact(file.size)}, {human_size(file.zipped or 0)} zipped"
        if file.bytes_before > file.size:
            fate += f"; {human_size(file.bytes_before)} before"
    _indented(console, fate)
    if not file.remarks:
        _indented(console, "No pass had anything to say about it.")
    for remark in file.remarks:
        before, after = human_size(remark.bytes_before), human_size(remark.bytes_after)
        sizes = {"remove": f" ({before})", "rewrite": f" ({before} → {after})"}
        change = sizes.get(remark.action, "")
        _indented(console, f"{remark.pass_name}: {remark.action}{change}: {remark.reason}")


def _print_group(group: GroupExplanation, console: Console) -> None:
    console.print(Text(_clean(group.pattern), style="bold"), soft_wrap=True)
    _indented(
        console,
        f"{_files(group.packed_files)} packed, {human_size(group.packed_bytes)}; "
        f"{_files(group.removed_files)} removed, {human_size(group.removed_bytes)}",
    )
    if group.layers:
        table = _table("Layer", ">Files", ">Zipped", ">Unzipped")
        for share in group.layers:
            sizes = human_size(share.zipped), human_size(share.size)
            table.add_row(_plain(share.layer), f"{share.files:,}", *sizes)
        _print_table(table, console)
    if group.groups:
        _remarks(group.groups, console)


def _remarks(groups: Sequence[RemarkGroup], console: Console) -> None:
    table = _table("Pass", "Action", "Reason", ">Files", ">Change")
    for group in groups[:_REASONS]:
        reason = _plain(group.reason)
        change = _signed(group.bytes_after - group.bytes_before)
        table.add_row(_plain(group.pass_name), group.action, reason, f"{group.files:,}", change)
    _print_table(table, console)
    _more(console, len(groups) - _REASONS, "reason")


def _limits(report: SizeReport, console: Console) -> None:
    table = _table("Limit", _BARS, ">%", ">Used", ">Limit", ">Room")
    zips = [use for use in report.limits if use.kind == "zip"]
    shown = [use for use in report.limits if use.kind != "zip"]
    if zips:
        shown.append(max(zips, key=lambda use: use.used))
    for use in shown:
        style = _GOOD if not use.excess else _BAD if use.hard else _WARN
        show = str if use.kind == "layers" else human_size
        table.add_row(
            _plain(_label(use)),
            Text(_bar(use.share, _bar_width(console), console), style=style),
            f"{_percent(use.share)}{'!' if use.excess else ''}",
            show(use.used),
            show(use.limit),
            Text(show(use.room) if not use.excess else f"-{show(use.excess)}", style=style),
        )
    _print_table(table, console)
    if report.function:
        console.print(Text("* layerpack's own budget, not a limit of AWS", style=_DIM))


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


def _sizes(report: SizeReport, console: Console) -> None:
    table = _table("Size", _BARS, ">%", ">", ">Bytes")
    for name, count in (
        ("Plain install", report.naive_bytes),
        ("Packed", report.unzipped_bytes),
        ("Packed, zipped", report.zipped_bytes),
    ):
        share = count / report.naive_bytes if report.naive_bytes else 0.0
        bar = Text(_bar(share, _bar_width(console), console))
        table.add_row(name, bar, _percent(share), human_size(count), f"{count:,}")
    _print_table(table, console)


def _layers(report: SizeReport, console: Console) -> None:
    table = _table("Layer", ">Files", ">Unzipped", ">Zipped", ">Of 50 MB", ">Upload")
    table.columns[4].header = f"Of {report.zips[0].limit // 2**20} MB" if report.zips else ""
    for item in report.zips:
        share = item.zipped_bytes / item.limit
        style = _WARN if item.needs_s3 else ""
        table.add_row(
            _plain(item.name),
            f"{item.files:,}",
            human_size(item.unzipped_bytes),
            human_size(item.zipped_bytes),
            Text(_percent(share), style=style),
            Text("S3" if item.needs_s3 else "direct", style=style),
        )
    _print_table(table, console)


def _distributions(report: SizeReport, console: Console) -> None:
    if not report.distributions:
        return
    table = _table("Distribution", "Version", ">Plain", ">Packed", ">%", _BARS)
    most = max(item.packed_bytes for item in report.distributions) or 1
    for item in report.distributions[:_DISTRIBUTIONS]:
        table.add_row(
            _plain(item.name),
            _plain(item.version),
            human_size(item.naive_bytes),
            human_size(item.packed_bytes),
            "-" if item.ratio is None else _percent(item.ratio),
            Text(_bar(item.packed_bytes / most, _SMALL_BAR, console)),
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
            _percent(packed / naive) if naive else "-",
            Text(_bar(packed / most, _SMALL_BAR, console)),
        )
    _print_table(table, console)


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
            what = f"{subject}.zip" if use.kind == "zip" else _capital(subject)
            style = _BAD if use.hard else _WARN
            console.print(Text(f"{_clean(what)}: {over} over", style=style))
        head = Text("  ").append(", ".join(advice.keys), style="bold")
        console.print(head.append(f"  {human_size(advice.bytes)}"))
        _indented(console, f"{advice.text}:", 4)
        largest = [
            f"{_tail(item.name, console.width - 20)} {human_size(item.bytes)}"
            for item in advice.largest
        ]
        for line in _lines(largest, console.width - 6):
            console.print(Text(" " * 6 + line), soft_wrap=True)


def _table(*headings: str) -> Table:
    """A table; a heading that begins with `>` is that of a column of numbers, set to the right."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if right else "left",
            # Names give way where a row is too wide; a figure cut short would be a wrong figure.
            no_wrap=right or heading == _BARS,
            overflow="ellipsis" if right else "fold",
        )
    if _BARS in headings:
        table.columns[headings.index(_BARS)].header = ""
    return table


def _print_table(table: Table, console: Console) -> None:
    console.print()
    console.print(table)


def _title(console: Console, title: str, description: str) -> None:
    console.print(Text(_clean(title), style="bold"))
    if description:
        console.print(Text(_clean(description), style=_DIM))


def _bar(share: float, width: int, console: Console) -> str:
    full, empty = ("#", ".") if console.options.ascii_only else ("█", "░")
    filled = min(width, round(share * width))
    # What is there at all shows, however small.
    filled = max(filled, 1 if share > 0 else 0)
    return full * filled + empty * (width - filled)


def _bar_width(console: Console) -> int:
    """Bars give way on a narrow terminal, so that names and figures stay whole."""
    return max(4, min(_BAR, console.width - 60))


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share == 0 or share >= 0.01 else "<1 %"


def _change(change: Change) -> tuple[str, str, str]:
    return human_size(change.before), human_size(change.after), _signed(change.delta)


def _signed(delta: int) -> str:
    return f"+{human_size(delta)}" if delta > 0 else human_size(delta)


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _more(console: Console, count: int, what: str) -> None:
    if count > 0:
        console.print(Text(f"and {count:,} more {what}{'' if count == 1 else 's'}", style=_DIM))


def _indented(console: Console, text: str, left: int = 2) -> None:
    """Print `text` in lines that leave `left` columns free."""
    lines = textwrap.wrap(
        _clean(text), console.width - left, break_on_hyphens=False, break_long_words=False
    )
    for line in lines:
        console.print(Text(" " * left + line), soft_wrap=True)


def _lines(items: Sequence[str], width: int) -> list[str]:
    """`items` in lines of at most `width`, never breaking within one."""
    lines = [""]
    for number, item in enumerate(items):
        text = _clean(item) + ("," if number < len(items) - 1 else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append("")
        lines[-1] += f" {text}" if lines[-1] else text
    return lines


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(text: str) -> Text:
    """Text of others, as it is: never read as rich's markup."""
    return Text(_clean(text))


def _clean(text: str) -> str:
    """`text` without control characters: a file's name must not steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _room(console: Console, figures: int) -> int:
    """Columns that are left for a path beside `figures` columns of figures."""
    return max(20, console.width - figures)


def _tail(path: str, width: int) -> Text:
    """The end of a path that is too long: it tells files apart better than the beginning."""
    path = _clean(path)
    if len(path) <= width:
        return Text(path)
    folders = path.split("/")
    ends = ("/".join(["…", *folders[first:]]) for first in range(1, len(folders)))
    return Text(next((end for end in ends if len(end) <= width), f"…{path[1 - width :]}"))


def _exact(count: int) -> str:
    return f"{human_size(count)} ({count:,} bytes)" if count >= 1000 else f"{count} bytes"
