"""A recipe: what goes into the layers, read from YAML and validated at this border.

Every path in a recipe is relative to the recipe's folder, and lies in the recipe's project.
`yaml_border.py` turns what is wrong into one error with file, line and key.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import (
    Field,
    PrivateAttr,
    model_validator,
)

from layerpack.limits import RuntimeProfile, runtimes
from layerpack.processor_levels import Level
from layerpack.project_root import project_root
from layerpack.recipe_mistakes import MistakeError
from layerpack.recipe_sections import (
    Asset,
    Build,
    Cpu,
    Function,
    Layers,
    Mxnet,
    Native,
    Patch,
    Resolve,
    Section,
    Strip,
    Verify,
    Workload,
)
from layerpack.recipe_values import (
    ArchitectureName,
    Name,
    OwnPass,
    RequirementText,
    RuntimeName,
    SystemLibraries,
    once,
)
from layerpack.yaml_border import read_model


class Recipe(Section):
    """A dependency set for Lambda layers."""

    name: Name
    """The recipe's name; layers and the build folder are called after it."""
    description: str = ""
    """One line on what it is for."""
    runtime: RuntimeName = Field(json_schema_extra={"enum": list(runtimes())})
    """Lambda's runtime identifier."""
    architecture: ArchitectureName = "x86_64"
    """The function's architecture."""
    requirements: tuple[RequirementText, ...] = Field(strict=False, min_length=1)
    """What to pack, as PEP 508 requirements."""
    resolve: Resolve = Resolve()
    build: Build = Build()
    system_libraries: Literal["auto", "none"] | SystemLibraries = "auto"
    """`auto` bundles the shared libraries that the runtime lacks; `none` stops where one is
    missing; `{optional: [libtbb.so.12]}` is `auto`, but may do without these, and
    `{libexpat.so.1: FILE}` takes that file."""
    patches: tuple[Patch, ...] = Field(default=(), strict=False)
    assets: tuple[Asset, ...] = Field(default=(), strict=False)
    function: Function | None = None
    workloads: tuple[Workload, ...] = Field(default=(), strict=False)
    strip: Strip = Strip()
    native: Native = Native()
    cpu: Cpu = Cpu()
    mxnet: Mxnet = Mxnet()
    verify: Verify = Verify()
    passes: tuple[OwnPass, ...] = Field(default=(), strict=False)
    """Passes of the recipe's own: `file.py:ClassName`, relative to the recipe."""
    layers: Layers = Layers()

    _path: Path = PrivateAttr(default=Path("recipe.yaml"))

    @model_validator(mode="after")
    def _records_operators(self) -> Self:
        if self.mxnet.records and not self.workloads:
            raise MistakeError(
                "'recorded' needs 'workloads' to see what they run", at=("mxnet", "operators")
            )
        if self.mxnet.operators != "all" and self.native.store == "plain":
            raise MistakeError(
                "needs paged libraries, not 'native.store: plain'", at=("mxnet", "operators")
            )
        return self

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        for kind, items in (("assets", self.assets), ("workloads", self.workloads)):
            names = [item.name for item in items]
            for number, name in enumerate(names):
                if name in names[:number]:
                    at = (kind, number, "name")
                    raise MistakeError(f"two {kind} are named '{name}'", at=at)
        if self.workloads and self.function is None:
            raise MistakeError("there is no 'function' to run them", at=("workloads",))
        return self

    @model_validator(mode="after")
    def _packs_what_it_requires(self) -> Self:
        required = {str(canonicalize_name(Requirement(text).name)) for text in self.requirements}
        for number, name in enumerate(self.resolve.exclude):
            if name in required:
                raise MistakeError(
                    f"'{name}' is one of the recipe's own requirements",
                    "Remove it from requirements, or from resolve.exclude.",
                    at=("resolve", "exclude", number),
                )
        return self

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read and validate a recipe. Raises RecipeError with file, line, key and expectation."""
        recipe = read_model(cls, path)
        recipe._path = path
        return recipe

    @property
    def namesakes(self) -> tuple[Path, ...]:
        """Other recipes in the folder that have the same name, and so the same build folder."""
        name = re.compile(rf"^name:\s*(['\"]?){re.escape(self.name)}\1\s*(?:#.*)?$", re.MULTILINE)
        found = []
        for other in sorted(self.folder.glob("*.y*ml")):
            # Whose it is that cannot be read does not matter to this recipe.
            with suppress(OSError):
                if other.is_file() and not other.samefile(self.path):
                    text = other.read_text(encoding="utf-8", errors="replace")
                    if name.search(text) and re.search(r"^runtime:", text, re.MULTILINE):
                        found.append(other)
        return tuple(found)

    @property
    def path(self) -> Path:
        """The file that the recipe was read from."""
        return self._path

    @property
    def folder(self) -> Path:
        """The folder that the recipe's paths are relative to."""
        return self._path.parent

    @property
    def root(self) -> Path:
        """The root of the project that the recipe's paths lie in; absolute."""
        return project_root(self.folder)

    def recorded(self, path: str) -> str:
        """A path of the recipe as builds record it: relative to the project's root, with `/`."""
        return Path(os.path.relpath(self.folder.resolve() / path, self.root)).as_posix()

    @property
    def lock_path(self) -> Path:
        """Where the lock lies: `bert.yaml` -> `bert.lock`."""
        return self._path.with_suffix(".lock")

    @property
    def recording_path(self) -> Path:
        """Where the recording of its workloads lies: `bert.yaml` -> `bert.pages`."""
        return self._path.with_suffix(".pages")

    @property
    def cpu_levels(self) -> tuple[Level, ...]:
        """The levels of `cpu` for the recipe's architecture."""
        return self.cpu.x86_64 if self.architecture == "x86_64" else self.cpu.arm64

    @property
    def profile(self) -> RuntimeProfile:
        """The target runtime's facts."""
        return RuntimeProfile.load(self.runtime, self.architecture)

    @property
    def bundles_libraries(self) -> bool:
        """Whether shared libraries that the runtime lacks are bundled."""
        return self.system_libraries != "none"

    @property
    def optional_libraries(self) -> frozenset[str]:
        """Sonames that may be missing."""
        asked = self.system_libraries
        return frozenset(asked.optional if isinstance(asked, SystemLibraries) else ())

    @property
    def library_sources(self) -> dict[str, str]:
        """Where to take system libraries from, by soname: a path, or `distribution==version`."""
        asked = self.system_libraries
        return asked.sources if isinstance(asked, SystemLibraries) else {}

    @property
    def extra_wheels(self) -> tuple[str, ...]:
        """Wheels beside the requirements, `distribution==version`, in the lock's order: the
        assets', then the system libraries'."""
        assets = (asset.wheel for asset in self.assets if asset.wheel)
        return (*assets, *once(tuple(v for v in self.library_sources.values() if "==" in v)))

    @property
    def index_options(self) -> list[str]:
        """pip's and uv's options for the recipe's package indexes."""
        resolve = self.resolve
        options = ["--index-url", resolve.index_url] if resolve.index_url else []
        for url in resolve.extra_index_urls:
            options += ["--extra-index-url", url]
        for link in resolve.find_links:
            local = self.folder / link
            options += ["--find-links", str(local.resolve()) if local.is_dir() else link]
        return options
