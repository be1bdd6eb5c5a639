"""Downloading locked wheels through pip, so that its configuration, proxies and credentials hold.

pip picks the best wheel among those whose hash is locked. Which one it picked is kept as a note,
so that a build with a warm cache asks no index.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.tags import Tag, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from layerpack import process
from layerpack.builders.api import BuildContext, WheelFile
from layerpack.cache import Cache
from layerpack.child_variables import tool_variables
from layerpack.errors import BuildToolError, LayerpackError, ResolveError
from layerpack.indexes import pip_indexes, runner
from layerpack.limits import RuntimeProfile
from layerpack.lock import Locked
from layerpack.units import folder_aside, sha256_file, touch

# Downloads wait for the network, and pip takes one file at a time.
_PARALLEL = 4
_DISK_FULL = os.strerror(errno.ENOSPC)
# Before what pip tells at length, such as a transfer that ended early.
_CROSS = "\u00d7 "
_HASH = re.compile(r"[0-9a-f]{64}")
_NO_MATCH = re.compile(r"No matching distribution found|Could not find a version")


def supported_tags(profile: RuntimeProfile) -> list[Tag]:
    """The wheel tags that the runtime accepts, best first."""
    version = profile.python_version
    tags = list(cpython_tags(version, platforms=profile.wheel_platforms))
    pythons = [f"py{version[0]}{minor}" for minor in range(version[1], -1, -1)]
    pythons.insert(1, f"py{version[0]}")
    for python in pythons:
        tags += [Tag(python, "none", platform) for platform in profile.wheel_platforms]
    tags.append(Tag(f"cp{version[0]}{version[1]}", "none", "any"))
    tags += [Tag(python, "none", "any") for python in pythons]
    return tags


def cached_wheel(pin: Locked, context: BuildContext) -> WheelFile | None:
    """The wheel that pip picked for this pin and target before, if it is still in the cache.

    It is checked against the lock each time: a wheel of the index by its own hash, one that was
    built by that of its source. A damaged file is dropped, and fetched anew.
    """
    note = context.cache.read_note("choices", *_note_key(pin, context))
    choice = _choice(note, pin, may_build=pin.name in context.from_source)
    if choice is None:
        return None
    path = context.cache.folder("wheels") / choice.sha256 / choice.file
    if not path.is_file():
        return None
    if sha256_file(path) != choice.sha256:
        shutil.rmtree(path.parent, ignore_errors=True)
        return None
    touch(path.parent)
    return WheelFile(
        name=pin.name,
        version=pin.version,
        path=path,
        sha256=choice.sha256,
        kind=choice.kind,
        origin_sha256=choice.origin_sha256,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    """The note on the wheel that stands for a pin: its file's name and hash, and its origin's."""

    file: str
    sha256: str
    kind: Literal["wheel", "source"]
    origin_sha256: str


def _choice(note: Any, pin: Locked, *, may_build: bool) -> _Choice | None:
    """A note as the lock bears it out; None for one that is not."""
    try:
        choice = _Choice(**note)
        name, version, _ = wheel_name(Path(choice.file))
    except (TypeError, ResolveError):
        return None
    if (name, Version(version)) != (pin.name, Version(pin.version)):
        return None
    if Path(choice.file).name != choice.file or not _HASH.fullmatch(choice.sha256):
        return None
    if choice.origin_sha256 not in pin.hashes:
        return None
    is_locked = choice.kind == "wheel" and choice.sha256 == choice.origin_sha256
    return choice if is_locked or (choice.kind == "source" and may_build) else None


def remember(pin: Locked, wheel: WheelFile, context: BuildContext) -> None:
    """Note which wheel stands for the pin on this target."""
    choice = _Choice(
        file=wheel.path.name,
        sha256=wheel.sha256,
        kind=wheel.kind,
        origin_sha256=wheel.origin_sha256,
    )
    context.cache.write_note(asdict(choice), "choices", *_note_key(pin, context))


def _note_key(pin: Locked, context: BuildContext) -> tuple[object, ...]:
    target = (context.profile.runtime, context.profile.architecture)
    if pin.name not in context.from_source:
        return (pin.line, *target, [])
    built = (pin.line, *target, sorted(context.constraints))
    # Each stands there only where it is used: what older keys name is still right.
    further = (context.toolchain, sorted(context.environment.items()))
    return (*built, *(one for one in further if one))


def store_wheel(cache: Cache, file: Path, sha256: str) -> Path:
    """Move a wheel into the cache under its hash; returns its place there."""
    home = cache.folder("wheels") / sha256
    kept = home / file.name
    if home.is_dir() and not (kept.is_file() and sha256_file(kept) == sha256):
        shutil.rmtree(home, ignore_errors=True)
    with folder_aside(home, file.name) as folder:
        file.rename(folder / file.name)
    return kept


def download(pins: Sequence[Locked], context: BuildContext) -> dict[str, WheelFile]:
    """Download a wheel for each pin; returns them by name.

    Raises ResolveError with the pin's name, and nothing is kept of a file with a wrong hash.
    """
    groups = [list(pins[start::_PARALLEL]) for start in range(min(_PARALLEL, len(pins)))]
    done = 0

    def saved(line: str) -> None:
        nonlocal done
        if line.startswith("Saved "):
            done += 1
            context.progress(done, len(pins))

    found: dict[str, WheelFile] = {}
    with context.cache.scratch() as scratch, ThreadPoolExecutor(_PARALLEL) as pool:
        jobs = [
            pool.submit(_download_group, group, scratch / str(number), context, saved)
            for number, group in enumerate(groups)
        ]
        errors: list[LayerpackError] = []
        for job in jobs:
            try:
                found |= job.result()
            except LayerpackError as error:
                errors.append(error)
        if errors:
            raise errors[0]
    return found


def _download_group(
    pins: Sequence[Locked], folder: Path, context: BuildContext, on_line: Callable[[str], None]
) -> dict[str, WheelFile]:
    folder.mkdir()
    listing = folder / "requirements.txt"
    listing.write_text("\n".join(pin.line for pin in pins) + "\n", encoding="utf-8")
    result = runner(pip_indexes, tool_variables)(
        [
            *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--require-hashes"),
            *("--only-binary", ":all:", "--no-cache-dir", "--no-input", "--progress-bar", "off"),
            *("--disable-pip-version-check", "--dest", folder, "--requirement", listing),
            *_target_options(context.profile),
            *context.index_options,
        ],
        on_line=on_line,
    )
    if result.returncode != 0:
        raise download_error(pins, result, context.profile)
    files = sorted(folder.glob("*.whl"))
    return {wheel.name: wheel for wheel in (_accept(file, pins, context) for file in files)}


def _target_options(profile: RuntimeProfile) -> list[str]:
    version = profile.python_version
    options = ["--python-version", profile.python, "--implementation", "cp"]
    # pip adds abi3 and none to the named ABI by itself.
    options += ["--abi", f"cp{version[0]}{version[1]}"]
    for platform in profile.wheel_platforms:
        options += ["--platform", platform]
    return options


def _accept(file: Path, pins: Sequence[Locked], context: BuildContext) -> WheelFile:
    """Check a downloaded wheel against the lock and the target, and move it into the cache."""
    name, version, tags = wheel_name(file)
    pin = next((pin for pin in pins if pin.name == name), None)
    digest = sha256_file(file)
    if pin is None or digest not in pin.hashes:
        raise ResolveError(
            f"{file.name} has the hash sha256:{digest}, which is not in the lock",
            "The index serves another file than was locked. Look into it before you run "
            "`layerpack lock` again.",
        )
    if not tags & set(supported_tags(context.profile)):
        raise ResolveError(
            f"{file.name} is not for {context.profile.runtime} on {context.profile.architecture}"
        )
    path = store_wheel(context.cache, file, digest)
    wheel = WheelFile(
        name=name, version=version, path=path, sha256=digest, kind="wheel", origin_sha256=digest
    )
    remember(pin, wheel, context)
    return wheel


def wheel_name(file: Path) -> tuple[str, str, frozenset[Tag]]:
    """A wheel's normalised name, version and tags, from its file name (PEP 427)."""
    try:
        name, version, _, tags = parse_wheel_filename(file.name)
    except InvalidWheelFilename as error:
        raise ResolveError(f"{file.name} is not a wheel: {error}") from None
    return str(canonicalize_name(name)), str(version), tags


