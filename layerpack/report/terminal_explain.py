"""Why files are gone, smaller or still here, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from layerpack.manifest import PagedRecord
from layerpack.report import terminal_parts as parts
from layerpack.report.explain import Explanation, FileExplanation, GroupExplanation
from layerpack.report.model import RemarkGroup
from layerpack.units import human_size

_REASONS = 20


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print why a file, or the files of a folder or pattern, are gone, smaller or still here."""
    if isinstance(explanation, FileExplanation):
        _print_file(explanation, console)
    else:
        _print_group(explanation, console)


def _print_file(file: FileExplanation, console: Console) -> None:
    # Never cut: a path is there to be copied.
    console.print(Text(parts.clean(file.path), style="bold"), soft_wrap=True)
    parts.print_indented(console, f"of {file.distribution}")
    if file.size is None:
        # What a function's folder holds, and the package does not, was not measured.
        size = f", {parts.exact(file.bytes_before)}" if file.bytes_before else ""
        fate = f"removed{size}"
    else:
        fate = f"in {file.layer}: {parts.exact(file.size)}, {human_size(file.zipped or 0)} zipped"
        if file.bytes_before > file.size:
            fate += f"; {human_size(file.bytes_before)} before"
    parts.print_indented(console, fate)
    if file.paged:
        parts.print_indented(console, _paged(file.paged))
    if not file.remarks:
        parts.print_indented(console, "No pass had anything to say about it.")
    for remark in file.remarks:
        before, after = human_size(remark.bytes_before), human_size(remark.bytes_after)
        gone = f" ({before})" if remark.bytes_before else ""
        sizes = {"remove": gone, "rewrite": f" ({before} → {after})"}
        change = sizes.get(remark.action, "")
        parts.print_indented(
            console, f"{remark.pass_name}: {remark.action}{change}: {remark.reason}"
        )


def _paged(paged: PagedRecord) -> str:
    code, compressed = human_size(paged.paged_bytes), human_size(paged.compressed_bytes)
    text = f"{code} of code, compressed to {compressed}, are brought in when they are touched"
    if paged.data_bytes:
        data = human_size(paged.data_bytes)
        text = (
            f"{code} of code and {data} of read-only data are compressed to {compressed}: data is "
        )
        text += "decompressed when the library is loaded, and code brought in when it is touched"
    if paged.hot_pages:
        pages = f"{paged.hot_pages:,} page{'' if paged.hot_pages == 1 else 's'}"
        text += f" ({pages} that a workload touched)"
    return f"{text}; {human_size(paged.mapped_bytes)} are loaded as they are"


def _print_group(group: GroupExplanation, console: Console) -> None:
    console.print(Text(parts.clean(group.pattern), style="bold"), soft_wrap=True)
    parts.print_indented(
        console,
        f"{parts.file_count(group.packed_files)} packed, {human_size(group.packed_bytes)}; "
        f"{parts.file_count(group.removed_files)} removed, {human_size(group.removed_bytes)}",
    )
    if group.layers:
        table = parts.new_table("Layer", ">Files", ">Zipped", ">Unzipped")
        for share in group.layers:
            sizes = human_size(share.zipped), human_size(share.size)
            table.add_row(parts.plain(share.layer), f"{share.files:,}", *sizes)
        parts.print_table(table, console)
    if group.groups:
        _remarks(group.groups, console)


def _remarks(groups: Sequence[RemarkGroup], console: Console) -> None:
    table = parts.new_table("Pass", "Action", "Reason", ">Files", ">Change")
    for group in groups[:_REASONS]:
        reason = parts.plain(group.reason)
        change = parts.signed(group.bytes_after - group.bytes_before)
        table.add_row(
            parts.plain(group.pass_name), group.action, reason, f"{group.files:,}", change
        )
    parts.print_table(table, console)
    parts.print_more(console, len(groups) - _REASONS, "reason")
