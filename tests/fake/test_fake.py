"""The fake ModelArk: what it answers, that each SDK reads it, and how it fails when told to."""

import asyncio
import base64
import gc
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import contextmanager

import httpx
import openai
import pytest
from byteplussdkarkruntime import Ark
from byteplussdkarkruntime.types.images import SequentialImageGenerationOptions

from byteplus_trace._cli import main
from byteplus_trace._fake import handler, templates
from byteplus_trace._wire import routes
from byteplus_trace.testing import ModelArk, capture, tokens

SG, EU = "ap-southeast-1", "eu-west-1"
MODEL = "seed-2-0-lite-260428"
ANSWER = "Hello! How can I help you today?"
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Good morning, all!"}]
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
def ark():
    with ModelArk() as ark:
        yield ark


@pytest.fixture
def sg(ark):
    return ark.region(SG)


@pytest.fixture
def client(sg):
    with httpx.Client(base_url=sg.base_url, headers={"Authorization": "Bearer any"}, timeout=5) as client:
        yield client


@pytest.fixture(params=["openai", "ark"])
def sdk(request, sg):
    kind = {"openai": openai.OpenAI, "ark": Ark}[request.param]
    sdk = kind(base_url=sg.base_url, api_key="any", max_retries=0)
    yield sdk
    sdk.close()


@pytest.fixture
def byteplus(sg):
    sdk = Ark(base_url=sg.base_url, api_key="any", max_retries=0)
    yield sdk
    sdk.close()


def chat(**more):
    return {"model": MODEL, "messages": MESSAGES, **more}


def events(text):
    """The JSON of each event of a stream, `[DONE]` as it is."""
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


# What it answers


def test_a_chat_is_answered_as_the_service_was_seen_to_answer(client):
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


def test_a_chat_stream_is_framed_as_recorded(client):
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
def test_usage_is_streamed_only_where_asked_for(client, options, with_usage):
    *chunks, _ = events(client.post("/chat/completions", json=chat(stream=True, stream_options=options)).text)
    found = [at for at, chunk in enumerate(chunks) if chunk["usage"]]

    assert [at % len(chunks) for at in with_usage] == found[: len(with_usage)]
    assert not with_usage or 14 == chunks[-1]["usage"]["completion_tokens"]
    assert [] == [chunk for chunk in chunks if not chunk["choices"] and "include_usage" not in options]


def test_explicit_nulls_are_not_set(client):
    assert client.post("/chat/completions", json=chat(max_tokens=None, stream=None, n=None)).is_success


def test_several_choices_count_their_tokens_each(client):
    body = client.post("/chat/completions", json=chat(n=3)).json()

    assert [0, 1, 2] == [choice["index"] for choice in body["choices"]]
    assert 42 == body["usage"]["completion_tokens"]


def test_a_short_limit_cuts_the_answer(client):
    body = client.post("/chat/completions", json=chat(max_tokens=2)).json()

    assert ("Hello!", "length") == (
        body["choices"][0]["message"]["content"],
        body["choices"][0]["finish_reason"],
    )


def test_thinking_can_be_turned_off(client):
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
def test_what_the_service_refuses_is_a_400_in_its_envelope(client, wrong):
    reply = client.post("/chat/completions", json=chat(**wrong))

    assert 400 == reply.status_code
    assert {"code", "message", "param", "type"} == set(reply.json()["error"])
    assert reply.headers["x-request-id"] in reply.json()["error"]["message"]


@pytest.mark.parametrize("model", ["doubao-1-5-pro-32k-250115", "glm-5-2-260617"])
def test_a_model_that_is_not_here_is_a_404(client, sg, model):
    sg.serves("seed-*")

    reply = client.post("/chat/completions", json=chat(model=model))

    assert (404, "InvalidEndpointOrModel.NotFound") == (reply.status_code, reply.json()["error"]["code"])


def test_an_unknown_route_is_200_and_empty(client):
    reply = client.post("/rerank", json={})

    assert (200, b"") == (reply.status_code, reply.content)


def test_ping_answers_at_the_root_of_the_host(client, sg):
    assert {"message": "pong"} == client.get(f"http://127.0.0.1:{sg.port}/ping").json()


def test_a_request_without_a_key_is_a_401(sg):
    reply = httpx.post(f"{sg.base_url}/chat/completions", json=chat())

    assert 401 == reply.status_code
    assert "AuthN_MissOrInvalidAuthorizationHeader" == reply.headers["x-error-code"]
    assert "AuthenticationError" == reply.json()["error"]["code"]


