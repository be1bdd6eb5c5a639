"""Two resolvers behind one interface: uv's `pip compile`, and pip-tools' `pip-compile`."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name

from layerpack import process
from layerpack.child_variables import building_variables, tool_variables
from layerpack.errors import BuildToolError, LayerpackError, RecipeError, ResolveError
from layerpack.indexes import pip_indexes, runner, uv_indexes
from layerpack.interpreters import find_interpreter, require_interpreter
from layerpack.limits import RuntimeProfile
from layerpack.lock import Lock
from layerpack.recipe import Recipe
from layerpack.runtime_lack import glibc_advice, glibc_lack, other_python
from layerpack.source_lacks import lack_hint

# The glibc versions that `uv pip compile --python-platform` knows, as manylinux tags (uv 0.9).
_UV_GLIBC = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)


# uv says this of a distribution whose wheels are all for other platforms.
_NO_WHEELS = re.compile(
    r"(?<!\S)([A-Za-z0-9][\w.-]*?)(?:[<>=!~]\S*)? (?:has|have) no (?:usable )?wheels"
)
_IN_DOCKER = (
    "Before a build in Docker, which resolves with pip-tools, run `layerpack lock --builder local`."
)
_NETWORK = re.compile(
    r"Failed to fetch|error sending request|Max retries exceeded|NewConnectionError"
)
_NO_VERSION = re.compile(
    r"ERROR:|piptools\.exceptions|\S*DistributionNotFound|\S*NoCandidateFound|No matching"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to resolve: requirements for a target, starting from `pins` (of a former lock).

    `upgrade` forgets every pin, `upgrade_packages` those of the named distributions.
    """

    name: str
    requirements: Sequence[str]
    constraints: Sequence[str] = ()
    overrides: Sequence[str] = ()
    excludes: Sequence[str] = ()
    with_dependencies: bool = True
    pins: str = ""
    upgrade: bool = False
    upgrade_packages: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the sources whose metadata is made."""


class NoVersionsError(ResolveError):
    """There is no solution."""


class Resolver(Protocol):
    """Turns requirements into pins with hashes for a runtime and architecture."""

    def resolve(self, request: Request, recipe: Recipe) -> str:
        """The pins in pip's requirements format, one hash for each file of the index.

        Raises ResolveError when there is no solution, BuildToolError when the tool cannot run.
        """
        ...


class UvResolver:
    """`uv pip compile`: fast, and resolves for another platform."""

    def resolve(self, request: Request, recipe: Recipe) -> str:
        """See Resolver."""
        profile = recipe.profile
        try:
            return self._resolve(request, recipe, profile, profile.glibc[1])
        except NoVersionsError as error:
            raise self._explained(error, request, recipe) from None

    def _explained(
        self, error: NoVersionsError, request: Request, recipe: Recipe
    ) -> NoVersionsError:
        """The error, and whether a newer glibc or another Python is all that the runtime lacks."""
        profile = recipe.profile
        who = ", ".join(dict.fromkeys(_NO_WHEELS.findall(error.message)))
        newer = [minor for minor in _UV_GLIBC if minor > profile.glibc[1]]

        def resolves(profile: RuntimeProfile, minor: int) -> bool:
            try:
                return bool(self._resolve(request, recipe, profile, minor))
            except LayerpackError:
                return False

        def fits(other: RuntimeProfile) -> bool:
            return resolves(other, _UV_GLIBC[-1])

        def works(other: RuntimeProfile) -> bool:
            return resolves(other, other.glibc[1])

        if who and newer and fits(profile):
            needed = next(minor for minor in newer if resolves(profile, minor))
            lack = glibc_lack(who, needed, profile)
            hint = glibc_advice(who, needed, profile, works)
            return NoVersionsError(f"{error.message}\n{lack}", hint)
        if who or "Python" in error.message:
            whose = f"the wheels of {who}" if who else "the required versions"
            if found := other_python(whose, profile, fits, works):
                return NoVersionsError(f"{error.message}\n{found[0]}", found[1])
        return error

    def _resolve(
        self, request: Request, recipe: Recipe, profile: RuntimeProfile, glibc_minor: int
    ) -> str:
        options = [
            *("--python-version", profile.python),
            *("--python-platform", _uv_platform(profile, glibc_minor)),
            *("--generate-hashes", "--no-header", "--quiet"),
            # A user's uv.toml may ask for these, and the lock is not the place of indexes.
            *("--no-emit-index-url", "--no-emit-find-links", "--no-emit-build-options"),
            *recipe.index_options,
            *("--only-binary", ":all:"),
        ]
        for name in recipe.build.from_source:
            options += ["--no-binary", name]
        if recipe.build.from_source:
            # Metadata of a source distribution is the target interpreter's to make.
            options += [
                "--python",
                str(
                    require_interpreter(
                        profile,
                        "to resolve what is built "
                        f"from source ({', '.join(recipe.build.from_source)})",
                    )
                ),
            ]
        elif interpreter := find_interpreter(profile):
            options += ["--python", str(interpreter)]
        if recipe.resolve.exclude_newer:
            options += ["--exclude-newer", recipe.resolve.exclude_newer]
        if not request.with_dependencies:
            options += ["--no-deps"]
        options += _upgrade_options(request)
        run = runner(uv_indexes, building_variables if recipe.build.from_source else tool_variables)
        tool = process.Tool(command=(sys.executable, "-P", "-m", "uv", "pip", "compile"), run=run)
        return _compile(tool, options, request, "uv")


class PipToolsResolver:
    """pip-tools' `pip-compile`, run under the target's interpreter, with pip's configuration.

    `compiler` is where it runs: on this machine, unless told.
    """

    def __init__(self, compiler: process.Tool | None = None) -> None:
        self._compiler = compiler

    def resolve(self, request: Request, recipe: Recipe) -> str:
        """See Resolver."""
        if refused := [key for key in ("exclude", "override") if getattr(recipe.resolve, key)]:
            raise RecipeError(
                f"{recipe.path}: resolve.{refused[0]} needs uv; pip-tools has no such option",
                f"Use `resolve: {{tool: uv}}` or remove the key. {_IN_DOCKER}",
            )
        if recipe.resolve.exclude_newer:
            raise ResolveError(
                "resolve.exclude-newer needs uv; pip-tools has no such option",
                f"Use `resolve: {{tool: uv}}` or remove the key. {_IN_DOCKER}",
            )
        compiler = self._compiler or _pip_compile(recipe)
        binary = ["--only-binary=:all:"]
        binary += [f"--no-binary={name}" for name in recipe.build.from_source]
        if recipe.build.from_source and recipe.profile.python_version >= (3, 10):
            # The pip that it would start for build requirements gets the index as an argument.
            binary.append("--use-feature=inprocess-build-deps")
        if not request.with_dependencies:
            binary.append("--no-deps")
        options = [
            *("--generate-hashes", "--no-header", "--allow-unsafe", "--strip-extras", "--quiet"),
            *("--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-options"),
            *("--no-emit-find-links", "--resolver=backtracking", "--no-config"),
            *recipe.index_options,
            *("--pip-args", " ".join(binary)),
            *_upgrade_options(request),
        ]
        return _compile(compiler, options, request, "pip-compile")


def _pip_compile(recipe: Recipe) -> process.Tool:
    """pip-tools on this machine: uv makes its environment for the target's interpreter, once, in
    uv's own cache."""
    interpreter = require_interpreter(recipe.profile, "to resolve with pip-tools")
    tool = (
        sys.executable,
        "-P",
        "-m",
        "uv",
        "tool",
        "run",
        "--quiet",
        "--python",
        str(interpreter),
    )
    pinned = ("--from", f"pip-tools=={version('pip-tools')}", "pip-compile")
    run = runner(pip_indexes, building_variables if recipe.build.from_source else tool_variables)
    return process.Tool(command=(*tool, *pinned), run=run)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inside:
    """pip-tools in an image: the tool, and the image with its digest."""

    pip_compile: process.Tool
    image: str


