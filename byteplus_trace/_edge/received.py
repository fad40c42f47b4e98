"""
A reply, from its headers to the response that the caller gets: the one place where a reply is taken.

A body that was already read (a mock's, or one out of a cache) never iterates a replaced
stream, so it is fed to the observer at once. Any other gets an observed stream, which
begins with the parts that were read before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._call_end import End
from .._observer import Observer
from .._telemetry.guard import fault
from .._wire.usage_filter import strainer
from .library import content_of, wanted_headers


class Received:
    """A reply, and what was read of its body so far."""

    __slots__ = ("_already_read", "_observer", "drained", "headers", "number", "parts", "response", "rest")

    def __init__(self, response: Any, observer: Observer, number: int = 1) -> None:
        self.response = response
        self.number = number
        """Of the attempt that brought it."""
        self.parts: list[bytes] = []
        self.rest: Any = None
        """The iterator of the parts that follow, once one was begun."""
        self.headers: dict[str, str] = {}
        """Those that are looked at."""
        self._observer = observer
        content = content_of(response)
        self.drained = self._already_read = content is not None
        # What fails from here on may not lose a reply that was paid for.
        try:
            headers = self.headers = wanted_headers(response.headers)
            if content is not None:
                headers.pop("content-encoding", None)
            elif "content-encoding" in headers:
                # It may stand in several lines, and what one of them says alone is not how the body is coded.
                headers["content-encoding"] = response.headers["content-encoding"]
            observer.replied(response.status_code, headers)
            if content is not None and observer.body is not None:
                observer.body.feed(content)
                observer.body.end()
        except Exception as error:
            fault("taking a reply", error)

    def delivered(self, stream: Callable[..., Any], *, filters_usage: bool) -> Any:
        """The response for the caller, observed; without the usage chunk that we and not the caller asked for."""
        observer, response = self._observer, self.response
        if not self._already_read:
            usage_filter = strainer(self.headers) if filters_usage and response.status_code < 400 else None
            response.stream = stream(
                response.stream, observer, self.parts, self.rest, self.drained, usage_filter
            )
        if self.drained:
            observer.exhausted()
        elif observer.body is not None and observer.body.ended:
            observer.finish(End("complete"))
        return response
