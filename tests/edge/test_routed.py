"""What leaves on a routed call and what comes back of it, byte by byte: two regions whose replies a test writes."""

import copy
import gzip
import json
import time
import zlib

import anyio
import pytest

import byteplus_trace
from byteplus_trace import Deadline, Policy, Retry, Target

SG, EU = "https://ark.ap-southeast.bytepluses.com/api/v3", "https://ark.eu-west.bytepluses.com/api/v3"
CHAT = {"model": "seed-2-0-lite-260228", "messages": [{"role": "user", "content": "Name three rivers."}]}
JSON = {"content-type": "application/json"}
DOCUMENT = b'{"id":"1","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"content":"Rhine"}}],"usage":{"prompt_tokens":7,"completion_tokens":2}}'  # fmt: skip
EVENTS = [
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Rhine"}}]}\n\n',
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
]


class Routed:
    """Calls of one client under a policy of two targets, and the requests that left."""

    def __init__(self, http, library):
        self.http = http
        self.library = library
        self.sent = []

    @property
    def hosts(self):
        return [request.url.host.split(".")[1] for request in self.sent]

    def reply(self, *parts, status=200, headers=JSON):
        """A reply that is read part by part, as over a socket."""

        class Sync(self.library.SyncByteStream):
            def __iter__(self):
                yield from parts

        class Async(self.library.AsyncByteStream):
            async def __aiter__(self):
                for part in parts:
                    yield part

        stream = Sync() if self.http.colour == "sync" else Async()
        return self.library.Response(status, headers=headers, stream=stream)

    def overloaded(self):
        return self.reply(b'{"error":{"code":"ServerOverloaded","message":"busy"}}', status=503)

    def calls(self, answer, *requests):
        """Make each of the requests (method, URL, options) and give their responses."""

        def handler(request):
            self.sent.append(request)
            return answer(request)

        def work(client):
            return [client.request(method, url, **options) for method, url, options in requests]

        async def awork(client):
            return [await client.request(method, url, **options) for method, url, options in requests]

        return self.http.run(
            work if self.http.colour == "sync" else awork, transport=self.library.MockTransport(handler)
        )

    def begin(self, answer, body, url, most):
        """A streamed call whose reader leaves after so many parts."""

        def handler(request):
            self.sent.append(request)
            return answer(request)

        def work(client):
            with client.stream("POST", url, json=body) as response:
                for _ in zip(range(most), response.iter_raw(), strict=False):
                    pass

        async def awork(client):
            async with client.stream("POST", url, json=body) as response:
                parts = response.aiter_raw()
                for _ in range(most):
                    await anext(parts, None)
                await parts.aclose()

        self.http.run(
            work if self.http.colour == "sync" else awork, transport=self.library.MockTransport(handler)
        )

    def post(self, answer, body, url=SG + "/chat/completions", **options):
        """One call with this body, given as bytes or as what is to be JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        options = {"content": content, **options}
        (response,) = self.calls(answer, ("POST", url, options))
        return response


@pytest.fixture
def routed(http, library):
    return Routed(http, library)


def policy(sg=None, eu=None, **settings):
    return Policy(
        targets=[
            Target("sg", region="ap-southeast-1", **{"api_key": "key-sg", **(sg or {})}),
            Target("eu", region="eu-west-1", api_key="key-eu", **(eu or {})),
        ],
        **{"retry": Retry(base=0.001, cap=0.002), **settings},
    )


# What an SDK reads as JSON and the strict would not.
LENIENT = {
    "half of a character": DOCUMENT.replace(b"Rhine", b"Rhine \\ud83d"),
    "a byte order mark": b"\xef\xbb\xbf" + DOCUMENT,
    "NaN": DOCUMENT.replace(b'"index":0', b'"index":0,"logprob":NaN,"top":-Infinity'),
}


@pytest.mark.parametrize("form", LENIENT)
def test_an_answer_is_not_taken_for_empty_because_of_its_json(routed, instrument, recorded, form):
    instrument(policy=policy())

    reply = routed.post(lambda _: routed.reply(LENIENT[form]), CHAT)

    assert LENIENT[form] == reply.content
    assert ["ap-southeast"] == routed.hosts
    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert 7 == recorded.one.attributes["gen_ai.usage.input_tokens"]
    assert ("stop",) == recorded.one.attributes["gen_ai.response.finish_reasons"]


@pytest.mark.parametrize("document", [DOCUMENT[:-1], DOCUMENT.replace(b'"m"', b"[" * 9999 + b"]" * 9999)])
def test_an_answer_that_cannot_be_read_is_told_as_a_failure_and_not_asked_for_again(
    routed, instrument, recorded, document
):
    """It may be one that was paid for."""
    instrument(policy=policy())

    reply = routed.post(lambda _: routed.reply(document), CHAT)

    assert document == reply.content
    assert ["ap-southeast"] == routed.hosts
    assert "error" == recorded.one.attributes["byteplus.modelark.outcome"]


@pytest.mark.parametrize("document", [b"", b"<html>busy</html>", b"upstream error"])
def test_what_is_no_answer_at_all_is_asked_for_elsewhere(routed, instrument, recorded, document):
    instrument(policy=policy(retry=Retry(per_target=0)))

    def answer(_request):
        return routed.reply(document if len(routed.sent) == 1 else DOCUMENT)

    assert DOCUMENT == routed.post(answer, CHAT).content
    assert ["ap-southeast", "eu-west"] == routed.hosts


@pytest.mark.parametrize("content_type", ["Text/Event-Stream; charset=UTF-8", "text/plain", None])
def test_a_stream_that_was_asked_for_is_one_whatever_it_is_called(routed, instrument, recorded, content_type):
    instrument(policy=policy())
    headers = {"content-type": content_type} if content_type is not None else {}

    reply = routed.post(lambda _: routed.reply(*EVENTS, headers=headers), {**CHAT, "stream": True})

    assert b"".join(EVENTS) == reply.content
    assert ["ap-southeast"] == routed.hosts
    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert 7 == recorded.one.attributes["gen_ai.usage.input_tokens"]
    assert "gen_ai.response.time_to_first_chunk" in recorded.one.attributes


def test_a_document_without_a_type_is_one_though_a_stream_was_asked_for(routed, instrument, recorded):
    instrument(policy=policy())

    routed.post(lambda _: routed.reply(DOCUMENT[:50], DOCUMENT[50:], headers={}), {**CHAT, "stream": True})

    assert ["ap-southeast"] == routed.hosts
    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert 7 == recorded.one.attributes["gen_ai.usage.input_tokens"]
    assert "gen_ai.response.time_to_first_chunk" not in recorded.one.attributes


def test_a_body_too_deep_to_read_is_a_call_all_the_same(routed, instrument, recorded):
    instrument(policy=policy(retry=Retry(per_target=0)))
    deep = b'{"model":"m","store":false,"input":' + b"[" * 9999 + b"]" * 9999 + b"}"

    routed.post(
        lambda _: (
            routed.reply(b'{"id":"resp_1","status":"completed"}')
            if len(routed.sent) == 2
            else routed.overloaded()
        ),
        deep,
        SG + "/responses",
        headers={"x-portkey-metadata": "{}"},
    )

    assert [deep, deep] == [request.content for request in routed.sent]
    assert not [name for request in routed.sent for name in request.headers if "portkey" in name]
    assert "rescued_fallback" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert 0 == recorded.series("modelark_operations_in_flight")


# Bodies, and what leaves of them for a target that has another model.
BODIES = {
    "half of a character": (
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}]}',
        b'{"model": "m-eu", "messages": [{"role": "user", "content": "\\ud83d"}]}',
    ),
    "a byte order mark": (
        b'\xef\xbb\xbf { "messages":[],"model":"m" }\n',
        b'\xef\xbb\xbf { "messages":[],"model":"m-eu" }\n',
    ),
    "NaN": (
        b'{"metadata":{"model":"m"},"temperature":NaN,"model":"m","messages":[]}',
        b'{"metadata":{"model":"m"},"temperature":NaN,"model":"m-eu","messages":[]}',
    ),
    "no JSON": (b'{"model":"m","messages":[}', b'{"model":"m","messages":[}'),
}


@pytest.mark.parametrize("form", BODIES)
def test_a_body_for_another_model_is_the_callers_own_but_for_the_model(routed, instrument, recorded, form):
    instrument(policy=policy(eu={"models": {"m": "m-eu"}}, retry=Retry(per_target=0)))
    body, moved = BODIES[form]

    def answer(request):
        return routed.reply(DOCUMENT) if "eu-west" in request.url.host else routed.overloaded()

    routed.post(answer, body)

    assert [body, moved] == [request.content for request in routed.sent]


@pytest.mark.parametrize("path", ["/chat/completions", "/chat/completions/", "/some/future/api"])
@pytest.mark.parametrize(
    "base",
    [
        "https://one.example/ark/v3",
        "https://One.Example/ark/v3/",
        "HTTPS://one.example:443/ark/v3",
        "https://one.example",
        "http://[::1]:80/v3",
        "https://one.example/é (1)/a%20b",
        "https://bücher.example/v3",
        "https://xn--bcher-kva.example/v3",
        "https://ark.Bücher.example/v3",
        "https://ark.xn--bcher-kva.example/v3",
    ],
)
def test_however_a_targets_address_is_spelled_its_calls_are_routed(routed, instrument, recorded, base, path):
    instrument(
        policy=policy(
            sg={"base_url": base},
            eu={"base_url": "https://two.example/eu"},
            retry=Retry(per_target=0),
            replay={"other": "ambiguous"},
        )
    )

    def answer(request):
        return routed.reply(DOCUMENT) if "two" in request.url.host else routed.overloaded()

    assert 200 == routed.post(answer, CHAT, base.rstrip("/") + path).status_code

    assert f"https://two.example/eu{path}" == str(routed.sent[-1].url)
    (exchange,) = recorded.exchanges
    assert ["sg", "eu"] == [attempt.target for attempt in exchange.attempts]


def test_at_startup_the_log_names_a_target_that_may_change_the_billing_plan(instrument, caplog):
    instrument(policy=policy(eu={"billing_plan": "coding"}))

    (warning,) = [each.getMessage() for each in caplog.records if "bills on" in each.getMessage()]
    assert "Target 'eu' bills on the coding plan" in warning


@pytest.mark.parametrize("base", [SG, "https://one.example/a%72k/v3", "https://ark.Bücher.example/é (1)/v3"])
@pytest.mark.parametrize("end", ["/chat/completions?", "/chat/comple%74ions", "/chat/completions/?a=%7e&&b"])
def test_a_call_to_a_targets_own_base_leaves_byte_for_byte_as_without_a_policy(routed, instrument, base, end):
    for settings in ({}, {"policy": policy(sg={"base_url": base, "api_key": "test"})}):
        instrument(**settings)
        routed.post(lambda _: routed.reply(DOCUMENT), CHAT, base + end)
        byteplus_trace.uninstrument()

    plain, under_policy = routed.sent
    assert plain.url.raw_path == under_policy.url.raw_path
    assert plain.headers.raw == under_policy.headers.raw


@pytest.mark.parametrize("path", ["/models/a%2Fb", "/models/a%3Fb%23c", "/models/a%25b", "/models/%C3%A9 x", "/files?after=a%2Bb"])  # fmt: skip
def test_a_path_that_moves_keeps_its_escapes(routed, instrument, recorded, library, path):
    instrument(policy=policy(retry=Retry(per_target=0)))

    routed.calls(
        lambda request: routed.reply(b"{}") if len(routed.sent) == 2 else routed.overloaded(),
        ("GET", SG + path, {}),
    )

    addressed, moved = (request.url for request in routed.sent)
    assert library.URL(SG + path) == addressed
    assert library.URL(EU + path) == moved
    (_, attempt) = recorded.attempts
    assert str(moved.copy_with(query=None)) == attempt.attributes["url.full"]


SENT_TO_ONE_ORIGIN = {
    "authorization": "Bearer the-callers",
    "cookie": "session=1",
    "x-api-key": "the-callers",
    "api-key": "the-callers",
    "x-auth-token": "the-callers",
    "proxy-authorization": "Basic the-callers",
    "x-project-name": "shop",
    "openai-organization": "shop",
    "anthropic-workspace-id": "shop",
    "baggage": "user=42",
    "x-tenant": "shop",
    "x-stainless-api-key": "the-callers",
    "ark-beta-token": "the-callers",
    "veadk-authorization": "the-callers",
}
SENT_EVERYWHERE = {
    "accept": "application/json",
    "user-agent": "shop/1",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "x-stainless-lang": "python",
    "anthropic-version": "2023-06-01",
    "x-client-request-id": "one-of-mine",
    "x-is-encrypted": "true",
    "ark-beta-mcp": "true",
}


@pytest.mark.parametrize("forwarded", [[], ["X-Tenant"]])
def test_what_was_written_for_one_origin_goes_to_no_other(routed, instrument, forwarded):
    instrument(policy=policy(sg={"api_key": None}, retry=Retry(per_target=0), forward_headers=forwarded))

    routed.post(lambda _: routed.overloaded(), CHAT, headers={**SENT_TO_ONE_ORIGIN, **SENT_EVERYWHERE})

    addressed, moved = (
        {name: request.headers.get(name) for name in (*SENT_TO_ONE_ORIGIN, *SENT_EVERYWHERE)}
        for request in routed.sent
    )
    assert {**SENT_TO_ONE_ORIGIN, **SENT_EVERYWHERE} == addressed
    tenant = {"x-tenant": "shop"} if forwarded else {}
    expected = {"authorization": "Bearer key-eu", **SENT_EVERYWHERE, **tenant}
    assert expected == {name: value for name, value in moved.items() if value is not None}


def test_what_names_a_place_below_the_url_goes_to_no_other(routed, instrument):
    """httpcore sends `target` in place of the URL's path and query, and asks TLS for `sni_hostname`."""
    instrument(policy=policy(retry=Retry(per_target=0)))
    place = {"target": b"/api/v3/chat/completions?sig=secret", "sni_hostname": "mine.example"}

    routed.post(lambda _: routed.overloaded(), CHAT, extensions=place)

    kept = [{name: request.extensions.get(name) for name in place} for request in routed.sent]
    assert [place, dict.fromkeys(place)] == kept


