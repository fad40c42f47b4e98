"""Every API and everything that may arrive in the place of its reply: only an answer is `ok`, and every answer is."""

from __future__ import annotations

import contextlib
import importlib
import json

import pytest

from byteplus_trace import Deadline

MODES = [("httpx", "sync"), ("httpx2", "asyncio")]
# How a call is made: without a policy, or with two targets, with and without a total deadline.
SETTINGS = {"alone": None, "two targets": {}, "two targets in time": {"deadline": Deadline(total=60)}}
MODEL = "seed-2-0-lite-260428"
ERROR = {"error": {"code": "InternalServiceError", "message": "m"}}

CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Rhine"}}
CHAT = {"id": "1", "model": MODEL, "choices": [CHOICE]}
RESPONSE = {"id": "resp_1", "model": MODEL, "status": "completed", "output": [{"type": "message"}]}
VECTOR = {"object": "embedding", "embedding": [0.5]}
TASK = {"id": "cgt-1", "model": "dreamina", "status": "running"}
DOCUMENTS = {
    "chat": CHAT,
    "bot": {**CHAT, "bot_usage": {"model_usage": [{"prompt_tokens": 5, "completion_tokens": 2}]}},
    "context": CHAT,
    "batch": CHAT,
    "responses": RESPONSE,
    "responses unstored": RESPONSE,
    "fetched": RESPONSE,
    "messages": {"type": "message", "id": "m", "model": MODEL, "stop_reason": "end_turn", "content": []},
    "images": {"model": "m", "data": [{"url": "https://h/1"}], "usage": {"generated_images": 1}},
    "embeddings": {"object": "list", "data": [VECTOR], "usage": {"prompt_tokens": 1}},
    "multimodal": {"object": "list", "data": VECTOR, "usage": {"prompt_tokens": 1}},
    "task made": {"id": "cgt-1"},
    "task read": TASK,
    "tasks": {"total": 1, "items": [TASK]},
    "tokenization": {"id": "1", "object": "list", "data": [{"total_tokens": 1}]},
    "classification": {"label": "a", "usage": {"prompt_tokens": 1}},
    "count_tokens": {"input_tokens": 3},
    "models": {"object": "list", "data": [{"id": MODEL}]},
    "file": {"id": "file-1", "object": "file"},
    "input_items": {"object": "list", "data": [], "has_more": False},
}
# What no API replies with a 200.
ODD_DOCUMENTS = {
    "nothing": b"",
    "a line end": b"\r\n",
    "an empty object": b"{}",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"busy"',
    "a page": b"<html>busy</html>",
    "half of a document": b'{"id": "1", "choi',
    "a gateway's code": b'{"code": 500, "msg": "upstream busy", "data": null}',
    "a gateway's code as text": b'{"code": "503", "message": "no channel"}',
    "no success": b'{"success": false, "message": "no"}',
    "a detail": b'{"detail": "Not Found"}',
    "an error": json.dumps(ERROR).encode(),
    "an error as text": b'{"error": "busy"}',
    "an error of messages": json.dumps({"type": "error", **ERROR}).encode(),
    "a gateway's error": b'{"error_code": "403", "error_msg": "no"}',
    "the control plane's error": b'{"ResponseMetadata": {"Error": {"Code": "AccessDenied"}}}',
}
# What is no reply of these APIs, and may be one of others.
ODD_FOR = {
    "chat": [{"choices": None}, {"id": "1", "choices": []}, {"id": "1", "usage": {"prompt_tokens": 1}}],
    "responses": [{"id": "r"}, {"id": "r", "output": None}, {"id": "r", "status": ""}],
    "messages": [{"id": "m", "content": []}, {"type": "", "content": None}],
    "images": [{"data": []}, {"data": None}, {"data": [{}]}, {"data": [{"url": "", "b64_json": None}]}],
    "embeddings": [{"data": []}, {"object": "list", "data": None}],
    "multimodal": [{"data": {}}, {"object": "list", "data": None}],
    "task made": [{"model": "m"}, {"id": "", "status": None}],
}
SAME_FORM = [
    {"chat", "bot", "context", "batch"},
    {"responses", "responses unstored", "fetched"},
    {"embeddings", "multimodal"},
]
# Where a second copy may be made, a call moves on from what is no answer.
MOVES = {
    "chat",
    "bot",
    "context",
    "batch",
    "messages",
    "responses unstored",
    "embeddings",
    "multimodal",
    "fetched",
}
# Documents of which nothing is known but that they hold something: another API's is one of theirs.
PLAIN = {"tasks", "tokenization", "classification", "count_tokens", "models", "file", "input_items"}
MAKING = [api for api in DOCUMENTS if api not in PLAIN]


def alike(one, other):
    return one == other or any({one, other} <= forms for forms in SAME_FORM)


