"""
What a reader of one API family does: bytes in, facts out.

A reader is made for one reply. It takes either one whole document or the events of a
stream, never both. It reads liberally: an unknown field, event or type is normal, a
missing one is `None`, and nothing that a server sends makes it raise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from .._facts import Answer, Content
from .lenient_json import LARGEST_FOR_PYTHON, Shape, begins_object
from .sse import DONE

T = TypeVar("T", bound=msgspec.Struct)

# What an event of a stream was, added up. Plain integers: a flag enum costs more than the decoding.
NOTHING = 0
OUTPUT = 1
"""It carries output: text, reasoning, a tool call, an image, or anything unknown."""
VISIBLE = 2
"""It carries text that a person would see (or an image), not only reasoning."""
END = 4
"""It is the event that ends the stream."""
FAILED = 8
"""It carries an error."""
UNREADABLE = 16
"""Nobody can read it: an SDK raises there, and closes the stream."""


def unread(name: str, data: bytes) -> int:
    """
    What an event is that our readers cannot read.

    It is no output, for SDKs cannot read it either. A very large object is: it may be too large for us alone.
    """
    if name == "error":
        return FAILED
    return OUTPUT if len(data) > LARGEST_FOR_PYTHON and begins_object(data) else UNREADABLE


MOST_UNKNOWN = 64
_NAME = re.compile(r"[\w.-]{1,64}").fullmatch


def note_unknown(names: dict[str, None], name: str) -> None:
    """Keep the name of an event that this version does not know: at most 64, and none that may be content."""
    if len(names) < MOST_UNKNOWN and _NAME(name):
        names[name] = None


class Asked(msgspec.Struct, frozen=True):
    """What the body of a request asked for."""

    model: str | None = None
    stream: bool = False
    params: Mapping[str, Any] = {}
    content: Content | None = None


class EventReader(Generic[T]):
    """How readers of events begin: with the event that ends a stream, and with one that cannot be read."""

    __slots__ = ("_complete",)
    _shape: ClassVar[Shape[Any]]

    def __init__(self) -> None:
        self._complete = False

    def event(self, name: str, data: bytes) -> int:
        if data == DONE:
            self._complete = True
            return END
        event = self._shape.read(data)
        return self._event(name, event, data) if event is not None else unread(name, data)

    def _event(self, name: str, event: T, data: bytes) -> int:
        raise NotImplementedError


class Reader(Protocol):
    """Reads one reply."""

    def event(self, name: str, data: bytes) -> int:
        """Take one event of a stream (its `data`, joined). Returns what it was: OUTPUT | VISIBLE | END | FAILED."""

    def document(self, body: bytes) -> bool:
        """Take a whole, decompressed, non-streamed body. False where it is no JSON object at all."""

    def answer(self) -> Answer:
        """
        What was read so far; may be called at any time.

        It is `complete` only where the reply has what a reply of this API must have. That
        something arrived is not enough: `{}`, another API's document or a lone `[DONE]` is
        no answer.
        """