def test_a_key_of_one_region_is_refused_by_the_other(ark):
    ark.region(SG).keys = {"singapore": "s-1"}
    ark.region(EU).keys = {"dublin": "d-1"}
    headers = {"Authorization": "Bearer s-1"}

    statuses = [httpx.post(f"{url}/chat/completions", json=chat(), headers=headers).status_code for url in ark.base_urls]  # fmt: skip

    assert [200, 401] == statuses
    assert ["singapore", None] == [request.key for request in ark.requests]
    assert [] == [request for request in ark.requests if "s-1" in str(request.headers)]


@pytest.mark.parametrize("keys", [{"s-1"}, ["s-1"], "s-1"], ids=["set", "list", "text"])
def test_keys_without_names_are_refused_in_words_that_hold_none_of_them(sg, keys):
    with pytest.raises(TypeError, match="keys map a name to each secret") as caught:
        sg.keys = keys

    assert "s-1" not in str(caught.value)


def test_each_request_is_kept_as_it_came(client, sg):
    client.post("/chat/completions?x=1", json=chat(), headers={"X-Mine": "yes"})
    client.get("/models")
    first, second = sg.requests

    assert ("POST", "/chat/completions", {"x": "1"}) == (first.method, first.path, first.query)
    assert ("chat_completions", "chat", "any", "yes") == (first.api, first.operation, first.key, first.headers["x-mine"])  # fmt: skip
    assert chat() == first.json
    assert first.connection == second.connection


def test_a_chunked_request_body_is_read(client, sg):
    client.post("/tokenization", content=iter([b'{"model":"m",', b'"text":"hello world"}']))

    assert {"model": "m", "text": "hello world"} == sg.requests[0].json


def test_the_next_answers_can_be_told(client, sg):
    sg.answers("Bonjour.", reasoning="", usage={"prompt_tokens": 7}, model="seed-x", fallback_from="seed-y", times=1)  # fmt: skip
    said, usual = (client.post("/chat/completions", json=chat()).json() for _ in range(2))

    assert ("Bonjour.", {"prompt_tokens": 7}, "seed-x") == (said["choices"][0]["message"]["content"], said["usage"], said["model"])  # fmt: skip
    assert {"fallback_triggered": True, "original_model": "seed-y"} == said["service_status"][
        "model_fallback"
    ]
    assert ANSWER == usual["choices"][0]["message"]["content"]


def test_responses_are_strict_about_fields(client):
    reply = client.post("/responses", json={"model": MODEL, "input": "Hi", "reasoning": {"summary": "auto"}})

    assert 400 == reply.status_code
    assert reply.json()["error"]["message"].startswith('json: unknown field "summary"')


def test_a_response_exists_only_in_the_region_that_made_it(ark, client):
    made = client.post("/responses", json={"model": MODEL, "input": "Hi"}).json()
    more = {"model": MODEL, "input": "More.", "previous_response_id": made["id"]}
    here = client.post("/responses", json=more)
    there = httpx.post(f"{ark.base_url(EU)}/responses", json=more, headers=client.headers)

    assert (1 + 14) == here.json()["usage"]["input_tokens_details"]["cached_tokens"]
    assert (400, "InvalidParameter.PreviousResponseNotFound") == (there.status_code, there.json()["error"]["code"])  # fmt: skip


def test_bots_say_what_their_models_used(client):
    body = client.post("/bots/chat/completions", json=chat(model="bot-1")).json()

    assert 22 == body["bot_usage"]["model_usage"][0]["total_tokens"]


def test_messages_leave_cached_tokens_out_of_the_input(client):
    body = {
        "model": MODEL,
        "system": "Be kind.",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 99,
    }
    whole = client.post("/messages", json=body).json()
    stream = events(client.post("/messages", json={**body, "stream": True}).text)

    assert (1, 3, 9) == tuple(whole["usage"][key] for key in ("input_tokens", "cache_read_input_tokens", "output_tokens"))  # fmt: skip
    assert ["message_start", "message_delta", "message_stop"] == [stream[at]["type"] for at in (0, -2, -1)]
    assert ANSWER == "".join(e["delta"].get("text", "") for e in stream if e["type"] == "content_block_delta")


def test_a_moderated_image_stands_among_the_others(client):
    group = {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 3}}
    asked = {"model": "seedream-4-0-250828", "prompt": "Cats [moderated]", "size": "1152x864", **group}
    body = client.post("/images/generations", json=asked).json()
    stream = events(client.post("/images/generations", json={**asked, "stream": True}).text)

    assert [True, True, False] == ["url" in item for item in body["data"]]
    assert {"generated_images": 2, "output_tokens": 2 * 3888, "total_tokens": 2 * 3888} == body["usage"]
    names = ["partial_succeeded", "partial_succeeded", "partial_failed", "completed"]
    assert [f"image_generation.{name}" for name in names] == [event["type"] for event in stream[:-1]]


