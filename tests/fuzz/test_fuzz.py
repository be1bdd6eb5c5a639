"""libFuzzer on what the pager reads: each target answers all inputs of its corpus, and new ones.

`LAYERPACK_FUZZ_SECONDS=1800 pytest -m fuzz` is the long run. The folder `LAYERPACK_FUZZ_FOUND` gets
the inputs that fail and those that were found beyond the corpus; what fails belongs in the corpus,
with the mend.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.seconds import seconds
from tests.support import clang

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(seconds(15) + 900)]

HERE: Final = Path(__file__).parent
_CHECKS: Final = ("-fno-sanitize-recover=undefined", "-Wall", "-Wextra")
#: zstd is checked for addresses alone: with the rest its compilation takes minutes.
_LIGHTER: Final = ("-fsanitize=fuzzer-no-link,address",)
_PART: Final = ("-fsanitize=fuzzer-no-link,address,undefined", *_CHECKS)
_WHOLE: Final = ("-fsanitize=fuzzer,address,undefined", *_CHECKS)
#: The pager's sources that a target has in itself, or does without.
_WITHOUT: Final = {
    "index": {"registry", "report", "start"},
    "ranges": {"registry", "start"},
    "inflate": set(),
    "filter": {"filter"},
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pager's objects, by their names, with shim.h before each; and zstd's folder."""
    folder = tmp_path_factory.mktemp("parts")
    options = (*_PART, "-include", str(HERE / "shim.h"))
    zstd = clang.decoder(folder)
    made = clang.objects(folder / "objects", clang.sources("start"), zstd, options, _LIGHTER)
    return {**{path.stem: path for path in made}, "zstd": zstd}


@pytest.mark.parametrize("target", sorted(_WITHOUT))
def test_all_inputs_are_answered(target: str, parts: dict[str, Path], tmp_path: Path) -> None:
    program = tmp_path / target
    own = [str(HERE / f"fuzz_{target}.c")]
    if target == "index":
        own = ["-include", str(HERE / "shim.h"), *own]
    else:
        own.append(str(HERE / "shim.c"))
    without = _WITHOUT[target] | {"zstd"}
    others = [str(path) for name, path in parts.items() if name not in without]
    include = (f"-I{clang.SOURCES}", f"-isystem{parts['zstd']}")
    clang.clang(*_WHOLE, *include, *own, *others, "-o", str(program))
    found = Path(os.environ.get("LAYERPACK_FUZZ_FOUND", tmp_path / "found")) / target
    found.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            *(str(program), f"-max_total_time={seconds(15)}", "-timeout=300"),
            *("-rss_limit_mb=3000", f"-artifact_prefix={found}/", "-print_final_stats=1"),
            *(str(found), str(HERE / "corpus" / target)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    executed = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    assert executed and int(executed[0]) > 1000
    print(target, executed[0], re.findall(r"cov: \d+ ft: \d+", done.stderr)[-1])
