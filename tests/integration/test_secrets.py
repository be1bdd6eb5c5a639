"""Passwords of package indexes: in no process's arguments, and in nothing that is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from layerpack.builders.api import BuildContext
from layerpack.builders.local import LocalBuilder
from layerpack.cache import Cache
from layerpack.errors import LayerpackError
from layerpack.recipe import Recipe
from layerpack.resolve import make_lock
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_sdist, make_wheel

SECRET = "s3cr3t-of-an-index"
NAMES = ("GH_TOKEN", "OMP_NUM_THREADS", "CC", "CFLAGS")
#: Settings of the machine's user, beside the recipe's.
INDEX_NAMES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_OWN_PASSWORD")


@pytest.fixture
def commands(tmp_path: Path, index: LocalIndex) -> Iterator[set[str]]:
    """All command lines that any process of this machine has while the index is asked.

    alpha is a wheel; gamma a source that needs delta to be built, and writes down variables then.
    """
    statement = (
        f"import os; open({str(tmp_path / 'seen')!r}, 'w').write("
        f"str([os.environ.get(name) for name in {NAMES}] + [{SECRET!r} in str(os.environ)]))"
    )
    index.add(
        make_wheel(tmp_path / "w", "alpha"),
        make_wheel(tmp_path / "w", "delta"),
        make_sdist(tmp_path / "w", "gamma", requires=["delta"], statement=statement),
    )
    seen: set[str] = set()

    def look() -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(path.read_text("utf-8", "replace").replace("\0", " "))
            except OSError:
                continue

    index.on_request = look
    yield seen
    assert any(" pip " in command for command in seen), seen
    assert not [command for command in seen if SECRET in command]


def recipe(folder: Path, index: LocalIndex, tool: str) -> Recipe:
    """One whose indexes have passwords in their addresses: its own, and a further one."""
    url = index.url.replace("http://", f"http://me:{SECRET}@")
    more = (
        f"resolve: {{tool: {tool}, index-url: '{url}', extra-index-urls: ['{url}'],\n"
        f"          find-links: ['{url}/delta/']}}\n"
        "build: {from-source: [gamma]}\n"
    )
    return Recipe.load(minimal(folder, requirements=["alpha", "gamma"], runtime=HERE, more=more))


def written(*folders: Path) -> str:
    """The text of all files but the recipe and those that the index serves."""
    files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
    return "".join(
        file.read_text("utf-8", "replace") for file in files if file.name != "recipe.yaml"
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("tool", ["uv", "pip-tools"])
def test_no_password_is_in_arguments_locks_or_logs(  # noqa: PLR0917
    tmp_path: Path,
    index: LocalIndex,
    commands: set[str],
    cache: Cache,
    tool: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in zip(NAMES, ("1", "1", "", "-O1"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CC")
    for name in INDEX_NAMES:
        monkeypatch.setenv(name, index.url.replace("http://", f"http://me:{SECRET}@"))
    chosen = recipe(tmp_path, index, tool)
    lock = make_lock(chosen)
    lines: list[str] = []
    context = BuildContext(
        profile=chosen.profile,
        cache=cache,
        from_source=["gamma"],
        index_options=chosen.index_options,
        on_output=lines.append,
    )
    wheels = LocalBuilder().wheels(lock.requirements, context)
    assert [(wheel.name, wheel.kind) for wheel in wheels] == [
        ("alpha", "wheel"),
        ("gamma", "source"),
    ]
    lock.write(chosen.lock_path)
    assert SECRET not in "\n".join(lines) + written(tmp_path)
    # Credentials of the caller are none of a source's business.
    assert (tmp_path / "seen").read_text() == "[None, None, None, '-O1 -g0', False]"


def test_no_password_is_in_errors(
    tmp_path: Path, index: LocalIndex, commands: set[str], cache: Cache
) -> None:
    statement = "import os; raise SystemExit(os.environ)"
    index.add(make_sdist(tmp_path / "w", "gamma", statement=statement))
    chosen = recipe(tmp_path, index, "uv")
    lock = make_lock(chosen)
    index.add(make_wheel(tmp_path / "2", "alpha", files={"alpha.py": "import evil"}))
    context = BuildContext(
        profile=chosen.profile,
        cache=cache,
        from_source=["gamma"],
        index_options=chosen.index_options,
    )
    for pin in lock.requirements:
        with pytest.raises(LayerpackError) as caught:
            LocalBuilder().wheels([pin], context)
        assert SECRET not in str(caught.value) + written(cache.root)
    index.pages.clear()
    for tool in ("uv", "pip-tools"):
        with pytest.raises(LayerpackError) as caught:
            make_lock(recipe(tmp_path, index, tool))
        assert SECRET not in str(caught.value)


def test_a_password_counts_for_no_digest(tmp_path: Path, index: LocalIndex) -> None:
    """Else the lock would be stale with a new one, and let others try passwords against it."""
    one = recipe(tmp_path / "one", index, "uv")
    text = one.path.read_text().replace(SECRET, "another")
    other = minimal(tmp_path / "two")
    other.write_text(text)
    assert one.resolve.digest_part == Recipe.load(other).resolve.digest_part
