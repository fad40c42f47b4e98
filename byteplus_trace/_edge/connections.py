"""
A connection that several calls share, as those of HTTP/2 are, and its end.

When it ends, httpcore raises for each of its streams. All those exceptions come from one
object: the GOAWAY frame that the server sent, or the exception of the one read or write
that failed. So a loss is recognised by that object, and reported once.

A GOAWAY names the last stream that the server looked at, and a stream may be refused before
that (REFUSED_STREAM): what was sent later was not processed (RFC 9113, 6.8 and 8.7).
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any

from .._forks import ForkSafeLock

REFUSED_STREAM = 0x7
MOST_REMEMBERED = 256


def was_unprocessed(error: BaseException, stream_id: int | None) -> bool:
    """Whether the server says that it processed nothing of a request. `stream_id` is None where it is not known."""
    event = _source(error)
    last = getattr(event, "last_stream_id", None)
    if isinstance(last, int):
        return last < (stream_id or 1)
    return getattr(event, "error_code", None) == REFUSED_STREAM


class Losses:
    """The connections that were lost lately."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._reported: deque[weakref.ref[Any]] = deque(maxlen=MOST_REMEMBERED)

    def is_new(self, error: BaseException) -> bool:
        """Whether no other call has reported the same loss before this one."""
        source = _source(error)
        try:
            reference = weakref.ref(source)
        except TypeError:  # of a built-in class: no library of HTTP/2 raised it, so no other call shares it
            return True
        with self._lock:
            if any(known() is source for known in self._reported):
                return False
            self._reported.append(reference)
            return True


def _source(error: BaseException) -> Any:
    """The object that the exceptions of all streams of one connection come from."""
    cause = error.__cause__ or error
    event = cause.args[0] if cause.args else None
    return event if hasattr(event, "error_code") else cause
