"""Assets: from files, folders, wheels and URLs, prepared by scripts; each failure named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from layerpack.assets import AssetContext, AssetRecord, make_asset
from layerpack.cache import Cache
from layerpack.errors import BuildToolError, LayerpackError, RecipeError, ResolveError
from layerpack.payload import Payload
from layerpack.recipe import Asset, Recipe
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal, payload_in
from tests.support.wheels import sha256

ZERO = "0" * 64


def no_wheel(asset: Asset) -> tuple[Path, str, str]:
    """There are no wheels in most of these tests."""
    raise AssertionError(asset.name)


def context(
    folder: Path,
    cache: Cache,
    keys: str,
    payload: Payload | None = None,
    runtime: str = HERE,
) -> AssetContext:
    """What making the one asset of the recipe needs; the asset's keys are given as flow YAML."""
    path = minimal(folder, runtime=runtime, more=f"assets: [{{name: model, {keys}}}]")
    return AssetContext(
        recipe=Recipe.load(path),
        payload=payload or Payload([]),
        payload_key="key",
        cache=cache,
        wheel=no_wheel,
    )


def make(chosen: AssetContext) -> AssetRecord:
    """The asset."""
    return make_asset(chosen.recipe.assets[0], chosen)


def contents(record: AssetRecord) -> dict[str, str]:
    """Each path in the layer with its text."""
    return {entry.path: entry.source.read_text() for entry in record.entries}


def refusal(chosen: AssetContext, error: type[LayerpackError]) -> str:
    """Why there is no asset, without the recipe's folder; no scratch is left."""
    with pytest.raises(error) as caught:
        make(chosen)
    scratch = chosen.cache.root / "scratch"
    assert not (scratch.is_dir() and list(scratch.iterdir()))
    return str(caught.value).replace(f"{chosen.recipe.folder}/", "")


