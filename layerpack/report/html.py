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
from collections.abc import Iterable
from html import escape
from importlib import resources
from typing import Final

from layerpack.manifest import FileInventory
from layerpack.report import html_parts as parts
from layerpack.report.html_tables import all_tables
from layerpack.report.limit_use import LimitUse
from layerpack.report.model import SizeReport, named
from layerpack.units import human_size

#: In every page.
MARK: Final = '<p class="eyebrow">layerpack size report</p>'
_COLOURS = 12


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
        "tables": all_tables(report),
        "notes": parts.section("notes", "Notes", parts.items_list(report.notes))
        if report.notes
        else "",
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
        f"{parts.bar(use.share, f'{parts.percent(use.share)} of the limit')}"
        f'<div class="percent">{parts.percent(use.share)}</div>'
        f'<div class="figures">{figures} · {rest}</div></div>'
    )


def _advice(report: SizeReport) -> str:
    if not report.advice:
        return ""
    found: list[str] = []
    for use in report.over:
        over = str(use.excess) if use.kind == "layers" else human_size(use.excess)
        name = f"{use.subject}.zip" if use.kind == "zip" else use.subject
        kind = "over-text" if use.hard else "soft-text"
        found.append(f'<h3 class="{kind}">{escape(name)}: {over} over</h3><ul>')
        for advice in report.advice:
            if advice.subject == use.subject:
                keys = " ".join(f"<code>{escape(key)}</code>" for key in advice.keys)
                found.append(
                    f"<li>{keys} <strong>{human_size(advice.bytes)}</strong>"
                    f"<br>{escape(advice.text)}:"
                    f'<span class="named">{escape(named(advice))}</span></li>'
                )
        found.append("</ul>")
    return parts.section("advice", "What to do", f'<div class="advice">{"".join(found)}</div>')