def test_of_a_query_only_what_modelark_defines_goes_to_another_origin(routed, instrument):
    instrument(policy=policy(retry=Retry(per_target=0)))
    defined = "include%5B%5D=a%2Bb&limit=5&beta=true"

    routed.calls(
        lambda _: routed.overloaded(),
        ("GET", f"{SG}/models?api-version=1&include%5B%5D=a%2Bb&sig=secret&limit=5&token&beta=true", {}),
    )

    assert [None, defined] == [
        defined if request.url.query.decode() == defined else None for request in routed.sent
    ]


@pytest.mark.parametrize(
    "header",
    [
        ("X-Encrypt-Info", "{}"),
        ("X-Signature", "s"),
        ("Signature-Input", "s"),
        ("Authorization", "HMAC-SHA256 Credential=a"),
    ],
    ids=lambda header: header[0],
)
def test_a_call_that_is_encrypted_or_signed_for_one_place_is_sent_there_alone(routed, instrument, header):
    instrument(policy=policy(retry=Retry(per_target=0)))

    routed.post(lambda _: routed.overloaded(), CHAT, url=EU + "/chat/completions", headers=dict([header]))

    assert ["eu-west"] == routed.hosts


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"X-Session-Token": "t"}, "X-Session-Token or X-Encrypt-Info is encrypted"),
        ({"X-Encrypt-Info": "{}"}, "X-Session-Token or X-Encrypt-Info is encrypted"),
        ({"X-Signature": "s"}, "that its client signs"),
    ],
)
def test_why_a_call_may_not_move_is_logged_once(routed, instrument, caplog, header, why):
    instrument(policy=policy(retry=Retry(per_target=0)))
    caplog.clear()

    for _ in range(2):
        routed.post(lambda _: routed.overloaded(), CHAT, headers=header)

    (line,) = [record.getMessage() for record in caplog.records if "never moved" in record.getMessage()]
    assert why in line


