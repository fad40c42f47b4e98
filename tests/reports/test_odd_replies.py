"""Every API and everything that may arrive in the place of its reply: only an answer is `ok`, and every answer is."""

from __future__ import annotations

import gzip
import importlib
import json

import pytest
from prometheus_client import CollectorRegistry

import byteplus_trace

SINGAPORE = "https://ark.ap-southeast.bytepluses.com"
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
    "a gateway's code": b'{"code": 500, "msg": "upstream busy", "data": null}',
    "a gateway's code as text": b'{"code": "503", "message": "no channel"}',
    "no success": b'{"success": false, "message": "no"}',
    "a detail": b'{"detail": "Not Found"}',
    "an error": json.dumps(ERROR).encode(),
    "an error as text": b'{"error": "busy"}',
    "an error of messages": json.dumps({"type": "error", **ERROR}).encode(),
    "a gateway's error": b'{"error_code": "403", "error_msg": "no"}',
    "the control plane's error": b'{"ResponseMetadata": {"Error": {"Code": "InternalServiceError"}}}',
}
# What is no reply of these APIs, and may be one of others.
ODD_FOR = {
    "chat": [
        {"choices": None},
        {"id": "1", "choices": []},
        {"id": "1", "usage": {"prompt_tokens": 1}},
        {"choices": [{}]},
        {"choices": [{"index": 0, "message": None, "finish_reason": None}]},
        {"choices": [{"index": 0, "message": {}}]},
        {
            "choices": [
                {"message": {"role": "assistant", "content": "", "tool_calls": []}, "finish_reason": ""}
            ]
        },
    ],
    "responses": [
        {"id": "r"},
        {"id": "r", "output": None},
        {"id": "r", "status": ""},
        {"object": "response", "output": []},
    ],
    "messages": [
        {"id": "m", "content": []},
        {"type": "", "content": None},
        {"type": "message", "id": "m"},
        {"type": "message", "content": [], "stop_reason": ""},
    ],
    "images": [{"data": []}, {"data": None}, {"data": [{}]}, {"data": [{"url": "", "b64_json": None}]}],
    "embeddings": [
        {"data": []},
        {"object": "list", "data": None},
        {"data": [{"object": "embedding", "embedding": []}]},
        {"data": [{"object": "embedding", "embedding": None}]},
    ],
    "multimodal": [{"data": {}}, {"object": "list", "data": None}],
    "task made": [{"model": "m"}, {"id": "", "status": None}],
}
SAME_FORM = [
    {"chat", "bot", "context", "batch"},
    {"responses", "responses unstored", "fetched"},
    {"embeddings", "multimodal"},
]
# Where a second copy may be made, a call moves on from what is no answer. Contexts, stored responses and endpoints
# stay where they are.
MOVES = {"chat", "bot", "messages", "responses unstored", "embeddings", "multimodal"}
# Documents of which nothing is known but that they hold something: another API's is one of theirs.
PLAIN = {"tasks", "tokenization", "classification", "count_tokens", "models", "file", "input_items"}
MAKING = [api for api in DOCUMENTS if api not in PLAIN]
MAKING_MODEL_OUTPUT = [api for api in MAKING if not api.startswith("task")]


def alike(one, other):
    return one == other or any({one, other} <= forms for forms in SAME_FORM)


# What holds nothing, or says that nothing was made.
HOLLOW = [
    {"error": None},
    {"data": None},
    {"items": None},
    {"code": 0, "msg": "ok", "data": None},
    {"success": True, "data": None},
    {"message": "busy"},
    {"id": "", "object": "", "data": None},
]


def documents():
    for api in DOCUMENTS:
        for name, body in ODD_DOCUMENTS.items():
            yield pytest.param(api, body, id=f"{api}: {name}")
        for body in HOLLOW:
            yield pytest.param(api, json.dumps(body).encode(), id=f"{api}: {body}")
    for api in sorted(PLAIN):
        for other in ("chat", "responses", "messages"):
            yield pytest.param(api, json.dumps(DOCUMENTS[other]).encode(), id=f"{api}: of {other}")
    for api, bodies in ODD_FOR.items():
        for body in bodies:
            yield pytest.param(api, json.dumps(body).encode(), id=f"{api}: {body}")
    for api in MAKING:
        for other in MAKING:
            # A task has an id and a status, and so has a response: the two look the same.
            if not alike(api, other) and not (api.startswith("task") and other.startswith("task")):
                yield pytest.param(api, json.dumps(DOCUMENTS[other]).encode(), id=f"{api}: of {other}")


