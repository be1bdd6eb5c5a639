"""A recipe: what goes into the layers, read from YAML and validated at this border.

Every path in a recipe is relative to the recipe's folder. `yaml_border.py` turns what is wrong
into one error with file, line and key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

from layerpack.limits import Architecture, LambdaLimits, RuntimeProfile, runtimes
from layerpack.processor_levels import ArmLevel, Level, X86Level
from layerpack.recipe_values import (
    Distribution,
    LayerCount,
    Name,
    Number,
    OperatorName,
    OwnPass,
    Pattern,
    Pin,
    RelativePath,
    RequirementText,
    RuntimeName,
    Sha256,
    Size,
    Url,
    VariableName,
    once,
)
from layerpack.yaml_border import read_model


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


class Resolve(_Model):
    """How requirements become exact versions."""

    tool: Literal["uv", "pip-tools"] = "uv"
    """`uv` resolves for any platform; `pip-tools` runs under the target's own interpreter."""
    index_url: str | None = None
    """The package index to use instead of the one that pip or uv is configured for."""
    extra_index_urls: tuple[str, ...] = Field(default=(), strict=False)
    """Further package indexes."""
    find_links: tuple[str, ...] = Field(default=(), strict=False)
    """Folders or pages with further wheels."""
    exclude_newer: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}")
    """Leave out what was uploaded after this date (uv only)."""


class Build(_Model):
    """What may be built from source, and with what."""

    from_source: tuple[Distribution, ...] = Field(default=(), strict=False)
    """Distributions that may come as source; every other must come as a wheel."""
    constraints: tuple[RequirementText, ...] = Field(default=(), strict=False)
    """Versions of build requirements (setuptools, cython) to hold to."""
    image: str | None = Field(default=None, pattern=r"^[a-z0-9][\w.:/@-]*$")
    """The image to build in with Docker, best with its digest; without it, AWS's build image."""
    system_packages: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.+:~-]*$")], ...] = Field(
        default=(), strict=False
    )
    """Packages of the image's system that building from source needs, such as `lz4-devel`."""


class Replacement(_Model):
    """A replacement by regular expression, as Python's `re.sub`."""

    pattern: Pattern
    """What to find (Python's `re`, multi-line mode)."""
    with_: str = Field(alias="with")
    """What to put there; `\\1` stands for the first group."""
    count: int | None = Field(default=None, ge=1)
    """How many replacements there must be, over all files; without it, at least one."""


class Patch(_Model):
    """A source fix that a pinned release needs; it must apply or the build fails."""

    package: Distribution
    """The distribution to patch."""
    files: tuple[str, ...] = Field(default=("**/*.py",), strict=False)
    """Which of its files, as glob patterns below site-packages."""
    replace: Replacement
    """The replacement to make in each of these files."""


class Asset(_Model):
    """Data that the function reads from /opt/assets/NAME."""

    name: Name
    """The folder below /opt/assets."""
    wheel: Pin | None = None
    """Take it from a wheel of the package index: `distribution==version`."""
    file: RelativePath | None = None
    """Take it from a local file or folder."""
    url: Url | None = None
    """Take it from an https URL; needs `sha256`."""
    sha256: Sha256 | None = None
    """The content's SHA-256: needed with `url`, allowed with `wheel` and `file`."""
    prepare: RelativePath | None = None
    """A script, run as `python SCRIPT SOURCE OUTPUT` by the target's interpreter with the recipe's
    distributions importable; what it writes to OUTPUT is the asset."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [key for key in ("wheel", "file", "url") if getattr(self, key) is not None]
        if len(sources) > 1:
            raise ValueError(f"an asset has one source, not {' and '.join(sources)}")
        if not sources and self.prepare is None:
            raise ValueError("an asset needs a source ('wheel', 'file', 'url') or 'prepare'")
        if self.url is not None and self.sha256 is None:
            raise ValueError("an asset from a URL needs its 'sha256'")
        return self


class Function(_Model):
    """The function's own code."""

    source: RelativePath
    """A folder; its content is the function package."""
    handler: str = Field(default="app.handler", pattern=r"^[\w./]+\.\w+$")
    """Lambda's handler setting: module.function."""
    budget: Size = Field(default_factory=lambda: LambdaLimits.load().function_budget_bytes)
    """How large its code may be, unzipped (layerpack's own budget, not a limit of AWS)."""
    environment: dict[VariableName, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict
    )
    """Variables that it needs, and that are no secrets."""


class Workload(_Model):
    """An event that the function must answer."""

    name: Name
    """A name for reports."""
    event: RelativePath
    """A JSON file with the event."""


class Strip(_Model):
    """What is left out of the layers. Every default is safe."""

    tests: bool = True
    """Test suites that nothing else imports."""
    docs: bool = True
    """Documentation and examples."""
    bytecode: Literal["auto", "none", "unchecked-hash"] = "auto"
    """Bytecode that wheels ship always goes. `unchecked-hash` compiles anew, whatever it costs;
    `auto` does so as far as the limits leave room; `none` ships none."""
    sources: bool = True
    """Type stubs, headers and sources of compiled modules."""
    metadata: bool = True
    """Files of `*.dist-info` that nothing reads at run time; licences go to one file a layer."""
    symbols: bool = True
    """Debug symbols of shared libraries."""
    duplicates: bool = True
    """Copies of the same shared library: one stays, in lib/."""
    spacy_languages: tuple[str, ...] | None = Field(default=None, strict=False)
    """Languages of spaCy to keep (`[en]`); without it, all stay."""
    runtime_provided: bool = False
    """Distributions that the runtime has (boto3 and its kin)."""
    keep: tuple[str, ...] = Field(default=(), strict=False)
    """Glob patterns below site-packages that no pass may touch."""


