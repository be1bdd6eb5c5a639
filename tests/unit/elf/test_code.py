"""What code refers to: nothing that runs may be missed, and what is apart stays apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.elf import ElfError
from layerpack.elf.code import Code
from tests.support.compilers import CXX_MACHINES, GCC_MACHINES, MACHINES, processor
from tests.unit.elf.graphs import graph, library
from tests.unit.elf.libraries import debug_library

#: Ways to lead from `root` to `target`, and not to `apart`; @ makes names unique.
_WAYS = {
    "call": "int root@(int x) { return target@(x) + 1; }",
    "tail call": "int root@(int x) { return target@(x); }",
    "address": "void *root@(void) { return target@; }",
    "pointer": "static fn one@ = target@; int root@(int x) { return one@(x); }",
    "exported pointer": "fn one@ = target@; int root@(int x) { return one@(x); }",
    "table": "static fn all@[] = {0, 0, target@}; int root@(int x) { return all@[x](x); }",
    "constant table": """
        static const struct { int n; fn f; } all@[] = {{1, 0}, {2, target@}};
        int root@(int x) { return all@[x].f(all@[x].n); }""",
    "chain": """
        static fn last@ = target@;
        static fn *const middle@[] = {&last@, &last@};
        static fn *const *first@ = middle@;
        int root@(int x) { return (**first@)(x) + (*first@[x])(x); }""",
    "through another": """
        N static int between@(int x) { return target@(x) * 3; }
        int root@(int x) { return between@(x) + 2; }""",
    "labels": """
        int root@(int x) {
            static void *const to[] = {&&a, &&b, &&c};
            goto *to[x];
            a: return 5; b: return target@(x); c: return apart_not@(x);
        }""",
}
_HEAD = """
#define N __attribute__((noipa))
typedef int (*fn)(int);
volatile int sink;
"""
_TARGETS = """
N {kind} int target@(int x) {{ return x * 7 + sink; }}
N static int apart_not@(int x) {{ return x * 3 + sink; }}
N {kind} int apart@(int x) {{ return x * 9 + sink; }}
static fn other@ = apart@;
N int another@(int x) {{ return other@(x) + apart_not@(x); }}
"""
_KINDS = ("static", "", '__attribute__((visibility("hidden")))')


def _ways(kind: str, way: str, number: str) -> str:
    return (_TARGETS.format(kind=kind) + _WAYS[way]).replace("@", number)


#: What decides how a library's references look.
_OPTIONS = {
    "plain": [],
    "no PLT": ["-fno-plt"],
    "bound at once": ["-Wl,-z,now"],
    "branch protection": ["PROTECT"],
    "protected, at once": ["PROTECT", "-Wl,-z,now"],
    "relocations packed": ["-Wl,-z,pack-relative-relocs"],
    "one segment": ["-Wl,-z,noseparate-code"],
    "no relro": ["-Wl,-z,norelro"],
    "for size": ["-Os"],
    "old hash": ["-Wl,--hash-style=sysv"],
}
_PROTECT = {"x86_64": "-fcf-protection=full", "aarch64": "-mbranch-protection=standard"}


def _options(name: str, machine: str) -> list[str]:
    given = [one.replace("PROTECT", _PROTECT[processor(machine)]) for one in _OPTIONS[name]]
    return ["-O2", *given]


#: aarch64's linker of binutils 2.40 packs no relocations; nor does zig's, which has one layout
#: alone, and strips what is compiled for size.
_UNKNOWN = {
    "aarch64": {"relocations packed"},
    "aarch64 zig": {"relocations packed", "one segment", "for size"},
}
_BUILDS = [
    pytest.param(options, *machine.values, marks=machine.marks)
    for options in _OPTIONS
    for machine in MACHINES
    if options not in _UNKNOWN.get(str(machine.values[0]), ())
]


@pytest.mark.parametrize(("options", "machine"), _BUILDS)
def test_every_way_to_a_function(tmp_path: Path, machine: str, options: str) -> None:
    cases = {f"{n}{m}": (k, w) for n, k in enumerate(_KINDS) for m, w in enumerate(_WAYS)}
    source = _HEAD + "".join(_ways(*case, number) for number, case in cases.items())
    found = graph(tmp_path / "a.so", source, *_options(options, machine), machine=machine)
    targets = [f"target{number}" for number in cases]
    aparts = [f"apart{number}" for number in cases]
    for number, case in cases.items():
        reached = found.reached(f"root{number}", among=[*targets, *aparts])
        others = found.reached(f"another{number}", among=aparts)
        if processor(machine) == "aarch64":
            # Data that is not exported hangs together there, and is used as a whole.
            assert f"target{number}" in reached, case
            assert f"apart{number}" in others, case
        else:
            assert reached == {f"target{number}"}, case
            assert others == {f"apart{number}"}, case


_VIRTUAL = """
extern "C" int free_one(int), free_two(int);
struct Base { virtual ~Base() {} virtual int run(int x) = 0; };
struct One : Base { int run(int x) override; };
struct Two : Base { int run(int x) override; };
__attribute__((noipa)) int One::run(int x) { return free_one(x) + 1; }
__attribute__((noipa)) int Two::run(int x) { return free_two(x) + 1; }
extern "C" __attribute__((noipa)) int free_one(int x) { return x * 3; }
extern "C" __attribute__((noipa)) int free_two(int x) { return x * 5; }
extern "C" __attribute__((noipa)) Base *make_one() { return new One; }
extern "C" __attribute__((noipa)) Base *make_two() { return new Two; }
extern "C" __attribute__((noipa)) int call_any(Base *base, int x) { return base->run(x); }
"""


@pytest.mark.parametrize("machine", CXX_MACHINES)
@pytest.mark.parametrize("options", ["-fvisibility=default"])
def test_virtual_functions_come_with_what_makes_their_objects(
    tmp_path: Path, machine: str, options: str
) -> None:
    found = graph(tmp_path / "a.so", _VIRTUAL, "-O2", options, machine=machine, language="c++")
    among = ("free_one", "free_two", "_ZN3One3runEi", "_ZN3Two3runEi")
    assert found.reached("make_one", among=among) == {"free_one", "_ZN3One3runEi"}
    assert found.reached("make_two", among=among) == {"free_two", "_ZN3Two3runEi"}
    assert found.reached("call_any", among=among) == set()


def _switch(cases: int) -> str:
    """A function of many cases, of which some are put aside with what they call."""
    functions = "".join(
        f"N int warm{n}(int x) {{ return x * {n + 3} + sink; }}\n"
        f"N COLD int cold{n}(int x) {{ return x * {n + 5} + sink; }}\n"
        for n in range(cases)
    )
    bodies = "".join(
        f"case {n}: return {'cold' if n % 3 == 2 else 'warm'}{n}(y + {n}) * {n};\n"
        for n in range(cases)
    )
    return (
        "#define N __attribute__((noipa))\n#define COLD __attribute__((cold))\n"
        f"volatile int sink;\n{functions}"
        f"N int root(int x, int y) {{ switch (x) {{ {bodies} default: return y; }} }}\n"
        f"N int other(int x, int y) {{ switch (x) {{ {bodies.replace('warm', 'cold')} }}\n"
        "__builtin_unreachable(); }\n"
    )


@pytest.mark.parametrize("machine", ["x86_64"])
@pytest.mark.parametrize("cases", [6, 40, 300])
def test_jump_tables_lead_into_parts_that_are_put_aside(
    tmp_path: Path, machine: str, cases: int
) -> None:
    options = ("-O2", "-freorder-blocks-and-partition", "-fno-plt")
    found = graph(tmp_path / "a.so", _switch(cases), *options, machine=machine)
    warm = {f"warm{n}" for n in range(cases)}
    cold = {f"cold{n}" for n in range(cases)}
    called = {f"cold{n}" if n % 3 == 2 else f"warm{n}" for n in range(cases)}
    assert found.reached("root", among=warm | cold) == called
    assert found.reached("other", among=warm | cold) == cold
    # There is such a part, or nothing would have been seen.
    assert "root.cold" in found.symbols


_ASSEMBLY = {
    "x86_64": """
        .globl root, target, apart
        .type root, @function
        root: xor %eax, %eax
        {bulk}
        target: inc %eax
        {bulk}
        ret
        apart: {bulk}
        ret
        .p2align 4
    """,
    "aarch64": """
        .globl root, target, apart
        .type root, %function
        root: mov w0, 0
        {bulk}
        target: add w0, w0, 1
        {bulk}
        ret
        apart: {bulk}
        ret
        .p2align 4
    """,
}


@pytest.mark.parametrize("machine", MACHINES)
def test_pieces_without_a_description_go_on_in_the_next(tmp_path: Path, machine: str) -> None:
    text = _ASSEMBLY[processor(machine)].format(bulk="\n".join(["nop"] * 15 + ["nop"]))
    source = f"int described(void) {{ return 5; }} __asm__({_quoted(text)});"
    found = graph(tmp_path / "a.so", source, "-O2", machine=machine)
    assert found.reached("root", among=("target", "apart")) == {"target"}
    assert found.reached("target", among=("root", "apart")) == set()
    assert found.node("root") not in found.code.described
    assert found.node("described") in found.code.described


def _quoted(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


_SMALL = {
    "x86_64": (".p2align 4", "jmp target", "nop"),
    "aarch64": (".p2align 4", "b target", "nop"),
}


@pytest.mark.parametrize("machine", GCC_MACHINES)
@pytest.mark.parametrize("aligned", [True, False])
def test_small_pieces_without_a_description_count(
    tmp_path: Path, machine: str, aligned: bool
) -> None:
    """A jump of a few bytes that was written by hand."""
    align, jump, fill = _SMALL[processor(machine)]
    text = f".text\n{align if aligned else ''}\nbetween: {jump}\n{align if aligned else fill}\n"
    source = f"""
        int target(int x); static int between(int x);
        __attribute__((noipa)) int root(int x) {{
            int y; __asm__ volatile(CALL : "=r"(y)); return y; }}
        __asm__({_quoted(text)});
        __attribute__((noipa, visibility("hidden"))) int target(int x) {{ return x * 3; }}
        __attribute__((noipa)) int apart(int x) {{ return x * 5; }}
    """
    call = '"call between"' if processor(machine) == "x86_64" else '"bl between"'
    options = ("-O2", "-fno-toplevel-reorder", "-falign-functions=1" if not aligned else "-O2")
    found = graph(tmp_path / "a.so", source.replace("CALL", call), *options, machine=machine)
    assert found.reached("root", among=("target", "apart")) == {"target"}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ["", "static "])
def test_what_a_resolver_chooses_is_reached(tmp_path: Path, machine: str, kind: str) -> None:
    source = f"""
        __attribute__((noipa)) static int fast(int x) {{ return x * 3; }}
        __attribute__((noipa)) static int slow(int x) {{ return x * 5; }}
        extern int which;
        static int (*choose(void))(int) {{ return which ? fast : slow; }}
        __attribute__((ifunc("choose"))) {kind}int chosen(int x);
        __attribute__((noipa)) int root(int x) {{ return chosen(x) + 1; }}
        __attribute__((noipa)) int apart(int x) {{ return x; }}
    """
    found = graph(tmp_path / "a.so", source, "-O2", machine=machine)
    assert found.reached("root", among=("fast", "slow", "apart")) == {"fast", "slow"}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", ["-fcf-protection=full", "-fcf-protection=none"])
def test_a_function_that_is_one_jump_is_no_part_of_the_plt(
    tmp_path: Path, machine: str, options: str
) -> None:
    """As the compiler writes a call at the end without a PLT: the same bytes as an entry's."""
    given = ["-O2", "-fno-plt", *([options] if machine == "x86_64" else [])]
    source = """
        int imported(int); int exported(int);
        __attribute__((noipa)) static int passes_on(int x) { return imported(x); }
        __attribute__((noipa)) static int passes_here(int x) { return exported(x); }
        __attribute__((noipa)) int exported(int x) { return x * 3; }
        __attribute__((noipa)) int root(int x) { return passes_on(x) + passes_here(x); }
    """
    found = graph(tmp_path / "a.so", source, *given, machine=machine)
    among = ("passes_on", "passes_here", "exported")
    assert found.reached("root", among=among) == set(among)