def test_an_upload_is_sent_once(routed, instrument):
    instrument(policy=policy(retry=Retry(per_target=1)))
    upload = {"files": {"file": ("a.txt", b"Three rivers.")}, "data": {"purpose": "user_data"}}

    (reply,) = routed.calls(lambda _: routed.overloaded(), ("POST", SG + "/files", upload))

    assert (503, ["ap-southeast"]) == (reply.status_code, routed.hosts)


SILENT = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
BUSY = b'data: {"error":{"code":"ServerOverloaded","message":"busy"}}\n\n'
COMMENT = b": " + b"-" * 1021 + b"\n"


@pytest.mark.parametrize(
    ("before", "hosts"),
    [
        ([SILENT] * 63, ["ap-southeast", "eu-west"]),
        ([SILENT] * 64, ["ap-southeast"]),
        ([COMMENT] * 255, ["ap-southeast", "eu-west"]),
        ([COMMENT] * 256, ["ap-southeast"]),
    ],
    ids=["63 events", "64 events", "255 KiB", "256 KiB"],
)
def test_a_stream_is_held_so_long_and_no_longer(routed, instrument, before, hosts):
    instrument(policy=policy(retry=Retry(per_target=0)))
    parts = [*before, BUSY]

    def answer(request):
        return routed.reply(*parts, headers={"content-type": "text/event-stream"})

    reply = routed.post(answer, {**CHAT, "stream": True})

    assert hosts == routed.hosts
    assert b"".join(parts) == reply.content


