"""
Every seam fails, alone and with others, and no call is harmed.

A seam is a place where a call meets code that users plug in, or work of ours that may have a
bug. `SEAMS` breaks each; what the library calls the place is beside it, and a test compares
those names with the library's own list.
"""

from __future__ import annotations

import itertools
import logging
import threading
from contextlib import ExitStack

import anyio
import httpx
import httpx2
import opentelemetry.context
import prometheus_client
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace import Deadline, Policy, Retry, Target, _observer
from byteplus_trace._edge import execution, instrumentation, passthrough, received, router, stream
from byteplus_trace._edge.execution import Executor
from byteplus_trace._edge.passthrough import SingleSend
from byteplus_trace._edge.watchdog import Watchdog
from byteplus_trace._recognise import Places
from byteplus_trace._routing.admission import Standing
from byteplus_trace._telemetry import console, guard, other_instrumentations, recorder
from byteplus_trace._telemetry.in_flight import InFlight
from byteplus_trace._telemetry.meter import MeterSink
from byteplus_trace._telemetry.sink import Sink
from byteplus_trace._wire import usage_filter
from byteplus_trace._wire.body import Body
from byteplus_trace._wire.chat import ChatReader
from byteplus_trace.testing import ModelArk

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
SG, EU = "ap-southeast-1", "eu-west-1"


def raises(*_arguments, **_named):
    raise OSError("the seam is broken")


class Raising:
    """Whatever is asked of it raises."""

    def __getattr__(self, _name):
        return raises


class RaisingProcessor(SpanProcessor):
    def __init__(self, *methods):
        for method in methods:
            setattr(self, method, raises)


class RaisingSampler(Sampler):
    should_sample = raises

    def get_description(self):
        return "raises"


class RaisingExporter(SpanExporter):
    export = raises


class RaisingHandler(logging.Handler):
    emit = raises


class RaisingIds(RandomIdGenerator):
    generate_span_id = raises


class Breaks:
    """What is broken for one run."""

    def __init__(self, undo):
        self._undo = undo
        self.monkeypatch = undo.enter_context(pytest.MonkeyPatch.context())
        self.settings = {}
        self.provider = {}
        self.processors = []

    def patch(self, owner, name, value=raises):
        self.monkeypatch.setattr(owner, name, value)

    def log(self, add, remove, plugged):
        logger = logging.getLogger("byteplus_trace")
        getattr(logger, add)(plugged)
        self._undo.callback(getattr(logger, remove), plugged)


def setting(**settings):
    return lambda breaks: breaks.settings.update(settings)


def provided(**options):
    return lambda breaks: breaks.provider.update(options)


def processing(processor):
    return lambda breaks: breaks.processors.append(processor)


def patched(owner, name):
    return lambda breaks: breaks.patch(owner, name)


def both(*breakers):
    def break_(breaks):
        for each in breakers:
            each(breaks)

    return break_


def metering(break_name):
    def break_(breaks):
        provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
        breaks.patch(provider, break_name)
        breaks.settings["meter_provider"] = provider

    return break_


OTEL = setting(http_spans="otel")

