"""The sections of a recipe: one model for each of its keys that is a mapping or a list of them."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from layerpack.limits import LambdaLimits
from layerpack.processor_levels import ArmLevel, X86Level
from layerpack.recipe_mistakes import MistakeError
from layerpack.recipe_values import (
    AnswerPath,
    Distribution,
    Handler,
    IgnorePattern,
    ImageName,
    LayerCount,
    Moment,
    Name,
    Number,
    OperatorName,
    Pattern,
    Pin,
    RelativePath,
    RequirementText,
    Sha256,
    Size,
    SystemPackage,
    Url,
    VariableName,
    Variables,
    VariableValue,
    once,
)
from layerpack.units import without_users


class Section(BaseModel):
    """Keys with hyphens, checked strictly, frozen."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _given(cls, value: object, info: ValidationInfo) -> object:
        """A key without a value is one that somebody forgot, also where it may be left out."""
        field = cls.model_fields[info.field_name or ""]
        if value is None and type(None) in get_args(field.annotation):
            raise MistakeError(
                "expected a value, got nothing", "Give it a value, or remove the key."
            )
        return value


class Resolve(Section):
    """How requirements become exact versions."""

    tool: Literal["uv", "pip-tools"] = "uv"
    """`uv` resolves for any platform; `pip-tools` runs under the target's own interpreter."""
    index_url: str | None = None
    """The package index to use instead of the one that pip or uv is configured for."""
    extra_index_urls: tuple[str, ...] = Field(default=(), strict=False)
    """Further package indexes."""
    find_links: tuple[str, ...] = Field(default=(), strict=False)
    """Folders or pages with further wheels."""
    exclude_newer: Moment | None = None
    """Leave out what was uploaded after this date (uv only)."""
    exclude: tuple[Distribution, ...] = Field(default=(), strict=False)
    """Distributions to leave out, whatever requires them (uv only)."""
    override: tuple[RequirementText, ...] = Field(default=(), strict=False)
    """Requirements that replace what distributions say of the same name (uv only)."""
    constraints: tuple[RequirementText, ...] = Field(default=(), strict=False)
    """Versions to hold distributions to, where something requires them."""

    @field_serializer("index_url", "extra_index_urls", "find_links")
    def _without_users(self, value: str | tuple[str, ...] | None) -> str | list[str] | None:
        """For keys and digests, which are no place for passwords."""
        if isinstance(value, str | None):
            return value and without_users(value)
        return [without_users(one) for one in value]

    @property
    def digest_part(self) -> dict[str, object]:
        """What a lock depends on; keys younger than the first locks count where they are used."""
        unused = {
            name for name in ("exclude", "override", "constraints") if not getattr(self, name)
        }
        return self.model_dump(mode="json", exclude=unused)


class Build(Section):
    """What may be built from source, and with what."""

    from_source: tuple[Distribution, ...] = Field(default=(), strict=False)
    """Distributions that may come as source; every other must come as a wheel."""
    constraints: tuple[RequirementText, ...] = Field(default=(), strict=False)
    """Versions of build requirements (setuptools, cython) to hold to."""
    environment: dict[VariableName, Annotated[VariableValue, Field(max_length=4096)]] = Field(
        default_factory=dict
    )
    """Variables that building from source needs, such as `USE_CUDA: "0"`, and that are no secrets:
    of the caller's own, it gets those for compilers alone."""
    image: ImageName | None = None
    """The image to build in with Docker, best with its digest; without it, AWS's build image."""
    system_packages: tuple[SystemPackage, ...] = Field(default=(), strict=False)
    """Packages of the image's system that building from source needs, such as `lz4-devel`."""


class Replacement(Section):
    """A replacement by regular expression, as Python's `re.sub`."""

    pattern: Pattern
    """What to find (Python's `re`, multi-line mode)."""
    with_: str = Field(alias="with")
    """What to put there; `\\1` stands for the first group."""
    count: int | None = Field(default=None, ge=1)
    """How many replacements there must be, over all files; without it, at least one."""


class Patch(Section):
    """A source fix that a pinned release needs; it must apply or the build fails."""

    package: Distribution
    """The distribution to patch."""
    files: tuple[str, ...] = Field(default=("**/*.py",), strict=False)
    """Which of its files, as glob patterns below site-packages."""
    replace: Replacement
    """The replacement to make in each of these files."""


class Asset(Section):
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
    include: tuple[IgnorePattern, ...] = Field(default=(), strict=False)
    """Files of a folder to ship although they are named like a secret: patterns as in
    `.gitignore`."""
    exclude: tuple[IgnorePattern, ...] = Field(default=(), strict=False)
    """Files of a folder to leave out."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = [key for key in ("wheel", "file", "url") if getattr(self, key) is not None]
        if len(sources) > 1:
            raise ValueError(f"an asset has one source, not {' and '.join(sources)}")
        if not sources and self.prepare is None:
            raise ValueError("an asset needs a source ('wheel', 'file', 'url') or 'prepare'")
        if self.url is not None and self.sha256 is None:
            raise ValueError("an asset from a URL needs its 'sha256'")
        if (self.include or self.exclude) and (self.file is None or self.prepare is not None):
            raise ValueError("'include' and 'exclude' are for a 'file' without 'prepare'")
        return self


class Function(Section):
    """The function's own code."""

    source: RelativePath
    """A folder; its content is the function package."""
    handler: Handler = "app.handler"
    """Lambda's handler setting: module.function."""
    budget: Size = Field(default_factory=lambda: LambdaLimits.load().function_budget_bytes)
    """How large its code may be, unzipped (layerpack's own budget, not a limit of AWS)."""
    include: tuple[IgnorePattern, ...] = Field(default=(), strict=False)
    """Files to deploy although ignored or named like a secret: patterns as in `.gitignore`."""
    exclude: tuple[IgnorePattern, ...] = Field(default=(), strict=False)
    """Files to leave out, besides those that `.gitignore` and `.layerpackignore` name."""
    environment: Variables = Field(default_factory=dict)
    """Variables that it needs, and that are no secrets; at most 4 KB in all, as Lambda allows."""


