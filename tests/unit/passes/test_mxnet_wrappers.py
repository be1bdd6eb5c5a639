"""Functions of MXNet's operators: the same ones, made once; and MXNet's own wherever in doubt."""

from __future__ import annotations

import json
import marshal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from layerpack.limits import this_machine
from layerpack.passes import mxnet_wrappers as wrappers
from layerpack.passes.api import Edit, PassContext
from layerpack.passes.compile import Compile
from layerpack.passes.mxnet_registers import takes_made
from layerpack.passes.mxnet_wrappers import MxnetWrappers
from layerpack.passes.runner import applied, run_passes
from layerpack.payload import Payload
from tests.support.mxnet_like import mxnet_like
from tests.support.recipes import HERE
from tests.unit.passes.helpers import added, context_in, kept, payload_of

_REGISTERS = ("mxnet/ndarray/register.py", "mxnet/symbol/register.py")
_WRAPPERS = {"mxnet/ndarray/register.wrappers", "mxnet/symbol/register.wrappers"}
#: What MXNet made itself, and all that can be seen of a function, by kind and name.
_SEEN = """
import inspect, json, mxnet, mxnet.base
told = {"own": mxnet.ndarray.register.made_here + mxnet.symbol.register.made_here}
for module in (mxnet.ndarray, mxnet.symbol):
    for name in ("relu", "all", "gelu", "added"):
        function = getattr(module, name, None)
        if function is not None:
            code = function.__code__
            address = [one for one in code.co_consts if isinstance(one, int) and one > 99]
            handle = {n: h.value for h, n in mxnet.base._operators()}
            given = function(1, x=2)
            told[f"{module.__name__}.{name}"] = [
                str(inspect.signature(function)).replace(repr(mxnet.base._Null), "_Null"),
                function.__doc__, function.__module__, function.__qualname__, function.__name__,
                function.__globals__ is module.register.__dict__,
                code.co_name, code.co_code.hex(), code.co_filename, code.co_firstlineno,
                address == [given[0]], given[0] in handle.values(), given[1], given[3:],
                given[2] is mxnet.base._Null,
            ]
print(json.dumps(told))
"""
_NAMES = ["relu", "_contrib_gelu", "_contrib_gelu", "_np_all"] * 2


@dataclass(frozen=True, kw_only=True)
class Case:
    """A payload with something like MXNet, a context to plan in, and what it warned of."""

    payload: Payload
    context: PassContext
    warned: list[str]

    def planned(self) -> list[Edit]:
        return list(MxnetWrappers().plan(self.payload, self.context))

    def with_file(self, folder: Path, path: str, *, old: str, new: str) -> Case:
        """With another text in a file."""
        entry = self.payload[f"python/{path}"]
        text = entry.source.read_text()
        assert text.count(old) == 1
        file = folder / "changed"
        file.write_text(text.replace(old, new))
        changed = self.payload.updated(add=[entry.with_content(file)])
        return replace(self, payload=changed)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str | Path]:
    return mxnet_like(tmp_path_factory.mktemp("library"))


@pytest.fixture
def case(tmp_path: Path, files: Mapping[str, str | Path]) -> Case:
    return _case(tmp_path, files)


def _case(folder: Path, files: Mapping[str, str | Path], **more: Any) -> Case:
    warned: list[str] = []
    context = context_in(folder, interpreter=Path(sys.executable), runtime=HERE, **more)
    return Case(
        payload=payload_of(folder, {"mxnet": files}),
        context=replace(context, warn=warned.append),
        warned=warned,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, str | Path]) -> Path:
    """A tree with functions that were made."""
    folder = tmp_path_factory.mktemp("made")
    case = _case(folder, files)
    edits = case.planned()
    assert case.warned == []
    applied(case.payload, edits).materialise(folder / "opt")
    return folder / "opt/python"


