"""The stages composed: recipe, lock, wheels, payload, passes, layers, zips, manifest, report."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final

from layerpack.archive import COMPRESSOR, DamagedError
from layerpack.arrange import current_recording
from layerpack.assets import AssetContext, AssetRecord, make_asset
from layerpack.build_folder import BuildFolder
from layerpack.builders.api import BuildContext, Builder, SystemLibrary, WheelFile
from layerpack.builders.choose import Wish, docker_need, open_builder
from layerpack.builders.unpack import payload_of, unpack
from layerpack.cache import Cache
from layerpack.elf.windows import ZSTD
from layerpack.emulation import runtime_folder
from layerpack.errors import ResolveError
from layerpack.events import Events
from layerpack.inputs import build_key, function_entries
from layerpack.interpreters import find_interpreter, interpreter_version
from layerpack.limits import LambdaLimits
from layerpack.lock import Lock
from layerpack.locking import current_lock, read_lock
from layerpack.manifest import FileInventory, Manifest
from layerpack.output import Built, write_build, write_proof
from layerpack.passes.api import Pass, PassContext, Remark
from layerpack.passes.metadata import licence_files
from layerpack.passes.paged import Paged
from layerpack.passes.patterns import unmatched
from layerpack.passes.registry import passes_for
from layerpack.passes.runner import Outcome, run_passes
from layerpack.patches import Patched, apply_patches
from layerpack.payload import FileEntry, Payload
from layerpack.recipe import Asset, Recipe
from layerpack.system_libraries import Bundled, bundle_missing, check_libraries, unneeded
from layerpack.units import key_of
from layerpack.verification import verify

#: What the manifest of a build says that was not to be verified; the next one may be.
_UNVERIFIED: Final = {"state": "not verified", "reason": "--no-verify"}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What the user asked of a build; `output` is the build folder (default `build/<name>`)."""

    cache: Cache
    output: Path | None = None
    locked: bool = False
    verify: bool = False
    wish: Wish = field(default_factory=Wish)


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


def build(recipe_path: Path, options: BuildOptions, events: Events) -> BuildResult:
    """Build a recipe into its folder.

    The build is complete even where it is over a limit: `report.model.limit_error` says so.
    Raises LayerpackError; an earlier build, the lock and the cache are then as they were.
    """
    recipe = Recipe.load(recipe_path)
    function = function_entries(recipe)
    if recipe.profile.deprecated <= date.today():
        events.warn(f"AWS deprecated {recipe.runtime} on {recipe.profile.deprecated}")
    options.cache.make()
    with closing(open_builder(recipe, options.wish, options.cache, events)) as builder:
        return _build(recipe, options, events, builder, function)


def _build(
    recipe: Recipe,
    options: BuildOptions,
    events: Events,
    builder: Builder,
    function: tuple[FileEntry, ...] | None,
) -> BuildResult:
    lock = current_lock(recipe, events, locked=options.locked, builder=builder)
    if lock.image and builder.image and lock.image != builder.image:
        events.warn(f"{recipe.lock_path} was made in {lock.image}, not in {builder.image}")
    folder = BuildFolder(output_folder(recipe, options))
    with folder.locked(lambda: events.warn(f"waiting for another build of {folder.path}")):
        fresh = is_fresh(folder, recipe, lock, builder.image, unsettled=options.locked)
        if fresh and options.verify:
            fresh = Manifest.read(folder.path / "manifest.json").verified != _UNVERIFIED
        if not fresh:
            has_python = find_interpreter(recipe.profile) is not None
            run = _Run(recipe, lock, options, events, builder)
            built = run.payload(function)
            # The recording, on which the key depends, is one of the things just made.
            key = _key(recipe, lock, builder.image, interpreter=has_python)
            if not run.settled:
                key = _unsettled(key)
            events.step("compressing and writing the layers")
            with folder.replacing(key) as aside:
                try:
                    notes = write_build(built, aside, options.cache, events.progress)
                except DamagedError as error:
                    # Whatever wrote into the cache, the next build shall not meet it again.
                    options.cache.forget(error.path)
                    raise
                for text in notes:
                    events.warn(text)
                proof = _UNVERIFIED
                if options.verify:
                    manifest = Manifest.read(aside / "manifest.json")
                    proof = verify(aside, manifest, built, cache=options.cache, events=events)
                write_proof(aside, proof)
        return BuildResult(
            folder=folder.path,
            manifest=Manifest.read(folder.path / "manifest.json"),
            inventory=FileInventory.read(folder.path / "files.json"),
            fresh=fresh,
        )


