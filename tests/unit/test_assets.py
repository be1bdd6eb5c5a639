"""Assets: from files, folders and wheels; each failure named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from layerpack.assets import AssetContext
from layerpack.cache import Cache
from layerpack.errors import RecipeError, ResolveError
from layerpack.payload import Payload
from tests.support.assets import ZERO, contents, context, make, refusal
from tests.support.recipes import payload_in
from tests.support.wheels import sha256

PEM = "-----BEGIN " + "PRIVATE KEY-----\n" + "MIIEvQIBADANBgkq" * 8


def test_a_file_is_an_asset_under_its_own_name(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/model.bin").write_text("weights")
    record = make(context(tmp_path, cache, "file: data/model.bin"))
    assert contents(record) == {"assets/model/model.bin": "weights"}
    assert (record.origin, record.sha256) == (
        "data/model.bin",
        sha256(tmp_path / "data/model.bin"),
    )
    assert record.entries[0].distribution == "asset:model"


def test_a_folder_is_an_asset_with_all_its_files(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data/deep").mkdir(parents=True)
    (tmp_path / "data/a").write_text("1")
    (tmp_path / "data/deep/b").write_text("2")
    record = make(context(tmp_path, cache, "file: data"))
    assert contents(record) == {"assets/model/a": "1", "assets/model/deep/b": "2"}
    (tmp_path / "data/a").write_text("3")
    assert make(context(tmp_path, cache, "file: data")).sha256 != record.sha256


def test_a_dead_link_in_a_folder_is_told(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to("nowhere")
    assert refusal(context(tmp_path, cache, "file: data"), RecipeError) == (
        "recipe.yaml: assets.model.file: data: link is a link to a folder, or a dead one\n"
        "Put a copy of the file in the link's place, or leave it out with assets.model.exclude."
    )


def test_what_a_layer_cannot_hold_is_told(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data/deep").mkdir(parents=True)
    os.mkfifo(tmp_path / "data/deep/pipe")
    chosen = context(tmp_path, cache, "file: data")
    assert "data: deep/pipe is neither a file nor a folder\n" in refusal(chosen, RecipeError)
    (tmp_path / "data/deep/pipe").unlink()
    (tmp_path / "data/deep/up").symlink_to("..")
    assert "data: deep/up is a link to a folder" in refusal(chosen, RecipeError)
    (tmp_path / "data/deep/up").unlink()
    odd = tmp_path / os.fsdecode(b"data/caf\xe9")
    odd.touch()
    assert "data: 'caf\\udce9' has a name that is not UTF-8\n" in refusal(chosen, RecipeError)
    odd.unlink()
    # A link to a file stands for its content.
    (tmp_path / "data/a").write_text("1")
    (tmp_path / "data/b").symlink_to("a")
    assert contents(make(chosen)) == {"assets/model/a": "1", "assets/model/b": "1"}


def test_leftovers_of_a_folder_do_not_ship(tmp_path: Path, cache: Cache) -> None:
    left = (".git/config", "a/__pycache__/x.cpython-312.pyc", ".DS_Store", ".venv/bin/python")
    # Models are often not under version control.
    ignored = {"weights.bin": "1", "a/vocab.txt": "2", ".gitignore": "*.bin\n"}
    for name, text in {**ignored, **dict.fromkeys(left, "3"), "notes/x": "4"}.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    record = make(context(tmp_path, cache, "file: data, exclude: [notes]"))
    assert contents(record) == {"assets/model/weights.bin": "1", "assets/model/a/vocab.txt": "2"}
    (tmp_path / "data/.git/config").write_text("another")
    assert make(context(tmp_path, cache, "file: data, exclude: [notes]")) == record


def test_an_asset_may_be_the_recipes_own_folder(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "weights.bin").write_text("1")
    record = make(context(tmp_path, cache, "file: ., exclude: [cache]"))
    assert contents(record) == {"assets/model/weights.bin": "1"}


def test_secrets_of_a_folder_are_refused(tmp_path: Path, cache: Cache) -> None:
    secrets = {".env": "KEY=1", "deep/id_rsa": "x", "settings.txt": PEM}
    for name, text in {**secrets, "weights.bin": "1"}.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    assert refusal(context(tmp_path, cache, "file: data"), RecipeError) == (
        "recipe.yaml: assets.model.file: data: these files look like secrets: .env, deep/id_rsa, "
        "settings.txt\nLeave them out with assets.model.exclude, or deploy them with "
        "assets.model.include."
    )
    chosen = context(tmp_path, cache, "file: data, include: [id_rsa], exclude: [.env, '*.txt']")
    assert contents(make(chosen)) == {
        "assets/model/weights.bin": "1",
        "assets/model/deep/id_rsa": "x",
    }
    # A link to one is one.
    (tmp_path / "data/latest").symlink_to("settings.txt")
    assert "secrets: latest\n" in refusal(chosen, RecipeError)


@pytest.mark.parametrize("keys", ["wheel: gt==1.0", "file: data, prepare: prepare.py"])
@pytest.mark.parametrize("key", ["include", "exclude"])
def test_patterns_are_for_a_folder_that_ships(
    tmp_path: Path, cache: Cache, keys: str, key: str
) -> None:
    with pytest.raises(RecipeError, match="'include' and 'exclude' are for"):
        context(tmp_path, cache, f"{keys}, {key}: [x]")


def test_a_wheels_files_are_an_asset(tmp_path: Path, cache: Cache) -> None:
    unpacked = tmp_path / "unpacked"
    payload_in(unpacked, {"gt/model.bin": "weights", "gt/vocab.txt": "words"})
    chosen = context(tmp_path, cache, "wheel: gt==1.0")
    chosen = AssetContext(
        recipe=chosen.recipe,
        payload=Payload([]),
        payload_key="",
        cache=cache,
        wheel=lambda asset: (unpacked, "gt-1.0-py3-none-any.whl", ZERO),
    )
    record = make(chosen)
    assert contents(record) == {
        "assets/model/gt/model.bin": "weights",
        "assets/model/gt/vocab.txt": "words",
    }
    assert (record.origin, record.sha256) == ("gt-1.0-py3-none-any.whl", ZERO)


def test_a_missing_file_is_told(tmp_path: Path, cache: Cache) -> None:
    assert refusal(context(tmp_path, cache, "file: none.bin"), RecipeError) == (
        "recipe.yaml: assets.model.file: none.bin does not exist"
    )


def test_a_file_with_another_hash_is_refused(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "model.bin").write_text("weights")
    text = refusal(context(tmp_path, cache, f"file: model.bin, sha256: '{ZERO}'"), ResolveError)
    assert text == (
        f"recipe.yaml: assets.model: model.bin has the hash sha256:{sha256(tmp_path / 'model.bin')}"
        f", the recipe says {ZERO}\nLook into the file before you change the recipe."
    )
