"""Builds to publish, and AWS on this machine to publish them to."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from layerpack.cache import Cache
from tests.support.aws import SECRET, FakeAws, Rule, fake_aws
from tests.support.command import Ended, layerpack, start
from tests.support.index import LocalIndex, served_alone
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

REGION = "eu-west-1"
HANDLER = """\
import alpha


def handler(event, context):
    return {"version": alpha.VERSION, "sum": sum(event["numbers"]) / 3}
"""


@pytest.fixture(scope="session")
def _aws() -> Iterator[FakeAws]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        with fake_aws() as fake:
            yield fake


@pytest.fixture
def aws(_aws: FakeAws) -> FakeAws:
    """AWS, with nothing in it."""
    _aws.reset()
    return _aws


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, emulator_cache: Cache, uv_cache: Path) -> Path:
    """A folder with a verified build of three layers and a function; tests work on copies."""
    folder = tmp_path_factory.mktemp("to-publish")
    with served_alone(uv_cache) as index:
        write_recipe(folder, index)
        build(folder, emulator_cache)
    return folder


def build(folder: Path, cache: Cache) -> None:
    """Build the recipe in the folder, and verify it."""
    ended = layerpack(
        *("build", "recipe.yaml"),
        folder=folder,
        cache=cache.root,
        extra={"LAYERPACK_VERIFY": "1"},
    )
    assert ended.code == 0, ended.errors


def write_recipe(
    folder: Path, index: LocalIndex, *, weights: int = 1, size: int = 7_000_000, more: str = ""
) -> None:
    """A recipe with a function, a workload, and what is heavy enough for layers of its own: a
    distribution, and assets (larger ones do not share a layer)."""
    index.add(make_wheel(folder / "wheels", "alpha"))
    data = random.Random("beta").randbytes(7_000_000)
    heavy: dict[str, str | bytes] = {"beta/__init__.py": "", "beta/data.bin": data}
    index.add(make_wheel(folder / "wheels", "beta", files=heavy))
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(HANDLER)
    (folder / "event.json").write_text('{"numbers": [1, 2, 4]}')
    assets = []
    for number in range(weights):
        content = random.Random(number).randbytes(size)
        (folder / f"weights-{number}.bin").write_bytes(content)
        assets.append(f"{{name: weights-{number}, file: weights-{number}.bin}}")
    text = "function: {source: code, handler: app.handler, environment: {MODE: quick}}\n"
    text += "workloads: [{name: sum, event: event.json}]\n"
    text += f"assets: [{', '.join(assets)}]\n" + more
    minimal(folder, requirements=("alpha", "beta"), runtime=HERE, index=index.url, more=text)


@dataclass(kw_only=True)
class Publisher:
    """`layerpack` in a folder with a build, against AWS on this machine."""

    folder: Path
    cache: Path
    url: str
    variables: dict[str, str] = field(default_factory=lambda: dict(SECRET))

    @property
    def build(self) -> Path:
        """The build folder."""
        return self.folder / "build/small"

    @property
    def hashes(self) -> dict[str, str]:
        """The zips' CodeSha256, by layer; the function's by its own name."""
        manifest = json.loads((self.build / "manifest.json").read_text())
        records = {one["name"]: one for one in manifest["layers"]}
        records["function"] = manifest["function"]
        return {
            name: base64.b64encode(bytes.fromhex(one["sha256"])).decode()
            for name, one in records.items()
        }

    @property
    def receipt(self) -> dict[str, Any]:
        """The receipt's regions."""
        found: dict[str, Any] = json.loads((self.build / "publish.json").read_text())["regions"]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the command: credentials, and none of this machine's configuration."""
        return {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            **self.variables,
        }

    def run(self, *arguments: str, extra: Mapping[str, str] | None = None) -> Ended:
        """Run a command with the endpoint."""
        return layerpack(
            *arguments,
            *("--endpoint-url", self.url),
            folder=self.folder,
            cache=self.cache,
            extra={**self.environment, **(extra or {})},
        )

    def run_without_endpoint(self, *arguments: str) -> Ended:
        """Run a command that does not talk to AWS."""
        extra = {**self.environment, "LAYERPACK_VERIFY": "1"}
        return layerpack(*arguments, folder=self.folder, cache=self.cache, extra=extra)

    def ended_by(
        self,
        number: int,
        held: Rule,
        *arguments: str,
        meanwhile: Callable[[subprocess.Popen[str]], None] = lambda process: None,
    ) -> Ended:
        """Run a command, and send it a signal while the request that `held` holds back waits; go on
        once it has told that it ends (it cannot, by SIGKILL)."""
        assert held.wait is not None
        process = start(
            *(*arguments, "--endpoint-url", self.url),
            folder=self.folder,
            cache=self.cache,
            extra=self.environment,
        )
        try:
            assert held.begun.wait(60)
            meanwhile(process)
            process.send_signal(number)
            if number == signal.SIGKILL:
                process.wait(60)
            else:
                assert process.stderr is not None
                assert "finishing the requests under way" in process.stderr.readline()
            held.wait.set()
            output, errors = process.communicate(timeout=60)
        finally:
            held.wait.set()
        return Ended(code=process.returncode, output=output, errors=errors)

    def publish(self, *options: str, regions: tuple[str, ...] = (REGION,)) -> Ended:
        """Publish the build."""
        where = [word for region in regions for word in ("--region", region)]
        return self.run("publish", "build/small", *where, *options)


@pytest.fixture
def publisher(tmp_path: Path, built: Path, emulator_cache: Cache, aws: FakeAws) -> Publisher:
    """A copy of the build, to publish."""
    folder = tmp_path / "work"
    shutil.copytree(built, folder, symlinks=True)
    return Publisher(folder=folder, cache=emulator_cache.root, url=aws.url)
