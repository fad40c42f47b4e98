"""What events and documents mean: a field without content changes nothing, and nor does a late one."""

from __future__ import annotations

import json

import httpx
import pytest


def chunk(delta=None, **choice):
    return {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta or {}, **choice}]}


def response(**fields):
    return {"id": "r", "status": "completed", "output": [{"type": "message"}], **fields}


STOP = chunk({"content": "a"}, finish_reason="stop")
USED = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "delta": "Rhine"}
COMPLETED = {"type": "response.completed", "response": response()}
STARTED = {
    "type": "message_start",
    "message": {"id": "m", "usage": {"input_tokens": 25, "cache_read_input_tokens": 10}},
}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}
ENDED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 12}}
STOPPED = {"type": "message_stop"}


def stream_of(events):
    """A reply of these events; one that is a text is sent as it is."""
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return 200, "text/event-stream", b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)


@pytest.fixture
def read(make_caller):
    """The exchange of a stream of these events."""

    def read(api, *events, **options):
        return make_caller(httpx, "sync").call(api, [stream_of(events)], stream=True, **options)[0]

    return read


@pytest.mark.parametrize("late", [None, "", "length"])
def test_a_late_frame_does_not_change_why_a_choice_ended(read, late):
    exchange = read("chat", STOP, chunk(finish_reason=late), "[DONE]")

    assert ("ok", ("stop",)) == (exchange.outcome, exchange.answer.finish_reasons)


