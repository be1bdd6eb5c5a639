"""Assets: data for /opt/assets/NAME, from a wheel, a file or a URL, prepared by a script."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from layerpack import process
from layerpack.cache import Cache
from layerpack.child_variables import processor_variables
from layerpack.downloads import UnfitError, receive
from layerpack.errors import BuildToolError, RecipeError, ResolveError
from layerpack.function_package import asset_files, folder_mistakes
from layerpack.interpreters import interpreter_version, require_interpreter
from layerpack.payload import ASSETS, FileEntry, Payload, entries_of
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Asset
from layerpack.units import (
    is_sealed,
    kept_by_content,
    key_of,
    odd_path,
    python_files,
    sealed_folder,
    sha256_bytes,
    sha256_file,
    tree_hash,
    without_users,
)

# Part of the cache's key: another number means that a script may write other bytes.
_VERSION = 2
_OUTPUT = (
    "It gets the folder as its second argument, and leaves plain files with UTF-8 names there."
)
#: Seconds without a byte.
_SILENCE_SECONDS = 60

# Runs a prepare script as the runtime would: only the payload's distributions and the standard
# library on sys.path (the interpreter's own site-packages would hide what the payload lacks), and
# `.pth` files run. Its own folder comes first, as for any script. It ends with the build, even one
# that is killed (prctl(2): PR_SET_PDEATHSIG is 1, and Linux has it).
_BOOTSTRAP = """\
import os, runpy, site, sys
build, folder, packages, script = sys.argv[1:5]
sys.path.remove("")
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
except (ImportError, AttributeError, OSError):
    pass
if os.getppid() != int(build):
    sys.exit(1)
