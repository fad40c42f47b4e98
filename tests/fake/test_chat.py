"""A chat: its answer, its stream and its usage."""

import json

import pytest

from byteplus_trace.testing import tokens

MODEL = "seed-2-0-lite-260428"
ANSWER = "Hello! How can I help you today?"


def test_a_chat_is_answered_as_the_service_was_seen_to_answer(client, chat):
    reply = client.post("/chat/completions", json=chat(), headers={"X-Client-Request-Id": "mine"})
    body = reply.json()

    assert "istio-envoy" == reply.headers["server"]
    assert "mine" == reply.headers["x-client-request-id"]
    assert reply.headers["x-request-id"] == body.pop("id")
    assert reply.headers["x-request-id"].startswith("02")
    assert 53 == len(reply.headers["x-request-id"])
    assert reply.headers["x-envoy-upstream-service-time"].isdigit()
    assert body.pop("created") > 1_700_000_000
    message = {"content": ANSWER, "role": "assistant", "reasoning_content": "The user greets me."}
    assert body == {
        "choices": [{"finish_reason": "stop", "index": 0, "logprobs": None, "message": message}],
        "model": MODEL,
        "service_tier": "default",
        "object": "chat.completion",
        "usage": {
            "completion_tokens": tokens(ANSWER) + tokens("The user greets me."),
            "prompt_tokens": 8,
            "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    }


def test_a_chat_stream_is_framed_as_recorded(client, chat):
    reply = client.post("/chat/completions", json=chat(stream=True))

    assert "text/event-stream" == reply.headers["content-type"]
    assert "chunked" == reply.headers["transfer-encoding"]
    first, *_, last, done = reply.text.removesuffix("\n\n").split("\n\n")
    assert first.startswith('data: {"choices":[{"delta":{"content":"","reasoning_content":"The","role":"assistant"},"index":0}],"created":')  # fmt: skip
    assert first.endswith(f'"model":"{MODEL}","service_tier":"default","object":"chat.completion.chunk","usage":null}}')  # fmt: skip
    assert '{"delta":{"content":"","role":"assistant"},"finish_reason":"stop","index":0}' in last
    assert "data: [DONE]" == done


@pytest.mark.parametrize(
    ("options", "with_usage"),
    [({}, []), ({"include_usage": True}, [-1]), ({"chunk_include_usage": True}, list(range(14)))],
)
def test_usage_is_streamed_only_where_asked_for(client, options, with_usage, chat, events):
    *chunks, _ = events(client.post("/chat/completions", json=chat(stream=True, stream_options=options)).text)
    found = [at for at, chunk in enumerate(chunks) if chunk["usage"]]

    assert [at % len(chunks) for at in with_usage] == found[: len(with_usage)]
    assert not with_usage or 14 == chunks[-1]["usage"]["completion_tokens"]
    assert [] == [chunk for chunk in chunks if not chunk["choices"] and "include_usage" not in options]


def test_explicit_nulls_are_not_set(client, chat):
    assert client.post("/chat/completions", json=chat(max_tokens=None, stream=None, n=None)).is_success


def test_several_choices_count_their_tokens_each(client, chat):
    body = client.post("/chat/completions", json=chat(n=3)).json()

    assert [0, 1, 2] == [choice["index"] for choice in body["choices"]]
    assert 42 == body["usage"]["completion_tokens"]


def test_a_short_limit_cuts_the_answer(client, chat):
    body = client.post("/chat/completions", json=chat(max_tokens=2)).json()

    assert ("Hello!", "length") == (
        body["choices"][0]["message"]["content"],
        body["choices"][0]["finish_reason"],
    )


def test_thinking_can_be_turned_off(client, chat):
    body = client.post("/chat/completions", json=chat(thinking={"type": "disabled"})).json()

    assert "reasoning_content" not in body["choices"][0]["message"]
    assert 0 == body["usage"]["completion_tokens_details"]["reasoning_tokens"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 1, "max_completion_tokens": 1},
        {"n": 9},
        {"thinking": {"type": "disabled"}, "reasoning_effort": "high"},
        {"messages": None},
        {"messages": 7},
    ],
)
def test_what_the_service_refuses_is_a_400_in_its_envelope(client, wrong, chat):
    reply = client.post("/chat/completions", json=chat(**wrong))

    assert 400 == reply.status_code
    assert {"code", "message", "param", "type"} == set(reply.json()["error"])
    assert reply.headers["x-request-id"] in reply.json()["error"]["message"]


def test_the_next_answers_can_be_chosen(client, sg, chat):
    sg.answers("Bonjour.", reasoning="", usage={"prompt_tokens": 7}, model="seed-x", fallback_from="seed-y", times=1)  # fmt: skip
    chosen, usual = (client.post("/chat/completions", json=chat()).json() for _ in range(2))

    assert ("Bonjour.", {"prompt_tokens": 7}, "seed-x") == (chosen["choices"][0]["message"]["content"], chosen["usage"], chosen["model"])  # fmt: skip
    assert {"fallback_triggered": True, "original_model": "seed-y"} == chosen["service_status"][
        "model_fallback"
    ]
    assert ANSWER == usual["choices"][0]["message"]["content"]


def test_a_bot_s_document_has_the_usage_of_its_models_and_no_plain_one(client, chat):
    body = client.post("/bots/chat/completions", json=chat(model="bot-1")).json()

    assert 22 == body["bot_usage"]["model_usage"][0]["total_tokens"]
    assert "usage" not in body


def test_a_bot_s_stream_has_its_usage_in_a_chunk_of_its_own(client, chat, events):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last, _ = events(client.post("/bots/chat/completions", json=chat(model="bot-1", **options)).text)

    assert [None] == list({chunk["usage"] for chunk in chunks})
    assert not any("bot_usage" in chunk for chunk in chunks)
    assert ([], 22) == (last["choices"], last["bot_usage"]["model_usage"][0]["total_tokens"])
    assert "usage" not in last


def test_a_bot_s_stream_has_no_usage_where_none_was_asked_for(client, chat, events):
    text = client.post("/bots/chat/completions", json=chat(model="bot-1", stream=True)).text

    assert "bot_usage" not in text
    assert all(chunk["choices"] for chunk in events(text)[:-1])


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
}


FITTING = {"name": "text", "age": 1, "tags": ["a"]}


def test_structured_answers_fit_their_schema(client, chat):
    nested = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    flat = {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA}}
    chosen = client.post("/chat/completions", json=chat(response_format=nested)).json()
    response = client.post("/responses", json={"model": MODEL, "input": "Hi", "text": flat}).json()
    loose = client.post("/chat/completions", json=chat(response_format={"type": "json_object"})).json()

    assert FITTING == json.loads(chosen["choices"][0]["message"]["content"])
    assert FITTING == json.loads(response["output"][-1]["content"][0]["text"])
    assert isinstance(json.loads(loose["choices"][0]["message"]["content"]), dict)


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/messages"])
def test_a_reply_names_the_model_in_whose_place_another_answered(client, sg, path, chat):
    sg.answers(fallback_from="seed-y")
    body = client.post(path, json=chat() if path != "/responses" else {"model": MODEL, "input": "Hi"}).json()

    assert "seed-y" == body["service_status"]["model_fallback"]["original_model"]
