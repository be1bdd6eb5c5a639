"""A function that gets the layers: made, updated, proven, taken back."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.publish.conftest import HANDLER, REGION, Publisher
from tests.support.aws import ROLE, FakeAws
from tests.support.command import start

BROKEN = HANDLER.replace("/ 3", "/ 4")
CRASHING = HANDLER.replace("return", "print('about to fail')\n    raise ValueError('no') #")
NEW = ("--function", "answers", "--role", ROLE)
UPDATED = r"/functions/answers/configuration"

Serve = Callable[..., str]


@pytest.fixture
def serve(publisher: Publisher, aws: FakeAws) -> Iterator[Serve]:
    """Have functions run as a build is now: `layerpack serve`, as Lambda."""
    running: list[subprocess.Popen[str]] = []

    def begin(folder: str = "build/small") -> str:
        while running:
            _end(running.pop())
        process = start(
            *("serve", folder, "--port", "0"),
            folder=publisher.folder,
            cache=publisher.cache,
            extra=publisher.environment,
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        aws.functions = next(word for word in line.split() if word.startswith("http"))
        return aws.functions

    yield begin
    while running:
        _end(running.pop())


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(autouse=True)
def _role(aws: FakeAws) -> None:
    policy = json.dumps(
        {
            "Statement": {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "lambda.amazonaws.com"},
            }
        }
    )
    aws.client("iam").create_role(RoleName="inference", AssumeRolePolicyDocument=policy)


def rebuild(publisher: Publisher, handler: str) -> None:
    """Another function in the same build; what it answers is recorded."""
    (publisher.folder / "code/app.py").write_text(handler)
    ended = publisher.run_without_endpoint("build", "recipe.yaml")
    assert ended.code == 0, ended.errors


def arns(function: dict[str, Any]) -> list[str]:
    """A function's layers."""
    return [one["Arn"] for one in function["Layers"]]


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


def test_a_new_function_needs_a_role(publisher: Publisher, aws: FakeAws) -> None:
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert "there is no function answers in eu-west-1, and making one takes a role" in ended.errors
    assert aws.layers() == {}


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
    client.create_function(
        FunctionName="answers",
        Runtime="python3.9",
        Role=ROLE,
        Handler="old.handler",
        Code={"ZipFile": b"old code"},
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


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (BROKEN, "answers the workload sum otherwise than was verified: answer.sum is 2.33"),
        (CRASHING, "fails with the workload sum: ValueError: no"),
    ],
)
def test_a_function_that_does_not_answer_is_taken_back(
    publisher: Publisher, aws: FakeAws, serve: Serve, handler: str, message: str
) -> None:
    serve()
    assert publisher.publish(*NEW).code == 0
    before, code = aws.function("answers"), aws.code("answers")
    rebuild(publisher, HANDLER + "\n# Another function.\n")
    # What runs is another function than the one that was verified.
    _serve_other(publisher, handler, serve)
    ended = publisher.publish("--function", "answers", "--memory", "3008")
    assert ended.code == 8
    assert message in ended.errors
    assert "answers is as it was before" in ended.errors
    after = aws.function("answers")
    for key in ("CodeSha256", "Layers", "Handler", "Environment", "MemorySize", "Runtime"):
        assert after[key] == before[key], key
    assert aws.code("answers") == code
    # It was changed before it was taken back.
    assert aws.count("PUT", UPDATED) == 2
    if handler == CRASHING:
        assert "ValueError" in ended.errors


def _serve_other(publisher: Publisher, handler: str, serve: Serve) -> None:
    """Run a build of another handler in the function's place."""
    folder = publisher.folder
    current = (folder / "code/app.py").read_text()
    (folder / "code/app.py").write_text(handler)
    ended = publisher.run_without_endpoint(
        "build", "recipe.yaml", "--no-verify", "-o", "build/other"
    )
    assert ended.code == 0, ended.errors
    (folder / "code/app.py").write_text(current)
    serve("build/other")


