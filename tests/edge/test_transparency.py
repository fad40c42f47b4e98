"""
Without a policy the caller sees what it would see without us: bytes, headers, objects, exceptions, timing.

Most claims are made by doing the same thing twice, bare and watched, and comparing.
"""

import gzip
import json
import time

import anyio
import pytest

from byteplus_trace import Policy, Retry, Target
from byteplus_trace._telemetry import guard
from byteplus_trace.testing import ModelArk

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED = {**CHAT, "stream": True}
ARK = "https://ark.ap-southeast.bytepluses.com/api/v3"
EVENTS = [
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Rhine"}}]}\n\n',
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]
REPLY = {
    "id": "1",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}],
}


async def _agen(parts):
    for part in parts:
        yield part


class Parts:
    """A body of ours in both colours, that counts what was asked of it."""

    def __init__(self, library, parts):
        self.parts = parts
        self.yielded = 0
        self.closed = 0
        outer = self

        class Sync(library.SyncByteStream):
            def __iter__(self):
                for part in outer.parts:
                    outer.yielded += 1
                    yield part

            def close(self):
                outer.closed += 1

        class Async(library.AsyncByteStream):
            async def __aiter__(self):
                for part in outer.parts:
                    outer.yielded += 1
                    yield part

            async def aclose(self):
                outer.closed += 1

        self.sync, self.asynchronous = Sync, Async


def mock(library, colour, handler):
    """A transport of that colour that answers by a function, reading no request."""
    if colour == "sync":

        class Mock(library.BaseTransport):
            def handle_request(self, request):
                return handler(request)
    else:

        class Mock(library.AsyncBaseTransport):
            async def handle_async_request(self, request):
                return handler(request)

    return Mock()


def stream_of(http, parts):
    return parts.sync() if http.colour == "sync" else parts.asynchronous()


@pytest.fixture
def compressing():
    with ModelArk(compress=True) as fake:
        yield fake


# Ways to read a reply to its end; each returns something that can be compared.
READINGS = {
    "whole": (lambda r: r.read(), "aread"),
    "raw": (lambda r: b"".join(r.iter_raw()), "aiter_raw"),
    "bytes": (lambda r: b"".join(r.iter_bytes()), "aiter_bytes"),
    "text": (lambda r: "".join(r.iter_text()), "aiter_text"),
    "lines": (lambda r: list(r.iter_lines()), "aiter_lines"),
}


def read(http, url, body, reading, **options):
    """The reply as read in that way."""
    sync, name = READINGS[reading]

    def work(client):
        with client.stream("POST", url, json=body) as response:
            return sync(response), dict(response.headers), response.num_bytes_downloaded

    async def awork(client):
        async with client.stream("POST", url, json=body) as response:
            if name == "aread":
                return await response.aread(), dict(response.headers), response.num_bytes_downloaded
            found = [part async for part in getattr(response, name)()]
            return found, dict(response.headers), response.num_bytes_downloaded

    return http.run(work if http.colour == "sync" else awork, **options)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity"])
@pytest.mark.parametrize("reading", READINGS)
def test_a_coded_reply_reads_the_same_in_every_way(http, instrument, recorded, compressing, coding, reading):
    region = compressing.region("ap-southeast-1")
    region.replays(json.dumps(REPLY).encode() * 1, headers={"x-own": "kept"})
    options = {"headers": {"Authorization": "Bearer k", "Accept-Encoding": coding}}
    bare = read(http, region.base_url + "/chat/completions", CHAT, reading, **options)
    instrument(base_urls=compressing.base_urls)

    watched = read(http, region.base_url + "/chat/completions", CHAT, reading, **options)

    for changing in ("x-request-id", "x-envoy-upstream-service-time", "date"):
        bare[1].pop(changing, None)
        watched[1].pop(changing, None)
    assert bare == watched
    assert ("stop",) == recorded.one.attributes["gen_ai.response.finish_reasons"]


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_coded_stream_is_understood_and_passes_as_it_is(http, instrument, recorded, compressing, coding):
    region = compressing.region("eu-west-1")
    region.replays(b"".join(EVENTS), content_type="text/event-stream")
    options = {"headers": {"Authorization": "Bearer k", "Accept-Encoding": coding}}
    instrument(base_urls=compressing.base_urls)

    raw, headers, size = read(http, region.base_url + "/chat/completions", STREAMED, "raw", **options)
    (lines, _, _) = read(http, region.base_url + "/chat/completions", STREAMED, "lines", **options)

    assert coding == headers["content-encoding"]
    raw = raw if http.colour == "sync" else b"".join(raw)
    assert size == len(raw)
    assert [line for line in b"".join(EVENTS).decode().split("\n") if line] == [
        line for line in lines if line
    ]
    assert ["ok", "ok"] == [exchange.outcome for exchange in recorded.exchanges]
    assert {1} == {exchange.chunks for exchange in recorded.exchanges}


