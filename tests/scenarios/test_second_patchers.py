"""Others who patch where we do, and call what they found there in their own manner."""

import functools

import httpx
import pytest
import respx

import byteplus_trace
from byteplus_trace import Policy, Target

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
POINT = "_transport_for_url"


@pytest.fixture(params=["before us", "after us"])
def order(request):
    return request.param


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("found_by", ["the class", "its dict"])
def test_a_patcher_may_call_the_original_with_the_client_first(
    http, library, instrument, recorded, sg, monkeypatch, order, found_by, routed
):
    """As respx does; functions are taken off classes in both of these manners."""
    policy = Policy(targets=[Target("sg", region="ap-southeast-1", base_url=sg, api_key="k")])
    if order == "before us":
        instrument(policy=policy if routed else None)
    kind = library.Client if http.colour == "sync" else library.AsyncClient
    original = getattr(kind, POINT) if found_by == "the class" else kind.__dict__[POINT]
    seen = []

    def theirs(self, *args, **kwargs):
        seen.append(args or kwargs)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, POINT, functools.wraps(original)(theirs))
    if order == "after us":
        instrument(policy=policy if routed else None)

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code
    assert seen
    assert 1 == len(recorded.exchanges)
    byteplus_trace.uninstrument()


def test_what_respx_passes_through_is_seen(instrument, recorded, sg, order):
    if order == "before us":
        instrument()
    with respx.mock(using="httpx") as mocked:
        mocked.post("https://ark.eu-west.bytepluses.com/api/v3/chat/completions").respond(503)
        mocked.post(sg + "/chat/completions").pass_through()
        if order == "after us":
            instrument()
        key = {"authorization": "Bearer any"}
        assert 200 == httpx.post(sg + "/chat/completions", json=CHAT, headers=key).status_code
        assert 503 == httpx.post("https://ark.eu-west.bytepluses.com/api/v3/chat/completions").status_code
        byteplus_trace.uninstrument()

    byteplus_trace.flush()
    # Who patched last stands outside: what respx answers there itself never comes to us.
    assert {"before us": [200], "after us": [200, 503]}[order] == [each.status for each in recorded.exchanges]


@pytest.mark.parametrize("port", [65536, 99999])
@pytest.mark.parametrize("host", ["ark.eu-west.bytepluses.com", "127.0.0.1"])
@pytest.mark.parametrize("routed", [False, True])
def test_a_port_that_is_none_is_the_librarys_to_refuse(
    http, library, instrument, recorded, port, host, routed
):
    url, sent = f"http://{host}:{port}/api/v3/chat/completions", []
    policy = Policy(targets=[Target("eu", region="eu-west-1", api_key="k", only={"images"})])
    instrument(policy=policy if routed else None, base_urls={"http://127.0.0.1:65535/api/v3": "eu-west-1"})

    def answer(request):
        sent.append(str(request.url))
        return library.Response(200, json={})

    http.run(*posting(http, url), transport=library.MockTransport(answer))

    assert url == sent[0]


def posting(http, url):
    async def awork(client):
        return await client.post(url, json=CHAT)

    return ((lambda client: client.post(url, json=CHAT)) if http.colour == "sync" else awork,)
