"""
Calls of requests: `HTTPAdapter.send`, which every session's adapter comes to.

The response is the library's own. Its `raw` is stood in for by a proxy, which reports what
is read through it and reads nothing by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import wrapt

from .observed import Observed, RequestParts


def send(wrapped: Any, _adapter: Any, args: Any, kwargs: Any) -> Any:
    """Around `HTTPAdapter.send(request, ...)`."""
    request = args[0] if args else kwargs.get("request")
    observed = _begun(request)
    if observed is None:
        return wrapped(*args, **kwargs)
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        observed.raised(error)
        raise
    finally:
        observed.sent()
    observed.replied(response.status_code, response.headers.items(), decoded=True)
    response.raw = _Raw(response.raw, observed, response)
    return response


def _begun(request: Any) -> Observed | None:
    return Observed.begin(
        str(getattr(request, "method", "")), str(getattr(request, "url", "")), lambda: _parts_of(request)
    )


def _parts_of(request: Any) -> RequestParts:
    body = getattr(request, "body", None)
    content = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else None
    headers = getattr(request, "headers", None) or {}
    return _texts(headers.items()), content if "content-encoding" not in headers else None


def _texts(headers: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        yield _text(name), _text(value)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


class _Raw(wrapt.ObjectProxy):  # type: ignore[type-arg]  # generic in its stubs only
    """urllib3's response, and who receives what is read of it."""

    def __init__(self, raw: Any, observed: Observed, response: Any) -> None:
        super().__init__(raw)
        self._self_observed = observed
        self._self_status = response.status_code
        self._self_headers = list(response.headers.items())
        self._self_encoded = False

    # Each is called as its caller called it, whatever this version of urllib3 takes.

    def stream(self, *args: Any, **named: Any) -> Iterator[bytes]:
        self._decodes(args, named)
        return self._watched(self.__wrapped__.stream(*args, **named))

    def __iter__(self) -> Iterator[bytes]:
        return self._watched(iter(self.__wrapped__))

    def read(self, *args: Any, **named: Any) -> bytes:
        self._decodes(args, named)
        amt = args[0] if args else named.get("amt")
        return self._part(amt, lambda: self.__wrapped__.read(*args, **named))

    def read1(self, *args: Any, **named: Any) -> bytes:
        self._decodes(args, named)
        amt = args[0] if args else named.get("amt")
        return self._part(amt or 1, lambda: self.__wrapped__.read1(*args, **named))

    def readinto(self, buffer: Any) -> int:
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        try:
            self.__wrapped__.close()
        finally:
            self._self_observed.ends("closed")

    def _decodes(self, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Notice that the caller reads the body as it is encoded."""
        decodes = args[1] if len(args) > 1 else named.get("decode_content")
        if decodes is None:
            decodes = getattr(self.__wrapped__, "decode_content", True)
        if not decodes and not self._self_encoded:
            self._self_encoded = True
            self._self_observed.replied(self._self_status, self._self_headers, decoded=False)

    def _part(self, amt: int | None, read: Any) -> bytes:
        try:
            part: bytes = read()
        except BaseException as error:
            self._self_observed.raised(error)
            raise
        self._self_observed.reads(part)
        if amt is None or (not part and amt):
            self._self_observed.exhausted()
        return part

    def _watched(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for part in parts:
                self._self_observed.reads(part)
                yield part
        except GeneratorExit:
            raise
        except BaseException as error:
            self._self_observed.raised(error)
            raise
        self._self_observed.exhausted()

    def __del__(self) -> None:
        self._self_observed.ends("forgotten")
