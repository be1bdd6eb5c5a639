"""The local builder, with pip and an index on this machine: the right file, unharmed, or none."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.builders.api import BuildContext, WheelFile
from layerpack.builders.local import LocalBuilder
from layerpack.builders.unpack import unpack
from layerpack.cache import Cache
from layerpack.errors import BuildToolError, LayerpackError, ResolveError
from layerpack.limits import MACHINES, Architecture, RuntimeProfile
from layerpack.lock import Locked
from tests.support.index import LocalIndex
from tests.support.recipes import HERE
from tests.support.wheels import make_sdist, make_wheel, sha256

OWN = next(name for name, machine in MACHINES.items() if machine == platform.machine())
OTHER: Architecture = "arm64" if OWN == "x86_64" else "x86_64"


def pin(*files: Path) -> Locked:
    """The lock's pin of all the files of one version."""
    name, version = files[0].name.removesuffix(".tar.gz").split("-")[:2]
    hashes = tuple(sorted(sha256(file) for file in files))
    return Locked(name=name.replace("_", "-"), version=version, hashes=hashes)


def context(
    index: LocalIndex,
    cache: Cache,
    runtime: str = "python3.12",
    architecture: Architecture = "x86_64",
    from_source: Sequence[str] = (),
) -> BuildContext:
    """What is built for."""
    return BuildContext(
        profile=RuntimeProfile.load(runtime, architecture),
        cache=cache,
        from_source=from_source,
        index_options=["--index-url", index.url],
    )


def build(pins: Sequence[Locked], chosen: BuildContext) -> tuple[WheelFile, ...]:
    """The builder's wheels, each with the hash of its file."""
    wheels = LocalBuilder().wheels(pins, chosen)
    assert all(sha256(wheel.path) == wheel.sha256 for wheel in wheels)
    return wheels


def refusal(
    pins: Sequence[Locked], chosen: BuildContext, error: type[LayerpackError] = ResolveError
) -> str:
    """Why there are no wheels; none is kept then, and no scratch."""
    with pytest.raises(error) as caught:
        LocalBuilder().wheels(pins, chosen)
    assert not kept(chosen.cache)
    return str(caught.value)


def kept(cache: Cache) -> list[str]:
    """What lies in the cache as a wheel, or as scratch."""
    folders = [cache.root / "wheels", cache.root / "scratch"]
    return [one.name for folder in folders if folder.is_dir() for one in folder.iterdir()]


@pytest.fixture
def gammas(tmp_path: Path, index: LocalIndex) -> Iterator[list[Path]]:
    """A distribution with wheels for many targets, each tagged in its content."""
    tags = [
        f"cp{version}-cp{version}-manylinux_2_{glibc}_{machine}"
        for version in (311, 312)
        for glibc in (17, 24, 28, 35)
        for machine in ("x86_64", "aarch64")
    ]
    tags += ["cp312-cp312-musllinux_1_2_x86_64", "cp312-cp312-win_amd64", "py3-none-any"]
    files = [
        make_wheel(tmp_path / "w", "gamma", tag=tag, files={"gamma.py": f"TAG = {tag!r}"})
        for tag in tags
    ]
    index.add(*files)
    yield files


@pytest.mark.parametrize(
    ("target", "tag"),
    [
        (("python3.12", "x86_64"), "cp312-cp312-manylinux_2_28_x86_64"),
        (("python3.12", "arm64"), "cp312-cp312-manylinux_2_28_aarch64"),
        (("python3.11", "x86_64"), "cp311-cp311-manylinux_2_24_x86_64"),
        (("python3.11", "arm64"), "cp311-cp311-manylinux_2_24_aarch64"),
        (("python3.13", "x86_64"), "py3-none-any"),
    ],
)
def test_the_newest_wheel_that_the_runtime_can_load_is_chosen(
    gammas: list[Path],
    index: LocalIndex,
    cache: Cache,
    target: tuple[str, Architecture],
    tag: str,
) -> None:
    (wheel,) = build([pin(*gammas)], context(index, cache, *target))
    assert wheel.path.name == f"gamma-1.0-{tag}.whl"
    assert (wheel.name, wheel.version, wheel.kind) == ("gamma", "1.0", "wheel")
    assert wheel.origin_sha256 == wheel.sha256


