"""
As much of HTTP/1.1 as a server on the loopback needs, with every byte in our hands.

Reads one request, bodies by length or in chunks; writes heads, chunks and coded bodies.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next request's head, None where the client has gone or speaks something else."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
        request_line, *lines = raw[:-4].decode("latin-1").split("\r\n")
        method, target, _ = request_line.split(" ")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        url = urlsplit(target)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return None
    return Head(method, unquote(url.path), dict(parse_qsl(url.query, keep_blank_values=True)), headers)


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """The body that belongs to this head."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(parts)


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """A response's head."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; nothing for nothing, because an empty chunk ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


@dataclass(frozen=True, slots=True)
class Coding:
    """A content coding at work on one body."""

    name: str
    part: Callable[[bytes], bytes]
    """Some of the body, flushed so that it can be read at once."""
    end: Callable[[], bytes]


def coding(accepted: str) -> Coding | None:
    """The first coding that a client accepts and this Python has."""
    offered = {item.partition(";")[0].strip().lower() for item in accepted.split(",")}
    return next((made for name, make in _CODINGS.items() if name in offered and (made := make())), None)


def _zlib(name: str, bits: int) -> Coding:
    press = zlib.compressobj(wbits=bits)
    return Coding(name, lambda data: press.compress(data) + press.flush(zlib.Z_SYNC_FLUSH), press.flush)


def _brotli() -> Coding | None:
    try:
        import brotli  # type: ignore[import-untyped]  # it has no stubs
    except ImportError:
        return None
    press: Any = brotli.Compressor()
    return Coding("br", lambda data: press.process(data) + press.flush(), press.finish)


_CODINGS: dict[str, Callable[[], Coding | None]] = {
    "br": _brotli,
    "gzip": lambda: _zlib("gzip", zlib.MAX_WBITS | 16),
    "deflate": lambda: _zlib("deflate", zlib.MAX_WBITS),
}
