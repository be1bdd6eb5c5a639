"""Programs that nothing calls go; whatever code may call stays."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.passes.programs import Programs
from layerpack.payload import FileEntry, Payload
from tests.support.libraries import make_library
from tests.unit.passes.helpers import Tree, context_in, kept, payload_of, removed

_CALLS = "subprocess.run([os.path.join(HERE, 'bin', 'manager')])"


@pytest.fixture(scope="module")
def program() -> Path:
    """A program of this machine."""
    return Path(shutil.which("true") or "/bin/true").resolve()


def _payload(folder: Path, tree: Tree) -> Payload:
    """The payload, in which what lies in `bin` may be run."""
    made = payload_of(folder, tree)
    return Payload(replace(one, mode=0o755) if "/bin/" in one.path else one for one in made)


def _plan(
    folder: Path,
    program: Path,
    code: str = _CALLS,
    more: Mapping[str, str | bytes | Path] | None = None,
) -> tuple[set[str], dict[str, str]]:
    """What is removed and kept of `bin/manager`, `bin/protoc` and `bin/test_api`."""
    tree: Tree = {
        "alpha": {
            "alpha/__init__.py": f"HERE = os.path.dirname(__file__)\n{code}\n",
            **{f"alpha/bin/{name}": program for name in ("manager", "protoc", "test_api")},
            **{f"alpha/{path}": content for path, content in (more or {}).items()},
        }
    }
    edits = list(Programs().plan(_payload(folder, tree), context_in(folder)))
    return removed(edits), kept(edits)


def test_programs_that_nothing_names_go(tmp_path: Path, program: Path) -> None:
    more: dict[str, str | bytes | Path] = {
        "notes.py": '"""As protoc and test_api do."""\n# protoc\nX = "protoc_version"\n',
        "libalpha.so": make_library(tmp_path / "x.so", source='const char *a = "protoc";'),
        "bin/script": "#!/bin/sh\n",
    }
    gone, stay = _plan(tmp_path, program, more=more)
    assert gone == {"alpha/bin/protoc", "alpha/bin/test_api"}
    assert "alpha/__init__.py" in stay["alpha/bin/manager"]


@pytest.mark.parametrize(
    "code",
    [
        "os.execv(f'{HERE}/bin/protoc', [])",
        "NAMES = {'linux': 'protoc'}",
        "COMMAND = 'protoc --version'",
        "PROTOC = BIN + '/protoc'",
        "run(b'bin/protoc')",
    ],
)
def test_what_code_names_stays(tmp_path: Path, program: Path, code: str) -> None:
    gone, _ = _plan(tmp_path, program, f"{_CALLS}\n{code}")
    assert gone == {"alpha/bin/test_api"}


@pytest.mark.parametrize(
    "code",
    [
        "def run(tool):\n    os.execv(os.path.join(HERE, 'bin', tool), [])",
        "def run(tool):\n    os.execv(f'{HERE}/bin/{tool}', [])",
        "def run(tool):\n    os.execv(HERE + '/bin/' + tool, [])",
        "BIN = HERE / 'bin'",
        "BIN = pathlib.Path(__file__).parent.joinpath('bin')",
        "from ._paths import ROOT\nBIN = ROOT / 'bin'",
        "from alpha.paths import ROOT\nBIN = ROOT / 'bin'",
        "def run(tool):\n    with importlib.resources.path('alpha.bin', tool) as path: ...",
    ],
)
def test_code_that_may_build_names_keeps_the_folder(
    tmp_path: Path, program: Path, code: str
) -> None:
    gone, _ = _plan(tmp_path, program, f"{_CALLS}\n{code}")
    assert gone == set()


@pytest.mark.parametrize(
    "code",
    [
        "NVCC = os.path.join(os.environ['CUDA_HOME'], 'bin', 'nvcc.exe' if WINDOWS else 'nvcc')",
        "PATHS = [os.path.join(sys.exec_prefix, 'bin')]",
        "PTXAS = Path(__file__).parents[1] / 'bin' / 'ptxas'",
        "WEIGHTS = 'model.bin'",
    ],
)
def test_other_folders_of_the_name_keep_nothing(tmp_path: Path, program: Path, code: str) -> None:
    gone, _ = _plan(tmp_path, program, f"{_CALLS}\n{code}")
    assert gone == {"alpha/bin/protoc", "alpha/bin/test_api"}


def test_a_folder_none_of_whose_programs_is_named_stays(tmp_path: Path, program: Path) -> None:
    assert _plan(tmp_path, program, "")[0] == set()


def test_a_folder_with_modules_stays(tmp_path: Path, program: Path) -> None:
    gone, _ = _plan(tmp_path, program, more={"bin/__init__.py": ""})
    assert gone == set()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("tool", "#!/bin/sh\nexec protoc\n"),
        ("x.json", '{"tool": "bin/protoc"}'),
        ("x.sh", "protoc"),
        ("x.yml", "run: bin/protoc"),
        ("notes.txt", "protoc"),
        ("x.conf", "tool = protoc"),
        ("x.xml", "<tool>protoc</tool>"),
        ("x.odd", "protoc"),
    ],
)
def test_what_a_script_or_a_data_file_names_stays(
    tmp_path: Path, program: Path, path: str, text: str
) -> None:
    gone, _ = _plan(tmp_path, program, more={path: text})
    assert gone == {"alpha/bin/test_api"}


@pytest.mark.parametrize(
    "source",
    [
        "int execv(const char *, char *const *); void run(void) { execv(name, 0); }",
        "void *PyInit_starter(void) { return (void *)name; }",
    ],
)
def test_what_a_library_that_may_start_programs_names_stays(
    tmp_path: Path, program: Path, source: str
) -> None:
    source = f'static const char name[] = "/opt/bin/protoc"; {source}'
    library = make_library(tmp_path / "starter.so", source=source)
    gone, stay = _plan(tmp_path, program, more={"starter.so": library})
    assert gone == {"alpha/bin/test_api"}
    assert "starter.so" in stay["alpha/bin/protoc"]


def test_what_a_program_that_stays_names_stays(tmp_path: Path, program: Path) -> None:
    caller = tmp_path / "manager"
    caller.write_bytes(program.read_bytes() + b"bin/protoc\0")
    gone, _ = _plan(tmp_path, program, more={"bin/manager": caller})
    assert gone == {"alpha/bin/test_api"}


@pytest.mark.parametrize(
    ("path", "content"), [("x.h", "protoc"), ("x.cmake", "protoc"), ("x.bin", b"protoc\0")]
)
def test_what_no_program_reads_names_nothing(
    tmp_path: Path, program: Path, path: str, content: str | bytes
) -> None:
    gone, _ = _plan(tmp_path, program, more={path: content})
    assert gone == {"alpha/bin/protoc", "alpha/bin/test_api"}


@pytest.mark.parametrize("place", ["function.environment.TOOL", "event.json"])
def test_what_the_recipe_gives_to_the_function_stays(
    tmp_path: Path, program: Path, place: str
) -> None:
    named = '{"tool": "/opt/python/alpha/bin/protoc"}'
    variable, event = (named, "{}") if "TOOL" in place else ("x", named)
    tree: Tree = {
        "alpha": {
            "alpha/__init__.py": _CALLS,
            **{f"alpha/bin/{name}": program for name in ("manager", "protoc", "test_api")},
        }
    }
    more = f"function: {{source: code, environment: {{TOOL: '{variable}'}}}}\n"
    more += "workloads: [{name: call, event: event.json}]\n"
    context = context_in(tmp_path, more=more)
    (context.recipe.folder / "event.json").write_text(event)
    edits = list(Programs().plan(_payload(tmp_path, tree), context))
    assert removed(edits) == {"alpha/bin/test_api"}
    assert place in kept(edits)["alpha/bin/protoc"]


def test_what_the_function_names_stays(tmp_path: Path, program: Path) -> None:
    handler = tmp_path / "handler.py"
    handler.write_text("subprocess.run(['test_api'])\n")
    entry = FileEntry.of(handler, "handler.py", "function")
    tree: Tree = {
        "alpha": {
            "alpha/__init__.py": _CALLS,
            **{f"alpha/bin/{name}": program for name in ("manager", "protoc", "test_api")},
        }
    }
    context = replace(context_in(tmp_path), function=(entry,))
    edits = list(Programs().plan(_payload(tmp_path, tree), context))
    assert removed(edits) == {"alpha/bin/protoc"}


def test_libraries_and_extension_modules_are_no_programs(tmp_path: Path) -> None:
    library = make_library(tmp_path / "x.so")
    tree: Tree = {
        "alpha": {"alpha/x.so": library, "alpha/plugin": library, "alpha/y.so.1": library}
    }
    assert list(Programs().plan(_payload(tmp_path, tree), context_in(tmp_path))) == []