def _seen(site: Path, *options: str, code: str = _SEEN, **variables: str) -> Any:
    run = subprocess.run(
        [sys.executable, "-s", "-S", "-B", *options, "-c", code],
        env={"PYTHONPATH": str(site), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def _own(site: Path, *options: str, **variables: str) -> bool:
    """Whether MXNet makes all functions itself; they must be the same anyway."""
    seen = _seen(site, *options, **variables)
    own = seen.pop("own")
    assert own in ([], _NAMES, [*_NAMES[:3], "added", "_np_all"] * 2)
    assert len(seen) == (8 if "added" in own else 6)
    return bool(own)


def test_the_functions_are_those_that_mxnet_makes(
    tmp_path: Path, made: Path, files: Mapping[str, str | Path]
) -> None:
    payload_of(tmp_path, {"mxnet": files}).materialise(tmp_path / "plain")
    plain, ours = _seen(tmp_path / "plain/python"), _seen(made)
    assert plain.pop("own") == _NAMES
    assert ours.pop("own") == []
    assert ours == plain
    assert len(ours) == 6


def test_what_is_planned(case: Case) -> None:
    edits = case.planned()
    assert set(added(edits)) == _WRAPPERS
    assert {edit.path for edit in edits} == {f"python/{path}" for path in (*_REGISTERS, *_WRAPPERS)}
    entries = added(edits).values()
    assert {entry.distribution for entry in entries} == {"mxnet"}
    run_passes(case.payload, [MxnetWrappers()], case.context)


def test_functions_of_one_form_have_one_code(case: Case) -> None:
    for entry in added(case.planned()).values():
        _, forms, made = marshal.loads(entry.source.read_bytes()[4:])
        form = {name: one[1] for name, one in made.items()}
        assert form["relu"] == form["_contrib_gelu"] != form["_np_all"]
        assert len(forms) == 2


def test_without_mxnet_nothing_is_planned(tmp_path: Path) -> None:
    payload = payload_of(tmp_path, {"alpha": {"alpha/ndarray/register.py": ""}})
    assert list(MxnetWrappers().plan(payload, context_in(tmp_path))) == []


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"OPERATORS": "4"}, id="an operator more"),
        pytest.param({"OPERATORS": "2"}, id="an operator less"),
        pytest.param({"VERSION": "10902"}, id="another version"),
    ],
)
def test_another_library_is_mxnets_own_matter(made: Path, variables: dict[str, str]) -> None:
    if variables.get("OPERATORS") == "2":
        seen = _seen(made, **variables)
        assert seen["own"] == ["relu", "_np_all"] * 2
        assert len(seen) == 5
    else:
        assert _own(made, **variables)
    assert not _own(made)


def test_a_library_elsewhere_is_mxnets_own_matter(tmp_path: Path, made: Path) -> None:
    other = tmp_path / "libmx.so"
    other.write_bytes((made / "mxnet/libmx.so").read_bytes())
    assert _own(made, LIBRARY=str(other))


def test_without_assertions_it_is_mxnets_own_matter(made: Path) -> None:
    assert _own(made, "-O")


@pytest.mark.parametrize("damage", ["gone", "other Python", "short", "other"])
def test_functions_that_cannot_be_read_are_mxnets_own_matter(
    tmp_path: Path, case: Case, damage: str
) -> None:
    applied(case.payload, case.planned()).materialise(tmp_path / "opt")
    for path in _WRAPPERS:
        file = tmp_path / "opt/python" / path
        data = file.read_bytes()
        changed = {
            "other Python": b"\0\0\r\n" + data[4:],
            "short": data[: len(data) // 2],
            "other": data[:4] + b"N",
        }
        file.unlink()
        if damage != "gone":
            file.write_bytes(changed[damage])
    assert _own(tmp_path / "opt/python")


def test_what_is_made_once_more_is_mxnets_own_matter(made: Path) -> None:
    again = (
        "import json, mxnet\n"
        "for module in (mxnet.ndarray, mxnet.symbol):\n"
        "    kind = module.__name__.partition('.')[2]\n"
        "    make = getattr(module.register, f'_make_{kind}_function')\n"
        "    mxnet.base._init_op_module('mxnet', kind, make)\n"
        "print(json.dumps(mxnet.ndarray.register.made_here + mxnet.symbol.register.made_here))\n"
    )
    assert _seen(made, code=again) == ["relu", "_contrib_gelu", "_contrib_gelu"] * 2


def test_the_bytes_are_the_same_every_time(
    tmp_path: Path, files: Mapping[str, str | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for folder in ("a", "b-with-a-longer-name"):
        edits = _case(tmp_path / folder, files).planned()
        results.append({path: entry.sha256 for path, entry in added(edits).items()})
        monkeypatch.setenv("PYTHONHASHSEED", "7")
        monkeypatch.setenv("VERSION", "1")
    assert results[0] == results[1]


def test_what_was_made_is_kept_and_made_anew_where_it_was_damaged(case: Case) -> None:
    first = added(case.planned())
    file = first["mxnet/ndarray/register.wrappers"].source
    at = file.stat().st_mtime_ns
    assert added(case.planned())["mxnet/ndarray/register.wrappers"].source.stat().st_mtime_ns == at
    file.write_bytes(b"damaged")
    assert added(case.planned()) == first


def test_functions_made_in_another_way_stay(tmp_path: Path, case: Case) -> None:
    changed = case.with_file(
        tmp_path, _REGISTERS[1], old="    return symbol_function\n", new="    return local\n"
    )
    assert set(kept(changed.planned())) == set(_REGISTERS)
    assert case.warned == []


def test_a_rewritten_register_is_not_rewritten_again(case: Case) -> None:
    text = case.payload[f"python/{_REGISTERS[0]}"].source.read_text()
    once = takes_made(text, "ndarray")
    assert once is not None
    assert takes_made(once, "ndarray") is None
    assert takes_made(text, "symbol") is None
    assert takes_made("def (", "ndarray") is None


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param(
            "(data=None, alpha=_Null",
            "(data=None, alpha=5",
            "the function relu has other defaults",
            id="other defaults",
        ),
        pytest.param(
            "return _called(%d, data",
            "return _called(%d + 1, data",
            "the function relu is of another form",
            id="an address in a sum",
        ),
        pytest.param(
            "return _called(%d, data",
            "return _called('%d', data",
            "the function relu is of another form",
            id="no address",
        ),
        pytest.param(
            'doc = f"{op_name}, of',
            'doc = f"{op_name} {handle.value}, of',
            "the code of the operator relu is of another kind",
            id="an address in the documentation",
        ),
        pytest.param(
            'doc = f"{op_name}, of',
            'doc = f"{op_name} {len(made_here)}, of',
            "mxnet.ndarray.register has another __doc__ for _contrib_gelu",
            id="another text every time",
        ),
    ],
)
def test_what_cannot_be_made_once_stays_and_is_told(
    tmp_path: Path, case: Case, old: str, new: str, reason: str
) -> None:
    changed = case.with_file(tmp_path, _REGISTERS[0], old=old, new=new)
    found = kept(changed.planned())
    assert found == dict.fromkeys(_REGISTERS, reason)
    assert case.warned == [
        f"MXNet makes its operators' functions at every start ({reason}); set mxnet.wrappers to "
        "false to say so"
    ]


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ("import absent\n", "ModuleNotFoundError: No module named 'absent'"),
        ("import os; os.kill(os.getpid(), 9)\n", "Python ended with signal 9: no message"),
        ("import os; os.write(2, b'no!'); os._exit(3)\n", "Python ended with exit code 3: no!"),
    ],
)
def test_an_import_that_fails_is_told(tmp_path: Path, case: Case, new: str, reason: str) -> None:
    old = "from . import base, ndarray, symbol\n"
    changed = case.with_file(tmp_path, "mxnet/__init__.py", old=old, new=new)
    assert kept(changed.planned()) == dict.fromkeys(_REGISTERS, reason)
    assert len(case.warned) == 1
    # It may have been this machine.
    assert set(added(case.planned())) == _WRAPPERS


