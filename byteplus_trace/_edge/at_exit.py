"""
The end of a process: calls that are still open are recorded as abandoned, and spans are exported.

An interpreter ends with `atexit`. A child that `multiprocessing` forks, itself or in a fork
server, ends without; it runs the finalizers of `multiprocessing.util`.

Laws:
- It costs a call nothing: the garbage collector lists the open ones, once, at the end.
- The exit takes at most one second longer where nobody accepts spans, and three where they are being sent.
- No thread is started: at the end of the interpreter none can start.
"""

from __future__ import annotations

import atexit
import gc
import sys
import threading
from multiprocessing import parent_process, util

from .. import _background
from .._observer import Observer
from .._telemetry.guard import guard
from .._telemetry.provider import own_providers

PATIENCE_SECONDS = 1.0
MORE_SECONDS = 2.0
"""For a slow collector that has refused nothing."""

_at_work = False


def end_with_process() -> None:
    """Have `end` called at the end of this process, and of the children that it forks."""
    global _at_work  # noqa: PLW0603 - there is one end
    if not _at_work:
        _at_work = True
        atexit.register(end)
        util.register_after_fork(end, _in_child)
        if parent_process() is not None:
            _in_child(end)


def _in_child(_end: object) -> None:
    # The lowest priority: after what the application finishes, and what it waits for.
    util.Finalize(None, end, kwargs={"last": False}, exitpriority=-100)


def abandon_first() -> None:
    """Have `abandon` called before all that was registered so far, where an application's provider shuts itself down."""
    atexit.unregister(abandon)
    atexit.register(abandon)


def end(*, last: bool = True) -> None:
    """Record what is open and export it. With `last` nothing follows, so the providers are shut down."""
    abandon()
    with guard("leaving the health store"):
        leave_health_stores()
    if own_providers:
        with guard("exporting at the end"):
            _export(last)


def abandon(*, whatever_runs: bool = False) -> None:
    """Record what is open, unless the process still waits for a thread, whose call may go on. A signal waits for none."""
    here = threading.current_thread()
    if not whatever_runs and not all(each.daemon or each is here for each in threading.enumerate()):
        return
    with guard("ending what is open"):
        for each in gc.get_objects():
            if type(each) is Observer:
                each.finish_soon("forgotten")
        _background.drain(PATIENCE_SECONDS)


def leave_health_stores() -> None:
    """Where one was ever joined: the room that knows it is only loaded then."""
    room = sys.modules.get(f"{__package__}.health_store")
    if room is not None:
        room.leave_all()


def _export(last: bool) -> None:
    providers = list(own_providers)
    exported = threading.Event()

    def export() -> None:
        for provider in providers:
            with guard("exporting at the end"):
                provider.shutdown() if last else provider.force_flush()
        exported.set()

    _background.put(export)
    if exported.wait(PATIENCE_SECONDS):
        return
    if any(provider.is_troubled for provider in providers) or not exported.wait(MORE_SECONDS):
        for provider in providers:
            provider.give_up()
