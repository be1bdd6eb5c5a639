"""A function that gets the layers: made, updated, proven, its alias moved."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.integration.publish.conftest import HANDLER, REGION, Publisher
from tests.integration.publish.function.functions import (
    BROKEN,
    NEW,
    UPDATED,
    Serve,
    arns,
    make_old,
    rebuild,
    serve_other,
)
from tests.support.aws import FakeAws


def test_a_function_is_made_and_proven(publisher: Publisher, aws: FakeAws, serve: Serve) -> None:
    serve()
    ended = publisher.publish(*NEW, "--format", "json")
    assert ended.code == 0, ended.errors
    (region,) = json.loads(ended.output)["regions"]
    assert region["function"]["action"] == "create"
    function = aws.function("answers")
    assert arns(function) == [one["arn"] for one in region["layers"]]
    assert function["CodeSha256"] == publisher.hashes["function"]
    assert function["Handler"] == "app.handler"
    assert function["Environment"]["Variables"] == {"MODE": "quick"}
    assert (function["MemorySize"], function["Timeout"]) == (1769, 60)
    assert aws.count("POST", "/functions/answers/invocations") == 1
    assert publisher.receipt[REGION]["functions"]["answers"]["state"] == "proven"
    # Again: nothing to do, and so nothing to prove.
    aws.asked.clear()
    ended = publisher.publish("--function", "answers")
    assert "Nothing to do" in ended.output
    assert {one.method for one in aws.asked if one.service == "lambda"} == {"GET"}


@pytest.mark.exhaustive
def test_fields_that_are_ignored_may_differ_where_it_is_published(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    path = publisher.build / "answers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ignore": ["sum"]}))
    serve_other(publisher, BROKEN, serve)
    ended = publisher.publish(*NEW)
    assert ended.code == 0, ended.errors
    assert publisher.receipt[REGION]["functions"]["answers"]["state"] == "proven"


def test_a_new_function_needs_a_role(publisher: Publisher, aws: FakeAws) -> None:
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert (
        "function answers does not exist in eu-west-1, and creating it needs a role" in ended.errors
    )
    assert aws.layers() == {}


@pytest.mark.exhaustive
def test_a_function_is_updated_and_keeps_what_is_not_ours(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    client = aws.client("lambda")
    other = client.publish_layer_version(LayerName="monitoring", Content={"ZipFile": b"x"})
    former = client.publish_layer_version(
        LayerName="small-gone", Content={"ZipFile": b"y"}, Description="small: gamma 1.0"
    )
    # One that is only called as the recipe's are.
    alike = client.publish_layer_version(LayerName="small-extra", Content={"ZipFile": b"z"})
    make_old(
        aws,
        Layers=[one["LayerVersionArn"] for one in (former, other)],
        Environment={"Variables": {"TOKEN": "theirs", "MODE": "slow"}},
        MemorySize=512,
        Timeout=7,
    )
    planned = publisher.publish("--function", "answers", "--dry-run")
    assert planned.code == 0, planned.errors
    changes = "update (code, runtime, handler, layers, environment)"
    assert f"Function answers: {changes}" in planned.output
    assert f"keeps {other['LayerVersionArn']}" in planned.output
    assert f"drops {former['LayerVersionArn']}" in planned.output
    assert aws.function("answers")["Handler"] == "old.handler"
    client.update_function_configuration(
        FunctionName="answers", Layers=[one["LayerVersionArn"] for one in (former, alike)]
    )
    serve()
    ended = publisher.publish("--function", "answers", "--memory", "2048")
    assert ended.code == 0, ended.errors
    function = aws.function("answers")
    assert len(function["Layers"]) == 4
    assert arns(function)[-1] == alike["LayerVersionArn"]
    assert f"taken off it: {former['LayerVersionArn']}" in ended.output
    assert function["Environment"]["Variables"] == {"TOKEN": "theirs", "MODE": "quick"}
    assert (function["MemorySize"], function["Timeout"]) == (2048, 7)
    assert function["CodeSha256"] == publisher.hashes["function"]
    assert "theirs" not in (publisher.build / "publish.json").read_text()


@pytest.mark.exhaustive
def test_an_alias_gets_a_version(publisher: Publisher, aws: FakeAws, serve: Serve) -> None:
    serve()
    ended = publisher.publish(*NEW, "--alias", "prod")
    assert ended.code == 0, ended.errors
    client = aws.client("lambda")
    assert client.get_alias(FunctionName="answers", Name="prod")["FunctionVersion"] == "1"
    assert publisher.receipt[REGION]["functions"] == {
        "answers": {"state": "proven", "version": "1", "alias": "prod"}
    }
    rebuild(publisher, HANDLER + "\n# Another function.\n")
    serve()
    assert publisher.publish("--function", "answers", "--alias", "prod").code == 0
    assert client.get_alias(FunctionName="answers", Name="prod")["FunctionVersion"] == "2"
    # One that fails leaves the alias where it is, and no version behind.
    rebuild(publisher, HANDLER + "\n# A third one.\n")
    serve_other(publisher, BROKEN, serve)
    assert publisher.publish("--function", "answers", "--alias", "prod").code == 8
    assert client.get_alias(FunctionName="answers", Name="prod")["FunctionVersion"] == "2"


@pytest.mark.exhaustive
def test_snap_start_proves_the_version_that_starts_from_a_snapshot(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    manifest = json.loads((publisher.build / "manifest.json").read_text())
    if manifest["runtime"] < "python3.12":
        ended = publisher.publish(*NEW, "--snap-start")
        assert ended.code == 2
        assert f"there is no SnapStart for {manifest['runtime']}" in ended.errors
        # What follows takes a runtime that has it; nothing is run by its name alone.
        manifest["runtime"] = "python3.12"
        (publisher.build / "manifest.json").write_text(json.dumps(manifest))
    serve_as_built(serve, aws)
    ended = publisher.publish(*NEW, "--snap-start")
    assert ended.code == 0, ended.errors
    made = next(one for one in aws.asked if one.method == "POST" and one.path.endswith("functions"))
    assert made.json["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert aws.count("POST", "/invocations$") == 1
    assert aws.count("POST", r"/invocations\?Qualifier=1") == 1
    alias = aws.client("lambda").get_alias(FunctionName="answers", Name="live")
    assert alias["FunctionVersion"] == "1"


def serve_as_built(serve: Serve, aws: FakeAws) -> None:
    """Run the function by a copy of the build whose runtime is this Python's."""
    serve("build/as-built")


