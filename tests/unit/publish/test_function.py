"""What becomes of a function, planned from what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layerpack.errors import PublishError, UsageError
from layerpack.manifest import FunctionRecord, LayerRecord, Manifest
from layerpack.publish.checks import Artifact
from layerpack.publish.function import (
    FunctionPlan,
    FunctionWish,
    check_wish,
    former_configuration,
    plan_function,
    wanted_configuration,
)
from layerpack.publish.receipt import FunctionReceipt
from tests.unit.report.builds import fitting

PREFIX = "arn:aws:lambda:eu-west-1:123456789012:layer"
ARTIFACT = Artifact(name="f", path=Path("f.zip"), sha256="00" * 32, zipped_bytes=10)
OURS = [f"{PREFIX}:bert-a:7", f"{PREFIX}:bert-b:3"]
OWN = {f"{PREFIX}:bert-a": True, f"{PREFIX}:bert-b": True, f"{PREFIX}:bert-c": False}
PROVEN = FunctionReceipt(state="proven")
OTHER = "arn:aws:lambda:eu-west-1:999999999999:layer:bert-monitoring:1"


def manifest() -> Manifest:
    """A build called bert with two layers and a function."""
    layers = tuple(
        LayerRecord(
            name=name,
            file=f"layers/{name}.zip",
            sha256="11" * 32,
            zipped_bytes=1,
            unzipped_bytes=1,
            distributions=(),
        )
        for name in ("bert-a", "bert-b")
    )
    function = FunctionRecord(
        file="function.zip",
        handler="app.handler",
        sha256=ARTIFACT.sha256,
        zipped_bytes=10,
        unzipped_bytes=10,
        budget_bytes=100,
        environment={"MODE": "quick"},
    )
    return replace(
        fitting().manifest, name="bert", runtime="python3.12", layers=layers, function=function
    )


def current(**more: Any) -> dict[str, Any]:
    """The function as it is after publishing."""
    return {
        "CodeSha256": ARTIFACT.code_sha256,
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Architectures": ["x86_64"],
        "Layers": [{"Arn": arn} for arn in OURS],
        "Environment": {"Variables": {"MODE": "quick", "TOKEN": "theirs"}},
        "MemorySize": 512,
        "Timeout": 7,
        **more,
    }


def plan(
    former: dict[str, Any] | None,
    *,
    aliased: dict[str, Any] | None = None,
    arns: list[str | None] | None = None,
    known: FunctionReceipt | None = PROVEN,
    provable: bool = True,
    **wish: Any,
) -> FunctionPlan:
    """The plan for a function called f."""
    return plan_function(
        FunctionWish(name="f", **wish),
        manifest(),
        ARTIFACT,
        former=former,
        aliased=aliased,
        arns=arns or list(OURS),
        own=OWN,
        region="eu-west-1",
        known=known,
        provable=provable,
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ()),
        ({"CodeSha256": "other"}, ("code",)),
        ({"Runtime": "python3.11"}, ("runtime",)),
        ({"Handler": "old.handler"}, ("handler",)),
        ({"Architectures": ["arm64"]}, ("architecture",)),
        ({"Layers": []}, ("layers",)),
        ({"Layers": [{"Arn": arn} for arn in reversed(OURS)]}, ("layers",)),
        ({"Environment": {"Variables": {"TOKEN": "theirs"}}}, ("environment",)),
        ({"Environment": None}, ("environment",)),
    ],
)
def test_changes_are_named(changed: dict[str, Any], told: tuple[str, ...]) -> None:
    planned = plan(current(**changed))
    assert planned.changes == told
    assert planned.action == ("update" if told else "unchanged")


def test_a_layer_that_has_yet_to_be_published_is_a_change() -> None:
    assert plan(current(), arns=[OURS[0], None]).changes == ("layers",)


def test_what_is_asked_for_is_a_change_only_where_it_is_different() -> None:
    assert plan(current(), memory=512, timeout=7).changes == ()
    assert plan(current(), memory=1024, timeout=9).changes == ("memory", "timeout")
    assert plan(current(), snap_start=True, aliased=current()).changes == ("SnapStart", "alias")
    on = current(SnapStart={"ApplyOn": "PublishedVersions"})
    assert plan(on, snap_start=True, aliased=on).changes == ()


def test_what_was_not_proven_is_proven_also_where_nothing_changes() -> None:
    assert plan(current(), known=None).action == "prove"
    assert plan(current(), known=None, provable=False).action == "unchanged"
    done, begun = FunctionReceipt(state="done"), FunctionReceipt(state="begun")
    assert plan(current(), known=done).action == "prove"
    assert not plan(current(), known=done).interrupted
    assert plan(current(), known=begun).action == "prove"
    assert plan(current(), known=begun).interrupted
    assert plan(current(CodeSha256="other"), known=begun).action == "update"


def test_an_alias_is_moved_unless_its_version_is_the_same() -> None:
    assert plan(current(), alias="prod").changes == ("alias",)
    assert plan(current(), alias="prod", aliased=current()).changes == ()
    old = current(CodeSha256="other")
    assert plan(current(), alias="prod", aliased=old).changes == ("alias",)


def test_layers_of_others_stay_behind_ours_and_former_ones_of_ours_go() -> None:
    gone = f"{PREFIX}:bert-c:1"
    mine = f"{PREFIX}:monitoring:1"
    layers = [gone, OTHER, f"{PREFIX}:bert-a:6", mine]
    planned = plan(current(Layers=[{"Arn": arn} for arn in layers]))
    assert planned.keeps == (OTHER, mine)
    assert planned.drops == (gone,)


@pytest.mark.parametrize(
    ("changed", "wish", "message"),
    [
        ({"PackageType": "Image"}, {}, "is a container image"),
        ({"EphemeralStorage": {"Size": 1024}}, {"snap_start": True}, "1024 MB of /tmp"),
        ({"FileSystemConfigs": [{}]}, {"snap_start": True}, "has a file system"),
        (
            {"Environment": {"Error": {"Message": "no kms:Decrypt"}}},
            {},
            "cannot be read: no kms:Decrypt",
        ),
        (
            {"Environment": {"Variables": {"TOKEN": "x" * 4070}}},
            {},
            "have 4,097 bytes as JSON",
        ),
        (
            {"Layers": [{"Arn": f"{PREFIX}:other-{n}:1"} for n in range(4)]},
            {},
            "has 4 layers of others",
        ),
    ],
)
def test_what_cannot_be(changed: dict[str, Any], wish: dict[str, Any], message: str) -> None:
    with pytest.raises(PublishError, match=message):
        plan(current(**changed), **wish)


def test_a_new_one_needs_a_role() -> None:
    with pytest.raises(PublishError, match="needs a role"):
        plan(None)
    planned = plan(None, role="arn:aws:iam::123456789012:role/x")
    assert (planned.action, planned.changes) == ("create", ())


def test_what_takes_it_back_is_what_it_was() -> None:
    former = current(Layers=[{"Arn": OTHER}], MemorySize=256)
    wish = FunctionWish(name="f", memory=1024, snap_start=True)
    wanted = wanted_configuration(wish, manifest(), former, OURS)
    assert wanted["Environment"] == {"Variables": {"MODE": "quick", "TOKEN": "theirs"}}
    assert "Timeout" not in wanted
    assert former_configuration(former, wanted) == {
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Layers": [OTHER],
        "Environment": {"Variables": {"MODE": "quick", "TOKEN": "theirs"}},
        "MemorySize": 256,
        "SnapStart": {"ApplyOn": "None"},
    }


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"name": "a b"}, "--function: 'a b' is not a function's name"),
        ({"name": "f" * 65}, "is not a function's name"),
        ({"name": "f", "alias": "7"}, "--alias: '7' is not an alias"),
        ({"name": "f", "role": "inference"}, "--role: 'inference' is not a role's ARN"),
    ],
)
def test_names_are_checked(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_wish(FunctionWish(**wish), manifest())


def test_snap_start_has_its_runtimes() -> None:
    wish = FunctionWish(name="f", snap_start=True)
    check_wish(wish, manifest())
    with pytest.raises(UsageError, match=r"no SnapStart for python3\.11"):
        check_wish(wish, replace(manifest(), runtime="python3.11"))
    with pytest.raises(UsageError, match="has no function"):
        check_wish(wish, replace(manifest(), function=None))
