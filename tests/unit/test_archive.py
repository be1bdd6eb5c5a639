"""Zips: equal bytes for equal input on every machine and day, and sound by other tools' word."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from layerpack.archive import DamagedError, compress_all, member_size, write_zip
from layerpack.errors import LimitError
from layerpack.payload import FileEntry
from tests.support.wheels import sha256

FILES: dict[str, bytes] = {
    "python/alpha/__init__.py": b"",
    "python/alpha/code.py": b"def f():\n    return 1\n" * 40,
    "python/alpha/\u00fcn\u00efcode \u65e5\u672c.txt": "\u00e9".encode(),
    "lib/libnoise.so": random.Random(1).randbytes(100_000),
    "lib/libzeros.so": bytes(300_000),
    "bin/tool": b"#!/bin/sh\necho hello\n",
    "python/alpha/same.py": b"def f():\n    return 1\n" * 40,
}


def entries(folder: Path) -> list[FileEntry]:
    """FILES written below `folder`; what is in bin/ may be run."""
    made = []
    for path, content in FILES.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        made.append(FileEntry.of(file, path, "alpha", executable=path.startswith("bin/")))
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of FILES."""
    folder = tmp_path_factory.mktemp("zip")
    files = entries(folder / "files")
    record = write_zip(folder / "layer.zip", files, compress_all(files, folder / "cache"))
    assert record.path == folder / "layer.zip"
    assert record.sha256 == sha256(record.path)
    assert record.zipped_bytes == record.path.stat().st_size
    assert record.unzipped_bytes == sum(map(len, FILES.values()))
    return record.path


