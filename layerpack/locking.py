"""The recipe's lock as a build needs it: read, or resolved anew where it does not hold."""

from __future__ import annotations

from collections.abc import Sequence

from layerpack.builders.api import Builder
from layerpack.errors import BuildToolError, ResolveError
from layerpack.events import Events
from layerpack.lock import Lock
from layerpack.recipe import Recipe
from layerpack.resolve import Inside, make_lock


def update_lock(
    recipe: Recipe,
    events: Events,
    *,
    upgrade: bool = False,
    upgrade_packages: Sequence[str] = (),
    builder: Builder | None = None,
) -> Lock:
    """Resolve the recipe, where its builder does, and write its lock.

    The former lock stays where resolving fails.
    """
    former = Lock.read(recipe.lock_path)
    compiler = builder.pip_compile() if builder else None
    lock = make_lock(
        recipe,
        former=former,
        upgrade=upgrade,
        upgrade_packages=upgrade_packages,
        on_step=events.step,
        inside=Inside(pip_compile=compiler, image=builder.image) if builder and compiler else None,
    )
    try:
        lock.write(recipe.lock_path)
    except OSError as error:
        raise BuildToolError(
            f"{recipe.lock_path} cannot be written: {error.strerror}",
            "The lock lies beside its recipe: make the folder writable, or lock a copy of it and "
            "bring the lock here.",
        ) from None
    return lock


def current_lock(
    recipe: Recipe, events: Events, *, locked: bool = False, builder: Builder | None = None
) -> Lock:
    """The recipe's lock, made or made anew where it does not hold.

    Raises ResolveError for that with `locked`.
    """
    lock, reason = read_lock(recipe, locked=locked)
    if lock is not None and not reason:
        return lock
    if lock is not None:
        events.warn(f"{recipe.lock_path} is stale ({reason}): resolving again")
    return update_lock(recipe, events, builder=builder)


def read_lock(recipe: Recipe, *, locked: bool) -> tuple[Lock | None, str]:
    """The lock, and why it does not hold: empty where it does. Raises with `locked`."""
    lock = Lock.read(recipe.lock_path)
    reason = lock.stale_reason(recipe) if lock else "there is none"
    if reason and locked:
        raise ResolveError(
            f"the lock {recipe.lock_path} does not hold: {reason}",
            f"Run `layerpack lock {recipe.path}`, or build without --locked.",
        )
    return lock, reason
