"""How fast AWS is asked, and how often again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from layerpack import data
from layerpack.publish.aws import Access, Aws, Pacer
from layerpack.publish.bucket import abandoned
from layerpack.publish.sending import pause_seconds


def test_requests_take_turns() -> None:
    pacer = Pacer(10)
    assert [pacer.turn(5.0) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    # Who comes late does not wait, and has saved nothing up.
    assert pacer.turn(9.0) == 0.0
    assert pacer.turn(9.05) == pytest.approx(0.05)


def test_every_request_to_a_region_takes_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    asked: list[float] = []
    monkeypatch.setattr(Pacer, "__call__", lambda self, **_: asked.append(self._gap))
    region = Aws(Access(endpoint_url="http://127.0.0.1:9")).region("eu-west-1")
    for client in (region.lambda_, region.once):
        client.meta.events.emit("before-send.lambda.ListLayers", request=None)
    most = data.load("publish.json")["requests_per_second"]
    assert len(asked) == 2
    assert all(1 / gap < most for gap in asked)


def test_pauses_grow_up_to_a_limit_and_are_as_long_as_aws_asks() -> None:
    assert [pause_seconds(n, 0.0, 1.0) for n in (0, 1, 2, 9)] == [1.0, 2.0, 4.0, 20.0]
    assert pause_seconds(2, 0.0, 0.5) == 2.0
    assert pause_seconds(0, 30.0, 1.0) == 30.0


def test_only_old_uploads_are_abandoned() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    uploads = [
        {"Key": name, "Initiated": now - timedelta(hours=hours)}
        for name, hours in (("new", 1), ("yesterday", 25), ("old", 500))
    ]
    assert [one["Key"] for one in abandoned(uploads, now)] == ["yesterday", "old"]
