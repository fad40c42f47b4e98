"""Replies rebuilt from public bug reports: what each means (`tests/reports/index.json` has the sources)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace import Deadline, Policy, Retry, Target

REPORTS = Path(__file__).parent
SINGAPORE = "https://ark.ap-southeast.bytepluses.com"
IRELAND = "https://ark.eu-west.bytepluses.com"
MODEL = "seed-2-0-lite-260428"
CHAT_PATH = "/api/v3/chat/completions"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


def reply(name, status=200):
    body = (REPORTS / name).read_bytes()
    return status, "text/event-stream" if name.endswith(".sse") else "application/json", body


SERVED = (
    200,
    "application/json",
    json.dumps(
        {
            "id": "1",
            "model": MODEL,
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    ).encode(),
)


@pytest.mark.parametrize(
    ("name", "api", "outcome", "error", "reasons"),
    [
        ("f04_tool_call_completed_without_output.sse", "responses", "ok", None, ("tool_calls",)),
        ("f05_response_done_without_completed.sse", "responses", "error", "cut", None),
        ("f06_only_done_chat.sse", "chat", "error", "empty", ()),
        ("f08c_images_stream_none_made.sse", "images", "error", None, None),
        ("f09_event_stream_with_json_error.sse", "chat", "error", "InternalServiceError", None),
        ("f14_empty_finish_reason_cut.sse", "chat", "error", "cut", None),
        ("f17_finish_reason_error.sse", "chat", "error", "stream_error", None),
        ("f22_completed_event_with_status_failed.sse", "responses", "error", None, ("error",)),
        ("p02_error_chunk_mid_stream.sse", "chat", "error", "502", None),
        ("p06_nested_error_then_failed.sse", "responses", "error", "server_error", None),
        ("p13_name_only_tool_call_cut.sse", "chat", "error", "cut", None),
        ("f16_reasoning_by_another_name.sse", "chat", "ok", None, ("stop",)),
    ],
)
def test_a_stream_is_read_for_its_meaning(caller, name, api, outcome, error, reasons):
    exchange, _ = caller.call(api, [reply(name)], stream=True)

    assert outcome == exchange.outcome
    assert error is None or error == exchange.error_type
    assert reasons is None or reasons == exchange.answer.finish_reasons
    assert (REPORTS / name).read_bytes().split() == caller.text.split()


@pytest.mark.parametrize(
    ("name", "api"),
    [
        ("f07_other_kind_of_200.json", "chat"),
        ("f07_other_kind_of_200.json", "responses"),
        ("f08_images_none_made.json", "images"),
    ],
)
def test_a_document_of_another_kind_is_an_error(caller, name, api):
    exchange, response = caller.call(api, [reply(name)])

    assert "error" == exchange.outcome
    assert 200 == response.status_code


def test_a_200_of_another_kind_is_rescued(caller, two):
    exchange, _ = caller.call("chat", [reply("f07_other_kind_of_200.json"), SERVED], policy=two())

    assert "rescued_fallback" == exchange.outcome
    assert SERVED[2] == caller.text


@pytest.mark.parametrize("total", [None, 60])
def test_an_empty_200_does_not_hide_an_informative_503(caller, total, two):
    script = json.loads((REPORTS / "f01_empty_200_after_503.json").read_text())
    refused = json.dumps(script["targets"][0]["body"]).encode()

    exchange, response = caller.call(
        "chat",
        [(503, "application/json", refused), (200, "application/json", b"")],
        policy=two(deadline=Deadline(total=total)),
    )

    assert (503, refused) == (response.status_code, caller.text)
    assert "error" == exchange.outcome


@pytest.mark.parametrize("name", ["f02_account_quota_429.json", "f02c_tokens_per_day_429.json"])
def test_a_spent_quota_leaves_its_group_for_another(caller, name, two):
    exchange, _ = caller.call("chat", [reply(name, 429), SERVED], policy=two())

    assert ("rescued_fallback", "quota") == (exchange.outcome, exchange.fallback_reason)


def test_a_404_of_an_endpoint_moves(caller, two):
    exchange, _ = caller.call("chat", [reply("f03_invalid_endpoint_404.json", 404), SERVED], policy=two())

    assert ("rescued_fallback", "model_unavailable") == (exchange.outcome, exchange.fallback_reason)


@pytest.mark.parametrize(
    ("name", "api", "usage"),
    [
        ("f12_messages_zeros_in_delta.sse", "messages", (25, 12, 10)),
        ("p01_usage_beside_choices.sse", "chat", (16111, 2, 15872)),
        ("p04_usage_in_chat_words.sse", "responses", (7, 3, 2)),
        ("p10_bot_usage.sse", "bot", (105, 22, None)),
        ("f23_bot_usage_chunk_without_usage.sse", "bot", (30, 17, None)),
    ],
)
def test_usage_is_what_the_service_counted(caller, name, api, usage):
    counts = caller.call(api, [reply(name)], stream=True)[0].answer.usage

    assert usage == (counts.input_tokens, counts.output_tokens, counts.cache_read_tokens)


def test_embeddings_know_text_from_images(caller):
    counts = caller.call("multimodal", [reply("p11_multimodal_embedding_sparse.json")])[0].answer.usage

    assert (1312, 12, 1300) == (counts.input_tokens, counts.text_input_tokens, counts.image_input_tokens)


@pytest.mark.parametrize(
    ("name", "chunks"), [("f11_web_search_before_text.sse", 1), ("f20_response_done_event.sse", 1)]
)
def test_what_is_no_output_is_no_chunk(caller, name, chunks):
    assert chunks == caller.call("responses", [reply(name)], stream=True)[0].chunks


def test_reasoning_by_another_name_is_output(caller):
    exchange, _ = caller.call("chat", [reply("f16_reasoning_by_another_name.sse")], stream=True)

    assert 5 == exchange.chunks


def test_a_stream_with_an_empty_finish_reason_closed_early_is_cancelled(caller, library, colour):
    if (library.__name__, colour) == ("httpx", "trio"):
        pytest.skip("httpx itself leaves its own generators open under trio")
    exchange, _ = caller.call("chat", [reply("f14_empty_finish_reason_cut.sse")], stream=True, read_parts=1)

    assert "cancelled" == exchange.outcome


def test_the_usage_chunk_of_a_bot_is_taken_out_where_we_asked_for_it(caller):
    caller.call("bot", [reply("f23_bot_usage_chunk_without_usage.sse")], stream=True, include_usage=True)

    chunks = [json.loads(line[6:]) for line in caller.text.splitlines() if line.startswith(b"data: {")]
    assert all(chunk["choices"] for chunk in chunks)


def test_the_references_of_a_bot_stay_where_we_asked_for_its_usage(caller):
    references = b'"references": [{"url": "https://example.org/a"}], "bot_usage"'
    kind, label, body = reply("f23_bot_usage_chunk_without_usage.sse")
    with_references = kind, label, body.replace(b'"bot_usage"', references)
    exchange, _ = caller.call("bot", [with_references], stream=True, include_usage=True)

    chunks = [json.loads(line[6:]) for line in caller.text.splitlines() if line.startswith(b"data: {")]
    assert [[{"url": "https://example.org/a"}]] == [c["references"] for c in chunks if "references" in c]
    assert all(chunk["choices"] and "bot_usage" not in chunk for chunk in chunks)
    assert (30, 17) == (exchange.answer.usage.input_tokens, exchange.answer.usage.output_tokens)


def test_a_failed_task_is_no_failure_of_the_asking(caller, request):
    task = json.loads((REPORTS / "f19_failed_task_polled_again.json").read_text())
    body = json.dumps({**task, "id": request.node.name}).encode()  # a task is counted once in a process
    api = ("/api/v3/contents/generations/tasks/cgt-20260915092331-abcde", None)
    own = {"registry": CollectorRegistry(), "on_exchange": caller.exchanges.append}
    own["tracer_provider"] = TracerProvider(shutdown_on_exit=False)
    names = byteplus_trace if caller.library.__name__ == "httpx" else byteplus_trace.httpx2
    mock = caller.library.MockTransport(lambda _: caller.library.Response(200, content=body))
    with caller.library.Client(transport=names.ModelArkTransport(mock, **own)) as client:
        for _ in range(10):
            client.get(SINGAPORE + api[0])

    assert ["ok"] * 10 == [exchange.outcome for exchange in caller.exchanges]
    tasks = own["registry"].get_sample_value(
        "modelark_video_tasks_total",
        {"model": "dreamina-seedance-2-5-260628", "region": "ap-southeast-1", "status": "failed"},
    )
    assert 1 == tasks


def test_a_message_that_moves_keeps_the_prefix_of_its_form(caller, two):
    script = json.loads((REPORTS / "f10_messages_move_to_a_region.json").read_text())
    message = {"type": "message", "id": "m", "model": MODEL, "stop_reason": "end_turn", "content": []}
    caller.call(
        "messages",
        [(503, "application/json", b"{}"), (200, "application/json", json.dumps(message).encode())],
        policy=two(),
    )

    assert script["expected_url_at_second"] == caller.sent[1]


@pytest.mark.parametrize("prefix", ["/api/v3", "/api/coding/v3", "/api/plan/v3"])
def test_a_call_that_moves_keeps_its_billing_plan(caller, prefix, two):
    caller.call(
        ("POST", prefix + "/chat/completions", CHAT), [(503, "application/json", b"{}"), SERVED], policy=two()
    )

    assert [SINGAPORE + prefix + "/chat/completions", IRELAND + prefix + "/chat/completions"] == caller.sent


@pytest.mark.parametrize(
    ("name", "api", "calls"),
    [
        ("f04c_tool_arguments_only_in_item_done.sse", "responses", [{"q": 1}]),
        ("f13_parallel_calls_on_one_index.sse", "chat", [{"a": 1}, {"b": 2}]),
    ],
)
def test_captured_tool_calls_are_kept_apart_and_whole(caller, name, api, calls):
    exchange, _ = caller.call(api, [reply(name)], stream=True, capture_content=True)

    parts = [part for message in exchange.answer.content.messages for part in message["parts"]]
    assert calls == [part["arguments"] for part in parts if part["type"] == "tool_call"]


def test_a_text_between_tool_calls_keeps_its_place(caller):
    name = "p08_text_between_tool_calls.sse"
    exchange, _ = caller.call("chat", [reply(name)], stream=True, capture_content=True)

    parts = [part["type"] for message in exchange.answer.content.messages for part in message["parts"]]
    assert ["text", "tool_call", "tool_call"] == sorted(parts)


def test_a_doubled_path_is_the_api_that_it_ends_in(caller):
    path = "/api/v3/responses/v1/chat/completions"
    exchange, _ = caller.call(("POST", path, CHAT), [reply("p14_doubled_path_404.json", 404)])

    assert ("chat_completions", "error", "InvalidAction") == (
        exchange.call.api,
        exchange.outcome,
        exchange.error_type,
    )


def test_every_report_has_a_test():
    used = Path(__file__).read_text()

    assert [] == [name.name for name in REPORTS.glob("[fp]*") if name.name not in used]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("names", [["sg"], ["sg", "eu"]], ids=len)
@pytest.mark.parametrize("total", [None, 60])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"{}",
        b'{"error": {"code": "Busy"}}',
        b"data: [DONE]\n\n",
        b"data: busy\n\n",
    ],
)
def test_the_breaker_counts_the_last_reply_with_and_without_a_deadline(library, body, total, names, streams):
    """Targets that answer nothing each time: their breakers open, and each call has its reply as it came."""
    regions = {"sg": "ap-southeast-1", "eu": "eu-west-1"}
    policy = Policy(
        targets=[Target(name, region=regions[name], api_key=name) for name in names],
        retry=Retry(per_target=0),
        deadline=Deadline(total=total),
    )
    registry = CollectorRegistry()
    package = byteplus_trace if library.__name__ == "httpx" else byteplus_trace.httpx2
    transport = package.ModelArkTransport(
        library.MockTransport(lambda _: library.Response(200, stream=library.ByteStream(body))),
        policy=policy,
        registry=registry,
        tracer_provider=TracerProvider(shutdown_on_exit=False),
    )
    with library.Client(transport=transport) as client:
        replies = [client.post(SINGAPORE + CHAT_PATH, json={**CHAT, "stream": streams}) for _ in range(20)]

    assert {(200, body)} == {(reply.status_code, reply.content) for reply in replies}
    states = {"target": "sg", "operation": "chat"}, {"target": names[-1], "operation": "chat"}
    assert [2, 2] == [registry.get_sample_value("modelark_breaker_state", state) for state in states]


def test_messages_have_a_breaker_of_their_own(library):
    registry = CollectorRegistry()
    names = byteplus_trace if library.__name__ == "httpx" else byteplus_trace.httpx2

    def handler(request):
        if request.url.path.endswith("/messages"):
            return library.Response(503, json={"error": {"code": "InternalServiceError", "message": "m"}})
        return library.Response(200, content=SERVED[2])

    policy = Policy(
        targets=[Target("sg", region="ap-southeast-1", api_key="one")],
        retry=Retry(per_target=0),
    )
    own = {"policy": policy, "registry": registry, "tracer_provider": TracerProvider(shutdown_on_exit=False)}
    with library.Client(transport=names.ModelArkTransport(library.MockTransport(handler), **own)) as client:
        for _ in range(20):
            client.post(SINGAPORE + "/api/compatible/v1/messages", json=CHAT)
        assert 200 == client.post(SINGAPORE + CHAT_PATH, json=CHAT).status_code

    assert 2 == registry.get_sample_value("modelark_breaker_state", {"target": "sg", "operation": "messages"})
    assert 0 == registry.get_sample_value("modelark_breaker_state", {"target": "sg", "operation": "chat"})
