"""Building in Docker for real: from the package index, in an image with a compiler."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from layerpack.elf import read_file
from layerpack.lock import Lock
from tests.support.command import Ended, layerpack
from tests.support.engine import RUNTIME, Engine
from tests.support.recipes import recipe_file

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[3]
GLUONNLP = f"""\
name: gluon
runtime: {RUNTIME}
requirements: [gluonnlp==0.10.0]
build: {{from-source: [gluonnlp], constraints: [setuptools==84.2.1, cython==3.3.1]}}
"""
LZO = f"""\
name: lzo
runtime: {RUNTIME}
requirements: [python-lzo==1.15]
build: {{from-source: [python-lzo]}}
"""
WITH_PACKAGE = LZO.replace("[python-lzo]}", "[python-lzo], system-packages: [liblzo2-dev]}")
USE_LZO = """\
import lzo
text = b"as it was" * 1000
assert lzo.decompress(lzo.compress(text)) == text
print(lzo.LZO_VERSION_STRING.decode())
"""


def build(
    folder: Path, cache: Path, image: str, *arguments: str, recipe: str = "recipe.yaml"
) -> Ended:
    """Build in the image."""
    options = ("--builder", "docker", "--base-image", image, *arguments)
    return layerpack("build", recipe, *options, folder=folder, cache=cache)


def built(folder: Path, cache: Path, image: str, *arguments: str) -> Ended:
    """A build that must succeed."""
    ended = build(folder, cache, image, *arguments)
    assert ended.code == 0, ended.errors
    return ended


def zips(build_folder: Path) -> dict[str, bytes]:
    """The bytes of every zip of a build."""
    return {path.name: path.read_bytes() for path in build_folder.rglob("*.zip")}


def answer(engine: Engine, image: str, layers: Path, code: str) -> str:
    """What code prints in a fresh container with the layers at /opt, as on Lambda."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(layers.glob("*.zip")):
            with zipfile.ZipFile(path) as layer:
                for info in layer.infolist():
                    member = tarfile.TarInfo(f"opt/{info.filename}")
                    member.size = info.file_size
                    archive.addfile(member, io.BytesIO(layer.read(info)))
    container = engine.client.containers.create(
        image,
        command=["python3", "-c", code],
        environment={"PYTHONPATH": "/opt/python", "LD_LIBRARY_PATH": "/opt/lib"},
        network_mode="none",
    )
    try:
        container.put_archive("/", stream.getvalue())
        container.start()
        code_of_exit = container.wait()["StatusCode"]
        printed: str = container.logs().decode()
        assert code_of_exit == 0, printed
        return printed
    finally:
        container.remove(force=True)


