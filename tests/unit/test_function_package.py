"""What of a function's folder is deployed: no leftovers, nothing ignored, no secrets, no links."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerpack.errors import RecipeError
from layerpack.function_package import function_files, left_out_note
from layerpack.inputs import build_key, function_entries
from layerpack.lock import Lock
from layerpack.recipe import Recipe
from tests.support.recipes import minimal

APP = "def handler(event, context): ...\n"
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
PUBLIC = "# Amazon RDS\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def write(folder: Path, *names: str, **texts: str) -> None:
    """Files below a folder; `texts` have contents, with `__` for a dot."""
    files = dict.fromkeys(names, "x\n") | {k.replace("__", "."): v for k, v in texts.items()}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def recipe(folder: Path, more: str = "", source: str = "src", name: str = "recipe.yaml") -> Recipe:
    """A recipe whose function lies in `src`, with further keys of `function`."""
    write(folder / Path(name).parent / source, app__py=APP)
    function = f"function: {{source: {source}{', ' if more else ''}{more}}}\n"
    return Recipe.load(minimal(folder, name=name, more=function))


def shipped(recipe: Recipe) -> list[str]:
    """The paths that are deployed."""
    return [entry.path for entry in function_entries(recipe) or ()]


def refusal(recipe: Recipe) -> str:
    """Why the function's folder is refused."""
    with pytest.raises(RecipeError) as caught:
        function_entries(recipe)
    assert caught.value.exit_code == 4
    return str(caught.value)


def test_leftovers_of_tools_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path / "src",
        *(".git/config", ".venv/lib/x.py", "venv/bin/python", "node_modules/a/index.js"),
        *("__pycache__/app.cpython-312.pyc", "deep/__pycache__/m.pyc", "old.pyc", "old.pyo"),
        *(".pytest_cache/v", ".mypy_cache/x.json", ".ruff_cache/x", ".tox/py/x", ".nox/x"),
        *(".DS_Store", "Thumbs.db", ".app.py.swp", ".app.py.swo", "app.py~", "#app.py#"),
        *(".idea/workspace.xml", ".vscode/settings.json", ".hg/x", ".svn/x", ".coverage"),
        *(".gitignore", ".layerpackignore", ".gitattributes"),
        *(".aws-sam/build/x.py", ".serverless/x.zip", ".terraform/x", "cdk.out/asset/x.py"),
        *("deep/env311/pyvenv.cfg", "deep/env311/lib/x.py"),
        *("data/model.bin", "deep/more.py"),
    )
    (tmp_path / "src/.gitignore").write_text("")
    (tmp_path / "src/.layerpackignore").write_text("")
    # A virtual environment has links to folders and out of it.
    (tmp_path / "src/.venv/lib64").symlink_to("lib")
    (tmp_path / "src/.venv/python").symlink_to("/usr/bin/env")
    assert shipped(recipe(tmp_path)) == ["app.py", "data/model.bin", "deep/more.py"]


def test_ignore_files_hold_from_the_repositorys_root_downward(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, __gitignore="*.log\n/data/\nbuild/\n# x\n\n!keep.log\n")
    write(tmp_path / "src", __gitignore="/notes.md\nmodels/*\n!models/small.bin\n")
    write(tmp_path / "src/deep", __gitignore="*.tmp\n", __layerpackignore="!a.log\nraw\n")
    write(
        tmp_path / "src",
        *("a.log", "keep.log", "data/x", "build/lib/x.py", "notes.md", "deep/notes.md"),
        *("models/large.bin", "models/small.bin", "deep/x.tmp", "x.tmp", "deep/a.log"),
        *("deep/raw/x", "deep/b.log"),
    )
    one = recipe(tmp_path)
    assert shipped(one) == [
        *("app.py", "data/x", "deep/a.log", "deep/notes.md", "keep.log"),
        *("models/small.bin", "x.tmp"),
    ]
    reasons = {out.path: out.reason for out in function_files(one).left_out}
    assert reasons["a.log"] == ".gitignore:1"
    assert reasons["build"] == ".gitignore:3"
    assert reasons["models/large.bin"] == "src/.gitignore:2"
    assert reasons["deep/raw"] == "src/deep/.layerpackignore:2"


