"""
How long one attempt may take, in the terms of an HTTP library: the `timeout` extension of its request.

httpcore looks at the entry of a phase when the phase begins, and at that of an HTTP/1.1
body once, when its first part is asked for. So the phases up to the response headers are
each given what is left of the attempt then, and with the headers the caller's own
timeouts are back: what has begun is not bounded by what bounds its beginning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

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
        """Give each phase that may begin now what is left."""
        if self._until is None:
            return
        left = max(self._until - time.monotonic(), SHORTEST)
        for phase in ("connect", "read", "write", "pool"):
            own = self._own.get(phase)
            self.timeouts[phase] = left if own is None else min(own, left)

    def headers_came(self, idle_seconds: float | None) -> bool:
        """
        The body's reads get the caller's own timeout.

        Of a stream a silence may be bounded too; true where that is the shorter of the two.
        """
        self._until = None
        own = self._own.get("read")
        idles = idle_seconds is not None and (own is None or idle_seconds < own)
        self.timeouts["read"] = idle_seconds if idles else own
        return idles
