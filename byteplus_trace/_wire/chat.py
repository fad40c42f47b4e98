"""
Chat completions, also those of contexts, bots and batches (ModelArk docs 1494384, 2026-11).

Every chunk of a stream repeats the role. A chunk with reasoning has an empty `content`
beside it. Only the last chunk of a choice has a `finish_reason`. Usage, where it was asked
for, stands in a chunk after the last choice; with `chunk_include_usage` it stands,
cumulative, on every chunk.
"""

from __future__ import annotations

from itertools import repeat
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from .._facts import Answer, WireError
from .errors import error_of, is_error_reason, is_reason, read_error, says_error
from .lenient_json import NULL, UNREADABLE, Shape, holds, take_over
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, unread
from .sse import DONE
from .text_budget import LONGEST_NAME
from .usage import BotCounts, Counts, usage_of

# Something is kept of each index, and a stream could name any.
_Index = Annotated[int, msgspec.Meta(ge=0, lt=128)]


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None
    refusal: Any = None
    function_call: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    """Gateways that stand before ModelArk call its reasoning by these two names."""


class _Choice(msgspec.Struct, gc=False):
    index: _Index = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Reply(msgspec.Struct, gc=False):
    """What a chunk and a document have in common."""

    id: str | None = None
    model: str | None = None
    usage: Counts | None = None
    error: Any = None
    service_tier: str | None = None
    service_status: dict[str, Any] | None = None
    bot_usage: BotCounts | None = None


class _Chunk(_Reply, gc=False):
    choices: list[_Choice] | None = None


class _Message(msgspec.Struct, gc=False):
    """A message, of which only counts whether it holds anything. Texts are not decoded: they may be long."""

    content: msgspec.Raw = NULL
    reasoning_content: msgspec.Raw = NULL
    tool_calls: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    function_call: msgspec.Raw = NULL
    audio: msgspec.Raw = NULL
    reasoning: msgspec.Raw = NULL
    reasoning_details: msgspec.Raw = NULL


class _Finish(msgspec.Struct, gc=False):
    """A choice of a document."""

    index: _Index = 0
    finish_reason: str | None = None
    message: _Message | None = None
    text: msgspec.Raw = NULL
    """Of the older API, whose choices are texts and no messages."""


class _Document(_Reply, gc=False):
    choices: list[_Finish] | None = None


class _OddDelta(_Message, gc=False):
    images: msgspec.Raw = NULL
    thinking_blocks: msgspec.Raw = NULL


class _OddChoice(msgspec.Struct, gc=False):
    delta: _OddDelta | None = None
    message: _OddDelta | None = None
    error: Any = None


class _OddChunk(msgspec.Struct, gc=False):
    """A chunk whose output stands where it seldom does. Not fields of `_Chunk`: every chunk would pay for them."""

    choices: list[_OddChoice] | None = None


_SHOWN = OUTPUT | VISIBLE
_USUAL_REASONS = frozenset({"stop", "length", "tool_calls"})
"""Nearly every choice ends with one of them, and none of them needs a closer look."""
_ODD_FIELDS = (b'"message"', b'"audio"', b'"images"', b'"thinking_blocks"')
_REASONING = frozenset({"reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"})


def _error_of_choice(data: bytes) -> WireError | None:
    """The error that some gateways put into a choice."""
    chunk = _odd_chunk.read(data)
    for choice in (chunk.choices if chunk is not None else None) or ():
        if says_error(choice.error):
            return error_of(choice.error)
    return None


def _odd_output(data: bytes) -> int:
    """What kind of output a chunk holds in a field that deltas seldom have, or in a whole message."""
    for name in _ODD_FIELDS:
        if name in data:
            break
    else:
        return NOTHING
    kind = NOTHING
    chunk = _odd_chunk.read(data)
    for choice in (chunk.choices if chunk is not None else None) or ():
        for held in (choice.delta, choice.message):
            for field in _OddDelta.__struct_fields__ if held is not None else ():
                if holds(getattr(held, field)):
                    kind |= OUTPUT if field in _REASONING else _SHOWN
    return kind


def _rare_output(delta: _Delta) -> int:
    if delta.refusal or delta.function_call:
        return _SHOWN
    return OUTPUT if delta.reasoning or delta.reasoning_details else NOTHING


_chunk = Shape(_Chunk)
_decode_chunk = _chunk.decode
_document = Shape(_Document)
_odd_chunk = Shape(_OddChunk)