def test_ignore_files_above_the_repository_do_not_hold(tmp_path: Path) -> None:
    write(tmp_path, __gitignore="*\n")
    (tmp_path / "clone/.git").mkdir(parents=True)
    assert shipped(recipe(tmp_path / "clone")) == ["app.py"]


def test_a_source_that_is_ignored_itself_is_meant(tmp_path: Path) -> None:
    """Generated code lies in a folder that git ignores; the recipe names it all the same."""
    (tmp_path / ".git").mkdir()
    write(tmp_path, __gitignore="build/\n*.log\n")
    write(tmp_path / "build/function", "x.log")
    assert shipped(recipe(tmp_path, source="build/function")) == ["app.py"]


def test_the_recipe_says_what_is_in_and_out(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, __gitignore="*.bin\ncache/\n")
    write(
        tmp_path / "src",
        *("model.bin", "other.bin", "cache/a/warm.db", "cache/cold.db", "docs/x.md", "docs/y.md"),
        *("node_modules/a/index.js", ".env"),
    )
    one = recipe(
        tmp_path,
        "include: [model.bin, cache/**/warm.db, docs/y.md, node_modules/a/, .env], exclude: [docs]",
    )
    assert shipped(one) == [
        *(".env", "app.py", "cache/a/warm.db", "docs/y.md", "model.bin"),
        "node_modules/a/index.js",
    ]


@pytest.mark.parametrize("pattern", ["!", "a[", "/x/**b/["])
def test_a_pattern_of_an_ignore_file_that_git_ignores_is_no_error(
    tmp_path: Path, pattern: str
) -> None:
    write(tmp_path / "src", __gitignore=f"{pattern}\n*.log\n", a__log="")
    assert shipped(recipe(tmp_path)) == ["app.py"]


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.production", "deep/.env", ".ENV", "server.pem", "tls.key", "a/id_rsa"),
        *("id_ed25519", "id_rsa.bak", ".netrc", ".pypirc", ".npmrc", ".aws/credentials"),
        *("store.p12", "store.pfx", "x.jks", ".git-credentials", ".pgpass", ".ssh/config"),
        *("app-service-account.json", "terraform.tfstate", "client_secret_1.json"),
        *("application_default_credentials.json", ".docker/config.json", ".kube/config"),
        *("prod.env", "credentials", "conf/credentials.json", "token.json", ".htpasswd"),
        *("secrets.yml", "secrets.yaml", "secrets.json", "secrets.toml", "credentials/.env"),
        *("terraform.tfvars", "prod.auto.tfvars", "kubeconfig", ".dockerconfigjson", ".boto"),
        *(".aws/config", ".Renviron", "local.settings.json", "AuthKey.p8", "office.ovpn"),
    ],
)
def test_a_name_like_a_secrets_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "src", name)
    told = refusal(recipe(tmp_path))
    assert name in told
    assert "function.exclude" in told
    assert "function.include" in told
    assert shipped(recipe(tmp_path, f"exclude: ['{name}']")) == ["app.py"]
    assert name in shipped(recipe(tmp_path, f"include: ['{name}']"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("key.txt", PRIVATE),
        ("deploy", "\n" + PRIVATE.replace("OPENSSH ", "")),
        ("gcp.json", '{\n "type": "service_account",\n "private_key": "-----BEGIN"\n}'),
    ],
)
def test_a_secrets_content_is_refused(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path / "src", name)
    (tmp_path / "src" / name).write_text(text)
    assert name in refusal(recipe(tmp_path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rds-bundle.pem", PUBLIC),
        ("id_rsa.pub", "ssh-rsa AAAA"),
        (".env.example", "A=b"),
        ("config.json", '{"type": "service"}'),
        ("keys.py", f'KEY = """{PRIVATE}"""'),
        ("credentials/store.txt", "x"),
        ("credentials.py", "x"),
        ("kubeconfig/store.txt", "x"),
        ("variables.tfvars", "x"),
        ("settings.json", "{}"),
        ("app.env.example", "A=b"),
    ],
)
def test_what_is_public_is_shipped(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path / "src", name)
    (tmp_path / "src" / name).write_text(text)
    assert name in shipped(recipe(tmp_path))


