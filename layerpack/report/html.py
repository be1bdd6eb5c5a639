"""A size report as one HTML page: no network, no other file, the same bytes for the same build.

The tables are plain HTML and work without scripts; the treemap is drawn by report.js from data
embedded as JSON. Every name is text of others and is escaped here, or set as text there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from layerpack.manifest import FileInventory
from layerpack.report.limit_use import LimitUse
from layerpack.report.model import PagedSize, SizeReport, named
from layerpack.units import human_size

_COLOURS = 12
_REMARKS = 40


def html_report(report: SizeReport, inventory: FileInventory) -> str:
    """The page, complete; `inventory` is that of the report's build, for the treemap."""
    script = _part("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    level = "bad" if report.exceeds else "warn" if report.over else "good"
    values = {
        # Only this very script may run, so a name that got past the escaping still could not.
        "script_hash": f"sha256-{digest}",
        "title": escape(f"{report.name}: size report"),
        "css": _part("report.css"),
        "js": script,
        "name": escape(report.name),
        "description": f"<p>{escape(report.description)}</p>" if report.description else "",
        "runtime": escape(report.runtime),
        "architecture": escape(report.architecture),
        "verdict_class": level,
        "verdict": escape(report.verdict[:1].upper() + report.verdict[1:]),
        "proof": f"<p>{escape(report.proof[:1].upper() + report.proof[1:])}.</p>"
        if report.proof
        else "",
        "cards": _cards(report),
        "limits": "".join(_limit(use) for use in report.limits),
        "advice": _advice(report),
        "tables": _tables(report),
        "notes": _section("notes", "Notes", _list(report.notes)) if report.notes else "",
        "data": _script_json(_map_data(report, inventory)),
    }
    # One pass over the template: a value that looks like a placeholder stays what it is.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _part("report.html"))


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _script_json(value: object) -> str:
    """JSON for a script element: nothing in it can end the element or begin markup."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _map_data(report: SizeReport, inventory: FileInventory) -> dict[str, object]:
    """The files as columns, which is compact: folders, layers and distributions by number."""
    files = inventory.files
    layers = _numbered(file.layer for file in files)
    distributions = _numbered(file.distribution for file in files)
    folders = _numbered(file.path.rpartition("/")[0] for file in files)
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[file.distribution] += file.size
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:_COLOURS]
    return {
        "name": report.name,
        "layers": list(layers),
        "distributions": list(distributions),
        "folders": list(folders),
        "colours": [distributions[name] for name in largest],
        "files": {
            "names": [file.path.rpartition("/")[2] for file in files],
            "folders": [folders[file.path.rpartition("/")[0]] for file in files],
            "sizes": [file.size for file in files],
            "zipped": [file.zipped for file in files],
            "distributions": [distributions[file.distribution] for file in files],
            "layers": [layers[file.layer] for file in files],
        },
    }


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(set(names)))}


def _cards(report: SizeReport) -> str:
    saved = report.saved_bytes / report.naive_bytes if report.naive_bytes else 0.0
    cards = (
        ("Packed, unzipped", human_size(report.unzipped_bytes), f"{report.unzipped_bytes:,} bytes"),
        ("Packed, zipped", human_size(report.zipped_bytes), f"{report.zipped_bytes:,} bytes"),
        ("Plain install", human_size(report.naive_bytes), f"{report.naive_bytes:,} bytes"),
        ("Saved", f"{saved:.0%}".replace("%", " %"), human_size(report.saved_bytes)),
        ("Files", f"{report.files:,}", f"in {len(report.zips)} zips"),
    )
    return "".join(
        f'<div><dt>{label}</dt><dd class="big">{figure}</dd><dd class="exact">{exact}</dd></div>'
        for label, figure, exact in cards
    )


def _limit(use: LimitUse) -> str:
    show = str if use.kind == "layers" else human_size
    name = f"{use.subject}.zip" if use.kind == "zip" else use.subject[:1].upper() + use.subject[1:]
    state = ("over" if use.hard else "soft") if use.excess else ""
    figures = f"<span>{show(use.used)} of {show(use.limit)}</span>"
    rest = (
        f'<span class="{state}-text">{show(use.excess)} over</span>'
        if use.excess
        else f"<span>{show(use.room)} free</span>"
    )
    return (
        f'<div class="limit {state}"><div>{escape(name)}'
        f'<span class="owner">{escape(use.owner)}</span></div>'
        f"{_bar(use.share, f'{_percent(use.share)} of the limit')}"
        f'<div class="percent">{_percent(use.share)}</div>'
        f'<div class="figures">{figures} · {rest}</div></div>'
    )


def _bar(share: float, label: str, *, small: bool = False) -> str:
    """A bar up to the limit; where it is exceeded, the whole use with a mark at the limit."""
    width = min(share, 1.0) * 100
    mark = f'<b style="left:{100 / share:.2f}%"></b>' if share > 1 else ""
    kind = "bar small" if small else "bar"
    return (
        f'<div class="{kind}" role="img" aria-label="{escape(label)}">'
        f'<i style="width:{width:.2f}%"></i>{mark}</div>'
    )


def _advice(report: SizeReport) -> str:
    if not report.advice:
        return ""
    parts: list[str] = []
    for use in report.over:
        over = str(use.excess) if use.kind == "layers" else human_size(use.excess)
        name = f"{use.subject}.zip" if use.kind == "zip" else use.subject
        kind = "over-text" if use.hard else "soft-text"
        parts.append(f'<h3 class="{kind}">{escape(name)}: {over} over</h3><ul>')
        for advice in report.advice:
            if advice.subject == use.subject:
                keys = " ".join(f"<code>{escape(key)}</code>" for key in advice.keys)
                parts.append(
                    f"<li>{keys} <strong>{human_size(advice.bytes)}</strong>"
                    f"<br>{escape(advice.text)}:"
                    f'<span class="named">{escape(named(advice))}</span></li>'
                )
        parts.append("</ul>")
    return _section("advice", "What to do", f'<div class="advice">{"".join(parts)}</div>')


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    """A table's cell: markup that is safe already, and what to sort by where it is a figure."""

    html: str
    figure: float | None = None
    kind: str = ""


def _text(text: str) -> _Cell:
    return _Cell(html=escape(text))


def _name(text: str) -> _Cell:
    return _Cell(html=escape(text), kind="name")


def _path(text: str) -> _Cell:
    return _Cell(html=f"<code>{escape(text)}</code>", kind="path")


def _size(count: int) -> _Cell:
    return _Cell(html=f'<span title="{count:,} bytes">{human_size(count)}</span>', figure=count)


def _count(count: int) -> _Cell:
    return _Cell(html=f"{count:,}", figure=count)


def _time(milliseconds: float | None) -> _Cell:
    if milliseconds is None:
        return _Cell(html="-", figure=-1)
    return _Cell(html=f"{milliseconds:,.1f}", figure=milliseconds)


def _share(share: float | None) -> _Cell:
    return _Cell(
        html="-" if share is None else _percent(share), figure=-1 if share is None else share
    )


def _small_bar(share: float) -> _Cell:
    return _Cell(html=_bar(min(share, 1.0), _percent(share), small=True), kind="barcell")


def _tables(report: SizeReport) -> str:
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
            _name(item.name),
            _name(item.version),
            _name(item.kind),
            _name(", ".join(item.layers)),
            _count(item.files),
            _size(item.naive_bytes),
            _size(item.packed_bytes),
            _share(item.ratio),
            _size(item.zipped_bytes),
            _small_bar(item.packed_bytes / most),
        )
        for item in report.distributions
    ]
    columns = "Distribution|Version|Kind|Layers|>Files|>Plain|>Packed|>Ratio|>Zipped|"
    return _table("distributions", "Distributions", columns, rows)


