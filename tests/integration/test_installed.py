"""The wheel of layerpack itself, installed where no checkout is near."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from tests.support.command import environment
from tests.support.index import LocalIndex
from tests.support.recipes import HERE, minimal
from tests.support.wheels import make_wheel

ROOT = Path(__file__).parents[2]


def test_the_installed_wheel_builds_a_recipe(tmp_path: Path, index: LocalIndex) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = ["wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, *build], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("layerpack-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("layerpack/")}
    files = [path for path in (ROOT / "layerpack").rglob("*") if path.is_file()]
    assert held == {
        path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts
    }

    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    install = ["install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, "--python", str(home / "bin/python"), *install], check=True)
    # Its requirements, from here; a folder that a .pth file names has its own .pth files ignored,
    # such as that of the checkout.
    (site,) = home.glob("lib/python3.*/site-packages")
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = "import layerpack; print(layerpack.__file__)"
    told = subprocess.run(
        [home / "bin/python", "-c", where], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(told.stdout.strip()) == site / "layerpack/__init__.py"

    index.add(make_wheel(tmp_path / "w", "alpha"))
    project = tmp_path / "project"
    minimal(project, index=index.url, runtime=HERE)
    ended = subprocess.run(
        [home / "bin/layerpack", "build", "recipe.yaml", "--quiet", "--format", "json"],
        cwd=project,
        env=environment(tmp_path / "cache"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["name"] == "small"
    assert (project / "build/small/report.html").is_file()
