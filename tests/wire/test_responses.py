"""How a response is read, streamed or whole."""

from __future__ import annotations

import json

import pytest

from byteplus_trace._facts import Answer, Usage, WireError
from byteplus_trace._wire.families import fetched, responses
from byteplus_trace._wire.reader import END, FAILED, NOTHING, OUTPUT, UNREADABLE, VISIBLE

TEXT = OUTPUT | VISIBLE
CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "seed-1-6-250915"}}


def event(type_, **fields):
    return (type_, {"type": type_, **fields})


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("response.in_progress", NOTHING),
        ("response.output_item.added", NOTHING),
        ("response.output_item.done", NOTHING),
        ("response.content_part.added", NOTHING),
        ("response.reasoning_summary_part.added", NOTHING),
        ("response.reasoning_summary_text.done", NOTHING),
        ("response.output_text.done", NOTHING),
        ("response.reasoning_summary_text.delta", OUTPUT),
        ("response.reasoning_text.delta", OUTPUT),
        ("response.reasoning_raw_text.delta", OUTPUT),
        ("response.output_text.delta", TEXT),
        ("response.refusal.delta", TEXT),
        ("response.function_call_arguments.delta", TEXT),
        ("response.web_search_call.searching", NOTHING),
        ("response.something.new", NOTHING),
        ("response.something.new.delta", TEXT),
        ("response.mcp_list_tools.in_progress", NOTHING),
        ("response.output_text.annotation.added", NOTHING),
        ("response.completed", END),
        ("response.incomplete", END),
        ("response.failed", END | FAILED),
        ("error", FAILED),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_what_an_event_is_with_and_without_its_name(read_events, type_, kind, begun):
    before = [CREATED] if begun else []

    assert kind == read_events(responses, *before, event(type_)).kinds[-1]
    assert kind == read_events(responses, *before, {"type": type_}).kinds[-1]
    assert kind == read_events(responses, *before, (type_, {})).kinds[-1]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"[DONE]", END),
        (b"", UNREADABLE),
        (b"?", UNREADABLE),
        ([], UNREADABLE),
        ({}, NOTHING),
        ({"type": 5}, NOTHING),
        ({"type": []}, NOTHING),
        ({"error": {"code": "C"}}, FAILED),
    ],
)
def test_what_an_event_without_a_type_is(read_events, data, kind):
    assert [kind] == read_events(responses, data).kinds


def test_a_name_without_a_meaning_defers_to_the_type(read_events):
    assert [END] == read_events(responses, ("message", {"type": "response.completed", "response": {"status": "completed"}})).kinds  # fmt: skip


def test_a_stream_to_its_end(read_events):
    kinds, answer = read_events(
        responses,
        CREATED,
        event("response.output_text.delta", delta="Hi"),
        event(
            "response.completed",
            response={
                "id": "resp_1",
                "model": "seed-1-6-250915",
                "status": "completed",
                "service_tier": "default",
                "output": [{"type": "reasoning"}, {"type": "message"}],
                "usage": {"input_tokens": 7, "output_tokens": 2},
            },
        ),
        b"[DONE]",
    )

    assert [NOTHING, TEXT, END, END] == kinds
    assert (
        Answer(
            id="resp_1",
            model="seed-1-6-250915",
            finish_reasons=("stop",),
            usage=Usage(7, 2),
            complete=True,
            service_tier="default",
            status="completed",
        )
        == answer
    )


def test_a_live_last_event(recorded, read_events):
    last = json.loads(recorded("volc_live_responses_completed_coding-plan.json"))

    answer = read_events(responses, last).answer

    assert "resp_0217863325508161f8649ba3601f67aef8adf8b2a41491046317c" == answer.id
    assert Usage(22596, 218, cache_read_tokens=22328, reasoning_tokens=18) == answer.usage
    assert ("stop",) == answer.finish_reasons


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (
            "completed",
            END,
            Answer(
                id="resp_1",
                model="seed-1-6-250915",
                finish_reasons=("stop",),
                usage=Usage(58, 1647, cache_read_tokens=0, reasoning_tokens=1273),
                complete=True,
                status="completed",
            ),
        ),
        (
            "incomplete",
            END,
            Answer(
                id="resp_1",
                model="seed-1-6-250915",
                finish_reasons=("incomplete",),
                complete=True,
                status="incomplete",
            ),
        ),
        (
            "failed",
            END | FAILED,
            Answer(
                id="resp_1",
                model="seed-1-6-250915",
                finish_reasons=("error",),
                error=WireError(
                    code="server_error",
                    message="The model encountered an internal error while generating a response.",
                ),
                complete=True,
                status="failed",
            ),
        ),
        (
            "error",
            FAILED,
            Answer(
                id="resp_1",
                model="seed-1-6-250915",
                error=WireError(
                    code="InvalidParameter", type="error", message="Invalid value for 'max_output_tokens'"
                ),
            ),
        ),
    ],
)
def test_recorded_last_events(recorded, read_events, name, kind, expected):
    """They have fewer fields than the events before, whose values stay."""
    last = json.loads(recorded("volc_doc_responses_terminal_events.json"))[name]

    kinds, answer = read_events(responses, CREATED, last)

    assert kind == kinds[-1]
    assert expected == answer