def document(body, content_type="application/json"):
    return 200, content_type, body if isinstance(body, bytes) else json.dumps(body).encode()


def outcomes(ends):
    return {key: end.outcome for key, end in ends.items()}


def all_of(ends, alone, routed):
    """What is expected of each call: without a policy, and with one."""
    return {(colour, setting): alone if setting == "alone" else routed for colour, setting in ends}


@pytest.mark.parametrize(("api", "body"), list(documents()))
def test_no_odd_document_passes_for_an_answer(ends, api, body):
    seen = ends(api, [document(body), document(DOCUMENTS[api])])

    assert all_of(seen, "error", "rescued_fallback" if api in MOVES else "error") == outcomes(seen)
    assert all_of(seen, 1, 2 if api in MOVES else 1) == {key: end.sends for key, end in seen.items()}


@pytest.mark.parametrize("api", DOCUMENTS)
def test_half_of_a_document_is_an_error_and_may_have_been_an_answer(ends, api):
    """So it is handed on, and the call is not made twice for it."""
    seen = ends(api, [document(json.dumps(DOCUMENTS[api])[:-1].encode())])

    assert all_of(seen, "error", "error") == outcomes(seen)


@pytest.mark.parametrize("content_type", ["application/json", "text/html", "text/event-stream", ""])
@pytest.mark.parametrize("api", DOCUMENTS)
def test_an_answer_is_one_whatever_its_label(ends, api, content_type):
    seen = ends(api, [document(DOCUMENTS[api], content_type)])

    assert all_of(seen, "ok", "ok") == outcomes(seen)
    assert all(DOCUMENTS[api] == json.loads(end.text) for end in seen.values())


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
# The number of events that end in the one that ends the stream, where that is not the last.
ENDED_AFTER = {"responses": 3, "responses unstored": 3, "fetched": 3, "images": 2}
# The number of events before the first output: up to there the call can move.
SILENT = {"chat": 0, "bot": 0, "responses unstored": 1, "messages": 2}
ODD_STREAMS = {
    "nothing": [],
    "only the end": ["[DONE]"],
    "usage and the end": [{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}, "[DONE]"],
    "a bot's usage and the end": [BOT_USED, "[DONE]"],
    "an error first": [ERROR],
    "an error first, and the end": [ERROR, "[DONE]"],
    "an error of messages first": [{"type": "error", **ERROR}],
    "a flat error first": [{"type": "error", "code": "InternalServiceError", "message": "m"}],
    "only message_stop": [{"type": "message_stop"}],
    "a message without output": [
        STARTED,
        {"type": "message_delta", "delta": {"stop_reason": None}},
        {"type": "message_stop"},
    ],
    "only created": [CREATED],
    "only completed": [{"type": "response.completed", "response": None}],
    "empty objects": [{}, {}],
    "nulls": [None, None],
    "choices of null": [{"choices": None}, "[DONE]"],
    "no choices": [{"id": "1", "choices": []}, "[DONE]"],
    "an event that cannot be read": ["busy", "[DONE]"],
    "an event that is a page": ["<html>busy</html>", "[DONE]"],
    "an event that is cut": ['{"id": "1", "choices": [{"index": 0, "delta": {"content": "Rh', "[DONE]"],
    "an event that is a list": [[], "[DONE]"],
    "choices without output": [
        {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant"}}]},
        "[DONE]",
    ],
}


def stream(events, content_type="text/event-stream"):
    body = b"".join(
        b"data: " + (event if isinstance(event, str) else json.dumps(event)).encode() + b"\n\n"
        for event in events
    )
    return 200, content_type, body


@pytest.mark.parametrize("odd", ODD_STREAMS)
@pytest.mark.parametrize("api", STREAMS)
def test_no_odd_stream_passes_for_an_answer(ends, api, odd):
    first, right = stream(ODD_STREAMS[odd]), stream(STREAMS[api])
    seen = ends(api, [first, right], stream=True)

    assert all_of(seen, "error", "rescued_fallback" if api in MOVES else "error") == outcomes(seen)
    received = right[2] if api in MOVES else first[2]
    assert all_of(seen, first[2], received) == {key: end.text for key, end in seen.items()}


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/html", ""])
@pytest.mark.parametrize("odd", ["nothing", "an empty object", "a page", "an error", "a gateway's code"])
@pytest.mark.parametrize("api", STREAMS)
def test_no_odd_document_passes_for_a_stream(ends, api, odd, content_type):
    seen = ends(api, [document(ODD_DOCUMENTS[odd], content_type), stream(STREAMS[api])], stream=True)

    assert all_of(seen, "error", "rescued_fallback" if api in MOVES else "error") == outcomes(seen)
    if odd == "an error":
        assert "InternalServiceError" == seen["sync", "alone"].error_type


@pytest.mark.parametrize(
    ("api", "other"), [(api, other) for api in STREAMS for other in STREAMS if not alike(api, other)]
)
def test_no_stream_of_another_api_passes_for_an_answer(ends, api, other):
    seen = ends(api, [stream(STREAMS[other]), stream(STREAMS[api])], stream=True)

    assert {"error"} >= {end.outcome for (_, setting), end in seen.items() if setting == "alone"}
    assert "ok" not in outcomes(seen).values()


def cut_streams():
    return [(api, after) for api, events in STREAMS.items() for after in range(len(events))]


def moves_after(api, events):
    """Whether a call moves on from a stream that fails after so many events: while no output was seen."""
    return api in MOVES and events <= SILENT[api]


@pytest.mark.parametrize(("api", "after"), cut_streams())
def test_a_stream_that_ends_after_any_event_is_an_answer_where_it_is_complete(ends, api, after):
    seen = ends(api, [stream(STREAMS[api][:after]), stream(STREAMS[api])], stream=True)

    failed = "rescued_fallback" if moves_after(api, after) else "error"
    complete = after >= COMPLETE_AFTER[api]
    assert all_of(seen, *("ok", "ok") if complete else ("error", failed)) == outcomes(seen)
    assert complete or ("cut" if after else "empty") == seen["sync", "alone"].reason


@pytest.mark.parametrize(("api", "after"), cut_streams())
def test_a_connection_that_breaks_after_any_event_is_no_answer(fresh_ends, api, after):
    seen = fresh_ends(api, [stream(STREAMS[api][:after]), stream(STREAMS[api])], "peer closed connection")

    failed = "rescued_fallback" if moves_after(api, after) else "error"
    ended = after >= ENDED_AFTER.get(api, len(STREAMS[api]))  # what the connection does then is nobody's loss
    assert all_of(seen, *("ok", "ok") if ended else ("error", failed)) == seen


def broken_streams():
    """Each stream with an error after each of its events, with and without the event that ends it."""
    for api, events in STREAMS.items():
        for after in range(1, len(events)):
            for name, rest in (("", []), (" and the end", events[-1:])):
                yield pytest.param(api, [*events[:after], ERROR, *rest], after, id=f"{api}: {after}{name}")


@pytest.mark.parametrize(("api", "events", "after"), list(broken_streams()))
def test_an_error_is_one_wherever_it_stands(ends, api, events, after):
    seen = ends(api, [stream(events), stream(STREAMS[api])], stream=True)

    # After the event that ends a stream nothing more is read.
    if after >= ENDED_AFTER.get(api, len(events)):
        assert all_of(seen, "ok", "ok") == outcomes(seen)
    else:
        failed = "rescued_fallback" if moves_after(api, after) else "error"
        assert all_of(seen, "error", failed) == outcomes(seen)
        assert "InternalServiceError" == seen["sync", "alone"].error_type


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", "text/html", ""])
@pytest.mark.parametrize("api", [api for api in STREAMS if api != "fetched"])
def test_a_stream_is_an_answer_whatever_its_label(ends, api, content_type):
    """But for a response that is fetched: there a query asks for the stream, and the label alone shows it."""
    seen = ends(api, [stream(STREAMS[api], content_type)], stream=True)

    assert all_of(seen, "ok", "ok") == outcomes(seen)
    assert {stream(STREAMS[api])[2]} == {end.text for end in seen.values()}


BUSY = json.dumps({"error": {"code": "ServerOverloaded", "message": "the first"}}).encode()
REFUSED = 503, "application/json", BUSY
LAST_DOCUMENTS = [
    "nothing",
    "a line end",
    "an empty object",
    "a page",
    "a text",
    "an error",
    "a gateway's code",
    "no success",
]
LAST_STREAMS = [
    "nothing",
    "only the end",
    "an error first",
    "usage and the end",
    "an event that is a page",
    "empty objects",
]


@pytest.mark.parametrize("odd", LAST_DOCUMENTS)
@pytest.mark.parametrize("api", ["chat", "bot", "responses unstored", "messages", "embeddings", "images"])
def test_no_odd_document_at_last_hides_a_refusal(ends, api, odd):
    seen = ends(api, [REFUSED, document(ODD_DOCUMENTS[odd])])

    assert all_of(seen, ("error", BUSY, 1), ("error", BUSY, 2)) == {
        key: (end.outcome, end.text, end.sends) for key, end in seen.items()
    }


@pytest.mark.parametrize("odd", LAST_STREAMS)
@pytest.mark.parametrize("api", ["chat", "bot", "responses unstored", "messages", "images"])
def test_no_odd_stream_at_last_hides_a_refusal(ends, api, odd):
    seen = ends(api, [REFUSED, stream(ODD_STREAMS[odd])], stream=True)

    assert all_of(seen, ("error", BUSY, 1), ("error", BUSY, 2)) == {
        key: (end.outcome, end.text.strip(), end.sends) for key, end in seen.items()
    }


# Paths that the service does not have, or that have no body of their own.
ABSENT = [
    ("POST", "/api/v3/images/edits", {}),
    ("POST", "/api/v3/audio/speech", {}),
    ("POST", "/api/v3/rerank", {}),
    ("GET", "/api/v3/models/seed-2-0", None),
    ("GET", "/ping", None),
]
BODILESS = [
    ("HEAD", "/api/v3/models", 200),
    ("HEAD", "/api/v3/rerank", 200),
    ("DELETE", "/api/v3/responses/resp_1", 200),
    ("DELETE", "/api/v3/files/file-1", 204),
    ("DELETE", "/api/v3/contents/generations/tasks/cgt-1", 200),
    ("POST", "/api/v3/rerank", 204),
    ("GET", "/api/v3/files/file-1/content", 200),  # an empty file
]


@pytest.mark.parametrize("api", ABSENT, ids=lambda api: api[1])
def test_an_empty_200_from_a_path_that_is_not_there_is_an_error_and_moves_nowhere(ends, api):
    seen = ends(api, [document(b""), document({"id": "x"})])

    assert all_of(seen, ("error", "empty", 1), ("error", "empty", 1)) == {
        key: (end.outcome, end.reason, end.sends) for key, end in seen.items()
    }


@pytest.mark.parametrize("api", MAKING_MODEL_OUTPUT)
def test_a_204_may_be_empty_and_moves_nowhere(ends, api):
    seen = ends(api, [(204, "", b""), document(DOCUMENTS[api])])

    assert all_of(seen, ("ok", 1), ("ok", 1)) == {key: (end.outcome, end.sends) for key, end in seen.items()}


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("content_encoding", ["gzip", "deflate", "gzip, gzip", "gzip and damaged"])
def test_a_reply_that_is_not_in_the_coding_of_its_label_is_no_answer(library, content_encoding, two):
    """Its client raises there. It may have been an answer, so it is not made twice."""
    package = importlib.import_module(library)
    content_encoding, _, damaged = content_encoding.partition(" and ")
    body = json.dumps(CHAT).encode()
    body = gzip.compress(body)[:20] + b"busy" * 20 if damaged else body
    headers = {"content-type": "application/json", "content-encoding": content_encoding}
    exchanges, sent = [], []

    def handler(request):
        sent.append(request)
        return package.Response(200, headers=headers, stream=package.ByteStream(body))

    names = byteplus_trace if library == "httpx" else byteplus_trace.httpx2
    for policy in (None, two()):
        exchanges.clear()
        sent.clear()
        transport = names.ModelArkTransport(
            package.MockTransport(handler),
            on_exchange=exchanges.append,
            registry=CollectorRegistry(),
            policy=policy,
        )
        with (
            package.Client(transport=transport, headers={"Authorization": "Bearer key"}) as client,
            pytest.raises(package.DecodingError),
        ):
            client.post(SINGAPORE + "/api/v3/chat/completions", json={"model": MODEL, "messages": []})
        byteplus_trace._background.drain()

        assert [("error", "stream_error", 1)] == [
            (e.outcome, e.error_type, len(e.attempts)) for e in exchanges
        ]
        assert 1 == len(sent)


@pytest.mark.parametrize("api", ABSENT, ids=lambda api: api[1])
def test_a_404_from_a_path_that_is_not_there_moves_nowhere(ends, api):
    refused = 404, "application/json", b'{"error": {"code": "InvalidAction", "message": "m"}}'
    seen = ends(api, [refused, document({"id": "x"})])

    assert {("error", 1)} == {(end.outcome, end.sends) for end in seen.values()}


# What a path that is not in the table may reply with, where nobody here knows what it should be.
PAGES = {
    "a page": b"<html>busy</html>",
    "a page with a doctype": b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html lang=en><title>Just a moment...</title></html>",
    "a page without a root": b"<head><title>502 Bad Gateway</title></head>",
    "a page after a comment": b"<!-- error -->\n<html></html>",
    "an error as XML": b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code></Error>',
    "null": b"null",
    "an empty text": b'""',
    "an empty object": b"{}",
}
REFUSALS = {
    "an error": (ERROR, "InternalServiceError"),
    "an error as text": ({"error": "busy"}, "stream_error"),
    "an error and what it was asked for": ({"id": "x", **ERROR}, "InternalServiceError"),
    "an error of messages": ({"type": "error", **ERROR}, "InternalServiceError"),
    "a gateway's code": ({"code": 500, "msg": "upstream busy", "data": None}, "500"),
    "a gateway's code as text": ({"code": "NoChannel", "message": "no channel"}, "NoChannel"),
    "a code of another name": ({"statusCode": 502, "message": "Bad Gateway"}, "502"),
    "a status": ({"status": 503, "message": "busy"}, "503"),
    "a status of error": ({"status": "error", "message": "busy"}, "stream_error"),
    "no success": ({"success": False}, "stream_error"),
    "a list of errors": ({"success": False, "errors": [{"code": 10000, "message": "no"}]}, "10000"),
    "errors by name": ({"errors": {"code": "Busy", "message": "m"}}, "Busy"),
    "a problem": ({"type": "about:blank", "title": "Bad Gateway", "status": 502}, "502"),
    "a list of one error": ([ERROR], "InternalServiceError"),
    "a detail": ({"detail": "Not Found"}, "stream_error"),
    "the control plane's error": ({"ResponseMetadata": {"Error": {"Code": "NotFound"}}}, "NotFound"),
}
ANSWERS = {
    "an object": {"id": "x"},
    "an object with a detail": {"id": "x", "object": "image", "detail": "high"},
    "an object that holds no error": {"id": "x", "error": None, "success": True},
    "an object that failed": {
        "id": "x",
        "status": "failed",
        "error": {"code": "OutOfBudget", "message": "m"},
    },
    "a list": [{"id": "x"}],
    "an empty list": {"object": "list", "data": []},
    "nothing found": [],
    "a number": 0,
    "a gateway's envelope": {"code": 0, "msg": "success", "data": {"id": "x"}},
    "an envelope in texts": {"code": "0", "msg": "ok", "data": {"id": "x"}},
    "a program": {"object": "snippet", "code": "print(1)", "message": "a program"},
    "no errors": {"id": "x", "errors": [], "error": False},
    "another's envelope": {"code": 200, "message": "OK", "data": {"id": "x"}},
    "a result": {"results": [{"index": 0, "relevance_score": 0.5}]},
    "sound": b"ID3\x04\x00\x00\xff\xfb\x90",
    "a text": b"WEBVTT\n\n00:00.000 --> 00:01.000\nRhine",
    "a drawing": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a large recording": b"RIFF" + bytes(3 * 1024 * 1024),
}


@pytest.mark.parametrize("label", ["application/json", "text/html", "text/event-stream"])
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("api", ABSENT[2:4], ids=lambda api: api[1])
def test_a_page_from_a_path_that_is_not_there_is_an_error_and_moves_nowhere(ends, api, page, label):
    seen = ends(api, [document(PAGES[page], label), document({"id": "x"})])

    assert {("error", "empty", 1)} == {(end.outcome, end.reason, end.sends) for end in seen.values()}


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("api", ABSENT, ids=lambda api: api[1])
def test_an_error_document_from_a_path_that_is_not_there_is_an_error_and_moves_nowhere(ends, api, refusal):
    body, code = REFUSALS[refusal]
    seen = ends(api, [document(body), document({"id": "x"})])

    assert {("error", code, 1)} == {(end.outcome, end.error_type, end.sends) for end in seen.values()}


@pytest.mark.parametrize("label", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("rest", [b"\n\ndata: [DONE]\n\n", b"<html>busy</html>"])
def test_an_error_document_from_a_path_that_is_not_there_may_have_something_after_it(ends, rest, label):
    seen = ends(ABSENT[0], [document(json.dumps(ERROR).encode() + rest, label)])

    assert {("error", "InternalServiceError")} == {(end.outcome, end.error_type) for end in seen.values()}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("api", [api for api in ABSENT if "/models/" not in api[1]], ids=lambda api: api[1])
def test_an_answer_of_an_api_that_is_new_is_one(ends, api, answer):
    seen = ends(api, [document(ANSWERS[answer], "")])

    assert all_of(seen, "ok", "ok") == outcomes(seen)


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([{"type": "speech.started"}, {"type": "speech.delta", "audio": "aGk="}], "ok"),
        (["plain text", "[DONE]"], "ok"),
        (["[DONE]"], "error"),
        ([ERROR], "error"),
        ([{"type": "speech.started"}, ERROR, "[DONE]"], "error"),
        ([{"code": 500, "msg": "busy"}], "error"),
        (["<html>busy</html>", "[DONE]"], "error"),
    ],
)
@pytest.mark.parametrize("api", ABSENT[:2], ids=lambda api: api[1])
def test_a_stream_of_an_api_that_is_new_is_an_answer_without_an_error_in_it(ends, api, events, outcome):
    seen = ends(api, [stream(events)])

    assert {(outcome, 1)} == {(end.outcome, end.sends) for end in seen.values()}


