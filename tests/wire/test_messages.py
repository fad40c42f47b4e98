"""How a message is read, streamed or whole."""

from __future__ import annotations

import json

import pytest

from byteplus_trace._facts import Answer, Usage
from byteplus_trace._wire.families import messages
from byteplus_trace._wire.messages import MessagesReader
from byteplus_trace._wire.reader import END, FAILED, NOTHING, OUTPUT, UNREADABLE, VISIBLE

TEXT = OUTPUT | VISIBLE
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "model": "seed-1-6-250915",
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 1},
    },
}


def delta(type_, **fields):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": type_, **fields}}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (START, NOTHING),
        ({"type": "ping"}, NOTHING),
        ({"type": "content_block_start", "content_block": {"type": "text", "text": ""}}, NOTHING),
        (delta("text_delta", text="Hi"), TEXT),
        (delta("input_json_delta", partial_json="{"), TEXT),
        (delta("thinking_delta", thinking="hm"), OUTPUT),
        (delta("signature_delta", signature="AAAA"), NOTHING),
        (delta("new_delta"), TEXT),
        ({"type": "content_block_stop"}, NOTHING),
        ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, NOTHING),
        ({"type": "message_stop"}, END),
        (("message_stop", {}), END),
        ({"type": "error", "error": {"type": "overloaded_error"}}, FAILED),
        ({"error": {"type": "overloaded_error"}}, FAILED),
        ({"type": "new"}, NOTHING),
        ({}, NOTHING),
        (b"?", UNREADABLE),
        (b"", UNREADABLE),
        (b"[DONE]", END),
    ],
)
def test_what_an_event_is(read_events, event, kind):
    assert [kind] == read_events(messages, event).kinds


def test_a_stream_to_its_end(read_events):
    _, answer = read_events(
        messages,
        START,
        delta("text_delta", text="Hi"),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 25}},
        {"type": "message_stop"},
    )

    assert (
        Answer(
            id="msg_1",
            model="seed-1-6-250915",
            finish_reasons=("end_turn",),
            usage=Usage(100, 25, cache_read_tokens=90),
            complete=True,
        )
        == answer
    )


def test_a_stream_that_was_cut_has_what_was_received(read_events):
    answer = read_events(messages, START, delta("text_delta", text="Hi")).answer

    assert ("msg_1", Usage(100, 1, cache_read_tokens=90), False) == (answer.id, answer.usage, answer.complete)


def test_an_error_inside_a_stream_is_kept(read_events):
    answer = read_events(
        messages, START, {"type": "error", "error": {"code": "C", "type": "t", "message": "m"}}
    ).answer

    assert ("C", "t", "m") == (answer.error.code, answer.error.type, answer.error.message)


def test_a_document(answer):
    fallback = {"model_fallback": {"fallback_triggered": True, "original_model": "seed-2-0"}}

    assert Answer(
        id="msg_1",
        model="m",
        finish_reasons=("tool_use",),
        usage=Usage(12, 5, cache_read_tokens=2),
        complete=True,
        server_fallback="seed-2-0",
    ) == answer(
        messages,
        {
            "id": "msg_1",
            "type": "message",
            "model": "m",
            "stop_reason": "tool_use",
            "content": [{"type": "text", "text": "Hi"}],
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 5},
            "service_status": fallback,
        },
    )


@pytest.mark.parametrize(
    "document",
    [{"type": "error", "error": {"code": "C"}}, {"error": {"code": "C"}}, {"type": "error", "code": "C"}],
)
def test_an_error_in_a_document_of_a_success(answer, document):
    assert "C" == answer(messages, document).error.code


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>"])
def test_a_document_that_is_no_object_has_no_answer(answer, body):
    assert Answer() == answer(messages, body)


def test_a_field_of_another_type_costs_only_itself(answer):
    odd = {"id": 5, "type": "message", "model": "m", "usage": [], "stop_reason": {}, "content": [{}]}

    assert Answer(model="m", complete=True) == answer(messages, odd)


def test_calls_of_the_services_own_tools_are_told_apart_up_to_a_number():
    """A stream could name any index, and something is kept of each."""
    reader = MessagesReader()
    for index in range(5_000):
        event = {"type": "content_block_start", "index": index, "content_block": {"type": "server_tool_use"}}
        reader.event("", json.dumps(event).encode())

    assert len(reader._of_service) <= 1_024