def _zips(report: SizeReport) -> str:
    rows = [
        (
            _name(item.name),
            _path(item.file),
            _count(item.files),
            _size(item.unzipped_bytes),
            _size(item.zipped_bytes),
            _share(item.zipped_bytes / item.limit),
            _text("through S3" if item.needs_s3 else "direct"),
            _Cell(html=f'<code title="{escape(item.sha256)}">{escape(item.sha256[:12])}</code>'),
        )
        for item in report.zips
    ]
    columns = "Name|File|>Files|>Unzipped|>Zipped|>Of direct upload|Upload|SHA-256"
    return _table("layers", "Layers and function", columns, rows)


def _passes(report: SizeReport) -> str:
    naive = report.naive_bytes or 1
    rows = [
        (
            _name(item.name),
            _count(item.files),
            _size(item.saved_bytes),
            _size(item.bytes_after),
            _small_bar(item.bytes_after / naive),
        )
        for item in report.passes
    ]
    return _table("passes", "Passes", "Pass|>Files|>Saved|>Left|", rows)


def _paged(report: SizeReport) -> str:
    if report.paged_total is None:
        return ""
    columns = "Library|>Original|>Mapped as is|>Code|>Compressed|>Hot pages|>Packed|>Ratio|"
    rows = [_paged_row(item, report.paged_total.original_bytes) for item in report.paged]
    total = _paged_row(report.paged_total, report.paged_total.original_bytes)
    return _table("paged", "Paged libraries", columns, rows, total=total)


