"""The stages composed: recipe, lock, wheels, payload, passes, layers, zips, manifest, report."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final

from layerpack.archive import COMPRESSOR, DamagedError
from layerpack.build_folder import BuildFolder
from layerpack.builders.api import Builder
from layerpack.builders.choose import Wish, docker_need, open_builder
from layerpack.cache import Cache
from layerpack.cache_upkeep import in_use
from layerpack.elf.windows import ZSTD
from layerpack.errors import UsageError, VerificationError
from layerpack.events import Events
from layerpack.inputs import build_key, function_entries
from layerpack.interpreters import find_interpreter
from layerpack.lock import Lock
from layerpack.locking import current_lock, read_lock
from layerpack.manifest import FileInventory, Manifest
from layerpack.output import Built, write_build, write_proof
from layerpack.passes.declared import declared
from layerpack.payload import FileEntry
from layerpack.plain_run import PlainRun, not_proven, open_plain_run
from layerpack.recipe import Recipe
from layerpack.stages import Stages
from layerpack.units import key_of
from layerpack.verification import Proof, ProofOptions, unjudged, unproven, verify

#: What the manifest of a build says that was not to be verified; the next one may be.
_UNVERIFIED: Final = {"state": "not verified", "reason": "--no-verify"}


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What the user asked of a build; `output` is the build folder (default `build/<name>`).
    `required`: it fails where it cannot be verified."""

    cache: Cache
    output: Path | None = None
    locked: bool = False
    verify: bool = False
    required: bool = False
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
    BuildFolder(output_folder(recipe, options)).check()
    for other in recipe.namesakes if options.output is None else ():
        events.warn(
            f"{other} is named '{recipe.name}' too, and its build replaces this one in "
            f"{output_folder(recipe, options)}: give one of them another name, or use --output"
        )
    if recipe.verify.required:
        options = replace(options, required=True)
    if options.required and not options.verify:
        raise not_proven("--no-verify", "Leave out --no-verify (or LAYERPACK_VERIFY).")
    function = function_entries(recipe)
    if recipe.profile.deprecated <= date.today():
        events.warn(f"AWS deprecated {recipe.runtime} on {recipe.profile.deprecated}")
    with (
        in_use(options.cache, events) as use,
        closing(open_builder(recipe, options.wish, options.cache, events)) as builder,
    ):
        result = _build(recipe, options, events, builder, function)
        use.prunes = not result.fresh
        return result


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
            record = Manifest.read(folder.path / "manifest.json").verified
            fresh = record != _UNVERIFIED and not (options.required and unproven(record))
        if not fresh:
            has_python = find_interpreter(recipe.profile) is not None
            run = Stages(
                recipe,
                lock,
                builder,
                cache=options.cache,
                events=events,
                locked=options.locked,
            )
            prepared = run.prepared(function)
            tried: AbstractContextManager[PlainRun | None] = nullcontext()
            if options.verify:
                tried = open_plain_run(
                    *(recipe, prepared.naive, function),
                    cache=options.cache,
                    events=events,
                    built_in=builder.image,
                )
            with tried as plain:
                if plain is not None:
                    # Before anything is packed, which takes long.
                    plain.check(required=options.required)
                run.proving = plain is not None and plain.judges
                built = run.packed(prepared)
                # The recording, on which the key depends, is one of the things just made.
                key = _key(recipe, lock, builder.image, interpreter=has_python)
                if not run.settled:
                    key = _unsettled(key)
                _write(
                    built,
                    folder,
                    key,
                    plain,
                    options=options,
                    events=events,
                    doubt=run.doubt,
                )
        return _result(folder, fresh=fresh)


