"""A function that is taken back to what it was, or left as it is."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from tests.integration.publish.conftest import HANDLER, REGION, Publisher
from tests.integration.publish.function.functions import (
    BROKEN,
    CRASHING,
    DENIED,
    NEW,
    UPDATED,
    Serve,
    make_old,
    rebuild,
    serve_other,
)
from tests.support.aws import FakeAws

pytestmark = pytest.mark.exhaustive


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
    serve_other(publisher, handler, serve)
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


def test_a_function_that_was_made_and_does_not_answer_is_deleted(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    serve_other(publisher, BROKEN, serve)
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


def test_ctrl_c_takes_the_function_back(changed: Publisher, aws: FakeAws) -> None:
    before = aws.function("answers")
    held = aws.add("PUT", "/functions/answers/code", wait=threading.Event())
    arguments = ("publish", "build/small", "--region", REGION, "--function", "answers")
    ended = changed.ended_by(signal.SIGTERM, held, *arguments)
    assert ended.code == 143
    assert "answers is as it was before" in ended.errors
    assert aws.count("PUT", "/functions/answers/code") == 2
    assert aws.function("answers")["CodeSha256"] == before["CodeSha256"]


def test_former_code_that_cannot_be_kept_leaves_all_as_it_is(
    publisher: Publisher, aws: FakeAws
) -> None:
    make_old(aws)
    aws.add("GET", "/code-of/", status=403, code="AccessDenied")
    ended = publisher.publish("--function", "answers")
    assert ended.code == 8
    assert "HTTP 403" in ended.errors
    assert "/code-of/" not in ended.errors
    assert aws.code("answers") == b"old code"
    assert aws.count("PUT", "/functions/") == 0


def test_a_run_that_dies_during_the_proof_is_taken_up_by_the_next(
    publisher: Publisher, aws: FakeAws, serve: Serve
) -> None:
    serve_other(publisher, BROKEN, serve)
    held = aws.add("POST", "/invocations", wait=threading.Event())
    publisher.ended_by(signal.SIGKILL, held, "publish", "build/small", "--region", REGION, *NEW)
    assert publisher.receipt[REGION]["functions"]["answers"]["state"] == "begun"
    # It is there as it shall be, and yet not done: it answers wrongly.
    for _ in range(2):
        ended = publisher.publish("--function", "answers")
        assert ended.code == 8
        assert "otherwise than was verified" in ended.errors
        assert "an earlier run changed it and was interrupted" in ended.errors
    serve()
    ended = publisher.publish("--function", "answers")
    assert ended.code == 0, ended.errors
    assert "Function answers: as it was, and now proven, answers 1 workload" in ended.output
    assert publisher.receipt[REGION]["functions"]["answers"]["state"] == "proven"
    assert "Nothing to do" in publisher.publish("--function", "answers").output


def test_taking_back_that_is_refused_is_told_and_not_forgotten(
    changed: Publisher, aws: FakeAws, serve: Serve
) -> None:
    serve_other(changed, BROKEN, serve)
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


def test_other_code_than_was_sent_is_told_and_taken_back(changed: Publisher, aws: FakeAws) -> None:
    before = aws.function("answers")

    def change(answer: dict[str, Any]) -> None:
        answer["CodeSha256"] = "AAAA"

    aws.add("PUT", "/functions/answers/code", change=change)
    ended = changed.publish("--function", "answers")
    assert ended.code == 8
    assert "differs from the zip that was sent" in ended.errors
    assert aws.function("answers")["CodeSha256"] == before["CodeSha256"]


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
    assert "is not the code that the function runs" in ended.errors
    assert aws.count("PUT", "/functions/") == 0


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