def test_nothing_is_read_before_the_caller_asks(http, instrument, recorded, library):
    parts = Parts(library, EVENTS)
    transport = mock(
        library,
        http.colour,
        lambda _request: library.Response(
            200, headers={"content-type": "text/event-stream"}, stream=stream_of(http, parts)
        ),
    )
    instrument(base_urls={})
    seen = []

    def work(client):
        with client.stream("POST", ARK + "/chat/completions", json=STREAMED) as response:
            seen.append((parts.yielded, response.is_stream_consumed, response.is_closed))
            reader = response.iter_raw()
            next(reader)
            seen.append(parts.yielded)
            assert EVENTS[1:] == list(reader)
        seen.append((response.is_stream_consumed, response.is_closed, parts.closed))

    async def awork(client):
        async with client.stream("POST", ARK + "/chat/completions", json=STREAMED) as response:
            seen.append((parts.yielded, response.is_stream_consumed, response.is_closed))
            reader = response.aiter_raw()
            await anext(reader)
            seen.append(parts.yielded)
            assert EVENTS[1:] == [part async for part in reader]
        seen.append((response.is_stream_consumed, response.is_closed, parts.closed))

    http.run(work if http.colour == "sync" else awork, transport=transport)

    assert [(0, False, False), 1, (True, True, 1)] == seen
    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]


def test_events_come_when_the_service_says_them(http, instrument, recorded, sg, ark):
    """The service waits for its reader: who held an event back until the next one would wait for ever."""
    region = ark.region("ap-southeast-1")
    region.hangs(after_events=1)
    instrument()

    def work(client):
        with client.stream("POST", sg + "/chat/completions", json=STREAMED) as response:
            parts = response.iter_raw()
            first = next(parts)
            region.recovers()
            return first, b"".join(parts)

    async def awork(client):
        async with client.stream("POST", sg + "/chat/completions", json=STREAMED) as response:
            parts = response.aiter_raw()
            first = await anext(parts)
            region.recovers()
            return first, b"".join([part async for part in parts])

    first, rest = http.run(work if http.colour == "sync" else awork)

    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")


def test_the_callers_request_is_the_one_that_travels(http, instrument, library):
    """The same object at the transport and on the response: auth flows and hooks keep state on it."""
    met = []

    def handler(request):
        met.append(request)
        return library.Response(200, json=REPLY)

    instrument(base_urls={})

    def work(client):
        request = client.build_request("POST", ARK + "/chat/completions", json=CHAT)
        return request, client.send(request)

    async def awork(client):
        request = client.build_request("POST", ARK + "/chat/completions", json=CHAT)
        return request, await client.send(request)

    request, response = http.run(
        work if http.colour == "sync" else awork, transport=library.MockTransport(handler)
    )

    assert met == [request]
    assert response.request is request
    assert REPLY == response.json()


def test_a_responses_extensions_are_the_librarys(http, instrument, sg):
    bare = http.post(sg + "/chat/completions", CHAT)
    instrument()

    watched = http.post(sg + "/chat/completions", CHAT)

    assert set(bare.extensions) == set(watched.extensions)
    assert type(bare) is type(watched)
    assert bare.http_version == watched.http_version
    assert watched.elapsed.total_seconds() > 0


