"""What a policy does to calls over real sockets: every row of the table, in both libraries and all colours."""

import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import anyio
import httpx
import openai
import pytest
from byteplussdkarkruntime import Ark
from opentelemetry.trace import StatusCode

import byteplus_trace
from byteplus_trace import Breaker, Deadline, Policy, Retry, Target
from byteplus_trace._edge import executors, router

CHAT = {"model": "seed-2-0-lite-260228", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
IMAGE = {"model": "seedream-5-0-260128", "prompt": "a river"}
SG, EU = "ap-southeast-1", "eu-west-1"


@pytest.fixture
def region(ark):
    """region("sg"), region("eu")."""
    regions = {"sg": ark.region(SG), "eu": ark.region(EU)}
    return regions.__getitem__


@pytest.fixture
def policy(ark):
    """Two targets, the caller's region first; whatever else a test asks for."""

    def make(sg=None, eu=None, **settings):
        return Policy(
            targets=[
                Target("sg", region=SG, base_url=ark.base_url(SG), api_key="key-sg", **(sg or {})),
                Target("eu", region=EU, base_url=ark.base_url(EU), api_key="key-eu", **(eu or {})),
            ],
            **{"retry": Retry(per_target=0), **settings},
        )

    return make


def hops(recorded):
    (exchange,) = recorded.exchanges
    return [(attempt.target, attempt.cause, attempt.reason) for attempt in exchange.attempts]


# How sg fails, and the reason that the rescued call gives.
RESCUED = {
    "refused": (lambda sg: sg.refuses(), "connect"),
    "reset before headers": (lambda sg: sg.resets(), "reset"),
    "closed before headers": (lambda sg: sg.closes(), "reset"),
    "500": (lambda sg: sg.fails(500), "server_error"),
    "502": (lambda sg: sg.fails(502), "server_error"),
    "503": (lambda sg: sg.fails(503), None),
    "overloaded": (lambda sg: sg.fails(429, code="ServerOverloaded"), "overloaded"),
    "rate limited": (lambda sg: sg.fails(429, code="RateLimitExceeded.EndpointRPMExceeded"), "rate_limit"),
    "quota exhausted": (lambda sg: sg.fails(429, code="QuotaExceeded"), "quota"),
    "dead key": (lambda sg: sg.fails(401, code="AuthenticationError"), "auth"),
    "account overdue": (lambda sg: sg.fails(403, code="AccountOverdueError"), "auth"),
    "model not open": (lambda sg: sg.fails(404, code="ModelNotOpen"), "model_unavailable"),
    "endpoint closed": (lambda sg: sg.fails(400, code="InvalidEndpoint.ClosedEndpoint"), "model_unavailable"),
    "408": (lambda sg: sg.fails(408, code="RequestTimeout"), "timeout"),
    "409": (lambda sg: sg.fails(409, code="Conflict"), None),
    "empty 200": (lambda sg: sg.answers_empty(), "empty"),
}


@pytest.mark.parametrize("failure", RESCUED)
def test_a_call_is_rescued_by_the_other_region(http, instrument, recorded, region, policy, failure):
    fail, reason = RESCUED[failure]
    fail(region("sg"))
    instrument(policy=policy())

    reply = http.post(region("sg").base_url + "/chat/completions", CHAT)

    assert 200 == reply.status_code
    (first, second) = hops(recorded)
    assert ("sg", "initial") == first[:2]
    assert ("eu", "fallback", "none") == second
    assert reason in {first[2], None}
    span = recorded.one
    assert StatusCode.UNSET is span.status.status_code
    assert "rescued_fallback" == span.attributes["byteplus.modelark.outcome"]
    assert EU == span.attributes["cloud.region"]
    assert "sg" == span.attributes["byteplus.modelark.fallback.from"]
    assert ["fallback"] == [event.name for event in span.events]
    assert 1 == recorded.series("modelark_fallbacks_total", from_target="sg", to_target="eu", result="ok")
    assert "eu" == reply.headers["x-byteplus-trace-target"]
    assert "2" == reply.headers["x-byteplus-trace-attempts"]
    assert 2 == reply.extensions["byteplus_trace"]["attempts"]
    (received,) = region("eu").requests
    assert received.json == CHAT


def series_of_targets(recorded):
    byteplus_trace.flush()
    return {
        (sample.name, *sorted(sample.labels.items()))
        for family in recorded.registry.collect()
        for sample in family.samples
        if {"target", "from_target"} & sample.labels.keys()
    }


TOKENIZATION = {"model": "seed-2-0-lite-260228", "text": ["Name three rivers."]}


@pytest.mark.parametrize(("path", "body"), [("/chat/completions", CHAT), ("/tokenization", TOKENIZATION)])
@pytest.mark.parametrize("failure", RESCUED)
def test_what_a_rescue_counts_stood_at_0_before(instrument, recorded, region, policy, failure, path, body):
    """Retry, fallback and attempts: once a model was called, no series of a target begins with its first rise."""
    fail, _ = RESCUED[failure]
    instrument(policy=policy(retry=Retry(per_target=1, base=0.001)))
    with httpx.Client(headers={"Authorization": "Bearer test"}) as client:
        client.post(region("sg").base_url + path, json=body)
    began = series_of_targets(recorded)

    fail(region("sg"))
    with httpx.Client(headers={"Authorization": "Bearer test"}) as client, suppress(httpx.HTTPError):
        client.post(region("sg").base_url + path, json=body)

    assert 2 == recorded.series("modelark_operations_total")
    assert set() == series_of_targets(recorded) - began


REFUSED = {
    "bad request": (400, "InvalidParameter"),
    "too large": (413, "RequestTooLarge"),
    "unprocessable": (422, "UnprocessableEntity"),
    "moderated": (400, "InputTextSensitiveContentDetected"),
    "no such path": (404, "InvalidAction"),
}


@pytest.mark.parametrize("failure", REFUSED)
def test_the_callers_own_fault_stays_where_it_is(http, instrument, recorded, region, policy, failure):
    status, code = REFUSED[failure]
    region("sg").fails(status, code=code)
    instrument(policy=policy())

    reply = http.post(region("sg").base_url + "/chat/completions", CHAT)

    assert status == reply.status_code
    assert 1 == len(hops(recorded))
    assert [] == region("eu").requests


def test_a_hanging_region_is_left_at_the_deadlines_share(http, instrument, recorded, region, policy):
    region("sg").hangs()
    instrument(policy=policy(deadline=Deadline(total=3, min_attempt=2.6)))

    assert 200 == http.post(region("sg").base_url + "/chat/completions", CHAT).status_code

    assert [("sg", "initial", "timeout"), ("eu", "fallback", "none")] == hops(recorded)


def test_an_image_that_may_have_run_is_not_sent_twice(http, instrument, recorded, region, policy, library):
    region("sg").resets()
    instrument(policy=policy())

    with pytest.raises((library.ReadError, library.RemoteProtocolError)):
        http.post(region("sg").base_url + "/images/generations", IMAGE)

    assert 1 == len(region("sg").requests)
    assert [] == region("eu").requests
    assert 1 == recorded.series("modelark_possible_duplicates_total", action="raised")


def test_an_image_that_was_never_sent_moves(http, instrument, recorded, region, policy):
    region("sg").refuses()
    instrument(policy=policy())

    assert 200 == http.post(region("sg").base_url + "/images/generations", IMAGE).status_code

    assert [("sg", "initial", "connect"), ("eu", "fallback", "none")] == hops(recorded)


# Under trio httpx's own inner generators warn when a stream is left before its end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "fail",
    [
        lambda sg: sg.errors_in_stream(after_events=0, code="InternalServiceError"),
        lambda sg: sg.cuts(after_events=0),
        lambda sg: sg.answers_empty(),
    ],
    ids=["an error", "a cut", "nothing"],
)
def test_a_stream_that_fails_before_its_first_output_is_rescued(
    http, instrument, recorded, region, policy, fail
):
    fail(region("sg"))
    instrument(policy=policy())

    stream = b"".join(http.parts(region("sg").base_url + "/chat/completions", STREAMED))

    assert stream.endswith(b"data: [DONE]\n\n")
    assert ["sg", "eu"] == [hop[0] for hop in hops(recorded)]
    assert "rescued_fallback" == recorded.one.attributes["byteplus.modelark.outcome"]