@pytest.mark.exhaustive
def test_too_many_layers_with_those_of_others(publisher: Publisher, aws: FakeAws) -> None:
    client = aws.client("lambda")
    others = [
        client.publish_layer_version(LayerName=f"other-{n}", Content={"ZipFile": b"x"})
        for n in range(3)
    ]
    make_old(
        aws,
        Layers=[one["LayerVersionArn"] for one in others],
    )
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert "has 3 layers of others" in ended.errors
    assert "small-alpha" not in aws.layers()


@pytest.mark.exhaustive
def test_a_build_that_was_not_verified_is_not_proven(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    (publisher.folder / "code/app.py").write_text(HANDLER + "\n# Another function.\n")
    built = publisher.run_without_endpoint("build", "recipe.yaml", "--no-verify")
    assert built.code == 0, built.errors
    ended = publisher.publish(*NEW)
    assert ended.code == 0, ended.errors
    assert "answers in eu-west-1 was not invoked" in ended.errors
    assert "Nothing to do" in publisher.publish("--function", "answers").output
    # Once it is verified, the same function is proven too.
    verified = publisher.run_without_endpoint("verify", "recipe.yaml")
    assert verified.code == 0, verified.errors
    serve()
    ended = publisher.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert "as it was, and now proven, answers 1 workload as verified" in ended.output


@pytest.mark.exhaustive
def test_recorded_answers_that_are_gone(publisher: Publisher, aws: FakeAws) -> None:
    (publisher.build / "answers.json").unlink()
    ended = publisher.publish(*NEW)
    assert ended.code == 2
    assert "answers.json" in ended.errors
    assert aws.asked == []


@pytest.mark.exhaustive
def test_configuration_comes_first_where_the_code_does_not_fit_beside_the_old_layers(
    changed: Publisher, aws: FakeAws
) -> None:
    aws.add(
        *("PUT", "/functions/answers/code"),
        status=400,
        code="InvalidParameterValueException",
        message="Function code combined with layers exceeds the maximum allowed size of "
        "262144000 bytes.",
    )
    ended = changed.publish("--function", "answers", "--memory", "3008")
    assert ended.code == 0, ended.errors
    changes = [one.path.rsplit("/", 1)[1] for one in aws.asked if one.method == "PUT"]
    assert changes == ["code", "configuration", "code"]
    # Only what is different is written.
    (written,) = [one.json for one in aws.asked if one.path.endswith("n") and one.method == "PUT"]
    assert written == {"MemorySize": 3008}


@pytest.mark.exhaustive
def test_what_somebody_changed_while_layers_were_sent_is_not_undone(
    changed: Publisher, aws: FakeAws
) -> None:
    client = aws.client("lambda")

    def rotate(answer: dict[str, Any]) -> None:
        variables = {"MODE": "slow", "TOKEN": "rotated"}
        client.update_function_configuration(
            FunctionName="answers", Environment={"Variables": variables}
        )

    # After the plan was made.
    aws.add("POST", r"/layers/small-weights-0/versions", change=rotate)
    (changed.folder / "weights-0.bin").write_bytes(os.urandom(7_000_000))
    built = changed.run_without_endpoint("build", "recipe.yaml")
    assert built.code == 0, built.errors
    ended = changed.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    found = aws.function("answers")["Environment"]["Variables"]
    assert found == {"MODE": "quick", "TOKEN": "rotated"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("after", [True, False])
def test_an_update_s_answer_that_never_comes(changed: Publisher, aws: FakeAws, after: bool) -> None:
    aws.add("PUT", "/functions/answers/code", hang_up=True, after=after)
    ended = changed.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert aws.function("answers")["CodeSha256"] == changed.hashes["function"]


@pytest.mark.exhaustive
def test_an_update_that_failed_once_is_mended_by_the_next(changed: Publisher, aws: FakeAws) -> None:
    def failed(answer: dict[str, Any]) -> None:
        answer["LastUpdateStatus"] = "Failed"

    rule = aws.add("GET", UPDATED, times=99, change=failed)
    matches = rule.matches
    rule.matches = lambda asked: matches(asked) and not aws.count("PUT", "/code$")
    ended = changed.publish("--function", "answers")
    assert ended.code == 0, ended.errors


@pytest.mark.exhaustive
def test_a_role_that_was_just_made_is_waited_for(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    serve()
    aws.add(
        *("POST", "/functions$"),
        times=2,
        status=400,
        code="InvalidParameterValueException",
        message="The role defined for the function cannot be assumed by Lambda.",
    )
    ended = publisher.publish(*NEW)
    assert ended.code == 0, ended.errors


@pytest.mark.exhaustive
def test_an_alias_is_moved_whole_and_by_the_code_that_was_proven(
    changed: Publisher, aws: FakeAws
) -> None:
    client = aws.client("lambda")
    client.publish_version(FunctionName="answers")
    client.create_alias(
        FunctionName="answers",
        Name="prod",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.3}},
    )
    ended = changed.publish("--function", "answers", "--alias", "prod")
    assert ended.code == 0, ended.errors
    sent = [one for one in aws.asked if one.path.endswith("answers/versions")]
    (published,) = [one.json for one in sent if one.method == "POST"]
    assert published["CodeSha256"] == changed.hashes["function"]
    alias = client.get_alias(FunctionName="answers", Name="prod")
    assert alias["FunctionVersion"] == "2"
    assert not alias.get("RoutingConfig", {}).get("AdditionalVersionWeights")


@pytest.mark.exhaustive
def test_a_function_s_secrets_stand_in_no_message(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    make_old(
        aws,
        Environment={"Variables": {"PASSWORD": "hunter2-hunter2"}},
    )
    failing = HANDLER.replace("return", "raise ValueError('cannot log in: hunter2-hunter2') #")
    telling = HANDLER.replace("return {", "return {'log': 'x' * 60 + 'hunter2-hunter2', ")
    serve_other(publisher, telling, serve)
    shown = publisher.publish("--function", "answers", "--verbose")
    assert shown.code == 8
    assert "hunter2" not in shown.errors + shown.output
    serve_other(publisher, failing, serve)
    ended = publisher.publish("--function", "answers", "--verbose")
    assert ended.code == 8
    assert "ValueError: cannot log in: ***" in ended.errors
    assert "hunter2" not in ended.errors + ended.output
    assert "hunter2" not in (publisher.build / "publish.json").read_text()


@pytest.mark.exhaustive
def test_a_layer_that_was_deleted_is_taken_off_the_function(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    client = aws.client("lambda")
    gone = client.publish_layer_version(LayerName="small-gone", Content={"ZipFile": b"y"})
    make_old(
        aws,
        Layers=[gone["LayerVersionArn"]],
    )
    client.delete_layer_version(LayerName="small-gone", VersionNumber=1)
    serve()
    ended = publisher.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert f"taken off it: {gone['LayerVersionArn']}" in ended.output


@pytest.mark.exhaustive
def test_a_function_that_has_to_wake_up_is_asked_again(changed: Publisher, aws: FakeAws) -> None:
    aws.add(
        *("POST", "/invocations"),
        times=2,
        status=409,
        code="ResourceConflictException",
        message="The function is currently in the following state: Inactive",
    )
    ended = changed.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert "answers 1 workload as verified" in ended.output
