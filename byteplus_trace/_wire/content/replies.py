"""
What was answered.

A message is gathered from a stream's deltas, or read from the document; where a response
ends with its whole object, the object counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..._facts import Content
from ..text_budget import Room
from .accumulator import Growing, Kind
from .media import Part, blob, medium
from .parts import chat_parts, decoded, item_parts, other, parts_of

Message = dict[str, Any]


class Collector:
    """
    The content of one reply, gathered while it passes.

    Fed either the events of a stream or one document; may be asked at any time. Keeps at
    most as much as it will tell, and never raises on what it is fed.
    """

    __slots__ = ("_reply",)

    def __init__(self, family: str) -> None:
        make = _REPLIES.get(family)
        self._reply = make() if make is not None else None

    def event(self, name: str, data: bytes) -> None:
        """Take one event of a stream."""
        given = decoded(data) if self._reply is not None else None
        if self._reply is not None and isinstance(given, dict):
            kind = given.get("type")
            self._reply.event(kind if isinstance(kind, str) else name, given)

    def document(self, body: bytes) -> None:
        """Take a whole body."""
        given = decoded(body) if self._reply is not None else None
        if self._reply is not None and isinstance(given, dict):
            self._reply.document(given)

    def content(self) -> Content:
        """What was said so far."""
        return Content(self._reply.messages()) if self._reply is not None else Content()


class _Reply(Protocol):
    """What one API family's reply says, as JSON objects come."""

    def event(self, kind: str, given: Part) -> None: ...
    def document(self, given: Part) -> None: ...
    def messages(self) -> list[Message]: ...


def _reply_message(parts: list[Part], finish_reason: Any) -> Message:
    """A reply's message. A reason that was due and never came is `error`, as the conventions ask."""
    reason = finish_reason[:64] if isinstance(finish_reason, str) and finish_reason else "error"
    return {"role": "assistant", "parts": parts, "finish_reason": reason}


def _dicts(value: Any) -> list[Part]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _index(given: Part, name: str = "index") -> int:
    index = given.get(name)
    return index if isinstance(index, int) else 0


class _ChatReply:
    """One message for each choice."""

    def __init__(self) -> None:
        self._room = Room()
        self._choices: dict[int, Growing] = {}
        self._whole: list[Message] = []

    def event(self, kind: str, given: Part) -> None:
        for choice in _dicts(given.get("choices")):
            message = self._choices.get(_index(choice))
            if message is None:
                if not self._room.takes():
                    continue
                message = self._choices[_index(choice)] = Growing()
            message.finish_reason = message.finish_reason or choice.get("finish_reason")
            delta = choice.get("delta")
            if isinstance(delta, dict):
                self._grow(message, delta)

    def _grow(self, message: Growing, delta: Part) -> None:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        message.grow("reasoning", "reasoning", reasoning, self._room)
        message.grow("text", "text", delta.get("content") or delta.get("refusal"), self._room)
        for call in _dicts(delta.get("tool_calls")):
            function = call.get("function")
            function = function if isinstance(function, dict) else {}
            name, arguments = function.get("name"), function.get("arguments")
            message.call(("call", _index(call)), call.get("id"), name, arguments, self._room)

    def document(self, given: Part) -> None:
        for choice in _dicts(given.get("choices")):
            message = choice.get("message")
            if isinstance(message, dict) and self._room.takes():
                parts = chat_parts(message, self._room, "assistant")
                self._whole.append(_reply_message(parts, choice.get("finish_reason")))

    def messages(self) -> list[Message]:
        grown = sorted(self._choices.items())
        return self._whole or [_reply_message(message.parts(), message.finish_reason) for _, message in grown]


_RESPONSE_DELTAS: dict[str, Kind] = {
    "response.output_text.delta": "text",
    "response.transcription_text.delta": "text",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_raw_text.delta": "reasoning",
    "response.function_call_arguments.delta": "tool_call",
}