def test_a_stream_that_fails_after_its_first_output_is_delivered_as_far_as_it_came(
    http, instrument, recorded, region, policy
):
    region("sg").errors_in_stream(after_events=3, code="InternalServiceError")
    instrument(policy=policy())

    stream = b"".join(http.parts(region("sg").base_url + "/chat/completions", STREAMED))

    assert b"InternalServiceError" in stream
    assert [] == region("eu").requests
    assert "InternalServiceError" == recorded.one.attributes["error.type"]
    assert 1 == recorded.series("modelark_stream_breaks_total", phase="after_output")


def test_a_silent_stream_is_left_for_another_target(http, instrument, recorded, region, policy):
    region("sg").hangs(after_events=0)
    instrument(policy=policy(deadline=Deadline(first_event=0.3)))

    stream = b"".join(http.parts(region("sg").base_url + "/chat/completions", STREAMED))

    assert stream.endswith(b"data: [DONE]\n\n")
    assert [("sg", "timeout"), ("eu", "none")] == [(hop[0], hop[2]) for hop in hops(recorded)]


def test_streams_that_are_silent_everywhere_end_in_the_librarys_own_timeout(
    http, instrument, recorded, region, policy, library
):
    region("sg").hangs(after_events=0)
    region("eu").hangs(after_events=0)
    instrument(policy=policy(retry=Retry(per_target=1), deadline=Deadline(total=0.6, min_attempt=0.1)))

    with pytest.raises(library.ReadTimeout):
        http.parts(region("sg").base_url + "/chat/completions", STREAMED)

    assert {"ReadTimeout"} == {attempt.error_type for attempt in recorded.exchanges[0].attempts}
    assert "deadline" == recorded.exchanges[0].outcome


