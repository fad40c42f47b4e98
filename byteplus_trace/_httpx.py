"""The edge on httpx's own classes."""

from __future__ import annotations

from typing import Any

import httpx

from ._edge.library import Library, register
from ._edge.stream import AsyncObservedStream, ObservedStream
from ._edge.transport import AsyncTransport, SyncTransport


class HttpxStream(ObservedStream, httpx.SyncByteStream):
    """A body of httpx, observed."""


class AsyncHttpxStream(AsyncObservedStream, httpx.AsyncByteStream):
    """An async body of httpx, observed."""


class ModelArkTransport(SyncTransport, httpx.BaseTransport):
    """
    An httpx transport that observes ModelArk calls and, with a policy, routes them.

        httpx.Client(transport=byteplus_trace.ModelArkTransport())

    Everything that is not ModelArk's passes as it is. Used together with
    `instrument()`, a call is recorded once.

    Args:
        transport: the transport that really sends; an `httpx.HTTPTransport` by default.
        settings: those of `byteplus_trace.instrument()`. With none, those of
            `instrument()` apply.

    Raises:
        SettingError: a setting cannot be followed.
    """

    library_name = "httpx"
    observed_stream = HttpxStream

    def __init__(self, transport: httpx.BaseTransport | None = None, **settings: Any) -> None:
        self.transport = transport or httpx.HTTPTransport()
        self._settle(settings)


class AsyncModelArkTransport(AsyncTransport, httpx.AsyncBaseTransport):
    """As `ModelArkTransport`, for an `httpx.AsyncClient`."""

    library_name = "httpx"
    observed_stream = AsyncHttpxStream

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None, **settings: Any) -> None:
        self.transport = transport or httpx.AsyncHTTPTransport()
        self._settle(settings)


register(
    Library(
        name="httpx",
        request=httpx.Request,
        url=httpx.URL,
        byte_stream=httpx.ByteStream,
        read_timeout=httpx.ReadTimeout,
        transport=ModelArkTransport,
        async_transport=AsyncModelArkTransport,
    )
)
