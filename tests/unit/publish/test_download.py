"""Downloads from AWS end: neither their size nor their time is without a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import PublishError
from layerpack.publish.aws import Access, Aws, Region
from tests.support.index import LocalIndex


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Region:
    """One whose clients ask nobody."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    return Aws(Access(endpoint_url="http://127.0.0.1:9")).region("eu-west-1")


def test_a_download_is_the_file(tmp_path: Path, index: LocalIndex, region: Region) -> None:
    region.download(index.put("code.zip", b"zip" * 1000), tmp_path / "former.zip")
    assert (tmp_path / "former.zip").read_bytes() == b"zip" * 1000


@pytest.mark.parametrize("how", ["announced", "chunked", "slow"])
def test_a_download_without_end_is_given_up(
    tmp_path: Path, index: LocalIndex, region: Region, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    url = index.put("code.zip", b"zip" * 100_000)
    if how == "slow":
        index.slow.add("code.zip")
        monkeypatch.setattr("layerpack.downloads._LONGEST_SECONDS", 0.1)
    else:
        monkeypatch.setattr("layerpack.downloads._MOST_BYTES", 100_000)
        if how == "chunked":
            index.chunked.add("code.zip")
    with pytest.raises(
        PublishError, match=r"downloading from eu-west-1 failed: it (has|takes)"
    ) as e:
        region.download(f"{url}?X-Amz-Signature=s3cret", tmp_path / "former.zip")
    assert "s3cret" not in str(e.value)
