"""
Messages, in Anthropic's form (arkruntime 0.17.0, types/messages, 2026-11).

The stream says its usage twice: the input in `message_start`, the output, cumulative, in
`message_delta`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .chat import server_fallback_in, with_content
from .errors import error_in
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, Asked
from .request import asked as _asked
from .usage import usage_of


class _Message(msgspec.Struct):
    id: Any = None
    model: Any = None
    stop_reason: Any = None
    usage: Any = None
    error: Any = None
    type: Any = None
    service_status: Any = None


class _Delta(msgspec.Struct):
    type: Any = None
    stop_reason: Any = None


class _Event(msgspec.Struct):
    type: Any = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: Any = None
    error: Any = None


_message = msgspec.json.Decoder(_Message).decode
_event = msgspec.json.Decoder(_Event).decode

_QUIET = frozenset({"message_start", "content_block_start", "content_block_stop", "message_delta", "ping"})


def asked(body: bytes, capture: bool) -> Asked:
    """What a message request asks for."""
    found = _asked(body)
    return with_content(found, "messages", body) if capture else found


class MessagesReader:
    """Reads one message."""

    __slots__ = ("_complete", "_content", "_error", "_message", "_stop_reason", "_usage")

    def __init__(self, capture: bool = False) -> None:
        self._message = _Message()
        self._usage: dict[str, Any] = {}
        self._stop_reason: Any = None
        self._error: WireError | None = None
        self._complete = False
        self._content: Any = None
        if capture:
            from .content import Collector

            self._content = Collector("messages")

    def event(self, name: str, data: bytes) -> int:
        if data == b"[DONE]":
            self._complete = True
            return END
        if self._content is not None:
            self._content.event(name, data)
        try:
            event = _event(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return OUTPUT
        kind = event.type or name
        if event.message is not None:
            self._message = event.message
            self._add_usage(event.message.usage)
        self._add_usage(event.usage)
        if event.delta is not None and event.delta.stop_reason is not None:
            self._stop_reason = event.delta.stop_reason
        if kind == "error" or event.error:
            self._error = error_in(msgspec.json.decode(data)) or WireError()
            return FAILED
        if kind == "message_stop":
            self._complete = True
            return END
        if kind == "content_block_delta":
            thinking = event.delta is not None and event.delta.type in {"thinking_delta", "signature_delta"}
            return OUTPUT if thinking else OUTPUT | VISIBLE
        return NOTHING if kind in _QUIET else OUTPUT

    def _add_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage.update({name: count for name, count in usage.items() if count is not None})

    def document(self, body: bytes) -> None:
        if self._content is not None:
            self._content.document(body)
        try:
            self._message = _message(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        self._complete = True
        self._add_usage(self._message.usage)
        self._stop_reason = self._message.stop_reason
        if self._message.error or self._message.type == "error":
            self._error = error_in({"error": self._message.error}) or WireError()

    def answer(self) -> Answer:
        given = self._message
        return Answer(
            id=given.id if isinstance(given.id, str) else None,
            model=given.model if isinstance(given.model, str) else None,
            finish_reasons=(self._stop_reason,) if isinstance(self._stop_reason, str) else (),
            usage=usage_of(self._usage),
            error=self._error,
            complete=self._complete,
            server_fallback=server_fallback_in(given.service_status),
            content=self._content.content() if self._content is not None else None,
        )


reader = MessagesReader