def test_cookies_of_another_origin_are_not_kept_for_the_callers(routed, instrument):
    instrument(policy=policy(retry=Retry(per_target=0)))

    def answer(request):
        if len(routed.sent) == 1:
            return routed.overloaded()
        host = request.url.host.split(".")[1]
        cookies = [("set-cookie", f"one-of-{host}=1; Path=/"), ("Set-Cookie", f"two-of-{host}=2; Path=/")]
        return routed.reply(DOCUMENT, headers=[*JSON.items(), *cookies])

    moved, *_ = routed.calls(answer, *[("POST", SG + "/chat/completions", {"json": CHAT})] * 3)

    assert ["ap-southeast", "eu-west", "ap-southeast", "ap-southeast"] == routed.hosts
    assert "set-cookie" not in moved.headers
    assert [None, None, None, "one-of-ap-southeast=1; two-of-ap-southeast=2"] == [
        request.headers.get("cookie") for request in routed.sent
    ]


OPENING = b'data: {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}\n\n'
SPOKEN = b'data: {"type":"response.output_text.delta","delta":"Rhine"}\n\n'


# Under trio httpx's own inner generators warn when a stream is left before its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("end", ["left", "cut"])
def test_a_response_lives_where_it_was_begun_however_its_stream_ended(routed, instrument, recorded, end):
    instrument(policy=policy(retry=Retry(per_target=0)))
    streamed = {"model": "m", "input": "Name three rivers.", "stream": True}

    def answer(request):
        if request.method == "GET":
            return routed.reply(b'{"id":"resp_1","status":"completed"}')
        if len(routed.sent) == 1:
            return routed.overloaded()
        return routed.reply(OPENING, SPOKEN, headers={"content-type": "text/event-stream"})

    routed.begin(answer, streamed, SG + "/responses", most=2 if end == "left" else 99)
    byteplus_trace.flush()
    routed.calls(answer, ("GET", SG + "/responses/resp_1", {}))

    assert {"left": "cancelled", "cut": "error"}[end] == recorded.exchanges[0].outcome
    assert ["ap-southeast", "eu-west", "eu-west"] == routed.hosts


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/responses/resp_1"), ("HEAD", "/responses/resp_1"), ("DELETE", "/responses/resp_1"), ("POST", "/responses/resp_1/cancel")],
)  # fmt: skip
def test_whatever_is_asked_of_a_response_is_asked_where_it_lives(routed, instrument, method, path):
    instrument(policy=policy(eu={"only": {"responses"}}, retry=Retry(per_target=0)))

    def answer(_):
        return (
            routed.overloaded()
            if len(routed.sent) == 1
            else routed.reply(b'{"id":"resp_1","status":"completed"}')
        )

    made = ("POST", SG + "/responses", {"json": {"model": "m", "input": "Name three rivers."}})
    routed.calls(answer, made, (method, SG + path, {}))

    assert ["ap-southeast", "eu-west", "eu-west"] == routed.hosts


