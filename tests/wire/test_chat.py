"""How a chat's reply is read, streamed or whole."""

from __future__ import annotations

import json

import pytest

from byteplus_trace._facts import Answer, Usage, WireError
from byteplus_trace._wire.chat import ChatReader
from byteplus_trace._wire.families import chat
from byteplus_trace._wire.reader import END, FAILED, NOTHING, OUTPUT, UNREADABLE, VISIBLE

TEXT = OUTPUT | VISIBLE


def chunk(finish_reason=None, index=0, **delta):
    choice = {"index": index, "delta": {"role": "assistant", **delta}}
    if finish_reason is not None:
        choice["finish_reason"] = finish_reason
    return {"id": "021", "model": "seed-1-6-250915", "choices": [choice], "usage": None}


def usage(prompt, completion):
    return {"prompt_tokens": prompt, "completion_tokens": completion}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (chunk(content=""), NOTHING),
        (chunk(), NOTHING),
        (chunk(content="Hi"), TEXT),
        (chunk(content="", reasoning_content="hm"), OUTPUT),
        (chunk(content="Hi", reasoning_content="hm"), TEXT),
        (chunk(content="", encrypted_content="gAAAA"), NOTHING),
        (chunk(content=None, tool_calls=[{"index": 0, "function": {"arguments": "{"}}]), TEXT),
        (chunk(content="", finish_reason="stop"), NOTHING),
        (chunk(content="!", finish_reason="stop"), TEXT),
        ({"choices": [], "usage": usage(7, 2)}, NOTHING),
        ({"choices": [], "usage": None}, NOTHING),
        ({"choices": [{"index": 0}]}, NOTHING),
        ({"usage": usage(7, 2)}, NOTHING),
        ({"choices": None, "bot_usage": {}}, NOTHING),
        ({"error": {"code": "InternalServiceError"}}, FAILED),
        ({"choices": [], "error": "gone"}, FAILED),
        ({"type": "error", "code": "InternalServiceError", "message": "m"}, FAILED),
        ({"error": None, "choices": []}, NOTHING),
        ({"something": "new"}, NOTHING),
        ({}, NOTHING),
        ([], UNREADABLE),
        (b"not json", UNREADABLE),
        (b'{"choices": [{"delta": {"content": "R', UNREADABLE),
        (b"", UNREADABLE),
        (b" ", UNREADABLE),
        (b"[DONE]", END),
    ],
)
def test_what_an_event_is(read_events, event, kind):
    assert [kind] == read_events(chat, event).kinds


def test_a_stream_that_reasons_and_then_answers(read_events):
    kinds, answer = read_events(
        chat,
        chunk(content=""),
        chunk(content="", reasoning_content="hm"),
        chunk(content="", encrypted_content="gAAAA"),
        chunk(content="Hi"),
        chunk(content="", finish_reason="stop"),
        {"id": "021", "choices": [], "usage": usage(7, 2)},
        b"[DONE]",
    )

    assert [NOTHING, OUTPUT, NOTHING, TEXT, NOTHING, NOTHING, END] == kinds
    assert (
        Answer(id="021", model="seed-1-6-250915", finish_reasons=("stop",), usage=Usage(7, 2), complete=True)
        == answer
    )


def test_usage_on_every_chunk_is_cumulative(read_events):
    events = [{**chunk(content="x"), "usage": usage(7, n)} for n in (1, 2, 3)]

    assert Usage(7, 3) == read_events(chat, *events, chunk(content="y")).answer.usage


def test_a_stream_is_complete_once_every_choice_has_finished(read_events):
    events = [chunk(content="a"), chunk(content="b", index=1), chunk(finish_reason="stop", index=1)]

    assert not read_events(chat, *events).answer.complete
    assert read_events(chat, *events, chunk(finish_reason="length")).answer.complete


def test_finish_reasons_stand_in_the_order_of_the_choices(read_events):
    events = [chunk(finish_reason=f"f{index}", index=index) for index in (10, 2, 0)]

    assert ("f0", "f2", "f10") == read_events(chat, *events).answer.finish_reasons


@pytest.mark.parametrize(
    ("events", "reasons"),
    [
        (
            [chunk(content="a"), chunk(content="b", index=1), chunk(finish_reason="stop", index=1)],
            ("error", "stop"),
        ),
        ([chunk(content="a"), chunk(content="b", index=1)], ("error", "error")),
        ([chunk(content="a"), chunk(finish_reason="stop", index=1), b"[DONE]"], ("error", "stop")),
        ([chunk(content="a"), b"[DONE]"], ()),
    ],
)
def test_a_choice_that_never_finished_has_error_in_its_place(read_events, events, reasons):
    """The conventions: each reason stands at the position of its choice."""
    assert reasons == read_events(chat, *events).answer.finish_reasons