# What users plug in: a name, the places that count the fault (None: it is not ours to count), and how it breaks.
PLUGGED = {
    "log handler": (None, lambda breaks: breaks.log("addHandler", "removeHandler", RaisingHandler())),
    "log filter": (None, lambda breaks: breaks.log("addFilter", "removeFilter", raises)),
    "on_exchange": ("on_exchange", setting(on_exchange=raises)),
    "redact": ("redact", setting(redact=raises, capture_content=True)),
    "console": ("printing to the console", both(setting(console=True), patched(console, "show"))),
    "sampler": ("opening the span", provided(sampler=RaisingSampler())),
    "id generator": ("opening the span", provided(id_generator=RaisingIds())),
    "processor at the start": ("opening the attempt span", processing(RaisingProcessor("on_start"))),
    "processor at the end": ("closing the span", processing(RaisingProcessor("on_end"))),
    "exporter": (None, processing(SimpleSpanProcessor(RaisingExporter()))),
    "meter provider": ("counting for OpenTelemetry", metering("get_meter")),
    "counter": (None, patched(prometheus_client.Counter, "inc")),
    "histogram": ("counting", patched(prometheus_client.Histogram, "observe")),
    "gauge": (None, patched(prometheus_client.Gauge, "inc")),
    "context runtime, get_current": ("beginning a call", patched(recorder.otel_context, "get_current")),
    "context runtime, attach": ("entering the attempt's context", patched(opentelemetry.context, "attach")),
    "context runtime, detach": (
        "leaving the attempt's context",
        both(
            lambda breaks: breaks.patch(opentelemetry.context, "attach", lambda _context: object()),
            patched(opentelemetry.context, "detach"),
        ),
    ),
    "propagator": (
        "propagating the trace context",
        both(setting(propagate=True), patched(TraceContextTextMapPropagator, "inject")),
    ),
    "HTTP instrumentation": (
        "asking OpenTelemetry for HTTP spans",
        both(OTEL, patched(other_instrumentations.HttpSpans, "around")),
    ),
    "sampler of HTTP spans": (
        "asking OpenTelemetry for HTTP spans",
        both(OTEL, provided(sampler=RaisingSampler())),
    ),
    "processor of HTTP spans at the start": (
        "asking OpenTelemetry for HTTP spans",
        both(OTEL, processing(RaisingProcessor("on_start"))),
    ),
    "processor of HTTP spans at the end": (
        "asking OpenTelemetry for HTTP spans",
        both(OTEL, processing(RaisingProcessor("on_end"))),
    ),
    "tracer provider": (
        "opening the span",
        lambda breaks: breaks.settings.update(tracer_provider=Raising()),
    ),
}

# Work of ours.
OURS = {
    "recognising": ("beginning a call", patched(instrumentation, "recognise")),
    "observing": ("beginning a call", patched(instrumentation, "Observer")),
    "finding the host": ("finding the transport", patched(Places, "_may_be")),
    "planning": ("planning a call", patched(router, "plan")),
    "the single send": ("beginning a call", patched(SingleSend, "__init__")),
    "preparing": ("performing a call", patched(Executor, "prepare")),
    "reading a refusal": ("performing a call", patched(Executor, "reply")),
    "judging": ("performing a call", patched(Standing, "learn")),
    "looking at a body": ("performing a call", patched(Executor, "peeked")),
    "holding a part": ("looking at a reply", patched(Executor, "_shows_enough")),
    "the usage chunk": (None, both(setting(include_usage=True), patched(usage_filter, "_without_usage"))),
    "marking": ("marking the response", patched(Executor, "_mark")),
    "reading headers": ("taking a reply", patched(received, "wanted_headers")),
    "passing": (
        "passing a request",
        both(patched(instrumentation, "recognise"), patched(instrumentation.Instrumentation, "strips")),
    ),
    "content": (
        "capturing content",
        both(setting(capture_content=True), patched(recorder, "content_attributes")),
    ),
    "the body": ("reading the reply's head", patched(Body, "__init__")),
    "a document": ("reading the body", patched(ChatReader, "document")),
    "an event": ("reading the body", patched(ChatReader, "event")),
    "the answer": ("reading the body", patched(ChatReader, "answer")),
    "the price": ("estimating the cost", patched(_observer._prices, "cost")),
    "the exchange": ("finishing", patched(_observer.Observer, "_exchange")),
    "the attempt's end": ("closing the attempt span", patched(recorder.AttemptSpan, "ends")),
    "the call's end": (None, patched(recorder.CallSpan, "ends")),
    "a wait": ("recording a wait", patched(recorder.CallSpan, "retry_waits")),
    "a skip": ("recording a skip", patched(recorder.CallSpan, "target_skipped")),
    "calls in flight": ("counting calls in flight", patched(Sink, "in_flight")),
    "calls in flight, at the end": ("counting calls in flight", patched(InFlight, "ends")),
    "the series": ("counting", patched(Sink, "record")),
    "the fault's own counter": (None, patched(Sink, "telemetry_error")),
    "a breaker": (None, patched(Sink, "breaker")),
    "the meter": ("counting for OpenTelemetry", patched(MeterSink, "record")),
    "the watchdog": (None, patched(Watchdog, "after")),
}
SEAMS = PLUGGED | OURS

