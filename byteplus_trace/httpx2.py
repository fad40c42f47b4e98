"""
The edge on httpx2's own classes, for openai 3.x and whoever else runs on httpx2.

    httpx2.Client(transport=byteplus_trace.httpx2.ModelArkTransport())
"""

from __future__ import annotations

from typing import Any

import httpx2

from ._edge.library import Library, register
from ._edge.stream import AsyncObservedStream, ObservedStream
from ._edge.transport import AsyncTransport, SyncTransport


class Httpx2Stream(ObservedStream, httpx2.SyncByteStream):
    """A body of httpx2, observed."""


class AsyncHttpx2Stream(AsyncObservedStream, httpx2.AsyncByteStream):
    """An async body of httpx2, observed."""


class ModelArkTransport(SyncTransport, httpx2.BaseTransport):
    """
    An httpx2 transport that observes ModelArk calls and, with a policy, routes them.

        httpx2.Client(transport=byteplus_trace.httpx2.ModelArkTransport())

    Everything that is not ModelArk's passes as it is. Used together with
    `instrument()`, a call is recorded once.

    Args:
        transport: the transport that really sends; an `httpx2.HTTPTransport` by default.
        settings: those of `byteplus_trace.instrument()`. With none, those of
            `instrument()` apply.

    Raises:
        SettingError: a setting cannot be followed.
    """

    library_name = "httpx2"
    observed_stream = Httpx2Stream

    def __init__(self, transport: httpx2.BaseTransport | None = None, **settings: Any) -> None:
        self.transport = transport or httpx2.HTTPTransport()
        self._settle(settings)


class AsyncModelArkTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    """As `ModelArkTransport`, for an `httpx2.AsyncClient`."""

    library_name = "httpx2"
    observed_stream = AsyncHttpx2Stream

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None, **settings: Any) -> None:
        self.transport = transport or httpx2.AsyncHTTPTransport()
        self._settle(settings)


register(
    Library(
        name="httpx2",
        request=httpx2.Request,
        url=httpx2.URL,
        byte_stream=httpx2.ByteStream,
        read_timeout=httpx2.ReadTimeout,
        transport=ModelArkTransport,
        async_transport=AsyncModelArkTransport,
    )
)

__all__ = ["AsyncModelArkTransport", "ModelArkTransport"]
