"""Assets from URLs: checked, bounded in size and time, and without their secrets in messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.assets import AssetContext
from layerpack.cache import Cache
from layerpack.errors import RecipeError, ResolveError
from layerpack.payload import Payload
from tests.support.assets import ZERO, context, make, no_wheel, refusal
from tests.support.index import LocalIndex
from tests.support.wheels import sha256


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file to publish."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights " * 100_000)
    return path


def test_a_url_is_downloaded_once(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    seen: list[tuple[int, int]] = []
    chosen = AssetContext(
        recipe=chosen.recipe,
        payload=Payload([]),
        payload_key="",
        cache=cache,
        wheel=no_wheel,
        progress=lambda done, total: seen.append((done, total)),
    )
    record = make(chosen)
    assert [entry.path for entry in record.entries] == ["assets/model/weights.bin"]
    assert record.entries[0].sha256 == record.sha256 == sha256(weights)
    assert seen[-1] == (800_000, 800_000)
    make(chosen)
    assert len(index.requests) == 1
    # A damaged download in the cache is fetched anew.
    record.entries[0].source.write_bytes(b"damaged")
    assert make(chosen).entries[0].sha256 == sha256(weights)
    assert len(index.requests) == 2


def test_a_urls_query_is_no_part_of_the_files_name(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes()) + "?download=1"
    record = make(context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'"))
    assert [entry.path for entry in record.entries] == ["assets/model/weights.bin"]


@pytest.mark.parametrize("damage", ["absent", "other hash", "no server"])
def test_a_urls_query_is_never_shown(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path, damage: str
) -> None:
    told: list[str] = []
    plain = index.put("weights.bin", weights.read_bytes())
    digest = ZERO if damage == "other hash" else sha256(weights)
    if damage == "absent":
        plain = plain.replace("weights", "none")
    if damage == "no server":
        with LocalIndex() as gone:
            plain = f"{gone.root}/files/weights.bin"
    keys = f"url: '{plain}?X-Signature=secret#token', sha256: '{digest}'"
    chosen = replace(context(tmp_path, cache, keys), on_step=told.append)
    text = refusal(chosen, ResolveError)
    assert plain in text
    assert "secret" not in text and "token" not in text
    assert told == ["downloading the asset model"]


def test_a_urls_query_is_not_recorded(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    keys = f"url: '{url}?X-Signature=secret', sha256: '{sha256(weights)}'"
    assert make(context(tmp_path, cache, keys)).origin == url


def test_a_url_with_another_hash_is_refused(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    text = refusal(context(tmp_path, cache, f"url: '{url}', sha256: '{ZERO}'"), ResolveError)
    assert text == (
        f"recipe.yaml: assets.model: {url} has the hash sha256:{sha256(weights)}, the recipe says "
        f"{ZERO}\nLook into the file before you change the recipe."
    )
    assert list(cache.folder("downloads").iterdir()) == []


def test_a_transfer_that_ends_early_is_told_as_such(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    index.truncated.add("weights.bin")
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    assert "(it ended after 400000 of 800000 bytes)" in refusal(chosen, ResolveError)
    # And the next try starts anew.
    index.truncated.clear()
    assert make(chosen).entries[0].sha256 == sha256(weights)


def test_a_chunked_transfer_that_ends_early_is_told(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    index.chunked.add("weights.bin")
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    assert f"{url} cannot be downloaded: IncompleteRead" in refusal(chosen, ResolveError)


@pytest.mark.parametrize("announced", [True, False])
def test_a_download_has_a_largest_size(  # noqa: PLR0917
    tmp_path: Path,
    cache: Cache,
    index: LocalIndex,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    announced: bool,
) -> None:
    monkeypatch.setattr("layerpack.downloads._MOST_BYTES", 100_000)
    url = index.put("weights.bin", weights.read_bytes())
    if not announced:
        index.chunked.add("weights.bin")
    seen: list[int] = []
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    chosen = replace(chosen, progress=lambda done, total: seen.append(done))
    text = refusal(chosen, ResolveError)
    assert url in text and "100.0 kB" in text and "`file`" in text
    # What is announced is not even begun.
    assert (seen == []) is announced


def test_a_download_has_a_longest_time(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A byte now and then is no silence.
    index.slow.add("weights.bin")
    monkeypatch.setattr("layerpack.downloads._LONGEST_SECONDS", 0.1)
    url = index.put("weights.bin", weights.read_bytes())
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    assert url in refusal(chosen, ResolveError)


def test_a_server_that_goes_silent_is_told(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layerpack.assets._SILENCE_SECONDS", 0.1)
    url = index.put("weights.bin", weights.read_bytes())
    gate = index.gate("weights.bin")
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    text = refusal(chosen, ResolveError)
    assert gate.reached.is_set()
    assert f"{url} cannot be downloaded: timed out" in text


@pytest.mark.parametrize(
    "address",
    ["https://me:s3cret@h", "https://me:x@s3cret@h", "https://me:a/s3cret@h", "ftp://s3cret@h"],
)
def test_a_url_with_a_password_is_refused_without_showing_it(
    tmp_path: Path, cache: Cache, address: str
) -> None:
    keys = f"url: '{address}/x.bin', sha256: '{ZERO}'"
    with pytest.raises(RecipeError) as caught:
        context(tmp_path, cache, keys)
    assert "password" in str(caught.value) and "s3cret" not in str(caught.value)


def test_an_absent_url_is_told(tmp_path: Path, cache: Cache, index: LocalIndex) -> None:
    url = f"{index.root}/files/none"
    assert refusal(context(tmp_path, cache, f"url: '{url}', sha256: '{ZERO}'"), ResolveError) == (
        f"recipe.yaml: assets.model: {url} cannot be downloaded: Not Found\n"
        "Check the address and the network."
    )


def test_a_server_that_is_not_there_is_told(tmp_path: Path, cache: Cache) -> None:
    with LocalIndex() as gone:
        url = f"{gone.root}/files/x"
    text = refusal(context(tmp_path, cache, f"url: '{url}', sha256: '{ZERO}'"), ResolveError)
    assert "cannot be downloaded: [Errno 111] Connection refused" in text