def test_the_choice_is_among_what_is_locked(
    gammas: list[Path], index: LocalIndex, cache: Cache
) -> None:
    locked = pin(*[file for file in gammas if "_2_17_x86_64" in file.name])
    (wheel,) = build([locked], context(index, cache))
    assert wheel.path.name == "gamma-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"


def test_wheels_come_in_the_pins_order(tmp_path: Path, index: LocalIndex, cache: Cache) -> None:
    files = [make_wheel(tmp_path, name) for name in ("zeta", "alpha", "mu", "beta", "my-pi", "xi")]
    index.add(*files)
    wheels = build([pin(file) for file in files], context(index, cache))
    assert [wheel.path.name for wheel in wheels] == [file.name for file in files]
    assert [wheel.name for wheel in wheels] == ["zeta", "alpha", "mu", "beta", "my-pi", "xi"]


def test_a_warm_cache_asks_no_index(tmp_path: Path, index: LocalIndex, cache: Cache) -> None:
    files = [make_wheel(tmp_path, "alpha"), make_wheel(tmp_path, "beta")]
    index.add(*files)
    pins = [pin(file) for file in files]
    first = build(pins, context(index, cache))
    index.requests.clear()
    assert build(pins, context(index, cache)) == first
    assert index.requests == []


def test_a_damaged_wheel_in_the_cache_is_fetched_anew(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    files = [make_wheel(tmp_path, "alpha"), make_wheel(tmp_path, "beta")]
    index.add(*files)
    pins = [pin(file) for file in files]
    alpha, _ = build(pins, context(index, cache))
    alpha.path.write_bytes(b"damaged")
    index.requests.clear()
    build(pins, context(index, cache))
    assert [path.rsplit("/", 1)[-1] for path in index.requests if "/files/" in path] == [
        alpha.path.name
    ]


@pytest.mark.parametrize("same_page", [True, False], ids=["page as locked", "page tells new hash"])
def test_a_file_that_was_swapped_after_locking_is_refused(
    tmp_path: Path, index: LocalIndex, cache: Cache, same_page: bool
) -> None:
    file = make_wheel(tmp_path / "1", "alpha")
    index.add(file)
    locked = pin(file)
    other = make_wheel(tmp_path / "2", "alpha", files={"alpha.py": "import evil"})
    if same_page:
        index.claimed[file.name] = sha256(file)
    index.add(other)
    assert refusal([locked], context(index, cache)) == (
        f"alpha==1.0: the downloaded file's hash {sha256(other)} is not in the lock\n"
        "The index serves another file than was locked, or the download was damaged. Look into "
        "it before you run `layerpack lock` again."
    )


def test_a_truncated_transfer_is_refused(tmp_path: Path, index: LocalIndex, cache: Cache) -> None:
    file = make_wheel(tmp_path, "alpha", files={"alpha/noise": bytes(range(256)) * 40})
    index.add(file)
    index.truncated.add(file.name)
    assert "alpha" in refusal([pin(file)], context(index, cache))


def test_a_wheel_that_was_truncated_before_it_was_locked_is_refused(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    file = make_wheel(tmp_path, "alpha")
    file.write_bytes(file.read_bytes()[:-40])
    index.add(file)
    text = refusal([pin(file)], context(index, cache))
    assert text.startswith("downloading alpha==1.0 failed: ERROR: Wheel 'alpha' located at ")
    assert " is invalid." in text


def test_what_is_no_longer_on_the_index_is_told(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    text = refusal([pin(make_wheel(tmp_path, "alpha"))], context(index, cache))
    assert text.startswith("alpha==1.0 has no wheel for python3.12 on x86_64 (glibc 2.34) among")


def test_no_wheel_for_the_target_is_told_with_the_key_that_helps(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    files = [
        make_wheel(tmp_path, "alpha", tag="cp313-cp313-manylinux_2_17_x86_64"),
        make_sdist(tmp_path, "alpha"),
    ]
    index.add(*files)
    assert refusal([pin(*files)], context(index, cache)) == (
        "alpha==1.0 has no wheel for python3.12 on x86_64 (glibc 2.34) among the locked files\n"
        "Add 'alpha' to the recipe's build.from-source, or choose another version."
    )


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        (
            "py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64",
            ("glibc 2.27", "runtime: python3.12"),
        ),
        ("cp311-abi3-manylinux_2_35_x86_64", ("glibc 2.35", "No runtime")),
    ],
)
def test_a_glibc_that_is_too_old_for_the_locked_wheels_is_told(
    tmp_path: Path, index: LocalIndex, cache: Cache, tag: str, told: tuple[str, str]
) -> None:
    file = make_wheel(tmp_path, "alpha", tag=tag)
    index.add(file)
    text = refusal([pin(file)], context(index, cache, "python3.11"))
    for part in ("alpha==1.0", "Amazon Linux 2,", "glibc 2.26", *told):
        assert part in text
    assert "from-source" not in text


def test_of_several_the_one_without_a_wheel_is_named(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    # pip gets every fourth in one call: `bar` and `foo-bar` are told apart there.
    files = [make_wheel(tmp_path, name) for name in ("bar", "b", "c", "d")]
    files.append(make_sdist(tmp_path, "foo-bar"))
    index.add(*files)
    with pytest.raises(ResolveError, match=r"^foo-bar==1\.0 has no wheel for"):
        LocalBuilder().wheels([pin(file) for file in files], context(index, cache))


def source(
    tmp_path: Path, index: LocalIndex, cache: Cache, statement: str = "pass"
) -> tuple[Locked, BuildContext]:
    """A distribution that comes as source only, and may."""
    file = make_sdist(tmp_path, "alpha", statement=statement)
    index.add(file)
    return pin(file), context(index, cache, HERE, OWN, from_source=["alpha"])


def test_what_may_come_as_source_is_built_with_the_targets_python(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    locked, chosen = source(tmp_path, index, cache)
    (wheel,) = build([locked], chosen)
    assert (wheel.kind, wheel.origin_sha256) == ("source", locked.hashes[0])
    code = (unpack(wheel, cache).files / "alpha/__init__.py").read_text()
    assert code == f"BUILT_WITH = '{HERE.removeprefix('python')}'\n"
    # Once: the wheel is kept under its source's pin.
    index.requests.clear()
    assert build([locked], chosen) == (wheel,)
    assert index.requests == []


def test_a_build_gets_the_recipes_variables_and_not_the_callers(
    tmp_path: Path, index: LocalIndex, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITHOUT_CUDA", "callers")
    monkeypatch.setenv("API_TOKEN", "callers")
    names = ("WITHOUT_CUDA", "API_TOKEN", "CFLAGS")
    seen = f"[os.environ.get(name) for name in {names}]"
    locked, chosen = source(tmp_path, index, cache, f"import os; raise SystemExit(str({seen}))")
    given = {"WITHOUT_CUDA": "1", "CFLAGS": "-O1"}
    told = refusal([locked], replace(chosen, environment=given), BuildToolError)
    assert "['1', None, '-O1 -g0']" in told


@pytest.mark.exhaustive
def test_a_wheel_that_was_built_with_other_variables_is_another(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    locked, chosen = source(tmp_path, index, cache)
    build([locked], chosen)
    index.requests.clear()
    build([locked], replace(chosen, environment={"WITHOUT_CUDA": "1"}))
    assert index.requests


def test_the_source_is_told_among_several_locked_files(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    only, chosen = source(tmp_path, index, cache)
    locked = replace(only, hashes=("0" * 64, *only.hashes))
    (wheel,) = build([locked], chosen)
    assert (wheel.kind, wheel.origin_sha256) == ("source", only.hashes[0])
    index.requests.clear()
    assert build([locked], chosen) == (wheel,)
    assert index.requests == []


def test_a_published_wheel_is_preferred_where_source_is_allowed(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    files = [make_sdist(tmp_path, "alpha", statement="raise SystemExit(1)")]
    files.append(make_wheel(tmp_path, "alpha"))
    index.add(*files)
    (wheel,) = build([pin(*files)], context(index, cache, HERE, OWN, from_source=["alpha"]))
    assert wheel.kind == "wheel"


def test_a_download_that_fails_is_not_built_instead(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    files = [make_sdist(tmp_path, "alpha"), make_wheel(tmp_path, "alpha")]
    index.add(*files)
    index.truncated.add(files[1].name)
    chosen = context(index, cache, HERE, OWN, from_source=["alpha"])
    assert "not enough bytes were received" in refusal([pin(*files)], chosen)


def test_a_failing_build_is_told_with_its_last_lines_and_log(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    statement = "[print('line', n) for n in range(90)]; raise SystemExit('fatal error: no alpha.h')"
    locked, chosen = source(tmp_path, index, cache, statement)
    text = refusal([locked], chosen, BuildToolError)
    log = cache.root / "logs/alpha-1.0.log"
    assert text.startswith("building alpha==1.0 from source failed; its last lines:\n  ")
    assert "fatal error: no alpha.h" in text
    assert f"\nthe whole log: {log}\n" in text
    assert text.endswith("can be held back with build.constraints.")
    assert "line 1\n" not in text
    assert "line 1\n" in log.read_text()
    assert len(text.splitlines()) <= 18


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("code", "lack"),
    [
        ("#include <no_such.h>", "the header no_such.h"),
        ("int main(void) { return 0; }", "the library no-such"),
    ],
)
def test_a_failing_build_names_what_the_system_lacks(
    tmp_path: Path, index: LocalIndex, cache: Cache, code: str, lack: str
) -> None:
    (tmp_path / "a.c").write_text(code)
    command = ["gcc", str(tmp_path / "a.c"), "-lno-such", "-o", str(tmp_path / "out")]
    statement = f"import subprocess; subprocess.run({command}, check=True)"
    locked, chosen = source(tmp_path, index, cache, statement)
    hint = refusal([locked], chosen, BuildToolError).splitlines()[-1]
    assert lack in hint
    assert "build.system-packages" in hint
    assert "build.environment" in hint


def test_a_build_requirement_that_cannot_be_had_is_a_failed_build(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    _, chosen = source(tmp_path, index, cache)
    file = make_sdist(tmp_path / "2", "beta", requires=["no-such-backend"])
    index.add(file)
    text = refusal([pin(file)], replace(chosen, from_source=["beta"]), BuildToolError)
    assert text.startswith("building beta==1.0 from source failed")
    assert "no-such-backend" in text


def test_a_source_that_was_swapped_is_refused(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    locked, chosen = source(tmp_path, index, cache)
    index.add(make_sdist(tmp_path / "2", "alpha", statement="import evil"))
    assert "is not in the lock" in refusal([locked], chosen)


def test_nothing_is_built_for_another_architecture(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    locked, _ = source(tmp_path, index, cache)
    chosen = context(index, cache, HERE, OTHER, from_source=["alpha"])
    assert refusal([locked], chosen, BuildToolError) == (
        f"alpha==1.0 has no wheel for {OTHER}, and cannot be built from source for it on a "
        f"{platform.machine()} machine\nChoose a version with a wheel, or build on {OTHER}."
    )


@pytest.mark.exhaustive
def test_a_missing_interpreter_is_told_with_the_ways_out(
    tmp_path: Path, index: LocalIndex, cache: Cache
) -> None:
    locked, chosen = source(tmp_path, index, cache)
    fields = {name: getattr(chosen.profile, name) for name in RuntimeProfile.__slots__}
    future = RuntimeProfile(**{**fields, "runtime": "python3.99"})
    text = refusal([locked], replace(chosen, profile=future), BuildToolError)
    assert "no Python 3.99 on this machine, needed to build alpha from source" in text


def test_a_host_library_is_where_the_loader_finds_it(index: LocalIndex, cache: Cache) -> None:
    chosen = context(index, cache, HERE, OWN)
    found = LocalBuilder().system_library("libc.so.6", chosen)
    assert found is not None
    assert found.path.is_file()
    assert (found.origin, found.licence, found.is_hosts) == ("this machine", "", True)
    assert LocalBuilder().system_library("libno-such.so.1", chosen) is None
    other = context(index, cache, HERE, OTHER)
    assert LocalBuilder().system_library("libc.so.6", other) is None