class Workload(Section):
    """An event that the function must answer."""

    name: Name
    """A name for reports."""
    event: RelativePath
    """A JSON file with the event."""


class Strip(Section):
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
    programs: bool = True
    """Programs that nothing calls, such as a build's tests."""
    metadata: bool = True
    """Files of `*.dist-info` that nothing reads at run time; licences go to one file a layer."""
    symbols: bool = True
    """Debug symbols of shared libraries."""
    duplicates: bool = True
    """Copies of the same shared library: one stays, and others load it."""
    spacy_languages: tuple[str, ...] | None = Field(default=None, strict=False)
    """Languages of spaCy to keep (`[en]`); without it, all stay."""
    runtime_provided: bool = False
    """Distributions that the runtime has (boto3 and its kin)."""
    keep: tuple[str, ...] = Field(default=(), strict=False)
    """Glob patterns below site-packages that no pass may touch."""


class Native(Section):
    """How the code of shared libraries is stored."""

    store: Literal["auto", "paged", "plain"] = "auto"
    """`paged` stores it compressed within the library, to be brought in when it is touched;
    `plain` leaves it as it is; `auto` is `paged` where the layers would not fit otherwise."""
    keep_plain: tuple[str, ...] = Field(default=(), strict=False)
    """Glob patterns below site-packages, as in `strip.keep`, of libraries that stay as they are."""
    touched: Literal["auto", "mapped", "packed"] = "auto"
    """Code of packed libraries that the workloads touch: `mapped` stores it as it is, so that the
    start is as fast as with plain libraries; `packed` compresses it as the rest; `auto` maps it as
    far as the limits leave room."""
    data: Literal["auto", "packed", "plain"] = "auto"
    """Read-only data of packed libraries: `packed` stores it compressed, to be decompressed when
    the library is loaded, which takes time at each start, and memory; `plain` leaves it as it is;
    `auto` is `packed` for as few libraries as it takes for the layers to fit."""
    level: int = Field(default=16, ge=1, le=22)
    """zstd's level: a higher one takes longer to build and as long to run. 19 saves a further 0.3 %
    of what 16 leaves, in twice the time."""
    bind: bool = True
    """Bind a library's references to itself at build time, and drop the names that this leaves
    unused."""


class Cpu(Section):
    """Levels of the processors that the function may meet."""

    x86_64: Annotated[tuple[X86Level, ...], AfterValidator(once)] = Field(
        default=(), strict=False, alias="x86_64"
    )
    """Workloads are recorded and verified once for each, with numeric libraries held to it; one
    that this machine's processor lacks is reported. `baseline` is what every processor has."""
    arm64: Annotated[tuple[ArmLevel, ...], AfterValidator(once)] = Field(default=(), strict=False)
    """The same for arm64. `neon` is what every processor has, and all that Lambda's have."""


def _operators(value: object) -> object:
    """Say what there may be, rather than how each of the two kinds does not fit."""
    if isinstance(value, list | tuple) or value in ("all", "recorded"):
        return value
    raise ValueError(
        f"expected 'all', 'recorded' or a list of names, such as [softmax, topk], got {value!r}"
    )


class Mxnet(Section):
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


class Verify(Section):
    """How the layers are proven to answer as the plain install does."""

    tolerance: Number = Field(default=0.0, ge=0, le=1)
    """Numbers with a fraction in two answers may differ by so much, relative to the larger one (and
    to 1, where both are smaller)."""
    ignore: tuple[AnswerPath, ...] = Field(default=(), strict=False)
    """Fields of answers that differ by design, such as `results.*.id`: `*` stands for one name or
    number, and a text that holds JSON is entered like an object."""
    required: bool = False
    """Whether a build that is not verified, or not at every level of `cpu`, fails."""
    timeout: float = Field(default=120.0, gt=0, le=900)
    """Seconds that a workload may take to answer."""
    memory: Annotated[tuple[Annotated[int, Field(ge=128, le=10240)], ...], AfterValidator(once)] = (
        Field(default=(), strict=False)
    )
    """Sizes of a function's memory, in MB, for which starting is measured as well, with the share
    of a processor that each brings."""
    network: bool = False
    """Whether workloads reach the network while they are recorded and verified."""


class Layers(Section):
    """How the payload is cut into layers."""

    max: LayerCount = Field(default_factory=lambda: LambdaLimits.load().layers, ge=1)
    """At most so many layers (Lambda: 5 a function)."""
    direct_upload: bool = True
    """Keep each zip small enough for an upload without S3, where that is possible."""