def documents():
    for api in DOCUMENTS:
        for name, body in ODD_DOCUMENTS.items():
            yield pytest.param(api, body, id=f"{api}: {name}")
    for api, bodies in ODD_FOR.items():
        for body in bodies:
            yield pytest.param(api, json.dumps(body).encode(), id=f"{api}: {body}")
    for api in MAKING:
        for other in MAKING:
            # A task has an id and a status, and so has a response: nothing tells the two apart.
            if not alike(api, other) and not (
                api.startswith("task") or (api, other) == ("fetched", "task read")
            ):
                yield pytest.param(api, json.dumps(DOCUMENTS[other]).encode(), id=f"{api}: of {other}")


@pytest.fixture(params=MODES, ids=lambda mode: mode[1])
def mode(request):
    library, colour = request.param
    return importlib.import_module(library), colour


@pytest.fixture(params=SETTINGS)
def settings(request, two):
    options = SETTINGS[request.param]
    return {} if options is None else {"policy": two(**options)}


def document(body, content_type="application/json"):
    return 200, content_type, body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize(("api", "body"), list(documents()))
def test_no_odd_document_passes_for_an_answer(make_caller, mode, settings, api, body):
    caller = make_caller(*mode)
    exchange, _ = caller.call(api, [document(body), document(DOCUMENTS[api])], **settings)

    rescued = bool(settings) and api in MOVES
    assert ("rescued_fallback" if rescued else "error") == exchange.outcome
    assert (2 if rescued else 1) == len(caller.sent)


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "text/event-stream", ""])
@pytest.mark.parametrize("api", DOCUMENTS)
def test_an_answer_is_one_whatever_its_label(make_caller, mode, settings, api, content_type):
    caller = make_caller(*mode)
    exchange, _ = caller.call(api, [document(DOCUMENTS[api], content_type)], **settings)

    assert "ok" == exchange.outcome
    assert DOCUMENTS[api] == json.loads(caller.text)


# Streams: each event's name, where it has one, and its data.


def chunk(content="", **choice):
    return {"id": "1", "model": MODEL, "choices": [{"index": 0, "delta": {"content": content}, **choice}]}


USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
BOT_USED = {"id": "1", "choices": [], "bot_usage": {"model_usage": [USED]}}
CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
DELTA = {"type": "response.output_text.delta", "delta": "Rhine"}
COMPLETED = {"type": "response.completed", "response": RESPONSE}
STARTED = {"type": "message_start", "message": {"id": "m", "model": "x"}}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Rhine"}}
STOPPED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
IMAGE = {"type": "image_generation.partial_succeeded", "url": "https://h/1", "size": "2K"}
MADE = {"type": "image_generation.completed", "usage": {"generated_images": 1}}
STREAMS = {
    "chat": [chunk("Rh"), chunk("ine"), chunk(finish_reason="stop"), {"id": "1", "choices": [], "usage": USED}, "[DONE]"],
    "bot": [chunk("Rh"), chunk(finish_reason="stop"), BOT_USED, "[DONE]"],
    "context": [chunk("Rh"), chunk(finish_reason="stop"), "[DONE]"],
    "responses": [CREATED, DELTA, COMPLETED, "[DONE]"],
    "responses unstored": [CREATED, DELTA, COMPLETED, "[DONE]"],
    "fetched": [CREATED, DELTA, COMPLETED, "[DONE]"],
    "messages": [STARTED, BLOCK, TEXT, STOPPED, {"type": "message_stop"}],
    "images": [IMAGE, MADE, "[DONE]"],
}  # fmt: skip
# The number of events after which nothing that the reply must have is missing.
COMPLETE_AFTER = {
    "chat": 3,
    "bot": 2,
    "context": 2,
    "responses": 3,
    "responses unstored": 3,
    "fetched": 3,
    "messages": 5,
    "images": 1,
}
# The number of events before the first output: up to there the call can move.
SILENT = {"chat": 0, "bot": 0, "context": 0, "responses unstored": 1, "fetched": 1, "messages": 2}
ODD_STREAMS = {
    "nothing": [],
    "only the end": ["[DONE]"],
    "usage and the end": [{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}, "[DONE]"],
    "a bot's usage and the end": [BOT_USED, "[DONE]"],
    "an error first": [ERROR],
    "an error first, and the end": [ERROR, "[DONE]"],
    "an error of messages first": [{"type": "error", **ERROR}],
    "a flat error first": [{"type": "error", "code": "ServerOverloaded", "message": "m"}],
    "only message_stop": [{"type": "message_stop"}],
    "only created": [CREATED],
    "empty objects": [{}, {}],
    "nulls": [None, None],
    "choices of null": [{"choices": None}, "[DONE]"],
    "no choices": [{"id": "1", "choices": []}, "[DONE]"],
}


def stream(events, content_type="text/event-stream"):
    body = b"".join(
        b"data: " + (event if isinstance(event, str) else json.dumps(event)).encode() + b"\n\n"
        for event in events
    )
    return 200, content_type, body