def test_an_image_in_base64_is_an_image(client):
    body = client.post("/images/generations", json={"model": "s", "prompt": "A cat", "response_format": "b64_json"})  # fmt: skip

    assert base64.b64decode(body.json()["data"][0]["b64_json"]).startswith(b"\x89PNG")


def test_a_task_moves_with_each_poll_and_a_finished_one_can_be_deleted(client):
    asked = {"model": "dreamina-seedance-2-5-260628", "content": [{"type": "text", "text": "A cat"}]}
    path = (
        "/contents/generations/tasks/" + client.post("/contents/generations/tasks", json=asked).json()["id"]
    )

    assert ["queued", "running", "succeeded"] == [client.get(path).json()["status"] for _ in range(3)]
    assert {"completion_tokens": 5000, "total_tokens": 5000} == client.get(path).json()["usage"]
    assert 1 == client.get("/contents/generations/tasks").json()["total"]
    assert b"" == client.delete(path).content
    assert 404 == client.get(path).status_code


def test_a_reply_is_compressed_only_where_told_and_accepted():
    with ModelArk(compress=True) as ark:
        for coding in ("gzip", "deflate", "br"):
            headers = {"Authorization": "Bearer any", "Accept-Encoding": coding}
            url = f"{ark.base_url(SG)}/chat/completions"
            whole = httpx.post(url, json=chat(), headers=headers)
            stream = httpx.post(url, json=chat(stream=True), headers=headers)

            assert [coding, coding] == [whole.headers["content-encoding"], stream.headers["content-encoding"]]
            assert ANSWER == whole.json()["choices"][0]["message"]["content"]
            assert "[DONE]" == events(stream.text)[-1]
        plain = httpx.get(f"{ark.base_url(SG)}/models", headers={**headers, "Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers


def test_every_event_can_be_decompressed_as_it_comes():
    with ModelArk(compress=True) as ark:
        ark.region(SG).hangs(after_events=1)
        headers = {"Authorization": "Bearer any", "Accept-Encoding": "gzip"}
        with (
            httpx.Client(headers=headers) as client,
            client.stream("POST", f"{ark.base_url(SG)}/chat/completions", json=chat(stream=True)) as reply,
        ):
            raw = b""
            for part in reply.iter_raw():
                raw += part
                if b"reasoning_content" in zlib.decompressobj(wbits=31).decompress(raw):
                    break
    assert len(raw) < 1000


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
}
FITTING = {"name": "text", "age": 1, "tags": ["a"]}


def test_structured_answers_fit_their_schema(client):
    nested = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    flat = {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA}}
    said = client.post("/chat/completions", json=chat(response_format=nested)).json()
    response = client.post("/responses", json={"model": MODEL, "input": "Hi", "text": flat}).json()
    loose = client.post("/chat/completions", json=chat(response_format={"type": "json_object"})).json()

    assert FITTING == json.loads(said["choices"][0]["message"]["content"])
    assert FITTING == json.loads(response["output"][-1]["content"][0]["text"])
    assert isinstance(json.loads(loose["choices"][0]["message"]["content"]), dict)


def test_a_response_cut_by_its_limit_is_incomplete(client):
    asked = {"model": MODEL, "input": "Hi", "max_output_tokens": 2}
    whole = client.post("/responses", json=asked).json()
    *_, last, done = events(client.post("/responses", json={**asked, "stream": True}).text)

    assert ("incomplete", {"reason": "length"}) == (whole["status"], whole["incomplete_details"])
    assert ("response.incomplete", "[DONE]") == (last["type"], done)


def test_a_response_that_is_not_stored_cannot_be_continued(client):
    made = client.post("/responses", json={"model": MODEL, "input": "Hi", "store": False}).json()

    assert 400 == client.get(f"/responses/{made['id']}").status_code


def test_messages_think_and_call_tools_in_their_own_form(client):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "thinking": {"type": "enabled"}}
    tools = {"tools": [{"name": "weather", "input_schema": WEATHER["parameters"]}]}
    whole = client.post("/messages", json={**body, **tools}).json()
    stream = events(client.post("/messages", json={**body, **tools, "stream": True}).text)
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "Rain"}]}
    after = client.post("/messages", json={**body, **tools, "messages": [*body["messages"], result]}).json()

    assert ["thinking", "tool_use"] == [part["type"] for part in whole["content"]]
    assert ("tool_use", {"city": "text"}) == (whole["stop_reason"], whole["content"][1]["input"])
    deltas = [event["delta"] for event in stream if event["type"] == "content_block_delta"]
    assert {"city": "text"} == json.loads("".join(delta.get("partial_json", "") for delta in deltas))
    assert ("end_turn", "text") == (after["stop_reason"], after["content"][-1]["type"])
    assert {"input_tokens": 1} == client.post("/messages/count_tokens", json=body).json()


