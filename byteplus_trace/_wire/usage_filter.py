"""
Takes the usage chunk out of a chat stream, where we and not the caller asked for it.

The chunk comes after the last choice and has no choices of its own (ModelArk chat API,
`stream_options.include_usage`). Everything else passes byte for byte; an event is passed
on when its blank line has come, so that none is passed in part and then regretted. What
an event is, `sse.py` says: a comment may stand before its data, and the last may lack
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


class _Chunk(msgspec.Struct):
    choices: list[Any] | None = None
    usage: dict[str, Any] | None = None
    bot_usage: dict[str, Any] | None = None
    references: list[Any] | None = None


_chunk = Shape(_Chunk)


class UsageStrainer:
    """Feed a body's parts, get them back without the usage chunk."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._searched = 0

    def feed(self, part: bytes) -> bytes:
        """The whole events that this part completes, the usage chunk left out."""
        waiting = self._waiting
        waiting += part
        passed = []
        start = 0
        # A boundary may have begun in what was searched before, so it is looked for from a little earlier.
        for boundary in _BLANK_LINE.finditer(waiting, max(0, self._searched - 3)):
            passed.append(_without_usage(bytes(waiting[start : boundary.end()])))
            start = boundary.end()
        if start:
            del waiting[:start]
        self._searched = len(waiting)
        return b"".join(passed)

    def flush(self) -> bytes:
        """What was waiting for a blank line that never came."""
        waiting = bytes(self._waiting)
        self._waiting.clear()
        return _without_usage(waiting)


def strainer(headers: Mapping[str, str]) -> UsageStrainer | None:
    """What takes the chunk out of a reply; None for one that is encoded, though it was asked for plain: it passes as it is."""
    return UsageStrainer() if headers.get("content-encoding", "identity") == "identity" else None


def _without_usage(event: bytes) -> bytes:
    """The event as it is; nothing of the usage chunk, but for the references that a bot puts there."""
    if b'usage"' not in event:
        return event
    decoder = EventDecoder()
    for _, data in decoder.feed(event) + decoder.flush():
        chunk = _chunk.read(data)
        if chunk is None or chunk.choices != [] or (chunk.usage is None and chunk.bot_usage is None):
            continue
        if not chunk.references:
            return b""
        fields = {name: value for name, value in json_in(data).items() if name not in {"usage", "bot_usage"}}
        return b"data: " + msgspec.json.encode(fields) + b"\n\n"
    return event