FAILURES = {
    "refused": (lambda region: region.refuses(), "ConnectError"),
    "reset": (lambda region: region.resets(), "ReadError"),
    "closed": (lambda region: region.closes(), "RemoteProtocolError"),
    "no http": (lambda region: region.answers_garbage(), "RemoteProtocolError"),
    "silent": (lambda region: region.hangs(), "ReadTimeout"),
    "cut": (lambda region: region.cuts(after_events=1), "RemoteProtocolError"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_an_exception_is_the_very_one_of_the_library(http, instrument, recorded, sg, ark, library, failure):
    fail, name = FAILURES[failure]
    fail(ark.region("ap-southeast-1"))
    raised = []
    for watching in (False, True):
        if watching:
            instrument()
        with pytest.raises(library.TransportError) as caught:
            http.run(poster(http, sg), timeout=0.3)
        raised.append(caught.value)

    bare, watched = raised
    assert type(bare) is type(watched) is getattr(library, name)
    assert str(bare) == str(watched)
    assert watched.request.url == sg + "/chat/completions"
    assert name == recorded.one.attributes["error.type"]
    assert 0 == recorded.series("modelark_operations_in_flight")


def poster(http, base_url, body=CHAT):
    def work(client):
        return client.post(base_url + "/chat/completions", json=body)

    async def awork(client):
        return await client.post(base_url + "/chat/completions", json=body)

    return work if http.colour == "sync" else awork


class OwnError(Exception):
    """Of a transport that somebody wrote."""


def caught_while_handling(http, base_url):
    """A call made while another exception is handled, as SDKs repeat theirs; what it raised."""
    post = poster(http, base_url)

    def work(client):
        try:
            int("the caller is handling this")
        except ValueError:
            try:
                post(client)
            except http.library.TransportError as error:
                return error

    async def awork(client):
        try:
            int("the caller is handling this")
        except ValueError:
            try:
                await post(client)
            except http.library.TransportError as error:
                return error

    return work if http.colour == "sync" else awork


@pytest.mark.parametrize("routed", [False, True])
def test_an_exception_keeps_what_it_came_of(http, instrument, sg, library, routed):
    target = Target("sg", region="ap-southeast-1", base_url=sg, api_key="k")
    instrument(policy=Policy([target], retry=Retry(per_target=0)) if routed else None)

    def fails(request):
        try:
            {}["the reason"]
        except KeyError:
            raise library.ConnectError("refused")  # noqa: B904  as somebody's transport does

    error = http.run(caught_while_handling(http, sg), transport=library.MockTransport(fails))

    assert isinstance(error.__context__, KeyError)


def test_an_exception_of_somebodys_own_transport_passes(http, instrument, recorded, library):
    raised = OwnError("mine")

    def handler(_request):
        raise raised

    instrument(base_urls={})

    with pytest.raises(OwnError) as caught:
        http.run(poster(http, ARK), transport=mock(library, http.colour, handler))

    assert caught.value is raised
    assert "OwnError" == recorded.one.attributes["error.type"]


def test_a_status_that_raises_raises_as_ever(http, instrument, library, sg, ark):
    ark.region("ap-southeast-1").fails(400, message="bad")
    instrument()

    reply = http.post(sg + "/chat/completions", CHAT)

    with pytest.raises(library.HTTPStatusError) as caught:
        reply.raise_for_status()
    assert caught.value.response is reply


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_followed_and_is_no_failure(http, instrument, recorded, library, status):
    def handler(request):
        if request.url.path.startswith("/api/v3/old"):
            return library.Response(status, headers={"location": ARK + "/models"})
        return library.Response(200, json={"object": "list", "data": []})

    instrument(base_urls={})
    url = ARK + "/old/chat/completions"

    def work(client):
        return client.post(url, json=CHAT)

    async def awork(client):
        return await client.post(url, json=CHAT)

    reply = http.run(
        work if http.colour == "sync" else awork,
        transport=library.MockTransport(handler),
        follow_redirects=True,
    )

    assert 200 == reply.status_code
    assert [status] == [each.status_code for each in reply.history]
    assert ["ok", "ok"] == [exchange.outcome for exchange in recorded.exchanges]
    assert [None, None] == [exchange.error_type for exchange in recorded.exchanges]


def test_event_hooks_see_every_request_and_response(http, instrument, sg):
    met = []

    def work(client):
        client.event_hooks = {
            "request": [met.append],
            "response": [met.append],
        }
        return client.post(sg + "/chat/completions", json=CHAT)

    async def awork(client):
        async def note(thing):
            met.append(thing)

        client.event_hooks = {"request": [note], "response": [note]}
        return await client.post(sg + "/chat/completions", json=CHAT)

    instrument()

    reply = http.run(work if http.colour == "sync" else awork)

    assert [reply.request, reply] == met


def test_an_auth_flow_that_reads_and_asks_again_works(http, instrument, recorded, library):
    """Each request of a flow is a call of its own, and each reply can be read by it."""

    class Flow(library.Auth):
        requires_response_body = True

        def auth_flow(self, request):
            first = yield request
            assert "AuthenticationError" == first.json()["error"]["code"]
            request.headers["Authorization"] = "Bearer fresh"
            yield request

    def handler(request):
        if request.headers.get("Authorization") == "Bearer fresh":
            return library.Response(200, json=REPLY)
        return library.Response(401, json={"error": {"code": "AuthenticationError", "message": "no"}})

    instrument(base_urls={})

    reply = http.run(poster(http, ARK), transport=library.MockTransport(handler), auth=Flow())

    assert 200 == reply.status_code
    assert ["error", "ok"] == [exchange.outcome for exchange in recorded.exchanges]


def test_mounts_decide_where_a_call_goes(http, instrument, recorded, library):
    met = []

    def answering(name):
        def handler(_request):
            met.append(name)
            return library.Response(200, json=REPLY)

        return library.MockTransport(handler)

    instrument(base_urls={})

    http.run(
        poster(http, ARK),
        transport=answering("default"),
        mounts={"all://ark.ap-southeast.bytepluses.com": answering("mounted")},
    )

    assert ["mounted"] == met
    assert 1 == len(recorded.exchanges)


def test_a_proxy_is_asked(http, instrument, recorded, library, ark):
    """The fake stands in as a plain HTTP proxy: it is asked with the whole URL."""
    region = ark.region("ap-southeast-1")
    instrument(base_urls={"http://ark.private.example/api/v3": "ap-southeast-1"})

    reply = http.run(
        poster(http, "http://ark.private.example/api/v3"), proxy=f"http://127.0.0.1:{region.port}"
    )

    assert 200 == reply.status_code
    assert 1 == len(region.requests)
    assert "ark.private.example" == recorded.one.attributes["server.address"]


@pytest.mark.parametrize("content", ["bytes", "iterator", "gzip"])
def test_mocked_replies_pass_and_are_understood(http, instrument, recorded, library, content):
    def handler(_request):
        if content == "iterator":
            parts = EVENTS if http.colour == "sync" else None
            return library.Response(
                200,
                headers={"content-type": "text/event-stream"},
                content=iter(parts) if parts else _agen(EVENTS),
            )
        if content == "gzip":
            coded = gzip.compress(b"".join(EVENTS))
            return library.Response(
                200, headers={"content-type": "text/event-stream", "content-encoding": "gzip"}, content=coded
            )
        return library.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(EVENTS))

    instrument(base_urls={})

    reply = http.run(poster(http, ARK, STREAMED), transport=library.MockTransport(handler))

    assert b"".join(EVENTS) == reply.content
    assert ("stop",) == recorded.one.attributes["gen_ai.response.finish_reasons"]
    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_an_asgi_application_is_a_modelark_too(http, instrument, recorded, library):
    async def app(scope, receive, send):
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        for event in EVENTS:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    instrument(base_urls={})

    reply = http.run(poster(http, ARK, STREAMED), transport=library.ASGITransport(app))

    assert b"".join(EVENTS) == reply.content
    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]


