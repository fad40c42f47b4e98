"""Faults: which requests meet them, and what the client sees."""

import httpx
import pytest

from byteplus_trace.testing import FakeRegion

SG = "ap-southeast-1"
EU = "eu-west-1"
MODEL = "seed-2-0-lite-260428"
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Good morning, all!"}]


def test_faults_happen_in_order_and_pass(client, sg, chat):
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
def test_a_fault_can_be_of_one_operation_api_or_model(client, sg, scope, chat):
    sg.fails(503, on=scope)
    embed = {"model": "skylark", "input": [{"type": "text", "text": "a"}]}

    assert 200 == client.post("/chat/completions", json=chat()).status_code
    assert 503 == client.post("/embeddings/multimodal", json=embed).status_code


def test_one_region_fails_and_the_other_does_not(ark, client):
    ark.region(SG).fails(503)

    assert 503 == client.get("/models").status_code
    assert 200 == httpx.get(f"{ark.base_url(EU)}/models", headers=client.headers).status_code


def test_a_request_that_fails_costs_no_answer_and_stores_nothing(client, sg, chat):
    sg.answers("Bonjour.", times=1)
    sg.fails(503, times=1)
    replies = [client.post("/chat/completions", json=chat()) for _ in range(2)]

    assert [503, 200] == [reply.status_code for reply in replies]
    assert "Bonjour." == replies[1].json()["choices"][0]["message"]["content"]


ERROR_FORMS = {
    "/chat/completions": lambda e: e["error"]["code"],
    "/responses": lambda e: {"error": e["code"]}[e["type"]],
    "/images/generations": lambda e: e["error"]["code"],
    "/messages": lambda e: {"error": e["error"]["code"]}[e["type"]],
}


@pytest.mark.parametrize("path", ERROR_FORMS)
@pytest.mark.parametrize("after", [0, 1])
def test_an_error_in_a_stream_has_the_form_of_its_api(client, sg, path, after, events):
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


def test_an_empty_200_and_a_page_are_no_json(client, sg, chat):
    sg.answers_empty(times=1)
    sg.answers_html(times=1)
    empty, page = (client.post("/chat/completions", json=chat()) for _ in range(2))

    assert (200, b"") == (empty.status_code, empty.content)
    assert (200, "text/html") == (page.status_code, page.headers["content-type"])


def test_recorded_bytes_are_replayed_event_by_event(client, sg, chat, events):
    sg.replays(b'data: {"a":1}\n\ndata: [DONE]\n\n', content_type="text/event-stream")

    assert [{"a": 1}, "[DONE]"] == events(client.post("/chat/completions", json=chat(stream=True)).text)


ASKING = {
    "/chat/completions": {"messages": MESSAGES},
    "/bots/chat/completions": {"messages": MESSAGES},
    "/responses": {"input": "Hi"},
    "/messages": {"messages": MESSAGES},
    "/images/generations": {"prompt": "A cat"},
}


@pytest.mark.parametrize("path", ASKING)
@pytest.mark.parametrize("name", FakeRegion.ODD_REPLIES)
def test_an_odd_reply_stands_in_the_place_of_the_usual_one(client, sg, path, name):
    asked = {"model": MODEL, "stream": True, **ASKING[path]}
    usual = client.post(path, json=asked)
    sg.answers_oddly(name, times=1)
    odd, again = client.post(path, json=asked), client.post(path, json=asked)

    assert [200, 200] == [odd.status_code, again.status_code]
    assert (odd.content, odd.headers.get("content-type")) != (usual.content, usual.headers["content-type"])
    assert usual.content.count(b"\n\n") == again.content.count(b"\n\n")


ENDS = [b"[DONE]", b"response.completed", b"image_generation.completed", b"message_stop"]


@pytest.mark.parametrize("path", ASKING)
def test_each_odd_stream_is_what_its_name_means(client, sg, path):
    def stream(name, **options):
        sg.answers_oddly(name, times=1, **options)
        body = client.post(path, json={"model": MODEL, "stream": True, **ASKING[path]}).content
        return [event for event in body.split(b"\n\n") if event]

    def ends(event):
        return any(end in event for end in ENDS)

    assert [True] == [ends(event) for event in stream("only_end")]
    assert [True] == [b"InternalServiceError" in event for event in stream("error_first")]
    *output, error = stream("error_last")
    assert output
    assert not any(map(ends, output))
    assert b"InternalServiceError" in error
    document, end = stream("error_and_end")
    assert (True, b"data: [DONE]") == (document.startswith(b"{"), end)
    assert b"InternalServiceError" in document
    unreadable, end = stream("unreadable_first")
    assert (b"data: upstream busy", True) == (unreadable, ends(end))
    assert 0 == len(stream("ends_early", after_events=0))
    assert 1 == len(stream("ends_early"))


def test_an_odd_stream_meets_no_request_for_a_document(client, sg, chat):
    sg.answers_oddly("error_first")

    assert client.post("/chat/completions", json=chat()).json()["choices"]


def test_an_odd_reply_that_there_is_not_is_refused(sg):
    with pytest.raises(ValueError, match="There is no odd reply 'page1'"):
        sg.answers_oddly("page1")
