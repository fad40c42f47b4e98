"""
A thread that finishes what was noticed where nothing may be recorded.

A stream that is forgotten is noticed by the garbage collector, and so is a stream whose
owner closes it on collection. The collector may run while this very thread holds a
lock of prometheus_client's or of an exporter's: recording there deadlocks. So `put` is
all that is done there (a deque and a `SimpleQueue` may be added to in a destructor), and this
thread, or a `flush()`, does the rest.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from ._telemetry.guard import fault

Job = Callable[[], None]

forks = 0
"""How many forks this process came out of: what is older than the last one is for its parent to record."""

_jobs: deque[Job] = deque()
_wake: SimpleQueue[None] = SimpleQueue()
_working = threading.RLock()  # held while a job is done, so that who drains waits for the one in hand too
_thread: threading.Thread | None = None


def put(job: Job) -> None:
    """Have a job done soon, by another thread; safe anywhere, the garbage collector included."""
    _jobs.append(job)
    _wake.put(None)


def start() -> None:
    """Have the thread running; after a fork, in the child too."""
    global _thread  # noqa: PLW0603 - one thread a process
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_work, name="byteplus-trace-reaper", daemon=True)
        _thread.start()


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
    """No job ends this thread, or reaches who drains, whatever it raises."""
    try:
        job()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        fault("finishing a call", error)


def _work() -> None:
    while True:
        _wake.get()
        drain()


def _restart_in_child() -> None:
    global forks, _jobs, _wake, _working, _thread  # noqa: PLW0603 - the parent's jobs are the parent's, and its thread did not come along
    forks += 1
    _jobs, _wake, _working = deque(), SimpleQueue(), threading.RLock()
    if _thread is not None:
        _thread = None
        start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