COST_THE_POLICY = {
    "passing a request",
    "beginning a call",
    "finding the transport",
    "planning a call",
    "performing a call",
}

# Why no call of the two above meets these.
ELSEWHERE = {
    "bounding a read": "a test below",
    "closing a reply that is not used": "a test below",
    "closing the health store": "in a thread of its own",
    "cutting a silent stream": "in the watchdog's thread",
    "ending what is open": "at the end of the process",
    "exporting at SIGTERM": "at the end of the process",
    "exporting at the end": "at the end of the process",
    "finishing a call": "in the background thread",
    "flushing": "when flush() is called",
    "folding a worker's counts": "when a worker ends",
    "leaving the health store": "at the end of the process",
    "metadata cut": "what a caller wrote, and no fault",
    "observing a body": "of an aiohttp client, which has tests of its own",
    "reporting a breaker": "a test below",
    "reporting a refused credential": "a test below",
    "reporting the health store": "in a thread of its own",
    "sharing health": "in a thread of its own",
    "starting the background thread": "when instrument() is called",
    "starting the watchdog": "where no thread can start",
}


def test_every_place_where_a_fault_is_met_has_a_seam():
    places = {place for place, _ in SEAMS.values() if place is not None}

    assert set(guard.PLACES) == places | ELSEWHERE.keys()


@pytest.fixture(scope="module")
def fake():
    with ModelArk() as ark:
        yield ark


def calls(fake, library, colour):
    """Documents and a stream, from one client; and whether it has its connections back."""
    url = fake.base_url(SG) + "/chat/completions"
    headers = {"Authorization": "Bearer key"}
    streamed = {**CHAT, "stream": True}
    if colour == "sync":
        with library.Client(headers=headers, timeout=5) as client:
            document = [client.post(url, json=CHAT) for _ in range(2)][-1]
            with client.stream("POST", url, json=streamed) as reply:
                parts = b"".join(reply.iter_raw())
            pool = client._transport._pool
            return document, reply.status_code, parts, [each.is_idle() for each in pool.connections]

    async def work():
        async with library.AsyncClient(headers=headers, timeout=5) as client:
            document = [await client.post(url, json=CHAT) for _ in range(2)][-1]
            async with client.stream("POST", url, json=streamed) as reply:
                parts = b"".join([part async for part in reply.aiter_raw()])
            pool = client._transport._pool
            return document, reply.status_code, parts, [each.is_idle() for each in pool.connections]

    return anyio.run(work, backend=colour)


def broken(fake, names, *, colour, routed, library=httpx):
    """Break these seams and call: no call is harmed. Returns the places that counted a fault."""
    registry = CollectorRegistry()
    with ExitStack() as undo:
        breaks = Breaks(undo)
        for name in names:
            SEAMS[name][1](breaks)
        provider = TracerProvider(**{"sampler": ALWAYS_ON, **breaks.provider}, shutdown_on_exit=False)
        for processor in breaks.processors:
            provider.add_span_processor(processor)
        policy = None
        if routed:
            targets = [
                Target(name, region=name, base_url=fake.base_url(name), api_key="k") for name in (SG, EU)
            ]
            policy = Policy(targets, retry=Retry(base=0.001, cap=0.001))
            # A refusal that is asked again, then one that is not, and then it is passed over: all turns of a plan.
            fake.region(SG).fails(503, times=1)
            fake.region(SG).fails(429, retry_after=60, times=1)
        try:
            byteplus_trace.instrument(
                **{
                    "base_urls": fake.base_urls,
                    "tracer_provider": provider,
                    "registry": registry,
                    "policy": policy,
                    **breaks.settings,
                }
            )
            document, status, parts, idle = calls(fake, library, colour)
        finally:
            byteplus_trace.uninstrument()
            fake.region(SG).recovers()
    # What costs the policy leaves its caller with what the region said.
    costly = routed and any(SEAMS[name][0] in COST_THE_POLICY for name in names)
    for found, content in ((document.status_code, document.content), (status, parts)):
        assert found in ({200, 503, 429} if costly else {200})
        assert (b"choices" if found == 200 else b"error") in content
    assert all(idle)
    return counted(registry)


