"""
Responses (ModelArk docs 1569618, 2026-11): one object, or a stream of events that ends in it.

The stream ends with `response.completed`, `.incomplete`, `.cancelled` or `.failed`, each
holding the object. A bare `error` event, flat or nested, is a failure too. In recordings
`response.failed` lacks id and usage, and `response.incomplete` calls its id `response_id`:
earlier values stay until a later event has the field again.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .._facts import Answer, WireError
from .errors import error_of, is_error_event, read_error, says_error
from .lenient_json import Shape, take_over
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, note_unknown, unread
from .sse import DONE
from .usage import Counts, usage_of


class _Item(msgspec.Struct, gc=False):
    type: str | None = None


class _Details(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    response_id: str | None = None
    object: str | None = None
    model: str | None = None
    status: str | None = None
    usage: Counts | None = None
    error: Any = None
    service_tier: str | None = None
    incomplete_details: _Details | None = None
    output: list[_Item] | None = None


class _Type(msgspec.Struct, gc=False):
    type: str = ""


class _Event(_Type, gc=False):
    response: _Response | None = None
    item: _Item | None = None
    usage: Counts | None = None
    error: Any = None


_type = Shape(_Type)
_event = Shape(_Event)
_response = Shape(_Response)

# Events that only announce or repeat.
_QUIET = frozenset(
    {
        "response.created", "response.in_progress", "response.queued",
        "response.output_item.added", "response.output_item.done",
        "response.content_part.added", "response.content_part.done",
        "response.output_text.done", "response.function_call_arguments.done", "response.mcp_call_arguments.done",
        "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done", "response.reasoning_text.done", "response.reasoning_raw_text.done",
        "response.transcription_part.added", "response.transcription_part.done", "response.transcription_text.done",
    }
)  # fmt: skip
# Looked up by name alone: these are nearly all of a stream, and nothing in them is recorded.
_DELTAS = {
    "response.output_text.delta": OUTPUT | VISIBLE,
    "response.refusal.delta": OUTPUT | VISIBLE,
    "response.function_call_arguments.delta": OUTPUT | VISIBLE,
    "response.transcription_text.delta": OUTPUT | VISIBLE,
    "response.doubao_app_call_output_text.delta": OUTPUT | VISIBLE,
    "response.reasoning_summary_text.delta": OUTPUT,
    "response.reasoning_text.delta": OUTPUT,
    "response.reasoning_raw_text.delta": OUTPUT,
    "response.doubao_app_call_reasoning_text.delta": OUTPUT,
}
_EMPTY_DELTA = re.compile(rb'"delta"\s*:\s*""').search
_LAST = {
    "response.completed": END,
    "response.incomplete": END,
    "response.cancelled": END,
    "response.failed": END | FAILED,
}
_STATUSES = frozenset({"completed", "incomplete", "failed", "cancelled", "in_progress", "queued"})
_UNDECIDED = (None, "in_progress", "queued")
_TOOL_CALLS = frozenset({"function_call", "custom_tool_call"})


# Events of tools that the service runs itself, and what else is known and is no output.
_ANNOUNCED = (
    "response.web_search_call.", "response.mcp_", "response.file_search_call.", "response.code_interpreter_call",
    "response.image_generation_call.", "response.output_text.annotation.", "response.refusal.", "response.audio.",
    "response.custom_tool_call_input.", "response.done", "response.doubao_app_call",
)  # fmt: skip
_CALLERS_TOOLS = ("response.function_call", "response.custom_tool_call")


def _kind_of_unlisted(name: str) -> int:
    """What an event is that the tables do not list. Models write deltas and partial images; all others announce."""
    # The service runs its own tools (MCP, search, code). Their arguments are not output.
    of_service = name.startswith("response.mcp_") or ("_call" in name and not name.startswith(_CALLERS_TOOLS))
    if name.endswith(".partial_image") or (name.endswith(".delta") and not of_service):
        return OUTPUT | VISIBLE
    return NOTHING


class ResponsesReader:
    """Reads one response."""

    __slots__ = ("_calls_tool", "_complete", "_error", "_known", "_output", "_unknown")

    def __init__(self) -> None:
        self._known = _Response()
        self._calls_tool = False
        self._unknown: dict[str, None] = {}
        self._error: WireError | None = None
        self._complete = False
        self._output = False

    def event(self, name: str, data: bytes) -> int:
        if data == DONE:
            return END
        if not name:
            typed = _type.read(data)
            name = typed.type if typed is not None else ""
        kind = _DELTAS.get(name)
        if b'"usage"' not in data:
            if kind is not None:
                if b'""' in data and _EMPTY_DELTA(data):
                    return NOTHING
                self._output = True
                return kind
            if name in _QUIET and self._known.id is not None and b"_call" not in data:
                return NOTHING
        return self._closer(name, data)

    def _closer(self, name: str, data: bytes) -> int:
        """Decode an event whole: the first, the last and the unexpected ones."""
        event = _event.read(data)
        if event is None:
            return unread(name, data)
        kind = event.type or name
        if event.item is not None and event.item.type in _TOOL_CALLS:
            self._calls_tool = True
        if event.usage is not None:
            take_over(self._known, _Response(usage=event.usage))
        if event.response is not None:
            status = self._known.status if self._complete else None
            take_over(self._known, event.response)
            self._known.status = status or self._known.status  # no late event takes the end back
        if kind in _LAST:
            known = self._known
            # An end alone, of which nothing is known, is no response.
            self._complete = self._output or bool(
                known.id or known.response_id or known.status or known.output
            )
            if kind == "response.cancelled" or known.status in _UNDECIDED:
                known.status = kind.removeprefix("response.")
            states_error = event.response is not None and says_error(event.response.error)
            if known.status == "failed" or kind == "response.failed" or states_error:
                self._error = error_of(known.error or event.error or {})
                return END | FAILED
            return _LAST[kind]
        if is_error_event(kind) or says_error(event.error):
            self._error = read_error(data) or WireError()
            return FAILED
        if not kind:
            self._error = read_error(data) or self._error
            return NOTHING if self._error is None else FAILED
        delta = _DELTAS.get(kind)
        if delta is not None:
            self._output = True
            return delta
        if kind not in _QUIET and not kind.startswith(_ANNOUNCED):
            note_unknown(self._unknown, kind)
        return _kind_of_unlisted(kind)

    def document(self, body: bytes) -> bool:
        whole = _response.read(body)
        if whole is None:
            return False
        # A response has output, or a status: one that only responses have, where it does not name itself.
        is_named = whole.object == "response" and bool(whole.status)
        self._complete = is_named or bool(whole.output) or whole.status in _STATUSES
        self._known = whole
        if says_error(whole.error) or whole.status == "failed":
            self._error = read_error(body) or error_of(whole.error or {})
        elif not self._complete:
            self._error = read_error(body)
        return True

    def answer(self) -> Answer:
        known = self._known
        return Answer(
            id=known.id or known.response_id,
            model=known.model,
            finish_reasons=_finish_reasons(known, self._calls_tool),
            usage=usage_of(known.usage),
            error=self._error,
            complete=self._complete,
            service_tier=known.service_tier,
            status=known.status,
            unknown_events=tuple(self._unknown),
        )


def _finish_reasons(response: _Response, calls_tool: bool) -> tuple[str, ...]:
    """The finish reasons of a chat, derived from the status of a response."""
    if response.status == "incomplete":
        details = response.incomplete_details
        return ((details.reason if details is not None else None) or "incomplete",)
    if response.status in {"failed", "cancelled"}:
        return ("error",)
    if response.status != "completed":
        return ()
    calls_tool = calls_tool or any(item.type in _TOOL_CALLS for item in response.output or ())
    return ("tool_calls",) if calls_tool else ("stop",)