def test_an_error_of_messages_has_their_own_envelope(client):
    assert "error" == client.post("/messages", json={"model": MODEL}).json()["type"]


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/messages"])
def test_the_service_says_when_another_model_answered(client, sg, path):
    sg.answers(fallback_from="seed-y")
    body = client.post(path, json=chat() if path != "/responses" else {"model": MODEL, "input": "Hi"}).json()

    assert "seed-y" == body["service_status"]["model_fallback"]["original_model"]


def test_a_task_can_fail_or_be_cancelled_but_not_while_it_runs(client):
    def made(text):
        content = [{"type": "text", "text": text}]
        task = client.post("/contents/generations/tasks", json={"model": "d", "content": content}).json()
        return f"/contents/generations/tasks/{task['id']}"

    failing, cancelled = made("A cat [moderated]"), made("A cat")
    statuses = [client.get(failing).json()["status"] for _ in range(2)]
    running = client.delete(failing)
    failed = client.get(failing).json()
    client.delete(cancelled)

    assert ["queued", "running"] == statuses
    assert (409, "failed") == (running.status_code, failed["status"])
    assert "OutputVideoSensitiveContentDetected" == failed["error"]["code"]
    assert "cancelled" == client.get(cancelled).json()["status"]
    filtered = client.get("/contents/generations/tasks", params={"filter.status": "failed"}).json()
    assert 1 == filtered["total"]


@pytest.mark.parametrize(
    ("method", "path", "json", "status"),
    [
        ("POST", "/files", {"purpose": "agent"}, 400),
        ("GET", "/files/none", None, 404),
        ("POST", "/images/generations", {"model": "s", "prompt": "A cat", "size": "huge"}, 400),
        ("POST", "/context/chat/completions", {"model": "m", "messages": [], "context_id": "ctx-0"}, 404),
        ("POST", "/chat/completions", [], 400),
    ],
)
def test_what_cannot_be_is_refused(client, method, path, json, status):
    reply = client.request(method, path, json=json)

    assert status == reply.status_code
    assert reply.json()["error"]["code"]


def test_a_file_is_kept_as_it_was_sent(client):
    made = client.post("/files", data={"purpose": "agent"}, files={"file": ("a.bin", b"\x00\r\n--")}).json()

    assert ("agent", 5) == (made["purpose"], made["bytes"])
    assert b"\x00\r\n--" == client.get(f"/files/{made['id']}/content").content


# The SDKs read it


def test_each_sdk_reads_a_chat_and_its_stream(sdk):
    whole = sdk.chat.completions.create(model=MODEL, messages=MESSAGES)
    chunks = list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))  # fmt: skip

    assert (ANSWER, 22) == (whole.choices[0].message.content, whole.usage.total_tokens)
    assert ANSWER == "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    assert (8, 14) == (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)


def test_each_sdk_reads_a_tool_call_and_its_stream(sdk):
    asked = {"model": MODEL, "messages": MESSAGES, "tools": [{"type": "function", "function": WEATHER}]}
    whole = sdk.chat.completions.create(**asked).choices[0]
    chunks = [chunk.choices[0] for chunk in sdk.chat.completions.create(stream=True, **asked)]
    deltas = [call for choice in chunks for call in choice.delta.tool_calls or ()]

    assert "tool_calls" == whole.finish_reason == chunks[-1].finish_reason
    assert {"city": "text"} == json.loads(whole.message.tool_calls[0].function.arguments)
    assert {"city": "text"} == json.loads("".join(delta.function.arguments for delta in deltas))


def test_each_sdk_reads_a_response_its_stream_and_what_is_stored(sdk):
    whole = sdk.responses.create(model=MODEL, input="Hi", instructions="Be kind.")
    stream = list(sdk.responses.create(model=MODEL, input="More", previous_response_id=whole.id, stream=True))

    assert ["reasoning", "message"] == [item.type for item in whole.output]
    assert (4, 3, 14, 5) == (
        whole.usage.input_tokens,
        whole.usage.input_tokens_details.cached_tokens,
        whole.usage.output_tokens,
        whole.usage.output_tokens_details.reasoning_tokens,
    )
    assert ["response.created", "response.completed"] == [stream[at].type for at in (0, -1)]
    assert list(range(len(stream))) == [event.sequence_number for event in stream]
    assert ANSWER == "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert whole.output[-1].content[0].text == sdk.responses.retrieve(whole.id).output[-1].content[0].text
    sdk.responses.delete(whole.id)
    with pytest.raises(Exception, match="is not found"):
        sdk.responses.retrieve(whole.id)


