"""A span as a value: what is kept of one, whatever brought it here."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["unset", "ok", "error"]

SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")

Key = tuple[str, str]
"""A trace id and a span id, in hexadecimal digits."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened in a span."""

    name: str
    at_ns: int
    attributes: dict[str, Any] = {}


class Span(msgspec.Struct, frozen=True, array_like=True):
    """
    A finished span.

    Texts are within the bounds of `otlp`, and otherwise as they were sent: what shows one
    makes it plain first.
    """

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any] = {}
    events: list[Event] = []
    status: Status = "unset"
    message: str = ""
    """The description of the status."""
    service: str = ""
    """`service.name` of what sent it."""
    scope: str = ""
    """The instrumentation that made it."""
    shortened: int = 0
    """How many of its texts, attributes and events were cut or omitted by the bounds."""

    @property
    def key(self) -> Key:
        return self.trace_id, self.span_id

    @property
    def seconds(self) -> float:
        return max(0, self.end_ns - self.start_ns) / 1e9

    def text(self, name: str) -> str:
        """An attribute that is a text; empty where it is missing or something else."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | int | None:
        """An attribute that is a number and finite; None otherwise."""
        value = self.attributes.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return value if abs(value) < 1e18 else None

    def count(self, name: str) -> int | None:
        """An attribute that is a whole number from 0; None otherwise."""
        value = self.number(name)
        return value if isinstance(value, int) and value >= 0 else None


_encode = msgspec.msgpack.Encoder()
_decode = msgspec.msgpack.Decoder(Span)


def packed(span: Span) -> bytes:
    """A span as it is kept in memory, in a file, and between processes."""
    return _encode.encode(span)


def unpacked(data: bytes) -> Span:
    """
    The span again.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decode.decode(data)
