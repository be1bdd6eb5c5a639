"""The build's records: a round trip, a pinned form, and damaged or foreign files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layerpack.emulation import profile_of
from layerpack.errors import UsageError
from layerpack.manifest import (
    DistributionRecord,
    FileInventory,
    FileRecord,
    FunctionRecord,
    LayerRecord,
    LimitsRecord,
    Manifest,
    PagedRecord,
    PartRecord,
    PassRecord,
    RemarkRecord,
    SystemLibraryRecord,
    Totals,
)
from layerpack.report.html import html_report
from layerpack.report.model import size_report
from layerpack.verification import unproven
from tests.unit.report.test_proof import NEW, NUMBERS

HASH = "0123456789abcdef" * 4
MANIFEST = Manifest(
    name="bert",
    description="caf\u00e9",
    runtime="python3.12",
    architecture="x86_64",
    lock_sha256=HASH,
    layers=(
        LayerRecord(
            name="bert-numpy",
            file="layers/bert-numpy.zip",
            sha256=HASH,
            zipped_bytes=10,
            unzipped_bytes=20,
            distributions=("numpy", "six"),
        ),
    ),
    function=FunctionRecord(
        file="function.zip",
        handler="app.handler",
        sha256=HASH,
        zipped_bytes=1,
        unzipped_bytes=2,
        budget_bytes=3,
    ),
    totals=Totals(unzipped_bytes=22, zipped_bytes=11),
    naive_unzipped_bytes=99,
    distributions=(
        DistributionRecord(
            name="numpy",
            version="1.26.4",
            kind="wheel",
            file="numpy.whl",
            sha256=HASH,
            naive_bytes=50,
            packed_bytes=18,
            layers=("bert-numpy",),
        ),
    ),
    system_libraries=(
        SystemLibraryRecord(soname="libgomp.so.1", origin="pykdtree 1.4.3", sha256=HASH),
    ),
    passes=(PassRecord(name="tests", files=2, bytes_before=50, bytes_after=20),),
    limits=LimitsRecord(
        unzipped_bytes=262_144_000,
        layers=5,
        direct_upload_zip_bytes=52_428_800,
        function_budget_bytes=5_242_880,
    ),
    tools={"layerpack": "0.1.0", "python": "3.12.1 cpython-312"},
    notes=("a note",),
)
PART = PartRecord(
    kind="operator",
    name="softmax",
    kept=False,
    reason="nothing asks for it",
    code_bytes=7,
    aliases=("_npx_softmax",),
)
PAGED = PagedRecord(
    original_bytes=50,
    mapped_bytes=5,
    paged_bytes=44,
    compressed_bytes=11,
    hot_pages=2,
    dropped_bytes=7,
    dropped_variant_bytes=3,
    data_bytes=4,
    parts=(PART,),
)
INVENTORY = FileInventory(
    files=(
        FileRecord(
            path="python/\u00fc.py",
            size=5,
            zipped=3,
            sha256=HASH,
            distribution="numpy",
            layer="bert-numpy",
        ),
        FileRecord(
            path="python/x.so",
            size=18,
            zipped=17,
            sha256=HASH,
            distribution="numpy",
            layer="bert-numpy",
            paged=PAGED,
        ),
    ),
    remarks=(
        RemarkRecord(
            pass_name="tests",
            action="remove",
            path="python/numpy/tests/a.py",
            distribution="numpy",
            reason="a test suite that nothing imports",
            bytes_before=7,
            bytes_after=0,
        ),
        RemarkRecord(
            pass_name="paged",
            action="rewrite",
            path="python/x.so",
            distribution="numpy",
            reason="packed",
            bytes_before=50,
            bytes_after=18,
            paged=PAGED,
        ),
    ),
)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path / "manifest.json")
    assert Manifest.read(tmp_path / "manifest.json") == MANIFEST


def test_an_inventory_is_read_as_it_was_written(tmp_path: Path) -> None:
    INVENTORY.write(tmp_path / "files.json")
    assert FileInventory.read(tmp_path / "files.json") == INVENTORY


def test_an_inventory_has_the_figures_of_paged_libraries(tmp_path: Path) -> None:
    INVENTORY.write(tmp_path / "files.json")
    value = json.loads((tmp_path / "files.json").read_text())
    assert value["schema_version"] == 4
    assert [item["paged"] for item in value["files"]] == [
        None,
        {
            "original_bytes": 50,
            "mapped_bytes": 5,
            "paged_bytes": 44,
            "compressed_bytes": 11,
            "hot_pages": 2,
            "dropped_bytes": 7,
            "dropped_variant_bytes": 3,
            "data_bytes": 4,
            "parts": [
                {
                    "kind": "operator",
                    "name": "softmax",
                    "kept": False,
                    "reason": "nothing asks for it",
                    "code_bytes": 7,
                    "aliases": ["_npx_softmax"],
                }
            ],
        },
    ]
    value["schema_version"] = 1
    (tmp_path / "files.json").write_text(json.dumps(value))
    with pytest.raises(UsageError, match="has schema version 1, this layerpack reads 4"):
        FileInventory.read(tmp_path / "files.json")


def test_a_build_without_a_function_has_none(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path / "manifest.json")
    value = json.loads((tmp_path / "manifest.json").read_text())
    value["function"] = None
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    assert Manifest.read(tmp_path / "manifest.json").function is None


def test_the_form_that_others_rely_on(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path / "manifest.json")
    value = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert value == {
        "name": "bert",
        "description": "caf\u00e9",
        "runtime": "python3.12",
        "architecture": "x86_64",
        "lock_sha256": HASH,
        "layers": [
            {
                "name": "bert-numpy",
                "file": "layers/bert-numpy.zip",
                "sha256": HASH,
                "zipped_bytes": 10,
                "unzipped_bytes": 20,
                "distributions": ["numpy", "six"],
            }
        ],
        "function": {
            "file": "function.zip",
            "handler": "app.handler",
            "sha256": HASH,
            "zipped_bytes": 1,
            "unzipped_bytes": 2,
            "budget_bytes": 3,
            "environment": {},
        },
        "totals": {"unzipped_bytes": 22, "zipped_bytes": 11},
        "naive_unzipped_bytes": 99,
        "distributions": [
            {
                "name": "numpy",
                "version": "1.26.4",
                "kind": "wheel",
                "file": "numpy.whl",
                "sha256": HASH,
                "naive_bytes": 50,
                "packed_bytes": 18,
                "layers": ["bert-numpy"],
                "required": True,
            }
        ],
        "system_libraries": [
            {"soname": "libgomp.so.1", "origin": "pykdtree 1.4.3", "sha256": HASH}
        ],
        "passes": [{"name": "tests", "files": 2, "bytes_before": 50, "bytes_after": 20}],
        "limits": {
            "unzipped_bytes": 262_144_000,
            "layers": 5,
            "direct_upload_zip_bytes": 52_428_800,
            "function_budget_bytes": 5_242_880,
        },
        "tools": {"layerpack": "0.1.0", "python": "3.12.1 cpython-312"},
        "verified": {},
        "notes": ["a note"],
        "schema_version": 1,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{", "is damaged: ", id="half"),
        pytest.param("", "is damaged: ", id="empty"),
        pytest.param("\0\0\0", "is damaged: ", id="zeros"),
        pytest.param('{"schema_version": 1}', "is damaged: name: ", id="keys missing"),
        pytest.param("[]", "is damaged: ", id="list"),
        pytest.param("[" * 100_000, "is damaged: ", id="deep"),
        pytest.param("{}", "has schema version None, this layerpack reads 1", id="another's"),
        pytest.param(
            '{"schema_version": 2}', "has schema version 2, this layerpack reads 1", id="newer"
        ),
    ],
)
def test_a_damaged_or_foreign_manifest_is_told(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        Manifest.read(path)
    assert caught.value.message.startswith(f"{path} {expected}")
    assert caught.value.hint.startswith("Build the recipe again")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object and list in a JSON value, with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@pytest.mark.parametrize("other", [None, "x", -1, [], {"x": None}], ids=repr)
@pytest.mark.parametrize("name", ["manifest.json", "files.json"])
def test_a_value_of_another_type_is_told_or_does_no_harm(
    tmp_path: Path, name: str, other: object
) -> None:
    whole = replace(MANIFEST, verified={**NEW, "memory": [{"memory_mb": 128, "packed": NUMBERS}]})
    whole.write(tmp_path / "manifest.json")
    INVENTORY.write(tmp_path / "files.json")
    path = tmp_path / name
    value = json.loads(path.read_text())
    for holder, key in places(value):
        former, holder[key] = holder[key], other
        path.write_text(json.dumps(value))
        holder[key] = former
        with suppress(UsageError):
            manifest = Manifest.read(tmp_path / "manifest.json")
            inventory = FileInventory.read(tmp_path / "files.json")
            report = size_report(manifest, inventory)
            html_report(report, inventory)
            unproven(manifest.verified)
            profile_of(manifest)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ({"verified": []}, "verified: "),
        ({"verified": {"state": "verified"}}, "verified: isolation: "),
        ({"verified": {"state": "x"}}, "verified: state: "),
        ({"verified": {"state": "not verified"}}, "verified: reason: "),
        ({"verified": {**NEW, "levels": [{"level": "avx2", "state": "x"}]}}, "verified: levels.0"),
        (
            {"verified": {**NEW, "workloads": [], "memory": [{"memory_mb": 1}]}},
            "verified: 'memory' ",
        ),
        ({"runtime": "python9"}, "runtime: "),
        ({"architecture": "ppc"}, "architecture: "),
        ({"naive_unzipped_bytes": "x"}, "naive_unzipped_bytes: "),
    ],
)
def test_a_damaged_value_is_named(tmp_path: Path, damage: dict[str, object], expected: str) -> None:
    path = tmp_path / "manifest.json"
    MANIFEST.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(UsageError) as caught:
        Manifest.read(path)
    assert caught.value.message.startswith(f"{path} is damaged: {expected}")
    assert caught.value.hint == "Build the recipe again."


def test_a_runtime_that_is_not_known_is_told() -> None:
    with pytest.raises(UsageError, match=r"python9\.9"):
        profile_of(replace(MANIFEST, runtime="python9.9"))


def test_a_damaged_inventory_is_told(tmp_path: Path) -> None:
    path = tmp_path / "files.json"
    path.write_text('{"schema_version": 4, "files": [{"path": "x"}], "remarks": []}')
    with pytest.raises(UsageError, match=r"files\.json is damaged"):
        FileInventory.read(path)


def test_a_folder_that_is_no_build_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Manifest.read(tmp_path / "manifest.json")
    assert str(caught.value) == (
        f"{tmp_path}/manifest.json: no such file\n"
        f"Is {tmp_path} a build folder? `layerpack build` makes one."
    )