def test_each_sdk_reads_a_function_call_of_a_response(sdk):
    tools = [{"type": "function", **WEATHER}]
    stream = list(sdk.responses.create(model=MODEL, input="Hi", tools=tools, stream=True))
    (done,) = (event for event in stream if event.type == "response.function_call_arguments.done")

    assert {"city": "text"} == json.loads(done.arguments)
    assert "function_call" == stream[-1].response.output[-1].type


def test_each_sdk_reads_embeddings_as_numbers_and_as_base64(sdk):
    made = [
        sdk.embeddings.create(model="skylark", input=["a", "b c"], encoding_format=form).data
        for form in ("float", "base64")
    ]
    vectors = [[item.embedding for item in data] for data in made]
    decoded = [list(memoryview(base64.b64decode(v)).cast("f")) if isinstance(v, str) else v for v in vectors[1]]  # fmt: skip

    assert vectors[0] == decoded
    assert vectors[0][0] != vectors[0][1]


def test_the_ark_sdk_reads_the_apis_that_are_its_own(byteplus):
    parts = [
        {"type": "text", "text": "A cat"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]
    embedded = byteplus.multimodal_embeddings.create(model="skylark-embedding-vision-251215", input=parts)
    options = SequentialImageGenerationOptions(max_images=2)
    images = byteplus.images.generate(
        model="seedream-5-0-260128",
        prompt="Cats",
        sequential_image_generation="auto",
        sequential_image_generation_options=options,
        stream=True,
    )
    context = byteplus.context.create(model="ep-1", messages=MESSAGES, mode="session")
    chained = byteplus.context.completions.create(context_id=context.id, model="ep-1", messages=MESSAGES[1:])
    task = byteplus.content_generation.tasks.create(
        model="dreamina", content=[{"type": "text", "text": "A cat"}]
    )

    # The SDK types `data` as a list; the service sends an object, and that is what one gets.
    assert 64 == len(embedded.data["embedding"])
    assert {"text_tokens": 2, "image_tokens": 256} == embedded.usage["prompt_tokens_details"]
    assert 2 == list(images)[-1].usage["generated_images"]
    assert (13, 8) == (chained.usage.prompt_tokens, chained.usage.prompt_tokens_details.cached_tokens)
    assert "queued" == byteplus.content_generation.tasks.get(task_id=task.id).status
    assert 22 == byteplus.batch.chat.completions.create(model="ep-bi-1", messages=MESSAGES).usage.total_tokens


def test_each_sdk_uploads_reads_and_deletes_a_file(sdk):
    made = sdk.files.create(file=("a.txt", io.BytesIO(b"one\r\n--two\r\n")), purpose="user_data")

    assert ("active", 12, "a.txt") == (made.status, made.bytes, made.filename)
    assert [made.id] == [file.id for file in sdk.files.list().data]
    assert made.id == sdk.files.retrieve(made.id).id
    sdk.files.delete(made.id)
    assert [] == sdk.files.list().data


def test_the_openai_sdk_lists_the_models_and_reads_an_image(sg):
    with openai.OpenAI(base_url=sg.base_url, api_key="any", max_retries=0) as sdk:
        assert MODEL in {model.id for model in sdk.models.list()}
        assert sdk.images.generate(model="seedream-5-0-260128", prompt="A cat").data[0].url


# How it fails


def test_faults_happen_in_order_and_pass(client, sg):
    sg.fails(503, times=1)
    sg.throttles(retry_after=1, times=2)
    replies = [client.post("/chat/completions", json=chat()) for _ in range(4)]

    assert [503, 429, 429, 200] == [reply.status_code for reply in replies]
    assert "1" == replies[1].headers["retry-after"]
    assert "RateLimitExceeded.EndpointRPMExceeded" == replies[1].json()["error"]["code"]


def test_a_fault_without_times_stands_until_the_region_recovers(client, sg):
    sg.fails(500, code="InternalServiceError", retry_after_ms=20)

    assert ["20", "20"] == [client.get("/models").headers["retry-after-ms"] for _ in range(2)]
    sg.recovers()
    assert client.get("/models").is_success


@pytest.mark.parametrize("scope", ["embeddings", "multimodal_embeddings", "skylark"])
def test_a_fault_can_be_of_one_operation_api_or_model(client, sg, scope):
    sg.fails(503, on=scope)
    embed = {"model": "skylark", "input": [{"type": "text", "text": "a"}]}

    assert 200 == client.post("/chat/completions", json=chat()).status_code
    assert 503 == client.post("/embeddings/multimodal", json=embed).status_code


def test_one_region_fails_and_the_other_does_not(ark, client):
    ark.region(SG).fails(503)

    assert 503 == client.get("/models").status_code
    assert 200 == httpx.get(f"{ark.base_url(EU)}/models", headers=client.headers).status_code


def test_a_refusing_region_keeps_its_port_and_comes_back(client, sg):
    client.get("/models")
    sg.refuses()
    with pytest.raises(httpx.ConnectError, match="refused"):
        client.get("/models")
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", sg.port))
    sg.accepts()

    assert client.get("/models").is_success
    assert [1, 2] == [request.connection for request in sg.requests]


def test_a_hanging_request_is_answered_when_the_region_recovers(client, sg):
    sg.hangs(times=1)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/models", timeout=0.05)
    sg.hangs()
    waiting = threading.Thread(target=lambda: replies.append(client.get("/models")))
    replies = []
    waiting.start()
    while len(sg.requests) < 2:
        time.sleep(0.001)
    assert [] == replies
    sg.recovers()
    waiting.join(5)

    assert [200] == [reply.status_code for reply in replies]


def test_stopping_ends_what_hangs_at_once():
    with ModelArk() as ark:
        ark.region(SG).hangs()
        headers = {"Authorization": "Bearer any"}
        ends = []

        def call():
            with httpx.Client(headers=headers, timeout=5) as client, pytest.raises(httpx.RemoteProtocolError):
                client.get(f"{ark.base_url(SG)}/models")
            ends.append(True)

        threads = [threading.Thread(target=call) for _ in range(5)]
        for thread in threads:
            thread.start()
        while len(ark.requests) < 5:
            time.sleep(0.001)
        began = time.monotonic()
    for thread in threads:
        thread.join(5)

    assert time.monotonic() - began < 1
    assert 5 == len(ends)
    assert 5 == len(ark.requests)


def test_a_request_that_fails_costs_no_answer_and_stores_nothing(client, sg):
    sg.answers("Bonjour.", times=1)
    sg.fails(503, times=1)
    replies = [client.post("/chat/completions", json=chat()) for _ in range(2)]

    assert [503, 200] == [reply.status_code for reply in replies]
    assert "Bonjour." == replies[1].json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda sg: sg.resets(), httpx.ReadError),
        (lambda sg: sg.answers_garbage(), httpx.RemoteProtocolError),
        (lambda sg: sg.cuts(), httpx.RemoteProtocolError),
        (lambda sg: sg.closes(), httpx.RemoteProtocolError),
    ],
    ids=["resets", "garbage", "cuts", "closes"],
)
def test_a_connection_fails_as_told(client, sg, fault, error):
    fault(sg)
    with pytest.raises(error):
        client.post("/chat/completions", json=chat())


