"""What a report's HTML page is made of: sections, tables that can be sorted, bars.

All text is escaped here, but for what a Cell holds and what a section shows, which is markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from layerpack.units import human_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A table's cell: markup that is safe already, and what to sort by where it is a figure."""

    html: str
    figure: float | None = None
    kind: str = ""


def text(value: str) -> Cell:
    """A cell with words."""
    return Cell(html=escape(value))


def name(value: str) -> Cell:
    """A cell with a name, which is not broken into lines."""
    return Cell(html=escape(value), kind="name")


def path(value: str) -> Cell:
    """A cell with a file's path."""
    return Cell(html=f"<code>{escape(value)}</code>", kind="path")


def size(value: int) -> Cell:
    """A cell with a number of bytes."""
    return Cell(html=f'<span title="{value:,} bytes">{human_size(value)}</span>', figure=value)


def count(value: int) -> Cell:
    """A cell with a number of things."""
    return Cell(html=f"{value:,}", figure=value)


def time(milliseconds: float | None) -> Cell:
    """A cell with a time, or a dash."""
    if milliseconds is None:
        return Cell(html="-", figure=-1)
    return Cell(html=f"{milliseconds:,.1f}", figure=milliseconds)


def share(value: float | None) -> Cell:
    """A cell with a percentage, or a dash."""
    return Cell(
        html="-" if value is None else percent(value), figure=-1 if value is None else value
    )


def small_bar(value: float) -> Cell:
    """A cell with a bar."""
    return Cell(html=bar(min(value, 1.0), percent(value), small=True), kind="barcell")


def bar(share: float, label: str, *, small: bool = False) -> str:
    """A bar up to the limit; where it is exceeded, the whole use with a mark at the limit."""
    width = min(share, 1.0) * 100
    mark = f'<b style="left:{100 / share:.2f}%"></b>' if share > 1 else ""
    kind = "bar small" if small else "bar"
    return (
        f'<div class="{kind}" role="img" aria-label="{escape(label)}">'
        f'<i style="width:{width:.2f}%"></i>{mark}</div>'
    )


def table(
    key: str,
    heading: str,
    columns: str,
    rows: Sequence[tuple[Cell, ...]],
    below: str = "",
    *,
    total: tuple[Cell, ...] = (),
) -> str:
    """A section with a table; a column that begins with `>` holds figures; `total` comes last."""
    if not rows:
        return ""
    heads = "".join(
        f'<th scope="col" class="num">{column[1:]}</th>'
        if column.startswith(">")
        else f'<th scope="col">{column}</th>'
        if column
        else "<td></td>"
        for column in columns.split("|")
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    foot = f"<tfoot><tr>{''.join(map(_cell, total))}</tr></tfoot>" if total else ""
    return section(
        key,
        heading,
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="h-{key}">'
        f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>\n{body}</tbody>'
        f"{foot}</table></div>{below}",
    )


def _cell(cell: Cell) -> str:
    if cell.figure is not None:
        return f'<td class="num" data-v="{cell.figure:.12g}">{cell.html}</td>'
    return f'<td class="{cell.kind}">{cell.html}</td>' if cell.kind else f"<td>{cell.html}</td>"


def section(key: str, heading: str, content: str) -> str:
    """A part of the page with a heading; `key` is its name in addresses."""
    return (
        f'<section aria-labelledby="h-{key}"><h2 id="h-{key}">{heading}</h2>\n{content}</section>\n'
    )


def items_list(items: Iterable[str]) -> str:
    """Lines of text as a list."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def percent(value: float) -> str:
    """A share in words."""
    return f"{value * 100:.0f} %" if value == 0 or value >= 0.01 else "<1 %"
