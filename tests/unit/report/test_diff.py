from __future__ import annotations

from dataclasses import replace

from layerpack.report.diff import ReportDiff, diff

from .builds import Build, build, file, fitting, remark, too_large


def _diff(old: Build, new: Build, largest: int = 15) -> ReportDiff:
    return diff(
        old.manifest,
        new.manifest,
        old_files=old.inventory,
        new_files=new.inventory,
        largest=largest,
    )


def test_a_build_does_not_differ_from_itself() -> None:
    found = _diff(fitting(), fitting())
    assert found.identical
    assert found.upload_bytes == 0
    assert (found.distributions, found.passes, found.files) == ((), (), ())
    assert found.unzipped.delta == 0


def _small(doc: str, *, size: int = 100, version: str = "1.0") -> Build:
    return build(
        [
            file("python/a/x.py", 50, 20, "a", "demo-a"),
            file("python/b/doc.py", size, 40, "b", "demo-b", content=doc),
            file("app.py", 10, 8, "function", "function"),
        ],
        versions={"b": version},
    )


def test_only_what_changed_is_uploaded_again() -> None:
    found = _diff(_small("old"), _small("new"))

    assert [(item.name, item.state, item.upload_bytes) for item in found.zips] == [
        ("demo-a", "same", 0),
        ("demo-b", "changed", 40),
        ("function", "same", 0),
    ]
    assert found.upload_bytes == 40
    assert not found.identical
    assert [(item.path, item.state, item.size.delta) for item in found.files] == [
        ("python/b/doc.py", "changed", 0)
    ]
    assert found.distributions == (), "same version and size"


def test_a_version_that_changes() -> None:
    (changed,) = _diff(_small("", version="1.0"), _small("", size=130, version="1.1")).distributions
    assert (changed.name, changed.state) == ("b", "changed")
    assert (changed.old_version, changed.new_version, changed.packed.delta) == ("1.0", "1.1", 30)


def test_what_comes_and_what_goes() -> None:
    found = _diff(too_large(), fitting())

    assert [(item.name, item.state) for item in found.zips] == [
        ("demo-base", "added"),
        ("demo-spacy", "changed"),
        ("function", "same"),
        ("demo-encoder", "removed"),
        ("demo-mxnet", "removed"),
    ]
    gone = next(item for item in found.zips if item.name == "demo-mxnet")
    assert (gone.zipped.after, gone.upload_bytes) == (0, 0)
    states = {
        item.name: (item.state, item.old_version, item.new_version) for item in found.distributions
    }
    assert states["mxnet"] == ("removed", "1.9.1", "")
    assert states["numpy"] == ("added", "", "1.26.4")
    assert found.distributions[0].name == "mxnet", "the largest change first"


def test_files_are_cut_to_the_largest_changes_and_counted() -> None:
    found = _diff(too_large(), fitting(), largest=1)
    assert [item.path for item in found.files] == ["python/mxnet/libmxnet.so"]
    unchanged = {"app.py", "python/en_core_web_sm/model", "python/spacy/lang/en/__init__.py"}
    paths = {item.path for built in (too_large(), fitting()) for item in built.inventory.files}
    assert found.changed_files == len(paths - unchanged)


def test_passes_are_compared_by_what_they_save() -> None:
    kept = file("python/a/x.py", 50, 20, "a", "demo-a")
    gone = remark("tests", "remove", "python/a/tests/t.py", "a test suite", (70, 0))
    more = replace(gone, path="python/a/tests/u.py", bytes_before=30)

    found = _diff(
        build([kept], [gone], passes=("tests", "docs")),
        build([kept], [gone, more], passes=("tests", "docs", "symbols")),
    )
    assert [(item.name, item.saved.before, item.saved.after) for item in found.passes] == [
        ("tests", 70, 100)
    ]


def test_a_function_that_is_new() -> None:
    layer = file("python/a/x.py", 50, 20, "a", "demo-a")
    own = file("app.py", 10, 8, "function", "function")
    found = _diff(build([layer]), build([layer, own]))
    assert [(item.name, item.state) for item in found.zips] == [
        ("demo-a", "same"),
        ("function", "added"),
    ]
    assert found.upload_bytes == 8
