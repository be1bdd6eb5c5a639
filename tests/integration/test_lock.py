"""Locks from real resolvers and an index on this machine, held against pip's own judgement."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from layerpack.errors import ResolveError
from layerpack.events import Events
from layerpack.lock import Lock
from layerpack.locking import current_lock, update_lock
from layerpack.recipe import Recipe
from layerpack.resolve import make_lock
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_sdist, make_wheel, sha256


def versions(lock: Lock) -> dict[str, str]:
    """The locked versions."""
    return {pin.name: pin.version for pin in lock.requirements}


@pytest.fixture
def published(tmp_path: Path, index: LocalIndex) -> LocalIndex:
    """alpha 1.0 and 1.1, which need beta; beta 2.0 and 2.1."""
    for version in ("1.0", "1.1"):
        index.add(make_wheel(tmp_path / "w", "alpha", version, requires=["beta>=2"]))
    for version in ("2.0", "2.1"):
        index.add(make_wheel(tmp_path / "w", "beta", version))
    return index


def recipe(
    folder: Path, index: LocalIndex, requirements: Sequence[str] = ("alpha",), more: str = ""
) -> Recipe:
    """A recipe that resolves from the index alone."""
    return Recipe.load(
        minimal(folder, requirements=requirements, index=index.url, more=more, runtime=HERE)
    )


def test_the_newest_versions_are_locked_with_every_files_hash(
    tmp_path: Path, published: LocalIndex
) -> None:
    other = make_wheel(tmp_path / "w", "beta", "2.1", tag="cp39-abi3-manylinux_2_17_aarch64")
    published.add(other)
    lock = make_lock(recipe(tmp_path, published))
    assert versions(lock) == {"alpha": "1.1", "beta": "2.1"}
    assert set(lock.requirements[1].hashes) == {
        sha256(other),
        sha256(tmp_path / "w/beta-2.1-py3-none-any.whl"),
    }


def test_the_text_names_nothing_of_this_machine(tmp_path: Path, published: LocalIndex) -> None:
    text = make_lock(recipe(tmp_path, published)).text
    body = text.partition("\n\n")[2]
    assert body.splitlines()[0] == "alpha==1.1 \\"
    assert "    # via -r small.in" in body.splitlines()
    for name in ("127.0.0.1", str(tmp_path), "/tmp", "layerpack-"):
        assert name not in body


def test_a_users_settings_of_uv_put_no_options_into_a_lock(
    tmp_path: Path, published: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "[pip]\nemit-index-url = true\nemit-find-links = true\nemit-build-options = true\n"
    (tmp_path / "uv.toml").write_text(settings, encoding="utf-8")
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    lock = make_lock(recipe(tmp_path, published))
    assert "--index-url" not in lock.text and "--only-binary" not in lock.text
    assert lock.edit == ""


def test_equal_recipes_give_equal_locks_in_any_folder(
    tmp_path: Path, published: LocalIndex
) -> None:
    one = make_lock(recipe(tmp_path / "one", published))
    two = make_lock(recipe(tmp_path / "two", published))
    assert one.text == two.text


@pytest.mark.exhaustive
@pytest.mark.parametrize("tool", ["uv", "pip-tools"])
def test_pip_accepts_the_lock_and_would_install_just_that(
    tmp_path: Path, published: LocalIndex, tool: str
) -> None:
    """pip is the oracle: it checks every file against the lock's hashes."""
    published.add(make_sdist(tmp_path / "w", "gamma"))
    more = "build: {from-source: [gamma]}\n"
    path = minimal(
        tmp_path,
        requirements=["alpha<1.1", "gamma"],
        runtime=HERE,
        more=f"resolve: {{tool: {tool}, index-url: '{published.url}'}}\n{more}",
    )
    loaded = Recipe.load(path)
    lock = make_lock(loaded)
    assert versions(lock) == {"alpha": "1.0", "beta": "2.1", "gamma": "1.0"}
    lock.write(loaded.lock_path)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
            *("--require-hashes", "--requirement", str(loaded.lock_path)),
            *("--index-url", published.url),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "Would install alpha-1.0 beta-2.1 gamma-1.0"


def test_pip_refuses_another_file_than_the_locked_one(
    tmp_path: Path, published: LocalIndex
) -> None:
    loaded = recipe(tmp_path, published)
    update_lock(loaded, Events())
    evil = make_wheel(tmp_path / "2", "beta", "2.1", files={"beta.py": "import evil"})
    published.add(evil)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--no-cache-dir"),
            *("--require-hashes", "--requirement", str(loaded.lock_path)),
            *("--index-url", published.url),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "DO NOT MATCH THE HASHES" in result.stderr


