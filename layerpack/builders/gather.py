"""Gathering wheels: from the cache, then from the index, then, where that is allowed, built."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from layerpack.builders.api import BuildContext, WheelFile
from layerpack.builders.fetch import NoWheelError, cached_wheel, download
from layerpack.builders.no_wheel import explained
from layerpack.lock import Locked


def gather(
    pins: Sequence[Locked],
    context: BuildContext,
    build: Callable[[Locked, BuildContext], WheelFile],
) -> tuple[WheelFile, ...]:
    """One wheel for every pin, in the pins' order (see Builder.wheels).

    `build` makes the wheel of a pin that may come as source and has no wheel on the index.
    """
    found = {pin.name: wheel for pin in pins if (wheel := cached_wheel(pin, context))}
    missing = [pin for pin in pins if pin.name not in found]
    must_be_wheels = [pin for pin in missing if pin.name not in context.from_source]
    if must_be_wheels:
        context.on_step(f"downloading {len(must_be_wheels)} distributions")
        try:
            found |= download(must_be_wheels, context)
        except NoWheelError as error:
            raise explained(error, context) from None
    for pin in missing:
        if pin.name in context.from_source:
            found[pin.name] = _wheel_or_build(pin, context, build)
    return tuple(found[pin.name] for pin in pins)


def _wheel_or_build(
    pin: Locked, context: BuildContext, build: Callable[[Locked, BuildContext], WheelFile]
) -> WheelFile:
    """A published wheel is preferred even where source is allowed: nothing can go wrong."""
    try:
        return download([pin], context)[pin.name]
    except NoWheelError:
        return build(pin, context)