ROLE = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


class Failing:
    """A stream's beginning, and what it does in place of going on; it knows whether it was closed."""

    def __init__(self, library, colour, end):
        self.closed = closed = []
        broken = library.ReadError("cut")

        class Sync(library.SyncByteStream):
            def __iter__(self):
                yield ROLE
                if end == "breaks":
                    raise broken
                time.sleep(0.2)
                yield ROLE

            def close(self):
                closed.append(True)

        class Async(library.AsyncByteStream):
            async def __aiter__(self):
                yield ROLE
                if end == "breaks":
                    raise broken
                await anyio.sleep(0.2)
                yield ROLE

            async def aclose(self):
                closed.append(True)

        stream = Sync() if colour == "sync" else Async()
        self.reply = library.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)


STREAMED = {**CHAT, "stream": True}


@pytest.mark.parametrize("end", ["breaks", "is late"])
def test_a_stream_that_is_given_up_for_another_is_closed(routed, instrument, recorded, http, library, end):
    """A pool counts a reply as open until it is closed, whatever became of its connection."""
    instrument(policy=policy(retry=Retry(per_target=0), deadline=Deadline(first_event=0.1)))
    failing = Failing(library, http.colour, end)

    def answer(_request):
        if len(routed.sent) == 1:
            return failing.reply
        return routed.reply(*EVENTS, headers={"content-type": "text/event-stream"})

    response = routed.post(answer, STREAMED)

    assert b"".join(EVENTS) == response.content
    assert [True] == failing.closed


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_stream_that_nobody_waits_for_any_more_is_closed(routed, instrument, recorded, http, library):
    instrument(policy=policy())
    failing = Failing(library, http.colour, "is late")

    async def work(client):
        with anyio.move_on_after(0.1) as scope:
            await client.post(SG + "/chat/completions", json=STREAMED)
        assert scope.cancelled_caught

    http.run(work, transport=library.MockTransport(lambda _request: failing.reply))

    assert [True] == failing.closed
    assert "cancelled" == recorded.exchanges[0].outcome


