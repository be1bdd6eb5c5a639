"""Environments for requests that come at the same time: each answers one event at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from layerpack.emulator.environment import Environment


class TooManyError(Exception):
    """All environments are busy, and there may be no more of them."""


class Pool:
    """At most `limit` environments, made by `start` as they are needed, and kept warm."""

    def __init__(self, start: Callable[[], Environment], limit: int) -> None:
        self._start = start
        self._limit = limit
        self._lock = threading.Lock()
        self._idle: list[Environment] = []
        self._all: set[Environment] = set()
        self._starting = 0
        self._closed = False

    @contextmanager
    def environment(self) -> Iterator[Environment]:
        """An environment for one event. Raises TooManyError."""
        environment = self._take()
        try:
            yield environment
        finally:
            self._give(environment)

    def close(self) -> None:
        """End all of them; those that are busy give an error."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            every, self._all = self._all, set()
        for environment in every - set(idle):
            environment.interrupt()
        for environment in idle:
            environment.close()

    def _take(self) -> Environment:
        with self._lock:
            if self._closed or (not self._idle and len(self._all) + self._starting >= self._limit):
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
                return
        environment.close()
