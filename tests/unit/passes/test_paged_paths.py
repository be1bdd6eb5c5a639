"""Search paths of rewritten libraries, beside those that a payload has."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.passes.paged_paths import SearchPaths
from tests.support.code import compiled
from tests.unit.passes.helpers import payload_of

LOADS = '#include <dlfcn.h>\nvoid *load(void) { return dlopen("libplug.so", RTLD_NOW); }'


@pytest.mark.parametrize("rpath", [True, False])
def test_who_may_find_others_by_an_inherited_path_keeps_it(tmp_path: Path, rpath: bool) -> None:
    build = tmp_path / "build"
    options = ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/../x.libs"] if rpath else []
    user = compiled(build / "user.so", "int user;", *options)
    loader = compiled(build / "libloader.so", LOADS)
    plug = compiled(build / "libplug.so", "int plug;", "-Wl,-soname,libplug.so")
    needs = compiled(
        build / "needs.so", "extern int plug; int *p = &plug;", f"-L{build}", "-l:libplug.so"
    )
    alone = compiled(build / "alone.so", "int alone;")
    files = {"x/user.so": user, "x/needs.so": needs, "x/alone.so": alone}
    files |= {"x.libs/libloader.so": loader, "x.libs/libplug.so": plug}
    paths = SearchPaths(payload_of(tmp_path, {"x": files}))
    inherits = {name for name in files if paths.inherits_rpath(f"python/{name}")}
    # By what it needs, and by what it loads while it runs.
    assert inherits == ({"x/needs.so", "x.libs/libloader.so"} if rpath else set())
    assert paths.pager_folder("python/x.libs/libplug.so") == "../../lib"
