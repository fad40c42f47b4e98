"""With attempt_spans="when_retried" a call that is sent once is one span, and nothing that was known is lost."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from opentelemetry import context, trace
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import StatusCode

import byteplus_trace
from byteplus_trace import Breaker, Policy, Retry, Target
from byteplus_trace._telemetry import guard

CHAT = {"model": "seed-2-0-lite-260428", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
SG, EU = "ap-southeast-1", "eu-west-1"
TOKENIZATION = {"model": "seed-1-6-250915", "text": ["Three rivers."]}

# What differs from call to call, and from a call to its attempt.
VARYING = {
    "byteplus.modelark.request_id",
    "byteplus.modelark.time_to_first_answer",
    "byteplus.modelark.upstream_ms",
    "gen_ai.response.id",
    "gen_ai.response.time_to_first_chunk",
}


@pytest.fixture
def policy(ark):
    def make(**settings):
        return Policy(
            targets=[
                Target("sg", region=SG, base_url=ark.base_url(SG), api_key="key-sg"),
                Target("eu", region=EU, base_url=ark.base_url(EU), api_key="key-eu"),
            ],
            **{"retry": Retry(per_target=0), **settings},
        )

    return make


def read_document(http, url):
    http.post(url, CHAT)


def read_stream(http, url):
    http.parts(url, STREAMED)


def close_early(http, url):
    http.parts(url, STREAMED, most=1)


# How a region answers, how its caller reads, and the status of the call's span.
SENT_ONCE = {
    "a document": (lambda _: None, read_document, StatusCode.UNSET),
    "a stream": (lambda _: None, read_stream, StatusCode.UNSET),
    "a refusal": (lambda sg: sg.fails(429, code="RateLimitExceeded.EndpointRPMExceeded"), read_document, StatusCode.ERROR),
    "no connection": (lambda sg: sg.refuses(), read_document, StatusCode.ERROR),
    "a reset": (lambda sg: sg.resets(), read_document, StatusCode.ERROR),
    "an empty reply": (lambda sg: sg.answers_empty(), read_document, StatusCode.ERROR),
    "a stream that is cut": (lambda sg: sg.cuts(after_events=3), read_stream, StatusCode.ERROR),
    "an error in a stream": (
        lambda sg: sg.errors_in_stream(after_events=2, code="InternalServiceError"), read_stream, StatusCode.ERROR,
    ),
}  # fmt: skip


def is_one_span_that_knows_what_two_knew(http, instrument, recorded, url, read, status):
    def spans_with(**settings):
        recorded.exporter.clear()
        instrument(**settings)
        with suppress(http.library.TransportError):
            read(http, url)
        found = recorded.spans
        byteplus_trace.uninstrument()
        return found

    attempt, call = spans_with()
    (one,) = spans_with(attempt_spans="when_retried")

    assert (call.name, call.kind, status) == (one.name, one.kind, one.status.status_code)
    described = [(span.status.description or "").partition("; request id")[0] for span in (call, one)]
    assert described[0] == described[1]
    assert (attempt.attributes.keys() | call.attributes.keys()) == one.attributes.keys()
    both = {**attempt.attributes, **call.attributes}
    assert {name: both[name] for name in both.keys() - VARYING} == {
        name: one.attributes[name] for name in both.keys() - VARYING
    }


@pytest.mark.parametrize("how", SENT_ONCE)
def test_a_call_that_is_sent_once_is_one_span(http, instrument, recorded, sg, ark, how):
    fail, read, status = SENT_ONCE[how]
    fail(ark.region(SG))

    is_one_span_that_knows_what_two_knew(http, instrument, recorded, sg + "/chat/completions", read, status)


# Under trio httpx's own generators warn of being left.
@pytest.mark.parametrize("colour", ["sync", "asyncio"])
def test_a_stream_whose_reader_leaves_is_one_span(http, instrument, recorded, sg):
    is_one_span_that_knows_what_two_knew(
        http, instrument, recorded, sg + "/chat/completions", close_early, StatusCode.UNSET
    )


def test_the_request_id_is_that_of_the_reply(http, instrument, recorded, sg):
    instrument(attempt_spans="when_retried")

    reply = http.post(sg + "/chat/completions", CHAT)

    assert reply.headers["x-request-id"] == recorded.one.attributes["byteplus.modelark.request_id"]


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_call_that_is_cancelled_has_one_span_that_is_no_error(http, instrument, recorded, sg, ark):
    instrument(attempt_spans="when_retried")
    ark.region(SG).hangs()

    async def work(client):
        with anyio.move_on_after(0.2) as scope:
            await client.post(sg + "/chat/completions", json=CHAT)
        assert scope.cancelled_caught

    http.run(work)

    (span,) = recorded.spans
    assert StatusCode.UNSET is span.status.status_code
    assert ("cancelled", "initial") == (
        span.attributes["byteplus.modelark.outcome"],
        span.attributes["byteplus.modelark.attempt.cause"],
    )


class Started(SpanProcessor):
    """The spans that have begun."""

    def __init__(self):
        self.spans = []

    def on_start(self, span, parent_context=None):
        self.spans.append(span)


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_call_that_is_cancelled_before_it_is_sent_again_keeps_what_its_attempt_met(
    http, instrument, recorded, ark, policy
):
    """The attempt failed and the call did not, so the call's span has no type of error."""
    started = Started()
    recorded.provider.add_span_processor(started)
    ark.region(SG).fails(503, code="ServerOverloaded", retry_after=10)
    instrument(attempt_spans="when_retried", policy=policy(retry=Retry(per_target=1)))

    async def cancelled_as_it_waits(client):
        async with anyio.create_task_group() as group:

            async def call():
                await client.post(ark.base_url(SG) + "/chat/completions", json=CHAT)

            group.start_soon(call)
            while not [event for span in started.spans for event in span.events]:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    http.run(cancelled_as_it_waits)

    (span,) = recorded.spans
    assert ["retry"] == [event.name for event in span.events]
    assert StatusCode.UNSET is span.status.status_code
    expected = {
        "byteplus.modelark.outcome": "cancelled",
        "http.response.status_code": 503,
        "byteplus.modelark.error.code": "ServerOverloaded",
        "error.type": None,
    }
    assert expected == {name: span.attributes.get(name) for name in expected}


