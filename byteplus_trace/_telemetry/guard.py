"""
Our own faults stay ours.

Everything that observes or records runs under `guard`: a fault costs telemetry, never
the call. It is counted, and logged at most once a minute for each place, and the
line says that the call was not affected. With `strict` (our own tests) it is raised, so
that the kindness cannot cover a bug. What the user's own functions raise is swallowed in
the same manner, and named as theirs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

logger = logging.getLogger("byteplus_trace")

strict = False
on_fault: Callable[[str], None] | None = None

PLACES = (
    "asking OpenTelemetry for HTTP spans",
    "beginning a call",
    "bounding a read",
    "capturing content",
    "closing a reply that is not used",
    "closing the attempt span",
    "closing the health store",
    "closing the span",
    "counting",
    "counting calls in flight",
    "counting for OpenTelemetry",
    "cutting a silent stream",
    "ending what is open",
    "entering the attempt's context",
    "estimating the cost",
    "exporting at SIGTERM",
    "exporting at the end",
    "finding the transport",
    "finishing",
    "finishing a call",
    "flushing",
    "folding a worker's counts",
    "leaving the attempt's context",
    "leaving the health store",
    "looking at a reply",
    "marking the response",
    "metadata cut",
    "observing a body",
    "on_exchange",
    "opening the attempt span",
    "opening the span",
    "passing a request",
    "performing a call",
    "planning a call",
    "printing to the console",
    "propagating the trace context",
    "reading the body",
    "reading the reply's head",
    "recording a skip",
    "recording a wait",
    "redact",
    "reporting a breaker",
    "reporting a refused credential",
    "reporting the health store",
    "sharing health",
    "starting the background thread",
    "starting the watchdog",
    "taking a reply",
)
"""Where a fault of ours, or of a function that the user passed, can be met; each is counted from 0."""

_last_logged: dict[str, float] = {}

_OURS = "byteplus_trace: internal error while %s; the call was not affected"
_YOURS = "byteplus_trace: the function passed to instrument() as %s= raised; the call was not affected"
USER_FUNCTIONS = frozenset({"on_exchange", "redact"})
"""Places where what raised was passed by the user."""


class UserFunctionError(Exception):
    """A function of the user's has raised amid our own work; what it raised is the cause."""


def fault(where: str, error: BaseException) -> None:
    """Count and, now and then, log one of our own faults, or one of a function that the user passed."""
    if strict:
        raise error
    if isinstance(error, UserFunctionError) and error.__cause__ is not None:
        where, error = str(error), error.__cause__
    # The last handler: a counter whose file is gone, or a log handler that raises, must not reach the call.
    with suppress(Exception):
        if on_fault is not None:
            on_fault(where)
    with suppress(Exception):
        now = time.monotonic()
        if now - _last_logged.get(where, -60.0) >= 60:
            _last_logged[where] = now
            logger.warning(_YOURS if where in USER_FUNCTIONS else _OURS, where, exc_info=error)


class guard:  # noqa: N801 - it reads as a statement
    """Swallow, count and log an `Exception` of ours; let cancellation and exits through."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        if strict:
            return False
        fault(self._where, error)
        return True
