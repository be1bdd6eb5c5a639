"""What of the unwinding tables goes with functions: theirs, and no byte of another one's."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerpack.elf.code import Code
from layerpack.elf.drops import Dropped, Drops, overwritten
from layerpack.elf.dynamic import Image
from layerpack.elf.read import read_file
from layerpack.elf.unwinding import unwinding_of
from tests.support.compilers import CXX_MACHINES
from tests.support.libraries import readelf
from tests.support.symbols import symbols
from tests.unit.elf.graphs import library

#: Functions that clean up, catch, only let exceptions pass, or have no table at all.
_SOURCE = """
extern "C" {{
void other(int);
struct Guard {{ int x; ~Guard() {{ other(x); }} }};
{functions}
}}
"""
_KINDS = (
    "int fn{i}(int x) {{ try {{ other(x); }} catch (int &y) {{ return y + {i}; }} return 1; }}",
    "int fn{i}(int x) {{ Guard guard{{x}}; other({i}); return 2; }}",
    "int fn{i}(int x) {{ other(x); other({i}); return 3; }}",
    "int fn{i}(int x) noexcept {{ other(x); return {i}; }}",
    "int fn{i}(int x) {{ return x * {i}; }}",
    """int fn{i}(int x) {{
        try {{ Guard guard{{x}}; other(x + {i}); }}
        catch (const char *) {{ other(5); }} catch (long) {{ return 7; }} catch (...) {{ throw; }}
        return 4;
    }}""",
)
COUNT = 30


def source(first: int = 0) -> str:
    made = (_KINDS[i % len(_KINDS)].format(i=i) for i in range(first, first + COUNT))
    return _SOURCE.format(functions="\n".join(made))


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What readelf tells of a function's entry: its own address, its lines, and its LSDA's
    address."""

    at: int
    lines: tuple[str, ...]
    exceptions: int | None


def section(path: Path, name: str) -> tuple[int, int, int]:
    """A section's address, offset and size."""
    found = re.search(
        rf" {re.escape(name)} +\w+ +([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)",
        readelf(path, "--sections"),
    )
    assert found is not None
    return (int(found[1], 16), int(found[2], 16), int(found[3], 16))


def frames(path: Path) -> dict[int, Frame]:
    """All entries, by the functions' addresses."""
    table = section(path, ".eh_frame")[0]
    found = {}
    # Paragraphs, of which each begins with offset, length, CIE, FDE and the range.
    for paragraph in readelf(path, "--debug-dump=frames").split("\n\n"):
        lines = paragraph.strip().splitlines()
        head = re.match(r"([0-9a-f]+) .* FDE .* pc=([0-9a-f]+)\.\.", lines[0] if lines else "")
        if head is None:
            continue
        data = next((x.partition(":")[2] for x in lines if "Augmentation data:" in x), "")
        at = table + int(head[1], 16)
        distance = int.from_bytes(bytes.fromhex(data), "little", signed=True)
        found[int(head[2], 16)] = Frame(
            at=at, lines=tuple(lines), exceptions=at + 17 + distance if distance else None
        )
    return found


def number(data: bytes, at: int) -> tuple[int, int]:
    """A ULEB128 number, and what is behind it."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def exception_table(path: Path, vaddr: int) -> tuple[int, int]:
    """What an LSDA surely has (Itanium C++ ABI, "Exception Handling Tables"): all up to the types'
    end, or up to the call sites' end where there are no types; as addresses."""
    start, offset, size = section(path, ".gcc_except_table")
    assert start <= vaddr < start + size
    data = path.read_bytes()[offset + vaddr - start : offset + size]
    assert data[0] == 0xFF
    if data[1] != 0xFF:
        length, at = number(data, 2)
        return vaddr, vaddr + at + length
    length, at = number(data, 3)
    return vaddr, vaddr + at + length


def written(path: Path, gone: list[str], target: Path) -> list[tuple[int, int]]:
    """Leave functions out of a library, with what is told of them; gives what is cleared."""
    found = symbols(path)
    cleared = unwinding_of(Code(path), [found[name].start for name in gone])
    assert list(cleared) == sorted(cleared)
    dropped = tuple(
        Dropped(start=found[name].start, end=found[name].end, name=name, hint="") for name in gone
    )
    data = bytearray(path.read_bytes())
    source = read_file(path)
    image = Image(memoryview(bytes(data)), source.loads)
    overwritten(data, image, Drops(dropped=dropped, cleared=cleared), source.machine)
    target.write_bytes(data)
    return list(cleared)


#: clang's pointers to tables are wider for aarch64, which the last test is about.
_BUILDS = [
    pytest.param((*machine.values, level), marks=machine.marks)
    for machine in CXX_MACHINES
    for level in ("-O0", "-O2")
    if machine.values != ("aarch64 zig",)
]


