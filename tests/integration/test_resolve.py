"""The keys of `resolve`, and what is said where no wheel is for the runtime's system."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import RecipeError, ResolveError
from layerpack.lock import Lock
from layerpack.recipe import Recipe
from layerpack.resolve import make_lock
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel


def locked(
    folder: Path, index: LocalIndex, keys: str = "", *, runtime: str = HERE, name: str = "alpha"
) -> Lock:
    """The lock of a recipe that requires one distribution, with further keys of `resolve`."""
    more = f"resolve: {{{keys}index-url: '{index.url}'}}\n"
    path = minimal(folder, requirements=[name], runtime=runtime, more=more)
    return make_lock(Recipe.load(path))


def versions(lock: Lock) -> dict[str, str]:
    """The locked versions."""
    return {pin.name: pin.version for pin in lock.requirements}


@pytest.fixture
def published(tmp_path: Path, index: LocalIndex) -> LocalIndex:
    """alpha needs beta<2 and gamma, and gamma delta; all in two versions."""
    requires = {"alpha": ["beta<2", "gamma"], "gamma": ["delta"]}
    for name in ("alpha", "beta", "gamma", "delta"):
        for version in ("1.0", "2.0"):
            wheel = make_wheel(tmp_path / "w", name, version, requires=requires.get(name, []))
            index.add(wheel)
    return index


def test_what_is_excluded_is_left_out_with_what_only_that_requires(
    tmp_path: Path, published: LocalIndex
) -> None:
    everything = {"alpha": "2.0", "beta": "1.0", "gamma": "2.0", "delta": "2.0"}
    assert versions(locked(tmp_path, published)) == everything
    assert versions(locked(tmp_path, published, "exclude: [Delta], ")) == {
        "alpha": "2.0",
        "beta": "1.0",
        "gamma": "2.0",
    }
    assert versions(locked(tmp_path, published, "exclude: [gamma], ")) == {
        "alpha": "2.0",
        "beta": "1.0",
    }


def test_an_override_replaces_what_distributions_require(
    tmp_path: Path, published: LocalIndex
) -> None:
    found = versions(locked(tmp_path, published, "override: ['beta==2.0'], "))
    assert found["beta"] == "2.0"


@pytest.mark.parametrize("tool", ["uv", "pip-tools"])
def test_constraints_hold_versions_and_require_nothing(
    tmp_path: Path, published: LocalIndex, tool: str
) -> None:
    keys = f"tool: {tool}, constraints: ['delta<2', 'epsilon<2'], "
    assert versions(locked(tmp_path, published, keys)) == {
        "alpha": "2.0",
        "beta": "1.0",
        "gamma": "2.0",
        "delta": "1.0",
    }


@pytest.mark.parametrize("keys", ["exclude: [beta]", "override: ['beta<3']"])
def test_what_pip_tools_lacks_is_refused(tmp_path: Path, published: LocalIndex, keys: str) -> None:
    with pytest.raises(RecipeError) as caught:
        locked(tmp_path, published, f"tool: pip-tools, {keys}, ")
    assert f"resolve.{keys.partition(':')[0]}" in caught.value.message


@pytest.fixture
def newer(tmp_path: Path, index: LocalIndex) -> LocalIndex:
    """beta, which alpha needs, has wheels for glibc 2.28 alone."""
    tags = [f"cp{version}-cp{version}-manylinux_2_28_x86_64" for version in (310, 311, 313)]
    for tag in (*tags, "cp312-cp312-manylinux_2_38_x86_64"):
        index.add(make_wheel(tmp_path / "w", "beta", tag=tag))
    index.add(make_wheel(tmp_path / "w", "alpha", requires=["beta"]))
    index.add(make_wheel(tmp_path / "w", "gamma", tag="cp39-abi3-manylinux_2_17_aarch64"))
    return index


def test_a_glibc_that_is_too_old_is_told_with_a_runtime_that_would_do(
    tmp_path: Path, newer: LocalIndex
) -> None:
    with pytest.raises(ResolveError) as caught:
        locked(tmp_path, newer, runtime="python3.11")
    said = caught.value.message
    assert "beta" in said
    assert "Amazon Linux 2," in said and "glibc 2.26" in said
    assert "manylinux_2_28" in said and "glibc 2.28" in said
    # Python 3.12's wheel is for a newer glibc than any runtime has.
    assert "runtime: python3.13" in caught.value.hint
    assert "glibc 2.34" in caught.value.hint
    with pytest.raises(ResolveError) as caught:
        locked(tmp_path, newer, runtime="python3.12")
    assert "manylinux_2_38" in caught.value.message
    assert "runtime:" not in caught.value.hint


@pytest.mark.exhaustive
def test_another_architecture_is_no_matter_of_glibc(tmp_path: Path, newer: LocalIndex) -> None:
    with pytest.raises(ResolveError) as caught:
        locked(tmp_path, newer, runtime="python3.11", name="gamma")
    assert "glibc" not in str(caught.value)


@pytest.fixture
def by_python(tmp_path: Path, index: LocalIndex) -> LocalIndex:
    """new has wheels for Python 3.11 and newer, old for 3.9 alone; plain says that it needs 3.12,
    apart needs both new and old; later has wheels like new's, for a newer glibc."""
    for name, versions in (("new", (311, 312, 313, 314)), ("old", (39,))):
        for version in versions:
            tag = f"cp{version}-cp{version}-manylinux_2_17_x86_64"
            index.add(make_wheel(tmp_path / "w", name, tag=tag))
            if name == "new":
                newer = tag.replace("2_17", "2_28")
                index.add(make_wheel(tmp_path / "w", "later", tag=newer))
    index.add(make_wheel(tmp_path / "w", "plain", python=">=3.12"))
    index.add(make_wheel(tmp_path / "w", "apart", requires=["new", "old"]))
    return index


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("runtime", "name", "needed", "use"),
    [
        ("python3.9", "new", "new need Python 3.11 or newer", "python3.11"),
        ("python3.10", "new", "new need Python 3.11 or newer", "python3.11"),
        ("python3.9", "later", "later need Python 3.11 or newer", "python3.12"),
        ("python3.11", "old", "old need Python 3.9 or older", "python3.9"),
        ("python3.11", "plain", "Python 3.12 or newer", "python3.12"),
    ],
)
def test_another_python_that_would_do_is_told(  # noqa: PLR0917
    tmp_path: Path, by_python: LocalIndex, runtime: str, name: str, needed: str, use: str
) -> None:
    with pytest.raises(ResolveError) as caught:
        locked(tmp_path, by_python, runtime=runtime, name=name)
    assert needed in caught.value.message
    assert f"{runtime} has Python {runtime[6:]}" in caught.value.message
    assert f"`runtime: {use}`" in caught.value.hint
    assert ("from-source" in caught.value.hint) == (name == "old")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["apart", "nowhere"])
def test_no_other_python_is_told_where_none_would_do(
    tmp_path: Path, by_python: LocalIndex, name: str
) -> None:
    with pytest.raises(ResolveError) as caught:
        locked(tmp_path, by_python, runtime="python3.10", name=name)
    assert "runtime:" not in caught.value.hint
