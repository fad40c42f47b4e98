"""
Responses (ModelArk docs 1569618, 2026-11): one object, or a stream of events that ends in it.

The stream's last word is `response.completed`, `.incomplete` or `.failed`, each holding
the object; a bare `error` event, flat or with the error inside, is a failure too. Of the
recorded forms, `response.failed` may lack usage and `response.incomplete` may name its id
`response_id`: both are read.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .chat import with_content
from .errors import error_in
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, Asked
from .request import asked as _asked
from .usage import usage_of


class _Response(msgspec.Struct):
    id: Any = None
    response_id: Any = None
    model: Any = None
    status: Any = None
    usage: Any = None
    error: Any = None
    service_tier: Any = None
    incomplete_details: Any = None
    output: Any = None


class _Type(msgspec.Struct):
    type: Any = None


class _Event(msgspec.Struct):
    type: Any = None
    response: _Response | None = None
    error: Any = None


_type = msgspec.json.Decoder(_Type).decode
_event = msgspec.json.Decoder(_Event).decode
_response = msgspec.json.Decoder(_Response).decode

# Events that only announce; what is not named here or below counts as output.
_QUIET = frozenset(
    {
        "response.created", "response.in_progress", "response.queued",
        "response.output_item.added", "response.output_item.done",
        "response.content_part.added", "response.content_part.done",
        "response.output_text.done", "response.function_call_arguments.done",
        "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done", "response.reasoning_text.done", "response.reasoning_raw_text.done",
        "response.transcription_part.added", "response.transcription_part.done", "response.transcription_text.done",
    }
)  # fmt: skip
_REASONING = frozenset(
    {
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_raw_text.delta",
    }
)
_VISIBLE = frozenset(
    {
        "response.output_text.delta", "response.function_call_arguments.delta", "response.transcription_text.delta",
        "response.mcp_call_arguments.delta",
    }
)  # fmt: skip
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})


def asked(body: bytes, capture: bool) -> Asked:
    """What a request for a response asks for."""
    found = _asked(body)
    return with_content(found, "responses", body) if capture else found


class ResponsesReader:
    """Reads one response."""

    __slots__ = ("_complete", "_content", "_error", "_response")

    def __init__(self, capture: bool = False) -> None:
        self._response = _Response()
        self._error: WireError | None = None
        self._complete = False
        self._content: Any = None
        if capture:
            from .content import Collector

            self._content = Collector("responses")

    def event(self, name: str, data: bytes) -> int:
        if data == b"[DONE]":
            self._complete = True
            return END
        if self._content is not None:
            self._content.event(name, data)
        kind = name or self._type_in(data)
        if kind in _VISIBLE:
            return OUTPUT | VISIBLE
        if kind in _REASONING:
            return OUTPUT
        if kind in _QUIET and self._response.id is not None:
            return NOTHING
        return self._closer(kind, data)

    def _type_in(self, data: bytes) -> str:
        try:
            kind = _type(data).type
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return ""
        return kind if isinstance(kind, str) else ""

    def _closer(self, kind: str, data: bytes) -> int:
        """The events worth reading whole: the first, the last and the unexpected."""
        try:
            event = _event(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return OUTPUT
        if event.response is not None:
            self._response = event.response
        if kind == "error" or event.error:
            self._error = error_in(msgspec.json.decode(data)) or WireError()
            return FAILED
        if kind in _LAST:
            self._complete = True
            if kind == "response.failed":
                self._take_error()
                return END | FAILED
            return END
        return NOTHING if kind in _QUIET else OUTPUT

    def document(self, body: bytes) -> None:
        if self._content is not None:
            self._content.document(body)
        try:
            self._response = _response(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        self._complete = True
        self._take_error()

    def _take_error(self) -> None:
        if self._response.error or self._response.status == "failed":
            self._error = error_in({"error": self._response.error}) or WireError()

    def answer(self) -> Answer:
        given = self._response
        identity = given.id or given.response_id
        return Answer(
            id=identity if isinstance(identity, str) else None,
            model=given.model if isinstance(given.model, str) else None,
            finish_reasons=self._finish_reasons(),
            usage=usage_of(given.usage),
            error=self._error,
            complete=self._complete,
            service_tier=given.service_tier if isinstance(given.service_tier, str) else None,
            status=given.status if isinstance(given.status, str) else None,
            content=self._content.content() if self._content is not None else None,
        )

    def _finish_reasons(self) -> tuple[str, ...]:
        given = self._response
        if given.status == "incomplete":
            details = given.incomplete_details
            reason = details.get("reason") if isinstance(details, dict) else None
            return (reason,) if isinstance(reason, str) else ("incomplete",)
        if given.status != "completed":
            return ()
        output = given.output if isinstance(given.output, list) else []
        last = output[-1] if output else None
        if isinstance(last, dict) and last.get("type") == "function_call":
            return ("tool_calls",)
        return ("stop",)


reader = ResponsesReader