class _Run:
    """One run of the stages up to the stripped payload."""

    def __init__(
        self, recipe: Recipe, lock: Lock, options: BuildOptions, events: Events, builder: Builder
    ) -> None:
        self.recipe = recipe
        self.lock = lock
        self.locked = options.locked
        self.cache = cache = options.cache
        self.events = events
        self.profile = recipe.profile
        self.builder = builder
        self.context = BuildContext(
            profile=self.profile,
            cache=cache,
            from_source=recipe.build.from_source,
            constraints=recipe.build.constraints,
            index_options=recipe.index_options,
            on_step=events.step,
            progress=events.progress,
            on_output=events.output,
        )
        self.system: dict[str, SystemLibrary] = {}
        #: Whether the next build, without --locked, would do the same.
        self.settled = True

    def payload(self, function: tuple[FileEntry, ...] | None) -> Built:
        """Everything up to the point where zips are written."""
        unknown = set(self.recipe.build.from_source) - {p.name for p in self.lock.requirements}
        for name in sorted(unknown):
            self.events.warn(f"build.from-source names {name}, which is not in the lock")
        wheels = self.builder.wheels(self.lock.requirements, self.context)
        self.events.step(f"unpacking {len(wheels)} wheels")
        payload, collisions = payload_of(
            wheels, self.cache, self.recipe.runtime, self.events.progress
        )
        for text in collisions:
            self.events.warn(text)
        payload, patched = apply_patches(payload, self.recipe, self.cache.folder("patched"))
        payload, bundled = self._bundle(payload)
        assets = self._assets(payload)
        naive = payload.updated(add=[entry for asset in assets for entry in asset.entries])
        licences = licence_files(naive)
        limits = LambdaLimits.load()
        taken = sum(entry.size for entry in function or ())
        taken += sum(entry.size for files in licences.values() for entry in files)
        # Strictly below the limit.
        room = limits.unzipped_bytes - 1 - taken - naive.size
        outcome = self._strip(naive, room, bundled, function)
        before = (*map(_patch_remark, patched), *map(_bundle_remark, bundled))
        outcome = replace(outcome, remarks=before + outcome.remarks)
        interpreter = find_interpreter(self.profile)
        return Built(
            recipe=self.recipe,
            lock=self.lock,
            limits=limits,
            wheels=wheels,
            assets=assets,
            system=tuple(
                (one.soname, self.system[one.soname], one.entry.sha256)
                for one in bundled
                if one.entry.path in outcome.payload
            ),
            interpreter=interpreter_version(interpreter) if interpreter else "",
            image=self.builder.image,
            naive=naive,
            outcome=outcome,
            licences=licences,
            function=function,
        )

    def _bundle(self, payload: Payload) -> tuple[Payload, tuple[Bundled, ...]]:
        if not self.recipe.bundles_libraries:
            return payload, ()
        self.events.step("looking for system libraries")

        def source(soname: str) -> Path | None:
            found = self.builder.system_library(soname, self.context)
            if found is None:
                return None
            self.system[soname] = found
            return found.path

        payload, bundled = bundle_missing(payload, self.profile, source)
        for one in bundled:
            library = self.system[one.soname]
            text = f"bundled {one.soname} from {library.origin}, needed by {one.user}"
            if library.is_hosts:
                self.events.warn(f"{text}: another machine may have another version")
            else:
                self.events.note(text)
        return payload, bundled

    def _strip(
        self,
        payload: Payload,
        room: int,
        bundled: tuple[Bundled, ...],
        function: tuple[FileEntry, ...] | None,
    ) -> Outcome:
        interpreter = find_interpreter(self.profile)
        if interpreter is None and self.recipe.strip.bytecode == "auto":
            self.events.warn(
                f"no Python {self.profile.python} on this machine: the layers get no bytecode, and "
                "every cold start compiles (set strip.bytecode to none to say so)"
            )
        context = PassContext(
            recipe=self.recipe,
            profile=self.profile,
            cache=self.cache.folder("passes"),
            room=room,
            interpreter=interpreter,
            function=function or (),
            progress=self.events.progress,
            warn=self.events.warn,
        )

        def prepare(one: Pass, payload: Payload, context: PassContext) -> PassContext:
            paging = isinstance(one, Paged)
            return self._arranged(payload, context) if paging else context

        for key, patterns in (
            ("strip.keep", self.recipe.strip.keep),
            ("native.keep-plain", self.recipe.native.keep_plain),
        ):
            for pattern in unmatched(patterns, payload):
                self.events.warn(f"{key}: '{pattern}' matches no file")
        outcome = run_passes(
            payload,
            passes_for(self.recipe),
            context,
            on_pass=lambda one: self.events.step(f"pass {one.name}: {one.summary}"),
            prepare=prepare,
        )
        for record in outcome.records:
            change = record.bytes_after - record.bytes_before
            self.events.note(f"pass {record.name}: {record.files} files, {change:+,} bytes")
        self.events.step("holding every library against the runtime")
        left = unneeded(outcome.payload, self.profile, bundled)
        outcome = replace(outcome, payload=outcome.payload.updated(remove=left))
        for text in check_libraries(
            outcome.payload,
            self.profile,
            optional=self.recipe.optional_libraries,
            bundling=self.recipe.bundles_libraries,
        ):
            self.events.warn(text)
        return outcome

    def _arranged(self, payload: Payload, context: PassContext) -> PassContext:
        """The context of the pass that pages, with what the workloads touch of `payload`."""
        arranged = current_recording(
            payload,
            context,
            locked=self.locked,
            cache=self.cache,
            events=self.events,
            provided=self._provided,
        )
        self.settled = arranged.settled
        if arranged.recording is None:
            return context
        recording = arranged.recording
        return replace(context, recordings=recording.pages, imported=recording.imported)

    def _provided(self) -> Path | None:
        try:
            return runtime_folder(self.profile, self.cache, self.events)
        except ResolveError as error:
            self.events.warn(f"the runtime's own packages cannot be had: {error.message}")
            return None

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


