from __future__ import annotations

import pytest

from layerpack.errors import UsageError
from layerpack.report.explain import FileExplanation, GroupExplanation, explain

from .builds import Build, build, file, fitting, remark


def _file(path: str, built: Build | None = None) -> FileExplanation:
    found = explain(path, *(built or fitting()))
    assert isinstance(found, FileExplanation)
    return found


def _group(path: str, built: Build | None = None) -> GroupExplanation:
    found = explain(path, *(built or fitting()))
    assert isinstance(found, GroupExplanation)
    return found


@pytest.mark.parametrize(
    "spelling",
    [
        "python/spacy/tokens/doc.so",
        "spacy/tokens/doc.so",
        "./spacy/tokens/doc.so",
        "/opt/python/spacy/tokens/doc.so",
    ],
)
def test_a_file_in_any_spelling(spelling: str) -> None:
    found = _file(spelling)
    assert found.path == "python/spacy/tokens/doc.so"
    assert (found.state, found.layer, found.distribution) == ("packed", "demo-spacy", "spacy")
    assert (found.bytes_before, found.size, found.zipped) == (7_200_000, 823_464, 327_800)
    assert [item.pass_name for item in found.remarks] == ["symbols"]


def test_a_file_below_a_site_packages_of_its_own() -> None:
    path = "python/lib/python3.12/site-packages/a/x.py"
    built = build([file(path, 50, 20, "a", "demo-a")])
    assert _file("a/x.py", built).path == path
    assert _file("/opt/python/a/x.py", built).path == path


def test_a_file_that_is_gone() -> None:
    found = _file("spacy/tokens/doc.pyx")
    assert (found.state, found.layer, found.size, found.zipped) == ("removed", None, None, None)
    assert (found.bytes_before, found.distribution) == (62_000, "spacy")
    assert found.remarks[0].reason == "only to build"


def test_a_file_that_nothing_was_said_about() -> None:
    found = _file("numpy/core/numeric.py")
    assert (found.state, found.bytes_before, found.remarks) == ("packed", 80_000, ())


@pytest.mark.parametrize(
    "path", ["data/big/x.bin", "data/big", "/var/task/data/big/deep/x", "data/big/*", "data/big/"]
)
def test_a_folder_that_the_function_leaves_out_explains_what_is_below(path: str) -> None:
    left_out = remark("function", "remove", "data/big", "function.exclude", (0, 0))
    found = _file(path, build([file("app.py", 50, 20, "function", "function")], [left_out]))
    assert found.path.rstrip("/") == "data/big"
    assert (found.state, found.remarks) == ("removed", (left_out,))


def test_a_left_out_folder_with_an_included_file_is_both() -> None:
    left_out = remark("function", "remove", "data/big", "function.exclude", (0, 0))
    kept = file("data/big/kept.txt", 50, 20, "function", "function")
    built = build([kept], [left_out])
    assert _file("data/big/kept.txt", built).state == "packed"
    assert _file("data/big/other.txt", built).remarks == (left_out,)
    group = _group("data/big", built)
    assert (group.packed_files, [one.reason for one in group.groups]) == (1, ["function.exclude"])


def test_a_file_of_the_function() -> None:
    assert _file("/var/task/app.py").layer == "function"
    assert _file("app.py").size == 2_310


def test_remarks_come_in_the_order_of_the_passes() -> None:
    path = "python/a/__pycache__/x.pyc"
    built = build(
        [file(path, 500, 200, "a", "demo-a")],
        [
            remark("compile", "add", path, "compiled for /opt", (0, 500)),
            remark("bytecode", "remove", path, "of the wheel's builder", (450, 0)),
        ],
        passes=("bytecode", "compile"),
    )
    found = _file(path, built)
    assert [item.pass_name for item in found.remarks] == ["bytecode", "compile"]
    assert (found.state, found.bytes_before, found.size) == ("packed", 450, 500)


@pytest.mark.parametrize("spelling", ["spacy", "python/spacy/", "/opt/python/spacy"])
def test_a_folder_sums_up(spelling: str) -> None:
    found = _group(spelling)
    assert found.pattern == "python/spacy/"
    assert (found.packed_files, found.packed_bytes) == (3, 828_464)
    assert (found.removed_files, found.removed_bytes) == (4, 132_616)
    assert [(item.layer, item.files, item.zipped) for item in found.layers] == [
        ("demo-spacy", 3, 329_500)
    ]
    assert [(g.pass_name, g.files) for g in found.groups] == [
        ("symbols", 1),
        ("tests", 2),
        ("sources", 1),
        ("spacy-languages", 1),
    ]


def test_a_folder_is_not_its_namesakes_beginning() -> None:
    assert _group("numpy").packed_bytes == 80_000 + 3_400_000 + 9_000, "without numpy.libs"


@pytest.mark.parametrize("everything", ["/opt", ".", "/", "**"])
def test_everything(everything: str) -> None:
    assert _group(everything).packed_files == len(fitting().inventory.files)


@pytest.mark.parametrize(
    ("pattern", "packed", "removed"),
    [
        ("*.so", 3, 0),
        ("spacy/tests/*.py", 0, 2),
        ("spacy/*/*.so", 1, 0),
        ("spacy/**/*.so", 1, 0),
        ("spacy/**/__init__.py", 2, 1),
        ("spacy/lang/??", 1, 1),
        ("spacy/lang/[de]*", 1, 1),
        ("spacy/lang/[!d]?", 1, 0),
        ("/opt/python/*/tests", 1, 2),
    ],
)
def test_patterns(pattern: str, packed: int, removed: int) -> None:
    found = _group(pattern)
    assert (found.packed_files, found.removed_files) == (packed, removed)


def test_a_star_stays_within_its_folder() -> None:
    with pytest.raises(UsageError, match="never had"):
        explain("spacy/*.so", *fitting())


def test_a_name_with_a_bracket_is_a_name_first() -> None:
    built = build([file("python/a/[x].py", 50, 20, "a", "demo-a")])
    assert _file("a/[x].py", built).size == 50


def test_a_broken_pattern_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not a pattern"):
        explain("spacy/[z-a]*", *fitting())


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("numpy/core/numerc.py", "python/numpy/core/numeric.py"),
        ("numpyy/core/numeric.py", "python/numpy/core/numeric.py"),
        ("spacy/token", "python/spacy/tokens"),
        ("libopenblas.so", "python/numpy.libs/libopenblas.so"),
        ("app.pi", "app.py"),
    ],
)
def test_an_unknown_path_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UsageError) as caught:
        explain(wrong, *fitting())
    assert caught.value.message == f"demo never had '{wrong}'"
    assert right in caught.value.hint


def test_a_path_like_no_other_gets_the_way_paths_are_written() -> None:
    with pytest.raises(UsageError) as caught:
        explain("zzzzzz/qqqqqq", *fitting())
    assert "below site-packages" in caught.value.hint