@pytest.mark.parametrize(("reset", "error"), [(False, httpx.RemoteProtocolError), (True, httpx.ReadError)])
def test_a_stream_is_cut_after_so_many_events(client, sg, reset, error):
    sg.cuts(after_events=3, reset=reset)
    seen = []
    with client.stream("POST", "/chat/completions", json=chat(stream=True)) as reply, pytest.raises(error):
        seen.extend(reply.iter_text())

    assert 3 == "".join(seen).count("\n\n")


def test_a_stream_that_hangs_goes_on_when_the_region_recovers(client, sg):
    sg.hangs(after_events=2)
    with client.stream("POST", "/chat/completions", json=chat(stream=True)) as reply:
        parts = reply.iter_text()
        seen = next(parts)
        while seen.count("\n\n") < 2:
            seen += next(parts)
        sg.recovers()
        seen += "".join(parts)

    assert "[DONE]" == events(seen)[-1]


def test_delays_add_to_other_faults_and_end_when_the_region_recovers(client, sg):
    sg.delays(headers=60, first_event=60, between=60)
    sg.fails(503)
    releasing = threading.Timer(0.05, sg.recovers)
    releasing.start()

    assert 503 == client.get("/models").status_code
    releasing.join()


def test_the_body_of_a_document_can_be_late(client, sg):
    sg.delays(first_event=0.05)
    with client.stream("GET", "/models") as reply:
        headers_received = time.monotonic()
        reply.read()

    assert time.monotonic() - headers_received > 0.03


def test_a_stream_begins_at_once_on_a_connection_in_use_too(client):
    """Else Nagle's algorithm and the client's delayed acknowledgement hold it back for 40 ms."""
    took = []
    for _ in range(6):
        began = time.perf_counter()
        with client.stream("POST", "/chat/completions", json=chat(stream=True)) as reply:
            parts = reply.iter_raw()
            next(parts)
            took.append(time.perf_counter() - began)
            list(parts)

    assert min(took[1:]) < 0.03


