"""
Server-sent events: bytes in, events out (WHATWG HTML, 9.2 Server-sent events, 2026-11).

Laws:
- How the bytes were cut into parts is invisible: `\\r\\n` may be split, and so may a
  character.
- Linear in bytes: only new bytes are searched, what waits for its end is kept in pieces.
- Bounded: an event larger than the limit is dropped, and reading goes on after it.
- A last event without its blank line is an event too, once `flush` says that no more
  comes: services that close in haste leave it so.
"""

from __future__ import annotations

import re

LARGEST_EVENT = 32 * 1024 * 1024

Event = tuple[str, bytes]

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventDecoder:
    """`feed` parts, get the events that they complete."""

    __slots__ = ("_border", "_first", "_limit", "_oversized", "_pieces", "_size", "_tail")

    def __init__(self, limit: int = LARGEST_EVENT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._border = b""
        """The last bytes kept, where a blank line may have begun."""
        self._tail = b""
        """A `\\r` that may be half of a `\\r\\n`."""
        self._first = True
        self._oversized = False

    def feed(self, part: bytes) -> list[Event]:
        """Take the next bytes; the events that are complete now."""
        if self._first and part:
            self._first = False
            part = part.removeprefix(_BOM)
        part, self._tail = self._tail + part, b""
        if part.endswith(b"\r"):
            part, self._tail = part[:-1], b"\r"
        if not self._pieces:
            return self._split(part)
        found = _BLANK_LINE.search(self._border + part)
        if found is None:
            self._keep(part)
            return []
        cut = found.end() - len(self._border)
        self._keep(part[:cut])
        whole = self._take()
        events = [] if whole is None else _events(whole)
        return events + self._split(part[cut:])

    def flush(self) -> list[Event]:
        """No more bytes come; the event that waited for its blank line."""
        if self._tail:
            self._keep(self._tail)
            self._tail = b""
        whole = self._take()
        return [] if whole is None else _events(whole)

    def _split(self, part: bytes) -> list[Event]:
        if b"\r" in part:
            end = 0
            for found in _BLANK_LINE.finditer(part):
                end = found.end()
        else:
            end = part.rfind(b"\n\n") + 2
            if end < 2:
                end = 0
        if end < len(part):
            self._keep(part[end:])
        return _events(part[:end]) if end else []

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        self._border = (self._border + piece)[-3:] if len(piece) < 3 else piece[-3:]
        if self._size > self._limit:
            self._oversized = True
            self._pieces.clear()
        self._pieces.append(piece)

    def _take(self) -> bytes | None:
        whole = None if self._oversized else b"".join(self._pieces)
        self._pieces, self._size, self._border, self._oversized = [], 0, b"", False
        return whole


def _events(block: bytes) -> list[Event]:
    """The events of a block of whole ones."""
    if b"\r" in block:
        block = _LINE_END.sub(b"\n", block)
    events = []
    for text in block.split(b"\n\n"):
        # The two shapes that ModelArk sends, without looking at each line.
        if text.startswith(b"data: ") and b"\n" not in text:
            events.append(("", text[6:]))
            continue
        if text:
            event = _event(text)
            if event is not None:
                events.append(event)
    return events


def _event(text: bytes) -> Event | None:
    name = ""
    data: list[bytes] = []
    for line in text.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    return (name, b"\n".join(data)) if data else None
