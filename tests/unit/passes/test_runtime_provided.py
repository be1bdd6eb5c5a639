"""What the runtime has goes only where nothing needs it in a version."""

from __future__ import annotations

from pathlib import Path

from layerpack.passes.runtime_provided import RuntimeProvided
from tests.unit.passes.helpers import Tree, context_in, kept, payload_of, removed


def _distribution(name: str, *requires: str) -> dict[str, dict[str, str]]:
    lines = "".join(f"Requires-Dist: {text}\n" for text in requires)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{lines}\n"
    return {name: {f"{name}.py": "", f"{name}-1.0.dist-info/METADATA": metadata}}


_BOTO = {
    **_distribution("boto3", "botocore<2,>=1", "s3transfer>=0.1"),
    **_distribution("botocore", "urllib3<3,>=1", "jmespath>=1"),
    **_distribution("s3transfer", "botocore>=1"),
    **_distribution("jmespath"),
    **_distribution("urllib3"),
}


def _plan(
    folder: Path, tree: Tree, requirements: tuple[str, ...] = ("alpha",)
) -> tuple[set[str], dict[str, str]]:
    context = context_in(folder, "runtime-provided: true", requirements=requirements)
    edits = list(RuntimeProvided().plan(payload_of(folder, tree), context))
    return removed(edits), kept(edits)


def test_the_whole_set_goes(tmp_path: Path) -> None:
    gone, stays = _plan(tmp_path, {**_BOTO, **_distribution("alpha", "boto3")})
    assert gone == {path for files in _BOTO.values() for path in files}
    assert stays == {}


def test_a_version_that_is_needed_keeps_all_that_stands_on_it(tmp_path: Path) -> None:
    gone, stays = _plan(tmp_path, {**_BOTO, **_distribution("requests", "urllib3<3,>=1.26")})
    # boto3 needs jmespath in a version, once it is shipped itself.
    assert gone == set()
    assert stays["urllib3.py"] == "requests needs urllib3<3,>=1.26"
    assert stays["botocore.py"] == "it requires urllib3, which is shipped"
    assert stays["jmespath.py"] == "botocore needs jmespath>=1"


def test_what_stands_apart_still_goes(tmp_path: Path) -> None:
    tree = {**_BOTO, **_distribution("six"), **_distribution("alpha", "urllib3>=2", "six")}
    gone, stays = _plan(tmp_path, tree)
    assert gone == {"six.py", "six-1.0.dist-info/METADATA"}
    assert "boto3.py" in stays


def test_the_recipes_own_version_counts(tmp_path: Path) -> None:
    gone, stays = _plan(tmp_path, _distribution("six"), requirements=("six==1.16",))
    assert gone == set()
    assert stays["six.py"] == "the recipe asks for six==1.16"


def test_requirements_of_other_systems_do_not_count(tmp_path: Path) -> None:
    windows = _distribution("alpha", 'six>=1; sys_platform == "win32"')
    extra = _distribution("beta", 'jmespath>=1; extra == "query"')
    tree = {**_distribution("six"), **_distribution("jmespath"), **windows, **extra}
    gone, stays = _plan(tmp_path, tree)
    assert "six.py" in gone
    assert "jmespath.py" in stays


def test_it_is_wanted_only_when_asked_for(tmp_path: Path) -> None:
    assert not RuntimeProvided().wanted(context_in(tmp_path).recipe)