def test_delays_are_kept(client, sg):
    sg.delays(headers=0.02, first_event=0.02, between=0.01)
    began = time.monotonic()
    client.post("/chat/completions", json=chat(stream=True))

    assert time.monotonic() - began > 0.04 + 15 * 0.01


ERROR_FORMS = {
    "/chat/completions": lambda e: e["error"]["code"],
    "/responses": lambda e: {"error": e["code"]}[e["type"]],
    "/images/generations": lambda e: e["error"]["code"],
    "/messages": lambda e: {"error": e["error"]["code"]}[e["type"]],
}


@pytest.mark.parametrize("path", ERROR_FORMS)
@pytest.mark.parametrize("after", [0, 1])
def test_an_error_in_a_stream_has_the_form_of_its_api(client, sg, path, after):
    sg.errors_in_stream(after_events=after, code="InternalServiceError")
    asked = (
        {"prompt": "A cat"}
        if "images" in path
        else {"input": "Hi"}
        if "resp" in path
        else {"messages": MESSAGES}
    )
    body = {"model": MODEL, "stream": True, **asked}
    *before, error = events(client.post(path, json=body).text)

    assert after == len(before)
    assert "InternalServiceError" == ERROR_FORMS[path](error)


def test_each_sdk_raises_on_an_error_in_a_chat_stream(sdk, sg):
    sg.errors_in_stream(after_events=2)
    with pytest.raises(Exception, match="unexpected internal error"):
        list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_each_sdk_is_handed_a_failed_response(sdk, sg, stream):
    sg.fails_responses(after_events=2)
    made = sdk.responses.create(model=MODEL, input="Hi", stream=stream)
    response = list(made)[-1].response if stream else made

    assert ("failed", "server_error") == (response.status, response.error.code)


def test_an_empty_200_and_a_page_are_no_json(client, sg):
    sg.answers_empty(times=1)
    sg.answers_html(times=1)
    empty, page = (client.post("/chat/completions", json=chat()) for _ in range(2))

    assert (200, b"") == (empty.status_code, empty.content)
    assert (200, "text/html") == (page.status_code, page.headers["content-type"])


def test_recorded_bytes_are_replayed_event_by_event(client, sg):
    sg.replays(b'data: {"a":1}\n\ndata: [DONE]\n\n', content_type="text/event-stream")

    assert [{"a": 1}, "[DONE]"] == events(client.post("/chat/completions", json=chat(stream=True)).text)


def test_nonsense_is_refused_in_words(ark, sg):
    with pytest.raises(LookupError, match="it has: ap-southeast-1, eu-west-1"):
        ark.region("eu-wst")
    with pytest.raises(ValueError, match="times=0"):
        sg.hangs(times=0)
    with pytest.raises(ValueError, match="1 ports for 2 regions"):
        ModelArk(ports=[1])
    with pytest.raises(LookupError, match="Start it first"):
        ModelArk().region(SG)


# How it lives


def test_many_calls_at_once_are_answered(ark):
    async def calls():
        headers = {"Authorization": "Bearer any"}
        async with httpx.AsyncClient(base_url=ark.base_url(SG), headers=headers, timeout=30) as client:
            return await asyncio.gather(*(client.post("/chat/completions", json=chat()) for _ in range(100)))

    assert {200} == {reply.status_code for reply in asyncio.run(calls())}
    assert 100 == len(ark.requests)


def test_stopping_while_connections_come_in_leaves_nothing_behind(caplog):
    for _ in range(5):
        with ModelArk() as ark:
            sockets = [socket.create_connection(("127.0.0.1", ark.region(SG).port)) for _ in range(20)]
        for each in sockets:
            each.close()
    gc.collect()

    assert [] == caplog.records


def test_many_live_beside_each_other_and_start_again():
    arks = [ModelArk().start() for _ in range(5)]
    ports = {region.port for ark in arks for region in ark.regions}
    for ark in arks:
        ark.stop()
        ark.stop()

    assert 10 == len(ports)
    with arks[0] as again:
        assert httpx.get(f"{again.base_url(SG)}/models", headers={"Authorization": "Bearer x"}).is_success


def test_importing_it_loads_no_client_no_telemetry_and_no_pytest():
    found = "import sys, byteplus_trace.testing; print({'httpx', 'httpx2', 'opentelemetry', 'pytest', 'prometheus_client'} & set(sys.modules))"  # fmt: skip

    assert "set()" == subprocess.check_output([sys.executable, "-c", found], text=True).strip()