def test_gluonnlp_is_locked_and_compiled_in_the_image_once(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    recipe_file(tmp_path, GLUONNLP)
    cache = tmp_path / "cache"
    images = engine.images()
    with engine.counting() as made:
        ended = built(tmp_path, cache, stand_in)
    assert len(made) == 1
    pinned = f"{stand_in}@{engine.client.images.get(stand_in).id}"
    assert f"building in {pinned}: --base-image names an image\n" in ended.errors

    # The lock was made there, and says so; it reads back as it was.
    lock = Lock.read(tmp_path / "recipe.lock")
    assert lock is not None
    assert (lock.image, lock.resolver) == (pinned, "pip-tools")
    assert lock.text == (tmp_path / "recipe.lock").read_text()
    versions = {pin.name: pin.version for pin in lock.requirements}
    assert versions["gluonnlp"] == "0.10.0"
    assert {"numpy", "cython", "packaging"} <= versions.keys()

    # The extension was compiled for the image's Python, and nothing of it is root's.
    (wheel,) = cache.glob("wheels/*/gluonnlp-*.whl")
    assert wheel.name == "gluonnlp-0.10.0-cp313-cp313-linux_x86_64.whl"
    (extension,) = cache.glob("unpacked/*/**/gluonnlp/**/*.cpython-313-x86_64-linux-gnu.so")
    assert read_file(extension).machine == "x86_64"
    manifest = json.loads((tmp_path / "build/gluon/manifest.json").read_text())
    assert (manifest["tools"]["builder"], manifest["tools"]["image"]) == ("docker", pinned)
    kinds = {one["name"]: one["kind"] for one in manifest["distributions"]}
    assert (kinds["gluonnlp"], kinds["numpy"]) == ("source", "wheel")

    # Nothing changed: nothing is done. Built again elsewhere: nothing is compiled.
    with engine.counting() as made:
        assert "nothing changed" in built(tmp_path, cache, stand_in).errors
        built(tmp_path, cache, stand_in, "-o", "again", "--locked")
    assert made == []
    assert zips(tmp_path / "again") == zips(tmp_path / "build/gluon")
    # The engine has what it had.
    assert engine.images() == images


def test_an_extension_is_compiled_against_a_system_package_whose_library_comes_along(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    recipe_file(tmp_path, WITH_PACKAGE)
    cache = tmp_path / "cache"
    ended = built(tmp_path, cache, stand_in, "--verbose")
    # Tools are heard while they work, and it is told what comes from where.
    assert "  Setting up liblzo2-dev" in ended.errors
    assert (
        f"bundled liblzo2.so.2 from {stand_in}, needed by python/lzo.cpython-313-" in ended.errors
    )
    manifest = json.loads((tmp_path / "build/lzo/manifest.json").read_text())
    (library,) = manifest["system_libraries"]
    assert (library["soname"], library["origin"]) == ("liblzo2.so.2", stand_in)
    # The image itself has no such library.
    assert answer(engine, stand_in, tmp_path / "build/lzo/layers", USE_LZO).startswith("2.")
    # Neither compiler nor library are asked for twice.
    with engine.counting() as made:
        built(tmp_path, cache, stand_in, "-o", "again", "--locked")
    assert made == []


def test_a_failing_compilation_ends_with_its_last_lines_and_the_place_of_its_log(
    tmp_path: Path, stand_in: str
) -> None:
    recipe_file(tmp_path, LZO)
    cache = tmp_path / "cache"
    ended = build(tmp_path, cache, stand_in)
    assert ended.code == 6
    assert ended.output == ""
    log = cache / "logs/python-lzo-1.15.log"
    lines = ended.errors.splitlines()
    assert lines[1] == "error: building python-lzo==1.15 from source failed; its last lines:"
    assert "fatal error: lzo/lzo1.h: No such file or directory" in ended.errors
    assert f"the whole log: {log}" in lines
    assert len(lines) < 25
    assert "Collecting python-lzo==1.15" in log.read_text()
    assert list((cache / "scratch").iterdir()) == []
    assert not (tmp_path / "build/lzo").exists()


def test_a_system_package_that_does_not_exist_is_told_with_its_log(
    tmp_path: Path, stand_in: str
) -> None:
    recipe_file(tmp_path, LZO.replace("[python-lzo]}", "[python-lzo], system-packages: [no-such]}"))
    ended = build(tmp_path, tmp_path / "cache", stand_in)
    assert ended.code == 6
    assert f"error: installing no-such in {stand_in} failed; its last lines:" in ended.errors
    assert "E: Unable to locate package no-such" in ended.errors
    (log,) = (tmp_path / "cache/logs").glob("system-packages-*.log")
    assert f"the whole log: {log}\n" in ended.errors


def test_an_image_of_the_dockerfile_needs_no_system_packages(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name in ("docker/Dockerfile", "layerpack/data/install-packages"):
            archive.add(ROOT / name, arcname=name)
    context.seek(0)
    image, _ = engine.client.images.build(
        fileobj=context,
        custom_context=True,
        dockerfile="docker/Dockerfile",
        tag="layerpack-tests/own",
        buildargs={"BASE_IMAGE": stand_in, "SYSTEM_PACKAGES": "liblzo2-dev"},
        forcerm=True,
    )
    try:
        recipe_file(tmp_path, LZO)
        ended = built(tmp_path, tmp_path / "cache", "layerpack-tests/own", "--verbose")
        assert "bundled liblzo2.so.2 from layerpack-tests/own" in ended.errors
    finally:
        engine.client.images.remove(image.id, force=True)


def test_wheels_alone_give_the_same_zips_with_and_without_docker(
    tmp_path: Path, engine: Engine, stand_in: str
) -> None:
    text = f"name: same\nruntime: {RUNTIME}\nrequirements: [markupsafe, jinja2, six]\n"
    recipe_file(tmp_path, text)
    with engine.counting() as made:
        built(tmp_path, tmp_path / "cache", stand_in, "-o", "docker")
    assert len(made) == 1  # for the lock
    local = layerpack(
        *("build", "recipe.yaml", "--builder", "local", "--locked", "-o", "local"),
        folder=tmp_path,
        cache=tmp_path / "other-cache",
    )
    assert local.code == 0, local.errors
    assert zips(tmp_path / "docker") == zips(tmp_path / "local") != {}
    # An independent reader finds them sound.
    for path in (tmp_path / "docker").rglob("*.zip"):
        subprocess.run(["unzip", "-qt", path], check=True)
