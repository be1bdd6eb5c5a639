"""A zip within a request's JSON, read as it is sent."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest

from layerpack.publish.zip_body import ZipBody, insert_zip, stand_in


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 49_151, 49_152, 49_153, 200_000])
def test_it_is_the_json_that_boto3_would_send(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    request = {"Content": {"ZipFile": base64.b64encode(stand_in(path)).decode()}, "Name": "a"}
    params: dict[str, Any] = {"body": json.dumps(request).encode()}
    insert_zip(params)
    body = params["body"]
    whole = body.read()
    assert len(body) == len(whole)
    assert json.loads(whole) == {
        "Content": {"ZipFile": base64.b64encode(content).decode()},
        "Name": "a",
    }
    # In pieces of every kind, and from every place, it is the same.
    body.seek(0)
    assert b"".join(iter(lambda: body.read(7), b"")) == whole
    body.seek(0)
    assert io.BufferedReader(body, 1024).read() == whole


def test_it_can_be_read_from_any_place(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(random.Random(1).randbytes(1000))
    with ZipBody(b"head", tmp_path / "a.zip", b"tail") as body:
        whole = body.read()
        for start in range(len(whole)):
            assert body.seek(start) == start == body.tell()
            assert body.read(9) == whole[start : start + 9]
        assert body.seek(-4, io.SEEK_END) == len(whole) - 4
        assert body.read() == b"tail"
        assert body.read(1) == b""


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"ZipFile": "UEsDBA=="}', b'{"S3Key": "a"}', "text", None]
)
def test_other_requests_stay_as_they_are(body: object) -> None:
    params: dict[str, Any] = {"body": body}
    insert_zip(params)
    assert params["body"] is body
