"""A build's folders as they are on Lambda, unzipped from what would be uploaded."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from layerpack.cache import Cache
from layerpack.errors import UsageError, VerificationError
from layerpack.manifest import FunctionRecord, LayerRecord, Manifest
from layerpack.units import is_sealed, key_of, sealed_folder, sha256_file


@dataclass(frozen=True, kw_only=True, slots=True)
class Trees:
    """The layers, merged in their order, and the function."""

    opt: Path
    task: Path


def unzip_build(folder: Path, manifest: Manifest, cache: Cache) -> Trees:
    """Unzip a build's layers and function into the cache, or find them there.

    Raises UsageError for a build without a function, and what `unzip` raises.
    """
    if manifest.function is None:
        raise UsageError(
            f"{folder} has no function to invoke", "Name its code in the recipe (function.source)."
        )
    # Also where they are unzipped already: what runs is what would be uploaded.
    _check(folder, manifest)
    home = cache.folder("unzipped") / key_of([part.sha256 for part in _parts(manifest)])
    if not is_sealed(home):
        with sealed_folder(home) as aside:
            _unzip_all(folder, manifest, aside)
    return Trees(opt=home / "opt", task=home / "task")


def unzip(folder: Path, manifest: Manifest, home: Path) -> Trees:
    """Unzip a build's layers and function into folders below `home`.

    Raises UsageError for other zips than the manifest tells of, and VerificationError where two
    layers have a file at one path.
    """
    _check(folder, manifest)
    return _unzip_all(folder, manifest, home)


def _check(folder: Path, manifest: Manifest) -> None:
    for part in _parts(manifest):
        path = folder / part.file
        if not path.is_file() or sha256_file(path) != part.sha256:
            raise UsageError(f"{path} is not as it was built", "Build again.")


def _unzip_all(folder: Path, manifest: Manifest, home: Path) -> Trees:
    trees = Trees(opt=home / "opt", task=home / "task")
    trees.opt.mkdir(parents=True)
    trees.task.mkdir()
    owners: dict[str, str] = {}
    for layer in manifest.layers:
        _unzip(folder / layer.file, trees.opt, layer.name, owners)
    if manifest.function is not None:
        _unzip(folder / manifest.function.file, trees.task, "function", {})
    return trees


def _parts(manifest: Manifest) -> list[LayerRecord | FunctionRecord]:
    function = [manifest.function] if manifest.function is not None else []
    return [*manifest.layers, *function]


def _unzip(path: Path, target: Path, name: str, owners: dict[str, str]) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                # A later layer's file would hide an earlier one's.
                other = owners.setdefault(member.filename, name)
                if other != name and not member.is_dir():
                    raise VerificationError(f"{member.filename} is both in {other} and in {name}")
                file = Path(archive.extract(member, target))
                mode = member.external_attr >> 16
                if mode and not member.is_dir():
                    file.chmod(mode & 0o777)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UsageError(f"{path} is damaged: {error}", "Build again.") from None
