"""The receipt: round-trips, and what is not believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.errors import UsageError
from layerpack.publish.place import Place
from layerpack.publish.receipt import FunctionReceipt, LayerReceipt, Receipt

PLACE = Place(region="eu-west-1", account="123456789012", endpoint="")
LAYER = LayerReceipt(arn="arn:1", sha256="ab", created="2026-01-01")


def test_it_is_written_at_once_and_read_again(tmp_path: Path) -> None:
    receipt = Receipt.read(tmp_path)
    receipt.add_layer(PLACE, "alpha", LAYER)
    assert Receipt.read(tmp_path).layer(PLACE, "alpha") == LAYER
    function = FunctionReceipt(state="proven", version="1", alias="live")
    receipt.set_function(PLACE, "f", function)
    again = Receipt.read(tmp_path)
    assert again.regions == receipt.regions
    assert again.function(PLACE, "f") == function
    again.forget(PLACE, {"arn:1"})
    assert Receipt.read(tmp_path).layer(PLACE, "alpha") is None
    assert again.function(PLACE, "g") is None
    again.set_function(PLACE, "f", None)
    assert Receipt.read(tmp_path).function(PLACE, "f") is None


@pytest.mark.parametrize(
    "other", [replace(PLACE, endpoint="http://localhost:4566"), replace(PLACE, account="2" * 12)]
)
def test_another_account_or_endpoint_is_another_place(tmp_path: Path, other: Place) -> None:
    receipt = Receipt.read(tmp_path)
    receipt.add_layer(other, "alpha", LAYER)
    assert receipt.layer(PLACE, "alpha") is None
    receipt.forget(PLACE, {"arn:1"})
    assert receipt.layers(other) == {"alpha"}
    receipt.add_layer(PLACE, "beta", LAYER)
    assert receipt.layer(PLACE, "alpha") is None
    assert set(receipt.regions["eu-west-1"].layers) == {"beta"}


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "[" * 100_000, '{"schema_version": 2, "regions": {}}'),
        '{"schema_version": 1, "regions": {"x": {"account": 5, "endpoint": ""}}}',
        '{"schema_version": 1, "regions": {"x": {"account": "5", "endpoint": "", "layers": []}}}',
    ],
)
def test_one_that_cannot_be_used_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "publish.json").write_text(text)
    with pytest.raises(UsageError, match=r"publish\.json is not a receipt"):
        Receipt.read(tmp_path)


def test_its_form(tmp_path: Path) -> None:
    Receipt.read(tmp_path).add_layer(PLACE, "alpha", LAYER)
    assert json.loads((tmp_path / "publish.json").read_text()) == {
        "schema_version": 1,
        "regions": {
            "eu-west-1": {
                "account": "123456789012",
                "endpoint": "",
                "layers": {"alpha": {"arn": "arn:1", "sha256": "ab", "created": "2026-01-01"}},
                "functions": {},
            }
        },
    }