RESOLVERS: dict[str, Resolver] = {"uv": UvResolver(), "pip-tools": PipToolsResolver()}


def make_lock(
    recipe: Recipe,
    *,
    former: Lock | None = None,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    on_step: Callable[[str], None] = lambda step: None,
    inside: Inside | None = None,
) -> Lock:
    """Resolve the recipe, holding to the versions of `former` where they still fit.

    With `inside`, pip-tools resolves in an image. Nothing is written. Raises ResolveError, or
    BuildToolError when a tool is missing.
    """
    tool = "pip-tools" if inside else recipe.resolve.tool
    resolver = PipToolsResolver(inside.pip_compile) if inside else RESOLVERS[tool]
    known = {canonicalize_name(locked.name) for locked in former.requirements} if former else set()
    for name in upgrade_packages:
        if former is not None and canonicalize_name(name) not in known:
            raise ResolveError(
                f"'{name}' is not in {recipe.lock_path}, so it cannot be upgraded",
                "Locked are: " + ", ".join(sorted(known)),
            )
    on_step(f"resolving {len(recipe.requirements)} requirements with {tool}")
    body = resolver.resolve(
        Request(
            name=recipe.name,
            requirements=recipe.requirements,
            constraints=recipe.resolve.constraints,
            overrides=recipe.resolve.override,
            excludes=recipe.resolve.exclude,
            environment=recipe.build.environment,
            pins=former.preferences if former else "",
            upgrade=upgrade,
            upgrade_packages=upgrade_packages,
        ),
        recipe,
    )
    asset_bodies = []
    for wheel in recipe.extra_wheels:
        on_step(f"resolving {wheel}")
        request = Request(name="asset", requirements=[wheel], with_dependencies=False)
        asset_bodies.append(resolver.resolve(request, recipe))
    try:
        image = inside.image if inside else ""
        return Lock.make(recipe, body, tuple(asset_bodies), resolver=tool, image=image)
    except (ValueError, StopIteration) as error:
        raise ResolveError(f"could not parse {tool}'s output as a lock file: {error}") from None


