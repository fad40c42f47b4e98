"""Portkey's vocabulary: the gateway is only observed; its headers steer a direct call and never leave with it."""

import json
import logging

import pytest

from byteplus_trace import Policy, Retry, Target

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "hi"}]}
GATEWAY = "https://api.portkey.ai/v1"
SG, EU = "ap-southeast-1", "eu-west-1"
REPLY = {
    "id": "1",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}],
}
HEADERS = {
    "x-portkey-api-key": "pk-secret",
    "x-portkey-provider": "byteplus",
    "x-portkey-metadata": '{"_user": "u-7", "env": "prod"}',
    "x-portkey-trace-id": "t-1",
    "x-portkey-byteplus-region": EU,
}


@pytest.fixture
def policy(ark):
    return Policy(
        targets=[
            Target(
                "sg",
                region=SG,
                base_url=ark.base_url(SG),
                api_key="key-sg",
                models={"seed-1-6-250915": "ep-sg"},
            ),
            Target("eu", region=EU, base_url=ark.base_url(EU), api_key="key-eu"),
        ],
        retry=Retry(per_target=0),
    )


@pytest.fixture
def gateway(library, http):
    """gateway(body, headers): a call to Portkey's gateway, and the requests that reached it."""
    met = []

    def handler(request):
        met.append(request)
        return library.Response(200, json=REPLY)

    def call(body=CHAT, **headers):
        def work(client):
            return client.post(GATEWAY + "/chat/completions", json=body, headers=headers)

        async def awork(client):
            return await client.post(GATEWAY + "/chat/completions", json=body, headers=headers)

        http.run(work if http.colour == "sync" else awork, transport=library.MockTransport(handler))
        return met[-1]

    return call


def reached(ark):
    return {region.name: region.requests for region in ark.regions if region.requests}


def portkeys(headers):
    return sorted(name for name in headers if name.startswith("x-portkey"))


@pytest.mark.parametrize("routed", [False, True])
def test_the_gateway_is_observed_and_gets_everything_as_it_was(instrument, recorded, gateway, policy, routed):
    """No routing, no key, header or model changed, with a policy or without one."""
    instrument(policy=policy if routed else None)

    request = gateway(**HEADERS, Authorization="Bearer callers")

    assert HEADERS == {name: request.headers[name] for name in HEADERS}
    assert "Bearer callers" == request.headers["authorization"]
    assert CHAT == json.loads(request.content)
    assert "api.portkey.ai" == request.url.host
    span = recorded.one
    assert ("api.portkey.ai", EU) == (span.attributes["server.address"], span.attributes["cloud.region"])
    assert "u-7" == span.attributes["user.id"]
    assert "t-1" == span.attributes["byteplus.modelark.metadata.trace_id"]
    assert "pk-secret" not in "".join(span.to_json() for span in recorded.spans)
    assert 1 == recorded.series("modelark_operations_total", region=EU, outcome="ok")


@pytest.mark.parametrize("asked", [{"include_usage": True}, {"propagate": True}])
def test_what_is_put_into_calls_to_modelark_is_not_put_into_the_gateways(
    instrument, recorded, gateway, asked
):
    """Neither a question for usage nor a trace context."""
    streamed = {**CHAT, "stream": True}
    sent = {**HEADERS, "accept-encoding": "gzip"}
    bare = gateway(streamed, **sent)
    instrument(**asked)

    request = gateway(streamed, **sent)

    assert bare.content == request.content
    assert dict(bare.headers) == dict(request.headers)
    assert recorded.one.attributes["gen_ai.request.stream"]


def test_a_model_can_say_that_byteplus_is_behind_the_gateway(instrument, recorded, gateway):
    instrument()

    request = gateway({**CHAT, "model": "@byteplus-prod/seed-1-6"})

    assert "@byteplus-prod/seed-1-6" == json.loads(request.content)["model"]
    assert "@byteplus-prod/seed-1-6" == recorded.one.attributes["gen_ai.request.model"]


