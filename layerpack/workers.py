"""Work shared out to processes, which end with the build however it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import resource_tracker
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def in_processes(function: Callable[[T], None], items: Sequence[T]) -> Iterator[Iterator[T]]:
    """Start `function(item)` for every item, in that order, over as many processes as there are
    processors; gives the items as each is done.

    `function` and the items must be importable and picklable. What it raises is raised by the
    iterator; what has not begun by then, or by Ctrl-C, is not begun.
    """
    if not items:
        yield iter(())
        return
    # Now, as it unblocks the signal after its own start.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # Spawned: a fork would copy locks that other threads (the progress bar's) may hold.
    context = multiprocessing.get_context("spawn")
    count = min(os.cpu_count() or 1, len(items))
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)
    try:
        with _no_interrupt():
            jobs = {pool.submit(function, item): item for item in items}

        def completed() -> Iterator[T]:
            for job in as_completed(jobs):
                job.result()
                yield jobs[job]

        yield completed()
    except BaseException:
        # What runs is not waited for: a large library takes long, and results are written aside.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes that start in here never see Ctrl-C, which each would answer by a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """In a worker: end when the build was killed; the executor's workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
