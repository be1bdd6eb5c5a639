"""Unpacking wheels: laid out as pip would, refused where they are damaged or hostile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from layerpack.builders.api import WheelFile
from layerpack.builders.unpack import payload_of, unpack
from layerpack.cache import Cache
from layerpack.errors import ResolveError
from layerpack.payload import Payload
from layerpack.units import key_of
from tests.support.wheels import make_wheel, sha256, symlink_member


def wheel_file(path: Path) -> WheelFile:
    """The wheel as a builder gives it."""
    name, version, *_ = path.name.split("-")
    digest = sha256(path)
    return WheelFile(
        name=name.replace("_", "-"),
        version=version,
        path=path,
        sha256=digest,
        kind="wheel",
        origin_sha256=digest,
    )


def plain(wheels: Sequence[WheelFile], cache: Cache) -> Payload:
    """The payload of wheels of which there is nothing to report."""
    laid = payload_of(wheels, cache, "python3.12")
    assert laid.warnings == laid.notes == ()
    return laid.payload


def pip_installs(path: Path, target: Path) -> set[str]:
    """What pip makes of a wheel: the paths below the folder `target`."""
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(path)], check=True)
    return {one.relative_to(target).as_posix() for one in target.rglob("*") if one.is_file()}


def _rewrite(path: Path, members: Mapping[str, str | None]) -> None:
    """Give members of a wheel other content, or leave them out."""
    with zipfile.ZipFile(path) as archive:
        content = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in content.items():
            text = members.get(info.filename, data)
            if text is not None:
                archive.writestr(info, text)


def _change_record(path: Path, change: Callable[[str], str]) -> None:
    with zipfile.ZipFile(path) as archive:
        name = next(one for one in archive.namelist() if one.endswith("/RECORD"))
        text = archive.read(name).decode()
    _rewrite(path, {name: change(text)})


def refusal(path: Path, cache: Cache) -> str:
    """Why the wheel is not unpacked; nothing of it is kept."""
    with pytest.raises(ResolveError) as caught:
        unpack(wheel_file(path), cache)
    assert list(cache.folder("unpacked").iterdir()) == []
    return str(caught.value)


def test_a_wheel_is_laid_out_as_pip_does(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(
        tmp_path,
        "alpha",
        files={
            "alpha/__init__.py": "x = 1\n",
            "alpha/\u00fcber.txt": "text",
            "alpha-1.0.data/purelib/alpha/pure.py": "",
            "alpha-1.0.data/platlib/alpha/plat.py": "",
            "alpha-1.0.data/data/share/alpha/table.csv": "1,2\n",
            "alpha-1.0.data/scripts/alpha-run": "#!python\nprint('run')\n",
            "alpha-1.0.data/headers/alpha.h": "int x;\n",
        },
        executable=["alpha-1.0.data/scripts/alpha-run"],
    )
    files = {entry.path: entry for entry in plain([wheel_file(path)], cache)}
    own = {name for name in files if ".dist-info/" not in name}
    assert own == {
        "python/alpha/__init__.py",
        "python/alpha/plat.py",
        "python/alpha/pure.py",
        "python/alpha/\u00fcber.txt",
        "python/bin/alpha-run",
        "python/include/alpha.h",
        "python/share/alpha/table.csv",
    }
    assert files["python/bin/alpha-run"].mode == 0o755
    assert files["python/bin/alpha-run"].source.read_text().startswith("#!/var/lang/bin/python3")
    # pip lays out the same files, save its own notes and a header's folder.
    target = tmp_path / "pip"
    theirs = {f"python/{one}" for one in pip_installs(path, target) if ".dist-info/" not in one}
    assert {name for name in theirs if "include" not in name} == {
        name for name in own if "include" not in name
    }
    for name in theirs & own - {"python/bin/alpha-run"}:
        assert files[name].sha256 == sha256(target / name.removeprefix("python/"))


def test_entry_points_and_metadata_stay(tmp_path: Path, cache: Cache) -> None:
    files = {
        "alpha/__init__.py": "def main(): ...\n",
        "alpha-1.0.dist-info/entry_points.txt": "[console_scripts]\nalpha = alpha:main\n",
    }
    path = make_wheel(tmp_path, "alpha", files=files)
    payload = plain([wheel_file(path)], cache)
    assert "python/alpha-1.0.dist-info/entry_points.txt" in payload
    assert "python/alpha-1.0.dist-info/METADATA" in payload
    assert payload["python/bin/alpha"].mode == 0o755


def test_bytecode_in_a_wheel_is_left_out(tmp_path: Path, cache: Cache) -> None:
    files: dict[str, str | bytes] = {
        "alpha/__init__.py": "",
        "alpha/__pycache__/__init__.cpython-312.pyc": b"\0",
    }
    payload = plain([wheel_file(make_wheel(tmp_path, "alpha", files=files))], cache)
    assert not [entry.path for entry in payload if entry.path.endswith(".pyc")]


def test_an_executable_member_keeps_its_mode(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(
        tmp_path, "alpha", files={"alpha/tool": "x", "alpha/data": "y"}, executable=["alpha/tool"]
    )
    payload = plain([wheel_file(path)], cache)
    assert payload["python/alpha/tool"].mode == 0o755
    assert payload["python/alpha/data"].mode == 0o644


def test_the_second_time_nothing_is_unpacked(tmp_path: Path, cache: Cache) -> None:
    wheel = wheel_file(make_wheel(tmp_path, "alpha"))
    first = unpack(wheel, cache)
    before = first.files.stat().st_ino
    assert unpack(wheel, cache) == first
    assert first.files.stat().st_ino == before


def changed(home: Path, index: list[list[Any]]) -> None:
    """Give an unpacked wheel another note, as whoever changes its files could."""
    value = json.loads((home / "index.json").read_text())
    value |= {"files": index, "key": key_of(index, value["unlisted"])}
    (home / "index.json").write_text(json.dumps(value))


FORGED = {
    "content": ("alpha/__init__.py", "0"),
    "one more": ("sitecustomize.py", "0"),
    "a path that leads out": ("../../out.py", "0"),
    "an absolute path": ("/tmp/layerpack-out.py", "0"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_tree_with_a_note_to_match_is_held_against_the_wheel(
    tmp_path: Path, cache: Cache, name: str
) -> None:
    wheel = wheel_file(
        make_wheel(
            tmp_path / "w",
            "alpha",
            files={
                "alpha/__init__.py": "1",
                "alpha-1.0.data/scripts/run": "#!python\n",
                "alpha-1.0.data/data/share/x": "x",
                "alpha-1.0.data/headers/a.h": "h",
                "alpha-1.0.dist-info/entry_points.txt": "[console_scripts]\nmade = alpha:f\n",
            },
        )
    )
    first = unpack(wheel, cache)
    home = first.files.parent
    before = home.stat().st_ino
    assert unpack(wheel, cache) == first
    assert home.stat().st_ino == before
    path, text = FORGED[name]
    target = first.files / path
    if not path.startswith("/"):
        target.write_text(text)
    digest = sha256(target) if target.exists() else "0" * 64
    index = [list(one) for one in first.index if one[0] != path]
    changed(home, [*index, [path, len(text), 0o644, digest]])
    assert unpack(wheel, cache) == first
    assert (first.files / "alpha/__init__.py").read_text() == "1"


def test_one_that_is_gone_with_its_note_is_unpacked_again(tmp_path: Path, cache: Cache) -> None:
    wheel = wheel_file(make_wheel(tmp_path / "w", "alpha", files={"a.py": "1", "b.py": "2"}))
    first = unpack(wheel, cache)
    (first.files / "b.py").unlink()
    changed(first.files.parent, [list(one) for one in first.index if one[0] != "b.py"])
    assert unpack(wheel, cache) == first


def test_the_index_is_measured(tmp_path: Path, cache: Cache) -> None:
    unpacked = unpack(wheel_file(make_wheel(tmp_path, "alpha")), cache)
    for path, size, _mode, digest in unpacked.index:
        assert (unpacked.files / path).stat().st_size == size
        assert sha256(unpacked.files / path) == digest


def two(tmp_path: Path, cache: Cache, files: dict[str, str | bytes]) -> Payload:
    """The payload of a plain distribution and one with the files."""
    wheels = [make_wheel(tmp_path, "alpha"), make_wheel(tmp_path, "beta", files=files)]
    return plain([wheel_file(path) for path in wheels], cache)


def test_a_pth_file_moves_all_to_where_lambda_runs_it(tmp_path: Path, cache: Cache) -> None:
    payload = two(tmp_path, cache, {"beta.pth": "import sys\n", "beta.py": ""})
    site = "python/lib/python3.12/site-packages"
    assert payload.site == site
    assert f"{site}/beta.pth" in payload
    assert f"{site}/alpha/__init__.py" in payload
    assert all(entry.path.startswith(f"{site}/") for entry in payload)


def test_a_pth_file_in_a_package_moves_nothing(tmp_path: Path, cache: Cache) -> None:
    payload = two(tmp_path, cache, {"beta/model.pth": "weights"})
    assert payload.site == "python"


def test_two_distributions_with_one_equal_file_are_not(tmp_path: Path, cache: Cache) -> None:
    payload = two(tmp_path, cache, {"alpha/__init__.py": "VERSION = '1.0'\n", "beta.py": ""})
    assert payload["python/alpha/__init__.py"].distribution == "alpha"


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("../evil.py", "leads out of its folder"),
        ("alpha/../../evil.py", "leads out of its folder"),
        ("/evil.py", "has an absolute or foreign path"),
        ("C:/evil.py", "has an absolute or foreign path"),
        ("alpha\\..\\evil.py", "has an absolute or foreign path"),
        ("alpha/__init__.py", "stands there twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_would_not_stay_in_its_folder_is_refused(
    tmp_path: Path, cache: Cache, member: str, problem: str
) -> None:
    path = make_wheel(tmp_path / "w", "alpha", extra=[(member, b"evil")])
    text = refusal(path, cache)
    assert text == (
        f"{path.name} is not safe to unpack: its member '{member}' {problem}\n"
        "No sound build tool makes such a wheel. Do not use it."
    )
    assert not list(tmp_path.rglob("evil.py"))


def test_a_symbolic_link_is_refused(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha", extra=[(symlink_member("alpha/link"), b"/etc/passwd")])
    assert "its member 'alpha/link' is a symbolic link" in refusal(path, cache)


def test_a_device_is_refused(tmp_path: Path, cache: Cache) -> None:
    info = zipfile.ZipInfo("alpha/fifo")
    info.external_attr = 0o010644 << 16
    path = make_wheel(tmp_path, "alpha", extra=[(info, b"")])
    assert "is neither a file nor a folder" in refusal(path, cache)


def test_a_member_that_claims_too_much_is_refused(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("alpha/bomb", b"small")
        # The central directory, written last, tells what is claimed here.
        archive.infolist()[-1].file_size = 5 * 2**30
    assert "its member 'alpha/bomb' claims 5368709120 bytes" in refusal(path, cache)


@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_a_truncated_wheel_is_damaged(tmp_path: Path, cache: Cache, keep: int) -> None:
    path = make_wheel(tmp_path, "alpha")
    path.write_bytes(path.read_bytes()[:keep])
    text = refusal(path, cache)
    assert text.startswith(f"{path.name} is damaged: ")
    assert text.endswith("\nRemove it from the cache or the index, and build again.")


def test_a_member_with_another_checksum_is_damaged(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha", files={"alpha/noise": bytes(range(256))})
    data = bytearray(path.read_bytes())
    # The first member's data begin after its header and name.
    at = 30 + len("alpha/noise") + 40
    data[at] ^= 0xFF
    path.write_bytes(data)
    assert f"{path.name} is damaged: " in refusal(path, cache)


def _encrypt(path: Path) -> None:
    """Set the flag of encryption (APPNOTE.TXT 4.4.4) of a wheel's first member."""
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def _break_lzma(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("alpha/more.py", "x = 1\n" * 5000)
        offset = archive.getinfo("alpha/more.py").header_offset
    data = bytearray(path.read_bytes())
    # After the header and name: LZMA's version, the length of its properties, and these.
    data[offset + 30 + len("alpha/more.py") + 4] = 0xFF
    path.write_bytes(data)


def _long_field(path: Path) -> None:
    _change_record(path, lambda text: f"{'a' * 200_000},,\n{text}")


@pytest.mark.parametrize("damage", [_encrypt, _break_lzma, _long_field])
def test_each_kind_of_malformed_member_is_damage(
    tmp_path: Path, cache: Cache, damage: Callable[[Path], None]
) -> None:
    path = make_wheel(tmp_path, "alpha")
    damage(path)
    assert path.name in refusal(path, cache)


def test_a_wheel_without_metadata_is_damaged(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "alpha-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("alpha/__init__.py", "")
    assert f"{path.name} is damaged: " in refusal(path, cache)


def test_members_that_record_lacks_are_installed_as_pip_does(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(3):
            archive.writestr(f"alpha/extra{number}.py", "")
    extra = {f"alpha/extra{number}.py" for number in range(3)}
    laid = payload_of([wheel_file(path)], cache, "python3.12")
    assert extra <= {laid.payload.in_site(entry.path) for entry in laid.payload}
    assert extra <= pip_installs(path, tmp_path / "pip")
    (note,) = laid.notes
    assert all(word in note for word in (path.name, "RECORD", "3 ", "alpha/extra0.py"))
    # The cache says so again.
    assert payload_of([wheel_file(path)], cache, "python3.12").notes == laid.notes


def test_one_member_that_record_lacks_is_told_alone(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("alpha/extra.py", "")
    (note,) = payload_of([wheel_file(path)], cache, "python3.12").notes
    assert "lacks 1 of its files (alpha/extra.py); it is installed" in note


def test_files_that_record_lists_may_be_missing(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha")
    _change_record(path, lambda text: f"alpha/gone.py,sha256=abc,3\n/alpha/odd.py\n{text}")
    payload = plain([wheel_file(path)], cache)
    assert "python/alpha/__init__.py" in payload
    assert "alpha/__init__.py" in pip_installs(path, tmp_path / "pip")


@pytest.mark.parametrize("member", ["alpha/code.py", "alpha-1.0.data/scripts/run"])
def test_a_member_with_another_hash_than_record_lists_is_damaged(
    tmp_path: Path, cache: Cache, member: str
) -> None:
    path = make_wheel(tmp_path, "alpha", files={member: "#!python\nprint(1)\n"})
    digest = "sha256=" + "A" * 43
    _change_record(path, lambda text: re.sub(f"({member}),sha256=[^,]*", rf"\1,{digest}", text))
    text = refusal(path, cache)
    assert path.name in text
    assert member in text


def test_a_wheel_without_record_is_damaged(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha")
    _rewrite(path, {"alpha-1.0.dist-info/RECORD": None})
    assert "RECORD" in refusal(path, cache)


@pytest.mark.parametrize("text", ["[console_scripts]\nalpha = alpha\n", "no section\n"])
def test_malformed_entry_points_are_damage(tmp_path: Path, cache: Cache, text: str) -> None:
    files = {"alpha.py": "", "alpha-1.0.dist-info/entry_points.txt": text}
    path = make_wheel(tmp_path, "alpha", files=files)
    assert "entry_points.txt" in refusal(path, cache)


def test_scripts_are_executable_whatever_their_mode_in_the_wheel(
    tmp_path: Path, cache: Cache
) -> None:
    files = {
        f"alpha-1.0.data/scripts/{name}": f"#!{interpreter}\n"
        for name, interpreter in (("run", "python"), ("run.sh", "/bin/sh"))
    }
    path = make_wheel(tmp_path, "alpha", files={"alpha.py": "", **files})
    payload = plain([wheel_file(path)], cache)
    assert [payload[f"python/bin/{name}"].mode for name in ("run", "run.sh")] == [0o755] * 2


def test_entry_points_replace_scripts_of_their_names(tmp_path: Path, cache: Cache) -> None:
    files = {
        "alpha.py": "def main(): ...\n",
        "alpha-1.0.dist-info/entry_points.txt": "[console_scripts]\nalpha = alpha:main\n",
        "alpha-1.0.data/scripts/alpha": "#!python\n# an older tool's wrapper\n",
    }
    path = make_wheel(tmp_path, "alpha", files=files)
    payload = plain([wheel_file(path)], cache)
    assert "older" not in payload["python/bin/alpha"].source.read_text()
    assert "bin/alpha" in pip_installs(path, tmp_path / "pip")
    assert "older" not in (tmp_path / "pip/bin/alpha").read_text()


def test_any_folder_that_ends_in_data_holds_data(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha", files={"Alpha-1.0.0.data/purelib/alpha.py": "x = 1\n"})
    assert "python/alpha.py" in plain([wheel_file(path)], cache)
    assert "alpha.py" in pip_installs(path, tmp_path / "pip")


def test_a_compressed_member_that_is_damaged_is_told(tmp_path: Path, cache: Cache) -> None:
    text = "".join(f"value_{number} = {number}\n" for number in range(2000))
    path = make_wheel(tmp_path, "alpha", files={"alpha/big.py": text})
    data = bytearray(path.read_bytes())
    for at in range(100, 140):
        data[at] ^= 0xFF
    path.write_bytes(data)
    assert refusal(path, cache).startswith("alpha-1.0-py3-none-any.whl is damaged: ")


def test_two_members_for_one_path_are_refused(tmp_path: Path, cache: Cache) -> None:
    files = {"alpha/a.py": "1", "alpha-1.0.data/purelib/alpha/a.py": "2"}
    path = make_wheel(tmp_path, "alpha", files=files)
    assert f"{path.name} has two members for one path" in refusal(path, cache)