def test_a_stream_that_falls_silent_is_broken_after_the_idle_time(
    http, instrument, recorded, region, policy, library
):
    region("sg").hangs(after_events=4)
    instrument(policy=policy(deadline=Deadline(idle=0.6)))

    with pytest.raises(library.ReadTimeout):
        http.parts(region("sg").base_url + "/chat/completions", STREAMED)

    assert [("sg", "initial", "idle")] == hops(recorded)
    assert 1 == recorded.series("modelark_stream_breaks_total", phase="after_output", reason="idle")


@pytest.fixture
def drips():
    """drips(at_once, drops): the base URL of a server that sends the one at once and the other byte by byte."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(at_once, drops):
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    while b"rivers" not in connection.recv(65536):
                        pass
                    connection.sendall(at_once)
                    for drop in drops:
                        time.sleep(0.05)
                        connection.sendall(bytes([drop]))

    def start(at_once, drops):
        threading.Thread(target=serve, args=(at_once, drops), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/api/v3"

    yield start
    listener.close()


REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n"


def spends_its_deadline(http, instrument, recorded, base_url):
    target = Target("sg", region=SG, base_url=base_url, api_key="k")
    instrument(policy=Policy([target], deadline=Deadline(total=0.4)))

    with pytest.raises(http.library.ReadTimeout, match="deadline"):
        http.post(base_url + "/chat/completions", CHAT)

    assert "deadline" == recorded.exchanges[0].outcome


def test_the_deadline_holds_for_a_refusal_that_comes_in_drops(http, instrument, recorded, drips):
    spends_its_deadline(http, instrument, recorded, drips(REFUSAL, b" " * 60))


def test_the_first_event_bounds_a_refusal_that_comes_in_drops(http, instrument, recorded, region, drips):
    dripping = drips(REFUSAL, b" " * 60)
    instrument(
        policy=Policy(
            [
                Target("sg", region=SG, base_url=dripping, api_key="k"),
                Target("eu", region=EU, base_url=region("eu").base_url, api_key="k"),
            ],
            deadline=Deadline(first_event=0.3),
        )
    )
    began = time.monotonic()

    assert http.parts(dripping + "/chat/completions", STREAMED)

    assert time.monotonic() - began < 2  # the refusal takes three
    assert [("sg", "initial", "timeout"), ("eu", "fallback", "none")] == hops(recorded)


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_the_deadline_holds_for_headers_that_come_in_drops(http, instrument, recorded, drips):
    """A blocking read of headers is bounded by its silences only: a limit that docs/routing.md tells."""
    spends_its_deadline(http, instrument, recorded, drips(b"", REFUSAL))


@pytest.mark.parametrize("kind", [b"application/json\r\n\r\n{", b"text/event-stream\r\n\r\n:"])
def test_the_deadline_holds_for_a_body_that_ends_with_its_connection(http, instrument, recorded, drips, kind):
    """That we cut it short is no end of it: half of a document is nobody's answer."""
    spends_its_deadline(
        http, instrument, recorded, drips(b"HTTP/1.1 200 OK\r\ncontent-type: " + kind, b" " * 60)
    )


