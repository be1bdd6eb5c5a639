"""The lock: its text, its round trip, what makes it stale and what does not, and damaged ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.errors import ResolveError
from layerpack.lock import Lock, Locked, parse_requirements, resolving_digest
from layerpack.recipe import Recipe
from tests.support.recipes import load, minimal

A, B, C = "a" * 64, "b" * 64, "c" * 64
BODY = f"""\
beta==2.0 \\
    --hash=sha256:{B} \\
    --hash=sha256:{A}
    # via
    #   -r small.in
    #   alpha
alpha-one==1.0 \\
    --hash=sha256:{C}
    # via -r small.in
"""


def lock_of(recipe: Recipe, assets: tuple[str, ...] = ()) -> Lock:
    """A lock for the recipe, with fixed pins."""
    return Lock.make(recipe, BODY, assets)


def test_pins_are_normalised_and_sorted() -> None:
    assert parse_requirements(BODY) == (
        Locked(name="alpha-one", version="1.0", hashes=(C,)),
        Locked(name="beta", version="2.0", hashes=(A, B)),
    )
    assert parse_requirements(BODY)[1].line == f"beta==2.0 --hash=sha256:{A} --hash=sha256:{B}"


def test_names_are_normalised_and_options_left_out() -> None:
    body = f"--index-url https://example.org/simple\n\nAlpha_One==1.0 --hash=sha256:{A} # why\n"
    assert parse_requirements(body) == (Locked(name="alpha-one", version="1.0", hashes=(A,)),)


@pytest.mark.parametrize(
    "line",
    [
        "alpha==1.0",
        f"alpha>=1.0 --hash=sha256:{A}",
        f"alpha --hash=sha256:{A}",
        "alpha==1.0 --hash=sha256:abc",
        "alpha==1.0 \\",
        "<<<<<<< HEAD",
    ],
)
def test_a_line_that_is_no_hashed_pin_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"exact version with a hash|after version|name"):
        parse_requirements(line)


def test_the_text_tells_its_runtime_architecture_and_assets(tmp_path: Path) -> None:
    more = """\
        architecture: arm64
        assets:
          - {name: model, wheel: big-model==3.1}
        """
    lock = lock_of(load(tmp_path, more=more), (f"big-model==3.1 --hash=sha256:{A}\n",))
    lines = lock.text.splitlines()
    assert lines[2:9] == [
        "# layerpack-lock: 1",
        "# runtime: python3.12",
        "# architecture: arm64",
        "# resolver: uv",
        f"# digest: {lock.digest}",
        f"# content: {lock.content}",
        f"# asset big-model==3.1 --hash=sha256:{A}",
    ]
    assert lock.text.endswith("\n\n" + BODY)
    assert str(tmp_path) not in lock.text


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    more = """\
        assets:
          - {name: two, wheel: second==2}
          - {name: one, wheel: first==1.0}
          - {name: other, file: data.bin}
        """
    bodies = (f"second==2 --hash=sha256:{A}\n", f"first==1.0 --hash=sha256:{B} --hash=sha256:{C}\n")
    lock = lock_of(load(tmp_path, more=more), bodies)
    path = tmp_path / "small.lock"
    lock.write(path)
    again = Lock.read(path)
    assert again == replace(lock, recorded=lock.content)
    assert again.text == path.read_text() == lock.text
    assert [pin.name for pin in lock.assets] == ["second", "first"]


def test_the_image_that_it_was_resolved_in_is_kept_and_makes_nothing_stale(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    body = f"alpha==1.0 --hash=sha256:{A}\n"
    image = f"our/build:1@sha256:{B}"
    lock = Lock.make(recipe, body, (), resolver="pip-tools", image=image)
    lock.write(recipe.lock_path)
    again = Lock.read(recipe.lock_path)
    assert again is not None
    assert (again.image, again.resolver, again.stale_reason(recipe)) == (image, "pip-tools", "")
    assert f"# image: {image}\n" in again.text
    assert "# image" not in Lock.make(recipe, body, ()).text


def test_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    lock = lock_of(load(tmp_path))
    path = tmp_path / "small.lock"
    path.write_bytes(lock.text.replace("\n", "\r\n").encode())
    assert Lock.read(path) == replace(lock, recorded=lock.content)


def test_pip_tools_dependencies_of_an_asset_are_no_assets(tmp_path: Path) -> None:
    more = "assets: [{name: model, wheel: Big_Model==1.0}]"
    lock = lock_of(load(tmp_path, more=more), (BODY + f"big-model==1.0 --hash=sha256:{A}\n",))
    assert lock.assets == (Locked(name="big-model", version="1.0", hashes=(A,)),)


def test_there_is_no_lock_where_there_is_no_file(tmp_path: Path) -> None:
    assert Lock.read(tmp_path / "none.lock") is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("# made by another tool\n[[package]]\n", "it is not a lock that layerpack made"),
        ("", "it is empty"),
        (" \n\n", "it is empty"),
        ("# layerpack-lock: 99\n", "a lock of format 99, this layerpack reads 1"),
    ],
    ids=["another tool's", "empty", "blank", "newer"],
)
def test_a_file_that_is_no_lock_of_this_format_is_in_the_way(
    tmp_path: Path, text: str, what: str
) -> None:
    path = tmp_path / "poetry.lock"
    path.write_text(text)
    with pytest.raises(ResolveError) as caught:
        Lock.read(path)
    assert caught.value.message == f"{path} is in the way: {what}"
    # Another tool's file is not for us to remove.
    assert "emove" not in caught.value.hint


CHANGED = "its pins were edited by hand"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            f"alpha-one==1.0 \\\n    --hash=sha256:{C}\n    # via -r small.in\n", "", id="pin gone"
        ),
        pytest.param("alpha-one==1.0", "alpha-one==1.1", id="version"),
        pytest.param(f"sha256:{C}", f"sha256:{A}", id="hash"),
        pytest.param(f" \\\n    --hash=sha256:{A}\n", "\n", id="hash gone"),
        pytest.param("# asset big==1 ", "# asset big==2 ", id="asset"),
    ],
)
def test_pins_that_were_edited_make_a_lock_stale(tmp_path: Path, old: str, new: str) -> None:
    loaded = load(tmp_path, more="assets: [{name: model, wheel: big==1}]")
    text = lock_of(loaded, (f"big==1 --hash=sha256:{B}\n",)).text
    assert text.count(old) == 1
    path = tmp_path / "small.lock"
    path.write_text(text)
    whole = Lock.read(path)
    assert whole is not None
    assert whole.stale_reason(loaded) == ""
    path.write_text(text.replace(old, new))
    edited = Lock.read(path)
    assert edited is not None
    assert edited.stale_reason(loaded) == CHANGED


def test_a_comment_that_was_edited_does_not(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    path = tmp_path / "small.lock"
    path.write_text(lock_of(loaded).text.replace("# via -r small.in", "# reviewed"))
    lock = Lock.read(path)
    assert lock is not None
    assert lock.stale_reason(loaded) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("# digest:", "# digestive:", id="no digest"),
        pytest.param("# content:", "# discontent:", id="no content"),
        pytest.param("alpha-one==1.0", "alpha-one>=1.0", id="no exact version"),
        pytest.param(f" \\\n    --hash=sha256:{C}", "", id="no hash"),
        pytest.param("beta==2.0", "<<<<<<< HEAD\nbeta==2.0", id="merge conflict"),
    ],
)
def test_a_damaged_lock_is_told_with_a_way_out(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "small.lock"
    text = lock_of(load(tmp_path)).text
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ResolveError) as caught:
        Lock.read(path)
    assert caught.value.message.startswith(f"{path} is damaged: ")
    assert caught.value.hint == "Remove it; the next `layerpack lock` makes it anew."


@pytest.mark.parametrize("kind", ["text", "folder", "pipe"])
def test_a_file_that_may_be_another_tools_is_never_to_be_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "small.lock"
    if kind == "text":
        path.write_bytes(b"\xff\xfe\0")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(ResolveError, match=r"small\.lock is in the way: it is not ") as caught:
        Lock.read(path)
    assert "emove" not in caught.value.hint
    assert "give the recipe's file another" in caught.value.hint


def with_keys(folder: Path, text: str) -> Recipe:
    """A recipe of the text, every time in the same file."""
    path = folder / "r.yaml"
    path.write_text(text)
    return Recipe.load(path)


BASE = """\
name: x
runtime: python3.12
requirements: [alpha<2, beta]
resolve: {index-url: 'https://example.org/simple'}
build: {from-source: [beta]}
assets:
  - {name: one, wheel: m==1}
  - {name: two, wheel: n==1}
