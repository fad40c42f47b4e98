"""
Takes the usage chunk out of a chat stream, where we and not the caller asked for it.

The chunk comes after the last choice and has no choices of its own (ModelArk chat API,
`stream_options.include_usage`). Everything else passes byte for byte; an event is passed
on when its blank line has come, so that none is passed in part and then regretted.
"""

from __future__ import annotations

import re

import msgspec

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: dict[str, msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


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
        return waiting


def _is_usage_chunk(event: bytes) -> bool:
    if b'"usage"' not in event or not event.lstrip().startswith(b"data:"):
        return False
    try:
        chunk = _decode(event.strip().removeprefix(b"data:"))
    except (msgspec.DecodeError, UnicodeError):
        return False
    return chunk.choices == [] and chunk.usage is not None
