"""Two resolvers behind one interface: uv's `pip compile`, and pip-tools' `pip-compile`."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name

from layerpack import process
from layerpack.errors import BuildToolError, ResolveError
from layerpack.interpreters import find_interpreter, require_interpreter
from layerpack.limits import RuntimeProfile
from layerpack.lock import Lock
from layerpack.recipe import Recipe

# The glibc versions that `uv pip compile --python-platform` knows, as manylinux tags (uv 0.9).
_UV_GLIBC = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)


_NETWORK = re.compile(
    r"Failed to fetch|error sending request|Max retries exceeded|NewConnectionError"
)
_NO_VERSION = re.compile(
    r"ERROR:|piptools\.exceptions|\S*DistributionNotFound|\S*NoCandidateFound|No matching"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to resolve: requirements for a target, starting from `pins` (a former lock's body).

    `upgrade` forgets every pin, `upgrade_packages` those of the named distributions.
    """

    name: str
    requirements: Sequence[str]
    with_dependencies: bool = True
    pins: str = ""
    upgrade: bool = False
    upgrade_packages: Sequence[str] = ()


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
        options = [
            *("--python-version", profile.python, "--python-platform", _uv_platform(profile)),
            *("--generate-hashes", "--no-header", "--quiet"),
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
        tool = process.Tool(command=(sys.executable, "-m", "uv", "pip", "compile"), run=process.run)
        return _compile(tool, options, request, "uv")


class PipToolsResolver:
    """pip-tools' `pip-compile`, run under the target's interpreter, with pip's configuration.

    `compiler` is where it runs: on this machine, unless told.
    """

    def __init__(self, compiler: process.Tool | None = None) -> None:
        self._compiler = compiler

    def resolve(self, request: Request, recipe: Recipe) -> str:
        """See Resolver."""
        compiler = self._compiler or _pip_compile(recipe.profile)
        if recipe.resolve.exclude_newer:
            raise ResolveError(
                "resolve.exclude-newer needs uv; pip-tools has no such option",
                "Use `resolve: {tool: uv}` or remove the key; before a build in Docker, which "
                "resolves with pip-tools, run `layerpack lock --builder local`.",
            )
        binary = ["--only-binary=:all:"]
        binary += [f"--no-binary={name}" for name in recipe.build.from_source]
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


def _pip_compile(profile: RuntimeProfile) -> process.Tool:
    """pip-tools on this machine: uv makes its environment for the target's interpreter, once, in
    uv's own cache."""
    interpreter = require_interpreter(profile, "to resolve with pip-tools")
    tool = (sys.executable, "-m", "uv", "tool", "run", "--quiet", "--python", str(interpreter))
    pinned = ("--from", f"pip-tools=={version('pip-tools')}", "pip-compile")
    return process.Tool(command=(*tool, *pinned), run=process.run)


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
    wheels = [asset.wheel for asset in recipe.assets if asset.wheel]
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
            pins=former.body if former else "",
            upgrade=upgrade,
            upgrade_packages=upgrade_packages,
        ),
        recipe,
    )
    asset_bodies = []
    for wheel in wheels:
        on_step(f"resolving the asset {wheel}")
        request = Request(name="asset", requirements=[wheel], with_dependencies=False)
        asset_bodies.append(resolver.resolve(request, recipe))
    try:
        image = inside.image if inside else ""
        return Lock.make(recipe, body, tuple(asset_bodies), resolver=tool, image=image)
    except (ValueError, StopIteration) as error:
        raise ResolveError(f"{tool} gave what is no lock: {error}") from None


def _compile(tool: process.Tool, options: list[str], request: Request, shown: str) -> str:
    """Run a compiler in a folder of its own, so that its notes name no path of this machine."""
    with tempfile.TemporaryDirectory(prefix="layerpack-") as name:
        folder = Path(name)
        source = folder / f"{request.name}.in"
        output = folder / f"{request.name}.txt"
        source.write_text("\n".join(request.requirements) + "\n", encoding="utf-8")
        if request.pins:
            output.write_text(request.pins, encoding="utf-8")
        result = tool.run(
            [*tool.command, *options, "--output-file", output.name, source.name],
            folder=folder,
            environment={"UV_CUSTOM_COMPILE_COMMAND": "layerpack lock", "NO_COLOR": "1"},
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
    return ResolveError(
        f"{shown} found no versions for: {asked}\n{told}",
        "Mend the recipe's requirements; what has no wheel may be allowed as source with "
        "build.from-source.",
    )


def _uv_platform(profile: RuntimeProfile) -> str:
    minor = max(known for known in _UV_GLIBC if known <= profile.glibc[1])
    tag = "manylinux2014" if minor == 17 else f"manylinux_2_{minor}"
    return f"{profile.machine}-{tag}"


def _upgrade_options(request: Request) -> list[str]:
    options = ["--upgrade"] if request.upgrade else []
    for name in request.upgrade_packages:
        options += ["--upgrade-package", name]
    return options
