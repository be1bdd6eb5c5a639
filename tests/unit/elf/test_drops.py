"""What is left out of a library: put together, written, told to the pager, and kept as JSON."""

from __future__ import annotations

import json
import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from layerpack.elf import ElfError
from layerpack.elf.drop_table import drop_table
from layerpack.elf.drops import NO_DROPS, Dropped, Drops, Entry, Patch, merged, overwritten, patch
from layerpack.elf.drops_json import from_json, to_json
from layerpack.elf.dynamic import Image
from layerpack.elf.read import read
from tests.support.libraries import make_library, readelf
from tests.support.symbols import symbols


def piece(start: int, end: int, name: str = "", hint: str = "add it") -> Dropped:
    return Dropped(start=start, end=end, name=name, hint=hint)


def entry(vaddr: int, **changes: Any) -> Entry:
    made = Entry(vaddr=vaddr, before="no ", name="name", after=" here", argument=1, steps=2)
    return replace(made, **changes)


#: All that there can be.
WHOLE = Drops(
    dropped=(piece(0x1000, 0x1100, "one"), piece(0x1200, 0x1280, "zwei ü", "another hint")),
    patches=(Patch(vaddr=0x3000, data=b"\x90\x00"), Patch(vaddr=0x3010, data=b"")),
    entries=(entry(0x1200, name="later"), entry(0x1000, before="", argument=0, steps=0)),
    thrower=0x1234567890,
    needs="avx2",
    needs_hint="add 'baseline' to cpu.x86_64 in the recipe",
    probes=(0x1500, 0x1400),
    cleared=((0x5000, 0x5010), (0x5020, 0x5021)),
    laid=(Patch(vaddr=0x1080, data=b"\xc3"),),
)


def test_nothing_is_left_out() -> None:
    assert not NO_DROPS
    assert merged([]) == merged([NO_DROPS, NO_DROPS]) == NO_DROPS
    assert NO_DROPS.size == 0
    for one in (
        Drops(dropped=WHOLE.dropped),
        Drops(patches=WHOLE.patches),
        Drops(needs="avx2"),
        Drops(probes=(1,)),
    ):
        assert one


def test_one_reason_is_what_it_was() -> None:
    assert merged([WHOLE]) == merged([NO_DROPS, WHOLE, NO_DROPS]) == WHOLE
    assert WHOLE.size == 0x180


def test_reasons_come_together_in_the_order_of_addresses() -> None:
    other = Drops(
        dropped=(piece(0x1100, 0x1180, "between"), piece(0x800, 0x900, "before")),
        patches=(Patch(vaddr=0x2000, data=b"x"),),
        entries=(entry(0x1100),),
        thrower=WHOLE.thrower,
        probes=(0x1600,),
        cleared=((0x6000, 0x6001),),
        laid=(Patch(vaddr=0x1100, data=b"y"),),
    )
    both = merged([WHOLE, other])
    assert [one.name for one in both.dropped] == ["before", "one", "between", "zwei ü"]
    assert both.patches == WHOLE.patches + other.patches
    assert both.entries == WHOLE.entries + other.entries
    assert both.thrower == WHOLE.thrower
    assert both.probes == WHOLE.probes + other.probes
    assert both.cleared == WHOLE.cleared + other.cleared
    assert both.laid == WHOLE.laid + other.laid
    assert (both.needs, both.needs_hint) == (WHOLE.needs, WHOLE.needs_hint)


def test_code_that_two_drop_is_told_by_the_first() -> None:
    first = Drops(dropped=(piece(100, 200, "a"), piece(300, 400, "b")))
    for start, end, parts in (
        (0, 100, [(0, 100)]),
        (200, 300, [(200, 300)]),
        (400, 500, [(400, 500)]),
        (100, 200, []),
        (150, 160, []),
        (50, 150, [(50, 100)]),
        (150, 250, [(200, 250)]),
        (150, 350, [(200, 300)]),
        (0, 500, [(0, 100), (200, 300), (400, 500)]),
        (100, 400, [(200, 300)]),
        (399, 401, [(400, 401)]),
    ):
        found = merged([first, Drops(dropped=(piece(start, end, "c"),))]).dropped
        assert [(one.start, one.end) for one in found if one.name == "c"] == parts
        assert [one for one in found if one.name != "c"] == list(first.dropped)
        assert list(found) == sorted(found, key=lambda one: one.start)


