"""
Messages, in Anthropic's form (arkruntime 0.17.0, types/messages, 2026-11).

A stream has usage twice: the input in `message_start`, the output, cumulative, in
`message_delta`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .chat import server_fallback_in
from .errors import is_error_event, is_error_reason, is_reason, read_error, says_error
from .lenient_json import NULL, Shape, holds, take_over
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, EventReader, note_unknown
from .usage import Counts, usage_of


class _Message(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: msgspec.Raw = NULL
    stop_reason: str | None = None
    usage: Counts | None = None
    error: Any = None
    service_status: dict[str, Any] | None = None


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    content_block: _Block | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: Counts | None = None
    error: Any = None
    service_status: dict[str, Any] | None = None


_message = Shape(_Message)
_event = Shape(_Event)

_DELTAS = {"thinking_delta": OUTPUT, "signature_delta": NOTHING, "citations_delta": NOTHING}
# Blocks that say something before any delta.
_WHOLE_BLOCKS = frozenset({"tool_use", "server_tool_use", "redacted_thinking", "web_search_tool_result"})
_KINDS = frozenset(
    {"message_start", "message_delta", "message_stop", "content_block_start", "content_block_stop", "ping"}
)


MOST_BLOCKS = 1024
"""How many calls of the service's own tools are remembered of one message: a stream could name any index."""


def _kind_of_block(block: _Block) -> int:
    """What a block is that begins: output where it has text already, for some gateways send it whole."""
    if block.text:
        return OUTPUT | VISIBLE
    return OUTPUT if block.thinking else NOTHING


class MessagesReader(EventReader[_Event]):
    """Reads one message."""

    __slots__ = (
        "_error",
        "_id",
        "_model",
        "_of_service",
        "_output",
        "_service_status",
        "_stop_reason",
        "_unknown",
        "_usage",
    )

    _shape = _event

    def __init__(self) -> None:
        super().__init__()
        self._id: str | None = None
        self._model: str | None = None
        self._usage = Counts()
        self._stop_reason: str | None = None
        self._service_status: dict[str, Any] | None = None
        self._error: WireError | None = None
        self._output = NOTHING
        self._of_service: set[int] = set()
        """The blocks that are calls of the service's own tools."""
        self._unknown: dict[str, None] = {}

    def _event(self, name: str, event: _Event, data: bytes) -> int:
        kind = event.type or name
        if is_error_event(kind) or (event.error and says_error(event.error)):
            self._error = read_error(data) or WireError()
            return FAILED
        if kind == "content_block_delta":
            self._add_usage(event.usage)
            of_delta = self._kind_of_delta(event)
            self._output |= of_delta
            return of_delta
        if not kind:
            self._error = read_error(data) or self._error
            return NOTHING if self._error is None else FAILED
        of_block = NOTHING
        if event.content_block is not None:
            of_block = _kind_of_block(event.content_block)
            self._output |= of_block or (OUTPUT if event.content_block.type in _WHOLE_BLOCKS else NOTHING)
            if event.content_block.type == "server_tool_use" and len(self._of_service) < MOST_BLOCKS:
                self._of_service.add(event.index)
        if event.message is not None:
            self._note(event.message)
        self._add_usage(event.usage)
        self._note_status(event.service_status)
        if event.delta is not None and self._stop(event.delta.stop_reason):
            return FAILED
        if kind == "message_stop":
            self._complete = True
            return END
        if kind not in _KINDS:
            note_unknown(self._unknown, kind)
        return OUTPUT if kind.endswith("_delta") and kind != "message_delta" else of_block

    def _kind_of_delta(self, event: _Event) -> int:
        delta = event.delta
        if (
            delta is None or event.index in self._of_service
        ):  # what the service asks its own tools is not output
            return NOTHING
        if "" in (delta.text, delta.thinking, delta.partial_json):
            return NOTHING
        return _DELTAS.get(delta.type or "", OUTPUT | VISIBLE)

    def _note(self, message: _Message) -> None:
        self._id = self._id or message.id
        self._model = self._model or message.model
        self._stop(message.stop_reason)
        self._note_status(message.service_status)
        self._add_usage(message.usage)

    def _stop(self, reason: str | None) -> bool:
        """Note why the message ended. The first reason stays. Returns whether it ended with an error."""
        if reason is None or not is_reason(reason):
            return False
        self._stop_reason = self._stop_reason or reason
        if not is_error_reason(reason):
            return False
        self._error = self._error or WireError()
        return True

    def _note_status(self, status: dict[str, Any] | None) -> None:
        if status is not None and status.get("model_fallback"):
            self._service_status = status

    def _add_usage(self, usage: Counts | None) -> None:
        if usage is not None:
            take_over(self._usage, usage)

    def document(self, body: bytes) -> bool:
        whole = _message.read(body)
        if whole is None:
            return False
        self._complete = True
        self._output = OUTPUT if whole.type == "message" and holds(whole.content) else NOTHING
        self._note(whole)
        if says_error(whole.error) or whole.type != "message":
            self._error = read_error(body)
        return True

    def answer(self) -> Answer:
        return Answer(
            id=self._id,
            model=self._model,
            finish_reasons=(self._stop_reason,) if self._stop_reason else (),
            usage=usage_of(self._usage),
            error=self._error,
            # A message has output, or a reason why there is none.
            complete=self._complete and bool(self._output or self._stop_reason),
            server_fallback=server_fallback_in(self._service_status) if self._service_status else None,
            unknown_events=tuple(self._unknown),
        )