def test_a_stream_of_an_api_that_is_new_is_cancelled_where_its_caller_closes_it(ends):
    events = stream([{"type": "speech.started"}, {"type": "speech.delta"}, {"type": "speech.ended"}])
    seen = ends(ABSENT[1], [events], stream=True, read_parts=1)

    assert all_of(seen, "cancelled", "cancelled") == outcomes(seen)


@pytest.mark.parametrize("blank", [b" ", b"\r\n\r\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("api", ABSENT, ids=lambda api: api[1])
def test_a_blank_200_is_an_empty_one(ends, api, blank):
    seen = ends(api, [document(blank), document({"id": "x"})])

    assert {("error", "empty", 1)} == {(end.outcome, end.reason, end.sends) for end in seen.values()}


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"{}", "ok"),
        (b"\n", "ok"),
        (b'{"deleted": true}', "ok"),
        (b"<html>busy</html>", "error"),
        (b"busy", "error"),
    ],
)
def test_a_deletion_is_confirmed_by_an_object_or_by_nothing(ends, body, outcome):
    for path in (
        "/api/v3/responses/resp_1",
        "/api/v3/files/file-1",
        "/api/v3/contents/generations/tasks/cgt-1",
    ):
        seen = ends(("DELETE", path, None), [document(body)])

        assert all_of(seen, outcome, outcome) == outcomes(seen)


