"""Files and folders that a user names for output: what the system refuses is one message."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from layerpack.errors import BuildToolError, LayerpackError, UsageError
from layerpack.units import sha256_bytes, write_text

# Before the SHA-256 of all that stands above it.
_SEAL = "# Written by layerpack, and replaced by it while unedited: "
_SPACE = (errno.ENOSPC, errno.EDQUOT)
# What may be mended without another path: space, rights, a mount's options, a disk.
_OF_THE_MACHINE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO),
        *(errno.EACCES, errno.EPERM, errno.EROFS),
    }
)


def output_error(path: Path, error: OSError, option: str = "--output") -> LayerpackError:
    """The error for an output at `path` that `option` names: of the machine, or of usage."""
    reason = error.strerror or str(error)
    at = error.filename2 or error.filename
    where = f"{at}: " if at and str(at) != str(path) else ""
    kind = BuildToolError if error.errno in _OF_THE_MACHINE else UsageError
    first = "Free some space, or choose" if error.errno in _SPACE else "Choose"
    return kind(f"{path} cannot be written: {where}{reason}", f"{first} another {option}.")


def sealed(text: str) -> str:
    """A text in a language whose comments begin with `#`, and a last line that tells whether a user
    has edited it since."""
    return f"{text}{_SEAL}{sha256_bytes(text.encode())}\n"


def _is_edited(content: bytes) -> bool:
    """Whether a file is not as `sealed` made it; ends of lines may be another system's."""
    text, _, digest = content.replace(b"\r\n", b"\n").rpartition(_SEAL.encode())
    return digest.decode(errors="replace") != f"{sha256_bytes(text)}\n"


def write_output(path: Path, text: str, option: str, *, mark: str, is_sealed: bool = False) -> None:
    """Write a file that the user named by `option`, through links, aside and then renamed.

    It replaces an empty file, or one that holds the `mark` of all such files; where these are
    `sealed`, only one that nobody has edited since. A pipe or a device is written to as it is.
    Raises UsageError for any other file and for a path that no file can have, BuildToolError for
    one that the machine refuses: rights, space.
    """
    try:
        if path.is_dir():
            raise UsageError(f"{option} {path} is a folder", f"Name a file for {option}.")
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            # Of a link the target is replaced.
            target = Path(os.path.realpath(path))
            if target.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            former = target.read_bytes() if target.exists() else b""
            if former and mark.encode() not in former:
                raise UsageError(
                    f"{option} {path} is a file that layerpack did not write",
                    f"Choose another {option}, or remove the file.",
                )
            if is_sealed and former not in (b"", text.encode()) and _is_edited(former):
                raise UsageError(
                    f"{option} {path} may have been edited since layerpack wrote it",
                    f"Choose another {option} and bring the edits there, or remove the file.",
                )
            write_text(target, text)
    except OSError as error:
        raise output_error(path, error, option) from None