def script(folder: Path, text: str, name: str = "prepare.py") -> None:
    """A prepare script."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("import sys\nfrom pathlib import Path\n" + text)


def test_a_file_is_an_asset_under_its_own_name(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/model.bin").write_text("weights")
    record = make(context(tmp_path, cache, "file: data/model.bin"))
    assert contents(record) == {"assets/model/model.bin": "weights"}
    assert (record.origin, record.sha256) == (
        "data/model.bin",
        sha256(tmp_path / "data/model.bin"),
    )
    assert record.entries[0].distribution == "asset:model"


def test_a_folder_is_an_asset_with_all_its_files(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data/deep").mkdir(parents=True)
    (tmp_path / "data/a").write_text("1")
    (tmp_path / "data/deep/b").write_text("2")
    record = make(context(tmp_path, cache, "file: data"))
    assert contents(record) == {"assets/model/a": "1", "assets/model/deep/b": "2"}
    (tmp_path / "data/a").write_text("3")
    assert make(context(tmp_path, cache, "file: data")).sha256 != record.sha256


def test_a_dead_link_in_a_folder_is_told(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to("nowhere")
    assert refusal(context(tmp_path, cache, "file: data"), RecipeError) == (
        "recipe.yaml: assets.model.file: data: link is a link to a folder, or a dead one\n"
        "A layer holds files and folders with UTF-8 names."
    )


def test_what_a_layer_cannot_hold_is_told(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data/deep").mkdir(parents=True)
    os.mkfifo(tmp_path / "data/deep/pipe")
    chosen = context(tmp_path, cache, "file: data")
    assert "data: deep/pipe is neither a file nor a folder\n" in refusal(chosen, RecipeError)
    (tmp_path / "data/deep/pipe").unlink()
    (tmp_path / "data/deep/up").symlink_to("..")
    assert "data: deep/up is a link to a folder" in refusal(chosen, RecipeError)
    (tmp_path / "data/deep/up").unlink()
    odd = tmp_path / os.fsdecode(b"data/caf\xe9")
    odd.touch()
    assert "data: 'caf\\udce9' has a name that is not UTF-8\n" in refusal(chosen, RecipeError)
    odd.unlink()
    # A link to a file stands for its content.
    (tmp_path / "data/a").write_text("1")
    (tmp_path / "data/b").symlink_to("a")
    assert contents(make(chosen)) == {"assets/model/a": "1", "assets/model/b": "1"}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Path(output, 'x').symlink_to('/etc/passwd')", "x is a link"),
        ("Path(output, 'x').symlink_to('/etc')", "x is a link"),
        ("import os; os.mkfifo(Path(output, 'x'))", "x is neither a file nor a folder"),
        (
            "import os; open(os.fsencode(output) + b'/caf\\xe9', 'w').close()",
            "'caf\\udce9' has a name that is not UTF-8",
        ),
    ],
    ids=["link to a file", "link to a folder", "FIFO", "name"],
)
def test_what_a_script_writes_must_be_plain_files(
    tmp_path: Path, cache: Cache, statement: str, expected: str
) -> None:
    script(tmp_path, f"output = sys.argv[2]\nPath(output, 'good').touch()\n{statement}\n")
    chosen = context(tmp_path, cache, "prepare: prepare.py")
    assert refusal(chosen, BuildToolError) == (
        f"the output of the prepare script prepare.py: {expected}\n"
        "It gets the folder as its second argument, and leaves plain files with UTF-8 names there."
    )
    assert list(cache.folder("assets").iterdir()) == []


def test_a_script_that_removes_its_output_is_told(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "Path(sys.argv[2]).rmdir()\n")
    text = refusal(context(tmp_path, cache, "prepare: prepare.py"), BuildToolError)
    assert text.startswith("the prepare script prepare.py removed its output folder\n")


def test_a_wheels_files_are_an_asset(tmp_path: Path, cache: Cache) -> None:
    unpacked = tmp_path / "unpacked"
    payload_in(unpacked, {"gt/model.bin": "weights", "gt/vocab.txt": "words"})
    chosen = context(tmp_path, cache, "wheel: gt==1.0")
    chosen = AssetContext(
        recipe=chosen.recipe,
        payload=Payload([]),
        payload_key="",
        cache=cache,
        wheel=lambda asset: (unpacked, "gt-1.0-py3-none-any.whl", ZERO),
    )
    record = make(chosen)
    assert contents(record) == {
        "assets/model/gt/model.bin": "weights",
        "assets/model/gt/vocab.txt": "words",
    }
    assert (record.origin, record.sha256) == ("gt-1.0-py3-none-any.whl", ZERO)


def test_a_missing_file_is_told(tmp_path: Path, cache: Cache) -> None:
    assert refusal(context(tmp_path, cache, "file: none.bin"), RecipeError) == (
        "recipe.yaml: assets.model.file: none.bin does not exist"
    )


def test_a_file_with_another_hash_is_refused(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "model.bin").write_text("weights")
    text = refusal(context(tmp_path, cache, f"file: model.bin, sha256: '{ZERO}'"), ResolveError)
    assert text == (
        f"recipe.yaml: assets.model: model.bin has the hash sha256:{sha256(tmp_path / 'model.bin')}"
        f", the recipe says {ZERO}\nLook into the file before you change the recipe."
    )


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file to publish."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights " * 100_000)
    return path


def test_a_url_is_downloaded_once(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    seen: list[tuple[int, int]] = []
    chosen = AssetContext(
        recipe=chosen.recipe,
        payload=Payload([]),
        payload_key="",
        cache=cache,
        wheel=no_wheel,
        progress=lambda done, total: seen.append((done, total)),
    )
    record = make(chosen)
    assert [entry.path for entry in record.entries] == ["assets/model/weights.bin"]
    assert record.entries[0].sha256 == record.sha256 == sha256(weights)
    assert seen[-1] == (800_000, 800_000)
    make(chosen)
    assert len(index.requests) == 1
    # A damaged download in the cache is fetched anew.
    record.entries[0].source.write_bytes(b"damaged")
    assert make(chosen).entries[0].sha256 == sha256(weights)
    assert len(index.requests) == 2


def test_a_urls_query_is_no_part_of_the_files_name(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes()) + "?download=1"
    record = make(context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'"))
    assert [entry.path for entry in record.entries] == ["assets/model/weights.bin"]


@pytest.mark.parametrize("damage", ["absent", "other hash", "no server"])
def test_a_urls_query_is_never_shown(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path, damage: str
) -> None:
    told: list[str] = []
    plain = index.put("weights.bin", weights.read_bytes())
    digest = ZERO if damage == "other hash" else sha256(weights)
    if damage == "absent":
        plain = plain.replace("weights", "none")
    if damage == "no server":
        with LocalIndex() as gone:
            plain = f"{gone.root}/files/weights.bin"
    keys = f"url: '{plain}?X-Signature=secret#token', sha256: '{digest}'"
    chosen = replace(context(tmp_path, cache, keys), on_step=told.append)
    text = refusal(chosen, ResolveError)
    assert plain in text
    assert "secret" not in text and "token" not in text
    assert told == ["downloading the asset model"]


def test_a_urls_query_is_not_recorded(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    keys = f"url: '{url}?X-Signature=secret', sha256: '{sha256(weights)}'"
    assert make(context(tmp_path, cache, keys)).origin == url


def test_a_url_with_another_hash_is_refused(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    text = refusal(context(tmp_path, cache, f"url: '{url}', sha256: '{ZERO}'"), ResolveError)
    assert text == (
        f"recipe.yaml: assets.model: {url} has the hash sha256:{sha256(weights)}, the recipe says "
        f"{ZERO}\nLook into the file before you change the recipe."
    )
    assert list(cache.folder("downloads").iterdir()) == []


def test_a_transfer_that_ends_early_is_told_as_such(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    index.truncated.add("weights.bin")
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    assert "(it ended after 400000 of 800000 bytes)" in refusal(chosen, ResolveError)
    # And the next try starts anew.
    index.truncated.clear()
    assert make(chosen).entries[0].sha256 == sha256(weights)


def test_a_chunked_transfer_that_ends_early_is_told(
    tmp_path: Path, cache: Cache, index: LocalIndex, weights: Path
) -> None:
    url = index.put("weights.bin", weights.read_bytes())
    index.chunked.add("weights.bin")
    chosen = context(tmp_path, cache, f"url: '{url}', sha256: '{sha256(weights)}'")
    assert f"{url} cannot be downloaded: IncompleteRead" in refusal(chosen, ResolveError)


def test_an_absent_url_is_told(tmp_path: Path, cache: Cache, index: LocalIndex) -> None:
    url = f"{index.root}/files/none"
    assert refusal(context(tmp_path, cache, f"url: '{url}', sha256: '{ZERO}'"), ResolveError) == (
        f"recipe.yaml: assets.model: {url} cannot be downloaded: Not Found\n"
        "Check the address and the network."
    )


def test_a_server_that_is_not_there_is_told(tmp_path: Path, cache: Cache) -> None:
    with LocalIndex() as gone:
        url = f"{gone.root}/files/x"
    text = refusal(context(tmp_path, cache, f"url: '{url}', sha256: '{ZERO}'"), ResolveError)
    assert "cannot be downloaded: [Errno 111] Connection refused" in text


def test_what_a_script_writes_is_the_asset(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "in.txt").write_text("abc")
    script(
        tmp_path,
        "source, output = map(Path, sys.argv[1:])\n"
        "(output / 'deep').mkdir()\n"
        "(output / 'deep/out.txt').write_text((source / 'in.txt').read_text().upper())\n",
    )
    record = make(context(tmp_path, cache, "file: in.txt, prepare: prepare.py"))
    assert contents(record) == {"assets/model/deep/out.txt": "ABC"}
    assert record.origin == "in.txt"


def test_a_script_needs_no_source(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "Path(sys.argv[2], 'seed').write_text(str(list(Path(sys.argv[1]).iterdir())))")
    assert contents(make(context(tmp_path, cache, "prepare: prepare.py"))) == {
        "assets/model/seed": "[]"
    }


def test_a_script_may_change_its_source_and_harms_nothing(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").write_text("1")
    script(
        tmp_path,
        "source, output = map(Path, sys.argv[1:])\n"
        "(source / 'a').rename(output / 'a')\nPath('notes').write_text('in its own folder')\n",
    )
    make(context(tmp_path, cache, "file: data, prepare: prepare.py"))
    assert (tmp_path / "data/a").read_text() == "1"
    assert not list(tmp_path.rglob("notes"))


def test_a_script_sees_its_neighbours_and_the_payload_and_nothing_else(
    tmp_path: Path, cache: Cache
) -> None:
    script(tmp_path, "VALUE = 'neighbour'\n", "tools/helper.py")
    script(
        tmp_path,
        "import helper, alpha, json\n"
        "try:\n    import pytest\n    other = 'pytest'\nexcept ImportError:\n    other = 'none'\n"
        "text = json.dumps([helper.VALUE, alpha.VALUE, other, __name__])\n"
        "Path(sys.argv[2], 'seen').write_text(text)\n",
        "tools/prepare.py",
    )
    payload = payload_in(tmp_path / "files", {"python/alpha/__init__.py": "VALUE = 'packed'\n"})
    record = make(context(tmp_path, cache, "prepare: tools/prepare.py", payload))
    assert contents(record) == {"assets/model/seen": '["neighbour", "packed", "none", "__main__"]'}
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize("runtime", ["python3.9", "python3.10", "python3.12", "python3.13"])
def test_a_script_is_run_by_the_targets_python(tmp_path: Path, cache: Cache, runtime: str) -> None:
    script(
        tmp_path,
        "import alpha, later\n"
        "text = f'{sys.version_info[0]}.{sys.version_info[1]} {alpha.VALUE} {later.VALUE}'\n"
        "Path(sys.argv[2], 'seen').write_text(text)\n",
    )
    site = f"python/lib/{runtime}/site-packages"
    files: dict[str, str | bytes] = {
        f"{site}/alpha.py": "VALUE = 'packed'\n",
        # As the runtime's site-packages would, the script's runs .pth files.
        f"{site}/more.pth": "deeper\n",
        f"{site}/deeper/later.py": "VALUE = 'found'\n",
    }
    payload = Payload(payload_in(tmp_path / "files", files), site=site)
    record = make(context(tmp_path, cache, "prepare: prepare.py", payload, runtime=runtime))
    version = runtime.removeprefix("python")
    assert contents(record) == {"assets/model/seen": f"{version} packed found"}


def counting(tmp_path: Path, cache: Cache) -> AssetContext:
    """An asset whose script tells each of its runs in a file outside."""
    script(tmp_path, "NAME = 'x'\n", "helper.py")
    script(
        tmp_path,
        f"import helper\nwith open({str(tmp_path / 'runs')!r}, 'a') as runs:\n    runs.write('.')\n"
        "Path(sys.argv[2], helper.NAME).write_text('made')\n",
    )
    return context(tmp_path, cache, "file: in.txt, prepare: prepare.py")


def test_a_script_runs_once_for_the_same_inputs(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    assert make(chosen) == make(chosen)
    assert (tmp_path / "runs").read_text() == "."


@pytest.mark.parametrize("damage", ["edited", "gone", "added", "note"])
def test_a_damaged_output_in_the_cache_is_made_anew(
    tmp_path: Path, cache: Cache, damage: str
) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    first = make(chosen)
    output = first.entries[0].source
    match damage:
        case "edited":
            output.write_text("evil")
        case "gone":
            output.unlink()
        case "added":
            output.with_name("more").touch()
        case _:
            (output.parents[1] / "done").write_text("")
    assert make(chosen) == first
    assert contents(first) == {"assets/model/x": "made"}
    assert (tmp_path / "runs").read_text() == ".."


@pytest.mark.parametrize("name", ["in.txt", "prepare.py", "helper.py"])
def test_a_script_runs_again_when_an_input_changed(tmp_path: Path, cache: Cache, name: str) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    make(chosen)
    with (tmp_path / name).open("a") as stream:
        stream.write("\n")
    make(chosen)
    assert (tmp_path / "runs").read_text() == ".."


def test_a_script_runs_again_for_another_payload(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "in.txt").write_text("abc")
    chosen = counting(tmp_path, cache)
    make(chosen)
    other = AssetContext(
        recipe=chosen.recipe,
        payload=chosen.payload,
        payload_key="another",
        cache=cache,
        wheel=no_wheel,
    )
    make(other)
    assert (tmp_path / "runs").read_text() == ".."


def test_a_failing_script_is_told_with_its_last_lines(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "raise ValueError('no such weights')\n")
    chosen = context(tmp_path, cache, "prepare: prepare.py")
    text = refusal(chosen, BuildToolError)
    assert text.startswith("the prepare script prepare.py failed (exit code 1):\nTraceback")
    assert "\nValueError: no such weights\n" in text
    assert list(cache.folder("assets").iterdir()) == []


def test_a_script_that_is_killed_is_told_with_the_signal(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "import os\nos.kill(os.getpid(), 9)\n")
    text = refusal(context(tmp_path, cache, "prepare: prepare.py"), BuildToolError)
    assert "failed (signal 9)" in text


def test_a_script_that_writes_nothing_is_told(tmp_path: Path, cache: Cache) -> None:
    script(tmp_path, "print('done')\n")
    chosen = context(tmp_path, cache, "prepare: prepare.py")
    assert refusal(chosen, BuildToolError) == (
        "the prepare script prepare.py wrote nothing to its output folder\n"
        "It gets the folder as its second argument, and leaves plain files with UTF-8 names there."
    )
    assert list(cache.folder("assets").iterdir()) == []


def test_a_missing_script_is_told(tmp_path: Path, cache: Cache) -> None:
    assert refusal(context(tmp_path, cache, "prepare: none.py"), RecipeError) == (
        "recipe.yaml: assets.model.prepare: none.py does not exist"
    )
