"""
The part of an HTTP library that the edge stands on.

httpx and httpx2 have the same shape and different classes: a response made from one
fails inside a client of the other. The edge is written once against this shape; each
library's own nominal classes are registered here by `_httpx.py` and `httpx2.py`, and
are looked up by the module that a transport or a client belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from .._facts import FailureKind
from .._forwarding import decides_where
from .._recognise import PORTKEY_PREFIX, WANTED_HEADERS


class URL(Protocol):
    """What is asked of a URL."""

    scheme: str
    host: str
    port: int | None
    raw_path: bytes
    query: bytes


@dataclass(frozen=True, slots=True)
class Library:
    """One HTTP library, and our classes made for it."""

    name: str
    request: Callable[..., Any]
    url: Callable[[str], Any]
    byte_stream: Callable[[bytes], Any]
    read_timeout: Callable[..., Exception]
    transport: Callable[..., Any]
    async_transport: Callable[..., Any]


# Our module that registers the library of that name.
MODULES = {"httpx": "byteplus_trace._httpx", "httpx2": "byteplus_trace.httpx2"}

REDIRECTED = "byteplus_trace.redirected"
"""The extension of a request that follows a redirect: no policy moves it, else two regions could redirect it for ever."""

_libraries: dict[str, Library] = {}


def register(library: Library) -> None:
    """Make a library's classes known."""
    _libraries[library.name] = library


def library_named(name: str) -> Library:
    """The library of that name, imported now if need be."""
    if name not in _libraries:
        import_module(MODULES[name])
    return _libraries[name]


# By the names of the exception classes, which both libraries share: what failed, and whether
# the server may have seen the request.
_FAILURES: dict[str, tuple[FailureKind, bool]] = {
    "ConnectTimeout": ("connect", False),
    "ConnectError": ("connect", False),
    "ProxyError": ("connect", False),
    "PoolTimeout": ("pool", False),
    "UnsupportedProtocol": ("other", False),
    "LocalProtocolError": ("other", False),
    "ReadTimeout": ("timeout", True),
    "WriteTimeout": ("timeout", True),
    "ReadError": ("reset", True),
    "WriteError": ("reset", True),
    "CloseError": ("reset", True),
    "RemoteProtocolError": ("reset", True),
    "NetworkError": ("reset", True),
    "TimeoutException": ("timeout", True),
}


def failure_of(error: BaseException) -> tuple[FailureKind, bool]:
    """The kind of an exception, and whether the server may have seen the request."""
    if not isinstance(error, Exception):
        return "cancelled", True
    for kind in type(error).__mro__:
        known = _FAILURES.get(kind.__name__)
        if known is not None:
            return known
    return "other", True


def content_of(response: Any) -> bytes | None:
    """A body that was already read, and decoded: a mock's, or one out of a cache."""
    return getattr(response, "_content", None)


RECORDED_HEADERS = WANTED_HEADERS | {
    "content-encoding",
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-envoy-upstream-service-time",
    "x-request-id",
}


def wanted_headers(headers: Any) -> dict[str, str]:
    """
    A library's headers as a plain dict with lower-case names, but only the few that are looked at.

    Of repeated ones the last. An SDK's request has twenty others.
    """
    found: dict[str, str] = {}
    names = _names
    for key, value in headers.raw:
        name = names[key]
        if name:
            found[name] = value.decode("latin-1")
    return found


class _Names(dict[bytes, str]):
    """
    The names of headers that are looked at, empty for the others.

    A client spells a name alike in every request: to keep them saves 1.2% of a call of the SDK's.
    """

    def __missing__(self, key: bytes) -> str:
        name = key.decode("latin-1").lower()
        name = name if _is_wanted(name) else ""
        if len(self) < _MOST_NAMES and len(key) <= _LONGEST_NAME:
            self[key] = name
        return name


_MOST_NAMES = 512
_LONGEST_NAME = 64
_names = _Names()


def _is_wanted(name: str) -> bool:
    return name in RECORDED_HEADERS or name.startswith(PORTKEY_PREFIX) or decides_where(name)