def closable(library):
    """A transport that counts how often it is closed."""

    class Mine(library.MockTransport):
        closed = 0

        def close(self):
            self.closed += 1

        async def aclose(self):
            self.closed += 1

    return Mine(lambda _request: library.Response(200, json=REPLY))


def test_closing_a_client_closes_what_it_was_given(http, instrument, library):
    mine = closable(library)
    instrument(base_urls={})

    http.run(poster(http, ARK), transport=mine)

    assert 1 == mine.closed


def test_closing_an_explicit_transport_closes_the_one_inside(http, recorded, library):
    mine = closable(library)
    ours = explicit(http)(mine, registry=recorded.registry, tracer_provider=recorded.provider)

    assert 200 == http.run(poster(http, ARK), transport=ours).status_code

    assert 1 == mine.closed
    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]


def explicit(http):
    """The explicit transport of that library and colour."""
    import byteplus_trace

    home = byteplus_trace if http.library.__name__ == "httpx" else byteplus_trace.httpx2
    return home.ModelArkTransport if http.colour == "sync" else home.AsyncModelArkTransport


def test_an_explicit_transport_under_instrument_tells_once(http, instrument, recorded, library):
    instrument(base_urls={})
    inside = library.MockTransport(lambda _request: library.Response(200, json=REPLY))

    http.run(poster(http, ARK), transport=explicit(http)(inside))

    assert 1 == len(recorded.logical)
    assert 1 == recorded.series("modelark_operations_total")


def test_cookies_are_kept(http, instrument, library):
    def handler(request):
        return library.Response(
            200, headers={"set-cookie": "seen=1"}, json={"cookie": request.headers.get("cookie")}
        )

    instrument(base_urls={})

    def work(client):
        return [client.post(ARK + "/chat/completions", json=CHAT).json()["cookie"] for _ in range(2)]

    async def awork(client):
        return [(await client.post(ARK + "/chat/completions", json=CHAT)).json()["cookie"] for _ in range(2)]

    assert [None, "seen=1"] == http.run(
        work if http.colour == "sync" else awork, transport=library.MockTransport(handler)
    )


