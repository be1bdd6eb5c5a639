from __future__ import annotations

from dataclasses import replace

from layerpack.manifest import FileRecord
from layerpack.report.advice import Advice
from layerpack.report.model import size_report

from .builds import Build, build, file, remark, too_large

ON = ("symbols", "tests", "docs", "sources", "programs", "duplicates", "paged")


def _advice(built: Build) -> dict[str, Advice]:
    return {advice.keys[0]: advice for advice in size_report(*built).advice}


def _over(*files: FileRecord, passes: tuple[str, ...] = ON, runtime: str = "python3.12") -> Build:
    huge = file("python/huge/x.bin", 262_144_000, 1000, "huge", "demo-huge")
    return build([huge, *files], passes=passes, runtime=runtime)


def test_each_advice_has_the_measured_bytes_of_the_files_concerned() -> None:
    advice = _advice(too_large())

    assert {key: item.bytes for key, item in advice.items()} == {
        "native.store: paged": 153_857_136 + 29_100_000 + 20_000_000,
        "strip.symbols: true": 153_857_136 + 29_100_000 + 20_000_000,
        "assets": 90_900_000,
        "strip.runtime-provided: true": 21_000_000,
        "strip.bytecode: none": 5_000_000,
        "strip.spacy-languages: [en]": 403_000,
        "requirements": 187_957_136 + 20_412_500 + 21_000_000 + 6_300_000,
        "layers.direct-upload: false": 83_200_000,
    }
    assert list(advice)[:7] == [
        "native.store: paged",
        "strip.symbols: true",
        "assets",
        "strip.runtime-provided: true",
        "strip.bytecode: none",
        "strip.spacy-languages: [en]",
        "requirements",
    ]


def test_heavy_distributions_that_only_others_require_are_named_with_the_key() -> None:
    nccl = file("python/nvidia/nccl.so", 30_000_000, 1000, "nvidia-nccl", "demo-huge")
    manifest, inventory = _over(nccl)
    assert "resolve.exclude: [nvidia-nccl]" not in _advice(Build(manifest, inventory))
    distributions = tuple(
        replace(one, required=one.name == "huge") for one in manifest.distributions
    )
    advice = _advice(Build(replace(manifest, distributions=distributions), inventory))
    assert advice["resolve.exclude: [nvidia-nccl]"].bytes == 30_000_000


def test_the_largest_contributors_are_named_largest_first() -> None:
    advice = _advice(too_large())

    assert [(item.name, item.bytes) for item in advice["requirements"].largest] == [
        ("mxnet", 187_957_136),
        ("botocore", 21_000_000),
        ("spacy", 20_412_500),
        ("en-core-web-sm", 6_300_000),
    ]
    assert [item.name for item in advice["strip.spacy-languages: [en]"].largest] == [
        "spacy/lang/fr",
        "spacy/lang/de",
    ]


def test_a_zip_that_one_file_fills_is_not_to_be_cut() -> None:
    advice = _advice(too_large())["layers.direct-upload: false"]
    assert advice.subject == "demo-encoder"
    assert "its largest file alone is over" in advice.text
    assert advice.largest[0].name == "assets/encoder/model.params"


def test_a_zip_of_many_files_can_be_spread_over_more_layers() -> None:
    files = [file(f"python/a/{n}", 30_000_000, 30_000_000, "a", "demo-a") for n in range(2)]
    (advice,) = size_report(*build(files)).advice
    assert advice.keys == ("layers.direct-upload", "layers.max")
    assert advice.bytes == 60_000_000


def test_nothing_is_advised_that_the_build_does_not_show() -> None:
    assert list(_advice(_over())) == ["requirements"]


def test_passes_that_ran_are_not_advised() -> None:
    library = file("python/a/x.cpython-312-x86_64-linux-gnu.so", 5000, 900, "a", "demo-a")
    tests = file("python/a/tests/test_x.py", 700, 90, "a", "demo-a")

    assert list(_advice(_over(library, tests))) == ["requirements"]
    off = _advice(_over(library, tests, passes=("docs", "sources", "paged")))
    assert off["strip.symbols: true"].bytes == 5000
    assert off["strip.tests: true"].bytes == 700


def test_a_pass_that_only_kept_files_has_run_too() -> None:
    tests = file("python/a/tests/test_x.py", 262_144_000, 90, "a", "demo-a")
    kept = remark("tests", "keep", tests.path, "is imported", (tests.size, tests.size))
    assert "strip.tests: true" not in _advice(build([tests], [kept]))


def test_a_file_named_tests_is_no_test_suite() -> None:
    assert "strip.tests: true" not in _advice(
        _over(file("python/a/tests.py", 10, 5, "a", "demo-a"), passes=())
    )


def test_languages_with_a_pipeline_are_kept() -> None:
    built = _over(
        file("python/spacy/lang/de/x.py", 100, 50, "spacy", "demo-a"),
        file("python/spacy/lang/en/x.py", 200, 50, "spacy", "demo-a"),
        file("python/spacy/lang/fr/x.py", 400, 50, "spacy", "demo-a"),
        file("python/de_core_news_sm/model", 10, 5, "de-core-news-sm", "demo-a"),
    )
    assert _advice(built)["strip.spacy-languages: [de]"].bytes == 600


def test_one_language_alone_is_no_advice() -> None:
    built = _over(file("python/spacy/lang/en/x.py", 200, 50, "spacy", "demo-a"))
    assert list(_advice(built)) == ["requirements"]


def test_a_runtime_that_is_not_known_any_more_gives_no_advice_about_it() -> None:
    botocore = file("python/botocore/x", 100, 50, "botocore", "demo-a")
    assert "strip.runtime-provided: true" in _advice(_over(botocore))
    assert "strip.runtime-provided: true" not in _advice(_over(botocore, runtime="python2.7"))


def test_code_that_is_stored_as_it_is_could_be_compressed() -> None:
    library = file("python/a/x.so", 5000, 900, "a", "demo-a")
    asset = file("assets/model/x.so", 300, 90, "asset:model", "demo-a")
    plain = _advice(_over(library, asset, passes=ON[:-1]))
    assert plain["native.store: paged"].bytes == 5000
    assert "stored compressed" in plain["native.store: paged"].text
    assert "native.store: paged" not in _advice(_over(library, asset))


def test_programs_and_sources_of_every_kind_could_go() -> None:
    program = file("python/a/bin/tool", 5000, 900, "a", "demo-a")
    script = file("python/a/bin/tool.py", 70, 9, "a", "demo-a")
    kernel = file("python/a/kernel.cu", 300, 90, "a", "demo-a")
    advice = _advice(_over(program, script, kernel, passes=()))
    assert advice["strip.programs: true"].bytes == 5000
    assert advice["strip.sources: true"].bytes == 300
    assert list(_advice(_over(program, script, kernel))) == ["requirements"]


def test_copies_of_a_library_could_go() -> None:
    first = file("python/a/liba.so", 5000, 900, "a", "demo-a")
    copies = [
        replace(first, path=path, layer=layer)
        for path, layer in (("python/a/liba.so.1", "demo-a"), ("app/liba.so", "function"))
    ]
    other = file("python/b/liba.so", 5000, 900, "b", "demo-a")
    advice = _advice(_over(first, *copies, other, passes=()))
    # The function's own files are in no pass.
    assert advice["strip.duplicates: true"].bytes == 5000
    assert "strip.duplicates: true" not in _advice(_over(first, *copies, other))
    assert "strip.duplicates: true" not in _advice(_over(first, other, passes=()))
