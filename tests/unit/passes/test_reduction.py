"""What is kept of what goes of a library: a digit that changed in the cache never counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerpack.passes.reduction import kept


def test_a_damaged_finding_is_made_anew(tmp_path: Path) -> None:
    made = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"address": 4096}

    def find() -> dict[str, Any]:
        return kept(tmp_path / "reduced", "operators", ["key"], make, read=lambda value: value)

    assert find() == find() == {"address": 4096}
    assert len(made) == 1
    (file,) = (tmp_path / "reduced").iterdir()
    file.write_text(file.read_text().replace("4096", "4097"))
    assert find() == {"address": 4096}
    assert len(made) == 2
