"""Recorded streams read the same however they are cut, and no bytes make a reader raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byteplus_trace._facts import Images, Usage
from byteplus_trace._wire.errors import read_error
from byteplus_trace._wire.families import (
    FAMILIES,
    chat,
    images,
    messages,
    plain,
    responses,
)
from byteplus_trace._wire.reader import END, NOTHING, OUTPUT, VISIBLE
from byteplus_trace._wire.sse import EventDecoder

TEXT = OUTPUT | VISIBLE
STREAMS = [
    (chat, "volc_live_chat_stream_doubao-1-5-pro-32k_head.sse"),
    (chat, "byteplus_doc_chat_stream_seed-1-6_excerpt.sse"),
    (responses, "byteplus_doc_responses_stream_seed-1-6_excerpt.sse"),
    (images, "byteplus_doc_images_stream.sse"),
    (images, "byteplus_doc_images_stream_partial_failed.sse"),
]


@pytest.mark.parametrize(("family", "name"), STREAMS)
def test_cutting_a_stream_anywhere_changes_nothing(recorded, read_stream, family, name):
    body = recorded(name)
    whole = read_stream(family, [body])

    assert whole.kinds
    assert whole == read_stream(family, [body[i : i + 1] for i in range(len(body))])
    assert all(whole == read_stream(family, [body[:i], body[i:]]) for i in range(len(body)))


@pytest.mark.parametrize(("family", "name"), STREAMS)
def test_line_ends_are_invisible(recorded, read_stream, family, name):
    body = recorded(name)

    assert read_stream(family, [body]) == read_stream(family, [body.replace(b"\n", b"\r\n")])
    assert read_stream(family, [body]) == read_stream(family, [body.replace(b"\n", b"\r")])


@pytest.mark.parametrize(("family", "name"), STREAMS)
def test_a_stream_may_stop_anywhere(recorded, read_stream, family, name):
    """Each event that was whole is read as in the whole stream, and one that was cut is not."""
    body = recorded(name)
    whole = read_stream(family, [body])

    for end in range(len(body)):
        kinds, answer = read_stream(family, [body[:end]])
        assert kinds == whole.kinds[: len(kinds)]
        assert not answer.complete or whole.answer.complete


def test_a_live_chat_stream_cut_after_its_first_tokens(recorded, read_stream):
    kinds, answer = read_stream(chat, [recorded("volc_live_chat_stream_doubao-1-5-pro-32k_head.sse")])

    assert [TEXT] * 5 == kinds
    assert "021742632435712396f12d018b5d576a7a55349c2eba0815061fc" == answer.id
    assert ("doubao-1-5-pro-32k-250115", "default") == (answer.model, answer.service_tier)
    assert not answer.complete


def test_a_chat_stream_that_reasons(recorded, read_stream):
    kinds, answer = read_stream(chat, [recorded("byteplus_doc_chat_stream_seed-1-6_excerpt.sse")])

    assert [OUTPUT, OUTPUT, OUTPUT, TEXT, TEXT, NOTHING, END] == kinds
    assert ("stop",) == answer.finish_reasons
    assert answer.complete


def test_a_stream_of_a_response(recorded, read_stream):
    kinds, answer = read_stream(responses, [recorded("byteplus_doc_responses_stream_seed-1-6_excerpt.sse")])

    assert [NOTHING] * 4 == kinds[:4]
    assert OUTPUT == kinds[4]
    assert answer.id.startswith("resp_021768809358289649f4507e5505b181")
    assert "seed-1-6-250915" == answer.model


def test_a_stream_of_images(recorded, read_stream):
    kinds, answer = read_stream(images, [recorded("byteplus_doc_images_stream.sse")])

    assert [TEXT, TEXT, TEXT, END, END] == kinds
    assert Images(3, 0, 48672, "2496x1664") == answer.images
    assert answer.complete


def test_a_stream_closed_at_a_failed_image(recorded, read_stream):
    kinds, answer = read_stream(images, [recorded("byteplus_doc_images_stream_partial_failed.sse")])

    assert [OUTPUT] == kinds
    assert Images(0, 1) == answer.images
    assert "OutputImageSensitiveContentDetected" == answer.error.code
    assert not answer.complete


# JSON made of the names that the readers look for, so that they meet every type in every place.
NAMES = st.sampled_from(
    [
        "id", "model", "usage", "error", "choices", "delta", "content", "index", "finish_reason", "type", "response",
        "status", "data", "message", "code", "prompt_tokens", "prompt_tokens_details", "bot_usage", "model_usage",
        "service_status", "model_fallback", "fallback_triggered", "output", "incomplete_details", "size", "stop", "text",
        "stream_options", "thinking", "input", "n", "temperature", "response_id", "service_tier", "ResponseMetadata",
        "Error", "error_code", "stop_reason", "tool_calls", "reasoning_content", "format", "model_fallback", "reason",
    ]
)  # fmt: skip
TYPES = st.sampled_from(
    [
        "error", "failed", "completed", "incomplete", "response.completed", "response.failed", "response.created",
        "response.output_text.delta", "message_start", "message_delta", "message_stop", "content_block_delta",
        "image_generation.partial_succeeded", "image_generation.partial_failed", "image_generation.completed", "message",
    ]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TYPES
JSON = st.recursive(
    SCALARS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=8)
BODIES = st.binary(max_size=60) | (OBJECTS | JSON).map(lambda content: json.dumps(content).encode())
EVENTS = st.lists(st.tuples(st.just("") | TYPES, BODIES | st.just(b"[DONE]")), max_size=6)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=20)
@given(body=BODIES)
def test_no_request_makes_a_family_raise(family, body):
    assert isinstance(dict(family.asked(body, False).params), dict)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=20)
@given(body=BODIES)
def test_no_document_makes_a_reader_raise(family, body):
    reader = family.reader(False)
    reader.document(body)
    reader.answer()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=20)
@given(events=EVENTS)
def test_no_events_make_a_reader_raise(family, events):
    reader = family.reader(False)
    for name, data in events:
        assert reader.event(name, data) in range(32)
        reader.answer()


@given(BODIES)
def test_no_body_makes_reading_its_error_raise(body):
    read_error(body)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=10)
@given(events=st.lists(st.tuples(st.just("") | TYPES, OBJECTS), max_size=5), data=st.data())
def test_cutting_is_invisible_to_every_reader(family, events, data):
    stream = b"".join(
        (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(content).encode() + b"\n\n"
        for name, content in events
    )
    cut = data.draw(st.integers(0, len(stream)))

    def read(*parts):
        decoder, reader = EventDecoder(), family.reader(False)
        kinds = [reader.event(*event) for part in parts for event in decoder.feed(part)]
        kinds += [reader.event(*event) for event in decoder.flush()]
        return kinds, reader.answer()

    assert read(stream) == read(stream[:cut], stream[cut:])
    assert read(stream) == read(*(stream[i : i + 1] for i in range(len(stream))))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("number", ["1" * 5000, "-1e999", "1e400", "9223372036854775808"])
def test_no_number_is_too_large(family, number):
    body = b'{"id": %b, "usage": {"prompt_tokens": %b}, "error": {"code": %b}, "seed": %b}'.replace(b"%b", number.encode())  # fmt: skip
    reader = family.reader(False)

    family.asked(body, False)
    reader.document(body)
    reader.event("", body)
    reader.answer()
    read_error(body)


LENIENT = {
    "half of a character": b'{"id": "x", "text": "an emoji cut: \\ud83d", "usage": {"prompt_tokens": 7}}',
    "a byte order mark": b'\xef\xbb\xbf{"id": "x", "usage": {"prompt_tokens": 7}}',
    "NaN": b'{"id": "x", "logprob": NaN, "top": [Infinity, 1e999], "usage": {"prompt_tokens": 7}}',
    "UTF-16": '{"id": "x", "usage": {"prompt_tokens": 7}}'.encode("utf-16"),
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("form", LENIENT)
def test_what_json_loads_takes_is_read(answer, family, form):
    assert answer(family, {"id": "x", "usage": {"prompt_tokens": 7}}) == answer(family, LENIENT[form])


def test_half_of_a_character_becomes_one_that_every_exporter_takes(answer):
    assert "?-1" == answer(plain, b'{"id": "\\ud83d-1"}').id


def test_the_last_event_of_a_response_is_read_with_half_of_a_character_in_it(read_stream):
    stream = b'data: {"type":"response.incomplete","response":{"id":"r","status":"incomplete","usage":{"input_tokens":7,"output_tokens":2},"output":[{"text":"\\ud83d"}]}}'  # fmt: skip

    answer = read_stream(responses, [stream]).answer

    assert (True, Usage(7, 2), ("incomplete",)) == (answer.complete, answer.usage, answer.finish_reasons)


def test_content_is_gathered_where_capture_is_on():
    asked = chat.asked(b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}', True)
    reader = chat.reader(True)
    reader.event("", b'{"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}]}')

    assert "Hi" in str(asked.content.messages)
    assert "Hello" in str(reader.answer().content.messages)
    assert "m" == asked.model


@pytest.mark.parametrize("family", [chat, responses, images, messages])
def test_every_family_with_content_gathers_it(family):
    reader = family.reader(True)
    reader.document(b"{}")
    reader.event("", b"{}")

    assert family.asked(b"{}", True).content is not None
    assert reader.answer().content is not None
    assert family.asked(b"{}", False).content is None
    assert family.reader(False).answer().content is None


def test_usage_is_read_from_the_last_event_of_a_response(read_events):
    last = {"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 7, "output_tokens": 2}}}  # fmt: skip

    assert Usage(7, 2) == read_events(responses, last).answer.usage
