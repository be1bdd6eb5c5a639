"""Unpacking wheels: laid out as pip would, refused where they are damaged or hostile."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from layerpack.builders.api import WheelFile
from layerpack.builders.unpack import payload_of, unpack
from layerpack.cache import Cache
from layerpack.errors import ResolveError
from layerpack.payload import Payload
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
    """The payload of wheels that do not collide."""
    payload, collisions = payload_of(wheels, cache, "python3.12")
    assert collisions == ()
    return payload


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
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--no-compile", "--target", str(target), str(path)),
        ],
        check=True,
    )
    theirs = {
        f"python/{one.relative_to(target).as_posix()}"
        for one in target.rglob("*")
        if one.is_file() and ".dist-info/" not in one.as_posix()
    }
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
    wheel.path.unlink()
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


def test_two_distributions_with_one_different_file_are_refused(
    tmp_path: Path, cache: Cache
) -> None:
    with pytest.raises(ResolveError) as caught:
        two(tmp_path, cache, {"alpha/__init__.py": "VERSION = 'other'\n"})
    assert str(caught.value) == (
        "alpha and beta both bring alpha/__init__.py, with different content\n"
        "They cannot be installed together; leave one of them out."
    )


@pytest.mark.parametrize("path", ["tests/__init__.py", "docs/conf.py", "README.md", "LICENSE"])
def test_what_only_a_project_was_to_have_at_its_top_is_told_and_the_first_stays(
    tmp_path: Path, cache: Cache, path: str
) -> None:
    wheels = [
        wheel_file(make_wheel(tmp_path, name, files={f"{name}.py": "", path: name}))
        for name in ("alpha", "beta")
    ]
    payload, collisions = payload_of(wheels, cache, "python3.12")
    assert collisions == (f"alpha and beta both bring {path}: the first one's stays",)
    entry = payload[f"python/{path}"]
    assert (entry.distribution, entry.source.read_text()) == ("alpha", "alpha")
    assert "python/beta.py" in payload


@pytest.mark.parametrize("path", ["alpha/tests/x.py", "alpha/README.md", "setup.py", "readme.py"])
def test_what_a_distribution_needs_must_not_differ(tmp_path: Path, cache: Cache, path: str) -> None:
    wheels = [
        wheel_file(make_wheel(tmp_path, name, files={f"{name}.py": "", path: name}))
        for name in ("alpha", "beta")
    ]
    with pytest.raises(ResolveError, match=f"alpha and beta both bring {path}, with different"):
        payload_of(wheels, cache, "python3.12")


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


def test_a_wheel_without_metadata_is_damaged(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "alpha-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("alpha/__init__.py", "")
    assert f"{path.name} is damaged: " in refusal(path, cache)


def test_files_that_record_does_not_list_are_damage(tmp_path: Path, cache: Cache) -> None:
    path = make_wheel(tmp_path, "alpha")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(3):
            archive.writestr(f"alpha/smuggled{number}.py", "")
    assert refusal(path, cache).startswith(
        "alpha-1.0-py3-none-any.whl is damaged: alpha/smuggled0.py is not mentioned in RECORD "
        "(and 2 more)\n"
    )


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
