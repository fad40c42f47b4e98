"""
Replies that arrive in the place of the usual one, as users of ModelArk and of gateways before it report them.

Each is a row: its name, and a function of the usual reply. All have status 200, for a
client that looks only at the status takes them for answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .templates import dumps
from .values import Document, FakeReply, Received, RefusedError, Stream, error_event, json_document, refusal

_CODE = "InternalServiceError"
_MESSAGE = "The service encountered an unexpected internal error."
_PAGE = b"<html><body>Welcome</body></html>"


def _only_end(reply: FakeReply, _request: Received, _after: int) -> FakeReply:
    return Stream(reply.events[-1:]) if isinstance(reply, Stream) else reply


def _error_first(_reply: FakeReply, request: Received, _after: int) -> FakeReply:
    return Stream((error_event(_CODE, _MESSAGE, 0, request),))


def _error_last(reply: FakeReply, request: Received, _after: int) -> FakeReply:
    if not isinstance(reply, Stream):
        return reply
    output = _without_end(reply.events)
    return Stream((*output, error_event(_CODE, _MESSAGE, len(output), request)))


def _error_and_end(_reply: FakeReply, request: Received, _after: int) -> FakeReply:
    refused = refusal(RefusedError(500, _CODE, _MESSAGE), request)
    return Document(refused.body + b"\n\ndata: [DONE]\n\n", content_type="text/event-stream")


def _unreadable_first(reply: FakeReply, _request: Received, _after: int) -> FakeReply:
    return Stream((b"data: upstream busy\n\n", *reply.events[-1:])) if isinstance(reply, Stream) else reply


def _ends_early(reply: FakeReply, _request: Received, after: int) -> FakeReply:
    return Stream(reply.events[:after]) if isinstance(reply, Stream) else reply


def _wrong_content_type(reply: FakeReply, _request: Received, _after: int) -> FakeReply:
    wrong = "application/json" if isinstance(reply, Stream) else "text/event-stream"
    return replace(reply, content_type=wrong)


def _no_output(_reply: FakeReply, request: Received, _after: int) -> FakeReply:
    known = {"id": request.id, "model": request.model}
    return json_document({**known, **_HOLLOW.get(request.operation, {}), **_HOLLOW.get(request.api, {})})


# The fields in which an API has its output, without any.
_HOLLOW: Mapping[str, Mapping[str, Any]] = {
    "chat": {"choices": []},
    "responses": {"output": []},
    "messages": {"content": []},
    "embeddings": {"object": "list", "data": []},
    "images": {"data": [{"size": "2048x2048"}]},
}


def _another_api(_reply: FakeReply, request: Received, _after: int) -> FakeReply:
    vector = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello!"}}
    return json_document({"choices": [choice]} if request.operation == "embeddings" else vector)


def _error_document(_reply: FakeReply, request: Received, _after: int) -> FakeReply:
    return replace(refusal(RefusedError(500, _CODE, _MESSAGE), request), status=200)


ODD_REPLIES: Mapping[str, Callable[[FakeReply, Received, int], FakeReply]] = {
    "empty": lambda _reply, _request, _after: Document(b""),
    "empty_object": lambda _reply, _request, _after: Document(b"{}"),
    "page": lambda _reply, _request, _after: Document(_PAGE, content_type="text/html"),
    "error_document": _error_document,
    "gateway_error": lambda _reply, _request, _after: Document(
        dumps({"code": 500, "msg": "upstream busy", "data": None}).encode()
    ),
    "another_api": _another_api,
    "no_output": _no_output,
    "only_end": _only_end,
    "error_first": _error_first,
    "error_last": _error_last,
    "error_and_end": _error_and_end,
    "unreadable_first": _unreadable_first,
    "ends_early": _ends_early,
    "wrong_content_type": _wrong_content_type,
}

OF_STREAMS = frozenset(
    {"only_end", "error_first", "error_last", "error_and_end", "unreadable_first", "ends_early"}
)
"""These meet only requests for a stream."""

_ENDS = (b"[DONE]", b'"response.completed"', b'"response.incomplete"', b'"image_generation.completed"', b'"message_stop"')  # fmt: skip


def _without_end(events: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The events before those that end the stream."""
    return tuple(event for event in events if not any(end in event for end in _ENDS))