def post_chat(http, region):
    return http.post(region.base_url + "/chat/completions", CHAT)


# A policy, how the first region fails, and the causes of the attempts.
SENT_TWICE = {
    "a retry": ({"retry": Retry(per_target=1, base=0.01, cap=0.02)}, lambda sg: sg.fails(503, times=1), ["initial", "retry"]),
    "a fallback": ({}, lambda sg: sg.fails(503), ["initial", "fallback"]),
    "a fallback from no connection": ({}, lambda sg: sg.refuses(), ["initial", "fallback"]),
}  # fmt: skip


@pytest.mark.parametrize("how", SENT_TWICE)
def test_the_attempts_of_a_call_that_is_sent_again_have_spans_with_their_own_times(
    http, instrument, recorded, ark, policy, how
):
    settings, fail, causes = SENT_TWICE[how]
    fail(ark.region(SG))

    def spans_with(**more):
        recorded.exporter.clear()
        recorded.exchanges.clear()
        instrument(policy=policy(**settings), **more)
        assert 200 == post_chat(http, ark.region(SG)).status_code
        found = recorded.attempts, recorded.one
        byteplus_trace.uninstrument()
        return found

    attempts, call = spans_with(attempt_spans="when_retried")
    (exchange,) = recorded.exchanges
    assert causes == [attempt.attributes["byteplus.modelark.attempt.cause"] for attempt in attempts]
    assert [attempt.started_ns for attempt in exchange.attempts] == [span.start_time for span in attempts]
    assert [pytest.approx(attempt.duration_seconds, abs=1e-6) for attempt in exchange.attempts] == [
        (span.end_time - span.start_time) / 1e9 for span in attempts
    ]
    assert call.start_time <= attempts[0].start_time
    assert attempts[0].end_time <= attempts[1].start_time
    assert attempts[1].end_time <= call.end_time
    assert {call.context.span_id} == {span.parent.span_id for span in attempts}
    assert "http.request.method" not in call.attributes

    if not how.startswith("a retry"):  # a fault that happens once has happened
        always, called = spans_with()
        assert [span.attributes.keys() for span in always] == [span.attributes.keys() for span in attempts]
        assert called.attributes.keys() == call.attributes.keys()
        assert [(span.name, span.status.status_code, span.status.description) for span in always] == [
            (span.name, span.status.status_code, span.status.description) for span in attempts
        ]


def test_a_call_that_passes_over_a_target_is_sent_once(http, instrument, recorded, ark, policy):
    region = ark.region(SG)
    region.fails(503)
    instrument(attempt_spans="when_retried", policy=policy(breaker=Breaker(consecutive=1)))
    post_chat(http, region)
    recorded.exporter.clear()

    post_chat(http, region)

    (span,) = recorded.spans
    assert ["target.skipped"] == [event.name for event in span.events]
    expected = {
        "byteplus.modelark.target": "eu",
        "byteplus.modelark.attempt.cause": "initial",
        "cloud.region": EU,
        "server.port": int(ark.base_url(EU).split(":")[2].split("/")[0]),
        "url.full": ark.base_url(EU) + "/chat/completions",
    }
    assert expected == {name: span.attributes.get(name) for name in expected}


