"""What httpcore says of a connection while it sends: enough to tell a stale connection from a failing server."""

from __future__ import annotations

from typing import Any

from .limits import Limits


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

    @property
    def reused(self) -> bool:
        return self.request_began and not self.connected

    def note(self, event: str) -> None:
        if event.endswith(".started"):
            self._limits.phase_begins()
        if event.endswith(("connect_tcp.started", "connect_unix_socket.started")):
            self.connected = True
        elif event.endswith("send_request_headers.started"):
            self.request_began = True


def died_silently(error: Exception) -> bool:
    """A connection that ended before a byte of a reply came over it."""
    name = type(error).__name__
    return name in {"ReadError", "WriteError"} or (
        name == "RemoteProtocolError" and "without sending" in str(error)
    )
