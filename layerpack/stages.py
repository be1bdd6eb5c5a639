"""The stages up to the stripped payload: wheels, patches, libraries, assets, passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from layerpack.arrange import current_recording
from layerpack.assets import AssetContext, AssetRecord, make_asset
from layerpack.builders.api import BuildContext, Builder, SystemLibrary, WheelFile
from layerpack.builders.unpack import payload_of, unpack
from layerpack.cache import Cache
from layerpack.emulation import runtime_folder
from layerpack.errors import ResolveError
from layerpack.events import Events
from layerpack.interpreters import find_interpreter, interpreter_version
from layerpack.limits import LambdaLimits
from layerpack.lock import Lock
from layerpack.output import Built
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


class Stages:
    """One run of the stages up to the stripped payload; with `locked` no recording is made."""

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
            originals={entry.path: entry for entry in payload},
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