@pytest.mark.parametrize(("method", "path", "status"), BODILESS)
def test_what_may_be_empty_is_no_error(ends, method, path, status):
    seen = ends((method, path, None), [(status, "application/json", b"")])

    assert all_of(seen, "ok", "ok") == outcomes(seen)


@pytest.mark.parametrize("api", STREAMS)
@pytest.mark.parametrize("data", ["busy", "<html>busy</html>", '{"message": "busy"}', "{}"])
def test_an_event_named_error_is_one_whatever_it_holds(ends, api, data):
    body = f"event: error\ndata: {data}\n\ndata: [DONE]\n\n".encode()
    seen = ends(api, [(200, "text/event-stream", body), stream(STREAMS[api])], stream=True)

    assert all_of(seen, "error", "rescued_fallback" if api in MOVES else "error") == outcomes(seen)


@pytest.mark.parametrize("api", [api for api in STREAMS if api != "fetched"])
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\n", b"\xef\xbb\xbf\r\n"])
def test_what_stands_before_the_first_event_hides_nothing(ends, api, mark):
    events = stream(STREAMS[api], "application/json")[2]
    seen = ends(api, [(200, "application/json", mark + events)], stream=True)

    assert all_of(seen, "ok", "ok") == outcomes(seen)


@pytest.mark.parametrize("api", [api for api in STREAMS if api != "fetched"])
@pytest.mark.parametrize(
    "error",
    [
        {"ResponseMetadata": {"Error": {"Code": "InternalServiceError", "Message": "m"}}},
        {"error_code": "InternalServiceError", "error_msg": "m"},
        {"code": "InternalServiceError", "msg": "m"},
    ],
    ids=lambda error: next(iter(error)),
)
def test_an_error_keeps_its_code_in_whichever_envelope(ends, api, error):
    seen = ends(api, [stream([error]), stream(STREAMS[api])], stream=True)

    assert "InternalServiceError" == seen["sync", "alone"].error_type


