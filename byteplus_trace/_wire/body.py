"""
Reads the body of one reply while the caller reads it.

Takes the bytes as they were received, encoded or not, in parts of any size. Keeps nothing
of a stream, and a bounded copy of a document. At any time it knows what a plan or a span
needs: whether output began, whether there was an error, whether the body has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from msgspec.structs import replace

from .._facts import Answer, WireError
from .encoding import Decoder, decoder_for
from .errors import read_error
from .families import Family
from .lenient_json import BLANK, begins_object, object_before
from .reader import END, FAILED, NOTHING, OUTPUT, UNREADABLE, VISIBLE
from .sse import LF, EventDecoder, is_flood
from .text_budget import LONGEST_NAME

LARGEST_DOCUMENT = 32 * 1024 * 1024
LARGEST_ERROR = 1024 * 1024
LARGEST_EXPANSION_OF_EVENTS = 8 * 1024 * 1024
"""Of one compressed part of a stream."""
FEWEST_OF_A_FLOOD = 256 * 1024
"""Bytes: smaller parts are not counted before they are read."""

_RARE = END | FAILED | UNREADABLE
# `data:`, `event:`, `id:`, `retry:`, or a comment: no JSON begins so.
_EVENTS_BEGIN = frozenset({b"d", b"e", b"i", b"r", b":"})


def _unread(_name: str, _data: bytes) -> int:
    return NOTHING


class Body:
    """
    The body of one reply.

    `family` is the API's; None for a download, which is only counted. `clock` is
    monotonic and is read once a part. `legible` is false where nothing may be
    concluded from the body: its encoding is unknown here, or it is too large to keep. `asked_stream`: the
    caller reads the reply as a stream, also where its `Content-Type` is missing or wrong.
    A reply without events is then read as a document.

    Its methods raise nothing. If our own reading fails, the exception is in `fault`, and nothing
    may be concluded from the body, least of all that it was empty.
    """

    __slots__ = (
        "_clock",
        "_decoder",
        "_document_read",
        "_error",
        "_label_is_open",
        "_limit",
        "_parts",
        "_read",
        "_reader",
        "_size",
        "_sse",
        "_unreadable_at",
        "chunks",
        "ended",
        "events",
        "failed",
        "fault",
        "first_answer_at",
        "first_chunk_at",
        "last_chunk_at",
        "legible",
        "read_whole",
        "streaming",
    )

    def __init__(
        self,
        family: Family | None,
        status: int,
        headers: Mapping[str, str],
        capture: bool,
        clock: Callable[[], float],
        asked_stream: bool = False,
    ) -> None:
        content_type = headers.get("content-type", "").strip().lower()
        is_error = status >= 400
        labelled = content_type.startswith("text/event-stream")
        self.streaming = not is_error and (labelled or (asked_stream and "json" not in content_type))
        is_short = is_error or (family is not None and not family.listed)
        self._limit = LARGEST_ERROR if is_short else LARGEST_DOCUMENT
        encoding = headers.get("content-encoding", "identity")
        largest = LARGEST_EXPANSION_OF_EVENTS if self.streaming else None
        self._decoder = decoder_for(encoding, largest) if encoding != "identity" else None
        self.legible = encoding == "identity" or self._decoder is not None
        self._reader = None if is_error or family is None or not self.legible else family.reader(capture)
        self._read = self._reader.event if self._reader is not None else _unread
        self._sse = EventDecoder() if self.streaming and self._reader is not None else None
        self._label_is_open = asked_stream and self._reader is not None and self._sse is None
        """A stream was asked for and the label is JSON's: the first byte shows what it is."""
        keeps = is_error or self._reader is not None
        self._parts: list[bytes] | None = [] if keeps else None
        self._size = 0
        """Of a document, and of a stream before its first event."""
        self._error = is_error
        self._document_read = False
        self._clock = clock
        self.events = 0
        self.chunks = 0
        self.first_chunk_at: float | None = None
        self.first_answer_at: float | None = None
        self.last_chunk_at: float | None = None
        self.ended = False
        """The event that ends the stream was seen."""
        self.failed = False
        """An event carried an error."""
        self.read_whole = False
        self._unreadable_at = 0
        self.fault: Exception | None = None

    def feed(self, part: bytes, *, last: bool = False) -> bool:
        """
        Take the next bytes, as received. Returns whether the event that ends the stream has been seen.

        With `last`, also read what the decoders still hold back.
        """
        try:
            if self._decoder is not None:
                part = self._decoded(self._decoder, part, last)
            sse = self._sse or self._take_document(part)
            if sse is None:
                return False
            # One event without a name in a part of its own, as nearly all are, is seen here: calling `sse` for
            # it takes as much as all else that watching it does, 2% of a chunk of the SDK's.
            lines = part.splitlines() if sse.idle else ()
            if len(lines) == 2 and lines[0][:6] == b"data: " and not lines[1] and part[-1] == LF:
                events = [("", lines[0][6:])]
            else:
                events = sse.feed(part)
            if last:
                events += sse.flush()
            if not events:
                if not self.events:
                    self._keep(part)
                return self.ended
            self.events += len(events)
            now, read = self._clock(), self._read
            for name, data in events:
                kind = read(name, data)
                if kind & OUTPUT:
                    self.chunks += 1
                    self.last_chunk_at = now
                    if self.first_answer_at is None:
                        self._note_first(kind, now)
                if kind & _RARE:
                    self._note_rare(kind)
        except Exception as error:
            self._cannot_read(error)
        return self.ended

    def _take_document(self, part: bytes) -> EventDecoder | None:
        """Keep a part of a document. A decoder where it begins as events do: SDKs read events whatever their label is."""
        if self._label_is_open:
            begun = part.lstrip(BLANK)[:1]
            self._label_is_open = not begun
            if begun in _EVENTS_BEGIN:
                self.streaming = True
                self._sse = EventDecoder()
                return self._sse
        self._keep(part)
        return None

    def _decoded(self, decoder: Decoder, part: bytes, last: bool) -> bytes:
        """A part without its coding. Of a flood of lines nothing is read, nor of what follows it."""
        part = decoder.flush() if last else decoder.feed(part)
        if len(part) <= FEWEST_OF_A_FLOOD or self._sse is None or not is_flood(part):
            return part
        self.legible = False
        self._sse = self._parts = None
        return b""

    def _keep(self, part: bytes) -> None:
        """Keep a part of a document, or of what may be one. What is blank before it is nothing."""
        self._size += len(part if self._size else part.lstrip(BLANK))
        if self._parts is None:
            return
        if self._size > self._limit:
            self._parts = None
            self.legible = False
        else:
            self._parts.append(part)

    def end(self) -> None:
        """Read what could only be read at the end of the body. Call it once the body has ended."""
        if self.read_whole:
            return
        self.read_whole = True
        if self._decoder is not None and self._decoder.broken:
            self.legible = False
        if self._decoder is not None or self._sse is not None:
            self.feed(b"", last=True)
        try:
            if self._parts is not None and self._reader is not None and not self.events:
                self.streaming = False
                body = b"".join(self._parts)
                self._document_read = self._reader.document(body)
                if not self._document_read:
                    self._read_beginning(body)
            elif self._sse is not None and self._sse.bare and not self.ended:
                self._read_bare(self._sse.bare)
        except Exception as error:
            self._cannot_read(error)

    def _read_beginning(self, body: bytes) -> None:
        """Read the error that a body begins with, where it is no document as a whole."""
        first = object_before(body)
        if read_error(first) is not None:
            self._read_bare(first)

    def _read_bare(self, error: bytes) -> None:
        """Read an error that is no event, with something after it such as the mark that ends a stream."""
        self.events += 1
        self.failed = self._read("", error) & FAILED != 0

    def _note_rare(self, kind: int) -> None:
        self.failed = self.failed or kind & FAILED != 0
        self.ended = self.ended or kind & END != 0
        if kind & UNREADABLE:
            self._unreadable_at = self.events

    def _note_first(self, kind: int, now: float) -> None:
        if self.first_chunk_at is None:
            self.first_chunk_at = now
        if kind & VISIBLE:
            self.first_answer_at = now

    @property
    def begun(self) -> bool:
        """Some of it was received."""
        return self.events > 0 or self._size > 0

    @property
    def corrupt(self) -> bool:
        """It is not in the coding that its label names: its reader raises there."""
        return self._decoder is not None and self._decoder.corrupt

    @property
    def stops_unreadable(self) -> bool:
        """The last of its events so far could not be read."""
        return 0 < self._unreadable_at == self.events

    @property
    def is_object(self) -> bool:
        """It was read as a JSON object."""
        return self._document_read

    @property
    def begins_document(self) -> bool:
        """A document began but could not be read. It may have been an answer."""
        if self._parts is None or self.events or self._document_read:
            return False
        return begins_object(b"".join(self._parts))

    def answer(self) -> Answer:
        """What was read so far."""
        try:
            if self._error:
                return Answer(error=_error_of_refusal(b"".join(self._parts or ())))
            return (
                bounded(self._reader.answer())
                if self._reader is not None
                else Answer(complete=self.read_whole and self.begun)
            )
        except Exception as error:
            self._cannot_read(error)
            return Answer()

    def _cannot_read(self, fault: Exception) -> None:
        self.legible = False
        self.fault = fault


def _error_of_refusal(body: bytes) -> WireError | None:
    """The error of a refusal, also where it is an event: some gateways refuse a stream so."""
    error = read_error(body) or read_error(object_before(body))
    if error is None and body.lstrip(BLANK)[:1] in _EVENTS_BEGIN:
        sse = EventDecoder()
        events = sse.feed(body) + sse.flush()
        error = next((found for _, data in events if (found := read_error(data)) is not None), None)
    return error


def bounded(answer: Answer) -> Answer:
    """The answer, its names cut: a server may send any of them as long as it likes."""
    reasons = answer.finish_reasons
    for each in (*_names_of(answer), *reasons):
        if each is not None and len(each) > LONGEST_NAME:
            break
    else:
        return answer
    long: dict[str, Any] = {
        name: value[:LONGEST_NAME]
        for name, value in zip(_NAMES, _names_of(answer), strict=True)
        if value is not None
    }
    return replace(answer, **long, finish_reasons=tuple(reason[:LONGEST_NAME] for reason in reasons))


_NAMES = ("id", "model", "service_tier", "server_fallback", "task_id", "status")
_names_of = attrgetter(*_NAMES)
