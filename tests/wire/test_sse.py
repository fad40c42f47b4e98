"""Server-sent events come out the same however their bytes were cut, and cost what their bytes cost."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byteplus_trace._facts import Answer
from byteplus_trace._wire.body import Body
from byteplus_trace._wire.sse import EventDecoder

MEBIBYTE = 1024 * 1024


def events(*parts, **options):
    decoder = EventDecoder(**options)
    return [event for part in parts for event in decoder.feed(part)] + decoder.flush()


def bytewise(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: {}\n\n", [("", b"{}")]),
        (b"data: 1\n\ndata: 2\n\n", [("", b"1"), ("", b"2")]),
        (b"event: a\ndata: {}\n\n", [("a", b"{}")]),
        (b"event: a\ndata: 1\n\ndata: [DONE]\n\n", [("a", b"1"), ("", b"[DONE]")]),
        (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [("", b"1"), ("", b"2")]),
        (b"data: 1\r\rdata: 2\r\r", [("", b"1"), ("", b"2")]),
        (b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\r\n", [("", b"1"), ("", b"2"), ("", b"3")]),
        (b"data:tight\n\n", [("", b"tight")]),
        (b"data:  spaced\n\n", [("", b" spaced")]),
        (b"data: one\ndata: two\n\n", [("", b"one\ntwo")]),
        (b"data\n\n", [("", b"")]),
        (b": comment\n\n:\n\ndata: 1\n\n", [("", b"1")]),
        (b": comment\ndata: 1\n\n", [("", b"1")]),
        (b"id: 7\nretry: 10\nevent: a\ndata: 1\n\n", [("a", b"1")]),
        (b"data: 1\nevent: late\n\n", [("late", b"1")]),
        (b"event: named only\n\n", []),
        (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n\n", [("", b"1"), ("", b"2")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("", b"1")]),
        ("data: ✧\n\n".encode(), [("", "✧".encode())]),
        (b"event: \xff\ndata: 1\n\n", [("�", b"1")]),
        (b"", []),
    ],
)
def test_events_are_read_whole_and_byte_by_byte(stream, expected):
    assert expected == events(stream)
    assert expected == events(*bytewise(stream))
    assert all(expected == events(stream[:i], stream[i:]) for i in range(len(stream)))


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b'data: {"a": 1}', [("", b'{"a": 1}')]),
        (b"data: [DONE]", [("", b"[DONE]")]),
        (b"data: [DONE]\n", [("", b"[DONE]")]),
        (b"data: 1\r", [("", b"1")]),
        (b'data: {"a": ', []),
        (b"data", []),
        (b"\xef\xbb", []),
    ],
)
def test_a_last_event_without_its_blank_line_counts_if_it_looks_whole(rest, expected):
    assert [("", b"0"), *expected] == events(b"data: 0\n\n", rest)
    assert expected == events(rest)


def test_an_event_comes_with_the_part_that_completes_it():
    decoder = EventDecoder()

    assert [] == decoder.feed(b"data: 1\n")
    assert [("", b"1")] == decoder.feed(b"\n")
    assert [("", b"2")] == decoder.feed(b"data: 2\n\ndata: ")
    assert [("", b"3"), ("", b"4")] == decoder.feed(b"3\n\ndata: 4\n\n")


def test_an_event_over_the_limit_is_dropped_and_reading_goes_on():
    stream = b"data: 1\n\ndata: " + b"x" * 100 + b"\n\ndata: 2\n\n"

    assert [("", b"1"), ("", b"2")] == events(stream, limit=50)
    assert [("", b"1"), ("", b"2")] == events(*bytewise(stream), limit=50)


def test_an_event_over_the_limit_that_never_ends_is_dropped_too():
    assert [] == events(*[b"data: " + b"x" * 100] * 10, limit=50)


def test_a_stream_without_events_costs_no_more_memory_than_the_limit():
    decoder = EventDecoder(limit=MEBIBYTE)
    part = b"x" * 65536
    tracemalloc.start()
    for _ in range(64):
        decoder.feed(part)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * MEBIBYTE


def test_a_large_event_in_small_parts_comes_out_whole():
    data = b"x" * 4 * MEBIBYTE
    stream = b"event: big\ndata: " + data + b"\n\n"

    assert [("big", data)] == events(*(stream[i : i + 65536] for i in range(0, len(stream), 65536)))


# Built from what an event stream is made of, so that line ends and fields meet in every order.
PIECES = st.sampled_from(
    [
        b"data:",
        b"data: ",
        b"event: ",
        b":",
        b" ",
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"{}",
        b"a",
        b"\xef\xbb\xbf",
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join), st.data())
def test_cutting_is_invisible(stream, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)))

    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert events(stream) == events(*parts) == events(*bytewise(stream))


def by_the_standard(stream):
    """The events of a whole stream as WHATWG's 9.2.6 defines them: with a blank line after each."""
    found, name, data = [], "", []
    for line in re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        field, _, value = line.partition(b":")
        if line == b"":
            found += [(name, b"\n".join(data))] if data else []
            name, data = "", []
        elif field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
    return found


class Listening:
    """A reader, and its own family, that keeps the events it receives."""

    listed = True

    def __init__(self):
        self.read_events = []
        self.reader = lambda _capture: self

    def event(self, name, data):
        self.read_events.append((name, data))
        return 0

    def document(self, body):
        pass

    def answer(self):
        return Answer()


PLAIN = st.sampled_from([b"data: {}\n\n", b"data: a\r\n\r\n", b"data: {}\r\r", b"event: a\ndata: {}\n\n"])


@settings(max_examples=100)
@given(st.lists(st.lists(PLAIN | PIECES, min_size=1, max_size=3).map(b"".join), max_size=12))
def test_what_the_standard_reads_is_read_also_where_a_part_is_one_event(parts):
    listening = Listening()
    body = Body(listening, 200, {"content-type": "text/event-stream"}, False, lambda: 0.0)
    ended = [*parts, b"\n\n"]

    for part in ended:
        body.feed(part)
    body.end()

    assert by_the_standard(b"".join(ended)) == listening.read_events == events(*ended)
    assert (len(listening.read_events), None) == (body.events, body.fault)