def _left_out(report: SizeReport) -> str:
    rows = [
        (
            _path(item.path),
            _name(f"{item.kind}s"),
            _count(item.kept),
            _count(item.gone),
            _size(item.dropped_bytes),
        )
        for item in report.left_out
    ]
    if not rows:
        return ""
    return _table("left-out", "Left out of libraries", "Library|What|>Stay|>Go|>Code", rows)


def _paged_row(item: PagedSize, most: int) -> tuple[_Cell, ...]:
    return (
        _path(item.path) if item.distribution else _name(item.path),
        _size(item.original_bytes),
        _size(item.mapped_bytes),
        _size(item.paged_bytes),
        _size(item.compressed_bytes),
        _count(item.hot_pages),
        _size(item.size),
        _share(item.ratio),
        _small_bar(item.size / most if most else 0.0),
    )


def _starts(report: SizeReport) -> str:
    rows = [
        (
            _name(item.workload),
            _name(item.tree),
            _time(item.init_ms),
            _time(item.first_ms),
            _time(item.second_ms),
            _count(item.memory_mb),
            _Cell(html=f"{item.read_mb:,.1f}", figure=item.read_mb),
        )
        for item in report.starts
    ]
    columns = "Workload|In|>Init, ms|>First, ms|>Second, ms|>Memory, MB|>Read, MB"
    return _table("starts", "Start, when it was verified", columns, rows)


def _imports(report: SizeReport) -> str:
    rows = [
        (
            _Cell(
                html=f'<code style="padding-left:{1.5 * item.depth}em">{escape(item.name)}</code>',
                kind="path",
            ),
            _time(item.packed_ms),
            _time(item.plain_ms),
        )
        for item in report.imports
    ]
    columns = "Package|>In the layers, ms|>In a plain install, ms"
    return _table("imports", "What the function imports", columns, rows)


def _largest(report: SizeReport) -> str:
    rows = [
        (
            _path(item.path),
            _name(item.distribution),
            _name(item.layer),
            _size(item.size),
            _size(item.zipped),
        )
        for item in report.largest
    ]
    return _table("files", "Largest files", "File|Distribution|Layer|>Unzipped|>Zipped", rows)


def _remarks(report: SizeReport) -> str:
    rows = [
        (
            _name(item.pass_name),
            _name(item.action),
            _text(item.reason),
            _count(item.files),
            _size(item.bytes_before),
            _size(item.bytes_after),
        )
        for item in report.remarks[:_REMARKS]
    ]
    rest = len(report.remarks) - _REMARKS
    more = f'<p class="quiet">and {rest:,} more reasons</p>' if rest > 0 else ""
    columns = "Pass|Action|Reason|>Files|>Before|>After"
    return _table("remarks", "What the passes did, and why", columns, rows, more)


def _table(
    key: str,
    heading: str,
    columns: str,
    rows: Sequence[tuple[_Cell, ...]],
    below: str = "",
    *,
    total: tuple[_Cell, ...] = (),
) -> str:
    """A section with a table; a column that begins with `>` holds figures; `total` comes last."""
    if not rows:
        return ""
    heads = "".join(
        f'<th scope="col" class="num">{name[1:]}</th>'
        if name.startswith(">")
        else f'<th scope="col">{name}</th>'
        if name
        else "<td></td>"
        for name in columns.split("|")
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    foot = f"<tfoot><tr>{''.join(map(_cell, total))}</tr></tfoot>" if total else ""
    return _section(
        key,
        heading,
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="h-{key}">'
        f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>\n{body}</tbody>'
        f"{foot}</table></div>{below}",
    )


def _cell(cell: _Cell) -> str:
    if cell.figure is not None:
        return f'<td class="num" data-v="{cell.figure:.12g}">{cell.html}</td>'
    return f'<td class="{cell.kind}">{cell.html}</td>' if cell.kind else f"<td>{cell.html}</td>"


def _section(key: str, heading: str, content: str) -> str:
    return (
        f'<section aria-labelledby="h-{key}"><h2 id="h-{key}">{heading}</h2>\n{content}</section>\n'
    )


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share == 0 or share >= 0.01 else "<1 %"
