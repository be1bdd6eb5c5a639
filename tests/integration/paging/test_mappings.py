"""The pager reads /proc/PID/maps as Linux writes it, and as others do.

The pager's own source is compiled into a program that tells what a file of that form says.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.elf import pager
from tests.support.twins import compile_program, run

LOADER = Path(pager.__file__).with_name("loader.c")
PROGRAM = f"""
#include "{LOADER}"
#include <stdio.h>
int main(int argc, char **argv) {{
    struct maps maps = {{.file = argc == 2 ? open(argv[1], O_RDONLY) : -1}};
    struct mapping one;
    while (read_mapping(&maps, &one))
        printf("%lx-%lx %d %lx %lx %lu\\n", one.start, one.end, one.readable, one.offset,
               one.device, one.inode);
    return maps.file < 0;
}}
"""
LINES = [
    "00400000-00401000 r-xp 00002000 fe:01 17 ",
    "7f0000000000-7f0000001000 ---p 00000000 00:00 0 ",
    "7f0000001000-7f0000003000 rw-p 00001000 fe:01 4711       /opt/a name/lib.so",
]
TOLD = """\
400000-401000 1 2000 fe00000001 17
7f0000000000-7f0000001000 0 0 0 0
7f0000001000-7f0000003000 1 1000 fe00000001 4711
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("mappings") / "program", PROGRAM)


@pytest.mark.parametrize("end", ["\n", " \n"])
@pytest.mark.parametrize("blank", [True, False])
def test_every_line_is_read_whatever_follows_the_inode(
    tmp_path: Path, program: Path, *, blank: bool, end: str
) -> None:
    lines = LINES if blank else [line.rstrip() for line in LINES]
    maps = tmp_path / "maps"
    # More than the pager reads at a time.
    maps.write_text(end.join([*lines * 100, ""]))
    done = run(program, maps, library=program)
    assert (done.code, done.out) == (0, TOLD * 100)


def test_a_last_line_without_an_end_is_read(tmp_path: Path, program: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text("\n".join(line.rstrip() for line in LINES))
    assert run(program, maps, library=program).out == TOLD