def test_a_chat_about_a_file_goes_where_the_file_is(routed, instrument, recorded):
    instrument(policy=policy(retry=Retry(per_target=0)))
    about = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}],
    }

    def answer(request):
        if request.url.path.endswith("/files"):
            return routed.reply(b'{"id":"file-1","object":"file"}')
        return routed.overloaded()

    routed.calls(
        answer,
        (
            "POST",
            EU + "/files",
            {"files": {"file": b"x"}, "headers": {"x-portkey-byteplus-region": "eu-west-1"}},
        ),
        ("POST", SG + "/chat/completions", {"json": about}),
    )

    assert ["eu-west", "eu-west"] == routed.hosts


@pytest.mark.parametrize("moves", [True, False])
def test_a_stream_that_comes_compressed_though_asked_for_plain_passes_as_it_comes(
    routed, instrument, recorded, moves
):
    instrument(policy=policy() if moves else None, include_usage=True)
    compressed = gzip.compress(b"".join(EVENTS))
    parts = [compressed[:40], compressed[40:]]
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}

    reply = routed.post(lambda _: routed.reply(*parts, headers=headers), {**CHAT, "stream": True})

    assert b"".join(EVENTS) == reply.content
    assert "identity" == routed.sent[0].headers["accept-encoding"]
    assert 7 == recorded.one.attributes["gen_ai.usage.input_tokens"]


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_to_another_target_is_followed_there(http, instrument, recorded, ark, status):
    """A policy that took it back would meet the same redirect again, until its client gives up."""
    sg, eu = (ark.base_url(region) for region in ("ap-southeast-1", "eu-west-1"))
    ark.region("ap-southeast-1").replays(b"", status=status, headers={"location": eu + "/chat/completions"})
    instrument(
        policy=Policy(
            [
                Target("sg", region="ap-southeast-1", base_url=sg, api_key="k"),
                Target("eu", region="eu-west-1", base_url=eu, api_key="k"),
            ]
        )
    )
    http.options["follow_redirects"] = True
    own = {"timeout": {"connect": 5.0}}

    async def work(client):
        return await client.post(sg + "/chat/completions", json=CHAT, extensions=own)

    reply = http.run(
        (lambda client: client.get(sg + "/responses/resp_1", extensions=own))
        if http.colour == "sync"
        else work
    )

    assert 1 == len(reply.history)
    assert ["ap-southeast-1", "eu-west-1"] == [request.region for request in ark.requests]
    assert {"timeout": {"connect": 5.0}} == own


CODED = {
    "gzip, then identity": (("gzip", "identity"), gzip.compress(DOCUMENT)),
    "deflate, then gzip": (("deflate", "gzip"), gzip.compress(zlib.compress(DOCUMENT))),
}


@pytest.mark.parametrize("case", CODED)
@pytest.mark.parametrize("moved", [True, False])
def test_a_reply_whose_coding_stands_in_several_lines_is_read(routed, instrument, recorded, case, moved):
    """Half of what its labels say would make it an empty reply, and a paid one would be asked for again."""
    codings, body = CODED[case]
    headers = [*JSON.items(), *(("content-encoding", coding) for coding in codings)]
    instrument(policy=policy() if moved else None)

    response = routed.post(lambda _: routed.reply(body, headers=headers), CHAT)

    assert DOCUMENT == response.content
    assert 1 == len(routed.sent)
    assert ("ok", 7) == (recorded.exchanges[0].outcome, recorded.exchanges[0].answer.usage.input_tokens)


