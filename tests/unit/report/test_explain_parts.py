"""What operators cost, and why each stays or goes."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from layerpack.errors import UsageError
from layerpack.report.explain_parts import Kind, PartsExplanation, explain_parts
from layerpack.report.html import html_report
from layerpack.report.json_ import parts_json
from layerpack.report.model import LeftOut, size_report
from layerpack.report.terminal import print_size_report
from layerpack.report.terminal_parts_explained import print_parts

from .builds import fitting, left_out


def _explained(name: str = "", kind: Kind = "operator") -> PartsExplanation:
    built = left_out()
    return explain_parts(kind, name, built.manifest, built.inventory)


def _text(explanation: PartsExplanation) -> str:
    stream = io.StringIO()
    print_parts(explanation, Console(file=stream, width=80, color_system=None))
    return stream.getvalue()


def test_the_largest_come_first() -> None:
    (library,) = _explained().libraries
    assert [part.name for part in library.parts] == ["_npi_einsum", "softmax", "Convolution"]
    assert (library.dropped_bytes, library.code_bytes) == (56_500_000, 136_000_000)


@pytest.mark.parametrize("name", ["Convolution", "_npx_convolution"])
def test_one_by_any_of_its_names(name: str) -> None:
    (library,) = _explained(name).libraries
    assert [part.name for part in library.parts] == ["Convolution"]
    assert _text(_explained(name)).splitlines() == [
        "python/mxnet/libmxnet.so",
        "  operator Convolution (also called _npx_convolution)",
        "  It is left out: nothing asks for it.",
        "  To keep it would take 145.6 kB of code, not compressed.",
    ]


def test_one_that_stays() -> None:
    lines = _text(_explained("softmax")).splitlines()
    assert lines[2:] == [
        "  It stays: a workload runs it.",
        "  448.1 kB of code would go without it.",
    ]


def test_all_of_them() -> None:
    text = " ".join(_text(_explained()).split())
    assert "1 of 3 operators stay; of 136.0 MB of code 56.5 MB are left out." in text
    assert "_npi_einsum 5.4 MB left out nothing asks for it" in text
    assert "softmax 448.1 kB stays a workload runs it" in text


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="demo has no operator 'convolutoin'") as caught:
        _explained("convolutoin")
    assert "Did you mean Convolution" in caught.value.hint


def test_a_name_like_no_other() -> None:
    with pytest.raises(UsageError) as caught:
        _explained("zzz")
    assert caught.value.hint == "`layerpack explain operator` lists them."


@pytest.mark.parametrize(
    ("kind", "key"), [("variant", "cpu: {x86_64: [avx2]}"), ("operator", "mxnet.operators")]
)
def test_a_build_that_leaves_nothing_out(kind: Kind, key: str) -> None:
    built = fitting()
    found = explain_parts(kind, "", built.manifest, built.inventory)
    text = " ".join(_text(found).split())
    assert text.startswith(f"demo leaves no {kind}s out: all stay")
    assert key in text
    value = json.loads(parts_json(found))
    assert (value["libraries"], value["remark"]) == ([], found.remark)
    with pytest.raises(UsageError, match=f"demo leaves no {kind}s out") as caught:
        explain_parts(kind, "HASWELL", built.manifest, built.inventory)
    assert key in caught.value.hint


def test_as_json() -> None:
    value = json.loads(parts_json(_explained("softmax")))
    assert (value["kind"], value["of"], value["name"]) == ("explanation", "operator", "softmax")
    (part,) = value["libraries"][0]["parts"]
    assert (part["kept"], part["code_bytes"]) == (True, 448_100)


def test_the_report_counts_what_is_left_out() -> None:
    report = size_report(*left_out())
    assert report.left_out == (
        LeftOut(
            path="python/mxnet/libmxnet.so",
            kind="operator",
            kept=1,
            gone=2,
            dropped_bytes=56_500_000,
        ),
    )
    stream = io.StringIO()
    print_size_report(report, Console(file=stream, width=80, color_system=None))
    assert "python/mxnet/libmxnet.so operators 1 2 -56.5 MB" in " ".join(stream.getvalue().split())
    assert "Left out of libraries" in html_report(report, left_out().inventory)


def test_the_report_of_a_whole_library_has_no_such_table() -> None:
    report = size_report(*fitting())
    assert report.left_out == ()
    assert "Left out of libraries" not in html_report(report, fitting().inventory)
