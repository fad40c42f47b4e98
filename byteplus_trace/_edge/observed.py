"""
A call of a client that is only observed: no policy moves it, nothing of it is changed.

aiohttp's client and requests are watched from here, each by a thin edge that reports what
it sends, receives and raises (`aiohttp_client.py`, `requests_adapter.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from .._call_end import End, How
from .._facts import FailureKind, Sending
from .._observer import Observer
from .._recognise import PORTKEY_PREFIX, WANTED_HEADERS, recognise
from .._scope import current_metadata
from .._telemetry.guard import fault
from .._telemetry.recorder import is_silent
from .hint import hint_at
from .instrumentation import Instrumentation
from .library import RECORDED_HEADERS

# By the names of the exception classes of both libraries and of urllib3; the first of a class's bases that is here counts.
_FAILURES: Mapping[str, FailureKind] = {
    "ConnectTimeout": "connect",
    "ConnectTimeoutError": "connect",
    "ConnectionTimeoutError": "connect",
    "NewConnectionError": "connect",
    "NameResolutionError": "connect",
    "SSLError": "connect",
    "ProxyError": "connect",
    "ClientConnectorError": "connect",
    "ReadTimeout": "timeout",
    "ReadTimeoutError": "timeout",
    "ServerTimeoutError": "timeout",
    "TimeoutError": "timeout",
    "Timeout": "timeout",
    "ConnectionError": "reset",
    "ClientOSError": "reset",
    "ServerDisconnectedError": "reset",
    "ClientPayloadError": "reset",
    "ClientConnectionError": "reset",
    "ProtocolError": "reset",
    "ChunkedEncodingError": "reset",
    "ContentDecodingError": "reset",
}


RequestParts = tuple[Iterable[tuple[str, str]], bytes | None]
"""The headers of a request, and its body where it is not to be taken from the caller."""


class Observed:
    """One call, as its edge reports it. Nothing here raises."""

    __slots__ = ("_observer", "_span", "_token")

    def __init__(self, observer: Observer, sending: Sending) -> None:
        self._observer = observer
        self._span = observer.sends(sending)
        self._token = self._span.attach() if self._span is not None else None

    @classmethod
    def begin(cls, method: str, url: str, read_request: Callable[[], RequestParts | None]) -> Observed | None:
        """
        Begin to observe a request; None where it is not ModelArk's, or somebody observes it further out.

        `read_request` is called where it may be ModelArk's; None says that its library will refuse to send it.
        """
        instrumentation = Instrumentation._active
        if instrumentation is None:
            return None
        try:
            return cls._begin(instrumentation, method, url, read_request)
        except Exception as error:
            fault("beginning a call", error)
            return None

    @classmethod
    def _begin(
        cls,
        instrumentation: Instrumentation,
        method: str,
        url: str,
        read_request: Callable[[], RequestParts | None],
    ) -> Observed | None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not instrumentation.places.may_be(host):
            hint_at(host, parts.path)
            return None
        if is_silent():
            return None
        request_parts = read_request()
        if request_parts is None:
            return None
        headers, body = request_parts
        lowered = ((name.lower(), value) for name, value in headers)
        wanted = {
            name: value
            for name, value in lowered
            if name in WANTED_HEADERS or name.startswith(PORTKEY_PREFIX)
        }
        found = recognise(
            instrumentation.places,
            method=method,
            scheme=parts.scheme,
            host=host,
            port=parts.port,
            path=parts.path,
            headers=wanted,
            body=body,
            capture=instrumentation.config.capture_content,
            metadata=current_metadata(),
        )
        if found is None:
            return None
        call = found.call
        observer = Observer(
            call,
            found.family,
            instrumentation.recorder.begin,
            instrumentation.config.capture_content,
            cost=instrumentation.cost,
        )
        return cls(observer, Sending(1, call.region, call.region, call.host, call.port, call.url))

    def sent(self) -> None:
        """The send is over, whether it brought a reply or an exception."""
        if self._span is not None:
            self._span.detach(self._token)

    def raised(self, error: BaseException) -> None:
        """The library raised, or the caller stopped waiting."""
        self._observer.finish(End("raised", error, _kind_of(error)))

    def replied(self, status: int, headers: Iterable[tuple[str, str]], *, decoded: bool) -> None:
        """The response headers were received. `decoded`: the body is reported as its encoding unpacked it."""
        try:
            lowered = [(name.lower(), value) for name, value in headers]
            found = {name: value for name, value in lowered if name in RECORDED_HEADERS}
            codings = [value for name, value in lowered if name == "content-encoding"]
            if decoded:
                found.pop("content-encoding", None)
            elif codings:
                found["content-encoding"] = ", ".join(codings)
            self._observer.replied(status, found)
        except Exception as error:
            fault("taking a reply", error)

    def reads(self, part: bytes) -> None:
        """The caller has read this part of the body."""
        if part and self._observer.reads(part):
            self._observer.finish(End("complete"))

    def exhausted(self) -> None:
        """The caller has read the body to its end."""
        self._observer.exhausted()

    def ends(self, how: How) -> None:
        """Nobody reads on. This may be called by the garbage collector."""
        self._observer.finish_soon(how)


def _kind_of(error: BaseException) -> FailureKind:
    if not isinstance(error, Exception):
        return "cancelled"
    kinds = (_FAILURES.get(kind.__name__) for kind in type(error).__mro__)
    named: FailureKind = next((kind for kind in kinds if kind is not None), "other")
    # requests wraps what urllib3 raised: whether there was a connection is known there alone.
    reason: Any = getattr(error.args[0], "reason", None) if named == "reset" and error.args else None
    return _kind_of(reason) if isinstance(reason, Exception) else named