@pytest.mark.parametrize("provider", ["openai", "@anthropic-prod"])
def test_others_behind_the_gateway_are_not_told(instrument, recorded, gateway, provider):
    instrument()

    request = gateway(**{**HEADERS, "x-portkey-provider": provider})

    assert provider == request.headers["x-portkey-provider"]
    assert () == recorded.spans
    assert 0 == recorded.series("modelark_operations_total")


def test_a_direct_call_leaves_portkeys_headers_here(http, instrument, recorded, ark, sg):
    instrument()

    http.post(sg + "/chat/completions", CHAT, headers=HEADERS)

    (request,) = reached(ark)[SG]
    assert [] == portkeys(request.headers)
    assert CHAT == request.json
    assert "u-7" == recorded.one.attributes["user.id"]
    assert "prod" == recorded.one.attributes["byteplus.modelark.metadata.env"]


def test_the_callers_own_request_keeps_them(http, instrument, sg):
    """What leaves is a copy; hooks and retries above see what they sent."""
    instrument()

    reply = http.post(sg + "/chat/completions", CHAT, headers=HEADERS)

    assert sorted(HEADERS) == portkeys(reply.request.headers)


def test_a_silenced_call_leaves_them_here_too(http, instrument, recorded, ark, sg):
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    instrument()

    with suppress_instrumentation():
        http.post(sg + "/chat/completions", CHAT, headers=HEADERS)

    (request,) = reached(ark)[SG]
    assert [] == portkeys(request.headers)
    assert () == recorded.spans


def test_without_a_policy_the_region_header_is_ignored_with_one_warning(http, instrument, ark, sg, caplog):
    instrument()

    with caplog.at_level(logging.WARNING, "byteplus_trace"):
        for _ in range(3):
            http.post(sg + "/chat/completions", CHAT, headers={"x-portkey-byteplus-region": EU})

    assert [SG] == [*reached(ark)]
    (record,) = [record for record in caplog.records if record.name == "byteplus_trace"]
    assert "x-portkey-byteplus-region" in record.getMessage()
    assert "policy" in record.getMessage()


def test_with_a_policy_the_region_header_is_obeyed(http, instrument, recorded, ark, sg, policy):
    instrument(policy=policy)

    http.post(sg + "/chat/completions", CHAT, headers={"x-portkey-byteplus-region": EU})

    (request,) = reached(ark)[EU]
    assert [EU] == [*reached(ark)]
    assert [] == portkeys(request.headers)
    assert EU == recorded.one.attributes["cloud.region"]


def test_a_model_can_name_its_target(http, instrument, recorded, ark, sg, policy):
    instrument(policy=policy)

    http.post(sg + "/chat/completions", {**CHAT, "model": "@eu/seed-1-6-250915"})

    (request,) = reached(ark)[EU]
    assert "seed-1-6-250915" == request.json["model"]
    assert "eu" == recorded.one.attributes["byteplus.modelark.target"]


def test_a_named_target_maps_the_model_as_ever(http, instrument, ark, sg, policy):
    instrument(policy=policy)

    http.post(sg + "/chat/completions", {**CHAT, "model": "@sg/seed-1-6-250915"})

    assert "ep-sg" == reached(ark)[SG][0].json["model"]


def test_a_model_can_leave_the_target_open(http, instrument, ark, sg, policy):
    ark.region(SG).refuses()
    instrument(policy=policy)

    http.post(sg + "/chat/completions", {**CHAT, "model": "@byteplus/seed-1-6-250915"})

    assert "seed-1-6-250915" == reached(ark)[EU][0].json["model"]


def test_a_gateway_config_in_a_header_is_taken_off_and_not_obeyed(http, instrument, ark, sg, policy):
    instrument(policy=policy)
    config = json.dumps({"strategy": {"mode": "single"}, "targets": [{"provider": "openai", "api_key": "x"}]})

    http.post(sg + "/chat/completions", CHAT, headers={"x-portkey-config": config})

    (request,) = reached(ark)[SG]
    assert [] == portkeys(request.headers)