def test_who_cannot_import_it_leaves_it(case: Case) -> None:
    python = case.context.profile.python
    alone = replace(case, context=replace(case.context, interpreter=None))
    assert kept(alone.planned()) == dict.fromkeys(
        _REGISTERS, f"no Python {python} here to import MXNet with"
    )
    profile = case.context.profile
    profile = replace(profile, architecture="arm64" if this_machine() == "x86_64" else "x86_64")
    elsewhere = replace(case, context=replace(case.context, profile=profile))
    assert kept(elsewhere.planned()) == dict.fromkeys(
        _REGISTERS, f"MXNet for {profile.machine} cannot be imported here"
    )
    assert case.warned == []


def test_what_the_recipe_keeps_stays(tmp_path: Path, files: Mapping[str, str | Path]) -> None:
    case = _case(tmp_path, files, strip="keep: [mxnet/ndarray/*]")
    assert kept(case.planned()) == dict.fromkeys(_REGISTERS, "kept by strip.keep")


def test_they_take_no_room_from_bytecode_that_a_start_needs(
    tmp_path: Path, files: Mapping[str, str | Path]
) -> None:
    case = _case(tmp_path, files)
    no_room = "the limits leave no room for its functions beside bytecode"
    everything = _after_all(case, 10**9)

    def planned(room: int, *imported: str) -> list[Edit]:
        sources = frozenset(f"python/{path}" for path in imported)
        context = replace(case.context, room=room, imported=sources)
        return replace(case, context=context).planned()

    assert set(added(planned(everything))) == _WRAPPERS
    assert kept(planned(everything - 1)) == dict.fromkeys(_REGISTERS, no_room)
    # Bytecode that no workload needs gives way.
    assert set(added(planned(everything - 1, "mxnet/__init__.py"))) == _WRAPPERS
    assert kept(planned(2**20, "mxnet/__init__.py")) == dict.fromkeys(_REGISTERS, no_room)
    assert kept(planned(-1)) == dict.fromkeys(_REGISTERS, no_room)


def _after_all(case: Case, room: int) -> int:
    """The room that functions, all bytecode and the reserve take."""
    context = replace(case.context, room=room)
    whole = run_passes(case.payload, [MxnetWrappers(), Compile()], context).payload
    return whole.size - case.payload.size + 2**20


def test_without_bytecode_the_limit_alone_counts(
    tmp_path: Path, files: Mapping[str, str | Path]
) -> None:
    case = _case(tmp_path, files, strip="bytecode: none")
    size = applied(case.payload, case.planned()).size - case.payload.size
    exact = replace(case, context=replace(case.context, room=size + 2**20))
    assert set(added(exact.planned())) == _WRAPPERS
    short = replace(case, context=replace(case.context, room=size + 2**20 - 1))
    assert added(short.planned()) == {}


def test_the_worker_ends_whatever_mxnet_leaves_running(tmp_path: Path) -> None:
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet/__init__.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n"
    )
    worker = Path(wrappers.__file__).with_name("mxnet_wrappers_worker.py")
    output = tmp_path / "output.json"
    subprocess.run([sys.executable, worker, "check", output, tmp_path], check=True)
    assert json.loads(output.read_text())["refusal"]