def _compile(tool: process.Tool, options: list[str], request: Request, shown: str) -> str:
    """Run a compiler in a folder of its own, so that its notes name no path of this machine."""
    with tempfile.TemporaryDirectory(prefix="layerpack-") as name:
        folder = Path(name)
        source = folder / f"{request.name}.in"
        output = folder / f"{request.name}.txt"
        source.write_text("\n".join(request.requirements) + "\n", encoding="utf-8")
        for option, lines in (
            ("constraint", request.constraints),
            ("override", request.overrides),
            ("excludes", request.excludes),
        ):
            if lines:
                listing = folder / f"{request.name}.{option}"
                listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
                options = [*options, f"--{option}", listing.name]
        if request.pins:
            output.write_text(request.pins, encoding="utf-8")
        result = tool.run(
            [*tool.command, *options, "--output-file", output.name, source.name],
            folder=folder,
            environment={**request.environment, "UV_CUSTOM_COMPILE_COMMAND": "layerpack lock"},
        )
        if result.returncode != 0:
            raise _failure(result, shown, request)
        return output.read_text(encoding="utf-8")


def _failure(result: process.Result, shown: str, request: Request) -> Exception:
    text = result.errors.strip() or result.output.strip()
    if re.search(r"No such file|cannot execute|No module named (uv|piptools)", text):
        return BuildToolError(f"{shown} cannot run: {result.tail(3)}")
    # uv tells "error: ... cause: ...", pip "ERROR: ..."; progress and tracebacks are noise.
    lines = [line for line in text.splitlines() if not line.startswith(("warning:", "WARNING:"))]
    # pip's hint about yanked versions begins like an error, and is none.
    wanted = [line for line in lines if _NO_VERSION.match(line) and "yanked" not in line]
    wanted = wanted or lines[-12:]
    asked = ", ".join(request.requirements)
    told = "\n".join(f"  {line}" for line in wanted)
    if _NETWORK.search(text):
        return ResolveError(
            f"{shown} could not ask the index for: {asked}\n{told}",
            "Check the network and the index.",
        )
    return NoVersionsError(
        f"{shown} found no versions for: {asked}\n{told}",
        # Metadata of sources is made by their own builds.
        lack_hint(text)
        or "Change the recipe's requirements. Distributions without wheels may be built from "
        "source with build.from-source.",
    )


def _uv_platform(profile: RuntimeProfile, glibc_minor: int) -> str:
    minor = max(known for known in _UV_GLIBC if known <= glibc_minor)
    tag = "manylinux2014" if minor == 17 else f"manylinux_2_{minor}"
    return f"{profile.machine}-{tag}"


def _upgrade_options(request: Request) -> list[str]:
    options = ["--upgrade"] if request.upgrade else []
    for name in request.upgrade_packages:
        options += ["--upgrade-package", name]
    return options
