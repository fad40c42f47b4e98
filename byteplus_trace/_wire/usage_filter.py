"""
Removes the usage chunk from a chat stream, where we and not the caller asked for it.

The chunk comes after the last choice and has no choices of its own (ModelArk chat API,
`stream_options.include_usage`). Everything else passes byte for byte. An event is
passed on once its blank line was received, because only a whole event can be judged.
`sse.py` defines an event: a comment may stand before its data, and the last one may lack
its blank line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .lenient_json import Shape, json_in
from .sse import EventDecoder

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LONGEST_BEGUN = 3
"""Of a blank line, what may stand at the end of a part."""
LARGEST_USAGE_CHUNK = 1024 * 1024
"""Bytes. A longer event is none, and passes as it comes: nothing else bounds what would wait here."""


class _Chunk(msgspec.Struct):
    choices: list[Any] | None = None
    usage: dict[str, Any] | None = None
    bot_usage: dict[str, Any] | None = None
    references: list[Any] | None = None
    error: Any = None


_chunk = Shape(_Chunk)


class UsageFilter:
    """Feed a body's parts, get them back without the usage chunk."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._searched = 0
        self._passes = False
        """Of the event that waits, a part was passed on."""

    def feed(self, part: bytes) -> bytes:
        """The events that this part completes, without the usage chunk."""
        waiting = self._waiting
        waiting += part
        passed = []
        start = 0
        # A boundary may have begun in what was searched before, so it is looked for from a little earlier.
        for boundary in _BLANK_LINE.finditer(waiting, max(0, self._searched - _LONGEST_BEGUN)):
            passed.append(self._judged(bytes(waiting[start : boundary.end()])))
            start, self._passes = boundary.end(), False
        if len(waiting) - start > LARGEST_USAGE_CHUNK:
            self._passes = True
        if self._passes:
            end = max(start, len(waiting) - _LONGEST_BEGUN)
            passed.append(bytes(waiting[start:end]))
            start = end
        if start:
            del waiting[:start]
        self._searched = len(waiting)
        return b"".join(passed)

    def flush(self) -> bytes:
        """The event that still waited for its blank line. Call it at the end of the body."""
        waiting = bytes(self._waiting)
        self._waiting.clear()
        return self._judged(waiting)

    def _judged(self, event: bytes) -> bytes:
        return event if self._passes else _passed(event)


def strainer(headers: Mapping[str, str]) -> UsageFilter | None:
    """A filter for a reply; None for a reply that is encoded although it was asked for plain: it passes unchanged."""
    return UsageFilter() if headers.get("content-encoding", "identity") == "identity" else None


def _passed(event: bytes) -> bytes:
    """What the caller gets of an event: all of it, where it cannot be read."""
    try:
        return _without_usage(event)
    except Exception:
        return event


def _without_usage(event: bytes) -> bytes:
    """The event as it is; nothing of the usage chunk, but for the references that a bot puts there."""
    if b'usage"' not in event:
        return event
    decoder = EventDecoder()
    for _, data in decoder.feed(event) + decoder.flush():
        chunk = _chunk.read(data)
        if chunk is None or chunk.choices or chunk.error or (chunk.usage is None and chunk.bot_usage is None):
            continue
        if not chunk.references:
            return b""
        fields = {name: value for name, value in json_in(data).items() if name not in {"usage", "bot_usage"}}
        # Who asked for no usage reads `choices[0]` of every chunk.
        fields["choices"] = [{"index": 0, "delta": {}}]
        return b"data: " + msgspec.json.encode(fields) + b"\n\n"
    return event
