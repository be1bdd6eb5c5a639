"""Environments for requests that come at the same time: each answers one event at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from layerpack.emulator.environment import Environment
from layerpack.errors import LayerpackError


class TooManyError(Exception):
    """All environments are busy, and there may be no more of them."""


class Pool:
    """At most `limit` environments, kept warm: `first`, and what `start` starts as it is needed;
    `report` gets a line on each event that is dropped."""

    def __init__(
        self,
        start: Callable[[], Environment],
        limit: int,
        first: Environment,
        report: Callable[[str], None],
    ) -> None:
        self._start = start
        self._report = report
        self.limit = limit
        self._lock = threading.Lock()
        self._idle: list[Environment] = [first]
        self._all: set[Environment] = {first}
        self._starting = 0
        self._closed = False
        # In the order in which they came; one thread an environment would do no more.
        self._queued = ThreadPoolExecutor(max_workers=limit)
        self._freed = threading.Event()

    @contextmanager
    def environment(self) -> Iterator[Environment]:
        """An environment for one event. Raises TooManyError, and what `start` raises."""
        environment = self._take()
        try:
            yield environment
        except BaseException:
            with self._lock:
                self._all.discard(environment)
                self._freed.set()
            environment.close()
            raise
        self._give(environment)

    def later(self, event: bytes, client_context: str) -> None:
        """Have an event answered once an environment has time; nobody hears of the answer, nor
        where there is none."""
        self._queued.submit(self._answer, event, client_context)

    def _answer(self, event: bytes, client_context: str) -> None:
        while True:
            with self._lock:
                self._freed.clear()
            try:
                with self.environment() as environment:
                    environment.invoke(event, client_context)
                return
            except (LayerpackError, OSError) as error:
                reason = error.message if isinstance(error, LayerpackError) else str(error)
                self._report(f"an event was dropped, as no environment can be started: {reason}")
                return
            except TooManyError:
                if self._closed:
                    return
                self._freed.wait()

    def close(self) -> None:
        """End all of them; those that are busy give an error."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            every, self._all = self._all, set()
            self._freed.set()
        self._queued.shutdown(wait=False, cancel_futures=True)
        for environment in every - set(idle):
            environment.interrupt()
        for environment in idle:
            environment.close()

    def _take(self) -> Environment:
        with self._lock:
            if self._closed or (not self._idle and len(self._all) + self._starting >= self.limit):
                raise TooManyError
            if self._idle:
                # The one that was used last: its memory is the warmest.
                return self._idle.pop()
            self._starting += 1
        try:
            environment = self._start()
        finally:
            with self._lock:
                self._starting -= 1
        with self._lock:
            self._all.add(environment)
        return environment

    def _give(self, environment: Environment) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(environment)
                self._freed.set()
                return
        environment.close()