def test_a_function_that_was_made_and_does_not_answer_is_deleted(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    _serve_other(publisher, BROKEN, serve)
    ended = publisher.publish(*NEW)
    assert ended.code == 8
    assert "answers does not exist, as before" in ended.errors
    assert aws.client("lambda").list_functions()["Functions"] == []
    # The layers are there, and a later run need not send them.
    assert len(publisher.receipt[REGION]["layers"]) == 3


def test_a_change_that_aws_cannot_carry_out_is_taken_back(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    serve()
    assert publisher.publish(*NEW).code == 0
    before = aws.function("answers")
    rebuild(publisher, HANDLER + "\n# Another function.\n")

    fail_update(aws, "the layers do not fit")
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert "cannot be used: the layers do not fit" in ended.errors
    assert aws.count("PUT", "/functions/answers/code") == 2
    assert aws.function("answers")["CodeSha256"] == before["CodeSha256"]


def fail_update(aws: FakeAws, reason: str) -> None:
    """Have AWS say, once the code was sent, that it could not carry that out."""

    def change(answer: dict[str, Any]) -> None:
        answer["LastUpdateStatus"] = "Failed"
        answer["LastUpdateStatusReason"] = reason

    rule = aws.add("GET", UPDATED, change=change)
    matches = rule.matches
    rule.matches = lambda asked: matches(asked) and aws.count("PUT", "/code$") == 1


def test_ctrl_c_takes_the_function_back(publisher: Publisher, aws: FakeAws, serve: Serve) -> None:
    serve()
    assert publisher.publish(*NEW).code == 0
    before = aws.function("answers")
    rebuild(publisher, HANDLER + "\n# Another function.\n")
    go_on = threading.Event()
    held = aws.add("PUT", "/functions/answers/code", wait=go_on)
    process = start(
        *("publish", "build/small", "--region", REGION, "--endpoint-url", aws.url),
        *("--function", "answers"),
        folder=publisher.folder,
        cache=publisher.cache,
        extra=publisher.environment,
    )
    try:
        assert held.begun.wait(60)
        process.terminate()
        assert process.stderr is not None
        assert "ending what is being done now" in process.stderr.readline()
        go_on.set()
        process.communicate(timeout=60)
    finally:
        go_on.set()
        process.kill()
        process.wait()
    assert process.returncode == 143
    assert aws.count("PUT", "/functions/answers/code") == 2
    assert aws.function("answers")["CodeSha256"] == before["CodeSha256"]


def test_former_code_that_cannot_be_kept_leaves_all_as_it_is(
    publisher: Publisher, aws: FakeAws
) -> None:
    aws.client("lambda").create_function(
        FunctionName="answers",
        Runtime="python3.9",
        Role=ROLE,
        Handler="old.handler",
        Code={"ZipFile": b"old code"},
    )
    aws.add("GET", "/code-of/", status=403, code="AccessDenied")
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert "HTTP 403" in ended.errors
    assert "/code-of/" not in ended.errors
    assert aws.code("answers") == b"old code"
    assert aws.count("PUT", "/functions/") == 0


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
    _serve_other(publisher, BROKEN, serve)
    assert publisher.publish("--function", "answers", "--alias", "prod").code == 8
    assert client.get_alias(FunctionName="answers", Name="prod")["FunctionVersion"] == "2"


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


@pytest.fixture(autouse=True)
def _as_built(publisher: Publisher) -> None:
    subprocess.run(["cp", "-r", publisher.build, publisher.folder / "build/as-built"], check=True)


def test_too_many_layers_with_those_of_others(publisher: Publisher, aws: FakeAws) -> None:
    client = aws.client("lambda")
    others = [
        client.publish_layer_version(LayerName=f"other-{n}", Content={"ZipFile": b"x"})
        for n in range(3)
    ]
    client.create_function(
        FunctionName="answers",
        Runtime="python3.9",
        Role=ROLE,
        Handler="old.handler",
        Code={"ZipFile": b"old code"},
        Layers=[one["LayerVersionArn"] for one in others],
    )
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert "has 3 layers of others" in ended.errors
    assert "small-alpha" not in aws.layers()


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


def test_recorded_answers_that_are_gone(publisher: Publisher, aws: FakeAws) -> None:
    (publisher.build / "answers.json").unlink()
    ended = publisher.publish(*NEW)
    assert ended.code == 2
    assert "what it answered is gone (answers.json)" in ended.errors
    assert aws.asked == []


def test_a_run_that_dies_during_the_proof_is_taken_up_by_the_next(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    _serve_other(publisher, BROKEN, serve)
    held = aws.add("POST", "/invocations", wait=threading.Event())
    process = start(
        *("publish", "build/small", "--region", REGION, "--endpoint-url", aws.url, *NEW),
        folder=publisher.folder,
        cache=publisher.cache,
        extra=publisher.environment,
    )
    assert held.begun.wait(60)
    process.kill()
    process.communicate()
    assert publisher.receipt[REGION]["functions"]["answers"]["state"] == "begun"
    # It is there as it shall be, and yet not done: it answers wrongly.
    for _ in range(2):
        ended = publisher.publish("--function", "answers")
        assert ended.code == 8
        assert "otherwise than was verified" in ended.errors
        assert "an earlier run had changed it and was ended" in ended.errors
    serve()
    ended = publisher.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert "Function answers: as it was, and now proven, answers 1 workload" in ended.output
    assert publisher.receipt[REGION]["functions"]["answers"]["state"] == "proven"
    assert "Nothing to do" in publisher.publish("--function", "answers").output


@pytest.fixture
def changed(publisher: Publisher, aws: FakeAws, serve: Serve) -> Publisher:
    """The function is published, and then built anew with other code; it answers as before."""
    serve()
    assert publisher.publish(*NEW).code == 0
    rebuild(publisher, HANDLER + "\n# Another function.\n")
    aws.asked.clear()
    return publisher


def test_taking_back_that_is_refused_is_told_and_not_forgotten(
    changed: Publisher, aws: FakeAws, serve: Serve
) -> None:
    _serve_other(changed, BROKEN, serve)
    code = r"/functions/answers/code"
    aws.add("PUT", code, change=lambda answer: None)
    aws.add("PUT", code, times=9, status=403, code="AccessDeniedException", message="denied")
    ended = changed.publish("--function", "answers")
    assert ended.code == 8
    assert "taking answers back failed, look at it: updating the code" in ended.errors
    aws.rules.clear()
    assert changed.publish("--function", "answers").code == 8


def test_one_step_that_cannot_be_taken_back_does_not_keep_the_others(
    changed: Publisher, aws: FakeAws
) -> None:
    before = aws.client("lambda").get_function_configuration(FunctionName="answers")
    refusal: dict[str, Any] = {
        "times": 9,
        "status": 403,
        "code": "AccessDeniedException",
        "message": "denied",
    }
    aws.add("POST", "/functions/answers/aliases", **refusal)
    aws.add("DELETE", "/functions/answers", **refusal)
    ended = changed.publish("--function", "answers", "--alias", "prod", "--memory", "3008")
    assert ended.code == 8
    assert "making the alias prod of answers" in ended.errors
    assert "taking answers back failed, look at it: deleting answers" in ended.errors
    after = aws.function("answers")
    for key in ("CodeSha256", "MemorySize"):
        assert after[key] == before[key]


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


def test_what_cannot_be_changed_either_way_leaves_all_as_it_is(
    changed: Publisher, aws: FakeAws
) -> None:
    before = aws.function("answers")
    aws.add(
        *("PUT", "/functions/answers/code"),
        times=2,
        status=400,
        code="InvalidParameterValueException",
        message="Unzipped size must be smaller than 262144000 bytes",
    )
    ended = changed.publish("--function", "answers", "--memory", "3008")
    assert ended.code == 8
    assert "Unzipped size must be smaller" in ended.errors
    assert "answers is as it was before" in ended.errors
    assert aws.function("answers")["MemorySize"] == before["MemorySize"]


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


@pytest.mark.parametrize("after", [True, False])
def test_an_update_s_answer_that_never_comes(changed: Publisher, aws: FakeAws, after: bool) -> None:
    aws.add("PUT", "/functions/answers/code", hang_up=True, after=after)
    ended = changed.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert aws.function("answers")["CodeSha256"] == changed.hashes["function"]


def test_other_code_than_was_sent_is_told_and_taken_back(changed: Publisher, aws: FakeAws) -> None:
    before = aws.function("answers")

    def change(answer: dict[str, Any]) -> None:
        answer["CodeSha256"] = "AAAA"

    aws.add("PUT", "/functions/answers/code", change=change)
    ended = changed.publish("--function", "answers")
    assert ended.code == 8
    assert "does not hold what was sent" in ended.errors
    assert aws.function("answers")["CodeSha256"] == before["CodeSha256"]


def test_an_update_that_failed_once_is_mended_by_the_next(changed: Publisher, aws: FakeAws) -> None:
    def failed(answer: dict[str, Any]) -> None:
        answer["LastUpdateStatus"] = "Failed"

    rule = aws.add("GET", UPDATED, times=99, change=failed)
    matches = rule.matches
    rule.matches = lambda asked: matches(asked) and not aws.count("PUT", "/code$")
    ended = changed.publish("--function", "answers")
    assert ended.code == 0, ended.errors


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


def test_a_function_that_somebody_else_made_is_not_deleted(
    publisher: Publisher, aws: FakeAws
) -> None:
    aws.add(
        *("POST", "/functions$"),
        status=409,
        code="ResourceConflictException",
        message="Function already exist: answers",
    )
    ended = publisher.publish(*NEW)
    assert ended.code == 8
    assert "Function already exist" in ended.errors
    assert aws.count("DELETE", "/functions") == 0


def test_former_code_is_held_against_its_hash(changed: Publisher, aws: FakeAws) -> None:
    aws.add("GET", "/code-of/", status=200, body=b"something else")
    ended = changed.publish("--function", "answers")
    assert ended.code == 8
    assert "is not what the function runs" in ended.errors
    assert aws.count("PUT", "/functions/") == 0


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


def test_a_version_whose_alias_cannot_be_moved_goes_again(changed: Publisher, aws: FakeAws) -> None:
    aws.add(
        *("POST", "/functions/answers/aliases"),
        times=9,
        status=403,
        code="AccessDeniedException",
        message="not authorized to perform: lambda:CreateAlias",
    )
    ended = changed.publish("--function", "answers", "--alias", "prod")
    assert ended.code == 8
    versions = aws.client("lambda").list_versions_by_function(FunctionName="answers")["Versions"]
    assert [one["Version"] for one in versions] == ["$LATEST"]


def test_a_function_s_secrets_stand_in_no_message(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    aws.client("lambda").create_function(
        FunctionName="answers",
        Runtime="python3.9",
        Role=ROLE,
        Handler="old.handler",
        Code={"ZipFile": b"old code"},
        Environment={"Variables": {"PASSWORD": "hunter2-hunter2"}},
    )
    failing = HANDLER.replace("return", "raise ValueError('cannot log in: hunter2-hunter2') #")
    telling = HANDLER.replace("return {", "return {'log': 'x' * 60 + 'hunter2-hunter2', ")
    _serve_other(publisher, telling, serve)
    shown = publisher.publish("--function", "answers", "--verbose")
    assert shown.code == 8
    assert "hunter2" not in shown.errors + shown.output
    _serve_other(publisher, failing, serve)
    ended = publisher.publish("--function", "answers", "--verbose")
    assert ended.code == 8
    assert "ValueError: cannot log in: ***" in ended.errors
    assert "hunter2" not in ended.errors + ended.output
    assert "hunter2" not in (publisher.build / "publish.json").read_text()


DENIED: dict[str, Any] = {"status": 403, "code": "AccessDeniedException", "message": "denied"}


def test_an_alias_that_cannot_be_read_stays_as_it_is(changed: Publisher, aws: FakeAws) -> None:
    client = aws.client("lambda")
    client.publish_version(FunctionName="answers")
    client.create_alias(FunctionName="answers", Name="prod", FunctionVersion="1")
    aws.add("GET", "/functions/answers/aliases/prod", times=99, **DENIED)
    ended = changed.publish("--function", "answers", "--alias", "prod")
    assert ended.code == 8
    assert "looking for the alias prod" in ended.errors
    assert client.get_alias(FunctionName="answers", Name="prod")["FunctionVersion"] == "1"
    assert aws.count("DELETE", "/aliases/") == 0


def test_an_alias_is_given_back_also_where_moving_it_was_done_and_not_answered(
    changed: Publisher, aws: FakeAws
) -> None:
    client = aws.client("lambda")
    client.publish_version(FunctionName="answers")
    client.create_alias(FunctionName="answers", Name="prod", FunctionVersion="1")
    moved = "/functions/answers/aliases/prod"
    aws.add("PUT", moved, hang_up=True, after=True)
    aws.add("PUT", moved, **DENIED)
    ended = changed.publish("--function", "answers", "--alias", "prod")
    assert ended.code == 8
    assert "answers is as it was before" in ended.errors
    assert client.get_alias(FunctionName="answers", Name="prod")["FunctionVersion"] == "1"
    versions = client.list_versions_by_function(FunctionName="answers")["Versions"]
    assert [one["Version"] for one in versions] == ["$LATEST", "1"]


def test_a_change_that_was_made_and_then_refused_is_taken_back(
    changed: Publisher, aws: FakeAws
) -> None:
    before = aws.function("answers")
    code = "/functions/answers/code"
    aws.add("PUT", code, hang_up=True, after=True)
    aws.add("PUT", code, **DENIED)
    ended = changed.publish("--function", "answers")
    assert ended.code == 8
    assert "answers is as it was before" in ended.errors
    assert aws.function("answers")["CodeSha256"] == before["CodeSha256"]


def test_what_is_refused_in_both_orders_is_tried_in_each_once(
    changed: Publisher, aws: FakeAws
) -> None:
    refusal: dict[str, Any] = {
        "times": 99,
        "status": 400,
        "code": "InvalidParameterValueException",
        "message": "The runtime parameter of python3.9 is no longer supported",
    }
    for path in ("/functions/answers/code", "/functions/answers/configuration"):
        aws.add("PUT", path, **refusal)
    ended = changed.publish("--function", "answers", "--memory", "3008")
    assert ended.code == 8
    assert "is no longer supported" in ended.errors
    assert "answers is as it was before" in ended.errors
    assert aws.count("PUT", "/functions/answers/") == 2


def test_a_function_whose_making_was_not_answered_is_deleted_once_it_is_there(
    publisher: Publisher, aws: FakeAws
) -> None:
    aws.add("POST", "/functions$", hang_up=True, after=True)

    rule = aws.add("GET", UPDATED, times=2, status=404, code="ResourceNotFoundException")
    matches = rule.matches
    rule.matches = lambda asked: matches(asked) and aws.count("POST", "/functions$") > 0
    ended = publisher.publish(*NEW)
    assert ended.code == 8
    assert "answers does not exist, as before" in ended.errors
    assert aws.client("lambda").list_functions()["Functions"] == []


def test_a_layer_that_was_deleted_is_taken_off_the_function(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    client = aws.client("lambda")
    gone = client.publish_layer_version(LayerName="small-gone", Content={"ZipFile": b"y"})
    client.create_function(
        FunctionName="answers",
        Runtime="python3.9",
        Role=ROLE,
        Handler="old.handler",
        Code={"ZipFile": b"old code"},
        Layers=[gone["LayerVersionArn"]],
    )
    client.delete_layer_version(LayerName="small-gone", VersionNumber=1)
    serve()
    ended = publisher.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert f"taken off it: {gone['LayerVersionArn']}" in ended.output


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
