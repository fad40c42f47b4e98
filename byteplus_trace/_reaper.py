"""
A thread that finishes what was noticed where nothing may be recorded.

A stream that is forgotten is noticed by the garbage collector, and so is a stream whose
owner closes it on collection. The collector may run while this very thread holds a
lock of prometheus_client's or of an exporter's: recording there deadlocks. So `put` is
all that is done there (a `SimpleQueue` may be put to from a destructor), and this
thread, or a `flush()`, does the rest.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Job = Callable[[], None]

_queue: SimpleQueue[Job] = SimpleQueue()
_thread: threading.Thread | None = None


def put(job: Job) -> None:
    """Have a job done soon, by another thread; safe anywhere, the garbage collector included."""
    _queue.put(job)


def start() -> None:
    """Have the thread running; after a fork, in the child too."""
    global _thread  # noqa: PLW0603 - one thread a process
    if _thread is None or not _thread.is_alive():
        _thread = threading.Thread(target=_work, name="byteplus-trace-reaper", daemon=True)
        _thread.start()


def drain() -> None:
    """Do, in this thread, whatever is waiting."""
    while True:
        try:
            job = _queue.get_nowait()
        except Empty:
            return
        job()


def _work() -> None:
    while True:
        _queue.get()()


def _restart_in_child() -> None:
    global _queue, _thread  # noqa: PLW0603 - the parent's jobs are the parent's, and its thread did not come along
    _queue = SimpleQueue()
    if _thread is not None:
        _thread = None
        start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