MARKS = {
    "a mark": b"\n\ndata: [DONE]\n\n",
    "a mark in the next line": b"\ndata: [DONE]\n\n",
    "a mark and no line end": b"\r\n\r\ndata: [DONE]",
    "a comment and a mark": b"\n\n: bye\n\ndata: [DONE]\n\n",
    "an empty object and a mark": b"\n\ndata: {}\n\ndata: [DONE]\n\n",
}
BARE_ERRORS = {
    "an error": json.dumps(ERROR).encode(),
    "an error in many lines": json.dumps(ERROR, indent=2).encode(),
    "an error after blanks": b"\r\n " + json.dumps(ERROR).encode(),
    "a gateway's code": b'{"code": "InternalServiceError", "msg": "busy"}',
}


def marked_errors():
    """Each mark after each error for a chat, and one of each for the others."""
    yield from (("chat", error, mark) for error in BARE_ERRORS for mark in MARKS)
    yield from ((api, "an error", "a mark") for api in STREAMS if api not in ("chat", "fetched"))


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/json", ""])
@pytest.mark.parametrize(("api", "error", "mark"), list(marked_errors()))
def test_an_error_document_keeps_its_code_with_the_mark_of_an_end_after_it(
    ends, api, error, mark, content_type
):
    first = 200, content_type, BARE_ERRORS[error] + MARKS[mark]
    for asked in (True, False):
        right = stream(STREAMS[api]) if asked else document(DOCUMENTS[api])
        seen = ends(api, [first, right], stream=asked)

        assert all_of(seen, "error", "rescued_fallback" if api in MOVES else "error") == outcomes(seen)
        assert "InternalServiceError" == seen["sync", "alone"].error_type


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("error", BARE_ERRORS)
def test_a_refusal_keeps_its_code_with_the_mark_of_an_end_after_it(ends, error, mark):
    refusal = BARE_ERRORS[error].replace(b"InternalServiceError", b"AccountQuotaExceeded") + MARKS[mark]
    seen = ends("chat", [(429, "text/event-stream", refusal), stream(STREAMS["chat"])], stream=True)

    assert ("AccountQuotaExceeded", "quota") == (
        seen["sync", "alone"].error_type,
        seen["sync", "alone"].reason,
    )


