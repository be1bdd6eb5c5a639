"""The stages composed: recipe, lock, wheels, payload, passes, layers, zips, manifest, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from layerpack.assets import AssetContext, AssetRecord, make_asset
from layerpack.build_folder import BuildFolder
from layerpack.builders.api import BuildContext, Builder, WheelFile
from layerpack.builders.local import LocalBuilder
from layerpack.builders.unpack import payload_of, unpack
from layerpack.cache import Cache
from layerpack.errors import ResolveError
from layerpack.inputs import build_key, function_entries
from layerpack.interpreters import find_interpreter
from layerpack.limits import LambdaLimits
from layerpack.lock import Lock
from layerpack.manifest import FileInventory, Manifest
from layerpack.output import Built, write_build
from layerpack.passes.api import PassContext
from layerpack.passes.metadata import licence_files
from layerpack.passes.registry import passes_for
from layerpack.passes.runner import run_passes
from layerpack.patches import apply_patches
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Asset, Recipe
from layerpack.resolve import make_lock
from layerpack.system_libraries import close_over
from layerpack.units import key_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """What a build tells while it runs: `step` a stage that starts, `progress(done, total)` how
    far it is, `note` what may interest, `warn` what the user should know."""

    step: Callable[[str], None] = field(default=lambda text: None)
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    note: Callable[[str], None] = field(default=lambda text: None)
    warn: Callable[[str], None] = field(default=lambda text: None)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What the user asked of a build; `output` is the build folder (default `build/<name>`)."""

    cache: Cache
    output: Path | None = None
    locked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildResult:
    """A finished build: its folder and record; `fresh` when nothing had changed."""

    folder: Path
    manifest: Manifest
    inventory: FileInventory
    fresh: bool


def output_folder(recipe: Recipe, options: BuildOptions) -> Path:
    """Where the recipe's build goes: `build/<name>` in the current folder, unless told."""
    return options.output or Path("build") / recipe.name


def update_lock(
    recipe: Recipe, events: Events, *, upgrade: bool = False, upgrade_packages: Sequence[str] = ()
) -> Lock:
    """Resolve the recipe and write its lock. The former lock stays where resolving fails."""
    former = Lock.read(recipe.lock_path)
    lock = make_lock(
        recipe,
        former=former,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        on_step=events.step,
    )
    lock.write(recipe.lock_path)
    return lock


def current_lock(recipe: Recipe, options: BuildOptions, events: Events) -> Lock:
    """The recipe's lock, made or made anew where it does not hold.

    Raises ResolveError for that with `options.locked`.
    """
    lock = Lock.read(recipe.lock_path)
    reason = lock.stale_reason(recipe) if lock else "there is none"
    if lock is not None and not reason:
        return lock
    if options.locked:
        raise ResolveError(
            f"the lock {recipe.lock_path} does not hold: {reason}",
            f"Run `layerpack lock {recipe.path}`, or build without --locked.",
        )
    if lock is not None:
        events.warn(f"{recipe.lock_path} is stale ({reason}): resolving anew")
    return update_lock(recipe, events)


def build(recipe_path: Path, options: BuildOptions, events: Events) -> BuildResult:
    """Build a recipe into its folder.

    The build is complete even where it is over a limit: `report.model.limit_error` says so.
    Raises LayerpackError; an earlier build, the lock and the cache are then as they were.
    """
    recipe = Recipe.load(recipe_path)
    function = function_entries(recipe)
    lock = current_lock(recipe, options, events)
    folder = BuildFolder(output_folder(recipe, options))
    with folder.locked():
        fresh = is_fresh(folder, recipe, lock)
        if not fresh:
            has_python = find_interpreter(recipe.profile) is not None
            key = build_key(recipe, lock, interpreter=has_python)
            built = _Run(recipe, lock, options.cache, events).payload(function)
            events.step("compressing and writing the layers")
            with folder.replacing(key) as aside:
                for text in write_build(built, aside, options.cache, events.progress):
                    events.warn(text)
        return BuildResult(
            folder=folder.path,
            manifest=Manifest.read(folder.path / "manifest.json"),
            inventory=FileInventory.read(folder.path / "files.json"),
            fresh=fresh,
        )


