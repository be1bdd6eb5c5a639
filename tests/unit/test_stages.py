"""Libraries of a machine that is newer than the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.builders.api import BuildContext, SystemLibrary
from layerpack.builders.local import LocalBuilder
from layerpack.cache import Cache
from layerpack.errors import VerificationError
from layerpack.events import Events
from layerpack.lock import Lock
from layerpack.payload import FileEntry, Payload
from layerpack.stages import Stages
from layerpack.system_libraries import check_libraries
from tests.support.libraries import make_library
from tests.support.recipes import load
from tests.unit.test_system_libraries import pretend_libc, user_of


class Machine(LocalBuilder):
    """Builds on a machine whose loader finds one library."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def system_library(self, soname: str, context: BuildContext) -> SystemLibrary | None:
        """The library, under its own name."""
        if soname != self.file.name:
            return None
        return SystemLibrary(path=self.file, origin="this machine", is_hosts=True)


@pytest.mark.parametrize("version", ["GLIBC_2.36", "GLIBC_2.34"])
def test_a_library_of_a_newer_machine_is_not_bundled(
    tmp_path: Path, cache: Cache, version: str
) -> None:
    needed = make_library(tmp_path / "libnew.so.1", soname="libnew.so.1")
    user = make_library(tmp_path / "libuser.so", needs=[needed])
    entry = FileEntry.of(user, "python/a/libuser.so", "alpha")
    (tmp_path / "host").mkdir()
    host = user_of(tmp_path / "host", pretend_libc(tmp_path, version)).rename(
        tmp_path / "libnew.so.1"
    )
    recipe = load(tmp_path)
    lock = Lock.make(recipe, "", ())
    stages = Stages(recipe, lock, Machine(host), cache=cache, events=Events())
    payload, bundled = stages._bundle(Payload([entry]))
    if version == "GLIBC_2.34":
        assert [one.soname for one in bundled] == ["libnew.so.1"]
        return
    assert bundled == ()
    with pytest.raises(VerificationError) as caught:
        check_libraries(payload, recipe.profile, refused=stages.refused)
    assert "libnew.so.1, needed by python/a/libuser.so" in caught.value.message
    assert "the copy of this machine is too new: it needs GLIBC_2.36" in caught.value.message
