"""A diff of two builds for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from layerpack.report import terminal_parts as parts
from layerpack.report.diff import ReportDiff
from layerpack.units import human_size

_MARKS = {"added": "+", "removed": "-", "changed": "~", "same": "="}


def print_diff(diff: ReportDiff, console: Console) -> None:
    """Print what changed between two builds, and what publishing the new one would upload."""
    parts.print_title(console, f"{diff.old_name} → {diff.new_name}", "")
    if diff.identical:
        console.print(
            Text("Every zip is the same, byte for byte: nothing to upload.", style=parts.GOOD)
        )
        return
    table = parts.new_table("", ">Before", ">After", ">Change", ">Bytes after")
    for name, change in (
        ("Unzipped", diff.unzipped),
        ("Zipped", diff.zipped),
        ("Plain install", diff.naive),
    ):
        table.add_row(name, *parts.change_cells(change), f"{change.after:,}")
    parts.print_table(table, console)
    table = parts.new_table("Zip", "State", ">Before", ">After", ">To upload")
    for item in diff.zips:
        upload = human_size(item.upload_bytes) if item.upload_bytes else "-"
        sizes = parts.change_cells(item.zipped)[:2]
        table.add_row(parts.plain(item.name), f"{_MARKS[item.state]} {item.state}", *sizes, upload)
    table.add_section()
    table.add_row("together", "", "", "", human_size(diff.upload_bytes))
    parts.print_table(table, console)
    if diff.distributions:
        table = parts.new_table("Distribution", "Version", ">Before", ">After", ">Change")
        for dist in diff.distributions:
            versions = [dist.old_version or "-", dist.new_version or "-"]
            version = versions[1] if versions[0] == versions[1] else " → ".join(versions)
            marked = f"{_MARKS[dist.state]} {dist.name}"
            table.add_row(
                parts.plain(marked), parts.plain(version), *parts.change_cells(dist.packed)
            )
        parts.print_table(table, console)
    if diff.passes:
        table = parts.new_table("Pass saves", ">Before", ">After", ">Change")
        for one in diff.passes:
            table.add_row(parts.plain(one.name), *parts.change_cells(one.saved))
        parts.print_table(table, console)
    if diff.files:
        table = parts.new_table("Files that changed most", ">Before", ">After", ">Change")
        for changed in diff.files:
            path = parts.tail(changed.path, parts.room_beside(console, 39)).plain
            shown = Text(f"{_MARKS[changed.state]} {path}")
            table.add_row(shown, *parts.change_cells(changed.size))
        parts.print_table(table, console)
        parts.print_more(console, diff.changed_files - len(diff.files), "changed file")