def test_a_connection_that_other_calls_share_is_not_cut():
    """Shutting an HTTP/2 connection down for one slow stream would end all of its streams."""
    stream = SimpleNamespace(get_extra_info=pytest.fail)
    response = SimpleNamespace(extensions={"network_stream": stream, "http_version": b"HTTP/2"})

    with (cut := executors.Cut(response, 0.001)):
        time.sleep(0.02)

    assert cut.is_due
    assert not cut.made


@pytest.fixture
def line():
    """Both ends of a connection, and a reply that comes over the first."""
    ours, theirs = socket.socketpair()
    stream = SimpleNamespace(get_extra_info={"socket": ours}.get)
    with ours, theirs:
        yield SimpleNamespace(
            ours=ours, theirs=theirs, response=SimpleNamespace(extensions={"network_stream": stream})
        )


def test_a_reply_that_was_read_as_its_time_ended_leaves_the_connection_to_the_next(line):
    with (cut := executors.Cut(line.response, 60)):
        pass
    cut._cut()

    line.ours.sendall(b"the next call")
    assert b"the next call" == line.theirs.recv(64)
    assert not cut.made


def test_a_connection_that_was_closed_as_its_time_ended_is_nothing_to_cut(line):
    with (cut := executors.Cut(line.response, 60)):
        line.ours.close()
        cut._cut()

    assert b"" == line.theirs.recv(64)


def test_a_silent_connection_is_cut(line):
    with (cut := executors.Cut(line.response, 60)):
        cut._cut()

    assert b"" == line.theirs.recv(64)
    assert cut.made


# What bounds the beginning of an attempt.
BEGINNINGS = {
    "first_event": {"deadline": Deadline(first_event=0.8)},
    "total": {"deadline": Deadline(total=0.8, min_attempt=0)},
    "request_timeout": {"sg": {"request_timeout": 0.8}},
}
OUTPUT_AND_END = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Ganges"}}]}\n\n'
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)


@pytest.mark.parametrize("bound", BEGINNINGS)
def test_what_bounds_the_beginning_does_not_cut_what_has_begun(
    http, instrument, recorded, region, policy, bound
):
    region("sg").replays(OUTPUT_AND_END, content_type="text/event-stream")
    region("sg").delays(between=1.2)
    instrument(policy=policy(**BEGINNINGS[bound]))

    parts = http.parts(region("sg").base_url + "/chat/completions", STREAMED)

    assert OUTPUT_AND_END == b"".join(parts)
    assert [("sg", "initial", "none")] == hops(recorded)


