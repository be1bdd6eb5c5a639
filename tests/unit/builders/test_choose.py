"""Which builder a recipe gets. What needs an engine is in tests/integration/docker."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from layerpack.builders.choose import Wish, docker_need, open_builder
from layerpack.cache import Cache
from layerpack.docker_engine import Image, image_reference
from layerpack.docker_engine import _digest as digest_of
from layerpack.errors import UsageError
from layerpack.events import Events
from layerpack.limits import MACHINES, RuntimeProfile, runtimes
from tests.support.recipes import HERE, load

OWN = next(name for name, machine in MACHINES.items() if machine == platform.machine())
OTHER = "arm64" if OWN == "x86_64" else "x86_64"
SOURCE = "build: {from-source: [alpha]}"


@pytest.mark.parametrize(
    ("runtime", "more", "need"),
    [
        (HERE, "", ""),
        (HERE, f"architecture: {OTHER}", ""),
        (HERE, f"architecture: {OWN}\n{SOURCE}", ""),
        (
            HERE,
            f"architecture: {OTHER}\n{SOURCE}",
            "alpha may have to be built for another system than this one",
        ),
        (HERE, "build: {image: 'our/build:1'}", "build.image names an image"),
        (
            HERE,
            "build: {system-packages: [lz4-devel, gcc-c++]}",
            "build.system-packages asks for lz4-devel, gcc-c++",
        ),
    ],
)
def test_what_needs_docker(tmp_path: Path, runtime: str, more: str, need: str) -> None:
    assert docker_need(load(tmp_path, runtime=runtime, more=more), Wish()) == need


def test_an_image_on_the_command_line_needs_docker(tmp_path: Path) -> None:
    assert docker_need(load(tmp_path), Wish(base_image="x")) == "--base-image names an image"


def test_the_local_builder_takes_no_image_and_says_what_it_leaves(
    tmp_path: Path, cache: Cache
) -> None:
    warnings: list[str] = []
    recipe = load(tmp_path, more="build: {system-packages: [lz4-devel]}")
    builder = open_builder(recipe, Wish(builder="local"), cache, Events(warn=warnings.append))
    assert (builder.name, builder.image, builder.pip_compile()) == ("local", "", None)
    assert warnings == [
        "the local builder leaves build.image and build.system-packages to this machine"
    ]
    with pytest.raises(UsageError, match="--base-image is an image for --builder docker"):
        open_builder(recipe, Wish(builder="local", base_image="x"), cache, Events())


def test_every_runtime_has_its_image_for_both_architectures() -> None:
    names = {
        image_reference(RuntimeProfile.load(runtime, architecture))
        for runtime in runtimes()
        for architecture in MACHINES
    }
    assert len(names) == 2 * len(runtimes())
    assert "public.ecr.aws/sam/build-python3.12:latest-arm64" in names


@pytest.mark.parametrize(
    ("reference", "digests", "digest"),
    [
        ("host:5000/a/b:1", ["host:5000/a/b@sha256:11", "c@sha256:22"], "sha256:11"),
        ("host:5000/a/b", ["c@sha256:22", "host:5000/a/b@sha256:11"], "sha256:11"),
        ("a/b@sha256:33", ["a/b@sha256:11"], "sha256:33"),
        ("made-here:1", None, "sha256:identity"),
        ("made-here:1", ["other@sha256:11"], "sha256:identity"),
    ],
)
def test_an_images_digest_is_its_registrys(
    reference: str, digests: list[str] | None, digest: str
) -> None:
    found = {"Id": "sha256:identity", "RepoDigests": digests}
    assert digest_of(found, reference) == digest
    image = Image(reference=reference, identity="", digest=digest)
    assert image.pinned == f"{reference.partition('@')[0]}@{digest}"
