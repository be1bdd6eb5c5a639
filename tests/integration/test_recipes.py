"""Each recipe of the repository, built for real: what its layers hold answers its events."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerpack.interpreters import require_interpreter
from layerpack.manifest import Manifest
from layerpack.processor_levels import Level, variables
from layerpack.recipe import Recipe
from tests.reference.albert_numpy import Albert
from tests.reference.bert_numpy import Bert
from tests.reference.sentences import SENTENCES
from tests.support.command import Ended, layerpack, start
from tests.support.lambda_client import lambda_client

pytestmark = pytest.mark.recipe

RECIPES = Path(__file__).parents[2] / "recipes"

# The runtime's sys.path: the function, the layers' site-packages (whose .pth files run), and
# /opt/python; nothing of this machine but the standard library.
_ANSWER = """\
import json, site, sys
task, packages, python = sys.argv[1:4]
assert not [entry for entry in sys.path if "site-packages" in entry], sys.path
sys.path[:0] = [task, packages, python]
site.addsitedir(packages)
import app
answers = [app.handler(event, None) for event in json.load(sys.stdin)]
def said(script):
    import mxnet as mx
    space = {"mx": mx}
    try:
        exec(script, space)
        return space["it"].asnumpy().tolist()
    except mx.base.MXNetError as error:
        return str(error)