def test_a_secret_that_is_ignored_is_no_error(tmp_path: Path) -> None:
    write(tmp_path / "src", ".env", __gitignore=".env\n")
    assert shipped(recipe(tmp_path)) == ["app.py"]


def test_all_secrets_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path / "src", ".env", "a/tls.key", *(f"{number:02}.pem" for number in range(40)))
    told = refusal(recipe(tmp_path))
    assert all(name in told for name in (".env", "a/tls.key", "00.pem", "39.pem"))


@pytest.mark.parametrize("target", ["/etc/hostname", "../../outside.txt"])
@pytest.mark.parametrize("more", ["", "include: [name.txt]"])
def test_a_link_out_of_the_project_is_refused(tmp_path: Path, target: str, more: str) -> None:
    write(tmp_path, "outside.txt")
    one = recipe(tmp_path / "clone", more)
    (tmp_path / "clone/src/name.txt").symlink_to(target)
    told = refusal(one)
    assert "name.txt" in told
    assert "link" in told
    assert str(tmp_path / "clone") in told
    assert "copy" in told and "function.exclude" in told
    assert "UTF-8" not in told


def test_a_link_out_of_the_source_is_followed_where_it_is_included(tmp_path: Path) -> None:
    write(tmp_path, "shared/util.py")
    one = recipe(tmp_path)
    (tmp_path / "src/util.py").symlink_to("../shared/util.py")
    told = refusal(one)
    assert "util.py" in told
    assert "function.include" in told
    entries = function_entries(recipe(tmp_path, "include: [util.py]")) or ()
    assert [(entry.path, entry.size) for entry in entries][1] == ("util.py", 2)


def test_a_link_within_the_source_is_its_content(tmp_path: Path) -> None:
    write(tmp_path / "src", "a/one.py", ".env")
    (tmp_path / "src/two.py").symlink_to("a/one.py")
    assert shipped(recipe(tmp_path, "exclude: [.env]")) == ["a/one.py", "app.py", "two.py"]
    # By another name it is the same secret.
    (tmp_path / "src/three.py").symlink_to(".env")
    assert "three.py" in refusal(recipe(tmp_path, "exclude: [.env]"))


def test_a_link_that_is_excluded_may_lead_anywhere(tmp_path: Path) -> None:
    one = recipe(tmp_path, "exclude: [data, hosts]")
    (tmp_path / "src/hosts").symlink_to("/etc/hosts")
    (tmp_path / "src/data").symlink_to("/var")
    assert shipped(one) == ["app.py"]


def test_a_handler_that_is_ignored_is_told_with_the_rule(tmp_path: Path) -> None:
    one = recipe(tmp_path)
    write(tmp_path / "src", __gitignore="\napp.py\n")
    told = refusal(one)
    assert "app.py" in told
    assert "src/.gitignore:2" in told
    assert "function.include" in told


def test_recipe_lock_recording_and_builds_within_the_source_are_no_code(tmp_path: Path) -> None:
    one = recipe(tmp_path, source=".", name="bert.yaml")
    write(tmp_path, "bert.lock", "bert.pages", "other.yaml", "build/bert/layers/a.zip")
    write(tmp_path, "build/bert/manifest.json", "build/bert/.state.json", "build/.bert.lock")
    assert shipped(one) == ["app.py", "other.yaml"]