def test_references_that_are_cut_are_not_followed_but_calls_are(tmp_path: Path) -> None:
    source = """
        #define N __attribute__((noipa))
        N static int taken(int x) { return x * 3; }
        N static int called(int x) { return x * 5; }
        N static int deep(int x) { return x * 7; }
        N static int both(int x) { return deep(x) + 1; }
        void *kept[3];
        N int root(int x) { kept[0] = taken; kept[1] = both; return called(x) + both(x); }
        N int other(int x) { kept[2] = taken; return x; }
    """
    found = graph(tmp_path / "a.so", source, "-O2")
    among = ("taken", "called", "both", "deep")
    assert found.reached("root", among=among) == set(among)
    cut = [("root", name) for name in ("taken", "called", "both")]
    assert found.reached("root", cut=cut, among=among) == {"called", "both", "deep"}
    assert found.reached("root", "other", cut=cut, among=among) == set(among)


def test_reaching_goes_on_from_what_was_seen(tmp_path: Path) -> None:
    found = graph(tmp_path / "a.so", _HEAD + _ways("static", "call", ""), "-O2")
    code, root, another = found.code, found.node("root"), found.node("another")
    seen = bytearray(code.size)
    first = code.reached_from([root], cut=frozenset(), seen=seen)
    assert set(first) == {number for number in range(code.size) if seen[number]}
    assert found.node("target") in first and found.node("apart") not in first
    again = code.reached_from([root, another], cut=frozenset(), seen=seen)
    assert not set(again) & set(first) and {another, found.node("apart")} <= set(again)
    assert code.reach([another], seen=bytearray(seen)) == seen
    calls = dict(code.edges(root))
    assert calls[found.node("target")] is True
    assert found.node("apart") not in calls