class ChatReader:
    """Reads one reply of a chat."""

    __slots__ = (
        "_bot_usage",
        "_complete",
        "_error",
        "_finished",
        "_id",
        "_model",
        "_output",
        "_seen",
        "_service_status",
        "_service_tier",
        "_usage",
    )

    def __init__(self) -> None:
        self._id: str | None = None
        self._model: str | None = None
        self._usage: Counts | None = None
        self._bot_usage: BotCounts | None = None
        self._service_tier: str | None = None
        self._service_status: dict[str, Any] | None = None
        self._error: WireError | None = None
        self._seen: set[int] = set()
        self._finished: dict[int, str] = {}
        self._output = NOTHING
        self._complete = False

    def event(self, name: str, data: bytes) -> int:
        try:  # not `_chunk.read`: calling it takes 2% of what watching a chunk does
            chunk = _decode_chunk(data)
        except UNREADABLE:
            if data == DONE:
                self._complete = True
                return END
            read = _chunk.read(data)
            if read is None:
                return unread(name, data)
            chunk = read
        if (
            self._service_tier is None
            or self._id is None
            or self._model is None
            or chunk.usage is not None
            or chunk.service_status is not None
            or chunk.bot_usage is not None
        ):
            self._note(chunk)
        if chunk.error and says_error(chunk.error):
            self._error = read_error(data) or error_of(chunk.error)
            return FAILED
        if chunk.choices is None:
            return self._without_choices(name, chunk, data)
        kind = NOTHING
        for choice in chunk.choices:
            self._seen.add(choice.index)
            if choice.finish_reason:
                kind |= self._finish(choice.index, choice.finish_reason, data)
            delta = choice.delta
            if delta is None:
                continue
            if delta.content or delta.tool_calls:
                kind |= _SHOWN
            elif delta.reasoning_content:
                kind |= OUTPUT
            else:
                kind |= _rare_output(delta)
        kind = kind or self._odd(data)
        self._output |= kind & _SHOWN
        return kind

    def _odd(self, data: bytes) -> int:
        """What a chunk is that has no output where it usually stands."""
        if b'"error"' in data:
            self._error = _error_of_choice(data) or self._error
            if self._error is not None:
                return FAILED
        return _odd_output(data)

    def _finish(self, index: int, reason: str, data: bytes) -> int:
        """Note why a choice ended. The first reason stays: a late frame does not take it back."""
        if reason not in _USUAL_REASONS and not is_reason(reason):
            return NOTHING
        self._finished.setdefault(index, reason[:LONGEST_NAME])
        if reason in _USUAL_REASONS or not is_error_reason(reason):
            return NOTHING
        self._error = self._error or _error_of_choice(data) or WireError()
        return FAILED

    def _note(self, reply: _Reply) -> None:
        """Note the fields beside the choices. Keep the first id, model and tier. Usage is cumulative: keep the last."""
        self._id = self._id or reply.id
        self._model = self._model or reply.model
        self._service_tier = self._service_tier or reply.service_tier
        if self._usage is None:
            self._usage = reply.usage
        elif reply.usage is not None:
            take_over(self._usage, reply.usage)
        if reply.service_status is not None and reply.service_status.get("model_fallback"):
            self._service_status = reply.service_status
        if reply.bot_usage is not None and reply.bot_usage.model_usage:
            self._bot_usage = reply.bot_usage

    def _without_choices(self, name: str, chunk: _Chunk, data: bytes) -> int:
        """Read a chunk without choices: usage alone, or an error in another envelope. It is never output."""
        if chunk.usage is not None or chunk.bot_usage is not None:
            return NOTHING
        self._error = read_error(data) or self._error
        return NOTHING if self._error is None and name != "error" else FAILED

    def document(self, body: bytes) -> bool:
        whole = _document.read(body)
        if whole is None:
            return False
        self._complete = True
        self._note(whole)
        for choice in whole.choices or ():
            self._seen.add(choice.index)
            if choice.message is not None and any(map(holds, astuple(choice.message))):
                self._output |= OUTPUT
            if choice.finish_reason and not holds(choice.text):
                self._finish(choice.index, choice.finish_reason, body)
        if whole.error and says_error(whole.error):
            self._error = read_error(body) or error_of(whole.error)
        elif not whole.choices:
            self._error = read_error(body)
        return True

    def answer(self) -> Answer:
        finished = self._finished
        # A reply of a chat has a choice, and the choice has output or a reason why there is none.
        ended = self._complete and (self._output != NOTHING or bool(finished))
        complete = bool(self._seen) and (ended or self._seen == finished.keys())
        # A choice that began and never finished is listed too, as `error`.
        due = self._seen if finished or not complete else ()
        return Answer(
            id=self._id,
            model=self._model,
            finish_reasons=tuple(map(finished.get, sorted(due), repeat("error"))),
            usage=usage_of(self._usage, self._bot_usage),
            error=self._error,
            complete=complete,
            service_tier=self._service_tier,
            server_fallback=server_fallback_in(self._service_status) if self._service_status else None,
        )


def server_fallback_in(status: dict[str, Any]) -> str | None:
    """The model asked for, where the service states that it answered with another."""
    fallback = status.get("model_fallback")
    if not isinstance(fallback, dict) or not fallback.get("fallback_triggered"):
        return None
    original = fallback.get("original_model")
    return original if isinstance(original, str) else "unknown"