def call_stream(make_caller, mode, api, first, settings, **options):
    caller = make_caller(*mode)
    exchange, _ = caller.call(api, [first, stream(STREAMS[api])], stream=True, **settings, **options)
    return caller, exchange


@pytest.mark.parametrize("odd", ODD_STREAMS)
@pytest.mark.parametrize("api", STREAMS)
def test_no_odd_stream_passes_for_an_answer(make_caller, mode, settings, api, odd):
    caller, exchange = call_stream(make_caller, mode, api, stream(ODD_STREAMS[odd]), settings)

    rescued = bool(settings) and api in MOVES
    assert ("rescued_fallback" if rescued else "error") == exchange.outcome
    assert stream(STREAMS[api] if rescued else ODD_STREAMS[odd])[2] == caller.text


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/html", ""])
@pytest.mark.parametrize("odd", ["nothing", "an empty object", "a page", "an error", "a gateway's code"])
@pytest.mark.parametrize("api", STREAMS)
def test_no_odd_document_passes_for_a_stream(make_caller, mode, settings, api, odd, content_type):
    first = document(ODD_DOCUMENTS[odd], content_type)
    _, exchange = call_stream(make_caller, mode, api, first, settings)

    rescued = bool(settings) and api in MOVES
    assert ("rescued_fallback" if rescued else "error") == exchange.outcome
    assert odd != "an error" or "InternalServiceError" in {
        exchange.error_type,
        exchange.attempts[0].error_type,
    }


def others():
    return [(api, other) for api in STREAMS for other in STREAMS if not alike(api, other)]


@pytest.mark.parametrize(("api", "other"), others())
def test_no_stream_of_another_api_passes_for_an_answer(make_caller, mode, settings, api, other):
    _, exchange = call_stream(make_caller, mode, api, stream(STREAMS[other]), settings)

    assert exchange.outcome in {"error", "rescued_fallback"}


def prefixes():
    return [(api, after) for api, events in STREAMS.items() for after in range(len(events))]


@pytest.mark.parametrize(("api", "after"), prefixes())
def test_a_stream_cut_after_any_event_is_an_answer_only_where_it_is_complete(
    make_caller, mode, settings, api, after
):
    first = stream(STREAMS[api][:after])
    _, exchange = call_stream(make_caller, mode, api, first, settings)

    if after >= COMPLETE_AFTER[api]:
        assert "ok" == exchange.outcome
    elif settings and api in MOVES and after <= SILENT[api]:
        assert "rescued_fallback" == exchange.outcome
    else:
        assert ("error", "cut" if after else "empty") == (exchange.outcome, exchange.reason)


@pytest.mark.parametrize(("api", "after"), prefixes())
def test_a_connection_that_ends_after_any_event_is_an_answer_only_where_it_is_complete(
    make_caller, mode, settings, api, after
):
    library, _ = mode
    first = stream(STREAMS[api][:after])
    caller, ended = make_caller(*mode), library.RemoteProtocolError("peer closed connection")
    with contextlib.suppress(library.RemoteProtocolError):
        caller.call(api, [first, stream(STREAMS[api])], stream=True, raises=ended, **settings)
    (exchange,) = caller.exchanges

    if settings and api in MOVES and after <= SILENT[api]:
        assert "rescued_fallback" == exchange.outcome
    else:
        assert "error" == exchange.outcome


def with_errors():
    """Each stream with an error in place of an event, and its end left as it is or missing."""
    for api, events in STREAMS.items():
        for after in range(1, len(events)):
            for rest in ([], events[-1:]):
                yield pytest.param(
                    api, [*events[:after], ERROR, *rest], after, id=f"{api}: {after}, {len(rest)}"
                )


@pytest.mark.parametrize(("api", "events", "after"), list(with_errors()))
def test_an_error_is_one_wherever_it_stands(make_caller, mode, settings, api, events, after):
    _, exchange = call_stream(make_caller, mode, api, stream(events), settings)

    # Nothing is read after the event that ends a stream.
    ended = {"responses": 3, "responses unstored": 3, "fetched": 3, "images": 2}.get(api, len(events))
    if after >= ended:
        assert "ok" == exchange.outcome
    elif settings and api in MOVES and after <= SILENT[api]:
        assert "rescued_fallback" == exchange.outcome
    else:
        assert ("error", "InternalServiceError") == (exchange.outcome, exchange.error_type)


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "text/html", ""])
@pytest.mark.parametrize("api", STREAMS)
def test_a_stream_is_an_answer_whatever_its_label(make_caller, mode, settings, api, content_type):
    if api == "fetched":
        content_type = "text/event-stream"  # asked for in the query, which is not read: the label shows it
    caller, exchange = call_stream(make_caller, mode, api, stream(STREAMS[api], content_type), settings)

    assert "ok" == exchange.outcome
    assert stream(STREAMS[api])[2] == caller.text