sys.path[:0] = [folder, packages]
site.addsitedir(packages)
sys.argv = [script, *sys.argv[5:]]
runpy.run_path(script, run_name="__main__")
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssetRecord:
    """What an asset came from: a file's name (`dist-1.0.whl`, a URL), its SHA-256, and its
    entries in the payload."""

    name: str
    origin: str
    sha256: str
    entries: tuple[FileEntry, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AssetContext:
    """What making assets needs.

    `payload` is the one whose distributions a prepare script may import (patched, not stripped);
    `wheel(asset)` gives the unpacked files and the wheel's name and SHA-256 of a locked wheel.
    """

    recipe: Recipe
    payload: Payload
    payload_key: str
    cache: Cache
    wheel: Callable[[Asset], tuple[Path, str, str]]
    on_step: Callable[[str], None] = field(default=lambda step: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)


def make_asset(asset: Asset, context: AssetContext) -> AssetRecord:
    """Get an asset's source, prepare it if asked, and give its entries.

    Raises RecipeError for a missing local file or script, ResolveError for a download that fails
    or has another hash, BuildToolError for a script that fails or leaves nothing.
    """
    source, origin, digest = _source(asset, context)
    if asset.sha256 is not None and digest != asset.sha256:
        raise ResolveError(
            f"{context.recipe.path}: assets.{asset.name}: {origin} has the hash sha256:{digest}, "
            f"the recipe says {asset.sha256}",
            "Look into the file before you change the recipe.",
        )
    folder = source
    if asset.prepare is not None:
        folder = _prepared(asset, source, digest, context)
    distribution = f"asset:{asset.name}"
    prefix = f"{ASSETS}/{asset.name}"
    if folder is None:
        raise AssertionError("an asset has a source or is prepared (recipe.Asset)")
    if folder.is_file():
        name = _file_name(asset)
        entries = [FileEntry.of(folder, f"{prefix}/{name}", distribution)]
    else:
        paths = None
        if asset.file is not None and asset.prepare is None:
            paths = asset_files(context.recipe, asset, secrets=False).files
        entries = entries_of(folder, prefix, distribution, paths)
    return AssetRecord(name=asset.name, origin=origin, sha256=digest, entries=tuple(entries))


def _source(asset: Asset, context: AssetContext) -> tuple[Path | None, str, str]:
    """Where the source lies, how to call it, and its SHA-256."""
    if asset.wheel is not None:
        return context.wheel(asset)
    if asset.file is not None:
        path = context.recipe.folder / asset.file
        if path.is_file():
            return path, context.recipe.recorded(asset.file), sha256_file(path)
        if path.is_dir():
            if asset.prepare is None:
                found = asset_files(context.recipe, asset)
                for mistake in folder_mistakes(
                    context.recipe, f"assets.{asset.name}.file", path, found
                ):
                    raise mistake
                return path, context.recipe.recorded(asset.file), tree_hash(path, found.files)
            if odd := odd_path(path):
                raise RecipeError(
                    f"{context.recipe.path}: assets.{asset.name}.file: {path}: {odd}",
                    "A layer holds files and folders with UTF-8 names.",
                )
            return path, context.recipe.recorded(asset.file), tree_hash(path)
        raise RecipeError(f"{context.recipe.path}: assets.{asset.name}.file: {path} does not exist")
    if asset.url is not None and asset.sha256 is not None:
        file = _download(asset, asset.url, asset.sha256, context)
        return file, _shown(asset.url), asset.sha256
    return None, context.recipe.recorded(asset.prepare or ""), sha256_bytes(b"")


def _file_name(asset: Asset) -> str:
    return Path(asset.file or urllib.parse.urlsplit(asset.url or "").path).name


def _shown(url: str) -> str:
    """A URL without its query, which may hold a signature or a token, and without a password."""
    return without_users(urllib.parse.urlsplit(url)._replace(query="", fragment="").geturl())


def _download(asset: Asset, url: str, sha256: str, context: AssetContext) -> Path:
    downloads = context.cache.folder("downloads")
    if (kept := kept_by_content(downloads, sha256)) is not None:
        return kept
    context.on_step(f"downloading the asset {asset.name}")
    where = f"{context.recipe.path}: assets.{asset.name}: {_shown(url)}"
    with context.cache.scratch() as scratch:
        part = scratch / "part"
        try:
            with (
                urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as answer,  # noqa: S310 (recipe.py admits https only)
                part.open("wb") as stream,
            ):
                total = int(answer.headers.get("Content-Length") or 0)
                size = receive(answer, total, stream, context.progress)
        except UnfitError as error:
            raise ResolveError(
                f"{where} {error}",
                "Download it yourself, and name it with `file` instead of `url`.",
            ) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ResolveError(
                f"{where} cannot be downloaded: {reason}",
                "Check the address and the network.",
            ) from None
        digest = sha256_file(part)
        if digest != sha256:
            told = f" (it ended after {size} of {total} bytes)" if size < total else ""
            raise ResolveError(
                f"{where} has the hash sha256:{digest}, the recipe says {sha256}{told}",
                "Look into the file before you change the recipe.",
            )
        part.replace(downloads / sha256)
    return downloads / sha256


def _prepared(asset: Asset, source: Path | None, digest: str, context: AssetContext) -> Path:
    """The folder of a prepare script's output, from the cache where nothing changed."""
    recipe = context.recipe
    script = recipe.folder / (asset.prepare or "")
    if not script.is_file():
        raise RecipeError(f"{recipe.path}: assets.{asset.name}.prepare: {script} does not exist")
    interpreter = require_interpreter(recipe.profile, f"to prepare the asset {asset.name}")
    key = key_of(
        digest,
        asset.prepare,
        # A script may import its neighbours, so all modules below its folder count.
        [(p.as_posix(), sha256_file(script.parent / p)) for p in python_files(script.parent)],
        context.payload_key,
        interpreter_version(interpreter),
        _VERSION,
        # OpenBLAS's results differ from processor to processor. Without these, a key is the same
        # as before they were in it.
        *([processor] if (processor := processor_variables()) else []),
    )
    home = context.cache.folder("assets") / key
    if is_sealed(home):
        return home / "output"
    context.on_step(f"preparing the asset {asset.name} ({asset.prepare})")
    with context.cache.scratch() as scratch, sealed_folder(home) as aside:
        folders = _Folders(
            source=scratch / "source", output=aside / "output", work=scratch / "work"
        )
        for folder in (folders.output, folders.work):
            folder.mkdir()
        if source is not None and source.is_dir():
            # A copy: the script may write into it, and the source is the cache's.
            shutil.copytree(source, folders.source)
        else:
            folders.source.mkdir()
            if source is not None:
                shutil.copyfile(source, folders.source / _file_name(asset))
        opt = scratch / "opt"
        context.payload.materialise(opt)
        _run(script, interpreter, opt, opt / context.payload.site, folders)
    return home / "output"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folders:
    """A prepare script's folders: where its source lies, where its output goes, where it runs."""

    source: Path
    output: Path
    work: Path


def _run(script: Path, interpreter: Path, opt: Path, packages: Path, folders: _Folders) -> None:
    environment = {
        # Not the user's home, caches or settings: the result must not depend on them.
        "HOME": str(folders.work),
        "LD_LIBRARY_PATH": f"{opt}/lib",
    }
    result = process.run(
        [
            *(interpreter, "-s", "-S", "-B", "-c", _BOOTSTRAP),
            *(str(os.getpid()), script.resolve().parent, packages, script.resolve()),
            *(folders.source, folders.output),
        ],
        folder=folders.work,
        environment=environment,
    )
    if result.returncode != 0:
        ended = result.returncode
        ending = f"exit code {ended}" if ended >= 0 else f"signal {-ended}"
        said = result.tail(15)
        raise BuildToolError(
            f"the prepare script {script} failed ({ending})" + (f":\n{said}" if said else ""),
            "It runs as `python SCRIPT SOURCE OUTPUT` with the recipe's distributions importable.",
        )
    if not folders.output.is_dir():
        raise BuildToolError(f"the prepare script {script} removed its output folder", _OUTPUT)
    if odd := odd_path(folders.output, links=False):
        raise BuildToolError(f"the output of the prepare script {script}: {odd}", _OUTPUT)
    if not any(folders.output.iterdir()):
        raise BuildToolError(
            f"the prepare script {script} wrote nothing to its output folder", _OUTPUT
        )