class _Run:
    """One run of the stages up to the stripped payload."""

    def __init__(self, recipe: Recipe, lock: Lock, cache: Cache, events: Events) -> None:
        self.recipe = recipe
        self.lock = lock
        self.cache = cache
        self.events = events
        self.profile = recipe.profile
        self.builder: Builder = LocalBuilder()
        self.context = BuildContext(
            profile=self.profile,
            cache=cache,
            from_source=recipe.build.from_source,
            constraints=recipe.build.constraints,
            index_options=recipe.index_options,
            on_step=events.step,
            progress=events.progress,
        )

    def payload(self, function: tuple[FileEntry, ...] | None) -> Built:
        """Everything up to the point where zips are written."""
        wheels = self.builder.wheels(self.lock.requirements, self.context)
        self.events.step(f"unpacking {len(wheels)} wheels")
        payload = payload_of(wheels, self.cache, self.recipe.runtime, self.events.progress)
        payload, patched = apply_patches(payload, self.recipe, self.cache.folder("patched"))
        for text in patched:
            self.events.note(f"patched {text}")
        payload = self._close(payload)
        assets = self._assets(payload)
        payload = payload.updated(add=[entry for asset in assets for entry in asset.entries])
        licences = licence_files(payload)
        naive = payload
        limits = LambdaLimits.load()
        taken = sum(entry.size for entry in function or ())
        taken += sum(entry.size for files in licences.values() for entry in files)
        interpreter = find_interpreter(self.profile)
        if interpreter is None and self.recipe.strip.bytecode == "auto":
            self.events.warn(
                f"no Python {self.profile.python} on this machine: the layers get no bytecode, and "
                "every cold start compiles (set strip.bytecode to none to say so)"
            )
        outcome = run_passes(
            payload,
            passes_for(self.recipe),
            PassContext(
                recipe=self.recipe,
                profile=self.profile,
                cache=self.cache.folder("passes"),
                # Strictly below the limit.
                room=limits.unzipped_bytes - 1 - taken - payload.size,
                interpreter=interpreter,
                progress=self.events.progress,
            ),
            on_pass=lambda one: self.events.step(f"pass {one.name}: {one.summary}"),
        )
        self.events.step("looking for system libraries again, after the passes")
        # What the passes left must still be closed, or a pass took a library that is needed.
        close_over(outcome.payload, self.profile, lambda soname: None, bundle=False)
        return Built(
            recipe=self.recipe,
            lock=self.lock,
            limits=limits,
            wheels=wheels,
            assets=assets,
            naive=naive,
            outcome=outcome,
            licences=licences,
            function=function,
        )

    def _close(self, payload: Payload) -> Payload:
        self.events.step("looking for system libraries")
        closed, bundled = close_over(
            payload,
            self.profile,
            lambda soname: self.builder.system_library(soname, self.context),
            bundle=self.recipe.system_libraries == "auto",
        )
        for library in bundled:
            self.events.note(f"bundled {library.soname}, needed by {library.user}")
        return closed

    def _assets(self, payload: Payload) -> tuple[AssetRecord, ...]:
        context = AssetContext(
            recipe=self.recipe,
            payload=payload,
            payload_key=key_of([(entry.path, entry.sha256) for entry in payload]),
            cache=self.cache,
            wheel=self._asset_wheel,
            on_step=self.events.step,
            progress=self.events.progress,
        )
        return tuple(make_asset(asset, context) for asset in self.recipe.assets)

    def _asset_wheel(self, asset: Asset) -> tuple[Path, str, str]:
        # The lock has the assets' wheels in the recipe's order.
        wheels = [other.name for other in self.recipe.assets if other.wheel]
        pin = self.lock.assets[wheels.index(asset.name)]
        wheel: WheelFile = self.builder.wheels([pin], self.context)[0]
        return unpack(wheel, self.cache).files, wheel.path.name, wheel.sha256


def is_fresh(folder: BuildFolder, recipe: Recipe, lock: Lock) -> bool:
    """Whether the folder holds the build of the recipe and the lock as they are now.

    Most builds had an interpreter: looking for one takes long, so that is tried first without.
    """
    return folder.is_fresh(build_key(recipe, lock, interpreter=True)) or (
        folder.is_fresh(build_key(recipe, lock, interpreter=False))
        and find_interpreter(recipe.profile) is None
    )


def describe(recipe_path: Path, options: BuildOptions) -> dict[str, object]:
    """What `build` would do, without doing it (`--dry-run`): nothing is downloaded or written."""
    recipe = Recipe.load(recipe_path)
    function = function_entries(recipe)
    lock = Lock.read(recipe.lock_path)
    reason = lock.stale_reason(recipe) if lock else "there is none"
    if options.locked and reason:
        raise ResolveError(f"the lock {recipe.lock_path} does not hold: {reason}")
    folder = BuildFolder(output_folder(recipe, options))
    fresh = not reason and lock is not None and is_fresh(folder, recipe, lock)
    return {
        "recipe": str(recipe_path),
        "runtime": recipe.runtime,
        "architecture": recipe.architecture,
        "output": str(folder.path),
        "nothing_to_do": fresh,
        "lock": {"file": str(recipe.lock_path), "holds": not reason, "reason": reason},
        "distributions": [f"{pin.name}=={pin.version}" for pin in lock.requirements]
        if lock and not reason
        else [],
        "from_source": list(recipe.build.from_source),
        "patches": [patch.package for patch in recipe.patches],
        "assets": [asset.name for asset in recipe.assets],
        "passes": [one.name for one in passes_for(recipe)],
        "function_bytes": sum(entry.size for entry in function or ()),
    }
