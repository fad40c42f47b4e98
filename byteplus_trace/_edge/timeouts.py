"""
How long one send may take, and what httpcore reports about it, through the request's `timeout` and `trace` extensions.

httpcore reads the timeout of a phase when the phase begins, and that of an HTTP/1.1 body
once, when its first part is read. So each phase up to the response headers gets the time
that the attempt still has. When the headers are there, the caller's own timeouts are put
back: the limit on the beginning must not bound the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

SHORTEST = 0.001
"""A timeout of 0 would make the socket one that does not block."""


class Limits:
    """The timeouts of one send. `timeouts` is what its request carries; the caller's own is never written to."""

    def __init__(self, own: Mapping[str, float | None] | None, seconds: float | None) -> None:
        self._own = own or {}
        self._until = time.monotonic() + seconds if seconds is not None else None
        self.timeouts: dict[str, float | None] = dict(self._own)
        self.phase_begins()

    def phase_begins(self) -> None:
        """Give each phase that may begin now the remaining time."""
        if self._until is None:
            return
        remaining = max(self._until - time.monotonic(), SHORTEST)
        for phase in ("connect", "read", "write", "pool"):
            own = self._own.get(phase)
            self.timeouts[phase] = remaining if own is None else min(own, remaining)

    def headers_received(self, idle_seconds: float | None) -> bool:
        """
        The body's reads get the caller's own timeout.

        Of a stream a silence may be bounded too; true where that is the shorter of the two.
        """
        self._until = None
        own = self._own.get("read")
        idles = idle_seconds is not None and (own is None or idle_seconds < own)
        self.timeouts["read"] = idle_seconds if idles else own
        return idles


class WireWatch:
    """
    What httpcore's trace extension says of one send: was a connection reused, had the request begun.

    The caller's own trace function is called too. A transport that is not httpcore's says
    nothing here, and of its silence nothing follows.
    """

    def __init__(self, outer: Any, limits: Limits) -> None:
        self.outer = outer
        self._limits = limits
        self.connected = False
        self.request_began = False
        self.stream_id: int | None = None
        """Of HTTP/2."""

    @property
    def reused(self) -> bool:
        return self.request_began and not self.connected

    def note(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore reports an event."""
        if event.endswith(".started"):
            self._limits.phase_begins()
        if event.endswith(("connect_tcp.started", "connect_unix_socket.started")):
            self.connected = True
        elif event.endswith("send_request_headers.started"):
            self.request_began = True
            self.stream_id = info.get("stream_id")


def died_silently(error: Exception) -> bool:
    """A connection that ended before a byte of a reply was received."""
    name = type(error).__name__
    return name in {"ReadError", "WriteError"} or (
        name == "RemoteProtocolError" and "without sending" in str(error)
    )
