"""
The content of a reply.

A message is gathered from a stream's deltas, or read from the document; where a response
ends with its whole object, the object counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..._facts import Content
from ..text_budget import TextBudget
from .accumulator import Accumulator, Kind
from .media import Part, blob, medium
from .parts import chat_parts, decoded, item_parts, other, parts_of

Message = dict[str, Any]


class Collector:
    """
    The content of one reply, gathered while it passes.

    Takes either the events of a stream or one document. `content()` may be called at any
    time. Keeps at most as much as is exported, and never raises on any input.
    """

    __slots__ = ("_reply",)

    def __init__(self, family: str) -> None:
        make = _REPLIES.get(family)
        self._reply = make() if make is not None else None

    def event(self, name: str, data: bytes) -> None:
        """Take one event of a stream."""
        source = decoded(data) if self._reply is not None else None
        if self._reply is not None and isinstance(source, dict):
            kind = source.get("type")
            self._reply.event(kind if isinstance(kind, str) else name, source)

    def document(self, body: bytes) -> None:
        """Take a whole body."""
        source = decoded(body) if self._reply is not None else None
        if self._reply is not None and isinstance(source, dict):
            self._reply.document(source)

    def content(self) -> Content:
        """The content received so far."""
        return Content(self._reply.messages()) if self._reply is not None else Content()


class _Reply(Protocol):
    """The reply of one API family, read JSON object by JSON object."""

    def event(self, kind: str, source: Part) -> None: ...
    def document(self, source: Part) -> None: ...
    def messages(self) -> list[Message]: ...


def _reply_message(parts: list[Part], finish_reason: Any) -> Message:
    """A reply's message. A missing finish reason is `error`, as the conventions ask."""
    reason = finish_reason[:64] if isinstance(finish_reason, str) and finish_reason else "error"
    return {"role": "assistant", "parts": parts, "finish_reason": reason}


def _dicts(value: Any) -> list[Part]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _index(source: Part, name: str = "index") -> int:
    index = source.get(name)
    return index if isinstance(index, int) else 0


class _ChatReply:
    """One message for each choice."""

    def __init__(self) -> None:
        self._budget = TextBudget()
        self._choices: dict[int, Accumulator] = {}
        self._whole: list[Message] = []

    def event(self, kind: str, source: Part) -> None:
        for choice in _dicts(source.get("choices")):
            message = self._choices.get(_index(choice))
            if message is None:
                if not self._budget.takes():
                    continue
                message = self._choices[_index(choice)] = Accumulator()
            message.finish_reason = message.finish_reason or choice.get("finish_reason")
            delta, whole = choice.get("delta"), choice.get("message")
            if isinstance(delta, dict):
                self._grow(message, delta)
            # A whole message after deltas repeats them.
            if isinstance(whole, dict) and not message.parts():
                self._grow(message, whole)

    def _grow(self, message: Accumulator, delta: Part) -> None:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        message.grow("reasoning", "reasoning", reasoning, self._budget)
        message.grow("text", "text", delta.get("content") or delta.get("refusal"), self._budget)
        for call in _dicts(delta.get("tool_calls")):
            function = call.get("function")
            function = function if isinstance(function, dict) else {}
            name, arguments = function.get("name"), function.get("arguments")
            message.call(("call", _index(call)), call.get("id"), name, arguments, self._budget)

    def document(self, source: Part) -> None:
        for choice in _dicts(source.get("choices")):
            message = choice.get("message")
            if isinstance(message, dict) and self._budget.takes():
                parts = chat_parts(message, self._budget, "assistant")
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
    """One message of all items, from the deltas or from the whole object at the end."""

    def __init__(self) -> None:
        self._budget = TextBudget()
        self._message = Accumulator()
        self._whole: list[Part] = []
        self._finish_reason: str | None = None

    def event(self, kind: str, source: Part) -> None:
        kind_of_delta = _RESPONSE_DELTAS.get(kind)
        if kind_of_delta is not None:
            self._message.grow(
                _index(source, "output_index"), kind_of_delta, source.get("delta"), self._budget
            )
        elif kind == "response.function_call_arguments.done":
            key = _index(source, "output_index")
            if not self._message.has_arguments(key):
                self._message.call(key, None, None, source.get("arguments"), self._budget)
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._item(source, done=kind.endswith("done"))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            response = source.get("response")
            if isinstance(response, dict):
                self.document(response)

    def _item(self, source: Part, *, done: bool) -> None:
        item, key = source.get("item"), _index(source, "output_index")
        if not isinstance(item, dict):
            return
        kind = item.get("type")
        if kind == "function_call":
            # Some servers send no deltas of the arguments: then they stand in the finished item alone.
            arguments = item.get("arguments") if done and not self._message.has_arguments(key) else None
            self._message.call(key, item.get("call_id"), item.get("name"), arguments, self._budget)
        elif done and kind not in ("message", "reasoning"):
            block = self._message.block(key, "text", self._budget)
            if block is not None and block.whole is None:
                block.whole = item_parts(item, self._budget)

    def document(self, source: Part) -> None:
        budget = TextBudget()
        output = _dicts(source.get("output"))
        self._whole = [part for item in output if budget.takes() for part in item_parts(item, budget)]
        details = source.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        if source.get("status") == "completed":
            called = any(item.get("type") == "function_call" for item in output) or self._message.has_calls
            self._finish_reason = "tool_calls" if called else "stop"
        elif source.get("status") == "incomplete":
            self._finish_reason = reason if isinstance(reason, str) else "incomplete"

    def messages(self) -> list[Message]:
        parts = self._whole or self._message.parts()
        return [_reply_message(parts, self._finish_reason)] if parts else []


