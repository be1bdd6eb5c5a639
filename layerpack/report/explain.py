"""Why a file is gone, smaller or still here; and the same for a folder or a pattern. Pure."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from layerpack.errors import UsageError
from layerpack.manifest import FileInventory, FileRecord, Manifest, PagedRecord, RemarkRecord
from layerpack.report.model import RemarkGroup, group_remarks

_MAGIC = re.compile(r"[*?\[]")
_SUGGESTED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class FileExplanation:
    """What became of one file.

    `path` is that in the layer (below /opt) or in the function; `size`, `zipped` and `layer` are
    None where the file is gone; `bytes_before` is its size before the first pass that looked at
    it; `remarks` are in the order that the passes ran; `paged` is that of a library whose code is
    stored compressed.
    """

    path: str
    state: Literal["packed", "removed"]
    distribution: str
    layer: str | None
    bytes_before: int
    size: int | None
    zipped: int | None
    remarks: tuple[RemarkRecord, ...]
    paged: PagedRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShare:
    """The files of a group that lie in one layer, sizes in bytes."""

    layer: str
    files: int
    size: int
    zipped: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupExplanation:
    """What became of all files of a folder or a pattern: what is packed, and what went and why.

    `removed_bytes` are what the removed files had before their first pass; `groups` sum up the
    remarks by pass, action and reason, the largest change first.
    """

    pattern: str
    packed_files: int
    packed_bytes: int
    removed_files: int
    removed_bytes: int
    layers: tuple[LayerShare, ...]
    groups: tuple[RemarkGroup, ...]


Explanation = FileExplanation | GroupExplanation


def explain(
    path: str, manifest: Manifest, inventory: FileInventory
) -> FileExplanation | GroupExplanation:
    """Why `path` is gone, smaller or still here.

    `path` may be as in the layer (`python/numpy/x.py`), below site-packages (`numpy/x.py`), or as
    on Lambda (`/opt/python/...`, `/var/task/...`); a folder; or a pattern, in which `*` and `?`
    stay within a folder, `**` does not, and one without `/` meets names in any folder. For what is
    below a folder that the function package leaves out, that folder is explained.
    Raises UsageError with the nearest spellings where the build never had such a file.
    """
    files = {file.path: file for file in inventory.files}
    remarks: dict[str, list[RemarkRecord]] = defaultdict(list)
    order = {item.name: number for number, item in enumerate(manifest.passes)}
    # sorted() is stable: remarks of passes that the manifest does not list keep their places.
    for remark in sorted(inventory.remarks, key=lambda r: order.get(r.pass_name, len(order))):
        remarks[remark.path].append(remark)
    known = files.keys() | remarks.keys()
    candidates = _candidates(path, manifest)
    below = {
        candidate: [one for one in known if not candidate or one.startswith(f"{candidate}/")]
        for candidate in candidates
    }
    for candidate in candidates:
        # A function's folder that is left out may have files that are not.
        if candidate in known and not below[candidate]:
            return _file(candidate, files.get(candidate), remarks.get(candidate, []))
    for candidate in candidates:
        if below[candidate] or not candidate:
            return _group(f"{candidate}/", below[candidate], files, remarks)
    if _MAGIC.search(path):
        for candidate in candidates:
            pattern = _pattern(candidate)
            matched = [one for one in known if pattern.fullmatch(one)]
            if matched:
                return _group(candidate, matched, files, remarks)
    for above in (str(one) for candidate in candidates for one in PurePosixPath(candidate).parents):
        if above in remarks and above not in files:
            return _file(f"{above}/", None, remarks[above])
    raise _unknown(path, known, manifest)


def _candidates(path: str, manifest: Manifest) -> list[str]:
    """The spellings under which the build may know `path`, most literal first."""
    for root in ("/opt", "/var/task"):
        if path == root or path.startswith(root + "/"):
            path = path.removeprefix(root)
    path = path.removeprefix("./").strip("/")
    if path == ".":
        path = ""
    if not path or (_MAGIC.search(path) and "/" not in path):
        return [path]
    site = f"python/lib/{manifest.runtime}/site-packages"
    # /opt/python/numpy, though this build's distributions lie further down.
    below = path.removeprefix("python/")
    return [path, f"python/{path}", f"{site}/{path}", f"{site}/{below}"]


def _pattern(glob: str) -> re.Pattern[str]:
    """`glob` as an expression for whole paths; a match of a folder takes what is below it."""
    if "/" not in glob:
        glob = f"**/{glob}"
    parts = []
    for piece in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", glob, re.DOTALL):
        if piece == "**/":
            parts.append("(?:.*/)?")
        elif piece == "**":
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        elif len(piece) > 1:
            body = piece[1:-1].replace("\\", "\\\\").replace("^", "\\^").replace("[", "\\[")
            parts.append(f"[^/{body[1:]}]" if body.startswith("!") else f"[{body}]")
        else:
            parts.append(re.escape(piece))
    try:
        return re.compile("".join(parts) + "(?:/.*)?", re.DOTALL)
    except re.error as error:
        raise UsageError(f"'{glob}' is not a pattern: {error}") from None


def _file(path: str, file: FileRecord | None, remarks: list[RemarkRecord]) -> FileExplanation:
    return FileExplanation(
        path=path,
        state="packed" if file else "removed",
        distribution=file.distribution if file else remarks[0].distribution,
        layer=file.layer if file else None,
        bytes_before=_before(file, remarks),
        size=file.size if file else None,
        zipped=file.zipped if file else None,
        remarks=tuple(remarks),
        paged=file.paged if file else None,
    )


def _before(file: FileRecord | None, remarks: list[RemarkRecord]) -> int:
    if remarks:
        return remarks[0].bytes_before
    return file.size if file else 0


def _group(
    pattern: str,
    paths: Iterable[str],
    files: dict[str, FileRecord],
    remarks: dict[str, list[RemarkRecord]],
) -> GroupExplanation:
    paths = sorted(paths)
    packed = [files[path] for path in paths if path in files]
    removed = [path for path in paths if path not in files]
    shares: dict[str, list[FileRecord]] = defaultdict(list)
    for file in packed:
        shares[file.layer].append(file)
    layers = [
        LayerShare(
            layer=layer,
            files=len(held),
            size=sum(file.size for file in held),
            zipped=sum(file.zipped for file in held),
        )
        for layer, held in sorted(shares.items())
    ]
    return GroupExplanation(
        pattern=pattern,
        packed_files=len(packed),
        packed_bytes=sum(file.size for file in packed),
        removed_files=len(removed),
        removed_bytes=sum(_before(None, remarks[path]) for path in removed),
        layers=tuple(layers),
        groups=group_remarks(
            remark for path in (pattern.rstrip("/"), *paths) for remark in remarks.get(path, [])
        ),
    )


def _unknown(path: str, known: Iterable[str], manifest: Manifest) -> UsageError:
    near = _nearest(path, list(known), manifest)
    hint = (
        f"Did you mean {' or '.join(near)}?"
        if near
        else "Paths are as in the layer (python/numpy/...) or below site-packages (numpy/...)."
    )
    return UsageError(f"{manifest.name} never had '{path}'", hint)


def _nearest(path: str, known: list[str], manifest: Manifest) -> list[str]:
    """Up to three known paths or folders spelled like `path`.

    Comparing with every path would be slow in a large build: the search goes down the folders
    that are spelled right, and compares names where the spelling ends.
    """
    name = PurePosixPath(path).name
    same = sorted(one for one in known if one.rpartition("/")[2] == name)
    if same:
        return same[:_SUGGESTED]
    near: list[str] = []
    for candidate in _candidates(path, manifest):
        parts = candidate.split("/")
        depth, below = 0, known
        while depth < len(parts) - 1:
            prefix = "/".join(parts[: depth + 1]) + "/"
            deeper = [one for one in below if one.startswith(prefix)]
            if not deeper:
                break
            depth, below = depth + 1, deeper
        children = {one.split("/")[depth] for one in below if one.count("/") >= depth}
        for match in difflib.get_close_matches(parts[depth], sorted(children), _SUGGESTED):
            spelled = "/".join([*parts[:depth], match, *parts[depth + 1 :]])
            held = any(one == spelled or one.startswith(spelled + "/") for one in below)
            near.append(spelled if held else "/".join([*parts[:depth], match]))
    return list(dict.fromkeys(near))[:_SUGGESTED]