def _write(
    built: Built,
    folder: BuildFolder,
    key: str,
    plain: PlainRun | None,
    *,
    options: BuildOptions,
    events: Events,
    doubt: VerificationError | None,
) -> None:
    """Write the build, with its proof against the `plain` install (None: without a proof); `doubt`
    is raised where that does not tell what the layers lack."""
    events.step("compressing and writing the layers")
    with folder.replacing(key) as aside:
        try:
            notes = write_build(built, aside, options.cache, events.progress)
        except DamagedError as error:
            # The next build must not read the damaged entry again.
            options.cache.forget(error.path)
            raise
        for text in notes:
            events.warn(text)
        proof = Proof(record=_UNVERIFIED)
        if plain is not None:
            proof = verify(aside, Manifest.read(aside / "manifest.json"), built, plain)
            if doubt is not None and unjudged(proof.record):
                raise doubt
            if options.required and (reason := unproven(proof.record)):
                raise not_proven(reason)
        write_proof(aside, proof.record, proof.answers)


def prove(
    recipe_path: Path, options: BuildOptions, proof_options: ProofOptions, events: Events
) -> BuildResult:
    """Verify the recipe's build as it lies in its folder, and write what was found into it.

    Raises UsageError where it is not there, or not what the recipe and its lock give now, and
    VerificationError for layers that do not do what the plain install does; the folder is then as
    it was.
    """
    recipe = Recipe.load(recipe_path)
    function = function_entries(recipe)
    lock, reason = read_lock(recipe, locked=options.locked)
    folder = BuildFolder(output_folder(recipe, options))
    again = (
        f"layerpack build {recipe_path}{f' --output {options.output}' if options.output else ''}"
    )
    if not os.path.lexists(folder.path):
        raise UsageError(f"{folder.path} is not there: {recipe_path} is not built", again)
    if lacking := folder.lacking:
        raise UsageError(
            f"{folder.path} is not a build: it has no {lacking}",
            f"Name a build's folder with --output. If this was one, remove it and run: {again}",
        )
    image = folder.image()
    with (
        in_use(options.cache, events),
        folder.locked(lambda: events.warn(f"waiting for another build of {folder.path}")),
    ):
        if lock is None or reason or not is_fresh(folder, recipe, lock, image):
            raise UsageError(f"{folder.path} is not the build of {recipe_path} as it is now", again)
        wish = Wish(builder="local", doing="verifying")
        if image:
            why = "it was built there"
            wish = Wish(builder="docker", base_image=image, doing="verifying", why=why)
        with closing(open_builder(recipe, wish, options.cache, events)) as builder:
            stages = Stages(recipe, lock, builder, cache=options.cache, events=events, locked=True)
            prepared = stages.prepared(function)
            built = stages.packed(prepared)
        manifest = Manifest.read(folder.path / "manifest.json")
        with open_plain_run(
            *(recipe, built.naive, function),
            cache=options.cache,
            events=events,
            wanted=proof_options.wanted,
            image=proof_options.image,
            built_in=built.image,
        ) as plain:
            proof = verify(
                *(folder.path, manifest, built, plain),
                memory=proof_options.memory,
                timings=proof_options.timings,
            )
            if recipe.verify.required and (reason := unproven(proof.record)):
                raise not_proven(reason)
        with folder.amending() as aside:
            write_proof(aside, proof.record, proof.answers)
        return _result(folder, fresh=True)


def _result(folder: BuildFolder, *, fresh: bool) -> BuildResult:
    return BuildResult(
        folder=folder.path,
        manifest=Manifest.read(folder.path / "manifest.json"),
        inventory=FileInventory.read(folder.path / "files.json"),
        fresh=fresh,
    )


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


def describe(recipe_path: Path, options: BuildOptions) -> dict[str, object]:
    """What `build` would do, without doing it (`--dry-run`): nothing is downloaded or written."""
    recipe = Recipe.load(recipe_path)
    function = function_entries(recipe)
    lock, reason = read_lock(recipe, locked=options.locked)
    folder = BuildFolder(output_folder(recipe, options))
    folder.check()
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
        "passes": [one.name for one, wanted in declared(recipe) if wanted],
        "function_bytes": sum(entry.size for entry in function or ()),
    }
