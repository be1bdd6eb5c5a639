"""What the terminal's reports are made of: tables, bars, figures, and text of others made safe."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from layerpack.report.diff import Change
from layerpack.units import human_size

#: The heading of a column of bars, which is not printed.
BARS = "bars"
GOOD, WARN, BAD, DIM = "green", "yellow", "bold red", "dim"


def new_table(*headings: str) -> Table:
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
            no_wrap=right or heading == BARS,
            overflow="ellipsis" if right else "fold",
        )
    if BARS in headings:
        table.columns[headings.index(BARS)].header = ""
    return table


def print_table(table: Table, console: Console) -> None:
    console.print()
    console.print(table)


def print_title(console: Console, title: str, description: str) -> None:
    console.print(Text(clean(title), style="bold"))
    if description:
        console.print(Text(clean(description), style=DIM))


def bar(share: float, width: int, console: Console) -> str:
    full, empty = ("#", ".") if console.options.ascii_only else ("█", "░")
    filled = min(width, round(share * width))
    # What is there at all shows, however small.
    filled = max(filled, 1 if share > 0 else 0)
    return full * filled + empty * (width - filled)


def percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share == 0 or share >= 0.01 else "<1 %"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


def change_cells(change: Change) -> tuple[str, str, str]:
    return human_size(change.before), human_size(change.after), signed(change.delta)


def signed(delta: int) -> str:
    return f"+{human_size(delta)}" if delta > 0 else human_size(delta)


def file_count(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def print_more(console: Console, count: int, what: str) -> None:
    if count > 0:
        console.print(Text(f"and {count:,} more {what}{'' if count == 1 else 's'}", style=DIM))


def print_indented(console: Console, text: str, left: int = 2) -> None:
    """Print `text` in lines that leave `left` columns free."""
    lines = textwrap.wrap(
        clean(text), console.width - left, break_on_hyphens=False, break_long_words=False
    )
    for line in lines:
        console.print(Text(" " * left + line), soft_wrap=True)


def in_lines(items: Sequence[str], width: int) -> list[str]:
    """`items` in lines of at most `width`, never breaking within one."""
    lines = [""]
    for number, item in enumerate(items):
        text = clean(item) + ("," if number < len(items) - 1 else "")
        if lines[-1] and len(lines[-1]) + 1 + len(text) > width:
            lines.append("")
        lines[-1] += f" {text}" if lines[-1] else text
    return lines


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def plain(text: str) -> Text:
    """Text of others, as it is: never read as rich's markup."""
    return Text(clean(text))


def clean(text: str) -> str:
    """`text` without control characters: a file's name must not steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def room_beside(console: Console, figures: int) -> int:
    """Columns that are left for a path beside `figures` columns of figures."""
    return max(20, console.width - figures)


def tail(path: str, width: int) -> Text:
    """The end of a path that is too long: it tells files apart better than the beginning. Of a
    name that alone is too long, both ends stay: modules of C all end alike."""
    path = clean(path)
    if len(path) <= width:
        return Text(path)
    folders = path.split("/")
    ends = ("/".join(["…", *folders[first:]]) for first in range(1, len(folders)))
    if fitting := next((end for end in ends if len(end) <= width), ""):
        return Text(fitting)
    name = folders[-1]
    if len(name) <= width:
        return Text(name)
    end = width // 3
    return Text(f"{name[: width - 1 - end]}…{name[-end:]}")


def exact(count: int) -> str:
    return f"{human_size(count)} ({count:,} bytes)" if count >= 1000 else f"{count} bytes"
