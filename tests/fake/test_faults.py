"""Faults: which requests meet them, and what the client sees."""

import httpx
import pytest

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