"""


def test_keys_that_a_recipe_does_not_use_leave_its_digest_as_it_was(tmp_path: Path) -> None:
    """A lock that was made before there were such keys holds."""
    expected = "d701a26dfd3d7cb47ea371ecd0cf516471353511a919d197ea572700a360ffa8"
    assert resolving_digest(with_keys(tmp_path, BASE)) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("alpha<2", "alpha<3"),
        (", beta]", "]"),
        ("python3.12", "python3.11"),
        ("name: x", "name: x\narchitecture: arm64"),
        ("{from-source: [beta]}", "{}"),
        ("m==1", "m==2"),
        ("https://example.org", "https://example.net"),
        ("{index-url:", "{tool: pip-tools, index-url:"),
        ("{index-url:", "{exclude-newer: '2024-01-01', index-url:"),
        ("{index-url:", "{find-links: [wheels], index-url:"),
        ("{index-url:", "{exclude: [gamma], index-url:"),
        ("{index-url:", "{override: [gamma<2], index-url:"),
        ("{index-url:", "{constraints: [gamma<2], index-url:"),
        # The pins of assets stand in the lock in the recipe's order.
        (
            "  - {name: one, wheel: m==1}\n  - {name: two, wheel: n==1}\n",
            "  - {name: two, wheel: n==1}\n  - {name: one, wheel: m==1}\n",
        ),
    ],
)
def test_what_the_resolver_sees_makes_a_lock_stale(tmp_path: Path, old: str, new: str) -> None:
    assert BASE.count(old) == 1
    bodies = (f"m==1 --hash=sha256:{A}\n", f"n==1 --hash=sha256:{A}\n")
    lock = lock_of(with_keys(tmp_path, BASE), bodies)
    assert lock.stale_reason(with_keys(tmp_path, BASE)) == ""
    assert lock.stale_reason(with_keys(tmp_path, BASE.replace(old, new))) != ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: x\n", "name: y\n"),
        ("name: x\n", "name: x\ndescription: another\n"),
        ("name: x\n", "name: x\nstrip: {tests: false, keep: ['a/*']}\n"),
        ("name: x\n", "name: x\nlayers: {max: 1}\n"),
        ("name: x\n", "name: x\nsystem-libraries: none\n"),
        ("name: x\n", "name: x\nfunction: {source: code}\n"),
        ("name: x\n", "name: x\npatches: [{package: a, replace: {pattern: b, with: c}}]\n"),
        ("{name: one, wheel: m==1}", "{name: other, wheel: m==1, prepare: p.py}"),
        ("[alpha<2, beta]", "[beta, 'alpha < 2']"),
        ("[beta]}", "[beta], constraints: [cython<3]}"),
    ],
)
def test_what_the_resolver_does_not_see_leaves_the_lock_valid(
    tmp_path: Path, old: str, new: str
) -> None:
    assert BASE.count(old) == 1
    bodies = (f"m==1 --hash=sha256:{A}\n", f"n==1 --hash=sha256:{A}\n")
    lock = lock_of(with_keys(tmp_path, BASE), bodies)
    assert lock.stale_reason(with_keys(tmp_path, BASE.replace(old, new))) == ""


def test_another_target_is_named_as_the_reason(tmp_path: Path) -> None:
    lock = lock_of(load(tmp_path))
    other = Recipe.load(minimal(tmp_path, runtime="python3.13", more="architecture: arm64"))
    assert lock.stale_reason(other) == (
        "it was made for python3.12 on x86_64, the recipe is for python3.13 on arm64"
    )


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("--index-url https://user:pw@example.org/simple", "--index-url"),
        ("--extra-index-url=https://example.org/simple  # ours", "--extra-index-url"),
        ("-i https://example.org/simple", "-i"),
        ("-ihttps://user:pw@example.org/simple", "-i"),
        ("--find-links wheels", "--find-links"),
        ("-r other.txt", "-r"),
    ],
)
def test_an_option_that_was_added_by_hand_makes_a_lock_stale(
    tmp_path: Path, line: str, option: str
) -> None:
    recipe = load(tmp_path)
    text = lock_of(recipe).text
    for edited in (text + line + "\n", text.replace("\nbeta==", f"\n{line}\nbeta==")):
        recipe.lock_path.write_text(edited)
        lock = Lock.read(recipe.lock_path)
        assert lock is not None
        assert lock.stale_reason(recipe).startswith(f"{option} was added by hand")
        # No password, and nothing of it for the resolver.
        assert "pw" not in lock.stale_reason(recipe)
        assert lock.preferences == "alpha-one==1.0\nbeta==2.0\n"


def test_an_option_of_a_pin_that_was_added_by_hand_makes_a_lock_stale(tmp_path: Path) -> None:
    recipe = load(tmp_path)
    text = lock_of(recipe).text.replace(f"sha256:{C}", f"sha256:{C} --config-settings=a=b")
    recipe.lock_path.write_text(text)
    lock = Lock.read(recipe.lock_path)
    assert lock is not None
    assert lock.stale_reason(recipe).startswith("--config-settings was added by hand")
