"""Calls of one case, bare or watched, and all that their caller sees of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import httpx2

HOST = "https://ark.ap-southeast.bytepluses.com"
CLIENTS = tuple((library, colour) for library in (httpx, httpx2) for colour in ("sync", "asyncio"))
READINGS = ("read", "raw", "bytes", "lines")


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and what is answered to it."""

    path: str
    request: bytes
    request_headers: tuple[tuple[str, str], ...]
    status: int
    reply_headers: tuple[tuple[str, str], ...]
    parts: tuple[bytes, ...]
    error: str | None
    """The class of the library's exception that ends the body; None: it ends well."""
    reading: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a case."""

    sent: bytes
    """The request as its transport met it."""
    status: int | None
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    pieces: int
    downloaded: int
    raised: str | None


def make(case: Case, library: Any, colour: str) -> Seen:
    """Call once, with a client of this library and colour."""
    sent: list[bytes] = []
    pieces: list[bytes] = []
    reply: list[Any] = []
    transport = scripted(case, library, colour, sent)
    options = {"transport": transport, "trust_env": False}
    names = {"read": "read", "raw": "iter_raw", "bytes": "iter_bytes", "lines": "iter_lines"}
    name = names[case.reading]
    asked = {
        "method": "POST",
        "url": HOST + case.path,
        "content": case.request,
        "headers": list(case.request_headers),
    }

    def work() -> None:
        with library.Client(**options) as client, client.stream(**asked) as response:
            reply.append(response)
            found = getattr(response, name)()
            for piece in [found] if name == "read" else found:
                pieces.append(piece.encode() if isinstance(piece, str) else piece)  # noqa: PERF401  kept also where the next one raises

    async def awork() -> None:
        async with library.AsyncClient(**options) as client, client.stream(**asked) as response:
            reply.append(response)
            found = getattr(response, f"a{name}")()
            if name == "read":
                pieces.append(await found)
                return
            async for piece in found:
                pieces.append(piece.encode() if isinstance(piece, str) else piece)  # noqa: PERF401  kept also where the next one raises

    raised = None
    try:
        work() if colour == "sync" else anyio.run(awork, backend=colour)
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
    return Seen(
        sent=b"".join(sent),
        status=reply[0].status_code if reply else None,
        headers=tuple(reply[0].headers.raw) if reply else (),
        body=b"\x00".join(pieces),
        pieces=len(pieces),
        downloaded=reply[0].num_bytes_downloaded if reply else 0,
        raised=raised,
    )


def scripted(case: Case, library: Any, colour: str, sent: list[bytes]) -> Any:
    """A transport that answers the case, and keeps what it was sent."""

    def keep(request: Any, content: bytes) -> None:
        head = b"\r\n".join(b": ".join(pair) for pair in request.headers.raw)
        sent.append(
            b"%s %s\r\n%s\r\n\r\n%s" % (request.method.encode(), str(request.url).encode(), head, content)
        )

    def body() -> Any:
        yield from case.parts
        if case.error is not None:
            raise getattr(library, case.error)("the connection is lost")

    def answer(stream: Any) -> Any:
        return library.Response(case.status, headers=list(case.reply_headers), stream=stream)

    if colour == "sync":

        class Stream(library.SyncByteStream):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Any:
                return body()

        class Transport(library.BaseTransport):  # type: ignore[misc, name-defined]
            def handle_request(self, request: Any) -> Any:
                keep(request, request.read())
                return answer(Stream())

        return Transport()

    class AsyncStream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> Any:
            for part in body():
                yield part

    class AsyncTransport(library.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        async def handle_async_request(self, request: Any) -> Any:
            keep(request, await request.aread())
            return answer(AsyncStream())

    return AsyncTransport()


@contextlib.contextmanager
def as_for_users() -> Any:
    """Our own faults are swallowed and counted, whatever was set before."""
    from byteplus_trace._telemetry import guard

    before, guard.strict = guard.strict, False
    try:
        yield
    finally:
        guard.strict = before


Answering = Callable[[Case, Any, str], Seen]
