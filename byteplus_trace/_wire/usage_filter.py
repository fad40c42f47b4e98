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

from .lenient_json import Shape
from .sse import EventDecoder

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class _Chunk(msgspec.Struct):
    choices: list[Any] | None = None
    usage: dict[str, Any] | None = None


_chunk = Shape(_Chunk)


class UsageStrainer:
    """Feed a body's parts, get them back without the usage chunk."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, part: bytes) -> bytes:
        """The whole events that this part completes, the usage chunk left out."""
        waiting = self._waiting + part
        passed = []
        start = 0
        # A boundary may have begun in what was searched before, so it is looked for from a little earlier.
        for boundary in _BLANK_LINE.finditer(waiting, max(0, len(self._waiting) - 3)):
            event = waiting[start : boundary.end()]
            if not _is_usage_chunk(event):
                passed.append(event)
            start = boundary.end()
        self._waiting = waiting[start:]
        return b"".join(passed)

    def flush(self) -> bytes:
        """What was waiting for a blank line that never came."""
        waiting, self._waiting = self._waiting, b""
        return b"" if _is_usage_chunk(waiting) else waiting


def strainer(headers: Mapping[str, str]) -> UsageStrainer | None:
    """What takes the chunk out of a reply; None for one that is encoded, though it was asked for plain: it passes as it is."""
    return UsageStrainer() if headers.get("content-encoding", "identity") == "identity" else None


def _is_usage_chunk(event: bytes) -> bool:
    if b'"usage"' not in event:
        return False
    decoder = EventDecoder()
    chunks = [_chunk.read(data) for _, data in decoder.feed(event) + decoder.flush()]
    return any(chunk is not None and chunk.choices == [] and chunk.usage is not None for chunk in chunks)
