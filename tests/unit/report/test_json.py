from __future__ import annotations

import json
from typing import Any, TypeVar

from layerpack.manifest import FileRecord, PagedRecord
from layerpack.report.advice import Advice, Contributor
from layerpack.report.diff import (
    Change,
    DistributionDiff,
    FileDiff,
    PassDiff,
    ReportDiff,
    ZipDiff,
    diff,
)
from layerpack.report.explain import FileExplanation, GroupExplanation, explain
from layerpack.report.json_ import diff_json, explanation_json, size_report_json
from layerpack.report.limit_use import LimitUse
from layerpack.report.model import (
    DistributionSize,
    PagedSize,
    PassSize,
    RemarkGroup,
    SizeReport,
    ZipSize,
    size_report,
)

from .builds import build, file, fitting, paged, too_large

T = TypeVar("T")


def _read(kind: type[T], value: dict[str, Any], **fields: Any) -> T:
    """The dataclass `kind` from its JSON object, computed values left out."""
    names = kind.__slots__  # type: ignore[attr-defined]
    plain = {
        name: tuple(value[name]) if isinstance(value[name], list) else value[name] for name in names
    }
    return kind(**(plain | fields))


def test_a_size_report_comes_back_whole() -> None:
    for built in (fitting(), too_large(), paged()):
        report = size_report(*built)
        value = json.loads(size_report_json(report))
        zips = [
            _read(ZipSize, item, distributions=tuple(item["distributions"]))
            for item in value["layers"]
        ]
        again = _read(
            SizeReport,
            value,
            limits=tuple(_read(LimitUse, item) for item in value["limits"]),
            layers=tuple(zips),
            function=_read(ZipSize, value["function"]) if value["function"] else None,
            distributions=tuple(_read(DistributionSize, item) for item in value["distributions"]),
            passes=tuple(_read(PassSize, item) for item in value["passes"]),
            paged=tuple(_read(PagedSize, item) for item in value["paged"]),
            largest=tuple(
                _read(FileRecord, item, paged=_read(PagedRecord, item["paged"]))
                if item["paged"]
                else _read(FileRecord, item)
                for item in value["largest"]
            ),
            remarks=tuple(_read(RemarkGroup, item) for item in value["remarks"]),
            advice=tuple(
                _read(
                    Advice,
                    item,
                    largest=tuple(_read(Contributor, one) for one in item["largest"]),
                )
                for item in value["advice"]
            ),
        )
        assert again == report


def test_what_a_script_asks_a_size_report() -> None:
    value = json.loads(size_report_json(size_report(*too_large())))
    assert (value["schema_version"], value["kind"]) == (1, "size-report")
    assert value["exceeds"] is True
    assert value["verdict"] == "over: function + layers, unzipped by 64.4 MB"
    assert [(item["kind"], item["excess"], item["hard"]) for item in value["over"]] == [
        ("unzipped", 64_427_947, True),
        ("zip", 30_771_200, False),
    ]
    assert [item["needs_s3"] for item in value["layers"]] == [True, False, False]
    assert value["function"]["needs_s3"] is False
    assert value["passes"][0]["saved_bytes"] == 0
    assert {item["name"]: item["ratio"] for item in value["distributions"]}["mxnet"] == 1.0


def test_what_a_script_asks_about_paged_libraries() -> None:
    value = json.loads(size_report_json(size_report(*paged())))
    first = value["paged"][0]
    assert (first["path"], first["distribution"]) == ("python/mxnet/libmxnet.so", "mxnet")
    assert (first["hot_pages"], round(first["ratio"], 2)) == (3_600, 0.34)
    total = value["paged_total"]
    for name in ("original_bytes", "mapped_bytes", "compressed_bytes", "size"):
        assert total[name] == sum(item[name] for item in value["paged"])
    plain = json.loads(size_report_json(size_report(*fitting())))
    assert (plain["paged"], plain["paged_total"]) == ([], None)


def test_a_build_without_a_function() -> None:
    built = build([file("python/a/x", 10, 5, "a", "demo-a")])
    assert json.loads(size_report_json(size_report(*built)))["function"] is None


def test_a_diff_comes_back_whole() -> None:
    old, new = too_large(), fitting()
    found = diff(old.manifest, new.manifest, old_files=old.inventory, new_files=new.inventory)
    value = json.loads(diff_json(found))

    def change(item: dict[str, int]) -> Change:
        assert item["delta"] == item["after"] - item["before"]
        return _read(Change, item)

    again = _read(
        ReportDiff,
        value,
        unzipped=change(value["unzipped"]),
        zipped=change(value["zipped"]),
        naive=change(value["naive"]),
        zips=tuple(
            _read(ZipDiff, item, zipped=change(item["zipped"]), unzipped=change(item["unzipped"]))
            for item in value["zips"]
        ),
        distributions=tuple(
            _read(DistributionDiff, item, packed=change(item["packed"]))
            for item in value["distributions"]
        ),
        passes=tuple(
            _read(PassDiff, item, saved=change(item["saved"])) for item in value["passes"]
        ),
        files=tuple(_read(FileDiff, item, size=change(item["size"])) for item in value["files"]),
    )
    assert again == found
    assert (value["schema_version"], value["kind"], value["identical"]) == (1, "diff", False)
    assert value["upload_bytes"] == sum(item["upload_bytes"] for item in value["zips"])


def test_explanations_come_back() -> None:
    gone = explain("spacy/tokens/doc.pyx", *fitting())
    assert isinstance(gone, FileExplanation)
    value = json.loads(explanation_json(gone))
    assert (value["kind"], value["of"], value["state"]) == ("explanation", "file", "removed")
    assert value["size"] is None
    assert [item["reason"] for item in value["remarks"]] == ["only to build"]

    library = explain("mxnet/libmxnet.so", *paged())
    value = json.loads(explanation_json(library))
    assert value["paged"]["compressed_bytes"] == 33_800_000
    assert value["remarks"][0]["paged"] == value["paged"]

    folder = explain("spacy", *fitting())
    assert isinstance(folder, GroupExplanation)
    value = json.loads(explanation_json(folder))
    assert (value["of"], value["pattern"]) == ("group", "python/spacy/")
    assert value["removed_bytes"] == 132_616
    assert tuple(_read(RemarkGroup, item) for item in value["groups"]) == folder.groups


def test_a_name_that_is_no_valid_unicode_still_makes_a_document() -> None:
    built = build([file("python/a/\udcff.py", 10, 5, "a", "demo-a")])
    text = size_report_json(size_report(*built))
    text.encode("ascii")
    assert json.loads(text)["largest"][0]["path"] == "python/a/\udcff.py"