def test_a_recorded_response_id_of_its_own_name(read_events):
    last = {"type": "response.incomplete", "response": {"response_id": "resp_9", "status": "incomplete"}}

    assert "resp_9" == read_events(responses, last).answer.id


@pytest.mark.parametrize(
    "failure",
    [
        {"type": "response.failed", "response": {"status": "failed", "error": {"code": "C", "message": "m"}}},
        {"type": "response.failed", "error": {"code": "C", "message": "m"}},
        {"type": "error", "code": "C", "message": "m"},
        {"type": "error", "error": {"code": "C", "message": "m"}},
        {"error": {"code": "C", "message": "m"}},
    ],
)
def test_an_error_is_found_wherever_it_stands(read_events, failure):
    kinds, answer = read_events(responses, CREATED, failure)

    assert kinds[-1] & FAILED
    assert ("C", "m") == (answer.error.code, answer.error.message)


def test_a_failure_without_a_reason_is_a_failure(read_events, answer):
    assert WireError() == read_events(responses, event("response.failed")).answer.error
    assert WireError() == answer(responses, {"id": "resp_1", "status": "failed"}).error


@pytest.mark.parametrize(
    ("document", "reasons"),
    [
        ({"status": "completed", "output": [{"type": "message"}]}, ("stop",)),
        (
            {"status": "completed", "output": [{"type": "message"}, {"type": "function_call"}]},
            ("tool_calls",),
        ),
        (
            {"status": "completed", "output": [{"type": "function_call"}, {"type": "message"}]},
            ("tool_calls",),
        ),
        ({"status": "completed"}, ("stop",)),
        ({"status": "incomplete", "incomplete_details": {"reason": "length"}}, ("length",)),
        ({"status": "incomplete", "incomplete_details": None}, ("incomplete",)),
        ({"status": "incomplete", "incomplete_details": "length"}, ("incomplete",)),
        ({"status": "failed"}, ("error",)),
        ({"status": "cancelled"}, ("error",)),
        ({"status": "in_progress"}, ()),
        ({}, ()),
    ],
)
def test_finish_reasons(answer, document, reasons):
    assert reasons == answer(responses, document).finish_reasons


def test_a_document(answer):
    assert Answer(
        id="resp_1",
        model="m",
        finish_reasons=("stop",),
        usage=Usage(7, 2),
        complete=True,
        status="completed",
    ) == answer(
        responses,
        {
            "id": "resp_1",
            "model": "m",
            "status": "completed",
            "output": [],
            "error": None,
            "usage": {"input_tokens": 7, "output_tokens": 2},
        },
    )


@pytest.mark.parametrize(
    "document",
    [
        {"status": "failed", "error": {"code": "C"}},
        {"status": "completed", "error": {"code": "C"}},
        {"error": {"code": "C"}},
        {"type": "error", "code": "C", "message": "m"},
    ],
)
def test_an_error_in_a_document_of_a_success(answer, document):
    assert "C" == answer(responses, document).error.code


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"id"'])
def test_a_document_that_is_no_object_has_no_answer(answer, body):
    assert Answer() == answer(responses, body)


def test_a_field_of_another_type_costs_only_itself(answer, read_events):
    odd = {"id": 5, "model": "m", "status": "completed", "usage": 5, "output": [5, {"type": 5}, {"type": "function_call"}]}  # fmt: skip
    expected = Answer(model="m", finish_reasons=("tool_calls",), complete=True, status="completed")

    assert expected == answer(responses, odd)
    assert expected == read_events(responses, {"type": "response.completed", "response": odd}).answer


# A response that is asked after.

FAILED_EARLIER = {"id": "resp_1", "model": "m", "status": "failed", "error": {"code": "ServerOverloaded"}}


def test_a_fetched_response_that_had_failed_was_fetched_all_the_same(answer, read_events):
    """By the conventions its failure is its status, and no failure of the fetch."""
    recorded = Answer(id="resp_1", model="m", finish_reasons=("error",), complete=True, status="failed")

    assert recorded == answer(fetched, FAILED_EARLIER)
    assert ([END], recorded) == read_events(fetched, {"type": "response.failed", "response": FAILED_EARLIER})


def test_a_fetch_that_itself_fails_is_a_failure(answer, read_events):
    refused = WireError(code="InternalServiceError")
    created = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}

    assert refused == answer(fetched, {"error": {"code": "InternalServiceError"}}).error
    read = read_events(fetched, created, {"type": "error", "code": "InternalServiceError", "message": None})
    assert FAILED == read.kinds[-1]
    assert "InternalServiceError" == read.answer.error.code
