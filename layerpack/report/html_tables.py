"""The tables of a report's HTML page."""

from __future__ import annotations

from html import escape

from layerpack.report import html_parts as parts
from layerpack.report.model import PagedSize, SizeReport

_MOST_REMARKS = 40


def all_tables(report: SizeReport) -> str:
    """The report's tables that are not empty, each in a section."""
    makers = (
        _starts,
        _imports,
        _distributions,
        _zips,
        _passes,
        _paged,
        _left_out,
        _largest,
        _remarks,
    )
    return "".join(maker(report) for maker in makers)


def _distributions(report: SizeReport) -> str:
    most = max((item.packed_bytes for item in report.distributions), default=0) or 1
    rows = [
        (
            parts.name(item.name),
            parts.name(item.version),
            parts.name(item.kind),
            parts.name(", ".join(item.layers)),
            parts.count(item.files),
            parts.size(item.naive_bytes),
            parts.size(item.packed_bytes),
            parts.share(item.ratio),
            parts.size(item.zipped_bytes),
            parts.small_bar(item.packed_bytes / most),
        )
        for item in report.distributions
    ]
    columns = "Distribution|Version|Kind|Layers|>Files|>Plain|>Packed|>Ratio|>Zipped|"
    return parts.table("distributions", "Distributions", columns, rows)


def _zips(report: SizeReport) -> str:
    rows = [
        (
            parts.name(item.name),
            parts.path(item.file),
            parts.count(item.files),
            parts.size(item.unzipped_bytes),
            parts.size(item.zipped_bytes),
            parts.share(item.zipped_bytes / item.limit),
            parts.text("through S3" if item.needs_s3 else "direct"),
            parts.Cell(
                html=f'<code title="{escape(item.sha256)}">{escape(item.sha256[:12])}</code>'
            ),
        )
        for item in report.zips
    ]
    columns = "Name|File|>Files|>Unzipped|>Zipped|>Of direct upload|Upload|SHA-256"
    return parts.table("layers", "Layers and function", columns, rows)


def _passes(report: SizeReport) -> str:
    naive = report.naive_bytes or 1
    rows = [
        (
            parts.name(item.name),
            parts.count(item.files),
            parts.size(item.saved_bytes),
            parts.size(item.bytes_after),
            parts.small_bar(item.bytes_after / naive),
        )
        for item in report.passes
    ]
    return parts.table("passes", "Passes", "Pass|>Files|>Saved|>Left|", rows)


def _paged(report: SizeReport) -> str:
    if report.paged_total is None:
        return ""
    columns = "Library|>Original|>Mapped as is|>Code|>Compressed|>Hot pages|>Packed|>Ratio|"
    rows = [_paged_row(item, report.paged_total.original_bytes) for item in report.paged]
    total = _paged_row(report.paged_total, report.paged_total.original_bytes)
    return parts.table("paged", "Paged libraries", columns, rows, total=total)


def _left_out(report: SizeReport) -> str:
    rows = [
        (
            parts.path(item.path),
            parts.name(f"{item.kind}s"),
            parts.count(item.kept),
            parts.count(item.gone),
            parts.size(item.dropped_bytes),
        )
        for item in report.left_out
    ]
    if not rows:
        return ""
    return parts.table("left-out", "Left out of libraries", "Library|What|>Stay|>Go|>Code", rows)


def _paged_row(item: PagedSize, most: int) -> tuple[parts.Cell, ...]:
    return (
        parts.path(item.path) if item.distribution else parts.name(item.path),
        parts.size(item.original_bytes),
        parts.size(item.mapped_bytes),
        parts.size(item.paged_bytes),
        parts.size(item.compressed_bytes),
        parts.count(item.hot_pages),
        parts.size(item.size),
        parts.share(item.ratio),
        parts.small_bar(item.size / most if most else 0.0),
    )


def _starts(report: SizeReport) -> str:
    rows = [
        (
            parts.name(item.workload),
            parts.name(item.tree),
            parts.time(item.init_ms),
            parts.time(item.first_ms),
            parts.time(item.second_ms),
            parts.count(item.memory_mb),
            parts.Cell(html=f"{item.read_mb:,.1f}", figure=item.read_mb),
        )
        for item in report.starts
    ]
    columns = "Workload|In|>Init, ms|>First, ms|>Second, ms|>Memory, MB|>Read, MB"
    table = parts.table("starts", "Start, when it was verified", columns, rows)
    baseline = escape(report.baseline[:1].upper() + report.baseline[1:])
    return f"{table}<p>{baseline}.</p>" if baseline else table


def _imports(report: SizeReport) -> str:
    rows = [
        (
            parts.Cell(
                html=f'<code style="padding-left:{1.5 * item.depth}em">{escape(item.name)}</code>',
                kind="path",
            ),
            parts.time(item.packed_ms),
            parts.time(item.plain_ms),
        )
        for item in report.imports
    ]
    columns = "Package|>In the layers, ms|>In a plain install, ms"
    return parts.table("imports", "What the function imports", columns, rows)


def _largest(report: SizeReport) -> str:
    rows = [
        (
            parts.path(item.path),
            parts.name(item.distribution),
            parts.name(item.layer),
            parts.size(item.size),
            parts.size(item.zipped),
        )
        for item in report.largest
    ]
    return parts.table("files", "Largest files", "File|Distribution|Layer|>Unzipped|>Zipped", rows)


def _remarks(report: SizeReport) -> str:
    rows = [
        (
            parts.name(item.pass_name),
            parts.name(item.action),
            parts.text(item.reason),
            parts.count(item.files),
            parts.size(item.bytes_before),
            parts.size(item.bytes_after),
        )
        for item in report.remarks[:_MOST_REMARKS]
    ]
    rest = len(report.remarks) - _MOST_REMARKS
    more = f'<p class="quiet">and {rest:,} more reasons</p>' if rest > 0 else ""
    columns = "Pass|Action|Reason|>Files|>Before|>After"
    return parts.table("remarks", "What the passes did, and why", columns, rows, more)
