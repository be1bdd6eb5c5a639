"""`layerpack lock` in the image that a build would resolve in."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.lock import Lock
from tests.support.command import layerpack
from tests.support.engine import OFFLINE, RUNTIME, Engine
from tests.support.recipes import recipe_file

pytestmark = pytest.mark.engine

RECIPE = f"name: small\nruntime: {RUNTIME}\nrequirements: [six==1.16.0]\n"


def test_a_lock_is_made_in_the_image_as_a_build_would(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    path = recipe_file(tmp_path, RECIPE)
    options = ("--builder", "docker", "--base-image", stand_in)
    ended = layerpack("lock", "recipe.yaml", *options, folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0, ended.errors
    pinned = f"{stand_in}@{engine.client.images.get(stand_in).id}"
    assert f"resolving in {pinned}: --base-image names an image\n" in ended.errors
    lock = Lock.read(path.with_suffix(".lock"))
    assert lock is not None
    assert (lock.resolver, lock.image) == ("pip-tools", pinned)
    assert [f"{pin.name}=={pin.version}" for pin in lock.requirements] == ["six==1.16.0"]
    # The build has nothing to resolve, and so no container to start.
    with engine.counting() as made:
        build = layerpack(
            *("build", "recipe.yaml", "--locked", *options),
            folder=tmp_path,
            cache=tmp_path / "cache",
        )
    assert build.code == 0, build.errors
    assert made == []


def test_a_lock_is_made_on_this_machine_where_that_is_asked_for(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, f"{RECIPE}build: {{image: '127.0.0.1:9/none:1'}}\n")
    arguments = ("lock", "recipe.yaml")
    ended = layerpack(*arguments, folder=tmp_path, cache=tmp_path / "cache", extra=OFFLINE)
    assert ended.code == 6
    assert ended.errors.startswith("error: the image 127.0.0.1:9/none:1 cannot be pulled: ")
    assert not path.with_suffix(".lock").exists()
    local = (*arguments, "--builder", "local")
    ended = layerpack(*local, folder=tmp_path, cache=tmp_path / "cache")
    assert ended.code == 0, ended.errors
    lock = Lock.read(path.with_suffix(".lock"))
    assert lock is not None
    assert (lock.resolver, lock.image) == ("uv", "")
