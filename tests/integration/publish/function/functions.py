"""Functions that tests publish, and what runs in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.publish.conftest import HANDLER, Publisher
from tests.support.aws import ROLE, FakeAws

BROKEN = HANDLER.replace("/ 3", "/ 4")
CRASHING = HANDLER.replace("return", "print('about to fail')\n    raise ValueError('no') #")
NEW = ("--function", "answers", "--role", ROLE)
UPDATED = r"/functions/answers/configuration"
DENIED: dict[str, Any] = {"status": 403, "code": "AccessDeniedException", "message": "denied"}

Serve = Callable[..., str]


def rebuild(publisher: Publisher, handler: str) -> None:
    """Another function in the same build; what it answers is recorded."""
    (publisher.folder / "code/app.py").write_text(handler)
    ended = publisher.run_without_endpoint("build", "recipe.yaml")
    assert ended.code == 0, ended.errors


def arns(function: dict[str, Any]) -> list[str]:
    """A function's layers."""
    return [one["Arn"] for one in function["Layers"]]


def serve_other(publisher: Publisher, handler: str, serve: Serve) -> None:
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


def make_old(aws: FakeAws, **more: Any) -> None:
    """A function that was made before, past layerpack."""
    aws.client("lambda").create_function(
        FunctionName="answers",
        Runtime="python3.9",
        Role=ROLE,
        Handler="old.handler",
        Code={"ZipFile": b"old code"},
        **more,
    )
