"""Sizes, hashes, the sorted walk, and files that are written aside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from layerpack.units import (
    canonical_json,
    folder_aside,
    human_size,
    is_sealed,
    keep_by_content,
    kept_by_content,
    key_of,
    odd_path,
    parse_size,
    python_files,
    read_checked,
    sealed_folder,
    sha256_bytes,
    sha256_file,
    sorted_walk,
    without_users,
    write_aside,
    write_bytes,
    write_checked,
    write_text,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h/x", "https://****@h/x"),
        ("https://u:p@ss@h/x", "https://****@h/x"),
        ("https://u:p@s'<s>@h:80?y=a@b", "https://****@h:80?y=a@b"),
        ("https://u:p@h#a@b https://t@h\ta@b", "https://****@h#a@b https://****@h\ta@b"),
        ('https://u:p"w"@h', "https://****@h"),
        ("https://u:p/w@h/x", "https://****@h/x"),
        ("https://u:1/w?p@h/x and a@b", "https://u:1/w?p@h/x and a@b"),
        ("https://h:8080/@scope http://[::1]:80/a@b", "https://h:8080/@scope http://[::1]:80/a@b"),
        ('{"url":"https://h","x":"a@b"}', '{"url":"https://h","x":"a@b"}'),
        ('["https://h:80","a@b"]', '["https://h:80","a@b"]'),
        ("https://h/a@b, a@b", "https://h/a@b, a@b"),
    ],
)
def test_users_and_passwords_in_addresses_are_hidden(text: str, shown: str) -> None:
    assert without_users(text) == shown


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (123, 123),
        ("123", 123),
        ("123B", 123),
        ("512 KB", 524_288),
        ("512kB", 524_288),
        ("5MB", 5_242_880),
        (" 250 MiB ", 262_144_000),
        ("1.5GB", 1_610_612_736),
    ],
)
def test_sizes_count_as_lambda_does(text: str | int, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "5 apples", "MB", "-5MB", "5 MB MB", "1e9", "9" * 400 + "MB"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (12_345, "12.3 kB"),
        (153_900_000, "153.9 MB"),
        (262_144_000, "262.1 MB"),
        (2_500_000_000, "2.5 GB"),
        (-1_500_000, "-1.5 MB"),
    ],
)
def test_sizes_are_shown_in_decimal_units(count: int, text: str) -> None:
    assert human_size(count) == text


def test_hashes_are_those_of_sha256sum(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    file = tmp_path / "data"
    file.write_bytes(data)
    oracle = subprocess.run(["sha256sum", str(file)], capture_output=True, text=True, check=True)
    assert oracle.stdout.split()[0] == sha256_file(file) == sha256_bytes(data)


def test_equal_values_give_equal_keys_whatever_their_order() -> None:
    assert canonical_json({"b": 1, "a": ["é", None]}) == '{"a":["é",null],"b":1}'
    assert key_of({"b": 1, "a": 2}, "x") == key_of({"a": 2, "b": 1}, "x")


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of(["a", "bc"]), key_of("abc")}) == 4


def test_the_walk_is_sorted_by_path_and_gives_every_file(tmp_path: Path) -> None:
    for name in ("b/z", "b/a/x", "a.py", "a/y", "Z", "b-/q", "é"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("Z")
    (tmp_path / "folder-link").symlink_to("b")
    walked = [path.as_posix() for path in sorted_walk(tmp_path)]
    # A link to a folder is told, and not followed.
    assert walked == ["Z", "a.py", "a/y", "b-/q", "b/a/x", "b/z", "folder-link", "link", "é"]


def test_a_file_written_aside_has_its_content_and_a_readable_mode(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "deep" / "text", "é\n")
        write_bytes(tmp_path / "bytes", b"\0\1")
    finally:
        os.umask(before)
    assert (tmp_path / "deep/text").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "bytes").read_bytes() == b"\0\1"
    assert (tmp_path / "bytes").stat().st_mode & 0o777 == 0o644


def test_an_error_leaves_the_former_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_text(file, "former")
    with pytest.raises(KeyError), write_aside(file) as aside:
        aside.write_text("half")
        raise KeyError
    assert file.read_text() == "former"
    assert list(tmp_path.iterdir()) == [file]


def test_the_former_file_stands_until_the_new_one_is_complete(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_text(file, "former")
    with write_aside(file) as aside:
        aside.write_text("new")
        assert file.read_text() == "former"
    assert file.read_text() == "new"


def test_a_folder_made_aside_appears_whole(tmp_path: Path) -> None:
    home = tmp_path / "kind" / "key"
    with folder_aside(home, "file") as aside:
        (aside / "file").write_text("content")
        assert not home.exists()
    assert (home / "file").read_text() == "content"
    assert home.stat().st_mode & 0o777 == 0o755
    assert list(home.parent.iterdir()) == [home]


def test_the_folder_that_was_there_first_stays(tmp_path: Path) -> None:
    home = tmp_path / "key"
    with folder_aside(home, "file") as slower:
        (slower / "file").write_text("slower")
        with folder_aside(home, "file") as faster:
            (faster / "file").write_text("faster")
    assert (home / "file").read_text() == "faster"
    assert list(tmp_path.iterdir()) == [home]


def test_a_folder_that_lost_what_makes_it_whole_is_replaced(tmp_path: Path) -> None:
    home = tmp_path / "key"
    home.mkdir()
    (home / "other").write_text("left of a damaged one")
    with folder_aside(home, "file") as aside:
        (aside / "file").write_text("content")
    assert [path.name for path in home.iterdir()] == ["file"]
    assert list(tmp_path.iterdir()) == [home]


def test_a_folder_whose_making_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), folder_aside(tmp_path / "key", "file") as aside:
        (aside / "file").write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folders_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a file")
    with pytest.raises(NotADirectoryError), folder_aside(tmp_path / "key", "file"):
        pass
    assert (tmp_path / "key").read_text() == "a file"


@pytest.mark.parametrize("damage", [b"", b"content?", None])
def test_what_is_kept_by_content_heals(tmp_path: Path, damage: bytes | None) -> None:
    file = keep_by_content(tmp_path, b"content")
    assert (file.name, file.read_bytes()) == (sha256_bytes(b"content"), b"content")
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    assert keep_by_content(tmp_path, b"content") == file
    assert file.read_bytes() == b"content"
    before = file.stat().st_ino
    keep_by_content(tmp_path, b"content")
    assert file.stat().st_ino == before


@pytest.mark.parametrize("name", ["../key", "other", ""])
def test_only_a_file_with_the_hash_of_its_name_is_kept_by_content(
    tmp_path: Path, name: str
) -> None:
    for path in (tmp_path / "key", tmp_path / "folder/other"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"content")
    assert kept_by_content(tmp_path / "folder", name) is None


def test_a_sealed_folder_is_known_whole_and_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "home"

    def make() -> None:
        with sealed_folder(home) as aside:
            (aside / "deep").mkdir()
            (aside / "deep/file").write_text("content")

    def damage(path: Path, text: str) -> None:
        make()
        assert is_sealed(home)
        path.write_text(text)
        assert not is_sealed(home)

    assert not is_sealed(home)
    damage(home / "deep/file", "Content")
    damage(home / "more", "")
    damage(home / "seal", "")
    make()
    (home / "deep/file").unlink()
    assert not is_sealed(home)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("value", [{"a": [1, None, "\u00fc\n"]}, "", [], 7])
def test_a_checked_value_is_read_as_it_was_written_or_not_at_all(
    tmp_path: Path, value: object
) -> None:
    path = tmp_path / "deep/value.json"
    assert read_checked(path) is None
    write_checked(path, value)
    assert read_checked(path) == value
    data = path.read_bytes()
    for number in range(len(data)):
        path.write_bytes(data[:number] + bytes([data[number] ^ 1]) + data[number + 1 :])
        assert read_checked(path) is None


def test_what_is_read_from_the_cache_counts_as_used(tmp_path: Path) -> None:
    """The longest unused entries are the first to go."""
    write_checked(tmp_path / "note", 1)
    kept = keep_by_content(tmp_path, b"x")
    with sealed_folder(tmp_path / "tree") as folder:
        (folder / "file").write_text("x")
    uses: tuple[tuple[Path, Callable[[], bool]], ...] = (
        (tmp_path / "note", lambda: read_checked(tmp_path / "note") == 1),
        (kept, lambda: kept_by_content(tmp_path, kept.name) == kept),
        (tmp_path / "tree", lambda: is_sealed(tmp_path / "tree")),
    )
    for path, used in uses:
        os.utime(path, (0, 0))
        assert used()
        assert path.stat().st_mtime > 0


def test_what_a_layer_cannot_hold_is_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/\u00fc").touch()
    (tmp_path / "deep/link").symlink_to("\u00fc")
    assert odd_path(tmp_path) == ""
    assert odd_path(tmp_path, links=False) == "deep/link is a link"
    for name, make, phrase in (
        ("dead", lambda path: path.symlink_to("nowhere"), "is a link to a folder, or a dead one"),
        ("around", lambda path: path.symlink_to(".."), "is a link to a folder, or a dead one"),
        ("pipe", os.mkfifo, "is neither a file nor a folder"),
    ):
        path = tmp_path / "deep" / name
        make(path)
        assert odd_path(tmp_path) == f"deep/{name} {phrase}"
        path.unlink()
    (tmp_path / os.fsdecode(b"deep/\xff")).touch()
    assert odd_path(tmp_path) == "'deep/\\udcff' has a name that is not UTF-8"


def test_modules_are_those_that_somebody_wrote(tmp_path: Path) -> None:
    for name in (
        *("a.py", "deep/b.py", "deep/data.txt", "site/c.py"),
        *(".hidden/x.py", "__pycache__/x.py", "node_modules/x.py", "lib/site-packages/x.py"),
        *("env/pyvenv.cfg", "env/x.py"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [path.as_posix() for path in python_files(tmp_path)] == [
        "a.py",
        "deep/b.py",
        "site/c.py",
    ]