@pytest.mark.parametrize("rest", [b"", b"\n", b"\n\n", b"\n\ndata: [DONE]\n\n"])
@pytest.mark.parametrize("api", ["chat", "bot", "responses", "messages", "images"])
def test_an_error_that_is_written_bare_into_a_stream_keeps_its_code(ends, api, rest):
    """As proxies write that find out in the middle of a stream."""
    begun = stream(STREAMS[api][:-2] if api != "images" else [])[2]
    seen = ends(api, [(200, "text/event-stream", begun + json.dumps(ERROR).encode() + rest)])

    assert {"error"} == {end.outcome for (_, setting), end in seen.items() if setting == "alone"}
    assert "InternalServiceError" == seen["sync", "alone"].error_type


LISTS = {
    "models": [{"object": "list", "data": []}, {"data": []}, {"object": "list", "data": None}],
    "tasks": [{"total": 0, "items": []}, {"items": []}, {"total": 0, "items": None}],
    "input_items": [{"object": "list", "data": [], "has_more": False}],
    "files": [{"object": "list", "data": [], "has_more": False}, {"object": "file", "data": []}],
}
NO_LISTS = {
    "embeddings": [{"object": "list", "data": []}, {"data": [{"embedding": [None, None]}]}],
    "multimodal": [{"object": "list", "data": []}, {"data": {"embedding": [], "sparse_embedding": []}}],
    "images": [{"data": []}],
    "tokenization": [{"id": "1", "object": "list", "data": []}, {"object": "list"}, {"id": "1"}],
    "classification": [{"label": ""}, {"data": []}, {"id": "1"}, {"label": None, "label_logprobos": {}}],
    "count_tokens": [{"data": []}, {"id": "1"}, {"input_tokens": None}, {"label": "a"}],
    "file": [{"object": "list", "data": []}, {"data": []}, {"input_tokens": 3}],
    "models": [{"id": "1"}, {"label": "a"}, {"object": "list_of_errors"}],
    "tasks": [{"total": 3, "items": None}, {"id": "cgt-1"}],
    "context made": [{"data": []}, {"object": "list", "data": []}],
}
OTHERS = {
    "files": ("GET", "/api/v3/files", None),
    "context made": ("POST", "/api/v3/context/create", {"model": MODEL, "messages": []}),
}


@pytest.mark.parametrize(
    ("api", "body"), [(api, body) for api, bodies in LISTS.items() for body in bodies], ids=str
)
def test_a_list_without_items_is_an_answer_where_a_list_was_asked_for(ends, api, body):
    seen = ends(OTHERS.get(api, api), [document(body)])

    assert all_of(seen, "ok", "ok") == outcomes(seen)


@pytest.mark.parametrize(
    ("api", "body"), [(api, body) for api, bodies in NO_LISTS.items() for body in bodies], ids=str
)
def test_a_list_is_no_answer_where_something_else_was_asked_for(ends, api, body):
    seen = ends(OTHERS.get(api, api), [document(body), document(DOCUMENTS.get(api, {"id": "ctx-1"}))])

    assert all_of(seen, "error", "rescued_fallback" if api in MOVES else "error") == outcomes(seen)


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("count_tokens", {"input_tokens": 0}),
        ("file", {"id": "file-1", "status": "failed", "error": {"code": "C", "message": "m"}}),
        ("classification", {"label": "a", "label_logprobos": None}),
    ],
    ids=str,
)
def test_a_small_answer_is_one(ends, api, body):
    seen = ends(api, [document(body)])

    assert all_of(seen, "ok", "ok") == outcomes(seen)