more = eval(sys.argv[4])
outside = sorted({
    module.__file__ for module in list(sys.modules.values())
    if getattr(module, "__file__", None) and "site-packages" in module.__file__
    and not module.__file__.startswith((task, packages, python))
})
json.dump({"answers": answers, "more": more, "outside": outside}, sys.stdout)
"""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A recipe's build, and its zips unpacked as Lambda would: layers below `opt`, function in
    `task`."""

    recipe: Recipe
    ended: Ended
    folder: Path
    manifest: Manifest
    opt: Path
    task: Path

    def answers(
        self, events: Sequence[object], more: str = "None", *, level: Level | None = None
    ) -> tuple[list[Any], Any]:
        """The handler's answers in a fresh interpreter, and the value of an expression in it; with
        libraries held to a `level` of the processor."""
        sites = [*self.opt.glob("python/lib/python3.*/site-packages"), self.opt / "python"]
        python = require_interpreter(self.recipe.profile, "to run the handler")
        libraries = [path for path in self.opt.rglob("*") if ".so" in path.suffixes]
        held = variables(level, libraries) if level else {}
        result = subprocess.run(
            [
                *(python, "-I", "-S", "-B", "-c", _ANSWER),
                *(self.task, sites[0], self.opt / "python", more),
            ],
            input=json.dumps(events),
            env={"LD_LIBRARY_PATH": str(self.opt / "lib"), "HOME": str(self.task.parent), **held},
            cwd=self.task,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        value = json.loads(result.stdout)
        assert value["outside"] == []
        return value["answers"], value["more"]

    def ask(self, body: object, more: str = "None") -> tuple[Any, Any]:
        """The body of the answer to one request, and the value of an expression."""
        event = {"version": "2.0", "body": json.dumps(body), "isBase64Encoded": False}
        answers, value = self.answers([event], more)
        assert answers[0]["statusCode"] == 200, answers
        return json.loads(answers[0]["body"]), value


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all recipes."""
    return tmp_path_factory.mktemp("recipes-cache")


def _build(
    name: str,
    home: Path,
    cache: Path,
    more: str = "",
    *,
    without: Sequence[str] = (),
    verified: bool = False,
    recorded: bool = False,
) -> Built:
    """Build with the committed lock, and unpack with a tool that is not ours.

    `more`: what a copy of the recipe says, where it is not as it stands, `without` some of its
    keys, each of a line. `recorded`: what workloads touch is recorded anew.
    """
    path = RECIPES / f"{name}.yaml"
    if more:
        shutil.copytree(RECIPES, home / "recipes")
        path = home / "recipes" / path.name
        lines = path.read_text().splitlines()
        kept = [line for line in lines if line.partition(":")[0] not in without]
        path.write_text("\n".join([*kept, more]))
    recipe = Recipe.load(path)
    folder = home / "build"
    ended = layerpack(
        *("build", recipe.path, "--output", folder, *(() if recorded else ("--locked",))),
        folder=home,
        cache=cache,
        extra={"LAYERPACK_VERIFY": "1"} if verified else None,
    )
    assert ended.code in (0, 3), ended.errors
    manifest = Manifest.read(folder / "manifest.json")
    opt, task = home / "opt", home / "task"
    for layer in manifest.layers:
        subprocess.run(["unzip", "-q", folder / layer.file, "-d", opt], check=True)
    subprocess.run(["unzip", "-q", folder / "function.zip", "-d", task], check=True)
    return Built(recipe=recipe, ended=ended, folder=folder, manifest=manifest, opt=opt, task=task)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    """The build of bert.yaml."""
    return _build("bert", tmp_path_factory.mktemp("bert"), cache)


@pytest.fixture(scope="module")
def bert_plain(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    """The same with all library code as the wheels have it; too large for Lambda."""
    home = tmp_path_factory.mktemp("bert-plain")
    return _build("bert", home, cache, "native: {store: plain}\n", without=["mxnet", "cpu"])


@pytest.fixture(scope="module")
def albert(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    """The build of albert.yaml."""
    return _build("albert", tmp_path_factory.mktemp("albert"), cache)


@pytest.fixture(scope="module")
def albert_recorded(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    """albert.yaml, with the operators alone that its workloads run; proven."""
    more = "native: {store: paged, level: 3}\nmxnet: {operators: recorded}\n"
    home = tmp_path_factory.mktemp("albert-recorded")
    return _build("albert", home, cache, more, verified=True, recorded=True)


@pytest.fixture(scope="module")
def spacy(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    """The build of spacy.yaml."""
    return _build("spacy", tmp_path_factory.mktemp("spacy"), cache)


@pytest.fixture(scope="module")
def sklearn(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    """The build of sklearn.yaml."""
    return _build("sklearn", tmp_path_factory.mktemp("sklearn"), cache)


@pytest.fixture(scope="module")
def sklearn_paged(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Built:
    """sklearn.yaml, which fits as it is, paged all the same, and proven for each processor."""
    more = "native: {store: paged, level: 3}\ncpu: {x86_64: [avx2, avx512]}\n"
    home = tmp_path_factory.mktemp("sklearn-paged")
    return _build("sklearn", home, cache, more, verified=True)


@pytest.fixture(scope="module", params=["spacy", "bert", "albert", "sklearn"])
def built(request: pytest.FixtureRequest) -> Built:
    """Each recipe's build in turn."""
    found: Built = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def answers(built: Built) -> list[Any]:
    """Its answers to its events, by a fresh interpreter."""
    events = [json.loads(path.read_text()) for path in event_files(built)]
    return built.answers(events)[0]


def event_files(built: Built) -> list[Path]:
    """The events of a recipe's workloads."""
    return [built.recipe.folder / workload.event for workload in built.recipe.workloads]


def test_it_answers_its_events(built: Built, answers: list[Any]) -> None:
    expected = [400 if "malformed" in w.name else 200 for w in built.recipe.workloads]
    assert [answer["statusCode"] for answer in answers] == expected
    for answer, status in zip(answers, expected, strict=True):
        body = json.loads(answer["body"])
        assert ("error" in body) == (status == 400)


def test_the_command_gives_the_same_answer(built: Built, answers: list[Any], cache: Path) -> None:
    ended = layerpack(
        *("invoke", built.folder, "--event", event_files(built)[0]),
        folder=built.folder,
        cache=cache,
    )
    assert ended.code == 0, ended.errors
    assert json.loads(ended.output) == answers[0]


def test_so_does_a_server_to_awss_client(built: Built, answers: list[Any], cache: Path) -> None:
    arguments = ("serve", built.folder, "--port", "0", "--quiet")
    with start(*arguments, folder=built.folder, cache=cache) as process:
        assert process.stdout is not None
        try:
            name, _, url = process.stdout.readline().strip().rpartition(" at ")
            client = lambda_client(url)
            given = [
                client.invoke(FunctionName=name, Payload=path.read_bytes())
                for path in event_files(built)
            ]
        finally:
            process.terminate()
    assert [json.load(one["Payload"]) for one in given] == answers
    assert not any("FunctionError" in one for one in given)


def test_the_manifest_says_what_the_zips_hold(built: Built) -> None:
    sizes = {}
    for record in (*built.manifest.layers, built.manifest.function):
        assert record is not None
        path = built.folder / record.file
        with zipfile.ZipFile(path) as archive:
            sizes[record.file] = sum(member.file_size for member in archive.infolist())
        assert record.zipped_bytes == path.stat().st_size
        assert record.unzipped_bytes == sizes[record.file]
    assert built.manifest.totals.unzipped_bytes == sum(sizes.values())
    assert built.manifest.naive_unzipped_bytes > built.manifest.totals.unzipped_bytes


def test_it_fits(built: Built) -> None:
    assert built.ended.code == 0
    assert built.manifest.totals.unzipped_bytes < 262_144_000


def test_each_layer_can_be_uploaded_directly(built: Built) -> None:
    assert all(layer.zipped_bytes < 52_428_800 for layer in built.manifest.layers)


def test_bert_fits_because_its_code_is_paged(bert: Built, bert_plain: Built) -> None:
    over = bert_plain.manifest.totals.unzipped_bytes - 262_144_000 + 1
    assert bert_plain.ended.code == 3 and over > 0
    assert f"{over / 1e6:.1f} MB" in bert_plain.ended.errors
    # Both models and all code, before bytecode fills the room; but for the pages that the workloads
    # touch, which lie there as they are where there is room.
    (paged,) = [record for record in bert.manifest.passes if record.name == "paged"]
    files = json.loads((bert.folder / "files.json").read_text())["files"]
    touched = 4096 * sum(file["paged"]["hot_pages"] for file in files if file["paged"])
    assert paged.bytes_after - touched < 195_000_000
    assert (bert.opt / "lib/liblayerpack_pager.so.1").is_file()


@pytest.mark.parametrize("name", ["bert", "sklearn"])
def test_paged_layers_answer_as_plain_ones_do(name: str, request: pytest.FixtureRequest) -> None:
    names = {"bert": ("bert", "bert_plain"), "sklearn": ("sklearn_paged", "sklearn")}[name]
    paged, plain = (request.getfixturevalue(one) for one in names)
    events = [
        json.loads((plain.recipe.folder / workload.event).read_text())
        for workload in plain.recipe.workloads
    ]
    records = [one for one in paged.manifest.passes if one.name == "paged"]
    assert records[0].bytes_after < records[0].bytes_before
    # A paged bert has kernels for AVX2 alone, whatever this processor has.
    level: Level | None = "avx2" if name == "bert" else None
    assert paged.answers(events) == plain.answers(events, level=level)


def test_the_workloads_are_verified_at_each_level_of_the_processor(sklearn_paged: Built) -> None:
    text = (sklearn_paged.folder / "manifest.json").read_text()
    proof = json.loads(text)["verified"]
    workloads = [(one["name"], one["equal"]) for one in proof["workloads"]]
    assert workloads == [("predict", True), ("malformed", True)]
    here = set(Path("/proc/cpuinfo").read_text().split())
    levels = {one["level"]: one for one in proof["levels"]}
    for level, feature in (("avx2", "avx2"), ("avx512", "avx512vl")):
        if feature in here:
            assert (levels[level]["state"], levels[level]["equal"]) == ("verified", True)
            # The bundled OpenBLAS and numpy know these names, and are held to them.
            assert "OPENBLAS_CORETYPE" in levels[level]["variables"]
        else:
            assert feature in levels[level]["reason"]
    held = levels["avx2"]["variables"]["NPY_DISABLE_CPU_FEATURES"].split()
    assert "X86_V4" in held


def test_bert_embeddings_equal_an_independent_implementation(bert: Built, cache: Path) -> None:
    answer, _ = bert.ask({"texts": list(SENTENCES)})
    got = np.array([result["embedding"] for result in answer["results"]])
    (weights,) = cache.glob("unpacked/*/files/**/model.safetensors")
    expected = Bert(weights.parent).embed(SENTENCES)
    assert got.shape == expected.shape
    assert float(np.abs(got - expected).max()) < 1e-4


def answer_to(built: Built, event: str) -> list[Any]:
    """The results for an event that the recipe ships."""
    (answer,), _ = built.answers([json.loads((built.recipe.folder / event).read_text())])
    results: list[Any] = json.loads(answer["body"])["results"]
    return results


def test_sklearn_reads_the_digits_of_its_event(sklearn: Built) -> None:
    results = answer_to(sklearn, "sklearn/events/predict.json")
    # What a person sees in the images.
    assert [one["digit"] for one in results] == [3, 1, 5]
    assert all(0.5 < one["probability"] <= 1 for one in results)


def test_spacy_reads_the_texts_of_its_event(spacy: Built) -> None:
    ada, _, amazon, empty = answer_to(spacy, "spacy/events/analyse.json")
    assert [token["lemma"] for token in ada["tokens"][:3]] == ["Ada", "Lovelace", "write"]
    found = {(entity["text"], entity["label"]) for entity in ada["entities"] + amazon["entities"]}
    assert {("London", "GPE"), ("1843", "DATE"), ("$13.7 billion", "MONEY")} <= found
    assert (empty["tokens"], empty["entities"]) == ([], [])
    (encoded,) = answer_to(spacy, "spacy/events/encoded.json")
    assert ("Z\u00fcrich", "GPE") in {(one["text"], one["label"]) for one in encoded["entities"]}


def test_bert_answers_with_what_spacy_says(bert: Built) -> None:
    answer, _ = bert.ask({"texts": ["Ada Lovelace wrote the first program in London in 1843."]})
    (result,) = answer["results"]
    assert [token["lemma"] for token in result["tokens"][:3]] == ["Ada", "Lovelace", "write"]
    entities = {(entity["text"], entity["label"]) for entity in result["entities"]}
    assert ("London", "GPE") in entities


def test_albert_embeddings_equal_an_independent_implementation(albert: Built) -> None:
    texts = [text for text in SENTENCES if text.strip()]
    more = (
        "[app.ENCODER.tokeniser.ids(text, app.ENCODER.config.positions) "
        f"for text in json.loads({json.dumps(json.dumps(texts))})]"
    )
    answer, ids = albert.ask({"texts": texts}, more)
    assert answer["weights"].startswith("random (seed ")
    got = np.array([result["embedding"] for result in answer["results"]])
    expected = Albert(albert.opt / "assets" / "albert-random").embed(ids)
    assert float(np.abs(got - expected).max()) < 1e-5


def said(built: Built, *scripts: str) -> list[Any]:
    """The values of `it` in scripts that have MXNet as `mx`, or the texts of MXNet's errors."""
    more = f"[said(one) for one in json.loads({json.dumps(json.dumps(scripts))})]"
    value: list[Any] = built.answers([], more)[1]
    return value


def test_albert_with_what_its_workloads_run_answers_as_ever(
    albert: Built, albert_recorded: Built
) -> None:
    proof = json.loads((albert_recorded.folder / "manifest.json").read_text())["verified"]
    assert [(one["name"], one["equal"]) for one in proof["workloads"]] == [
        ("embed", True),
        ("malformed", True),
    ]
    recorded = json.loads((albert_recorded.recipe.path.with_suffix(".pages")).read_text())
    assert {"FullyConnected", "LayerNorm", "Embedding", "softmax"} <= set(
        recorded["operators"].split()
    )
    events = [json.loads(path.read_text()) for path in event_files(albert)]
    assert albert_recorded.answers(events) == albert.answers(events)


def test_what_its_workloads_do_not_run_says_so(albert_recorded: Built) -> None:
    told, kept, gradient = said(
        albert_recorded,
        "it = mx.nd.Pooling(mx.nd.ones((1, 1, 3, 3)), kernel=(2, 2))",
        "it = mx.nd.softmax(mx.nd.ones((2, 4), dtype='float64'), axis=0)",
        """
x = mx.nd.ones((2, 3))
x.attach_grad()
with mx.autograd.record():
    y = mx.nd.FullyConnected(x, mx.nd.array([[1, 2, 3]]), num_hidden=1, no_bias=True)
y.backward()
it = x.grad""",
    )
    assert told.strip().endswith(
        "MXNet's operator Pooling was left out of this layer: add it to mxnet.operators in the "
        "recipe, and build again"
    )
    assert kept == [[0.5] * 4] * 2
    assert gradient == [[1, 2, 3]] * 2


def test_bert_cannot_be_trained_and_says_so(bert: Built) -> None:
    train = """
it = mx.nd.ones((2, 3))
it.attach_grad()
with mx.autograd.record():
    y = mx.nd.softmax(it)
y.backward()
it = it.grad"""
    (told,) = said(bert, train)
    assert "remove mxnet.training" in told and told.strip().endswith("and build again")
