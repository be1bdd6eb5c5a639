from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from layerpack.report.html import html_report
from layerpack.report.model import size_report

from .builds import Build, build, file, fitting, paged, remark, too_large

VOID = {"meta", "link", "br", "input"}
HOSTILE = (
    "</script><b>bold</b>",
    '"><img src=x onerror=alert(1)>',
    "it's <!-- & &lt; \u2028 {{js}}",
)


class Page(HTMLParser):
    """What the tests ask of a page: every element closed, its attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.append((self._open[-1], data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return " ".join(text for tag, text in self.texts if tag not in {"script", "style"})

    def data(self) -> dict[str, Any]:
        scripts = [text for tag, text in self.texts if tag == "script"]
        value: dict[str, Any] = json.loads(scripts[0])
        return value


def _html(built: Build) -> str:
    return html_report(size_report(*built), built.inventory)


def _hostile() -> Build:
    names = [f"python/a/{name.replace('/', '_')}{n}" for n, name in enumerate(HOSTILE)]
    names += [f"python/{name}" for name in HOSTILE]
    built = build(
        [file(name, 270_000_000, 60_000_000, HOSTILE[0], HOSTILE[1]) for name in names],
        [remark(HOSTILE[0], "keep", names[0], HOSTILE[1], (1, 1))],
        versions={HOSTILE[0]: HOSTILE[2]},
        passes=(HOSTILE[2],),
        notes=HOSTILE,
        name=HOSTILE[1],
    )
    return Build(replace(built.manifest, description=HOSTILE[0]), built.inventory)


def test_the_page_needs_nothing_but_itself() -> None:
    page = Page(_html(too_large()))
    assert {tag for tag, _ in page.elements} & {"img", "iframe", "object", "embed", "a"} == set()
    for _, attributes in page.elements:
        assert "src" not in attributes
        assert attributes.get("href") in {None, "data:,"}
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in _html(too_large())
    assert "@import" not in _html(too_large())


def test_only_the_pages_own_script_may_run() -> None:
    page = Page(_html(fitting()))
    (policy,) = [
        meta["content"]
        for meta in page.named("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    scripts = [text for tag, text in page.texts if tag == "script"]
    assert len(scripts) == 2
    digest = base64.b64encode(hashlib.sha256(scripts[1].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy


def test_every_placeholder_is_filled() -> None:
    assert re.findall(r"\{\{\w+\}\}", _html(too_large())) == []


def test_tables_hold_the_figures_without_a_script() -> None:
    built = too_large()
    page = Page(_html(built))
    text = page.text()

    for part in (
        "Over: function + layers, unzipped by 64.4 MB",
        "326,571,946 bytes",
        "64.4 MB over",
        "layerpack's own budget",
        "strip.bytecode: none",
        "through S3",
        "python/mxnet/libmxnet.so",
    ):
        assert part in text
    assert len(page.named("table")) == 4, "no remarks, so no table of them"
    headings = [text for tag, text in page.texts if tag == "h2"]
    assert headings == [
        "Totals",
        "Against the limits",
        "What to do",
        "What takes the room",
        "Distributions",
        "Layers and function",
        "Passes",
        "Largest files",
    ]


def test_paged_libraries_have_a_table_with_a_total() -> None:
    html = _html(paged())
    page = Page(html)
    assert "Paged libraries" in [text for tag, text in page.texts if tag == "h2"]
    (total,) = re.findall(r"<tfoot>.*?</tfoot>", html)
    for part in ("8 libraries", "187.8 MB", "21.0 MB", "42.9 MB", "34 %", "3,785"):
        assert part in total
    assert html.count("<tfoot>") == 1, "no other table has one"
    assert "<tfoot>" not in _html(fitting())


def test_sections_and_regions_are_named_by_headings_that_exist() -> None:
    page = Page(_html(fitting()))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    named = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert len(named) > 8
    assert set(named) <= set(names)
    for bar in (a for _, a in page.elements if a.get("role") == "img"):
        assert bar["aria-label"]


def test_a_bar_stops_at_the_end_and_marks_the_limit() -> None:
    html = _html(too_large())
    (row,) = re.findall(r'<div class="limit over">.*?</div></div>', html)
    assert '<i style="width:100.00%"></i><b style="left:80.27%"></b>' in row
    assert '<div class="limit soft">' in html
    assert 'class="limit over"' not in _html(fitting())


def test_the_map_gets_every_file() -> None:
    built = fitting()
    data = Page(_html(built)).data()
    files = data["files"]
    again = [
        (
            "/".join(part for part in (data["folders"][files["folders"][n]], name) if part),
            files["sizes"][n],
            files["zipped"][n],
            data["distributions"][files["distributions"][n]],
            data["layers"][files["layers"][n]],
        )
        for n, name in enumerate(files["names"])
    ]
    assert again == [
        (item.path, item.size, item.zipped, item.distribution, item.layer)
        for item in built.inventory.files
    ]
    assert data["distributions"][data["colours"][0]] == "numpy", "the largest has the first colour"


def test_hostile_names_stay_text() -> None:
    built = _hostile()
    page = Page(_html(built))
    tags = {tag for tag, _ in page.elements}

    assert "img" not in tags
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert "bold" not in [text for tag, text in page.texts if tag == "b"]
    assert len(page.named("script")) == 2
    for name in HOSTILE:
        assert name in page.text(), "shown as it is"
    data = page.data()
    assert data["distributions"] == [HOSTILE[0]]
    assert data["layers"] == [HOSTILE[1]]


@pytest.mark.parametrize("sign", ["<", ">", "&", "\u2028"])
def test_embedded_data_holds_no_sign_that_markup_or_a_script_reads(sign: str) -> None:
    html = _html(_hostile())
    (data,) = re.findall(r'id="data">(.*?)</script>', html)
    assert sign not in data


def test_the_same_build_gives_the_same_page() -> None:
    assert _html(too_large()) == _html(too_large())


def test_fifteen_thousand_files_stay_below_two_megabytes() -> None:
    files = [
        file(
            f"python/package{n % 40}/folder{n % 700}/module_number_{n}.py",
            n,
            n,
            f"d{n % 40}",
            "demo",
        )
        for n in range(15_000)
    ]
    assert len(_html(build(files)).encode()) < 2_000_000


def test_an_empty_build_still_makes_a_page() -> None:
    page = Page(_html(build([])))
    assert page.data()["files"]["names"] == []
    assert "Fits, with 262.1 MB of room" in page.text()