def test_names_and_places(tmp_path: Path) -> None:
    source = "int shown(int x) { return x; } static int hidden(int x) { return x * 2; }"
    source += "int (*uses)(int) = hidden; int use(int x) { return uses(x); }"
    found = graph(tmp_path / "a.so", source, "-O1")
    code = found.code
    function = code.functions[found.node("shown")]
    place = found.symbols["shown"]
    assert (function.start, function.end, function.name) == (place.start, place.end, "shown")
    assert function.size == place.end - place.start
    assert code.functions[found.node("hidden")].name == ""
    assert code.addresses["shown"] == place.start and code.symbols[place.start] == "shown"
    assert code.node(place.end - 1) == found.node("shown")
    assert code.node(found.symbols["uses"].start) in range(len(code.functions), code.size)
    assert code.node(1 << 40) is None and code.node(0) is None
    text = code.section(".text")
    assert text is not None and text.addr <= place.start < text.addr + text.size
    assert code.section(".nothing") is None


def test_libraries_that_cannot_be_told(tmp_path: Path) -> None:
    path = debug_library(tmp_path / "a.so", "-Wl,--no-eh-frame-hdr")
    with pytest.raises(ElfError, match="no table of its functions"):
        Code(path)
    stripped = bytearray(debug_library(tmp_path / "b.so").read_bytes())
    stripped[40:48] = bytes(8)
    stripped[60:64] = bytes(4)
    (tmp_path / "c.so").write_bytes(stripped)
    with pytest.raises(ElfError, match="no section headers"):
        Code(tmp_path / "c.so")


def test_progress_is_told(tmp_path: Path) -> None:
    path = library(
        tmp_path / "a.so", "".join(f"int f{n}(void) {{ return {n}; }}\n" for n in range(2500))
    )
    steps: list[tuple[int, int]] = []
    code = Code(path, progress=lambda done, total: steps.append((done, total)))
    total = len(code.functions)
    assert steps == [(0, total), (1000, total), (2000, total)]
