"""
Calls of aiohttp's client: `ClientSession._request`, which every request comes to.

The response is the library's own. Its `content` is stood in for by a proxy, which reports
what is read through it and reads nothing by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import wrapt

from .._telemetry.guard import fault
from .observed import Observed, RequestParts


async def request(wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
    """Around `ClientSession._request(method, url, ...)`."""
    observed = _begun(session, args, kwargs)
    if observed is None:
        return await wrapped(*args, **kwargs)
    try:
        response = await wrapped(*args, **kwargs)
    except GeneratorExit:  # nobody waits any more; perhaps it is the collector that closes this
        observed.ends("forgotten")
        raise
    except BaseException as error:
        _failed(observed, error)
        raise
    finally:
        observed.sent()
    observed.replied(response.status, response.headers.items(), decoded=bool(session.auto_decompress))
    _watch(response, observed)
    return response


def _begun(session: Any, args: Any, kwargs: Any) -> Observed | None:
    try:
        method, url = (*args, kwargs.get("method"), kwargs.get("url"))[:2] if len(args) < 2 else args[:2]
        address = session._build_url(url).with_query(None).with_fragment(None)
    except Exception as error:  # what aiohttp refuses by itself, in its own words
        del error
        return None
    return Observed.begin(str(method).upper(), str(address), lambda: _parts_of(session, kwargs))


def _parts_of(session: Any, kwargs: Any) -> RequestParts | None:
    headers = kwargs.get("headers")
    try:
        # What can be read once is for aiohttp to read.
        headers = session._prepare_headers(headers if not isinstance(headers, Iterator) else None)
        return headers.items(), _body(kwargs) if "content-encoding" not in headers else None
    except Exception as error:  # as above
        del error
        return None


def _body(kwargs: Any) -> bytes | None:
    """The request's body, where it is not to be taken from the caller."""
    data = kwargs.get("data")
    if isinstance(data, (bytes, bytearray)):
        return bytes(data)
    if isinstance(data, str):
        return data.encode()
    if kwargs.get("json") is None:
        return None
    try:
        return msgspec.json.encode(kwargs["json"])
    except (TypeError, ValueError, RecursionError):  # what only the session's own serialiser knows
        return None


def _failed(observed: Observed, error: BaseException) -> None:
    """An exception; `raise_for_status` makes one of a reply."""
    status, headers = getattr(error, "status", None), getattr(error, "headers", None)
    if isinstance(status, int) and status >= 400 and headers is not None:
        observed.replied(status, headers.items(), decoded=True)
        observed.exhausted()
    observed.raised(error)


def _watch(response: Any, observed: Observed) -> None:
    try:
        response.content = _Content(response.content, observed)
        for name in ("close", "release"):
            setattr(response, name, _then_ended(getattr(response, name), observed))
    except Exception as error:
        fault("observing a body", error)
        observed.ends("closed")


def _then_ended(method: Callable[[], Any], observed: Observed) -> Callable[[], Any]:
    def ended() -> Any:
        try:
            return method()
        finally:
            observed.ends("closed")

    return ended


class _Content(wrapt.ObjectProxy):  # type: ignore[type-arg]  # generic in its stubs only
    """aiohttp's stream of a body, and who receives what is read of it."""

    def __init__(self, content: Any, observed: Observed) -> None:
        super().__init__(content)
        self._self_observed = observed

    async def read(self, n: int = -1) -> bytes:
        return await self._part(self.__wrapped__.read(n))

    async def readany(self) -> bytes:
        return await self._part(self.__wrapped__.readany())

    async def readline(self, **limits: Any) -> bytes:
        return await self._part(self.__wrapped__.readline(**limits))

    async def readuntil(self, *args: Any, **limits: Any) -> bytes:
        return await self._part(self.__wrapped__.readuntil(*args, **limits))

    async def readexactly(self, n: int) -> bytes:
        return await self._part(self.__wrapped__.readexactly(n))

    async def readchunk(self) -> tuple[bytes, bool]:
        chunk: tuple[bytes, bool] = await self._read(self.__wrapped__.readchunk())
        self._took(chunk[0])
        return chunk

    def read_nowait(self, n: int = -1) -> bytes:
        part: bytes = self.__wrapped__.read_nowait(n)
        self._took(part)
        return part

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _parts(self.readline)

    def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        return _parts(lambda: self.read(n))

    def iter_any(self) -> AsyncIterator[bytes]:
        return _parts(self.readany)

    def iter_chunks(self) -> Any:
        return type(self.__wrapped__.iter_chunks())(self)

    async def _part(self, reading: Awaitable[bytes]) -> bytes:
        part: bytes = await self._read(reading)
        self._took(part)
        return part

    async def _read(self, reading: Awaitable[Any]) -> Any:
        try:
            return await reading
        except GeneratorExit:
            raise
        except BaseException as error:
            self._self_observed.raised(error)
            raise

    def _took(self, part: bytes) -> None:
        self._self_observed.reads(part)
        if self.__wrapped__.at_eof():
            self._self_observed.exhausted()

    def __del__(self) -> None:
        self._self_observed.ends("forgotten")


def _parts(read: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    from aiohttp.streams import AsyncStreamIterator

    return AsyncStreamIterator(read)
