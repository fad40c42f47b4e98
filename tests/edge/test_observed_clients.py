"""aiohttp's client and requests: their calls are seen as others are, never moved, and nothing of them changes."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging

import aiohttp
import httpx
import pytest
import requests

import byteplus_trace
from byteplus_trace import Policy, Target
from byteplus_trace._edge import aiohttp_client, hint, requests_adapter
from byteplus_trace._edge.observed import Observed

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
KEY = {"Authorization": "Bearer any"}


class Requests:
    """One call of requests: its status and its body, read whole or in parts."""

    def post(self, url, document, how="whole", **options):
        with (
            requests.Session() as session,
            session.post(
                url, json=document, headers=KEY, stream=how != "whole", timeout=5, **options
            ) as reply,
        ):
            if how == "whole":
                return reply.status_code, reply.content
            if how == "lines":
                return reply.status_code, b"\n".join(reply.iter_lines(chunk_size=7))
            if how == "raw":
                return reply.status_code, reply.raw.read()
            if how == "left":
                return reply.status_code, next(reply.iter_content(5))
            return reply.status_code, b"".join(reply.iter_content(7))


class Aiohttp:
    """As `Requests`, of aiohttp."""

    def post(self, url, document, how="whole", **options):
        async def main():
            async with (
                aiohttp.ClientSession(headers=KEY, **options) as session,
                session.post(url, json=document) as reply,
            ):
                if how == "whole":
                    return reply.status, await reply.read()
                if how == "lines":
                    return reply.status, b"".join([line async for line in reply.content])
                if how == "raw":
                    return reply.status, await reply.content.read()
                if how == "left":
                    return reply.status, await reply.content.read(5)
                return reply.status, b"".join([part async for part in reply.content.iter_chunked(7)])

        return asyncio.run(main())


@pytest.fixture(params=[Requests, Aiohttp])
def client(request):
    return request.param()


@pytest.mark.parametrize("how", ["whole", "parts", "lines", "raw"])
@pytest.mark.parametrize("document", [CHAT, STREAM], ids=["document", "stream"])
def test_a_call_is_seen_and_its_bytes_are_its_own(instrument, recorded, client, sg, ark, document, how):
    without = client.post(sg + "/chat/completions", document, how)
    ark.region("ap-southeast-1").requests.clear()
    instrument()

    status, body = client.post(sg + "/chat/completions", document, how)

    assert (without[0], len(without[1])) == (status, len(body))
    (span,) = recorded.logical
    assert "ok" == span.attributes["byteplus.modelark.outcome"]
    assert "seed-1-6-250915" == span.attributes["gen_ai.request.model"]
    assert span.attributes["gen_ai.usage.output_tokens"] > 0
    (attempt,) = recorded.attempts
    assert span.context.span_id == attempt.parent.span_id
    assert 1 == recorded.series("modelark_operations_total", outcome="ok")
    (request,) = ark.region("ap-southeast-1").requests
    assert not [name for name in request.headers if name in {"traceparent", "baggage"}]


def test_a_refusal_is_told_with_its_code(instrument, recorded, client, sg, ark):
    ark.region("ap-southeast-1").fails(429, code="RateLimitExceeded.EndpointRPMExceeded")
    instrument()

    assert 429 == client.post(sg + "/chat/completions", CHAT)[0]

    assert "RateLimitExceeded" == recorded.one.attributes["error.type"]


def test_a_stream_that_is_left_is_cancelled(instrument, recorded, client, sg):
    instrument()

    client.post(sg + "/chat/completions", STREAM, "left")
    gc.collect()
    byteplus_trace.flush()

    (exchange,) = recorded.exchanges
    assert "cancelled" == exchange.outcome


def test_where_there_is_no_connection_the_librarys_own_error_comes(instrument, recorded, client):
    instrument(base_urls={"http://127.0.0.1:1/api/v3": "ap-southeast-1"})

    with pytest.raises((requests.ConnectionError, aiohttp.ClientConnectorError)):
        client.post("http://127.0.0.1:1/api/v3/chat/completions", CHAT)

    (exchange,) = recorded.exchanges
    assert ("error", "connect") == (exchange.outcome, exchange.reason)


def test_a_policy_moves_no_call_of_these_clients(instrument, recorded, client, sg, ark):
    ark.region("ap-southeast-1").fails(503)
    instrument(
        policy=Policy(
            targets=[
                Target("eu", region="eu-west-1", base_url=ark.base_url("eu-west-1"), api_key="k"),
                Target("sg", region="ap-southeast-1", base_url=sg, api_key="k"),
            ]
        )
    )

    assert 503 == client.post(sg + "/chat/completions", CHAT)[0]

    assert 1 == len(recorded.attempts)
    assert [] == ark.region("eu-west-1").requests


@pytest.mark.parametrize("of_modelark", [True, False])
def test_headers_that_can_be_read_once_are_for_aiohttp_to_read(instrument, sg, ark, of_modelark):
    instrument(**({} if of_modelark else {"base_urls": {"http://localhost:1/api/v3": "ap-southeast-1"}}))

    async def main():
        async with aiohttp.ClientSession() as session:
            headers = iter([*KEY.items(), ("X-Mine", "1")])
            await session.post(sg + "/chat/completions", json=CHAT, headers=headers)

    asyncio.run(main())

    (request,) = ark.requests
    assert ("any", "1") == (request.headers["authorization"], request.headers["x-mine"])


def test_nothing_is_read_of_a_request_to_somebody_else(instrument, client, sg, monkeypatch):
    """Neither what it costs to read it, nor what comes of reading it, is a stranger's to bear."""
    instrument(base_urls={"http://localhost:1/api/v3": "ap-southeast-1"})
    for module in (aiohttp_client, requests_adapter):
        monkeypatch.setattr(module, "_parts_of", lambda *_: pytest.fail("it was read"))

    assert 200 == client.post(sg + "/chat/completions", CHAT)[0]