@pytest.mark.tools
def test_unzip_finds_no_fault(made: Path) -> None:
    result = subprocess.run(["unzip", "-tq", str(made)], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("No errors detected")


def test_zipfile_reads_every_member_sorted_dated_and_with_its_mode(made: Path) -> None:
    with zipfile.ZipFile(made) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert archive.namelist() == sorted(FILES)
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            expected = 0o100755 if info.filename == "bin/tool" else 0o100644
            assert info.external_attr >> 16 == expected
            assert info.create_system == 3
            assert not info.extra


@pytest.mark.tools
def test_zipinfo_tells_modes_names_and_methods(made: Path) -> None:
    listing = subprocess.run(
        ["zipinfo", str(made)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout
    lines = {line.split("00:00 ")[-1]: line for line in listing.splitlines() if "80-Jan-01" in line}
    assert set(lines) == set(FILES)
    assert lines["bin/tool"].startswith("-rwxr-xr-x")
    assert lines["python/alpha/code.py"].startswith("-rw-r--r--")
    assert " stor " in lines["lib/libnoise.so"]
    assert " stor " in lines["python/alpha/__init__.py"]
    assert " def" in lines["lib/libzeros.so"]


@pytest.mark.tools
def test_unzip_makes_the_same_tree(made: Path, tmp_path: Path) -> None:
    subprocess.run(["unzip", "-q", str(made), "-d", str(tmp_path)], check=True)
    for path, content in FILES.items():
        assert (tmp_path / path).read_bytes() == content
    assert os.access(tmp_path / "bin/tool", os.X_OK)


def test_bytes_are_equal_from_another_folder_order_day_umask_and_cache(
    made: Path, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        files = entries(tmp_path / "quite" / "elsewhere")
        for number, file in enumerate(files):
            os.utime(file.source, (number * 10_000_000, number * 10_000_000))
        files.reverse()
        record = write_zip(tmp_path / "z.zip", files, compress_all(files, tmp_path / "cache"))
    finally:
        os.umask(before)
    assert record.path.read_bytes() == made.read_bytes()


def test_a_warm_cache_gives_equal_bytes(made: Path, tmp_path: Path) -> None:
    files = entries(tmp_path / "files")
    compress_all(files, tmp_path / "cache")
    for file in files:
        if file.size >= 32 * 1024:
            # Kept: the source is not read again.
            file.source.unlink()
    record = write_zip(tmp_path / "z.zip", files, compress_all(files, tmp_path / "cache"))
    assert record.path.read_bytes() == made.read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "head flipped", "empty", "head only"])
def test_a_damaged_kept_file_is_made_anew(made: Path, tmp_path: Path, damage: str) -> None:
    files = entries(tmp_path / "files")
    cache = tmp_path / "cache"
    compress_all(files, cache)
    kept_files = [path for path in cache.rglob("*") if path.is_file()]
    assert kept_files
    for kept in kept_files:
        data = bytearray(kept.read_bytes())
        if damage.endswith("flipped"):
            data[3 if damage.startswith("head") else len(data) // 2] ^= 1
        keep = {"truncated": len(data) // 2, "empty": 0, "head only": 8}
        kept.write_bytes(data[: keep.get(damage, len(data))])
    record = write_zip(tmp_path / "z.zip", files, compress_all(files, cache))
    assert record.path.read_bytes() == made.read_bytes()


def test_another_files_content_is_not_taken_for_a_kept_one(made: Path, tmp_path: Path) -> None:
    files = entries(tmp_path / "files")
    cache = tmp_path / "cache"
    compress_all(files, cache)
    other = tmp_path / "other"
    other.write_bytes(bytes(range(256)) * 400)
    compress_all([FileEntry.of(other, "other", "alpha")], tmp_path / "others")
    (swapped,) = (path for path in (tmp_path / "others").rglob("*") if path.is_file())
    for kept in [path for path in cache.rglob("*") if path.is_file()]:
        shutil.copyfile(swapped, kept)
    record = write_zip(tmp_path / "z.zip", files, compress_all(files, cache))
    assert record.path.read_bytes() == made.read_bytes()


@pytest.mark.parametrize("name", ["bin/tool", "lib/libzeros.so"])
def test_a_source_that_changed_since_it_was_hashed_is_named(tmp_path: Path, name: str) -> None:
    files = entries(tmp_path / "files")
    (tmp_path / "files" / name).write_bytes(b"something else")
    with pytest.raises(DamagedError) as caught:
        compress_all(files, tmp_path / "cache")
    assert str(caught.value) == (
        f"{tmp_path}/files/{name} changed while the build ran, or before\nBuild again."
    )
    assert caught.value.path == tmp_path / "files" / name


def test_a_members_size_is_known_before_the_zip_is_written(made: Path, tmp_path: Path) -> None:
    files = entries(tmp_path / "files")
    packed = compress_all(files, tmp_path / "cache")
    members = sum(member_size(file, packed[file.sha256]) for file in files)
    # The end record has 22 bytes.
    assert members + 22 == made.stat().st_size


def test_progress_counts_the_bytes_of_different_contents(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    compress_all(
        entries(tmp_path / "files"),
        tmp_path / "cache",
        lambda done, total: seen.append((done, total)),
    )
    total = sum(map(len, set(FILES.values())))
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def test_an_empty_zip_is_a_zip(tmp_path: Path) -> None:
    record = write_zip(tmp_path / "z.zip", [], {})
    assert (record.zipped_bytes, record.unzipped_bytes) == (22, 0)
    with zipfile.ZipFile(record.path) as archive:
        assert archive.namelist() == []


def test_more_members_than_a_zip_can_count_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    one = FileEntry.of(tmp_path / "empty", "x", "alpha")
    many = [
        FileEntry(
            path=f"{number:05}",
            size=0,
            mode=0o644,
            sha256=one.sha256,
            distribution="a",
            source=one.source,
        )
        for number in range(65_536)
    ]
    packed = compress_all([one], tmp_path / "cache")
    record = write_zip(tmp_path / "z.zip", many[1:], packed)
    with zipfile.ZipFile(record.path) as archive:
        assert len(archive.namelist()) == 65_535
    with pytest.raises(LimitError, match="65,536 files"):
        write_zip(tmp_path / "z.zip", many, packed)
