"""The stages up to the stripped payload: wheels, patches, libraries, assets, passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from layerpack.arrange import current_recording
from layerpack.assets import AssetContext, AssetRecord, make_asset
from layerpack.builders.api import BuildContext, Builder, SystemLibrary, WheelFile
from layerpack.builders.carriers import library_in_wheel, wheel_at
from layerpack.builders.unpack import payload_of, unpack
from layerpack.cache import Cache
from layerpack.elf import is_for
from layerpack.emulation import runtime_folder
from layerpack.errors import RecipeError, ResolveError, VerificationError
from layerpack.events import Events
from layerpack.function_package import function_files
from layerpack.interpreters import find_interpreter, interpreter_version
from layerpack.limits import LambdaLimits
from layerpack.lock import Lock
from layerpack.output import Built
from layerpack.passes.api import Pass, PassContext, Remark
from layerpack.passes.metadata import licence_files
from layerpack.passes.paged import Paged
from layerpack.passes.patterns import unmatched
from layerpack.passes.registry import packing, passes_for
from layerpack.passes.runner import Outcome, run_passes
from layerpack.patches import Patched, apply_patches
from layerpack.payload import LIBRARIES, FileEntry, Payload
from layerpack.recipe import Recipe
from layerpack.recipe_sections import Asset
from layerpack.required import unused_names
from layerpack.system_libraries import (
    ASKED,
    SYSTEM,
    Bundled,
    bundle_missing,
    check_libraries,
    too_new,
    unneeded,
)
from layerpack.units import key_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """The plain install (`naive`), and what it was made of."""

    wheels: tuple[WheelFile, ...]
    assets: tuple[AssetRecord, ...]
    bundled: tuple[Bundled, ...]
    naive: Payload
    remarks: tuple[Remark, ...]
    function: tuple[FileEntry, ...] | None


class Stages:
    """One run of the stages up to the packed payload; with `locked` no recording is made."""

    def __init__(
        self,
        recipe: Recipe,
        lock: Lock,
        builder: Builder,
        *,
        cache: Cache,
        events: Events,
        locked: bool = False,
    ) -> None:
        self.recipe = recipe
        self.lock = lock
        self.locked = locked
        self.cache = cache
        self.events = events
        self.profile = recipe.profile
        self.builder = builder
        self.context = BuildContext(
            profile=self.profile,
            cache=cache,
            from_source=recipe.build.from_source,
            constraints=recipe.build.constraints,
            environment=recipe.build.environment,
            index_options=recipe.index_options,
            on_step=events.step,
            progress=events.progress,
            on_output=events.output,
        )
        self.system: dict[str, SystemLibrary] = {}
        #: Why a library of the machine or the image is not bundled, by soname.
        self.refused: dict[str, str] = {}
        #: Whether a proof will tell that the function does without a missing library.
        self.proving = True
        #: What to raise where that proof is not had after all.
        self.doubt: VerificationError | None = None
        #: Whether the next build, without --locked, would do the same.
        self.settled = True

    def prepared(self, function: tuple[FileEntry, ...] | None) -> Prepared:
        """Everything up to the plain install."""
        wheels = self.builder.wheels(self.lock.requirements, self.context)
        self.events.step(f"unpacking {len(wheels)} wheels")
        laid = payload_of(wheels, self.cache, self.recipe.runtime, self.events.progress)
        for text in laid.warnings:
            self.events.warn(text)
        for text in laid.notes:
            self.events.note(text)
        for text in unused_names(self.recipe, self.lock, laid.payload):
            self.events.warn(text)
        payload, patched = apply_patches(laid.payload, self.recipe, self.cache.folder("patched"))
        payload, bundled = self._bundle(payload)
        assets = self._assets(payload)
        naive = payload.updated(add=[entry for asset in assets for entry in asset.entries])
        return Prepared(
            wheels=wheels,
            assets=assets,
            bundled=bundled,
            naive=naive,
            remarks=(*map(_patch_remark, patched), *map(_bundle_remark, bundled)),
            function=function,
        )

    def packed(self, prepared: Prepared) -> Built:
        """Everything from the plain install up to the point where zips are written.

        Raises VerificationError for shared libraries that the runtime cannot load, before anything
        is packed where that is known by then.
        """
        naive, function = prepared.naive, prepared.function
        licences = licence_files(naive)
        limits = LambdaLimits.load()
        taken = sum(entry.size for entry in function or ())
        taken += sum(entry.size for files in licences.values() for entry in files)
        # Strictly below the limit.
        room = limits.unzipped_bytes - 1 - taken - naive.size
        outcome = self._passed(prepared, room)
        outcome = replace(outcome, remarks=prepared.remarks + outcome.remarks)
        interpreter = find_interpreter(self.profile)
        return Built(
            recipe=self.recipe,
            lock=self.lock,
            limits=limits,
            wheels=prepared.wheels,
            assets=prepared.assets,
            system=tuple(
                (one.soname, self.system[one.soname], one.entry.sha256)
                for one in prepared.bundled
                if one.entry.path in outcome.payload
            ),
            interpreter=interpreter_version(interpreter) if interpreter else "",
            image=self.builder.image,
            naive=naive,
            outcome=outcome,
            licences=licences,
            function=function,
            left_out=function_files(self.recipe).left_out,
        )

    def _bundle(self, payload: Payload) -> tuple[Payload, tuple[Bundled, ...]]:
        if not self.recipe.bundles_libraries:
            return payload, ()
        self.events.step("looking for system libraries")

        found: dict[Path, SystemLibrary] = {}

        def source(soname: str) -> Path | None:
            library = self._system_library(soname)
            if library is None:
                return None
            found[library.path] = library
            return library.path

        payload, bundled = bundle_missing(payload, self.profile, source)
        payload, asked = self._asked_for(payload, source)
        bundled += asked
        for one in bundled:
            library = found.get(one.entry.source) or SystemLibrary(
                path=one.entry.source, origin=one.origin
            )
            self.system[one.soname] = library
            text = f"bundled {one.soname} from {library.origin}, needed by {one.user}"
            if library.is_hosts:
                self.events.warn(f"{text}: another machine may have another version")
            elif library.note:
                self.events.warn(f"{text}: {library.note}")
            else:
                self.events.note(text)
        return payload, bundled

    def _asked_for(
        self, payload: Payload, source: Callable[[str], Path | None]
    ) -> tuple[Payload, tuple[Bundled, ...]]:
        """The payload with the libraries that the recipe names and that no library needs: code
        may open them by their names."""
        added = []
        for soname in self.recipe.library_sources:
            path = f"{LIBRARIES}/{soname}"
            file = source(soname) if path not in payload else None
            if file is not None:
                entry = FileEntry.of(file, path, SYSTEM)
                added.append(Bundled(entry=entry, soname=soname, user=ASKED))
        return payload.updated(add=[one.entry for one in added]), tuple(added)

    def _system_library(self, soname: str) -> SystemLibrary | None:
        """What the recipe names for a soname, else what the builder has that is not too new."""
        named = self.recipe.library_sources.get(soname)
        if named is not None:
            return self._named_library(soname, named)
        library = self.builder.system_library(soname, self.context)
        if library is not None and (problem := too_new(library.path, self.profile)):
            self.refused[soname] = f"the copy of {library.origin} is too new: it needs {problem}"
            return None
        return library

    def _named_library(self, soname: str, named: str) -> SystemLibrary:
        """The library in a file or a wheel that the recipe names. Raises RecipeError."""
        file = self.recipe.folder / named
        library = SystemLibrary(path=file, origin=named)
        if "==" in named:
            library = library_in_wheel(soname, self._extra_wheel(named), self.cache, named)
        elif file.suffix == ".whl":
            library = library_in_wheel(soname, wheel_at(file), self.cache, named)
        if not is_for(library.path, self.profile.machine):
            raise RecipeError(
                f"{self.recipe.path}: system-libraries.{soname}: {named} gives "
                f"{library.path.name}, which is not a shared library for {self.profile.machine}",
                "Name a library, or a wheel that carries it, for the function's architecture.",
            )
        return library

    def _passed(self, prepared: Prepared, room: int) -> Outcome:
        """The plain install after all passes; its libraries are checked before packing, and after
        it."""
        naive = prepared.naive
        context = self._pass_context(prepared, room)
        for key, patterns in (
            ("strip.keep", self.recipe.strip.keep),
            ("native.keep-plain", self.recipe.native.keep_plain),
        ):
            for pattern in unmatched(patterns, naive):
                self.events.warn(f"{key}: '{pattern}' matches no file")

        passes = passes_for(self.recipe)
        first = next(iter(packing(passes)), None)

        def prepare(one: Pass, payload: Payload, context: PassContext) -> PassContext:
            if one is first:
                # Packing takes long, and changes nothing about what a library needs.
                self._checked(payload, prepared.bundled)
            self.events.step(f"pass {one.name}: {one.summary}")
            paging = isinstance(one, Paged)
            return self._arranged(payload, context) if paging else context

        outcome = run_passes(naive, passes, context, prepare=prepare)
        for record in outcome.records:
            change = record.bytes_after - record.bytes_before
            self.events.note(f"pass {record.name}: {record.files} files, {change:+,} bytes")
        payload, remarks = self._checked(outcome.payload, prepared.bundled)
        for text in remarks:
            self.events.warn(text)
        return replace(outcome, payload=payload)

    def _pass_context(self, prepared: Prepared, room: int) -> PassContext:
        interpreter = find_interpreter(self.profile)
        if interpreter is None and self.recipe.strip.bytecode == "auto":
            self.events.warn(
                f"Python {self.profile.python} not found: the layers have no bytecode, so every "
                "cold start compiles; set `strip.bytecode: none` to silence this"
            )
        return PassContext(
            recipe=self.recipe,
            profile=self.profile,
            cache=self.cache.folder("passes"),
            room=room,
            interpreter=interpreter,
            function=prepared.function or (),
            originals={entry.path: entry for entry in prepared.naive},
            progress=self.events.progress,
            warn=self.events.warn,
        )

    def _checked(
        self, payload: Payload, bundled: tuple[Bundled, ...]
    ) -> tuple[Payload, tuple[str, ...]]:
        """The payload without bundled libraries that nothing needs any more, and remarks on those
        that it holds. Raises VerificationError (`check_libraries`), also for those in doubt where
        no proof follows."""
        self.events.step("holding every library against the runtime")
        payload = payload.updated(remove=unneeded(payload, self.profile, bundled))
        checked = check_libraries(
            payload,
            self.profile,
            optional=self.recipe.optional_libraries,
            bundling=self.recipe.bundles_libraries,
            refused=self.refused,
        )
        if checked.doubt is not None and not self.proving:
            raise checked.doubt
        self.doubt = checked.doubt
        return payload, checked.remarks

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
        return replace(
            context,
            recordings=recording.pages,
            imported=recording.imported,
            operators=recording.operators,
        )

    def _provided(self) -> Path | None:
        try:
            return runtime_folder(self.profile, self.cache, self.events)
        except ResolveError as error:
            self.events.warn(f"the runtime's own packages cannot be downloaded: {error.message}")
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
        wheel = self._extra_wheel(asset.wheel or "")
        return unpack(wheel, self.cache).files, wheel.path.name, wheel.sha256

    def _extra_wheel(self, text: str) -> WheelFile:
        """A wheel beside the requirements; the lock has them in the recipe's order."""
        pin = self.lock.assets[self.recipe.extra_wheels.index(text)]
        return self.builder.wheels([pin], self.context)[0]


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