def test_a_silence_that_is_too_long_for_a_stream_is_not_for_headers_nor_documents(
    http, instrument, recorded, region, policy
):
    region("sg").fails(503, times=1)
    region("sg").delays(headers=0.5)
    instrument(policy=policy(deadline=Deadline(idle=0.2), retry=Retry(base=0.01)))

    reply = http.post(region("sg").base_url + "/chat/completions", CHAT)

    assert 200 == reply.status_code
    assert [("sg", "initial"), ("sg", "retry")] == [hop[:2] for hop in hops(recorded)]


def test_the_same_target_is_tried_again_where_that_may_help(http, instrument, recorded, region, policy):
    region("sg").fails(503, times=1)
    instrument(policy=policy(retry=Retry(per_target=1, base=0.01, cap=0.02)))

    assert 200 == http.post(region("sg").base_url + "/chat/completions", CHAT).status_code

    assert ["initial", "retry"] == [hop[1] for hop in hops(recorded)]
    assert "rescued_retry" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert 1 == recorded.series("modelark_retries_total", target="sg")
    assert ["retry"] == [event.name for event in recorded.one.events]


def test_when_all_fail_the_caller_gets_the_first_and_sdks_are_told_to_stop(
    http, instrument, recorded, region, policy
):
    region("sg").fails(503, code="ServerOverloaded", message="the first")
    region("eu").fails(500, code="InternalServiceError", message="the second")
    instrument(policy=policy())

    reply = http.post(region("sg").base_url + "/chat/completions", CHAT)

    assert 503 == reply.status_code
    assert "the first" in reply.text
    assert "false" == reply.headers["x-should-retry"]
    assert "sg" == reply.headers["x-byteplus-trace-target"]
    assert "overloaded" == reply.headers["x-byteplus-trace-fallback-reason"]
    assert "error" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert "ServerOverloaded" == recorded.one.attributes["error.type"]


