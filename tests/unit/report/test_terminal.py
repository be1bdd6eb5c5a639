from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from layerpack.report.diff import diff
from layerpack.report.explain import explain
from layerpack.report.model import size_report
from layerpack.report.terminal import print_paging, print_size_report
from layerpack.report.terminal_diff import print_diff
from layerpack.report.terminal_explain import print_explanation

from .builds import Build, build, file, fitting, paged, remark, too_large

GOLDEN = Path(__file__).parent / "golden"


def _console(width: int = 80) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width, color_system=None), stream


def _size(built: Build, width: int = 80) -> str:
    console, stream = _console(width)
    print_size_report(size_report(*built), console)
    return stream.getvalue()


def _diff(old: Build, new: Build) -> str:
    console, stream = _console()
    found = diff(old.manifest, new.manifest, old_files=old.inventory, new_files=new.inventory)
    print_diff(found, console)
    return stream.getvalue()


def _explain(path: str, built: Build) -> str:
    console, stream = _console()
    print_explanation(explain(path, *built), console)
    return stream.getvalue()


def _matches(name: str, text: str) -> None:
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_a_build_that_fits() -> None:
    _matches("size-fitting.txt", _size(fitting()))


def test_a_build_that_is_too_large() -> None:
    _matches("size-too-large.txt", _size(too_large()))


def test_a_build_with_paged_libraries() -> None:
    _matches("size-paged.txt", _size(paged()))


def test_only_the_largest_paged_libraries_are_listed_above_the_total() -> None:
    text = _size(paged())
    table = text[text.index("Paged libraries") :].split("\n\n")[0]
    assert "part2" in table
    assert "part3" not in table
    assert "8 libraries" in table


def test_an_explanation_of_a_paged_library() -> None:
    _matches("explain-paged.txt", _explain("mxnet/libmxnet.so", paged()))


def test_an_explanation_of_a_library_whose_data_is_packed() -> None:
    built = paged()
    files = tuple(
        replace(one, paged=one.paged and replace(one.paged, data_bytes=15_000_000))
        for one in built.inventory.files
    )
    built = built._replace(inventory=replace(built.inventory, files=files))
    text = _explain("mxnet/libmxnet.so", built)
    assert (
        "119.0 MB of code and 15.0 MB of read-only data are compressed to 33.8 MB: data is "
        "decompressed when the library is loaded, and code brought in when it is touched (3,600 "
    ) in " ".join(text.split())


def test_a_diff() -> None:
    _matches("diff.txt", _diff(too_large(), fitting()))


def test_a_diff_of_the_same() -> None:
    assert "Every zip is the same" in _diff(fitting(), fitting())


@pytest.mark.parametrize(
    ("path", "golden"),
    [
        ("spacy/tokens/doc.so", "explain-rewritten.txt"),
        ("spacy/tokens/doc.pyx", "explain-removed.txt"),
        ("numpy/core/numeric.py", "explain-untouched.txt"),
        ("spacy", "explain-folder.txt"),
    ],
)
def test_explanations(path: str, golden: str) -> None:
    _matches(golden, _explain(path, fitting()))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_of_paged_libraries_is_wider_than_the_terminal(width: int) -> None:
    lines = _size(paged(), width).splitlines()
    assert max(map(len, lines)) <= width
    start = next(n for n, line in enumerate(lines) if line.startswith("Paged libraries"))
    (total,) = [line for line in lines[start:] if line.startswith("8 libraries")]
    assert total.split()[2:] == ["187.8", "MB", "21.0", "MB", "42.9", "MB", "34", "%"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    deep = "/".join(["python", "a", *["folder"] * 20, "x.cpython-312-x86_64-linux-gnu.so"])
    files = [file(deep, 300_000_000, 80_000_000, "a" * 50, "demo-" + "b" * 40)]
    lines = _size(build(files, notes=()), width).splitlines()
    assert max(map(len, lines)) <= width
    assert any("300.0 MB" in line and "gnu.so" in line for line in lines)


def test_figures_are_whole_at_80_columns() -> None:
    for name in ("size-fitting.txt", "size-too-large.txt", "size-paged.txt", "diff.txt"):
        tables = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
        cut = [
            line for line in tables if "…" in line and not line.startswith(("…/", "- …/", "~ …/"))
        ]
        assert cut == []


def test_over_is_told_without_colour() -> None:
    (line,) = [line for line in _size(too_large()).splitlines() if line.startswith("Unzipped")]
    assert "125 %!" in line
    assert "-64.4 MB" in line


def test_colour_is_there_for_a_terminal_and_not_with_no_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def coloured() -> str:
        stream = io.StringIO()
        console = Console(file=stream, width=80, force_terminal=True, color_system="standard")
        print_size_report(size_report(*too_large()), console)
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31m" in coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in coloured()


def test_a_terminal_without_utf_8_gets_plain_bars() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="replace")
    print_size_report(size_report(*fitting()), Console(file=stream, width=80, color_system=None))
    stream.flush()
    assert b"###" in raw.getvalue()
    assert b"????" not in raw.getvalue()


def test_names_steer_neither_the_terminal_nor_the_markup() -> None:
    name = "python/a/[bold red]\x1b[2J\r.py"
    built = build(
        [file(name, 10, 5, "a[/]", "demo-a")],
        [remark("tests", "keep", name, "[link]\x07", (10, 10))],
        passes=("tests",),
        notes=("[/nothing]\x1b[0m",),
    )
    for text in (_size(built), _explain(name, built), _explain("a", built)):
        assert not set(text) & {"\x1b", "\r", "\x07"}
    assert "[bold red]�[2J�.py" in _explain(name, built)
    assert "[/nothing]" in _size(built)


@pytest.mark.parametrize("width", [80, 1000])
def test_libraries_that_code_was_brought_in_of_are_told_apart_by_their_names(width: int) -> None:
    folder = "python/lib/python3.12/site-packages/numpy/_core"
    names = ["_multiarray_umath", "_multiarray_tests", "_simd"]
    end = ".cpython-312-x86_64-linux-gnu.so"
    paging = [
        {
            "path": f"{folder}/{name}{end}",
            "windows": 1234,
            "bytes": 123_456_789,
            "packed_bytes": 123_456_789,
            "ms": 1234.5,
            "decoding_ms": 1234.5,
        }
        for name in names
    ]
    console, stream = _console(width)
    print_paging(paging, console)
    rows = stream.getvalue().splitlines()[3:]
    assert max(map(len, rows)) <= width
    for row, name in zip(rows, names, strict=True):
        assert name in row
        assert row.endswith("1234.5 ms")
        assert (f"{folder}/{name}{end}" in row) == (width == 1000)
