"""How long a trial's programs may run."""

from __future__ import annotations

import time
from pathlib import Path

from layerpack.cache import Cache
from layerpack.emulator.trees import Trees
from layerpack.events import Events
from layerpack.isolation import Isolator
from layerpack.trial import Trial
from tests.support.recipes import HERE, load

#: What a module may take where nothing bounds the search.
_UNBOUNDED = 60.0


def test_modules_are_tried_no_longer_than_the_search_lasts(
    tmp_path: Path, emulator_cache: Cache
) -> None:
    for name in ("opt/python", "code"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "opt/python/alpha.py").write_text("")
    (tmp_path / "opt/python/hangs.py").write_text("while True: pass\n")
    recipe, events = load(tmp_path, runtime=HERE), Events()
    isolator = Isolator("namespaces", recipe.profile, events, emulator_cache, must_cut=False)
    trial = Trial(recipe, cache=emulator_cache, events=events, scratch=tmp_path, isolator=isolator)
    trees = Trees(opt=tmp_path / "opt", task=tmp_path / "code")
    assert trial.failing(trees, ["alpha"]) == {}
    started = time.monotonic()
    trial.until = started + 2
    assert trial.failing(trees, ["hangs"]).keys() == {"hangs"}
    assert time.monotonic() - started < _UNBOUNDED