@pytest.mark.parametrize("says_nothing", ["answers_empty", "answers_html"])
def test_when_all_fail_the_caller_gets_the_one_that_says_why(
    http, instrument, recorded, region, policy, says_nothing
):
    getattr(region("sg"), says_nothing)()
    region("eu").fails(503, code="ServerOverloaded")
    instrument(policy=policy())

    reply = http.post(region("sg").base_url + "/chat/completions", CHAT)

    assert 503 == reply.status_code
    assert "false" == reply.headers["x-should-retry"]
    assert "ServerOverloaded" == recorded.one.attributes["error.type"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as above
def test_when_all_fail_the_caller_gets_all_of_the_first_stream(http, instrument, recorded, region, policy):
    region("sg").errors_in_stream(after_events=0, code="InternalServiceError")
    region("eu").fails(503, code="ServerOverloaded")
    instrument(policy=policy())

    stream = b"".join(http.parts(region("sg").base_url + "/chat/completions", STREAMED))

    assert b"InternalServiceError" in stream
    assert b"ServerOverloaded" not in stream
    assert "InternalServiceError" == recorded.one.attributes["error.type"]


@pytest.mark.parametrize("colour", ["sync"])
def test_asking_after_a_response_that_failed_closes_no_region(http, instrument, recorded, region, policy):
    region("sg").replays(b'{"id":"resp_1","status":"failed","error":{"code":"ServerOverloaded"}}')
    instrument(policy=policy(retry=Retry(per_target=1), breaker=Breaker(consecutive=2)))

    for _ in range(3):
        http.run(lambda client: client.get(f"{region('sg').base_url}/responses/resp_1"))

    assert 3 == len(region("sg").requests)
    assert 3 == recorded.series("modelark_operations_total", operation="fetch_response", outcome="ok")
    assert 0 == recorded.series("modelark_breaker_state", target="sg", operation="fetch_response")


def test_streams_that_break_after_their_first_output_open_the_breaker(
    http, instrument, recorded, region, policy
):
    region("sg").errors_in_stream(after_events=3, code="InternalServiceError")
    instrument(policy=policy(breaker=Breaker(consecutive=2)))

    for _ in range(3):
        http.parts(region("sg").base_url + "/chat/completions", STREAMED)

    assert ["sg", "sg", "eu"] == [exchange.target for exchange in recorded.exchanges]


def test_a_response_is_followed_where_it_lives(http, instrument, recorded, region, policy):
    """The region that made it is asked, whoever comes first in the policy."""
    region("sg").refuses()
    instrument(policy=policy())
    url = region("sg").base_url + "/responses"
    made = http.post(url, {"model": "seed-2-0-lite-260228", "input": "Name three rivers."}).json()["id"]
    region("sg").accepts()

    followed = http.post(
        url, {"model": "seed-2-0-lite-260228", "input": "And lakes?", "previous_response_id": made}
    )

    assert 200 == followed.status_code
    assert ["eu", "eu"] == [exchange.target for exchange in recorded.exchanges]


def test_each_target_gets_its_own_model_key_and_parameters(http, instrument, recorded, region, policy, ark):
    region("sg").refuses()
    region("eu").keys = {"the eu key": "key-eu"}
    instrument(
        policy=policy(
            eu={
                "models": {"seed-2-0-lite-260228": "ep-20260101-eu"},
                "override_params": {"thinking": {"type": "disabled"}},
            }
        )
    )

    reply = http.post(region("sg").base_url + "/chat/completions", {**CHAT, "future_field": {"kept": [1, 2]}})

    assert 200 == reply.status_code
    (received,) = region("eu").requests
    assert {
        **CHAT,
        "model": "ep-20260101-eu",
        "future_field": {"kept": [1, 2]},
        "thinking": {"type": "disabled"},
    } == received.json
    assert "seed-2-0-lite-260228" == recorded.one.attributes["gen_ai.request.model"]


def test_a_broken_region_is_left_alone_until_a_probe_finds_it_well(
    http, instrument, recorded, region, policy, monkeypatch
):
    later = 0.0
    monkeypatch.setattr(router, "clock", lambda: time.monotonic() + later)
    region("sg").refuses()
    instrument(policy=policy(breaker=Breaker(consecutive=2, open=60)))
    url = region("sg").base_url + "/chat/completions"

    for _ in range(4):
        assert 200 == http.post(url, CHAT).status_code

    assert 2 == recorded.series("modelark_attempts_total", target="sg", reason="connect")
    assert 2 == recorded.series("modelark_targets_skipped_total", target="sg", reason="breaker_open")
    assert 2 == recorded.series("modelark_breaker_state", target="sg", operation="chat")
    region("sg").accepts()
    later = 90.0
    http.post(url, CHAT)
    assert "probe" == recorded.exchanges[-1].attempts[0].cause
    assert 0 == recorded.series("modelark_breaker_state", target="sg", operation="chat")


def test_an_sdks_own_retries_do_not_multiply_the_policys_attempts(instrument, recorded, region, policy):
    """openai and the Ark SDK retry twice by default; the wire sees the policy's attempts once."""
    region("sg").fails(503, code="ServerOverloaded")
    region("eu").fails(503, code="ServerOverloaded")
    instrument(policy=policy())
    url = region("sg").base_url

    with pytest.raises(openai.InternalServerError), openai.OpenAI(base_url=url, api_key="key") as client:
        client.chat.completions.create(**CHAT)
    after_openai = len(region("sg").requests) + len(region("eu").requests)
    with pytest.raises(Exception, match="ServerOverloaded"), Ark(base_url=url, api_key="key") as client:
        client.chat.completions.create(**CHAT)

    assert 2 == after_openai
    assert 4 == len(region("sg").requests) + len(region("eu").requests)


def test_an_sdk_that_resends_an_image_after_an_exception_sends_it_once(instrument, recorded, region, policy):
    region("sg").hangs()
    instrument(policy=policy())

    with openai.OpenAI(base_url=region("sg").base_url, api_key="key", timeout=0.3) as client:  # noqa: SIM117
        with pytest.raises(openai.APITimeoutError):
            client.images.generate(**IMAGE)

    assert 1 == len(region("sg").requests)
    assert [] == region("eu").requests
    assert [1, 0, 0] == [len(exchange.attempts) for exchange in recorded.exchanges]


@pytest.mark.parametrize("retries", [0, 1], ids=["the caller", "its SDK"])
def test_asking_again_after_a_response_is_no_second_charge(instrument, recorded, region, policy, retries):
    instrument(policy=policy())

    with openai.OpenAI(base_url=region("sg").base_url, api_key="key", max_retries=retries) as client:
        made = client.responses.create(model="seed-2-0-lite-260228", input="Name three rivers.").id
        region("sg").resets(times=1)
        if not retries:
            with pytest.raises(openai.APIConnectionError):
                client.responses.retrieve(made)
        assert made == client.responses.retrieve(made).id

    assert [1, 1, 1] == [len(exchange.attempts) for exchange in recorded.exchanges]
    assert 0 == recorded.series("modelark_possible_duplicates_total")


@pytest.mark.parametrize("again", ["resets", "recovers"])
def test_an_image_that_an_sdk_sends_again_unmarked_is_counted_however_it_ends(
    instrument, recorded, region, policy, again
):
    """Nothing in the Ark SDK's requests tells a repeat from a new call."""
    region("sg").resets()
    instrument(policy=policy())

    with httpx.Client() as client:
        for _ in range(2):
            with suppress(httpx.TransportError):
                client.post(region("sg").base_url + "/images/generations", json=IMAGE)
            getattr(region("sg"), again)()

    assert 2 == len(region("sg").requests)
    assert ["raised", "sdk_resend"] == [exchange.duplicate for exchange in recorded.exchanges]
    assert 1 == recorded.series("modelark_possible_duplicates_total", action="sdk_resend")


@pytest.mark.parametrize("failure", ["refuses", "hangs"])
def test_a_thousand_calls_survive_a_dead_region(instrument, recorded, region, policy, failure):
    getattr(region("sg"), failure)()
    instrument(
        policy=policy(sg={"request_timeout": 0.5}, breaker=Breaker(consecutive=5, open=0.5, open_max=0.5))
    )
    url = region("sg").base_url + "/chat/completions"
    statuses = []

    async def main():
        limiter = anyio.CapacityLimiter(50)
        async with httpx.AsyncClient(headers={"Authorization": "Bearer key"}, timeout=10) as client:

            async def call():
                async with limiter:
                    statuses.append((await client.post(url, json=CHAT)).status_code)

            async with anyio.create_task_group() as tasks:
                for _ in range(1_000):
                    tasks.start_soon(call)
            dead = recorded.series("modelark_attempts_total", target="sg")
            skipped = recorded.series("modelark_targets_skipped_total", target="sg", reason="breaker_open")
            rescued = recorded.series("modelark_operations_total", outcome="rescued_fallback")
            print(
                f"{failure}: 1000 calls, {dead:.0f} sends to the dead region, {skipped:.0f} skips, {rescued:.0f} rescued"
            )
            assert 1_000 == dead + skipped
            assert 2 == recorded.series("modelark_breaker_state", target="sg", operation="chat")
            region("sg").recovers()
            await anyio.sleep(1)
            await call()

    anyio.run(main)

    assert {200} == set(statuses)
    assert "probe" == recorded.exchanges[-1].attempts[0].cause
    assert 0 == recorded.series("modelark_breaker_state", target="sg", operation="chat")


def test_a_request_that_needs_no_rewrite_keeps_its_own_head(http, instrument, recorded, region, policy):
    """A GET has no body, with a policy as without one."""
    url = region("sg").base_url + "/contents/generations/tasks"
    http.run(lambda client: client.get(url))
    instrument(policy=policy())

    http.run(lambda client: client.get(url))

    bare, routed = region("sg").requests
    assert set(bare.headers) == set(routed.headers)