def counted(registry):
    return {
        sample.labels["where"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "modelark_telemetry_errors_total" and sample.value
    }


@pytest.fixture(autouse=True)
def as_for_users(strict_guard):
    """Our own faults are swallowed."""
    guard.strict = False


@pytest.mark.parametrize("colour", ["sync", "asyncio"])
@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
@pytest.mark.parametrize("name", SEAMS)
def test_a_seam_that_fails_harms_no_call_and_is_counted(fake, name, library, colour):
    places = broken(fake, [name], colour=colour, routed=False, library=library)
    places |= broken(fake, [name], colour=colour, routed=True, library=library)

    assert SEAMS[name][0] in places | {None}


def pairs():
    """Each pair of seams, a colour and whether a policy is there: each pair in one of these four ways to call."""
    for number, names in enumerate(itertools.combinations(SEAMS, 2)):
        yield names, ("sync", "asyncio")[number % 2], number // 2 % 2 == 0


@pytest.mark.parametrize("colour", ["sync", "asyncio"])
@pytest.mark.parametrize("routed", [True, False], ids=["routed", "plain"])
@pytest.mark.parametrize("name", [name for name in SEAMS if "HTTP spans" in name])
@pytest.mark.parametrize("runtime", [name for name in SEAMS if name.startswith("context runtime")])
def test_http_spans_that_fail_in_a_context_that_fails_harm_no_call(fake, runtime, name, routed, colour):
    """What leaves the context around a send may fail after the answer came."""
    broken(fake, [runtime, name], colour=colour, routed=routed)


def test_two_seams_that_fail_harm_no_call(fake):
    """Every ninth pair; `python -m tests.report faults` breaks all of them."""
    harmed = []
    for names, colour, routed in itertools.islice(pairs(), 0, None, 9):
        try:
            broken(fake, names, colour=colour, routed=routed)
        except Exception as error:
            harmed.append(f"{' and '.join(names)}, {colour}, {'routed' if routed else 'plain'}: {error!r}")

    assert [] == harmed


@pytest.mark.parametrize("amid", ["the send", "the body"])
@pytest.mark.parametrize("routed", [True, False])
def test_an_exception_that_we_cannot_read_reaches_the_caller_as_it_is(fake, monkeypatch, routed, amid):
    for module in (execution, passthrough, stream):
        monkeypatch.setattr(module, "failure_of", raises)
    lost = httpx.ReadError("lost")

    class Body(httpx.SyncByteStream):
        def __iter__(self):
            yield b"{"
            raise lost

    def lose(_request):
        if amid == "the send":
            raise lost
        return httpx.Response(200, headers={"content-type": "application/json"}, stream=Body())

    policy = Policy([Target(SG, region=SG, base_url=fake.base_url(SG), api_key="k")]) if routed else None
    byteplus_trace.instrument(base_urls=fake.base_urls, registry=CollectorRegistry(), policy=policy)
    try:
        with (
            httpx.Client(transport=httpx.MockTransport(lose)) as client,
            pytest.raises(httpx.ReadError) as raised,
        ):
            client.post(fake.base_url(SG) + "/chat/completions", json=CHAT)
    finally:
        byteplus_trace.uninstrument()
    assert raised.value is lost


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_reply_that_does_not_close_costs_no_call_and_an_interruption_passes(fake, error):
    class Unwilling(httpx.SyncByteStream):
        def __iter__(self):
            yield b"{}"

        def close(self):
            raise error

    class Refusing(httpx.BaseTransport):
        def __init__(self):
            self.inner = httpx.HTTPTransport()

        def handle_request(self, request):
            if fake.base_url(EU) in str(request.url):
                return self.inner.handle_request(request)
            return httpx.Response(503, stream=Unwilling())

        def close(self):
            self.inner.close()

    registry = CollectorRegistry()
    targets = [Target(name, region=name, base_url=fake.base_url(name), api_key="k") for name in (SG, EU)]
    byteplus_trace.instrument(
        base_urls=fake.base_urls, registry=registry, policy=Policy(targets, retry=Retry(per_target=0))
    )
    try:
        with httpx.Client(transport=Refusing()) as client:
            if error is KeyboardInterrupt:
                with pytest.raises(KeyboardInterrupt):
                    client.post(fake.base_url(SG) + "/chat/completions", json=CHAT)
                return
            assert 200 == client.post(fake.base_url(SG) + "/chat/completions", json=CHAT).status_code
    finally:
        byteplus_trace.uninstrument()
    assert "closing a reply that is not used" in counted(registry)


@pytest.mark.parametrize(
    ("status", "owner", "name", "value", "place"),
    [
        (500, Sink, "breaker", raises, "reporting a breaker"),
        (401, router, "logger", Raising(), "reporting a refused credential"),
    ],
)
def test_a_report_of_a_targets_health_that_fails_costs_no_call(
    fake, monkeypatch, status, owner, name, value, place
):
    registry = CollectorRegistry()
    targets = [Target(each, region=each, base_url=fake.base_url(each), api_key=each) for each in (SG, EU)]
    byteplus_trace.instrument(
        base_urls=fake.base_urls, registry=registry, policy=Policy(targets, retry=Retry(per_target=0))
    )
    monkeypatch.setattr(owner, name, value)
    fake.region(SG).fails(status)
    try:
        with httpx.Client() as client:
            for _ in range(30):
                assert 200 == client.post(fake.base_url(SG) + "/chat/completions", json=CHAT).status_code
    finally:
        byteplus_trace.uninstrument()
        fake.region(SG).recovers()
    assert place in counted(registry)


@pytest.mark.parametrize("deadline", [Deadline(first_event=30), Deadline(total=30)], ids=["stream", "total"])
def test_a_read_that_nothing_can_bound_is_no_failure_of_the_reply(fake, monkeypatch, deadline):
    """A reply that is there is paid for: it is read without a bound, and not asked for elsewhere."""
    registry = CollectorRegistry()
    targets = [Target(each, region=each, base_url=fake.base_url(each), api_key=each) for each in (SG, EU)]
    byteplus_trace.instrument(
        base_urls=fake.base_urls, registry=registry, policy=Policy(targets, deadline=deadline)
    )
    monkeypatch.setattr(Watchdog, "after", raises)
    asked = len(fake.requests)
    try:
        with httpx.Client() as client:
            reply = client.post(fake.base_url(SG) + "/chat/completions", json={**CHAT, "stream": True})
    finally:
        byteplus_trace.uninstrument()
    assert reply.content.endswith(b"data: [DONE]\n\n")
    assert [SG] == [request.region for request in fake.requests[asked:]]
    assert "bounding a read" in counted(registry)


def test_an_alarm_that_fails_leaves_the_watchdog_at_work(monkeypatch):
    places, rung = [], threading.Event()
    monkeypatch.setattr(guard, "on_fault", places.append)
    watchdog = Watchdog()
    watchdog.after(0, raises)
    watchdog.after(0.01, rung.set)

    assert rung.wait(5)
    assert ["bounding a read"] == places