class _ResponsesReply:
    """One message of all items, from the deltas or from the whole object that comes last."""

    def __init__(self) -> None:
        self._room = Room()
        self._growing = Growing()
        self._whole: list[Part] = []
        self._finish_reason: str | None = None

    def event(self, kind: str, given: Part) -> None:
        growing = _RESPONSE_DELTAS.get(kind)
        if growing is not None:
            self._growing.grow(_index(given, "output_index"), growing, given.get("delta"), self._room)
        elif kind == "response.function_call_arguments.done":
            key = _index(given, "output_index")
            if not self._growing.has_arguments(key):
                self._growing.call(key, None, None, given.get("arguments"), self._room)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._item(given, done=kind.endswith("done"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            response = given.get("response")
            if isinstance(response, dict):
                self.document(response)

    def _item(self, given: Part, *, done: bool) -> None:
        item, key = given.get("item"), _index(given, "output_index")
        if not isinstance(item, dict):
            return
        kind = item.get("type")
        if kind == "function_call":
            # Some servers send no deltas of the arguments: then they stand in the finished item alone.
            arguments = item.get("arguments") if done and not self._growing.has_arguments(key) else None
            self._growing.call(key, item.get("call_id"), item.get("name"), arguments, self._room)
        elif done and kind not in ("message", "reasoning"):
            block = self._growing.block(key, "text", self._room)
            if block is not None and block.whole is None:
                block.whole = item_parts(item, self._room)

    def document(self, given: Part) -> None:
        room = Room()
        output = _dicts(given.get("output"))
        self._whole = [part for item in output if room.takes() for part in item_parts(item, room)]
        details = given.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        if given.get("status") == "completed":
            called = any(item.get("type") == "function_call" for item in output) or self._growing.has_calls
            self._finish_reason = "tool_calls" if called else "stop"
        elif given.get("status") == "incomplete":
            self._finish_reason = reason if isinstance(reason, str) else "incomplete"

    def messages(self) -> list[Message]:
        parts = self._whole or self._growing.parts()
        return [_reply_message(parts, self._finish_reason)] if parts else []


class _MessagesReply:
    """One message of content blocks."""

    def __init__(self) -> None:
        self._room = Room()
        self._growing = Growing()
        self._whole: list[Part] = []

    def event(self, kind: str, given: Part) -> None:
        key, delta = _index(given), given.get("delta")
        if kind == "content_block_start" and isinstance(given.get("content_block"), dict):
            self._begin(key, given["content_block"])
        elif kind == "content_block_delta" and isinstance(delta, dict):
            self._growing.grow(key, "text", delta.get("text"), self._room)
            self._growing.grow(key, "reasoning", delta.get("thinking"), self._room)
            self._growing.grow(key, "tool_call", delta.get("partial_json"), self._room)
        elif kind == "message_delta" and isinstance(delta, dict):
            self._growing.finish_reason = delta.get("stop_reason") or self._growing.finish_reason

    def _begin(self, key: int, block: Part) -> None:
        kind = block.get("type")
        if kind == "tool_use":
            self._growing.call(key, block.get("id"), block.get("name"), None, self._room)
        elif kind in ("text", "thinking"):
            growing: Kind = "text" if kind == "text" else "reasoning"
            self._growing.grow(key, growing, block.get(kind), self._room)
        else:
            made = self._growing.block(key, "text", self._room)
            if made is not None:
                made.whole = parts_of([block], self._room)

    def document(self, given: Part) -> None:
        self._whole = parts_of(given.get("content"), self._room)
        self._growing.finish_reason = given.get("stop_reason")

    def messages(self) -> list[Message]:
        parts = self._whole or self._growing.parts()
        return [_reply_message(parts, self._growing.finish_reason)] if parts else []


class _ImagesReply:
    """One message of images: addresses, or the size and hash of what came inline."""

    def __init__(self) -> None:
        self._room = Room()
        self._parts: list[Part] = []
        self._succeeded = False

    def event(self, kind: str, given: Part) -> None:
        if kind.startswith("image_generation.partial_"):
            self._take(given)

    def document(self, given: Part) -> None:
        for image in _dicts(given.get("data")):
            self._take(image)

    def _take(self, image: Part) -> None:
        if not self._room.takes():
            return
        url, inline, error = image.get("url"), image.get("b64_json"), image.get("error")
        written = image.get("output_format")
        mime = f"image/{written}" if isinstance(written, str) else None
        if isinstance(error, dict):
            self._parts.append(other({**error, "type": "error"}, self._room))
        elif isinstance(url, str):
            self._parts.append(medium(url, "image", self._room, mime))
            self._succeeded = True
        elif isinstance(inline, str):
            self._parts.append(blob(inline, "image", self._room, mime))
            self._succeeded = True

    def messages(self) -> list[Message]:
        return (
            [_reply_message(self._parts.copy(), "stop" if self._succeeded else None)] if self._parts else []
        )


# Embeddings say nothing that could be read.
_REPLIES: dict[str, Callable[[], _Reply]] = {
    "chat": _ChatReply,
    "responses": _ResponsesReply,
    "messages": _MessagesReply,
    "images": _ImagesReply,
}