def test_a_failure_that_a_built_in_exception_caused_moves_the_call(routed, instrument, library):
    """As a transport of the application's own raises; nothing weak refers to such an exception."""

    def answer(request):
        if "eu-west" in request.url.host:
            return routed.reply(DOCUMENT)
        raise library.ReadError("lost") from ConnectionResetError(104, "Connection reset by peer")

    instrument(policy=policy(retry=Retry(per_target=0)))

    assert DOCUMENT == routed.post(answer, CHAT).content
    assert ["ap-southeast", "eu-west"] == routed.hosts


def test_a_stream_that_a_built_in_exception_broke_is_recorded(routed, instrument, recorded, library):
    class Body(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self):
            yield EVENTS[0]
            raise library.ReadError("lost") from ConnectionResetError(104, "Connection reset by peer")

        async def __aiter__(self):
            for part in self:
                yield part

    headers = {"content-type": "text/event-stream"}
    instrument(policy=policy(retry=Retry(per_target=0)))

    with pytest.raises(library.ReadError):
        routed.post(lambda _: library.Response(200, headers=headers, stream=Body()), {**CHAT, "stream": True})

    assert "error" == recorded.one.attributes["byteplus.modelark.outcome"]


def test_a_refusal_without_an_end_is_kept_as_far_as_there_is_room(routed, instrument, library, monkeypatch):
    """No connection can be shut down here, as of HTTP/2: nothing but its length ends it."""
    monkeypatch.setattr("byteplus_trace._edge.execution.LARGEST_HELD_DOCUMENT", 2_000_000)
    read = []

    class Endless(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self):
            for _ in range(500):
                read.append(100_000)
                yield b"x" * 100_000

        async def __aiter__(self):
            for part in self:
                yield part

    def answer(request):
        if "eu-west" in request.url.host:
            return routed.reply(DOCUMENT)
        return library.Response(503, stream=Endless())

    instrument(policy=policy(retry=Retry(per_target=0)))

    assert DOCUMENT == routed.post(answer, CHAT).content
    assert sum(read) <= 2_100_000


def test_a_refusal_that_drips_for_ever_is_left_after_a_while(instrument, library, monkeypatch):
    """Of a connection that other calls share, and a sync client: nothing shuts that down."""
    monkeypatch.setattr("byteplus_trace._edge.executors.KEPT_WITHIN_SECONDS", 0.05)
    dripped = []

    class Dripping(library.SyncByteStream):
        def __iter__(self):
            yield b"x" * 1_100_000  # more than is read of a refusal
            for _ in range(1_000):
                dripped.append(1)
                time.sleep(0.01)
                yield b"x"

    def answer(request):
        if "eu-west" in request.url.host:
            return library.Response(200, headers=JSON, content=DOCUMENT)
        return library.Response(503, stream=Dripping())

    instrument(policy=policy(retry=Retry(per_target=0)))
    with library.Client(transport=library.MockTransport(answer)) as client:
        assert DOCUMENT == client.post(SG + "/chat/completions", json=CHAT).content

    assert len(dripped) < 100


@pytest.mark.parametrize("follows", ["a fallback", "a redirect"])
def test_the_callers_own_extensions_are_never_written_to(routed, instrument, library, follows):
    """A dictionary of them may be several requests' own: nothing of one call is to be met by another."""
    own = {"target": b"/api/v3/chat/completions", "sni_hostname": "mine.example", "timeout": {"read": 5.0}}
    before = copy.deepcopy(own)

    def answer(request):
        if "eu-west" in request.url.host:
            return routed.reply(DOCUMENT)
        if follows == "a redirect":
            return library.Response(307, headers={"location": EU + "/chat/completions"})
        return routed.overloaded()

    def request_of(client):
        request = client.build_request("POST", SG + "/chat/completions", json=CHAT)
        request.extensions = own
        return request

    def work(client):
        return client.send(request_of(client), follow_redirects=True)

    async def awork(client):
        return await client.send(request_of(client), follow_redirects=True)

    instrument(policy=policy(retry=Retry(per_target=0)))
    response = routed.http.run(
        work if routed.http.colour == "sync" else awork, transport=library.MockTransport(answer)
    )

    assert DOCUMENT == response.content
    assert before == own