def is_fresh(
    folder: BuildFolder, recipe: Recipe, lock: Lock, image: str, *, unsettled: bool = True
) -> bool:
    """Whether the folder holds the build of the recipe and the lock as they are now, in `image`
    (empty: on this machine).

    `unsettled`: one counts too whose recording did not hold, and could be made. Most builds had an
    interpreter: looking for one takes long, so that is tried first without.
    """

    def holds(*, interpreter: bool) -> bool:
        key = _key(recipe, lock, image, interpreter=interpreter)
        return folder.is_fresh(key) or (unsettled and folder.is_fresh(_unsettled(key)))

    return holds(interpreter=True) or (
        holds(interpreter=False) and find_interpreter(recipe.profile) is None
    )


def _key(recipe: Recipe, lock: Lock, image: str, *, interpreter: bool) -> str:
    compressors = f"{COMPRESSOR}, {ZSTD}"
    return build_key(recipe, lock, compressor=compressors, interpreter=interpreter, image=image)


def _unsettled(key: str) -> str:
    return key_of(key, "unsettled")


def _patch_remark(patched: Patched) -> Remark:
    return Remark(
        pass_name="patches",  # noqa: S106 (no password)
        action="rewrite",
        path=patched.after.path,
        distribution=patched.after.distribution,
        reason=f"'{patched.pattern}' replaced {patched.replacements} times, as the recipe says",
        bytes_before=patched.before.size,
        bytes_after=patched.after.size,
    )


def _bundle_remark(bundled: Bundled) -> Remark:
    return Remark(
        pass_name="system-libraries",  # noqa: S106
        action="add",
        path=bundled.entry.path,
        distribution=bundled.entry.distribution,
        reason=f"the runtime lacks it, and {bundled.user} needs it",
        bytes_before=0,
        bytes_after=bundled.entry.size,
    )


def describe(recipe_path: Path, options: BuildOptions) -> dict[str, object]:
    """What `build` would do, without doing it (`--dry-run`): nothing is downloaded or written."""
    recipe = Recipe.load(recipe_path)
    function = function_entries(recipe)
    lock, reason = read_lock(recipe, locked=options.locked)
    folder = BuildFolder(output_folder(recipe, options))
    image = folder.image()
    fresh = not reason and lock is not None and is_fresh(folder, recipe, lock, image)
    need = docker_need(recipe, options.wish)
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
        "builder": {"wanted": options.wish.builder, "docker_is_needed": bool(need), "reason": need},
        "from_source": list(recipe.build.from_source),
        "patches": [patch.package for patch in recipe.patches],
        "assets": [asset.name for asset in recipe.assets],
        "passes": [one.name for one in passes_for(recipe)],
        "function_bytes": sum(entry.size for entry in function or ()),
    }