class NoWheelError(ResolveError):
    """A locked distribution (`pin`, where it is known) has no wheel for the target."""

    def __init__(self, message: str, hint: str = "", pin: Locked | None = None) -> None:
        super().__init__(message, hint)
        self.pin = pin


def download_error(
    pins: Sequence[Locked], result: process.Result, profile: RuntimeProfile
) -> ResolveError | BuildToolError:
    """What pip's failure means for the user."""
    text = result.errors
    named = next(
        (
            pin
            for pin in pins
            if re.search(rf"(?<![\w.-]){re.escape(pin.name)}==", text.replace("_", "-"))
        ),
        pins[0] if len(pins) == 1 else None,
    )
    who = f"{named.name}=={named.version}" if named else ", ".join(pin.name for pin in pins)
    if "DO NOT MATCH THE HASHES" in text:
        got = re.search(r"Got\s+([0-9a-f]{64})", text)
        return ResolveError(
            f"{who}: the downloaded file's hash {got[1] if got else ''} is not in the lock",
            "The index serves another file than was locked, or the download was damaged. Look "
            "into it before you run `layerpack lock` again.",
        )
    if _DISK_FULL in text:
        return BuildToolError(
            f"downloading {who} failed: {_DISK_FULL}",
            "Free some space, or choose another --cache-dir.",
        )
    if _NO_MATCH.search(text):
        return NoWheelError(
            f"{who} has no wheel for {profile.runtime} on {profile.architecture} "
            f"(glibc {'.'.join(map(str, profile.glibc))}) among the locked files",
            f"Add '{named.name if named else who}' to the recipe's build.from-source, or choose "
            "another version.",
            named,
        )
    wanted = [
        line.removeprefix(_CROSS)
        for line in text.splitlines()
        if line.startswith(("ERROR", _CROSS))
    ]
    detail = "\n".join(wanted[-3:]) or result.tail(4)
    return ResolveError(f"downloading {who} failed: {detail}", "Check the network and the index.")