def test_another_hosts_transport_is_handed_back_as_it_is(http, instrument, recorded, library):
    instrument()
    inside = library.MockTransport(lambda _request: library.Response(200))
    kind = library.Client if http.colour == "sync" else library.AsyncClient
    client = kind(transport=inside)

    for url in ("https://api.openai.com/v1/chat/completions", "https://example.com/api/v3/chat/completions"):
        assert client._transport_for_url(library.URL(url)) is inside

    assert () == recorded.spans


def test_a_file_goes_up_in_parts_and_comes_down_as_it_is(http, instrument, recorded, library, sg):
    """An upload is not read by us, a download is not held by us."""
    payload = bytes(range(256)) * 512
    parts = Parts(library, [payload[at : at + 1000] for at in range(0, len(payload), 1000)])
    met = []

    def upload(request):
        if http.colour == "sync":
            met.append(b"".join(request.stream))
        return library.Response(200, json={"id": "file-1", "object": "file"})

    def handler(request):
        if request.method == "POST":
            return upload(request)
        return library.Response(
            200, headers={"content-type": "application/octet-stream"}, stream=stream_of(http, parts)
        )

    files = {"file": ("a.bin", payload), "purpose": (None, "user_data")}
    instrument(base_urls={})

    def work(client):
        up = client.post(ARK + "/files", files=files)
        with client.stream("GET", ARK + "/files/file-1/content") as response:
            assert 0 == parts.yielded
            return up, b"".join(response.iter_bytes())

    async def awork(client):
        up = await client.post(ARK + "/files", files=files)
        async with client.stream("GET", ARK + "/files/file-1/content") as response:
            assert 0 == parts.yielded
            return up, b"".join([part async for part in response.aiter_bytes()])

    up, down = http.run(
        work if http.colour == "sync" else awork, transport=mock(library, http.colour, handler)
    )

    assert payload == down
    assert "file-1" == up.json()["id"]
    assert all(payload in body for body in met)
    assert ["ok", "ok"] == [exchange.outcome for exchange in recorded.exchanges]
    assert [] == recorded.logical
    assert 2 == len(recorded.attempts)


def test_a_generated_request_body_is_not_taken_from_the_transport(http, instrument, recorded, library):
    """It can be read once only, so it is not ours to read: the call has no model then."""
    drawn = []

    def body():
        for part in (b'{"model":"seed-1-6-250915",', b'"messages":[]}'):
            drawn.append(part)
            yield part

    async def abody():
        for part in body():
            yield part

    def handler(request):
        assert [] == drawn
        return library.Response(200, json=REPLY)

    instrument(base_urls={})

    def work(client):
        return client.post(ARK + "/chat/completions", content=body())

    async def awork(client):
        return await client.post(ARK + "/chat/completions", content=abody())

    http.run(work if http.colour == "sync" else awork, transport=mock(library, http.colour, handler))

    assert [] == drawn
    assert "chat" == recorded.one.name
    assert "gen_ai.request.model" not in recorded.one.attributes


def test_a_generated_request_body_arrives(http, instrument, sg, ark):
    def body():
        yield from (json.dumps(CHAT).encode()[:20], json.dumps(CHAT).encode()[20:])

    async def abody():
        for part in body():
            yield part

    instrument()
    headers = {"Authorization": "Bearer k", "content-type": "application/json"}

    def work(client):
        return client.post(sg + "/chat/completions", content=body(), headers=headers)

    async def awork(client):
        return await client.post(sg + "/chat/completions", content=abody(), headers=headers)

    reply = http.run(work if http.colour == "sync" else awork)

    assert 200 == reply.status_code
    assert CHAT == ark.region("ap-southeast-1").requests[0].json


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/models"), ("GET", "/models"), ("GET", "/ping"), ("OPTIONS", "/nowhere")]
)
def test_other_routes_pass_and_make_no_genai_claim(http, instrument, recorded, library, method, path):
    def handler(request):
        return library.Response(200, json={"data": []} if method != "HEAD" else None)

    instrument(base_urls={})

    def work(client):
        return client.request(method, ARK + path)

    async def awork(client):
        return await client.request(method, ARK + path)

    reply = http.run(work if http.colour == "sync" else awork, transport=library.MockTransport(handler))

    assert 200 == reply.status_code
    assert [] == recorded.logical
    (attempt,) = recorded.attempts
    assert method == attempt.name
    assert 1 == recorded.series("modelark_operations_total", operation="other", outcome="ok")


