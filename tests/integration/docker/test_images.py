"""The image that a build takes: pulled by tag or digest, for the architecture, and recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker.errors import ImageNotFound

from tests.integration.docker.registry import Published, registry
from tests.support.command import Ended, layerpack
from tests.support.engine import OFFLINE, Engine, locked_source
from tests.support.wheels import make_wheel

pytestmark = pytest.mark.engine

# layerpack's and the engine's names.
X86 = ("x86_64", "amd64")
ARM = ("arm64", "arm64")


@pytest.fixture
def published(tmp_path: Path, engine: Engine) -> Iterator[Published]:
    """An image in a registry, and at the end no more in the engine."""
    with registry(str(tmp_path)) as found:
        yield found
        for part in found.parts:
            # Once the other architecture has its name, one is there by its identity alone.
            with suppress(ImageNotFound):
                engine.client.images.remove(part, force=True)


def build(folder: Path, *arguments: str) -> Ended:
    """A build of wheels alone, which starts no container in the image; it must succeed."""
    ended = layerpack(
        *("build", "recipe.yaml", *arguments),
        folder=folder,
        cache=folder / "cache",
        extra=OFFLINE,
    )
    assert ended.code == 0, ended.errors
    return ended


def image_of(folder: Path) -> str:
    """The image that the manifest of the build has."""
    manifest = json.loads((folder / "build/small/manifest.json").read_text())
    return str(manifest["tools"]["image"])


@pytest.mark.parametrize("tag", ["", ":3"])
def test_an_image_is_pulled_by_its_tag_and_recorded_with_the_registrys_digest(
    tmp_path: Path, published: Published, tag: str
) -> None:
    locked_source(tmp_path, make_wheel(tmp_path / "w", "simple"))
    reference = f"{published.name}{tag}"
    ended = build(tmp_path, "--base-image", reference, "--verbose")
    assert f"pulling {reference} (" in ended.errors
    assert image_of(tmp_path) == f"{reference}@{published.digest}"
    # The engine has it now.
    assert "pulling" not in build(tmp_path, "--base-image", reference, "--verbose").errors


def test_an_image_is_pulled_by_its_digest(
    tmp_path: Path, engine: Engine, published: Published
) -> None:
    path = locked_source(tmp_path, make_wheel(tmp_path / "w", "simple"))
    pinned = f"{published.name}@{published.digest}"
    text = path.read_text().replace("[simple]}", f"[simple], image: '{pinned}'}}")
    path.write_text(text)
    ended = build(tmp_path, "--verbose")
    assert f"pulling {pinned} (" in ended.errors
    assert image_of(tmp_path) == pinned
    assert engine.client.images.get(pinned).attrs["Architecture"] == "amd64"


def test_the_image_of_the_recipes_architecture_is_pulled(
    tmp_path: Path, engine: Engine, published: Published
) -> None:
    wheel = make_wheel(tmp_path / "w", "simple")
    # The second and the third find the other one under that name.
    for number, (ours, theirs) in enumerate((X86, ARM, X86)):
        folder = tmp_path / str(number)
        locked_source(folder, wheel, f"architecture: {ours}\n")
        ended = build(folder, "--base-image", f"{published.name}:1", "--verbose")
        assert f"pulling {published.name}:1 (" in ended.errors
        found = engine.client.images.get(f"{published.name}:1")
        assert found.attrs["Architecture"] == theirs
        # Docker notes the list's digest for one architecture alone; the other has its identity.
        digest = published.digest if ours == "x86_64" else found.id
        assert image_of(folder) == f"{published.name}:1@{digest}"
