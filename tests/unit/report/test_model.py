from __future__ import annotations

from layerpack.errors import LimitError
from layerpack.report.limit_use import LimitUse
from layerpack.report.model import limit_error, size_report

from .builds import Build, build, file, fitting, remark, too_large


def _use(built: Build, kind: str) -> LimitUse:
    (use,) = (use for use in size_report(*built).limits if use.kind == kind)
    return use


def _of_size(size: int) -> Build:
    return build([file("python/a/x", size, 10, "a", "demo-a")])


def test_totals_are_the_manifests_and_lists_are_largest_first() -> None:
    built = fitting()
    report = size_report(*built, largest=2)

    assert report.unzipped_bytes == sum(item.size for item in built.inventory.files)
    assert report.naive_bytes - report.unzipped_bytes == 40_000 + 30_000 + 62_000 + 616 + 6_376_536
    assert report.saved_bytes == 6_509_152
    assert [item.path for item in report.largest] == [
        "python/numpy.libs/libopenblas.so",
        "python/en_core_web_sm/model",
    ]
    assert [item.name for item in report.distributions] == ["numpy", "en-core-web-sm", "spacy"]
    numpy = report.distributions[0]
    assert (numpy.files, numpy.packed_bytes, numpy.zipped_bytes) == (4, 37_189_000, 10_272_000)
    assert numpy.ratio == 1.0
    spacy = report.distributions[2]
    assert spacy.ratio == 828_464 / (828_464 + 6_509_152)
    assert not report.exceeds
    assert report.over == ()
    assert report.advice == ()
    assert limit_error(report) is None
    assert report.verdict == "fits, with 217.8 MB of room"


def test_passes_keep_their_order_and_say_what_they_saved() -> None:
    report = size_report(*fitting())
    assert [(item.name, item.files, item.saved_bytes) for item in report.passes] == [
        ("tests", 2, 70_000),
        ("docs", 0, 0),
        ("sources", 1, 62_000),
        ("spacy-languages", 1, 616),
        ("symbols", 1, 6_376_536),
    ]
    assert report.passes[-1].bytes_after == report.unzipped_bytes


def test_a_pass_that_adds_files_saves_less_than_nothing() -> None:
    built = build(
        [file("python/a/__pycache__/x.pyc", 500, 200, "a", "demo-a")],
        [remark("compile", "add", "python/a/__pycache__/x.pyc", "compiled", (0, 500))],
        passes=("compile",),
    )
    assert size_report(*built).passes[0].saved_bytes == -500


def test_the_unzipped_limit_is_one_to_stay_strictly_below() -> None:
    below, at, above = _of_size(262_143_999), _of_size(262_144_000), _of_size(262_144_100)

    assert (_use(below, "unzipped").excess, _use(below, "unzipped").room) == (0, 0)
    assert not size_report(*below).exceeds
    assert _use(at, "unzipped").excess == 1
    assert size_report(*at).exceeds
    assert _use(above, "unzipped").excess == 101


def test_a_zip_may_be_just_as_large_as_a_direct_upload() -> None:
    fits = build([file("python/a/x", 60_000_000, 52_428_800, "a", "demo-a")])
    large = build([file("python/a/x", 60_000_000, 52_428_801, "a", "demo-a")])

    assert size_report(*fits).over == ()
    report = size_report(*large)
    assert [(use.kind, use.subject, use.excess) for use in report.over] == [("zip", "demo-a", 1)]
    assert not report.exceeds, "S3 takes larger zips: a warning"
    assert report.layers[0].needs_s3
    assert report.verdict == "fits, with 202.1 MB of room; 1 of 1 zips need S3"
    assert limit_error(report) is None


def test_the_functions_budget_is_its_own_and_layerpacks() -> None:
    built = build(
        [
            file("python/a/x", 10, 10, "a", "demo-a"),
            file("weights.bin", 900, 800, "function", "function"),
            file("app.py", 200, 100, "function", "function"),
        ],
        budget=1000,
    )
    report = size_report(*built)
    (over,) = report.over

    assert (over.kind, over.owner, over.excess) == ("function", "layerpack's own budget", 100)
    assert report.exceeds
    (advice,) = report.advice
    assert [(item.name, item.bytes) for item in advice.largest] == [
        ("weights.bin", 900),
        ("app.py", 200),
    ]
    assert "function.budget" in advice.keys
    assert report.function is not None
    assert report.function.files == 2


def test_more_layers_than_a_function_takes() -> None:
    built = build([file(f"python/a{n}/x", 10, 5, f"a{n}", f"demo-{n}") for n in range(6)])
    report = size_report(*built)
    (over,) = report.over

    assert (over.kind, over.used, over.excess) == ("layers", 6, 1)
    assert report.verdict == "over: layers by 1"
    assert report.advice[0].keys == ("layers.max: 5", "layers.direct-upload: false")


def test_the_error_names_contributors_and_keys() -> None:
    error = limit_error(size_report(*too_large()))

    assert isinstance(error, LimitError)
    assert error.exit_code == 3
    assert error.message == "demo is over: function + layers, unzipped by 64.4 MB"
    assert "mxnet 188.0 MB" in error.hint
    assert "strip.bytecode: none" in error.hint
    assert "direct-upload" not in error.hint, "a warning's advice is not the error's"


def test_a_build_without_a_function_has_no_budget() -> None:
    report = size_report(*_of_size(10))
    assert report.function is None
    assert [use.kind for use in report.limits] == ["unzipped", "layers", "zip"]


def test_remarks_are_grouped_by_pass_action_and_reason() -> None:
    groups = size_report(*fitting()).remarks
    assert [(g.pass_name, g.action, g.files, g.bytes_before - g.bytes_after) for g in groups] == [
        ("symbols", "rewrite", 1, 6_376_536),
        ("tests", "remove", 2, 70_000),
        ("sources", "remove", 1, 62_000),
        ("spacy-languages", "remove", 1, 616),
        ("tests", "keep", 1, 0),
    ]
