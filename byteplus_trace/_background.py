"""
A thread that finishes what was noticed where nothing may be recorded.

A stream that is forgotten is noticed by the garbage collector, and so is a stream whose
owner closes it on collection. The collector may run while this very thread holds a
lock of prometheus_client's or of an exporter's: recording there deadlocks. So `put` is
all that is done there (a deque and a `SimpleQueue` may be added to in a destructor), and this
thread, or a `flush()`, does the rest.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from ._forks import remake_after_fork
from ._telemetry.guard import fault

Job = Callable[[], None]

_jobs: deque[Job] = deque()
_wake: SimpleQueue[None] = SimpleQueue()
_working = threading.RLock()
"""Held while a job is done, so that whoever drains waits for the one in hand too."""
_thread: threading.Thread | None = None


def put(job: Job) -> None:
    """Have a job done soon, by another thread; safe anywhere, the garbage collector included."""
    _jobs.append(job)
    _wake.put(None)


def start() -> None:
    """Have the thread running. Where none can start, jobs wait for a `flush()`."""
    global _thread  # noqa: PLW0603 - one thread a process
    if _thread is not None and _thread.is_alive():
        return
    thread = threading.Thread(target=_work, name="byteplus-trace-background", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        fault("starting the background thread", error)
    else:
        _thread = thread


def drain(timeout_seconds: float = -1) -> bool:
    """Have done what is waiting, in this thread or already in the other; false where that took too long."""
    ends_at = time.monotonic() + timeout_seconds
    if not _working.acquire(timeout=timeout_seconds):
        return False
    try:
        while _jobs:
            if timeout_seconds >= 0 and time.monotonic() >= ends_at:
                return False
            _do(_jobs.popleft())
    finally:
        _working.release()
    return True


def _do(job: Job) -> None:
    """No job ends this thread, or reaches whoever drains, whatever it raises."""
    try:
        job()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        fault("finishing a call", error)


def _work() -> None:
    while True:
        _wake.get()
        with suppress(KeyboardInterrupt):  # raised by `on_exchange`: nobody's Ctrl-C comes to this thread
            drain()


def after_fork() -> None:
    """The parent's jobs are the parent's, and its thread does not exist here."""
    global _jobs, _wake, _working, _thread  # noqa: PLW0603 - as above
    _jobs, _wake, _working = deque(), SimpleQueue(), threading.RLock()
    if _thread is not None:
        _thread = None
        start()


remake_after_fork(sys.modules[__name__])