def test_a_request_without_a_query_keeps_none_and_a_query_is_not_told(http, instrument, recorded, library):
    met = []

    def handler(request):
        met.append(str(request.url))
        return library.Response(200, json=REPLY)

    instrument(base_urls={})
    url = ARK.replace("https://", "https://user:secret@") + "/chat/completions?api_key=hidden"

    def work(client):
        return client.post(url, json=CHAT)

    async def awork(client):
        return await client.post(url, json=CHAT)

    http.run(work if http.colour == "sync" else awork, transport=library.MockTransport(handler))

    assert [url] == met
    recorded_all = (
        "".join(span.to_json() for span in recorded.spans) + repr(recorded.exchanges) + repr(recorded.moved())
    )
    assert "hidden" not in recorded_all
    assert "secret" not in recorded_all


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_the_event_loop_is_never_held_up(http, instrument, recorded, sg, ark):
    """A call that waits lets others run: nothing of ours blocks."""
    ark.region("ap-southeast-1").delays(headers=0.3)
    instrument()
    ticks = []

    async def work(client):
        async with anyio.create_task_group() as tasks:

            async def tick():
                while True:
                    ticks.append(time.monotonic())
                    await anyio.sleep(0.01)

            tasks.start_soon(tick)
            await client.post(sg + "/chat/completions", json=CHAT)
            tasks.cancel_scope.cancel()

    http.run(work)

    assert len(ticks) > 10


def test_a_stream_that_is_cancelled_gives_its_connection_back(instrument, library):
    """Its iterator awaits something when it is closed, which a cancelled task cannot."""
    closed = []

    class Body(library.AsyncByteStream):
        async def __aiter__(self):
            try:
                yield EVENTS[0]
                yield EVENTS[-1]
            finally:
                await anyio.sleep(0)

        async def aclose(self):
            closed.append(True)

    def answer(_request):
        return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    async def main():
        async with library.AsyncClient(transport=library.MockTransport(answer)) as client:
            with anyio.CancelScope() as scope:
                async with client.stream("POST", ARK + "/chat/completions", json=CHAT) as response:
                    async for _ in response.aiter_raw():
                        scope.cancel()
                        await anyio.sleep(0)

    instrument()
    anyio.run(main)

    assert [True] == closed


def test_a_reply_whose_iterator_does_not_end_well_is_closed(instrument, library):
    """A policy had begun to read it."""
    closed = []

    class Body(library.SyncByteStream):
        def __iter__(self):
            try:
                yield EVENTS[0]
                yield EVENTS[1]
            finally:
                raise OSError("it cannot be left")

        def close(self):
            closed.append(True)

    def answer(_request):
        return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    targets = [Target(region, region=region, api_key="k") for region in ("ap-southeast-1", "eu-west-1")]
    instrument(policy=Policy(targets, retry=Retry(per_target=0)))
    with library.Client(transport=library.MockTransport(answer)) as client:
        request = client.build_request("POST", ARK + "/chat/completions", json=STREAMED)
        response = client.send(request, stream=True)
        parts = response.iter_raw()
        next(parts)
        with pytest.raises(OSError, match="it cannot be left"):
            response.close()

    assert [True] == closed


def test_a_refusal_whose_iterator_does_not_end_well_is_closed(instrument, library, monkeypatch):
    """It has no end, and is left."""
    guard.strict = False
    monkeypatch.setattr("byteplus_trace._edge.execution.LARGEST_HELD_DOCUMENT", 1_000_000)
    closed = []

    class Body(library.SyncByteStream):
        def __iter__(self):
            try:
                while True:
                    yield b"x" * 1_100_000
            finally:
                raise KeyError("it cannot be left")

        def close(self):
            closed.append(True)

    def answer(request):
        if "eu-west" in request.url.host:
            return library.Response(200, json=REPLY)
        return library.Response(503, stream=Body())

    targets = [Target(region, region=region, api_key="k") for region in ("ap-southeast-1", "eu-west-1")]
    instrument(policy=Policy(targets, retry=Retry(per_target=0), final="last"))
    with library.Client(transport=library.MockTransport(answer)) as client:
        assert REPLY == client.post(ARK + "/chat/completions", json=CHAT).json()

    assert [True] == closed
