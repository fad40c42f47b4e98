"""
The newest spans and the rows of their calls, within bounds.

Spans are kept packed, so that what they take is known to the byte. Beyond either bound the
span that arrived first is dropped. At any time `received == held + dropped`, repeats of a
span that is held not counted: an exporter that tries again sends the same span.

One thread adds while others read: every method takes the lock, for as long as it needs.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from .breakers import Breaker, Breakers, Reading
from .calls import Attempt, Call, attempt_of, call_of
from .spans import Key, Span, packed, unpacked

SPANS = 50_000
BYTES = 128 * 1024 * 1024
FAMILY = 500
CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the spans that arrived."""

    received: int
    held: int
    dropped: int
    bytes: int


class _Held(msgspec.Struct, frozen=True, gc=False):
    # Nothing that the collector looks at: to look at ten thousands takes it a tenth of a second, for which keys wait.
    number: int
    data: bytes
    call: Call | None


class Store:
    """
    The newest spans.

    Args:
        spans: how many are held at most.
        bytes_: how many bytes they take at most, packed. One span alone is within it: see `otlp`.
    """

    def __init__(self, spans: int = SPANS, bytes_: int = BYTES) -> None:
        self.most_spans = spans
        self.most_bytes = bytes_
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._traces: dict[str, dict[str, str]] = {}
        """Of each trace its spans, and the parent of each."""
        self._calls: OrderedDict[Key, Call] = OrderedDict()
        self._attempts: dict[Key, Attempt] = {}
        self._breakers = Breakers()
        self._bytes = 0
        self._number = 0
        self._received = 0
        self._dropped = 0
        self.version = 0
        """Grows with every change, so that a reader sees cheaply that there is none."""

    def add(self, spans: Iterable[Span]) -> list[bytes]:
        """Take spans; the result is each of them, packed."""
        return self.add_packed([(span, packed(span)) for span in spans])

    def add_packed(self, spans: Sequence[tuple[Span, bytes]]) -> list[bytes]:
        """Take spans of which the packed form is known."""
        with self._lock:
            for span, data in spans:
                self._add(span, data)
            self.version += 1
        return [data for _, data in spans]

    def receive(self, readings: Sequence[Reading]) -> None:
        """Take the states of breakers."""
        with self._lock:
            self._breakers.receive(readings)
            self.version += 1

    def _add(self, span: Span, data: bytes) -> None:
        key = span.key
        before = self._held.pop(key, None)
        if before is not None:
            self._bytes -= len(before.data)
        else:
            self._received += 1
        call = call_of(span)
        self._number += 1
        self._held[key] = _Held(self._number, data, call)
        self._traces.setdefault(span.trace_id, {})[span.span_id] = span.parent_id
        self._calls.pop(key, None)
        if call is not None:
            self._calls[key] = call
        self._attempts.pop(key, None)
        attempt = attempt_of(span)
        if attempt is not None:
            self._attempts[key] = attempt
        self._bytes += len(data)
        self._breakers.infer(span)
        while len(self._held) > self.most_spans or (self._bytes > self.most_bytes and len(self._held) > 1):
            self._drop()

    def _drop(self) -> None:
        key, oldest = self._held.popitem(last=False)
        self._calls.pop(key, None)
        self._attempts.pop(key, None)
        of_trace = self._traces[key[0]]
        del of_trace[key[1]]
        if not of_trace:
            del self._traces[key[0]]
        self._bytes -= len(oldest.data)
        self._dropped += 1

    def calls(self) -> list[Call]:
        """The calls that are held, in the order of their arrival."""
        with self._lock:
            return list(self._calls.values())

    def attempts(self) -> list[Attempt]:
        """The sends that are held, in the order of their arrival."""
        with self._lock:
            return list(self._attempts.values())

    def call(self, key: Key) -> Call | None:
        with self._lock:
            return self._calls.get(key)

    def span(self, key: Key) -> Span | None:
        with self._lock:
            held = self._held.get(key)
        return unpacked(held.data) if held is not None else None

    def family(self, key: Key, most: int = FAMILY) -> list[Span]:
        """
        The spans of a call's trace that stand around it, as far as they are held.

        At most so many: those that it is within come first, then those within it, then the
        others, the newest first.
        """
        trace_id, span_id = key
        with self._lock:
            parents = dict(self._traces.get(trace_id, ()))
            chosen = _nearest(span_id, parents, most)
            data = [self._held[trace_id, each].data for each in chosen]
        return [unpacked(each) for each in data]

    def since(self, number: int, most_bytes: int = CHUNK) -> tuple[int, list[bytes]]:
        """The spans that arrived after that number, oldest first, as many as fit; and the number of the last one."""
        with self._lock:
            newer: list[_Held] = []
            for held in reversed(self._held.values()):
                if held.number <= number:
                    break
                newer.append(held)
        chosen: list[bytes] = []
        size = 0
        for held in reversed(newer):
            if chosen and size + len(held.data) > most_bytes:
                break
            chosen.append(held.data)
            size += len(held.data)
            number = held.number
        return number, chosen

    def readings(self) -> list[Reading]:
        """The states of breakers that were received."""
        with self._lock:
            return self._breakers.readings()

    def breakers(self) -> dict[str, Breaker]:
        with self._lock:
            return self._breakers.states()

    def counts(self) -> Counts:
        with self._lock:
            return Counts(self._received, len(self._held), self._dropped, self._bytes)


def _nearest(span_id: str, parents: dict[str, str], most: int) -> list[str]:
    """The spans of a trace that are nearest to one of them. Whoever sends may have parents go in a circle."""
    chosen: dict[str, None] = {}
    at = span_id
    while at in parents and at not in chosen and len(chosen) < most:
        chosen[at] = None
        at = parents[at]
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    waiting = [span_id]
    for each in waiting:
        for child in children.get(each, ()):
            if len(chosen) >= most:
                return list(chosen)
            if child not in chosen:
                chosen[child] = None
                waiting.append(child)
    for each in reversed(parents):
        if len(chosen) >= most:
            break
        chosen[each] = None
    return list(chosen)