def test_leftovers_of_a_killed_layerpack_are_no_code(tmp_path: Path) -> None:
    one = recipe(tmp_path, source=".", name="bert.yaml")
    for name in (".bert.layerpack-new", ".bert.layerpack-former", ".other.layerpack-new"):
        write(tmp_path, f"build/{name}/layers/a.zip")
    # A file and a folder that were not yet complete (units.py).
    write(tmp_path, ".layerpack-x1", "out/.layerpack-x2/Dockerfile")
    assert shipped(one) == ["app.py"]


def test_the_key_depends_on_what_is_shipped_only(tmp_path: Path) -> None:
    def key(more: str = "") -> str:
        one = recipe(tmp_path, more)
        lock = Lock.make(one, f"alpha==1.0 --hash=sha256:{'a' * 64}\n", ())
        return build_key(one, lock, compressor="deflate 1", interpreter=True)

    write(tmp_path / "src", "data.txt")
    before = key()
    write(tmp_path / "src", ".venv/x.py", "x.log", "node_modules/a.js", __gitignore="*.log\n")
    assert key() == before
    assert key("exclude: [.venv, nothing]") == before
    assert key("exclude: [data.txt]") != before
    (tmp_path / "src/data.txt").chmod(0o755)
    assert key() != before


@pytest.mark.parametrize(
    ("included", "left_out"), [("data/a", ["data"]), ("data/**", []), ("nothing", ["data"])]
)
def test_a_folder_of_which_files_are_included_is_left_out_but_for_them(
    tmp_path: Path, included: str, left_out: list[str]
) -> None:
    write(tmp_path / "src", "data/a", "data/deep/b")
    found = function_files(recipe(tmp_path, f"exclude: [data], include: ['{included}']"))
    assert [one.path for one in found.left_out] == left_out


def test_what_was_left_out_is_noted_but_for_leftovers(tmp_path: Path) -> None:
    write(tmp_path / "src", "old.pyc", __gitignore="*.log\n")
    assert left_out_note(function_files(recipe(tmp_path)).left_out) == ""
    write(tmp_path / "src", *(f"{name}.log" for name in "abcdefgh"), "docs/x")
    note = left_out_note(function_files(recipe(tmp_path, "exclude: [docs]")).left_out)
    assert "a.log" in note
    assert "src/.gitignore:1" in note
    assert "h.log" not in note
    assert "old.pyc" not in note


@pytest.mark.parametrize(
    ("above", "inside", "names", "expected"),
    [
        # Each as `git ls-files --others --exclude-standard` has it.
        ("*.log\n", "!*/\n", ["data/y.log", "x.txt"], ["x.txt"]),
        ("", "sub/**\n!y.log\n", ["sub/x.txt", "sub/y.log", "sub/deep/y.log"], ["sub/y.log"]),
        ("", "*\n!*/\n!*.bin\n", ["a/x.txt", "a/z.bin", "x.txt", "z.bin"], ["a/z.bin", "z.bin"]),
        ("", "data/*\n!data/x.txt\n", ["data/x.txt", "data/y"], ["data/x.txt"]),
        ("", "/sub/a/\n!/sub/\n", ["sub/a/x", "sub/b"], ["sub/b"]),
        ("", "sub/\n!sub/x.txt\n", ["sub/x.txt"], []),
        ("/src/a\nb/\n", "", ["a", "b/c", "c/b"], ["c/b"]),
        ("", "\\#x\n[ab]\ndata/**/log\n", ["#x", "a", "ab", "data/1/2/log"], ["ab"]),
    ],
)
def test_patterns_mean_what_they_mean_to_git(
    tmp_path: Path, above: str, inside: str, names: list[str], expected: list[str]
) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, __gitignore=above)
    write(tmp_path / "src", *names, __gitignore=inside)
    found = {path.as_posix() for path in function_files(recipe(tmp_path)).files} - {"app.py"}
    assert found == set(expected)
