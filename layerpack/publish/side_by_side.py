"""One action for several values, some at once, and what Ctrl-C does to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from layerpack.events import Events
from layerpack.publish.sending import Traffic

_T = TypeVar("_T")
_K = TypeVar("_K")
#: Regions at once: each waits for AWS most of the time.
REGIONS_AT_ONCE: Final = 12


def side_by_side(
    action: Callable[[_K], _T], values: Iterable[_K], events: Events, traffic: Traffic | None = None
) -> list[_T]:
    """The action's result for each value, in their order.

    Where the run is ended, what has begun comes to its end first: AWS carries it out
    anyway, and the receipt must record it. `traffic` is stopped, so that nothing more begins.
    """
    with ThreadPoolExecutor(REGIONS_AT_ONCE) as pool:
        futures: list[Future[_T]] = [pool.submit(action, value) for value in values]
        try:
            wait(futures)
        except BaseException:
            if traffic is not None:
                traffic.stop.set()
            events.warn("finishing the requests under way; press Ctrl-C again to stop at once")
            pool.shutdown(wait=False, cancel_futures=True)
            try:
                wait([one for one in futures if not one.cancelled()])
            except BaseException:
                # Threads cannot be ended otherwise; what they wrote, they wrote aside.
                os._exit(130)
            raise
        return [future.result() for future in futures]
