"""
Our own faults stay ours.

Everything that observes or tells runs under `guard`: a fault costs telemetry, never
the call. It is counted, and logged at most once a minute for each place, in words
that say the request was not affected. With `strict` (our own tests) it is raised, so
that the kindness cannot cover a bug.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType

logger = logging.getLogger("byteplus_trace")

strict = False
on_fault: Callable[[str], None] | None = None

_last_logged: dict[str, float] = {}


def fault(where: str, error: BaseException) -> None:
    """Count and, now and then, log one of our own faults."""
    if strict:
        raise error
    if on_fault is not None:
        on_fault(where)
    now = time.monotonic()
    if now - _last_logged.get(where, -60.0) >= 60:
        _last_logged[where] = now
        logger.warning(
            "byteplus_trace failed while it did '%s'; the request was not affected. Please report this.",
            where,
            exc_info=error,
        )


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
