"""
Chat completions, and their kin in contexts, bots and batches (ModelArk docs 1494384, 2026-11).

A stream's chunks repeat the role, carry reasoning with an empty content beside it, leave
`finish_reason` out until the last, and tell usage, where it was asked for, in a chunk
after the last choice; `chunk_include_usage` makes it cumulative on every chunk.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .errors import error_in
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, Asked
from .request import asked as _asked
from .usage import usage_of


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None
    encrypted_content: Any = None


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Delta | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    id: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    service_tier: Any = None
    service_status: Any = None
    bot_usage: Any = None


class _Whole(msgspec.Struct):
    """A choice of a document: of its message only the absence matters."""

    index: Any = 0
    finish_reason: Any = None


class _Document(msgspec.Struct):
    id: Any = None
    model: Any = None
    choices: list[_Whole] | None = None
    usage: Any = None
    error: Any = None
    service_tier: Any = None
    service_status: Any = None
    bot_usage: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_document = msgspec.json.Decoder(_Document).decode


def asked(body: bytes, capture: bool) -> Asked:
    """What a chat request asks for."""
    found = _asked(body)
    return with_content(found, "chat", body) if capture else found


def with_content(found: Asked, family: str, body: bytes) -> Asked:
    """With the content of the request too."""
    from .content import of_request

    return Asked(found.model, found.stream, found.params, of_request(family, body))


class ChatReader:
    """Reads one reply of a chat."""

    __slots__ = (
        "_bot_usage",
        "_complete",
        "_content",
        "_error",
        "_finished",
        "_id",
        "_model",
        "_seen",
        "_service_status",
        "_service_tier",
        "_usage",
    )

    def __init__(self, capture: bool = False) -> None:
        self._id: str | None = None
        self._model: str | None = None
        self._usage: Any = None
        self._bot_usage: Any = None
        self._service_tier: Any = None
        self._service_status: Any = None
        self._error: WireError | None = None
        self._seen: set[Any] = set()
        self._finished: dict[Any, str] = {}
        self._complete = False
        self._content: Any = None
        if capture:
            from .content import Collector

            self._content = Collector("chat")

    def event(self, name: str, data: bytes) -> int:
        if data == b"[DONE]":
            self._complete = True
            return END
        if self._content is not None:
            self._content.event(name, data)
        try:
            chunk = _chunk(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self._unexpected(data)
        self._note(chunk)
        if chunk.error:
            self._error = error_in({"error": chunk.error}) or WireError()
            return FAILED
        if chunk.choices is None:
            return NOTHING if chunk.usage is not None else self._unexpected(data)
        kind = NOTHING
        for choice in chunk.choices:
            self._seen.add(choice.index)
            if isinstance(choice.finish_reason, str):
                self._finished[choice.index] = choice.finish_reason
            delta = choice.delta
            if delta is None:
                continue
            if delta.content or delta.tool_calls:
                kind |= OUTPUT | VISIBLE
            elif delta.reasoning_content:
                kind |= OUTPUT
        return kind

    def _note(self, chunk: _Chunk) -> None:
        """What a chunk says beside its choices; of what is cumulative the last word."""
        if self._id is None and isinstance(chunk.id, str):
            self._id = chunk.id
        if self._model is None and isinstance(chunk.model, str):
            self._model = chunk.model
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.service_tier is not None:
            self._service_tier = chunk.service_tier
        if chunk.service_status is not None:
            self._service_status = chunk.service_status
        if chunk.bot_usage is not None:
            self._bot_usage = chunk.bot_usage

    def _unexpected(self, data: bytes) -> int:
        """An event of another shape: an error's, or something new, which counts as output."""
        try:
            content = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return OUTPUT
        error = error_in(content)
        if error is not None:
            self._error = error
            return FAILED
        return OUTPUT

    def document(self, body: bytes) -> None:
        if self._content is not None:
            self._content.document(body)
        try:
            whole = _document(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._salvage(body)
            return
        self._take(whole)
        for choice in whole.choices or ():
            if isinstance(choice.finish_reason, str):
                self._finished[choice.index] = choice.finish_reason
        self._complete = True
        if whole.error:
            self._error = error_in({"error": whole.error}) or WireError()

    def _take(self, whole: Any) -> None:
        self._id = whole.id if isinstance(whole.id, str) else None
        self._model = whole.model if isinstance(whole.model, str) else None
        self._usage = whole.usage
        self._bot_usage = whole.bot_usage
        self._service_tier = whole.service_tier
        self._service_status = whole.service_status

    def _salvage(self, body: bytes) -> None:
        """A document with a field of an unexpected type: what can still be known."""
        try:
            content = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        if isinstance(content, dict):
            self._take(_Document(**{name: content.get(name) for name in _SALVAGED}))
            self._error = error_in(content)
            self._complete = True

    def answer(self) -> Answer:
        tier = self._service_tier
        return Answer(
            id=self._id,
            model=self._model,
            finish_reasons=tuple(self._finished[index] for index in sorted(self._finished, key=str)),
            usage=usage_of(self._usage, self._bot_usage),
            error=self._error,
            complete=self._complete or (bool(self._seen) and self._seen == self._finished.keys()),
            service_tier=tier if isinstance(tier, str) else None,
            server_fallback=server_fallback_in(self._service_status),
            content=self._content.content() if self._content is not None else None,
        )


_SALVAGED = ("id", "model", "usage", "service_tier", "service_status", "bot_usage")


def server_fallback_in(status: Any) -> str | None:
    fallback = status.get("model_fallback") if isinstance(status, dict) else None
    if not isinstance(fallback, dict) or not fallback.get("fallback_triggered"):
        return None
    original = fallback.get("original_model")
    return original if isinstance(original, str) else "unknown"


reader = ChatReader
