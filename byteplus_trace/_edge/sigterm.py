"""
SIGTERM: what a process recorded is exported before it ends.

A process that SIGTERM ends by the signal's default action runs no `atexit`, so spans that
wait for their batch are lost. That holds for uvicorn too, which shuts down in good order and
then raises the signal again. So a handler does what `atexit` would do, and then whatever
would have happened without it.

The signal may interrupt a thread that holds a lock which exporting needs. So a thread of its
own exports, and the handler waits for that a bounded time.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from .._errors import SettingError
from .._telemetry.guard import fault, guard
from .at_exit import abandon, leave_health_stores
from .lifecycle import flush_all

ENDING_SECONDS = 3.0
"""Where the signal ends the process."""
GOING_ON_SECONDS = 1.0
"""Where a handler of the application's follows, which may let the process go on for a while."""


def flush_on_sigterm() -> None:
    """
    Put our handler before the one that is installed.

    Raises:
        SettingError: this is not the main thread, or what handles the signal cannot be called by Python.
    """
    previous = signal.getsignal(signal.SIGTERM)
    if isinstance(previous, _Handler):
        return
    if previous is None:
        raise SettingError("SIGTERM is handled outside of Python; call byteplus_trace.flush() when it comes.")
    try:
        signal.signal(signal.SIGTERM, _Handler(previous))
    except ValueError as error:
        raise SettingError(
            "Only the main thread can handle signals: call flush_on_sigterm() there."
        ) from error


class _Handler:
    """Exports, and then does what `previous` says."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any] | int) -> None:
        self._previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous
        if callable(previous):
            _wait_for(_flush, GOING_ON_SECONDS)
            previous(number, frame)
        elif previous == signal.SIG_DFL:
            _wait_for(_end, ENDING_SECONDS)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def _flush() -> None:
    with guard("exporting at SIGTERM"):
        flush_all(GOING_ON_SECONDS)


def _end() -> None:
    abandon(whatever_runs=True)
    with guard("leaving the health store"):
        leave_health_stores()
    with guard("exporting at SIGTERM"):
        flush_all(ENDING_SECONDS)


def _wait_for(work: Callable[[], None], seconds: float) -> None:
    thread = threading.Thread(target=work, name="byteplus-trace-sigterm", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        fault("exporting at SIGTERM", error)
        return
    thread.join(seconds)