@pytest.fixture(scope="module", params=_BUILDS, ids=" ".join)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine, level = request.param
    path = tmp_path_factory.mktemp("library") / "libtables.so"
    return library(path, source(), level, machine=machine, language="c++")


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_what_is_kept_keeps_all_and_what_goes_loses_its_own(
    made: Path, tmp_path: Path, step: int
) -> None:
    names = [f"fn{i}" for i in range(COUNT)]
    gone = names[::step]
    found = symbols(made)
    before = frames(made)
    target = tmp_path / "reduced.so"
    cleared = written(made, gone, target)
    after = frames(target)
    assert set(after) == set(before)
    starts = {found[name].start for name in gone}
    # A compiler moves what is seldom run to functions of its own, which stay.
    for start, frame in before.items():
        if start not in starts:
            assert after[start] == frame
            if frame.exceptions is not None:
                first, last = exception_table(made, frame.exceptions)
                assert content(target, first, last) == content(made, first, last)
                assert all(end <= first or last <= begin for begin, end in cleared)
            continue
        # Where it is, how far it reaches, and where its table was, is still told; no more.
        told = [line for line in frame.lines[1:] if "Augmentation" in line]
        assert after[start].lines[: 1 + len(told)] == (frame.lines[0], *told)
        rest = after[start].lines[1 + len(told) :]
        assert {line.strip() for line in rest} <= {"DW_CFA_nop"}
        if frame.exceptions is not None:
            first, last = exception_table(made, frame.exceptions)
            assert content(target, first, last) == bytes(last - first)
    assert sum(before[start].exceptions is not None for start in starts) >= 2


def content(path: Path, first: int, last: int) -> bytes:
    """The bytes of a table of exceptions."""
    start, offset, _ = section(path, ".gcc_except_table")
    return path.read_bytes()[offset + first - start : offset + last - start]


def test_nothing_goes_for_what_is_no_function(made: Path) -> None:
    code = Code(made)
    one = symbols(made)["fn0"]
    assert unwinding_of(code, []) == ()
    assert unwinding_of(code, [one.start + 1, one.end + (1 << 30), 0]) == ()
    assert unwinding_of(code, [one.start]) != ()


#: Two functions and one table; in assembler, since compilers make no such thing by themselves.
_SHARED = """
    .text
    .globl one, two, three, __gxx_personality_v0
    .irp name, one, two, three
    .type \\name, @function
\\name:
    .cfi_startproc
    .cfi_personality 0x9b, personality
    .ifc \\name, three
    .cfi_lsda 0x1b, own
    .else
    .cfi_lsda 0x1b, shared
    .endif
    push %rbp
    .cfi_adjust_cfa_offset 8
    pop %rbp
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
    .size \\name, . - \\name
    .endr
    .section .gcc_except_table, "a"
shared: .byte 0xff, 0xff, 0x01, 0x04, 0, 1, 0, 0
own:    .byte 0xff, 0xff, 0x01, 0x04, 0, 2, 0, 0
    .data
    .balign 8
personality: .quad 0
    .section .note.GNU-stack, "", @progbits
"""


def test_a_table_that_two_functions_share_stays(tmp_path: Path) -> None:
    path = tmp_path / "libshared.so"
    command = ["gcc", "-shared", "-nostdlib", "-o", str(path), "-x", "assembler", "-"]
    subprocess.run(command, input=_SHARED, text=True, check=True)
    entries = frames(path)
    found = symbols(path)
    shared, alone, own = (entries[found[n].start].exceptions for n in ("one", "two", "three"))
    assert shared == alone and shared is not None and own == shared + 8
    start, _, size = section(path, ".gcc_except_table")
    tables = {
        name: [x for x in written(path, name.split(), tmp_path / "reduced.so") if x[0] >= start]
        for name in ("one", "two", "one two", "three", "one two three")
    }
    tables = {name: [x for x in extents if x[0] < start + size] for name, extents in tables.items()}
    # Not even where both go: it is rare, and a table is small.
    assert tables == {
        "one": [],
        "two": [],
        "one two": [],
        "three": [(own, own + 8)],
        "one two three": [(own, own + 8)],
    }


@pytest.mark.cxx
@pytest.mark.parametrize("model", ["medium", "large"])
def test_tables_of_another_kind_are_among_others(tmp_path: Path, model: str) -> None:
    """GCC's wider pointers, for the functions of one of two files."""
    parts = []
    for name, first, options in (
        ("small", 0, ["-mcmodel=small"]),
        ("other", COUNT, [f"-mcmodel={model}"]),
        ("last", 2 * COUNT, ["-mcmodel=small"]),
    ):
        parts.append(tmp_path / f"{name}.o")
        command = ["g++", "-c", "-fPIC", "-O1", *options, "-o", str(parts[-1]), "-x", "c++", "-"]
        subprocess.run(command, input=source(first), text=True, check=True)
    path = tmp_path / "libmixed.so"
    subprocess.run(["g++", "-shared", "-o", str(path), *map(str, parts)], check=True)
    _tables_stay(path, tmp_path, 3 * COUNT, pointers={4, 8})


def test_clangs_wider_pointers_are_of_another_kind(tmp_path: Path) -> None:
    path = library(tmp_path / "libwide.so", source(), "-O2", machine="aarch64 zig", language="c++")
    _tables_stay(path, tmp_path, COUNT, pointers={8})


def _tables_stay(path: Path, folder: Path, functions: int, *, pointers: set[int]) -> None:
    """Where the tables of exceptions begin is not known, so none goes; the call frames' own do."""
    widths = re.findall(r"Augmentation data: +((?:[0-9a-f]{2} ?)+)", readelf(path, "-wf"))
    assert {len(bytes.fromhex(one)) for one in widths} >= pointers
    start, _, size = section(path, ".gcc_except_table")
    gone = [f"fn{i}" for i in range(functions)]
    cleared = written(path, gone, folder / "reduced.so")
    assert len(cleared) == len(gone)
    assert all(end <= start or start + size <= begin for begin, end in cleared)