def test_both_resolvers_give_the_same_pins(tmp_path: Path, published: LocalIndex) -> None:
    published.add(make_sdist(tmp_path / "w", "beta", "2.2"))
    locks = {}
    for tool in ("uv", "pip-tools"):
        more = (
            f"resolve: {{tool: {tool}, index-url: '{published.url}'}}\n"
            "assets: [{name: model, wheel: alpha==1.0}]\n"
        )
        loaded = Recipe.load(minimal(tmp_path, name=f"{tool}.yaml", runtime=HERE, more=more))
        locks[tool] = make_lock(loaded)
    assert locks["uv"].requirements == locks["pip-tools"].requirements
    assert locks["uv"].assets == locks["pip-tools"].assets
    assert versions(locks["uv"]) == {"alpha": "1.1", "beta": "2.1"}
    assert [(pin.name, pin.version) for pin in locks["uv"].assets] == [("alpha", "1.0")]


def test_the_former_versions_stay_until_an_upgrade_is_asked_for(
    tmp_path: Path, index: LocalIndex
) -> None:
    index.add(make_wheel(tmp_path / "w", "alpha", "1.0", requires=["beta>=2"]))
    index.add(make_wheel(tmp_path / "w", "beta", "2.0"))
    first = make_lock(recipe(tmp_path, index))
    index.add(make_wheel(tmp_path / "w", "alpha", "1.1", requires=["beta>=2"]))
    index.add(make_wheel(tmp_path / "w", "beta", "2.1"))
    index.add(make_wheel(tmp_path / "w", "gamma"))

    def again(requirements: Sequence[str] = ("alpha",), **options: object) -> Mapping[str, str]:
        loaded = recipe(tmp_path, index, requirements)
        return versions(make_lock(loaded, former=first, **options))  # type: ignore[arg-type]

    assert versions(first) == {"alpha": "1.0", "beta": "2.0"}
    assert again() == {"alpha": "1.0", "beta": "2.0"}
    assert again(["alpha", "gamma"]) == {"alpha": "1.0", "beta": "2.0", "gamma": "1.0"}
    assert again(["alpha>=1.1"]) == {"alpha": "1.1", "beta": "2.0"}
    assert again(upgrade_packages=["Beta"]) == {"alpha": "1.0", "beta": "2.1"}
    assert again(upgrade=True) == {"alpha": "1.1", "beta": "2.1"}


def test_what_is_not_locked_cannot_be_upgraded(tmp_path: Path, published: LocalIndex) -> None:
    loaded = recipe(tmp_path, published)
    former = make_lock(loaded)
    with pytest.raises(ResolveError) as caught:
        make_lock(loaded, former=former, upgrade_packages=["alhpa"])
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "'alhpa' is not in recipe.lock, so it cannot be upgraded\nLocked are: alpha, beta"
    )


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        (["no-such-thing"], "uv found no versions for: no-such-thing\n"),
        (["alpha>9"], "uv found no versions for: alpha>9\n"),
        (["alpha==1.0", "alpha==1.1"], "uv found no versions for: alpha==1.0, alpha==1.1\n"),
        (["alpha", "beta<2"], "uv found no versions for: alpha, beta<2\n"),
    ],
)
def test_what_cannot_be_resolved_is_told_and_the_former_lock_stays(
    tmp_path: Path, published: LocalIndex, requirements: list[str], expected: str
) -> None:
    update_lock(recipe(tmp_path, published), Events())
    before = (tmp_path / "recipe.lock").read_bytes()
    with pytest.raises(ResolveError) as caught:
        update_lock(recipe(tmp_path, published, requirements), Events())
    assert caught.value.message.startswith(expected)
    assert "Traceback" not in caught.value.message
    assert len(caught.value.message.splitlines()) <= 14
    assert (tmp_path / "recipe.lock").read_bytes() == before


