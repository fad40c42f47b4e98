"""The usage chunk that the caller did not ask for is taken out, and nothing else is touched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace._wire.usage_filter import _BLANK_LINE, LARGEST_USAGE_CHUNK, UsageFilter, strainer

TEXT = b'data: {"choices":[{"delta":{"content":"Hi"},"index":0}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


def strained(*parts):
    strainer = UsageFilter()
    return b"".join(strainer.feed(part) for part in parts) + strainer.flush()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_usage_chunk_is_taken_out_however_the_stream_is_cut(line_end):
    stream, expected = (text.replace(b"\n", line_end) for text in (TEXT + USAGE + DONE, TEXT + DONE))

    assert expected == strained(stream)
    assert expected == strained(*(stream[i : i + 1] for i in range(len(stream))))
    assert all(expected == strained(stream[:i], stream[i:]) for i in range(len(stream)))


@pytest.mark.parametrize(
    "stream",
    [
        TEXT + DONE,
        b'data: {"choices":[{"delta":{"content":"!"}}],"usage":{"prompt_tokens":7}}\n\n' + DONE,
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[],"usage":\n\n',
        b'data: {"error":{"code":"C"},"usage":{}}\n\n',
        b': "usage"\n\n',
        b"no events at all",
        b"",
    ],
)
def test_everything_else_passes_byte_for_byte(stream):
    assert stream == strained(stream)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (TEXT + b": still here\n" + USAGE + DONE, TEXT + DONE),
        (TEXT + b"event: x\nid: 7\n" + USAGE + DONE, TEXT + DONE),
        (b"\xef\xbb\xbf" + USAGE + DONE, DONE),
        (TEXT + USAGE.rstrip(), TEXT),
        (TEXT + USAGE.rstrip() + b"\n", TEXT),
        (TEXT + USAGE[:-20], TEXT + USAGE[:-20]),
        (TEXT + USAGE.replace(b"}}", b'},"x":"\\ud83d"}') + DONE, TEXT + DONE),
    ],
)
def test_the_usage_chunk_is_taken_out_in_every_form_that_an_event_may_have(stream, expected):
    assert expected == strained(stream)
    assert all(expected == strained(stream[:i], stream[i:]) for i in range(len(stream)))


@pytest.mark.parametrize("choices", ['"choices":[],', '"choices":null,', ""])
@pytest.mark.parametrize(
    "usage", ['"bot_usage":{"model_usage":[]}', '"usage":{"prompt_tokens":7}', '"usage":null,"bot_usage":{}']
)
def test_references_stay_in_a_chunk_that_can_be_read_as_any_other(choices, usage):
    url = "https://example.org/a"
    chunk = (
        f'data: {{"id":"1",{choices}{usage},"references":[{{"url":"{url}"}}],"metadata":{{}}}}\n\n'.encode()
    )

    passed = strained(TEXT + chunk + DONE)
    assert passed.startswith(TEXT)
    assert passed.endswith(DONE)
    kept = json.loads(passed.removeprefix(TEXT).removesuffix(DONE).removeprefix(b"data: "))

    assert {
        "id": "1",
        "choices": [{"index": 0, "delta": {}}],
        "references": [{"url": url}],
        "metadata": {},
    } == kept


@pytest.mark.parametrize("choices", ['"choices":[],', '"choices":null,', ""])
@pytest.mark.parametrize("references", ["", ',"references":[]', ',"references":null'])
def test_a_bot_s_usage_chunk_without_references_is_taken_out(choices, references):
    chunk = f'data: {{{choices}"bot_usage":{{"model_usage":[]}}{references}}}\n\n'.encode()

    assert TEXT + DONE == strained(TEXT + chunk + DONE)


@pytest.mark.parametrize("coding", ["gzip", "br, gzip"])
def test_what_is_encoded_is_not_searched(coding):
    assert strainer({}) is not None
    assert strainer({"content-encoding": coding}) is None


def test_an_event_passes_as_soon_as_it_is_whole():
    strainer = UsageFilter()

    assert TEXT == strainer.feed(TEXT + USAGE[:10])
    assert b"" == strainer.feed(USAGE[10:])
    assert DONE == strainer.feed(DONE)


def test_an_event_in_many_parts_is_searched_once(monkeypatch):
    searched = []

    class Counting:
        def finditer(self, waiting, start):
            searched.append(len(waiting) - start)
            return _BLANK_LINE.finditer(waiting, start)

    monkeypatch.setattr("byteplus_trace._wire.usage_filter._BLANK_LINE", Counting())
    parts = [b"x" * 100] * 1_000

    assert b"".join(parts) == strained(*parts)
    assert sum(searched) <= 1_000 * (100 + 3)


@given(st.lists(st.binary(max_size=20) | st.sampled_from([TEXT, USAGE, b"\r", b"\n"]), max_size=8))
def test_no_bytes_make_it_raise(parts):
    strained(*parts)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_of_an_event_that_is_too_long_for_usage_nothing_waits(line_end):
    filter_ = UsageFilter()
    long = (b"data: " + b"x" * 100_000) * 30 + b'\ndata: {"choices":[],"usage":{}}'
    stream = (long + b"\n\n").replace(b"\n", line_end)
    usage, done = (text.replace(b"\n", line_end) for text in (USAGE, DONE))

    passed = b""
    for start in range(0, len(stream), 7_000):
        passed += filter_.feed(stream[start : start + 7_000])
        assert len(filter_._waiting) <= LARGEST_USAGE_CHUNK

    assert stream == passed
    assert done == filter_.feed(usage + done) + filter_.flush()


def test_an_event_that_is_too_long_and_has_no_end_passes():
    parts = [b"x" * 600_000] * 3 + [b"\n"]

    assert b"".join(parts) == strained(*parts)