def test_many_pieces_against_a_byte_map() -> None:
    for seed in range(50):
        numbers = random.Random(seed)
        told = [""] * 400
        several = []
        for number in range(4):
            bounds = sorted(numbers.sample(range(400), 12))
            pieces = [piece(bounds[i], bounds[i + 1], f"{number}-{i}") for i in range(0, 12, 2)]
            several.append(Drops(dropped=tuple(numbers.sample(pieces, 6))))
            for one in pieces:
                for at in range(one.start, one.end):
                    told[at] = told[at] or one.name
        found = [""] * 400
        for one in merged(several).dropped:
            assert one.start < one.end
            for at in range(one.start, one.end):
                assert not found[at]
                found[at] = one.name
        assert found == told


def test_two_ways_to_throw_contradict() -> None:
    with pytest.raises(ValueError, match="two ways to throw"):
        merged([Drops(thrower=1), Drops(thrower=2)])
    assert merged([Drops(thrower=1), NO_DROPS, Drops(thrower=1)]).thrower == 1
    assert merged([NO_DROPS, Drops(thrower=2)]).thrower == 2


@pytest.mark.parametrize(
    ("one", "other", "needs"),
    [
        *[("avx512", "avx2", "avx512"), ("avx2", "baseline", "avx2"), ("avx2", "", "avx2")],
        *[("baseline", "", "baseline"), ("sve", "neon", "sve"), ("avx2", "avx2", "avx2")],
    ],
)
def test_the_highest_level_of_processor_counts(one: str, other: str, needs: str) -> None:
    both = [Drops(needs=level, needs_hint=f"hint of '{level}'") for level in (one, other)]
    for order in (both, both[::-1]):
        assert (merged(order).needs, merged(order).needs_hint) == (needs, f"hint of '{needs}'")