class _MessagesReply:
    """One message of content blocks."""

    def __init__(self) -> None:
        self._budget = TextBudget()
        self._message = Accumulator()
        self._whole: list[Part] = []

    def event(self, kind: str, source: Part) -> None:
        key, delta = _index(source), source.get("delta")
        if kind == "content_block_start" and isinstance(source.get("content_block"), dict):
            self._begin(key, source["content_block"])
        elif kind == "content_block_delta" and isinstance(delta, dict):
            self._message.grow(key, "text", delta.get("text"), self._budget)
            self._message.grow(key, "reasoning", delta.get("thinking"), self._budget)
            self._message.grow(key, "tool_call", delta.get("partial_json"), self._budget)
        elif kind == "message_delta" and isinstance(delta, dict):
            self._message.finish_reason = delta.get("stop_reason") or self._message.finish_reason

    def _begin(self, key: int, block: Part) -> None:
        kind = block.get("type")
        if kind == "tool_use":
            self._message.call(key, block.get("id"), block.get("name"), None, self._budget)
        elif kind in ("text", "thinking"):
            kind_of_delta: Kind = "text" if kind == "text" else "reasoning"
            self._message.grow(key, kind_of_delta, block.get(kind), self._budget)
        else:
            made = self._message.block(key, "text", self._budget)
            if made is not None:
                made.whole = parts_of([block], self._budget)

    def document(self, source: Part) -> None:
        self._whole = parts_of(source.get("content"), self._budget)
        self._message.finish_reason = source.get("stop_reason")

    def messages(self) -> list[Message]:
        parts = self._whole or self._message.parts()
        return [_reply_message(parts, self._message.finish_reason)] if parts else []


class _ImagesReply:
    """One message of images: addresses, or the size and hash of inline data."""

    def __init__(self) -> None:
        self._budget = TextBudget()
        self._parts: list[Part] = []
        self._succeeded = False

    def event(self, kind: str, source: Part) -> None:
        if kind.startswith("image_generation.partial_"):
            self._take(source)

    def document(self, source: Part) -> None:
        for image in _dicts(source.get("data")):
            self._take(image)

    def _take(self, image: Part) -> None:
        if not self._budget.takes():
            return
        url, inline, error = image.get("url"), image.get("b64_json"), image.get("error")
        written = image.get("output_format")
        mime = f"image/{written}" if isinstance(written, str) else None
        if isinstance(error, dict):
            self._parts.append(other({**error, "type": "error"}, self._budget))
        elif isinstance(url, str):
            self._parts.append(medium(url, "image", self._budget, mime))
            self._succeeded = True
        elif isinstance(inline, str):
            self._parts.append(blob(inline, "image", self._budget, mime))
            self._succeeded = True

    def messages(self) -> list[Message]:
        return (
            [_reply_message(self._parts.copy(), "stop" if self._succeeded else None)] if self._parts else []
        )


# Embeddings have no readable content.
_REPLIES: dict[str, Callable[[], _Reply]] = {
    "chat": _ChatReply,
    "responses": _ResponsesReply,
    "messages": _MessagesReply,
    "images": _ImagesReply,
}
