"""
Server-sent events: bytes in, events out (WHATWG HTML, 9.2 Server-sent events, 2026-11).

Laws:
- How the bytes were cut into parts is invisible: `\\r\\n` may be split, and so may a
  character or the byte order mark.
- Linear in bytes: only new bytes are searched, what waits for its end is kept in pieces.
- Bounded: an event larger than the limit is dropped, and reading goes on after it.
- An error that a server writes into a stream as it is, without `data:`, is an event too:
  it says why the stream ends. No other line without a field is.
- `flush` also returns a last event without its blank line, which services that close early
  send. An event that was cut in the middle is dropped.

ModelArk sends two shapes, `data: {...}` and `event: x` with `data: {...}`, each a part of
its own or many in one. Of the first a part of its own is most of what there is: where
the decoder is `idle`, its user may see that for himself.
"""

from __future__ import annotations

import re
from itertools import groupby

import msgspec

from .errors import read_error
from .lenient_json import UNREADABLE, decoded, object_before

LARGEST_EVENT = 32 * 1024 * 1024
MOST_LINES = 100_000
"""Of one part: a stream of 50,000 events, were it sent whole."""
DONE = b"[DONE]"
"""The data of the event that ends a stream of most APIs; no JSON."""

Event = tuple[str, bytes]
"""Name, empty where none was sent, and data, its lines joined."""

# Atomic, so that one `\r\n` is never taken for two line ends.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LONGEST_BLANK_LINE = 4
LF = ord("\n")
_BARE_BEGIN = (b"{", b"[")
_BOM = b"\xef\xbb\xbf"
_json = msgspec.json.Decoder(msgspec.Raw).decode


class EventDecoder:
    """`feed` parts, get the events that they complete."""

    __slots__ = ("_begun", "_border", "_limit", "_pieces", "_size", "_tail", "bare", "idle")

    def __init__(self, limit: int = LARGEST_EVENT) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._border = b""
        """The last bytes kept, where a blank line may have begun."""
        self._tail = b""
        """A `\\r` that may be half of a `\\r\\n`, or the beginning of a byte order mark."""
        self._begun = False
        self.bare = b""
        """An error that is written into the stream as a JSON object without `data:`, until an event follows it."""
        self.idle = False
        """Nothing waits, no `bare` error either: the next byte begins an event."""

    def feed(self, part: bytes) -> list[Event]:
        """Take the next bytes; the events that are complete now."""
        part = self._tail + part
        self._tail = b""
        if not self._begun:
            if len(part) < len(_BOM) and _BOM.startswith(part):
                self._tail = part
                return []
            self._begun = True
            part = part.removeprefix(_BOM)
        if part.endswith(b"\r"):
            part, self._tail = part[:-1], b"\r"
        events = self._search(part)
        self.idle = not self._size and not self._tail and not self.bare
        return events

    def flush(self) -> list[Event]:
        """The event that still waited for its blank line, if it looks whole. Call it at the end of the body."""
        self._keep(self._tail)
        self._tail = b""
        rest = self._take()
        self.idle = self._begun
        events = self._events(rest.splitlines())
        if events and not rest.endswith((b"\n", b"\r")) and not _is_whole(events[-1][1]):
            events.pop()
        return events

    def _search(self, part: bytes) -> list[Event]:
        """The events that end in this part; the beginning of the next is kept."""
        begun: list[Event] = []
        if self._size:
            cut = _first_end(self._border + part) - len(self._border)
            if cut < 0:
                self._keep(part)
                return []
            self._keep(part[:cut])
            begun = self._events(self._take().splitlines())
            part = part[cut:]
        cut = _last_end(part)
        self._keep(part[cut:])
        return begun + self._events(part[:cut].splitlines()) if cut else begun

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._size += len(piece)
        self._border = (self._border + piece[-_LONGEST_BLANK_LINE:])[-_LONGEST_BLANK_LINE:]
        if self._size > self._limit + _LONGEST_BLANK_LINE:
            self._pieces.clear()
        else:
            self._pieces.append(piece)

    def _take(self) -> bytes:
        whole = b"".join(self._pieces)
        self._pieces, self._size, self._border = [], 0, b""
        return whole

    def _events(self, lines: list[bytes]) -> list[Event]:
        """Each blank line ends an event, and so does the end; one without data is none."""
        events: list[Event] = []
        name, data, size = "", list[bytes](), 0
        has_bare = False
        for line in lines:
            if line[:6] == b"data: ":
                data.append(line[6:])
            elif not line:
                if data and size <= self._limit:
                    events.append((name, data[0] if len(data) == 1 else b"\n".join(data)))
                name, data, size = "", [], 0
                continue
            else:
                field, _, value = line.partition(b":")
                if field == b"data":
                    data.append(value.removeprefix(b" "))
                elif field == b"event":
                    name = value.removeprefix(b" ").decode("utf-8", "replace")
                elif _is_bare(line):
                    has_bare = True
            size += len(line)
        if data and size <= self._limit:
            events.append((name, b"\n".join(data)))
        return self._with_bare(lines) if has_bare or self.bare else events

    def _with_bare(self, lines: list[bytes]) -> list[Event]:
        """As `_events`, with each error that has no `data:` as an event of its own, before the event that follows it."""
        bare, self.bare = self.bare, b""
        events: list[Event] = []
        for filled, block in groupby(lines, bool):
            if filled:
                of_block = list(block)
                if _is_bare(of_block[0]):
                    bare = bare or _error_before(b"\n".join(of_block))
                found = self._events([line for line in of_block if not _is_bare(line)])
                if bare and found:
                    events.append(("", bare))
                    bare = b""
                events += found
        self.bare = bare
        return events


def _is_bare(line: bytes) -> bool:
    """Whether a line begins as a JSON object or list does, and no field."""
    return line.lstrip()[:1] in _BARE_BEGIN


def _error_before(block: bytes) -> bytes:
    """The object that a block of lines begins with, where it is an error."""
    found = object_before(block)
    return found if read_error(found) is not None else b""


def is_flood(part: bytes) -> bool:
    """Whether a part has more lines than a server sends at once; each costs more to read than to send compressed."""
    return part.count(b"\n") + part.count(b"\r") > MOST_LINES


def _is_whole(data: bytes) -> bool:
    """Whether data whose line did not end has all of itself: what ModelArk sends is JSON or `[DONE]`."""
    try:
        return data == DONE or decoded(_json, data) is not None
    except UNREADABLE:
        return False


def _first_end(part: bytes) -> int:
    """Where the first event of a part ends; -1 where none does."""
    if b"\r" not in part:
        found = part.find(b"\n\n")
        return found + 2 if found >= 0 else -1
    match = _BLANK_LINE.search(part)
    return match.end() if match is not None else -1


def _last_end(part: bytes) -> int:
    """Where the last event of a part ends; 0 where none does."""
    if b"\r" not in part:
        return part.rfind(b"\n\n") + 2 if b"\n\n" in part else 0
    end = 0
    for match in _BLANK_LINE.finditer(part):
        end = match.end()
    return end