def test_a_stream_that_was_cut_is_not_complete(read_events):
    assert not read_events(chat, chunk(content="Hi")).answer.complete
    assert not read_events(chat).answer.complete


def test_an_error_inside_a_stream_is_kept(read_events):
    answer = read_events(
        chat, chunk(content="Hi"), {"error": {"code": "ServerOverloaded", "message": "m"}}
    ).answer

    assert WireError(code="ServerOverloaded", message="m") == answer.error
    assert "021" == answer.id


def test_the_service_names_the_model_that_it_replaced(read_events, answer):
    status = {
        "service_status": {"model_fallback": {"fallback_triggered": True, "original_model": "seed-2-0"}}
    }

    assert "seed-2-0" == read_events(chat, {**chunk(content="Hi"), **status}, chunk()).answer.server_fallback
    assert "seed-2-0" == answer(chat, {"choices": [], **status}).server_fallback


@pytest.mark.parametrize(
    ("status", "fallback"),
    [
        (None, None),
        ([], None),
        ({"model_fallback": None}, None),
        ({"model_fallback": {"fallback_triggered": False, "original_model": "m"}}, None),
        ({"model_fallback": {"fallback_triggered": True}}, "unknown"),
    ],
)
def test_a_service_that_did_not_fall_back(answer, status, fallback):
    assert fallback == answer(chat, {"choices": [], "service_status": status}).server_fallback


def test_the_service_tier_is_recorded(read_events):
    assert "flex" == read_events(chat, {**chunk(content="Hi"), "service_tier": "flex"}).answer.service_tier


def test_a_recorded_document(recorded, answer):
    assert Answer(
        id="0217426318107460cfa43dc3f3683b1de1c09624ff49085a456ac",
        model="doubao-1-5-pro-32k-250115",
        finish_reasons=("stop",),
        usage=Usage(19, 9, cache_read_tokens=0, reasoning_tokens=0),
        complete=True,
        service_tier="default",
    ) == answer(chat, recorded("volc_chat_nonstream_doubao-1-5-pro-32k.json"))


def test_a_recorded_usage(recorded, answer):
    reply = answer(chat, recorded("volc_live_chat_nonstream_seed-2-0-mini_usage.json"))

    assert Usage(55, 242, cache_read_tokens=0, reasoning_tokens=189) == reply.usage
    assert reply.error is None


def test_a_bot_s_document_has_all_its_models(answer):
    bot = {"model_usage": [usage(5, 1), usage(20, 9)]}

    assert Usage(25, 10) == answer(chat, {"choices": [], "usage": usage(20, 9), "bot_usage": bot}).usage


def test_several_choices_of_a_document(answer):
    choices = [{"index": 1, "finish_reason": "length"}, {"index": 0, "finish_reason": "stop"}]

    assert ("stop", "length") == answer(chat, {"choices": choices}).finish_reasons


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"code": "C", "message": "m"}},
        {"choices": [], "error": {"code": "C", "message": "m"}},
        {"type": "error", "code": "C", "message": "m"},
        {"code": "C", "message": "m"},
    ],
)
def test_an_error_in_a_document_of_a_success(answer, document):
    assert "C" == answer(chat, document).error.code


@pytest.mark.parametrize("body", [b"", b"[]", b'"text"', b"null", b"<html>", b'{"id": "021"', b"\xff"])
def test_a_document_that_is_no_object_has_no_answer(answer, body):
    assert Answer() == answer(chat, body)


def test_a_field_of_another_type_costs_only_itself(read_events, answer):
    odd = {
        "id": 5,
        "model": "m",
        "usage": [],
        "service_tier": {},
        "choices": [None, "x", {"index": "?", "delta": {"content": "Hi"}, "finish_reason": 5}, {"index": 1, "finish_reason": "stop", "delta": "?"}],
    }  # fmt: skip

    kinds, streamed = read_events(chat, odd)

    assert [TEXT] == kinds
    assert (None, "m", ("error", "stop"), None) == (
        streamed.id,
        streamed.model,
        streamed.finish_reasons,
        streamed.usage,
    )
    assert Answer(model="m", finish_reasons=("error", "stop"), complete=True) == answer(chat, odd)


def test_of_a_reason_no_more_is_kept_than_of_a_name_while_its_stream_goes_on():
    """Each choice has one, and a service may send it as long as it likes."""
    reader = ChatReader()
    for index in range(128):
        reader.event("", json.dumps(chunk(finish_reason="f" * 100_000, index=index)).encode())

    assert 128 * 256 == sum(map(len, reader._finished.values()))
