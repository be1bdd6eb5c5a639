"""What functions take: a role, and a place where they run."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.integration.publish.conftest import HANDLER, Publisher
from tests.integration.publish.function.functions import NEW, Serve, rebuild
from tests.support.aws import FakeAws
from tests.support.command import start


@pytest.fixture
def serve(publisher: Publisher, aws: FakeAws) -> Serve:
    """Have functions run as a build is now: `layerpack serve`, as Lambda."""
    running: list[subprocess.Popen[str]] = []

    def begin(folder: str = "build/small") -> str:
        while running:
            process = running.pop()
            process.terminate()
            process.communicate(timeout=60)
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

    return begin


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


@pytest.fixture
def changed(publisher: Publisher, aws: FakeAws, serve: Serve) -> Publisher:
    """The function is published, and then built anew with other code; it answers as before."""
    serve()
    assert publisher.publish(*NEW).code == 0
    rebuild(publisher, HANDLER + "\n# Another function.\n")
    aws.asked.clear()
    return publisher


@pytest.fixture(autouse=True)
def _as_built(publisher: Publisher) -> None:
    subprocess.run(["cp", "-r", publisher.build, publisher.folder / "build/as-built"], check=True)