def test_a_call_that_makes_no_genai_claim_has_the_spans_of_its_attempts(http, instrument, recorded, sg):
    instrument(attempt_spans="when_retried")

    http.post(sg + "/tokenization", TOKENIZATION)

    assert list(recorded.spans) == recorded.attempts
    assert 1 == len(recorded.attempts)


def within(recorded, call):
    """Make a call inside another instrumentation's span of the same model call."""
    with recorded.provider.get_tracer("theirs").start_as_current_span(
        "ChatOpenAI.chat", attributes={"gen_ai.operation.name": "chat"}
    ):
        token = context.attach(context.set_value("suppress_language_model_instrumentation", True))
        try:
            call()
        finally:
            context.detach(token)
    return next(span for span in recorded.spans if span.name == "ChatOpenAI.chat")


def test_another_instrumentations_span_has_what_is_known_of_the_only_attempt(http, instrument, recorded, sg):
    instrument(attempt_spans="when_retried")

    outer = within(recorded, lambda: http.post(sg + "/chat/completions", CHAT))

    assert (outer,) == recorded.spans
    assert (200, "initial", "ok") == tuple(
        outer.attributes[name]
        for name in (
            "http.response.status_code",
            "byteplus.modelark.attempt.cause",
            "byteplus.modelark.outcome",
        )
    )


def test_the_attempts_of_a_call_that_is_sent_again_hang_under_another_instrumentations_span(
    http, instrument, recorded, ark, policy
):
    ark.region(SG).fails(503)
    instrument(attempt_spans="when_retried", policy=policy())

    outer = within(recorded, lambda: post_chat(http, ark.region(SG)))

    assert [outer.context.span_id] * 2 == [
        span.parent.span_id for span in recorded.spans if span.name == "POST"
    ]
    assert "byteplus.modelark.attempt.cause" not in outer.attributes


def test_what_an_sdk_sends_again_within_another_instrumentations_span_stays_apart(
    http, instrument, recorded, ark
):
    """Each is a call to us, and on that one span each would write over the one before."""
    instrument(attempt_spans="when_retried")
    ark.region(SG).fails(503, times=1)
    url = ark.base_url(SG) + "/chat/completions"

    def sdk():
        http.post(url, CHAT)
        http.post(url, CHAT, headers={"x-stainless-retry-count": "1"})

    outer = within(recorded, sdk)

    assert [(outer.context.span_id, 503), (outer.context.span_id, 200)] == [
        (span.parent.span_id, span.attributes["http.response.status_code"])
        for span in recorded.spans
        if span.name == "POST"
    ]
    assert "http.response.status_code" not in outer.attributes


@pytest.mark.parametrize("colour", ["sync"])
def test_an_attempt_has_a_span_where_another_instrumentations_has_ended(http, instrument, recorded, sg):
    instrument(attempt_spans="when_retried")
    begun = []

    def read_later(client):
        within(
            recorded,
            lambda: begun.append(client.send(client.build_request("POST", sg, json=STREAMED), stream=True)),
        )
        begun[0].read()

    sg += "/chat/completions"
    http.run(read_later)

    assert ["ChatOpenAI.chat", "POST"] == [span.name for span in recorded.spans]


class Asked(Sampler):
    """Keeps nothing, and remembers what it was asked for."""

    def __init__(self):
        self.names = []

    def should_sample(self, parent_context, trace_id, name, *_, **__):
        self.names.append(name)
        return SamplingResult(Decision.DROP)

    def get_description(self):
        return "asked"


def test_a_call_that_is_not_recorded_has_no_attempts_either(http, instrument, recorded, ark, policy):
    sampler = Asked()
    ark.region(SG).fails(503)
    instrument(
        attempt_spans="when_retried",
        policy=policy(),
        tracer_provider=TracerProvider(sampler=sampler, shutdown_on_exit=False),
    )

    post_chat(http, ark.region(SG))

    assert ["chat seed-2-0-lite-260428"] == sampler.names
    assert 2 == recorded.series("modelark_attempts_total")


def exemplars(recorded):
    """The ids of the spans that exemplars lead to, by series."""
    byteplus_trace.flush()
    found = {}
    for family in recorded.registry.collect():
        for sample in family.samples:
            if sample.exemplar:
                found.setdefault(sample.name, set()).add(int(sample.exemplar.labels["span_id"], 16))
    return found


