"""Which requests are served, and what is kept of them."""

import httpx
import pytest

from byteplus_trace._apis import APIS
from byteplus_trace._fake import handler
from byteplus_trace._wire import routes
from byteplus_trace.testing import ModelArk

SG = "ap-southeast-1"
EU = "eu-west-1"


@pytest.mark.parametrize("model", ["doubao-1-5-pro-32k-250115", "glm-5-2-260617"])
def test_a_model_that_is_not_here_is_a_404(client, sg, model, chat):
    sg.serves("seed-*")

    reply = client.post("/chat/completions", json=chat(model=model))

    assert (404, "InvalidEndpointOrModel.NotFound") == (reply.status_code, reply.json()["error"]["code"])


# Rows of the library's table for which the service has no API: an SDK has the method, the service answers 404.
ABSENT = {("GET", "/models/{id}")}
UNKNOWN = [
    ("POST", "/images/edits"),
    ("POST", "/audio/speech"),
    ("GET", "/models/seed-2-0"),
    ("PUT", "/models"),
]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_a_path_that_the_service_does_not_have_is_a_404(client, method, path):
    reply = client.request(method, path, json={})

    assert (404, "InvalidAction") == (reply.status_code, reply.json()["error"]["code"])
    assert reply.headers["x-request-id"] in reply.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_a_vague_service_answers_such_a_path_with_an_empty_200(method, path):
    with ModelArk(vague=True) as ark:
        reply = httpx.request(method, ark.base_url(SG) + path, json={})

    assert (200, b"") == (reply.status_code, reply.content)


def test_a_head_request_is_answered_without_a_body(client):
    """Else the next request on the connection would read it."""
    head, after = client.head("/models"), client.get("/models")

    assert (404, b"", 200) == (head.status_code, head.content, after.status_code)


def test_ping_answers_at_the_root_of_the_host(client, sg):
    assert {"message": "pong"} == client.get(f"http://127.0.0.1:{sg.port}/ping").json()


def test_a_request_without_a_key_is_a_401(sg, chat):
    reply = httpx.post(f"{sg.base_url}/chat/completions", json=chat())

    assert 401 == reply.status_code
    assert "AuthN_MissOrInvalidAuthorizationHeader" == reply.headers["x-error-code"]
    assert "AuthenticationError" == reply.json()["error"]["code"]


def test_a_key_of_one_region_is_refused_by_the_other(ark, chat):
    ark.region(SG).keys = {"singapore": "s-1"}
    ark.region(EU).keys = {"dublin": "d-1"}
    headers = {"Authorization": "Bearer s-1"}

    statuses = [httpx.post(f"{url}/chat/completions", json=chat(), headers=headers).status_code for url in ark.base_urls]  # fmt: skip

    assert [200, 401] == statuses
    assert ["singapore", None] == [request.key for request in ark.requests]
    assert [] == [request for request in ark.requests if "s-1" in str(request.headers)]


@pytest.mark.parametrize("keys", [{"s-1"}, ["s-1"], "s-1"], ids=["set", "list", "text"])
def test_keys_without_names_are_refused_and_not_shown(sg, keys):
    with pytest.raises(TypeError, match="keys map a name to each secret") as caught:
        sg.keys = keys

    assert "s-1" not in str(caught.value)


def test_a_classification_has_the_first_label_and_usage(client):
    asked = {"model": "m", "query": "It rains again", "labels": ["sad mood", "glad"]}
    body = client.post("/classification", json=asked).json()

    assert ("sad mood", 3, 2) == (
        body["label"],
        body["usage"]["prompt_tokens"],
        body["usage"]["completion_tokens"],
    )
    assert ["sad mood", "glad"] == list(body["label_logprobos"])


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_certificate_has_the_form_that_the_sdk_reads(client, method):
    body = client.request(method, "/e2e/get/certificate", json={"model": "ep-1"}).json()

    assert body["Certificate"].startswith("-----BEGIN CERTIFICATE-----")


def test_each_request_is_kept_as_it_was_received(client, sg, chat):
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


@pytest.mark.parametrize("status", ["503", 5, 600])
def test_a_failure_has_the_status_of_one(sg, status):
    with pytest.raises(ValueError, match="write a status from 200 to 599, such as 503"):
        sg.fails(status)


def test_one_region_is_a_list_of_one():
    with pytest.raises(TypeError, match=r"regions='eu-west-1': write a list, such as \['eu-west-1'\]"):
        ModelArk("eu-west-1")


def test_nonsense_is_refused_with_the_fix(ark, sg):
    with pytest.raises(LookupError, match="it has: ap-southeast-1, eu-west-1"):
        ark.region("eu-wst")
    with pytest.raises(ValueError, match="times=0"):
        sg.hangs(times=0)
    with pytest.raises(ValueError, match="1 ports for 2 regions"):
        ModelArk(ports=[1])
    with pytest.raises(LookupError, match="Start it first"):
        ModelArk().region(SG)


@pytest.mark.parametrize("route", handler.ROUTES, ids=lambda route: f"{route.method} {route.path.pattern}")
def test_the_fake_and_the_library_call_an_api_by_the_same_name(route):
    path = route.path.pattern.replace("[^/]+", "some-id")
    seen = routes.match(route.method, f"/api/v3{path}").api

    assert route is handler.route_of(route.method, path)
    assert (seen.operation, seen.name) == (route.operation, route.api)


def test_the_fake_has_every_api_that_the_library_knows_and_no_other():
    faked = {(route.method, route.path.pattern.replace("[^/]+", "{id}")) for route in handler.ROUTES}
    known = {(api.method, api.pattern) for api in APIS}

    assert known - ABSENT == faked
    assert ABSENT <= known


def test_a_long_running_log_keeps_only_the_last():
    with ModelArk(keeps=2) as ark:
        for path in ("a", "b", "c"):
            httpx.get(f"{ark.base_url(SG)}/{path}")

        assert ["/b", "/c"] == [request.path for request in ark.region(SG).requests]