def test_an_index_that_does_not_answer_is_told_as_such(
    tmp_path: Path, published: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with LocalIndex() as gone:
        loaded = recipe(tmp_path, gone)
    with pytest.raises(ResolveError) as caught:
        make_lock(loaded)
    assert caught.value.message.startswith("uv could not ask the index for: alpha\n")
    assert caught.value.hint == "Check the network and the index."


@pytest.mark.exhaustive
def test_what_has_no_wheel_is_resolved_only_where_source_is_allowed(
    tmp_path: Path, index: LocalIndex
) -> None:
    index.add(make_sdist(tmp_path / "w", "alpha"))
    with pytest.raises(ResolveError) as caught:
        make_lock(recipe(tmp_path, index))
    assert "build.from-source" in caught.value.hint
    allowed = recipe(tmp_path, index, more="build: {from-source: [alpha]}")
    assert versions(make_lock(allowed)) == {"alpha": "1.0"}


@pytest.mark.exhaustive
def test_wheels_for_a_newer_system_are_not_locked(tmp_path: Path, index: LocalIndex) -> None:
    index.add(make_wheel(tmp_path, "alpha", "1.0", tag="py3-none-manylinux_2_28_x86_64"))
    index.add(make_wheel(tmp_path, "alpha", "2.0", tag="py3-none-manylinux_2_39_x86_64"))
    index.add(make_wheel(tmp_path, "beta", "1.0", tag="py3-none-manylinux_2_17_aarch64"))

    def resolve(name: str, runtime: str, architecture: str) -> dict[str, str]:
        path = minimal(
            tmp_path,
            requirements=[name],
            runtime=runtime,
            index=index.url,
            more=f"architecture: {architecture}",
        )
        return versions(make_lock(Recipe.load(path)))

    assert resolve("alpha", "python3.12", "x86_64") == {"alpha": "1.0"}
    assert resolve("beta", "python3.12", "arm64") == {"beta": "1.0"}
    for name, runtime, architecture in [
        ("alpha", "python3.11", "x86_64"),
        ("alpha", "python3.12", "arm64"),
        ("beta", "python3.12", "x86_64"),
    ]:
        with pytest.raises(ResolveError):
            resolve(name, runtime, architecture)


def test_environment_markers_are_those_of_the_target(tmp_path: Path, published: LocalIndex) -> None:
    requires = ["beta ; platform_machine == 'aarch64'", "alpha ; python_version >= '3.13'"]
    published.add(make_wheel(tmp_path / "w", "delta", requires=requires))

    def resolve(runtime: str, architecture: str) -> set[str]:
        path = minimal(
            tmp_path,
            requirements=["delta"],
            runtime=runtime,
            index=published.url,
            more=f"architecture: {architecture}",
        )
        return set(versions(make_lock(Recipe.load(path))))

    assert resolve("python3.12", "x86_64") == {"delta"}
    assert resolve("python3.12", "arm64") == {"beta", "delta"}
    assert resolve("python3.13", "x86_64") == {"alpha", "beta", "delta"}


def test_a_valid_lock_resolves_nothing_and_a_stale_one_is_made_anew_or_an_error(
    tmp_path: Path, published: LocalIndex
) -> None:
    warnings: list[str] = []
    events = Events(warn=warnings.append)
    loaded = recipe(tmp_path, published)
    with pytest.raises(ResolveError, match="does not hold: there is none"):
        current_lock(loaded, events, locked=True)
    first = current_lock(loaded, events)
    published.requests.clear()
    assert current_lock(loaded, events).text == first.text
    assert current_lock(loaded, events, locked=True).text == first.text
    assert (published.requests, warnings) == ([], [])

    changed = recipe(tmp_path, published, ["alpha<1.1"])
    before = changed.lock_path.read_bytes()
    with pytest.raises(ResolveError) as caught:
        current_lock(changed, events, locked=True)
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "the lock recipe.lock does not hold: the recipe's requirements changed since it was made\n"
        "Run `layerpack lock recipe.yaml`, or build without --locked."
    )
    assert changed.lock_path.read_bytes() == before
    assert versions(current_lock(changed, events)) == {"alpha": "1.0", "beta": "2.1"}
    assert warnings == [
        f"{changed.lock_path} is stale (the recipe's requirements changed since it was made): "
        "resolving again"
    ]


def edited(loaded: Recipe, old: str, new: str) -> Lock:
    """The recipe's lock after an edit by hand."""
    text = loaded.lock_path.read_text()
    assert old in text
    loaded.lock_path.write_text(text.replace(old, new))
    lock = Lock.read(loaded.lock_path)
    assert lock is not None
    return lock


@pytest.mark.parametrize(
    ("what", "tool"),
    [
        *(("version", "uv"), ("hash", "uv"), ("version that there is not", "uv")),
        ("hash", "pip-tools"),
    ],
)
def test_a_lock_that_was_edited_by_hand_gets_the_hashes_of_its_versions(
    tmp_path: Path, published: LocalIndex, what: str, tool: str
) -> None:
    more = f"resolve: {{tool: {tool}, index-url: '{published.url}'}}"
    loaded = Recipe.load(minimal(tmp_path, runtime=HERE, more=more))
    right = update_lock(loaded, Events())
    digest = sha256(tmp_path / "w/alpha-1.1-py3-none-any.whl")
    changes = {
        "version": ("alpha==1.1", "alpha==1.0"),
        "hash": (digest, ("0" if digest[0] != "0" else "1") + digest[1:]),
        "version that there is not": ("alpha==1.1", "alpha==1.7"),
    }
    edited(loaded, *changes[what])
    warnings: list[str] = []
    now = current_lock(loaded, Events(warn=warnings.append))
    assert versions(now)["alpha"] == ("1.0" if what == "version" else "1.1")
    for pin in now.requirements:
        file = tmp_path / f"w/{pin.name}-{pin.version}-py3-none-any.whl"
        assert pin.hashes == (sha256(file),)
    assert [warning for warning in warnings if "edited by hand" in warning]
    if what == "hash":
        assert now.text == right.text


def test_an_index_that_was_added_by_hand_is_told_and_resolved_away(
    tmp_path: Path, published: LocalIndex
) -> None:
    mine = recipe(tmp_path, published)
    update_lock(mine, Events())
    text = mine.lock_path.read_text()
    mine.lock_path.write_text(text + "--extra-index-url https://example.org/simple\n")
    with pytest.raises(ResolveError, match="--extra-index-url was added by hand"):
        current_lock(mine, Events(), locked=True)
    told: list[str] = []
    current_lock(mine, Events(warn=told.append))
    assert any("--extra-index-url was added by hand" in one for one in told)
    assert mine.lock_path.read_text() == text