@pytest.mark.parametrize(
    "late", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": None}]
)
def test_a_late_frame_does_not_erase_usage(read, late):
    usage = read("chat", STOP, USED, {"choices": [], "usage": late}, "[DONE]").answer.usage

    assert (5, 2) == (usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize("late", [None, {}, {"model_usage": None}, {"model_usage": []}])
def test_a_late_frame_does_not_erase_a_bots_usage(read, late):
    used = {"choices": [], "bot_usage": {"model_usage": [USED["usage"]]}}
    usage = read("bot", STOP, used, {"choices": [], "bot_usage": late}, "[DONE]").answer.usage

    assert (5, 2) == (usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize("late", [None, {}, {"model_fallback": None}, {"model_fallback": {}}])
@pytest.mark.parametrize("api", ["chat", "messages"])
def test_a_late_frame_does_not_erase_that_another_model_answered(read, api, late):
    status = {"model_fallback": {"fallback_triggered": True, "original_model": "m1"}}
    events = {
        "chat": [{**STOP, "service_status": status}, {**chunk(), "service_status": late}, "[DONE]"],
        "messages": [{**STARTED, "service_status": status}, TEXT, {**ENDED, "service_status": late}, STOPPED],
    }[api]

    assert "m1" == read(api, *events).answer.server_fallback


@pytest.mark.parametrize("late", [None, {}, {"generated_images": 0, "output_tokens": 0}])
def test_a_late_frame_does_not_erase_how_many_images_were_made(read, late):
    image = {"type": "image_generation.partial_succeeded", "url": "https://h/1"}
    used = {"type": "image_generation.usage", "usage": {"generated_images": 2, "output_tokens": 9}}
    images = read("images", image, used, {"type": "image_generation.completed", "usage": late}).answer.images

    assert (2, 9) == (images.generated, images.output_tokens)


@pytest.mark.parametrize(
    "late", [None, {}, "", [], {"code": "", "message": None}, {"code": 0, "message": ""}]
)
def test_an_error_that_holds_nothing_is_none(read, late):
    assert "ok" == read("chat", STOP, {**chunk(), "error": late}, "[DONE]").outcome


@pytest.mark.parametrize("written", [12, 12.0])
def test_a_count_with_a_point_is_a_count(make_caller, written):
    body = {
        "choices": [{"finish_reason": "stop"}],
        "usage": {"prompt_tokens": written, "completion_tokens": 1.5},
    }
    exchange, _ = make_caller(httpx, "sync").call(
        "chat", [(200, "application/json", json.dumps(body).encode())]
    )

    assert (12, None) == (exchange.answer.usage.input_tokens, exchange.answer.usage.output_tokens)
    assert isinstance(exchange.answer.usage.input_tokens, int)


@pytest.mark.parametrize(
    ("delta", "chunks"),
    [
        ({"reasoning": "hm"}, 2),
        ({"reasoning_details": [{"text": "hm"}]}, 2),
        ({"reasoning_content": "hm"}, 2),
        ({"refusal": "no"}, 2),
        ({"function_call": {"name": "f"}}, 2),
        ({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}, 2),
        ({"reasoning": ""}, 1),
        ({"reasoning_details": []}, 1),
        ({"refusal": None}, 1),
        ({"tool_calls": []}, 1),
        ({"content": None}, 1),
        ({"role": "assistant"}, 1),
    ],
)
def test_a_delta_is_output_where_it_holds_something(read, delta, chunks):
    assert chunks == read("chat", chunk(delta), STOP, "[DONE]").chunks


@pytest.mark.parametrize(
    ("choice", "chunks"),
    [
        ({"delta": {"audio": {"data": "aGk="}}}, 2),
        ({"delta": {"content": None, "audio": {"id": "a", "transcript": "hi"}}}, 2),
        ({"delta": {"audio": None}}, 1),
        ({"delta": {"audio": {}}}, 1),
        ({"delta": {"images": [{"image_url": {"url": "data:,"}}]}}, 2),
        ({"delta": {"thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}}, 2),
        ({"message": {"role": "assistant", "content": "hi"}}, 2),
        ({"delta": None, "message": {"content": "hi"}}, 2),
        ({"delta": {"content": ""}, "message": {"content": "hi"}, "finish_reason": "stop"}, 2),
        ({"message": {"tool_calls": [{"function": {"name": "f"}}]}}, 2),
        ({"message": {"reasoning_content": "hm"}}, 2),
        ({"message": {"role": "assistant", "content": ""}}, 1),
        ({"message": None}, 1),
    ],
    ids=str,
)
def test_sound_and_a_whole_message_in_a_chunk_are_output(read, choice, chunks):
    exchange = read("chat", {"id": "1", "model": "m", "choices": [{"index": 0, **choice}]}, STOP, "[DONE]")

    assert ("ok", chunks) == (exchange.outcome, exchange.chunks)


@pytest.mark.parametrize("before", [[], [chunk({"content": "hi"})]], ids=len)
def test_a_whole_message_in_a_chunk_is_captured_once(read, before):
    whole = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}

    (message,) = read("chat", *before, whole, capture_content=True).answer.content.messages
    assert [{"type": "text", "content": "hi"}] == message["parts"]


def test_a_stream_of_one_whole_message_is_an_answer(read):
    whole = {"id": "1", "model": "m", "choices": [{"index": 0, "message": {"content": "hi"}}]}

    assert "ok" == read("chat", whole, "[DONE]").outcome


@pytest.mark.parametrize(
    ("name", "chunks"),
    [
        ("response.web_search_call.searching", 1),
        ("response.mcp_list_tools.completed", 1),
        ("response.mcp_call_arguments.delta", 1),
        ("response.code_interpreter_call_code.delta", 1),
        ("response.file_search_call.completed", 1),
        ("response.output_text.annotation.added", 1),
        ("response.done", 1),
        ("keepalive", 1),
        ("response.refusal.delta", 2),
        ("response.custom_tool_call_input.delta", 2),
        ("response.something_new.delta", 2),
    ],
)
def test_an_event_of_a_response_is_output_where_the_model_writes(read, name, chunks):
    exchange = read("responses", CREATED, {"type": name, "delta": "x"}, DELTA, COMPLETED)

    assert ("ok", chunks) == (exchange.outcome, exchange.chunks)


@pytest.mark.parametrize(
    "data",
    [
        '{"type":"response.output_text.delta","delta":""}',
        '{"type": "response.output_text.delta", "delta": ""}',
    ],
)
def test_an_empty_delta_of_a_response_is_no_output(read, data):
    assert 1 == read("responses", CREATED, data, DELTA, COMPLETED).chunks


@pytest.mark.parametrize(
    ("last", "outcome", "reasons"),
    [
        ({"type": "response.cancelled", "response": {"id": "r"}}, "cancelled", ("error",)),
        ({"type": "response.completed", "response": response(status="cancelled")}, "cancelled", ("error",)),
        ({"type": "response.completed", "response": response(status="failed")}, "error", ("error",)),
        ({"type": "response.failed"}, "error", ("error",)),
        ({"type": "response.incomplete", "response": response(status="incomplete", incomplete_details={"reason": "length"})}, "ok", ("length",)),
        ({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": None}}, "ok", ("stop",)),
    ],
)  # fmt: skip
def test_a_response_ends_as_its_status_has_it(read, last, outcome, reasons):
    exchange = read("responses", CREATED, DELTA, last)

    assert (outcome, reasons) == (exchange.outcome, exchange.answer.finish_reasons)


@pytest.mark.parametrize("output", [None, [], [{"type": "message"}]])
def test_a_tool_call_anywhere_makes_a_response_one_of_tool_calls(read, output):
    added = {"type": "response.output_item.done", "item": {"type": "function_call", "arguments": "{}"}}
    last = {"type": "response.completed", "response": response(output=output)}

    assert ("tool_calls",) == read("responses", CREATED, added, last).answer.finish_reasons


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "response.in_progress", "response": {"usage": {"input_tokens": 5, "output_tokens": 2}}}, DELTA, COMPLETED],
        [DELTA, {"type": "response.usage", "usage": {"input_tokens": 5, "output_tokens": 2}}, COMPLETED],
        [DELTA, {"type": "response.completed", "response": response(usage={"input_tokens": 5, "output_tokens": 2})}, {"type": "response.done", "response": response(usage={"input_tokens": 0})}],
    ],
)  # fmt: skip
def test_usage_of_a_response_is_taken_from_any_event(read, events):
    usage = read("responses", CREATED, *events).answer.usage

    assert (5, 2) == (usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize(
    "late", [{"input_tokens": 0, "cache_read_input_tokens": 0}, {"input_tokens": None}, {}]
)
def test_zeros_at_the_end_of_a_message_erase_nothing(read, late):
    last = {**ENDED, "usage": {**late, "output_tokens": 12}}
    usage = read("messages", STARTED, TEXT, last, STOPPED).answer.usage

    assert (35, 12, 10) == (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens)


@pytest.mark.parametrize(
    ("event", "chunks"),
    [
        ({"type": "content_block_delta", "delta": {"type": "citations_delta", "citation": {}}}, 1),
        ({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}}, 1),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": ""}}, 1),
        ({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": ""}}, 1),
        ({"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{"}}, 2),
        ({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}}, 2),
        ({"type": "content_block_delta", "delta": {"type": "new_delta", "new": "x"}}, 2),
        ({"type": "ping"}, 1),
    ],
)
def test_an_event_of_a_message_is_output_where_the_model_writes(read, event, chunks):
    assert chunks == read("messages", STARTED, event, TEXT, ENDED, STOPPED).chunks


def test_what_the_service_asks_its_own_tools_is_no_output(read):
    began = {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use"}}
    asks = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": "{"},
    }

    assert 1 == read("messages", STARTED, began, asks, {**TEXT, "index": 1}, ENDED, STOPPED).chunks


@pytest.mark.parametrize(
    ("api", "events"),
    [
        ("chat", [chunk({"content": "a"}), chunk(finish_reason="error"), "[DONE]"]),
        ("messages", [STARTED, TEXT, {"type": "message_delta", "delta": {"stop_reason": "error"}}, STOPPED]),
    ],
)
def test_a_reason_of_error_is_an_error(read, api, events):
    exchange = read(api, *events)

    assert ("error", "stream_error") == (exchange.outcome, exchange.reason)


@pytest.mark.parametrize(
    ("api", "events"),
    [
        ("chat", [chunk({"content": ""}), chunk({"content": ""}, finish_reason="stop"), "[DONE]"]),
        ("chat", [chunk(finish_reason="content_filter"), "[DONE]"]),
        ("messages", [STARTED, ENDED, STOPPED]),
        ("responses", [CREATED, {"type": "response.completed", "response": response(output=[])}]),
    ],
)
def test_an_empty_text_with_a_reason_is_an_answer(read, api, events):
    assert "ok" == read(api, *events).outcome


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", ""])
@pytest.mark.parametrize(
    "written", ["data: {}\n\n", "event: error\ndata: {}", "\ufeff: busy\n\ndata: {}\n\ndata: [DONE]\n\n"]
)
def test_a_refusal_keeps_its_code_where_it_is_an_event(make_caller, content_type, written):
    body = written.format('{"error": {"code": "AccountQuotaExceeded", "message": "m"}}').encode()
    exchange, _ = make_caller(httpx, "sync").call("chat", [(429, content_type, body)], stream=True)

    assert ("quota", "AccountQuotaExceeded") == (exchange.reason, exchange.error_type)


# What gateways and services like ModelArk say, as users of them report it.
UPSTREAM = {"code": 502, "message": "Upstream error"}


def document_of(make_caller, api, body):
    """The exchange of a document."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return make_caller(httpx, "sync").call(api, [(200, "application/json", data)])[0]


@pytest.mark.parametrize("reason", ["null", "None", "NULL", ""])
def test_a_reason_that_says_there_is_none_is_none(read, reason):
    still_open = chunk({"content": "a"}, finish_reason=reason)

    assert "cut" == read("chat", still_open).reason
    assert ("stop",) == read("chat", still_open, chunk(finish_reason="stop"), "[DONE]").answer.finish_reasons


def test_a_reason_of_a_message_that_says_there_is_none_is_none(read):
    silent = {"type": "message_delta", "delta": {"stop_reason": "null"}}

    assert "empty" == read("messages", STARTED, silent, STOPPED).reason
    assert ("end_turn",) == read("messages", STARTED, TEXT, silent, ENDED, STOPPED).answer.finish_reasons


@pytest.mark.parametrize(
    "reason", ["network_error", "ERROR", "upstream_error", "failed", "insufficient_system_resource"]
)
@pytest.mark.parametrize("api", ["chat", "messages"])
def test_a_reason_that_says_what_failed_is_an_error(read, api, reason):
    events = {
        "chat": [chunk({"content": "a"}), chunk(finish_reason=reason), "[DONE]"],
        "messages": [STARTED, TEXT, {**ENDED, "delta": {"stop_reason": reason}}, STOPPED],
    }[api]

    assert "error" == read(api, *events).outcome


@pytest.mark.parametrize(
    "reason", ["stop", "length", "content_filter", "sensitive", "abort", "pause_turn", "eos"]
)
def test_a_reason_of_another_name_is_no_error(read, reason):
    assert "ok" == read("chat", chunk({"content": "a"}), chunk(finish_reason=reason), "[DONE]").outcome


@pytest.mark.parametrize(
    "choice",
    [
        {"delta": {"content": ""}, "finish_reason": "error", "error": UPSTREAM},
        {"delta": {}, "error": UPSTREAM},
        {"error": UPSTREAM},
    ],
)
def test_the_error_of_a_choice_keeps_its_code(read, choice):
    exchange = read("chat", {"id": "1", "model": "m", "choices": [{"index": 0, **choice}]}, "[DONE]")

    assert ("error", "502") == (exchange.outcome, exchange.error_type)


@pytest.mark.parametrize(
    ("api", "body", "code"),
    [
        (
            "chat",
            {"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": UPSTREAM}]},
            "502",
        ),
        ("chat", {"error": True, "code": "ServerOverloaded", "message": "m"}, "ServerOverloaded"),
        ("chat", {"error": "busy", "code": "ServerOverloaded"}, "ServerOverloaded"),
        ("responses", {"error": "busy", "code": "ServerOverloaded"}, "ServerOverloaded"),
        ("images", {"error": "busy", "code": "ServerOverloaded"}, "ServerOverloaded"),
        ("embeddings", {"error": "busy", "code": "ServerOverloaded"}, "ServerOverloaded"),
        ("messages", {"error": "busy", "code": "ServerOverloaded"}, "ServerOverloaded"),
        ("chat", [{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}], "503"),
        ("embeddings", [{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}], "503"),
        ("chat", {"Error": {"Code": "InternalError", "Message": "m"}}, "InternalError"),
        ("chat", {"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "400"),
        ("chat", {"type": "about:blank", "title": "Bad Gateway", "status": 502}, "502"),
        ("chat", {"errors": {"code": "Busy", "message": "m"}}, "Busy"),
        ("chat", {"errcode": 40001, "errmsg": "m"}, "40001"),
        ("chat", {"code": 200, "message": "OK", "data": None}, "empty"),
        ("chat", {"code": "0", "msg": "ok", "data": {}}, "empty"),
    ],
    ids=str,
)
def test_an_error_keeps_its_code_however_a_gateway_writes_it(make_caller, api, body, code):
    exchange = document_of(make_caller, api, body)

    assert ("error", code) == (exchange.outcome, exchange.error_type)


def test_a_choice_of_the_older_api_is_no_answer(make_caller):
    older = {"object": "text_completion", "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}]}

    assert "empty" == document_of(make_caller, "chat", older).reason


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_that_is_a_list_keeps_its_code(make_caller, status):
    body = b'[{"error": {"code": "AccountQuotaExceeded", "message": "m"}}]'
    exchange, _ = make_caller(httpx, "sync").call("chat", [(status, "application/json", body)])

    assert "AccountQuotaExceeded" == exchange.error_type


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.error", "code": "ServerOverloaded", "message": "m"},
        {"type": "response.error", "error": {"code": "ServerOverloaded"}},
        {"type": "response.completed", "response": {**response(output=[]), "error": {"code": "ServerOverloaded"}}},
        {"type": "response.incomplete", "response": {"id": "r", "error": {"code": "ServerOverloaded"}}},
    ],
)  # fmt: skip
def test_an_event_of_a_response_is_an_error_where_it_states_one(read, event):
    exchange = read("responses", CREATED, event)

    assert ("error", "ServerOverloaded") == (exchange.outcome, exchange.error_type)


@pytest.mark.parametrize("late", [None, "in_progress", "queued", ""])
@pytest.mark.parametrize(("last", "reasons"), [("completed", ("stop",)), ("incomplete", ("incomplete",))])
def test_the_event_that_ends_a_response_says_how_it_ended_where_the_response_does_not(
    read, late, last, reasons
):
    ended = {"type": f"response.{last}", "response": response(status=late)}

    assert reasons == read("responses", CREATED, DELTA, ended).answer.finish_reasons


@pytest.mark.parametrize(
    ("block", "chunks"),
    [
        ({"type": "text", "text": "Rhine"}, 1),
        ({"type": "thinking", "thinking": "hm"}, 1),
        ({"type": "text", "text": ""}, 0),
    ],
)
def test_a_block_that_is_whole_when_it_begins_is_output(read, block, chunks):
    exchange = read(
        "messages", STARTED, {"type": "content_block_start", "index": 0, "content_block": block}, STOPPED
    )

    assert ("ok" if chunks else "error", chunks) == (exchange.outcome, exchange.chunks)


def test_an_image_in_the_event_that_ends_the_stream_is_one(read):
    exchange = read(
        "images", {"type": "image_generation.completed", "b64_json": "aGk=", "usage": {"output_tokens": 3}}
    )

    assert ("ok", 1) == (exchange.outcome, exchange.answer.images.generated)


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        ([{"embedding": [0.5]}, {"embedding": None}], "error"),
        ([{"embedding": [None, None]}], "error"),
        ([{"embedding": "AAAAPw=="}], "ok"),
        ([{"embedding": [-0.5], "index": None}], "ok"),
        ({"embedding": [0.5], "sparse_embedding": None}, "ok"),
        ({"multi_embedding": [[0.5]]}, "ok"),
    ],
    ids=str,
)
def test_each_input_has_an_embedding(make_caller, data, outcome):
    assert outcome == document_of(make_caller, "embeddings", {"object": "list", "data": data}).outcome


@pytest.mark.parametrize(
    "code", ["MonthlyLimitExceeded", "SubscriptionQuotaExceeded.Monthly", "WeeklyLimitExceeded"]
)
def test_a_limit_of_a_week_or_a_month_is_a_quota(make_caller, code):
    refusal = 429, "application/json", json.dumps({"error": {"code": code, "message": "m"}}).encode()

    assert "quota" == make_caller(httpx, "sync").call("chat", [refusal])[0].reason


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation", "ContentPolicyViolation"])
def test_what_a_filter_refuses_is_moderation_whoever_filters(make_caller, code):
    refusal = 400, "application/json", json.dumps({"error": {"code": code, "message": "m"}}).encode()

    assert "moderation" == make_caller(httpx, "sync").call("chat", [refusal])[0].reason


def a_call(identity, name, arguments, **more):
    return {"id": identity, "function": {"name": name, "arguments": arguments}, **more}


def done(name, arguments, index):
    item = {"type": "function_call", "call_id": name, "name": name, "arguments": arguments}
    return {"type": "response.output_item.done", "output_index": index, "item": item}


@pytest.mark.parametrize(
    ("api", "events"),
    [
        ("chat", [chunk({"tool_calls": [a_call("1", "f", '{"a": 1}'), a_call("2", "g", '{"b": 2}')]})]),
        ("chat", [chunk({"tool_calls": [a_call("1", "f", '{"a": 1}')]}), chunk({"tool_calls": [a_call("2", "g", '{"b": 2}')]})]),
        ("chat", [chunk({"tool_calls": [a_call(None, "f", '{"a": 1}', index=0)]}), chunk({"tool_calls": [a_call(None, "g", '{"b": 2}', index=0)]})]),
        ("chat", [chunk({"tool_calls": [a_call("1", "f", "", index=0), a_call("2", "g", "", index=1)]}), chunk({"tool_calls": [{"index": 1, "function": {"arguments": '{"b": 2}'}}, {"index": 0, "function": {"arguments": '{"a": 1}'}}]})]),
        ("responses", [CREATED, done("f", '{"a": 1}', 0), done("g", '{"b": 2}', 1), {"type": "response.completed", "response": {"id": "r", "status": "completed"}}]),
    ],
    ids=["in one chunk", "without an index", "without ids", "in turns", "in done items"],
)  # fmt: skip
def test_calls_of_tools_are_captured_apart(read, api, events):
    exchange = read(api, *events, capture_content=True)

    parts = [part for message in exchange.answer.content.messages for part in message["parts"]]
    calls = [(part["name"], part["arguments"]) for part in parts if part["type"] == "tool_call"]
    assert [("f", {"a": 1}), ("g", {"b": 2})] == calls


@pytest.mark.parametrize(
    "task",
    [
        {"status": "failed", "error": {"code": "OutputVideoSensitiveContentDetected", "message": "m"}},
        {"status": "failed", "error": None},
        {"status": "failed"},
        {"status": "expired", "error": {"message": "m"}},
        {"status": "cancelled", "error": "cancelled by its user"},
        {"status": "succeeded", "content": {"video_url": "https://h/1"}, "usage": {"completion_tokens": 9}},
    ],
    ids=str,
)
def test_a_task_ends_once_however_often_it_is_asked_for(make_caller, request, task):
    caller, body = make_caller(httpx, "sync"), json.dumps({"id": request.node.name, **task}).encode()
    asked = [caller.call("task read", [(200, "application/json", body)])[0] for _ in range(3)]

    assert ["ok"] * 3 == [exchange.outcome for exchange in asked]
    assert [task["status"], None, None] == [exchange.task_ended for exchange in asked]


@pytest.mark.parametrize(
    "used",
    [
        {"choices": [], "usage": None, "bot_usage": {"model_usage": [USED["usage"]]}},
        {"choices": [], "bot_usage": {"model_usage": [USED["usage"]], "action_usage": [{"name": "search", "count": 1}]}},
        {"choices": [], "usage": {"prompt_tokens": 1}, "bot_usage": {"model_usage": [USED["usage"]]}},
    ],
)  # fmt: skip
def test_a_bots_usage_is_what_its_models_used(read, used):
    usage = read("bot", STOP, used, "[DONE]").answer.usage

    assert (5, 2) == (usage.input_tokens, usage.output_tokens)


BEGINS = {
    "chat": [chunk({"content": "a"})],
    "responses": [CREATED, DELTA],
    "messages": [STARTED, TEXT],
}


@pytest.mark.parametrize("shown", [0, 1], ids=["at first", "after output"])
@pytest.mark.parametrize("api", BEGINS)
def test_a_stream_that_is_closed_at_an_event_that_nobody_can_read_has_failed(read, api, shown):
    """An SDK raises there, and closes the stream."""
    before = BEGINS[api] if shown else []

    def closed_after(parts):
        exchange = read(api, *before, "{cut", *BEGINS[api], read_parts=parts)
        return exchange.outcome, exchange.reason

    assert ("error", "stream_error") == closed_after(len(before) + 1)
    assert ("cancelled", "none") == closed_after(len(before) + 2)
