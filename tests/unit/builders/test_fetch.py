"""What the builder accepts and remembers, and what pip's failures mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from layerpack.builders.api import BuildContext, WheelFile
from layerpack.builders.fetch import (
    NoWheelError,
    _note_key,
    cached_wheel,
    download_error,
    remember,
    store_wheel,
    supported_tags,
    wheel_name,
)
from layerpack.cache import Cache
from layerpack.errors import BuildToolError, ResolveError
from layerpack.limits import Architecture, RuntimeProfile
from layerpack.lock import Locked
from layerpack.process import Result
from tests.support.wheels import make_wheel, sha256

PROFILE = RuntimeProfile.load("python3.12", "x86_64")


@pytest.mark.parametrize(
    ("file", "runtime", "architecture", "accepted"),
    [
        ("a-1-py3-none-any.whl", "python3.12", "x86_64", True),
        ("a-1-py2.py3-none-any.whl", "python3.12", "arm64", True),
        ("a-1-py2-none-any.whl", "python3.12", "x86_64", False),
        ("a-1-cp312-cp312-manylinux_2_34_x86_64.whl", "python3.12", "x86_64", True),
        ("a-1-cp312-cp312-manylinux_2_35_x86_64.whl", "python3.12", "x86_64", False),
        ("a-1-cp312-cp312-manylinux2014_x86_64.whl", "python3.12", "x86_64", True),
        ("a-1-cp311-cp311-manylinux_2_28_x86_64.whl", "python3.11", "x86_64", False),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "python3.11", "x86_64", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "python3.12", "x86_64", False),
        ("a-1-cp39-abi3-manylinux_2_17_x86_64.whl", "python3.12", "x86_64", True),
        ("a-1-cp313-abi3-manylinux_2_17_x86_64.whl", "python3.12", "x86_64", False),
        ("a-1-py3-none-manylinux1_x86_64.whl", "python3.12", "x86_64", True),
        ("a-1-cp312-cp312-manylinux_2_17_aarch64.whl", "python3.12", "x86_64", False),
        ("a-1-cp312-cp312-manylinux_2_17_aarch64.whl", "python3.12", "arm64", True),
        ("a-1-cp312-cp312-musllinux_1_2_x86_64.whl", "python3.12", "x86_64", False),
        ("a-1-cp312-cp312-macosx_11_0_arm64.whl", "python3.12", "arm64", False),
        ("a-1-cp312-cp312-linux_x86_64.whl", "python3.12", "x86_64", True),
    ],
)
def test_wheels_are_for_a_runtime_by_their_tags(
    file: str, runtime: str, architecture: Architecture, accepted: bool
) -> None:
    supported = set(supported_tags(RuntimeProfile.load(runtime, architecture)))
    assert bool(parse_wheel_filename(file)[3] & supported) is accepted


def test_no_tag_stands_twice() -> None:
    tags = supported_tags(PROFILE)
    assert len(tags) == len(set(tags))


def test_a_wheels_name_is_read_as_the_standard_says() -> None:
    name, version, tags = wheel_name(Path("Big_Model-1.0.0-py2.py3-none-any.whl"))
    assert (name, version) == ("big-model", "1.0.0")
    assert {str(tag) for tag in tags} == {"py2-none-any", "py3-none-any"}
    with pytest.raises(ResolveError, match=r"notes\.whl is not a wheel"):
        wheel_name(Path("notes.whl"))


def kept(tmp_path: Path, context: BuildContext) -> tuple[Locked, WheelFile]:
    """A pin and its wheel in the cache."""
    file = make_wheel(tmp_path, "alpha")
    digest = sha256(file)
    pin = Locked(name="alpha", version="1.0", hashes=(digest,))
    wheel = WheelFile(
        name="alpha",
        version="1.0",
        path=store_wheel(context.cache, file, digest),
        sha256=digest,
        kind="wheel",
        origin_sha256=digest,
    )
    remember(pin, wheel, context)
    return pin, wheel


def test_a_wheel_is_found_again_for_its_pin_and_target_only(tmp_path: Path, cache: Cache) -> None:
    context = BuildContext(profile=PROFILE, cache=cache)
    pin, wheel = kept(tmp_path, context)
    assert cached_wheel(pin, context) == wheel
    other = RuntimeProfile.load("python3.13", "x86_64")
    assert cached_wheel(pin, BuildContext(profile=other, cache=cache)) is None
    arm = RuntimeProfile.load("python3.12", "arm64")
    assert cached_wheel(pin, BuildContext(profile=arm, cache=cache)) is None
    newer = Locked(name="alpha", version="1.1", hashes=pin.hashes)
    assert cached_wheel(newer, context) is None


def test_a_damaged_wheel_is_dropped(tmp_path: Path, cache: Cache) -> None:
    context = BuildContext(profile=PROFILE, cache=cache)
    pin, wheel = kept(tmp_path, context)
    wheel.path.write_bytes(wheel.path.read_bytes()[:-1])
    assert cached_wheel(pin, context) is None
    assert not wheel.path.exists()


def forged(pin: Locked, context: BuildContext, **changed: str) -> WheelFile | None:
    """What the cache gives for a pin whose note was changed."""
    key = _note_key(pin, context)
    note = context.cache.read_note("choices", *key)
    assert isinstance(note, dict)
    context.cache.write_note({**note, **changed}, "choices", *key)
    return cached_wheel(pin, context)


def test_a_wheel_that_the_lock_does_not_have_is_not_taken_from_the_cache(
    tmp_path: Path, cache: Cache
) -> None:
    context = BuildContext(profile=PROFILE, cache=cache)
    pin, wheel = kept(tmp_path, context)
    other = make_wheel(tmp_path / "other", "alpha", files={"alpha/__init__.py": "evil"})
    digest = sha256(other)
    store_wheel(cache, other, digest)
    assert forged(pin, context, sha256=digest) is None
    assert forged(pin, context, sha256=digest, origin_sha256=digest) is None
    assert forged(pin, context, origin_sha256=wheel.sha256) is None
    assert forged(pin, context, kind="source") is None
    assert forged(pin, context, sha256=wheel.sha256, kind="wheel") == wheel


def test_a_built_wheel_is_held_against_its_sources_hash_in_the_lock(
    tmp_path: Path, cache: Cache
) -> None:
    context = BuildContext(profile=PROFILE, cache=cache, from_source=["alpha"])
    file = make_wheel(tmp_path, "alpha")
    digest = sha256(file)
    pin = Locked(name="alpha", version="1.0", hashes=("a" * 64, "b" * 64))
    wheel = WheelFile(
        name="alpha",
        version="1.0",
        path=store_wheel(cache, file, digest),
        sha256=digest,
        kind="source",
        origin_sha256="b" * 64,
    )
    remember(pin, wheel, context)
    assert cached_wheel(pin, context) == wheel
    assert forged(pin, context, origin_sha256="c" * 64) is None
    assert forged(pin, context, origin_sha256="") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"file": "../../alpha-1.0-py3-none-any.whl"},
        {"file": "/alpha-1.0-py3-none-any.whl"},
        {"file": ".."},
        {"file": "beta-1.0-py3-none-any.whl"},
        {"file": "alpha-1.1-py3-none-any.whl"},
        {"more": "than there is"},
    ],
    ids=str,
)
def test_a_note_that_names_another_file_is_not_followed(
    tmp_path: Path, cache: Cache, changed: dict[str, str]
) -> None:
    context = BuildContext(profile=PROFILE, cache=cache)
    pin, wheel = kept(tmp_path, context)
    (cache.root / wheel.path.name).write_bytes(wheel.path.read_bytes())
    for name in ("beta-1.0-py3-none-any.whl", "alpha-1.1-py3-none-any.whl"):
        (wheel.path.parent / name).write_bytes(wheel.path.read_bytes())
    assert forged(pin, context, **changed) is None


def test_a_damaged_wheel_is_replaced_by_a_sound_one(tmp_path: Path, cache: Cache) -> None:
    # Another target's pin fetches the same file, and does not know of the damaged one.
    context = BuildContext(profile=PROFILE, cache=cache)
    _, wheel = kept(tmp_path, context)
    wheel.path.write_bytes(b"damaged")
    path = store_wheel(cache, make_wheel(tmp_path, "alpha"), wheel.sha256)
    assert path == wheel.path
    assert sha256(path) == wheel.sha256


def test_constraints_count_for_what_may_be_built_only(tmp_path: Path, cache: Cache) -> None:
    pin, wheel = kept(tmp_path, BuildContext(profile=PROFILE, cache=cache))
    other = BuildContext(profile=PROFILE, cache=cache, constraints=["cython<3"])
    assert cached_wheel(pin, other) == wheel
    built = BuildContext(
        profile=PROFILE, cache=cache, constraints=["cython<3"], from_source=["alpha"]
    )
    assert cached_wheel(pin, built) is None


PINS = [Locked(name=name, version="1.0", hashes=("a" * 64,)) for name in ("bar", "foo-bar")]


@pytest.mark.parametrize(
    ("text", "error", "expected"),
    [
        pytest.param(
            "ERROR: Could not find a version that satisfies the requirement foo-bar==1.0 "
            "(from versions: none)\nERROR: No matching distribution found for foo-bar==1.0",
            NoWheelError,
            "foo-bar==1.0 has no wheel for python3.12 on x86_64 (glibc 2.34) among the locked "
            "files\nAdd 'foo-bar' to the recipe's build.from-source, or choose another version.",
            id="no wheel",
        ),
        pytest.param(
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n"
            f"    bar==1.0 from somewhere:\n        Expected sha256 {'a' * 64}\n"
            f"             Got        {'b' * 64}\n",
            ResolveError,
            f"bar==1.0: the downloaded file's hash {'b' * 64} is not in the lock\n"
            "The index serves another file than was locked, or the download was damaged. Look "
            "into it before you run `layerpack lock` again.",
            id="hash",
        ),
        pytest.param(
            "WARNING: Retrying\nERROR: Could not install packages due to an OSError: "
            "HTTPSConnectionPool: Max retries exceeded\n",
            ResolveError,
            "downloading bar, foo-bar failed: ERROR: Could not install packages due to an "
            "OSError: HTTPSConnectionPool: Max retries exceeded\nCheck the network and the index.",
            id="network",
        ),
        pytest.param(
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on "
            "device\n",
            BuildToolError,
            "downloading bar, foo-bar failed: No space left on device\n"
            "Free some space, or choose another --cache-dir.",
            id="disk",
        ),
    ],
)
def test_what_pip_says_is_told_with_the_right_name(
    text: str, error: type[Exception], expected: str
) -> None:
    result = Result(returncode=1, output="", errors=text)
    told = download_error(PINS, result, PROFILE)
    assert type(told) is error
    assert str(told) == expected
