"""The receipt: round-trips, and what is not believed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerpack.errors import UsageError
from layerpack.publish.receipt import FunctionReceipt, LayerReceipt, Receipt

LAYER = LayerReceipt(arn="arn:1", sha256="ab", created="2026-01-01")


def test_it_is_written_at_once_and_read_again(tmp_path: Path) -> None:
    receipt = Receipt.read(tmp_path)
    receipt.add_layer("eu-west-1", "", "alpha", LAYER)
    assert Receipt.read(tmp_path).layer("eu-west-1", "", "alpha") == LAYER
    receipt.set_function("eu-west-1", "", FunctionReceipt(name="f", version="1", alias="live"))
    again = Receipt.read(tmp_path)
    assert again.regions == receipt.regions
    again.forget("eu-west-1", {"arn:1"})
    assert Receipt.read(tmp_path).layer("eu-west-1", "", "alpha") is None


def test_another_endpoint_is_another_place(tmp_path: Path) -> None:
    receipt = Receipt.read(tmp_path)
    receipt.add_layer("eu-west-1", "http://localhost:4566", "alpha", LAYER)
    assert receipt.layer("eu-west-1", "", "alpha") is None
    receipt.add_layer("eu-west-1", "", "beta", LAYER)
    assert receipt.layer("eu-west-1", "", "alpha") is None
    assert set(receipt.regions["eu-west-1"].layers) == {"beta"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 2, "regions": {}}'])
def test_one_that_cannot_be_used_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "publish.json").write_text(text)
    with pytest.raises(UsageError, match=r"publish\.json cannot be used"):
        Receipt.read(tmp_path)


def test_its_form(tmp_path: Path) -> None:
    Receipt.read(tmp_path).add_layer("eu-west-1", "", "alpha", LAYER)
    assert json.loads((tmp_path / "publish.json").read_text()) == {
        "schema_version": 1,
        "regions": {
            "eu-west-1": {
                "endpoint": "",
                "layers": {"alpha": {"arn": "arn:1", "sha256": "ab", "created": "2026-01-01"}},
                "function": None,
            }
        },
    }
