"""A function that gets the layers: made, updated, proven, taken back."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
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
    assert publisher.receipt[REGION]["function"]["name"] == "answers"
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
    former = client.publish_layer_version(LayerName="small-gone", Content={"ZipFile": b"y"})
    client.create_function(
        FunctionName="answers",
        Runtime="python3.9",
        Role=ROLE,
        Handler="old.handler",
        Code={"ZipFile": b"old code"},
        Layers=[former["LayerVersionArn"], other["LayerVersionArn"]],
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
    serve()
    ended = publisher.publish("--function", "answers", "--memory", "2048")
    assert ended.code == 0, ended.errors
    function = aws.function("answers")
    assert len(function["Layers"]) == 4
    assert arns(function)[-1] == other["LayerVersionArn"]
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

    def change(answer: dict[str, Any]) -> None:
        answer["LastUpdateStatus"] = "Failed"
        answer["LastUpdateStatusReason"] = "the layers do not fit"

    # The third time it is looked at (to plan, before the change, after it).
    aws.add("GET", UPDATED, times=2, change=lambda answer: None)
    aws.add("GET", UPDATED, change=change)
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert "cannot be used: the layers do not fit" in ended.errors
    assert aws.function("answers")["CodeSha256"] == before["CodeSha256"]


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
    assert publisher.receipt[REGION]["function"] == {
        "name": "answers",
        "version": "1",
        "alias": "prod",
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


def test_a_build_without_recorded_answers_is_told(
    publisher: Publisher, aws: FakeAws, tmp_path: Path
) -> None:
    (publisher.build / "answers.json").unlink()
    ended = publisher.publish(*NEW)
    assert ended.code == 0, ended.errors
    assert "answers in eu-west-1 was not invoked" in ended.errors