class SystemLibraries(_Model):
    """Bundle what the runtime lacks, with exceptions."""

    optional: tuple[str, ...] = Field(strict=False)
    """Sonames that may be missing: who needs them is never loaded, or does without."""


class Native(_Model):
    """How the code of shared libraries is stored."""

    store: Literal["auto", "paged", "plain"] = "auto"
    """`paged` stores it compressed within the library, to be brought in when it is touched;
    `plain` leaves it as it is; `auto` is `paged` where the layers would not fit otherwise."""
    keep_plain: tuple[str, ...] = Field(default=(), strict=False)
    """Glob patterns below site-packages, as in `strip.keep`, of libraries that stay as they are."""
    level: int = Field(default=16, ge=1, le=22)
    """zstd's level: a higher one takes longer to build and as long to run. 19 saves a further 0.3 %
    of what 16 leaves, in twice the time."""
    bind: bool = True
    """Bind a library's references to itself at build time, and drop the names that this leaves
    unused."""


class Cpu(_Model):
    """Levels of the processors that the function may meet."""

    x86_64: Annotated[tuple[X86Level, ...], AfterValidator(once)] = Field(
        default=(), strict=False, alias="x86_64"
    )
    """Workloads are recorded and verified once for each, with numeric libraries held to it; one
    that this machine's processor lacks is told. `baseline` is what every processor has."""
    arm64: Annotated[tuple[ArmLevel, ...], AfterValidator(once)] = Field(default=(), strict=False)
    """The same for arm64. `neon` is what every processor has, and all that Lambda's have."""


def _operators(value: object) -> object:
    """Say what there may be, rather than how each of the two kinds does not fit."""
    if isinstance(value, list | tuple) or value in ("all", "recorded"):
        return value
    raise ValueError(
        f"expected 'all', 'recorded' or a list of names, such as [softmax, topk], got {value!r}"
    )


class Mxnet(_Model):
    """What is done to MXNet, where the layers hold it."""

    wrappers: bool = True
    """Its operators' Python functions are made once at build time, and not at every start."""
    operators: Annotated[
        Literal["all", "recorded"] | Annotated[tuple[OperatorName, ...], Field(strict=False)],
        BeforeValidator(_operators),
    ] = "all"
    """`recorded` keeps what the workloads run, a list what it names, and `[recorded, topk]` both;
    what these operators call for stays too, what MXNet itself uses, and what symbol files in the
    assets name. The code of the others is left out, and calling one raises an MXNetError that says
    so."""
    training: bool = True
    """Whether gradients of the operators that stay do so too; only asked where some go."""

    @property
    def records(self) -> bool:
        """Whether operators stay that the workloads run."""
        return self.operators == "recorded" or "recorded" in self.listed

    @property
    def listed(self) -> tuple[str, ...]:
        """What the recipe lists of operators."""
        return self.operators if isinstance(self.operators, tuple) else ()


class Verify(_Model):
    """How the layers are proven to answer as the plain install does."""

    tolerance: Number = Field(default=0.0, ge=0, le=1)
    """Numbers with a fraction in two answers may differ by so much, relative to the larger one (and
    to 1, where both are smaller)."""
    timeout: float = Field(default=120.0, gt=0, le=900)
    """Seconds that a workload may take to answer."""
    memory: Annotated[tuple[Annotated[int, Field(ge=128, le=10240)], ...], AfterValidator(once)] = (
        Field(default=(), strict=False)
    )
    """Sizes of a function's memory, in MB, for which starting is measured as well, with the share
    of a processor that each brings."""


class Layers(_Model):
    """How the payload is cut into layers."""

    max: LayerCount = Field(default_factory=lambda: LambdaLimits.load().layers, ge=1)
    """At most so many layers (Lambda: 5 a function)."""
    direct_upload: bool = True
    """Keep each zip small enough for an upload without S3, where that is possible."""


class Recipe(_Model):
    """A dependency set for Lambda layers."""

    name: Name
    """The recipe's name; layers and the build folder are called after it."""
    description: str = ""
    """One line on what it is for."""
    runtime: RuntimeName = Field(json_schema_extra={"enum": list(runtimes())})
    """Lambda's runtime identifier."""
    architecture: Architecture = "x86_64"
    """The function's architecture."""
    requirements: tuple[RequirementText, ...] = Field(strict=False, min_length=1)
    """What to pack, as PEP 508 requirements."""
    resolve: Resolve = Resolve()
    build: Build = Build()
    system_libraries: Literal["auto", "none"] | SystemLibraries = "auto"
    """`auto` bundles the shared libraries that the runtime lacks; `none` stops where one is
    missing; `{optional: [libtbb.so.12]}` is `auto`, but may do without these."""
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
            raise ValueError("'mxnet.operators: recorded' needs 'workloads' to see what they run")
        if self.mxnet.operators != "all" and self.native.store == "plain":
            raise ValueError("'mxnet.operators' needs paged libraries, not 'native.store: plain'")
        return self

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        for kind, items in (("assets", self.assets), ("workloads", self.workloads)):
            names = [item.name for item in items]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice:
                raise ValueError(f"two {kind} are named '{twice}'")
        if self.workloads and self.function is None:
            raise ValueError("workloads need a 'function' to run")
        return self

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read and validate a recipe. Raises RecipeError with file, line, key and expectation."""
        recipe = read_model(cls, path)
        recipe._path = path
        return recipe

    @property
    def path(self) -> Path:
        """The file that the recipe was read from."""
        return self._path

    @property
    def folder(self) -> Path:
        """The folder that the recipe's paths are relative to."""
        return self._path.parent

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