def test_a_body_is_read_with_every_argument_that_urllib3_takes(instrument, sg):
    instrument()
    with requests.post(sg + "/chat/completions", json=CHAT, headers=KEY, stream=True, timeout=5) as reply:
        assert b"{" == reply.raw.read(1, True, False)
        assert reply.raw.read1(5, True) + reply.raw.read(amt=None, decode_content=True)


def test_a_coding_in_several_lines_is_one(instrument, recorded, sg):
    """As of aiohttp where it does not decode."""
    document = b'{"id":"1","choices":[{"index":0,"finish_reason":"stop","message":{"content":"Rhine"}}]}'
    instrument()

    observed = Observed.begin("POST", sg + "/chat/completions", lambda: ([], json.dumps(CHAT).encode()))
    observed.sent()
    codings = [("Content-Encoding", coding) for coding in ("gzip", "identity")]
    observed.replied(200, [("Content-Type", "application/json"), *codings], decoded=False)
    observed.reads(gzip.compress(document))
    observed.exhausted()

    (exchange,) = recorded.exchanges
    assert "ok" == exchange.outcome


def test_an_exception_that_aiohttp_makes_of_a_refusal_is_a_refusal(instrument, recorded, sg, ark):
    ark.region("ap-southeast-1").fails(503)
    instrument()

    with pytest.raises(aiohttp.ClientResponseError):
        Aiohttp().post(sg + "/chat/completions", CHAT, raise_for_status=True)

    (exchange,) = recorded.exchanges
    assert (503, "error") == (exchange.status, exchange.outcome)


def test_a_call_that_is_cancelled_is_told_as_that(instrument, recorded, sg, ark):
    ark.region("ap-southeast-1").hangs()
    instrument()

    async def main():
        async with aiohttp.ClientSession(headers=KEY) as session:
            async with asyncio.timeout(0.05):
                await session.post(sg + "/chat/completions", json=CHAT)

    with pytest.raises(TimeoutError):
        asyncio.run(main())

    (exchange,) = recorded.exchanges
    assert "cancelled" == exchange.outcome


def methods():
    """By identity: a wrapper says that it equals what it wraps."""
    return [
        id(aiohttp.ClientSession.__dict__["_request"]),
        id(requests.adapters.HTTPAdapter.__dict__["send"]),
    ]


def test_after_uninstrument_the_classes_are_as_they_were(instrument, recorded, client, sg):
    before = methods()
    instrument()
    assert not any(each in before for each in methods())
    byteplus_trace.uninstrument()

    assert before == methods()
    client.post(sg + "/chat/completions", CHAT)
    assert [] == recorded.exchanges


def test_an_unread_response_can_be_pickled_and_compared_as_before(instrument, recorded, sg):
    import pickle

    instrument()
    reply = requests.post(sg + "/chat/completions", json=CHAT, headers=KEY, timeout=5)

    assert reply.content == pickle.loads(pickle.dumps(reply)).content
    assert "chat.completion" == json.loads(reply.text)["object"]


@pytest.mark.parametrize(
    ("url", "hinted"),
    [
        ("http://localhost:1/ark/api/v3/chat/completions", True),
        ("http://localhost:1/api/compatible/v1/messages", True),
        ("http://localhost:1/v1/chat/completions", False),
        ("http://localhost:1/api/v3/users", False),
    ],
)
@pytest.mark.parametrize(
    "post", [httpx.post, lambda url: Requests().post(url, {}), lambda url: Aiohttp().post(url, {})]
)
def test_a_host_that_nobody_named_with_modelarks_path_is_hinted_at_once(
    instrument, caplog, monkeypatch, url, hinted, post
):
    monkeypatch.setattr(hint, "_hinted", [])
    instrument()

    with caplog.at_level(logging.INFO, "byteplus_trace"):
        for _ in range(2):
            with pytest.raises((httpx.ConnectError, requests.ConnectionError, aiohttp.ClientConnectorError)):
                post(url)

    hints = [record for record in caplog.records if "looks like ModelArk's" in record.getMessage()]
    assert hinted == (1 == len(hints))


def test_a_call_that_httpx_sends_over_another_client_is_seen_once(instrument, recorded, sg, client):
    """As openai's `DefaultAioHttpClient` and LiteLLM do."""
    instrument()

    class Transport(httpx.BaseTransport):
        def handle_request(self, request):
            status, content = client.post(str(request.url), json.loads(request.read()))
            return httpx.Response(status, content=content)

    with httpx.Client(transport=Transport()) as caller:
        assert 200 == caller.post(sg + "/chat/completions", json=CHAT, headers=KEY).status_code

    byteplus_trace.flush()
    assert 1 == len(recorded.exchanges)