@pytest.mark.parametrize("route", handler.ROUTES, ids=lambda route: f"{route.method} {route.path.pattern}")
def test_the_fake_and_the_library_call_an_api_by_the_same_name(route):
    path = route.path.pattern.replace("[^/]+", "some-id")
    seen = routes.match(route.method, f"/api/v3{path}").route

    assert route is handler.route_of(route.method, path)
    assert (seen.operation, seen.api) == (route.operation, route.api)


def test_a_long_running_log_keeps_only_the_last():
    with ModelArk(keeps=2) as ark:
        for path in ("a", "b", "c"):
            httpx.get(f"{ark.base_url(SG)}/{path}")

        assert ["/b", "/c"] == [request.path for request in ark.region(SG).requests]


# The tools around it


def test_captured_calls_are_exchanges_spans_and_series(ark, client):
    told = []
    with capture(base_urls=ark.base_urls, on_exchange=told.append) as seen:
        client.post("/chat/completions", json=chat())

        (exchange,) = seen.exchanges
        assert ("ok", SG, 8) == (exchange.outcome, exchange.region, exchange.answer.usage.input_tokens)
        assert ["POST", f"chat {MODEL}"] == [span.name for span in seen.spans]
        assert 1 == seen.sample("modelark_operations_total", region=SG, outcome="ok")
        assert 0 == seen.sample("modelark_operations_total", region=EU)
        with pytest.raises(RuntimeError, match=r"call uninstrument\(\) first"), capture():
            pass
    client.post("/chat/completions", json=chat())

    assert [exchange] == seen.exchanges == told


def test_the_pytest_plugin_gives_a_fake_and_what_it_saw(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["byteplus_trace.pytest_plugin"]')
    (tmp_path / "test_mine.py").write_text("""
import httpx

def test_mine(modelark, modelark_exchanges):
    modelark.region("eu-west-1").throttles()
    httpx.post(modelark.base_url("eu-west-1") + "/responses", json={"model": "m"}, headers={"Authorization": "Bearer k"})
    assert ["rate_limit"] == [exchange.reason for exchange in modelark_exchanges.exchanges]
""")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert 0 == ended.returncode, ended.stdout
    assert "1 passed" in ended.stdout


SIMULATE = """
import sys
from byteplus_trace._cli import main
sys.exit(main(["simulate", *sys.argv[1:]]))
"""


@contextmanager
def simulating(*arguments):
    """`simulate` in a process of its own, which does not outlive the block."""
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SIMULATE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


def test_simulate_serves_with_its_faults_until_it_is_interrupted():
    arguments = ("--port", "0", "--fault", f"{SG}:429:ServerOverloaded", "--outage", f"{EU}@0-600")
    with simulating(*arguments) as program:
        lines = []
        for line in program.stdout:
            lines.append(line)
            if "refuses connections" in line:
                break
        sg, eu = (next(line.split()[1] for line in lines if line.startswith(name)) for name in (SG, EU))
        reply = httpx.get(f"{sg}/models", headers={"Authorization": "Bearer any"})
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{eu}/models")
        program.send_signal(signal.SIGINT)
        rest, errors = program.communicate(timeout=20)

    assert (429, "ServerOverloaded") == (reply.status_code, reply.json()["error"]["code"])
    assert any(line.lstrip().startswith(f"curl {sg}/chat/completions") for line in lines)
    assert (0, "Stopped.", "") == (program.returncode, rest.strip(), errors)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--fault", f"{SG}:200"], "a status from 400 to 599"),
        (["--outage", f"{SG}@30-10"], "write REGION@FROM-TO in seconds"),
        (["--fault", "us-east-1:503"], "There is no region 'us-east-1' here"),
    ],
)
def test_simulate_says_what_to_write_instead(arguments, advice, capsys):
    with pytest.raises(SystemExit) as end:
        sys.exit(main(["simulate", "--port", "0", *arguments]))
    assert 2 == end.value.code
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize("port", ["taken", "65535", "99999", "-1"])
def test_simulate_says_when_a_port_cannot_be_had(ark, port, capsys):
    """65535 is one port; the second region's would be the next."""
    taken = str(ark.region(SG).port)

    assert 1 == main(["simulate", f"--port={taken if port == 'taken' else port}", "--for", "0"])
    assert "Choose another --port" in capsys.readouterr().err


def test_a_template_spreads_leaves_out_and_repeats():
    made = templates.events(
        "chat_stream.sse",
        id="02",
        created=1,
        model="m",
        service_tier="default",
        usage=None,
        also={"x": 1},
        chunk=[{"choices": [at], "running": None} for at in range(2)],
    )

    assert [[0], [1]] == [json.loads(event[6:])["choices"] for event in made[:-1]]
    assert made[0].endswith(b'"usage":null,"x":1}\n\n')
    assert b"data: [DONE]\n\n" == made[-1]