def test_the_times_of_a_call_that_is_sent_once_lead_to_the_call(http, instrument, recorded, sg):
    instrument(attempt_spans="when_retried")

    http.post(sg + "/chat/completions", CHAT)

    call = {recorded.one.context.span_id}
    assert {
        "modelark_operation_duration_seconds_bucket": call,
        "modelark_attempt_duration_seconds_bucket": call,
    } == exemplars(recorded)


def test_the_times_of_attempts_lead_to_them_where_there_are_several(http, instrument, recorded, ark, policy):
    ark.region(SG).fails(503)
    instrument(attempt_spans="when_retried", policy=policy())

    post_chat(http, ark.region(SG))

    assert {
        "modelark_operation_duration_seconds_bucket": {recorded.one.context.span_id},
        "modelark_attempt_duration_seconds_bucket": {span.context.span_id for span in recorded.attempts},
    } == exemplars(recorded)


def test_nothing_leads_to_a_call_that_was_not_kept(http, instrument, recorded, sg):
    instrument(
        attempt_spans="when_retried",
        tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False),
    )

    http.post(sg + "/chat/completions", CHAT)

    assert {} == exemplars(recorded)


def while_sent(http, library, ask):
    """A list that gets what `ask` returns during each send."""
    found = []
    if http.colour == "sync":

        class Asking(library.HTTPTransport):
            def handle_request(self, request):
                found.append(ask())
                return super().handle_request(request)

    else:

        class Asking(library.AsyncHTTPTransport):
            async def handle_async_request(self, request):
                found.append(ask())
                return await super().handle_async_request(request)

    http.options["transport"] = Asking()
    return found


def test_what_is_logged_while_a_call_is_sent_has_the_calls_span(http, instrument, recorded, sg, library):
    """There is no other yet."""
    current = while_sent(http, library, lambda: trace.get_current_span().get_span_context().span_id)
    instrument(attempt_spans="when_retried")

    http.post(sg + "/chat/completions", CHAT)

    assert [recorded.one.context.span_id] == current


class RaisesForAttempts(SpanProcessor):
    """Raises for the first spans of attempts, as many as `times` says."""

    def __init__(self, times=1_000):
        self.times = times

    def on_start(self, span, parent_context=None):
        if span.name == "POST" and self.times:
            self.times -= 1
            raise RuntimeError("no attempts here")


@pytest.fixture
def raising(recorded):
    """raising(times): a provider that raises for so many spans of attempts."""

    def make(times=1_000):
        guard.strict = False
        recorded.provider = TracerProvider(shutdown_on_exit=False)
        recorded.provider.add_span_processor(RaisesForAttempts(times))
        recorded.provider.add_span_processor(SimpleSpanProcessor(recorded.exporter))
        return recorded.provider

    return make


def test_attempts_that_cannot_be_recorded_cost_the_call_nothing(
    http, instrument, recorded, ark, policy, raising
):
    ark.region(SG).fails(503)
    instrument(attempt_spans="when_retried", policy=policy(), tracer_provider=raising())

    assert 200 == post_chat(http, ark.region(SG)).status_code

    (call,) = recorded.spans
    assert "rescued_fallback" == call.attributes["byteplus.modelark.outcome"]
    assert 2 == recorded.series("modelark_telemetry_errors_total", where="opening the attempt span")


@pytest.mark.parametrize("when", ["always", "when_retried"])
def test_the_times_of_an_attempt_that_cannot_be_recorded_lead_to_the_call(
    http, instrument, recorded, ark, policy, raising, when
):
    """And those of the next one to its own span."""
    ark.region(SG).fails(503)
    instrument(attempt_spans=when, policy=policy(), tracer_provider=raising(times=1))

    post_chat(http, ark.region(SG))

    (second,) = recorded.attempts
    assert {"sg": recorded.one.context.span_id, "eu": second.context.span_id} == {
        sample.labels["target"]: int(sample.exemplar.labels["span_id"], 16)
        for family in recorded.registry.collect()
        for sample in family.samples
        if sample.exemplar and sample.name == "modelark_attempt_duration_seconds_bucket"
    }


def test_a_send_has_no_span_of_opentelemetrys_where_its_own_cannot_be_recorded(
    http, instrument, recorded, sg, library, raising
):
    others_record = while_sent(http, library, is_http_instrumentation_enabled)
    instrument(tracer_provider=raising())

    http.post(sg + "/chat/completions", CHAT)

    assert [False] == others_record