SOURCE = """
int kept(int x) { return x * 3; }
int gone(int x) { return x * 5 + 1; }
int last(int x) { return x * 7; }
char data[64] = {1};
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_library(tmp_path_factory.mktemp("library") / "libplain.so", source=SOURCE)


def changed(library: Path, drops: Drops, machine: str = "x86_64") -> dict[int, tuple[int, int]]:
    """The bytes that differ, by their addresses: what was there, and what is there now."""
    before = library.read_bytes()
    after = bytearray(before)
    loads = read(memoryview(before)).loads
    overwritten(after, Image(memoryview(before), loads), drops, machine)
    assert len(after) == len(before)
    found = {}
    for at, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            (load,) = (x for x in loads if x.offset <= at < x.offset + x.filesz)
            found[at - load.offset + load.vaddr] = (old, new)
    return found


def test_dropped_code_is_overwritten_and_nothing_else(library: Path) -> None:
    order = [symbols(library)[name] for name in ("kept", "gone", "last")]
    assert [one.end for one in order[:2]] == [one.start for one in order[1:]]
    gone = order[1]
    found = changed(library, Drops(dropped=(piece(gone.start, gone.end),)))
    assert set(found) == set(range(gone.start, gone.end))
    # HLT.
    assert {new for _, new in found.values()} == {0xF4}


@pytest.mark.parametrize("size", [4, 8, 12, 20])
def test_on_aarch64_by_pairs_of_words(library: Path, size: int) -> None:
    start = -(-symbols(library)["kept"].start // 4) * 4
    drops = Drops(dropped=(piece(start, start + size),), cleared=((start + size, start + 24),))
    before = library.read_bytes()
    after = bytearray(before)
    image = Image(memoryview(before), read(memoryview(before)).loads)
    overwritten(after, image, drops, "aarch64")
    at = image.offset(start, size)
    # ADR x16, 0; BR xzr.
    words = struct.unpack(f"<{size // 4}I", after[at : at + size])
    assert words == ((0x10000010, 0xD61F03E0) * size)[: size // 4]
    assert after[at + size : at + 24] == bytes(24 - size)


def test_the_order_of_what_lies_on_one_another(library: Path) -> None:
    """Code that is laid takes the place of what is dropped; a probe is part of what is laid."""
    gone = symbols(library)["gone"]
    drops = Drops(
        patches=(Patch(vaddr=gone.start, data=b"\x01\x02"),),
        dropped=(piece(gone.start, gone.start + 8),),
        cleared=((gone.start + 2, gone.start + 4),),
        laid=(Patch(vaddr=gone.start + 3, data=b"\x05\x06\x07"),),
        probes=(gone.start + 4,),
    )
    found = changed(library, drops)
    now = bytes(found[at][1] for at in range(gone.start, gone.start + 8))
    assert now == b"\xf4\xf4\x00\x05\xf4\x07\xf4\xf4"
    assert set(found) == set(range(gone.start, gone.start + 8))


def test_patches_alone(library: Path, tmp_path: Path) -> None:
    found = symbols(library)
    patches = (
        Patch(vaddr=found["data"].start + 8, data=b"\x07"),
        Patch(vaddr=found["kept"].start, data=b"\xb8\x2a\x00\x00\x00\xc3"),
    )
    drops = Drops(patches=patches, dropped=(piece(found["gone"].start, found["gone"].end),))
    patch(library, tmp_path / "patched", drops)
    assert changed(library, Drops(patches=patches))
    data = bytearray(library.read_bytes())
    image = Image(memoryview(bytes(data)), read(memoryview(bytes(data))).loads)
    for one in patches:
        at = image.offset(one.vaddr, len(one.data))
        data[at : at + len(one.data)] = one.data
    assert (tmp_path / "patched").read_bytes() == data
    assert readelf(tmp_path / "patched", "--syms") == readelf(library, "--syms")


@pytest.mark.parametrize(
    ("drops", "machine", "problem"),
    [
        (Drops(dropped=(piece(0, 0),)), "x86_64", "is no code"),
        (Drops(dropped=(piece(8, 4),)), "x86_64", "is no code"),
        (Drops(dropped=(piece(2, 10),)), "aarch64", "is no code"),
        (Drops(dropped=(piece(4, 10),)), "aarch64", "is no code"),
        (Drops(dropped=(piece(1 << 40, (1 << 40) + 4),)), "x86_64", "nothing is loaded"),
        (Drops(patches=(Patch(vaddr=1 << 40, data=b"x"),)), "x86_64", "nothing is loaded"),
        (Drops(laid=(Patch(vaddr=1 << 40, data=b"x"),)), "x86_64", "nothing is loaded"),
        (Drops(cleared=((0, 1 << 40),)), "x86_64", "nothing is loaded"),
        (Drops(cleared=((8, 4),)), "x86_64", "nothing is loaded"),
        (Drops(probes=(1 << 40,)), "x86_64", "nothing is loaded"),
    ],
)
def test_what_cannot_be_left_out(library: Path, drops: Drops, machine: str, problem: str) -> None:
    with pytest.raises(ElfError, match=problem):
        changed(library, drops, machine)


def described(data: bytes) -> dict[str, Any]:
    """A table as the pager reads it, by the fields of pager/format.h, written down once more."""
    thrower, needs, advice, at, size, raw, zero = struct.unpack_from("<QIIIIII", data)
    table = zstandard.ZstdDecompressor().decompress(data[at : at + size])
    assert (len(table), zero, advice) == (raw, 0, 32)
    assert at % 4 == 0 and len(data) % 4 == 0
    assert not data[at + size :].strip(b"\0") and len(data) - at - size < 4

    def text(offset: int, within: bytes = table) -> str:
        return within[offset : within.index(b"\0", offset)].decode()

    counts = struct.unpack_from("<IIII", table)
    assert counts[3] == 0
    gone, entries, probes = (16, 20, 8)
    first = 16 + gone * counts[0]
    second = first + entries * counts[1]
    rows = {
        "dropped": list(struct.iter_unpack("<IIII", table[16:first])),
        "entries": list(struct.iter_unpack("<IIIIHH", table[first:second])),
        "probes": list(struct.iter_unpack("<II", table[second : second + probes * counts[2]])),
    }
    for some in rows.values():
        assert some == sorted(some)
    return {
        "dropped": [(vaddr, size, text(n), text(a)) for vaddr, size, n, a in rows["dropped"]],
        "entries": [
            (vaddr, text(before), text(name), text(after), argument, steps)
            for vaddr, before, after, name, argument, steps in rows["entries"]
        ],
        "probes": rows["probes"],
        "thrower": thrower,
        "needs": needs,
        "hint": text(advice, data),
    }


def test_the_pager_is_told_all_of_it() -> None:
    assert described(drop_table(WHOLE, b"\x55\x41")) == {
        "dropped": [(0x1000, 0x100, "one", "add it"), (0x1200, 0x80, "zwei ü", "another hint")],
        "entries": [
            (0x1000, "", "name", " here", 0, 0),
            (0x1200, "no ", "later", " here", 1, 2),
        ],
        # With the byte of each, in the order of addresses.
        "probes": [(0x1400, 0x41), (0x1500, 0x55)],
        "thrower": 0x1234567890,
        "needs": 1,
        "hint": "add 'baseline' to cpu.x86_64 in the recipe",
    }


@pytest.mark.parametrize("hint", ["", "a", "ab", "abc", "abcd", "ü" * 999])
def test_texts_of_any_length(hint: str) -> None:
    drops = Drops(needs="sve", needs_hint=hint, dropped=(piece(4, 8, "n" * 5000, hint),))
    found = described(drop_table(drops, b""))
    assert (found["hint"], found["needs"]) == (hint, 3)
    # Names of templates have no end; what is told of them does.
    assert found["dropped"] == [(4, 4, "n" * 120, hint)]


@pytest.mark.parametrize(
    ("level", "number"),
    [("", 0), ("baseline", 0), ("neon", 0), ("avx2", 1), ("avx512", 2), ("sve", 3)],
)
def test_levels_by_their_numbers(level: str, number: int) -> None:
    assert described(drop_table(Drops(needs=level), b""))["needs"] == number


def test_nameless_neighbours_are_told_as_one() -> None:
    pieces = [
        piece(0, 16, "a"),
        piece(16, 32),
        piece(32, 40),
        # Another name, another hint, a gap.
        piece(40, 48, "b"),
        piece(48, 56, hint="other"),
        piece(60, 64, hint="other"),
    ]
    shuffled = tuple(random.Random(1).sample(pieces, len(pieces)))
    assert described(drop_table(Drops(dropped=shuffled), b""))["dropped"] == [
        (0, 40, "a", "add it"),
        (40, 8, "b", "add it"),
        (48, 8, "", "other"),
        (60, 4, "", "other"),
    ]


@pytest.mark.parametrize(
    "drops",
    [
        Drops(dropped=(piece(1 << 32, (1 << 32) + 1),)),
        Drops(dropped=(piece(0, 1 << 32),)),
        Drops(entries=(entry(1 << 32),)),
        Drops(entries=(entry(0, steps=1 << 16),)),
        Drops(probes=(1 << 32,)),
    ],
)
def test_numbers_that_do_not_fit(drops: Drops) -> None:
    with pytest.raises(ElfError, match="too large"):
        drop_table(drops, b"\x00" * len(drops.probes))


def test_it_comes_back_from_json() -> None:
    for drops in (NO_DROPS, WHOLE, merged([WHOLE, Drops(dropped=(piece(0, 4, "", "add it"),))])):
        assert from_json(json.loads(json.dumps(to_json(drops)))) == drops


def test_texts_stand_in_json_once() -> None:
    dropped = tuple(piece(at, at + 4, hint="a hint that is long") for at in range(0, 4000, 4))
    assert json.dumps(to_json(Drops(dropped=dropped))).count("a hint that is long") == 1


@pytest.mark.parametrize("key", to_json(NO_DROPS))
def test_json_that_lacks_something(key: str) -> None:
    value = to_json(WHOLE)
    del value[key]
    with pytest.raises(KeyError):
        from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"dropped": [[1, 2]]},
        {"dropped": [[1, 2, "name", 99]]},
        {"patches": [[1, "no digits"]]},
        {"entries": [1]},
        {"cleared": 5},
        {"texts": []},
    ],
)
def test_json_of_something_else(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, IndexError)):
        from_json(to_json(WHOLE) | change)
