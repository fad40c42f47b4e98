"""Other instrumentations beside us, active before or after: no call is recorded twice, and ours is outermost over HTTP."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import wrapt
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation import httpx as otel_httpx
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import byteplus_trace

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}


@pytest.fixture(params=["before us", "after us"])
def order(request):
    return request.param


@pytest.fixture
def both(instrument, recorded, order):
    """Instrument with another instrumentor, in either order."""
    undo = []

    def begin(other, **settings):
        def theirs():
            other.instrument(tracer_provider=recorded.provider)
            undo.append(other)

        if order == "before us":
            theirs()
            instrument(**settings)
        else:
            instrument(**settings)
            theirs()

    yield begin
    for other in undo:
        other.uninstrument()


def http_instrumentor(library):
    return HTTPXClientInstrumentor() if library.__name__ == "httpx" else HTTPX2ClientInstrumentor()


def children_of(recorded, parent):
    return [span for span in recorded.spans if span.parent and span.parent.span_id == parent.context.span_id]


def test_http_spans_of_another_instrumentation_are_not_doubled(both, http, library, recorded, sg):
    both(http_instrumentor(library))

    http.post(sg + "/chat/completions", CHAT)

    assert 2 == len(recorded.spans)
    assert recorded.attempts == children_of(recorded, recorded.one)


def test_http_spans_can_be_left_to_opentelemetry(both, http, library, recorded, sg, ark):
    both(http_instrumentor(library), http_spans="otel")

    http.post(sg + "/chat/completions", CHAT)

    (sent,) = children_of(recorded, recorded.one)
    assert [] == recorded.attempts
    assert "opentelemetry.instrumentation.httpx" in sent.instrumentation_scope.name
    (request,) = ark.region("ap-southeast-1").requests
    assert f"{sent.context.span_id:016x}" in request.headers["traceparent"]


def test_http_spans_of_opentelemetry_need_no_instrumentor(instrument, http, recorded, sg):
    instrument(http_spans="otel")

    http.post(sg + "/chat/completions", CHAT)

    assert 1 == len(children_of(recorded, recorded.one))
    assert 2 == len(recorded.spans)


@pytest.mark.parametrize("propagate", [False, True])
def test_what_opentelemetry_records_and_sends_holds_no_query_and_no_baggage(
    both, http, library, recorded, sg, ark, propagate
):
    """Its baggage is the application's, its query may hold a token."""
    both(http_instrumentor(library), http_spans="otel", propagate=propagate)
    token = context.attach(baggage.set_baggage("user", "42"))
    try:
        http.run(*asking(http, sg + "/models?limit=5&token=secret"))
    finally:
        context.detach(token)

    assert not [span for span in recorded.spans if "secret" in repr(span.attributes)]
    (request,) = ark.region("ap-southeast-1").requests
    assert propagate == ("baggage" in request.headers)
    assert "secret" == request.query["token"]


def asking(http, url):
    async def awork(client):
        return await client.get(url)

    return ((lambda client: client.get(url)) if http.colour == "sync" else awork,)


def wrapping(http, library, watched):
    """A transport around the library's own, such as a cache or a retrying one."""
    if http.colour == "sync":

        class Around(library.BaseTransport):
            inner = library.HTTPTransport()

            def handle_request(self, request):
                watched.append(request)
                return self.inner.handle_request(request)

            def close(self):
                self.inner.close()
    else:

        class Around(library.AsyncBaseTransport):
            inner = library.AsyncHTTPTransport()

            async def handle_async_request(self, request):
                watched.append(request)
                return await self.inner.handle_async_request(request)

            async def aclose(self):
                await self.inner.aclose()

    return Around()


def test_one_send_through_a_transport_that_wraps_another_is_one_http_span(both, http, library, recorded, sg):
    both(http_instrumentor(library), http_spans="otel")

    http.run(*asking(http, sg + "/models"), transport=wrapping(http, library, []))

    assert 1 == len([span for span in recorded.spans if "httpx" in span.instrumentation_scope.name])


def test_another_wrapper_of_the_transport_is_not_taken_for_opentelemetrys(
    instrument, http, library, recorded, sg
):
    instrument(http_spans="otel")
    transport, method = (
        wrapping(http, library, []),
        "handle_request" if http.colour == "sync" else "handle_async_request",
    )
    seen = []

    @wrapt.decorator
    def theirs(wrapped, _instance, args, kwargs):
        seen.append(args)
        return wrapped(*args, **kwargs)

    setattr(transport, method, theirs(getattr(transport, method)))
    http.run(*asking(http, sg + "/models"), transport=transport)

    assert (
        1 == len(seen) == len([span for span in recorded.spans if "httpx" in span.instrumentation_scope.name])
    )


@pytest.fixture
def made(monkeypatch):
    """The inner transports for which OpenTelemetry's own were made."""
    found = []
    for name in dir(otel_httpx):
        kind = getattr(otel_httpx, name)
        if name.startswith(("SyncOpenTelemetryTransport", "AsyncOpenTelemetryTransport")):

            def noted(self, transport, *args, begin=kind.__init__, **kwargs):
                found.append(transport)
                begin(self, transport, *args, **kwargs)

            monkeypatch.setattr(kind, "__init__", noted)
    return found


def http_spans(recorded):
    return [
        span
        for span in recorded.spans
        if "opentelemetry.instrumentation.httpx" in span.instrumentation_scope.name
    ]


def asks(http, url, times):
    """A call, several times, over one client."""
    if http.colour == "sync":

        def work(client):
            for _ in range(times):
                client.get(url)

        return work

    async def awork(client):
        for _ in range(times):
            await client.get(url)

    return awork


def test_opentelemetrys_transport_is_made_once_for_each_of_the_clients(instrument, http, recorded, sg, made):
    instrument(http_spans="otel")

    for _ in range(2):
        http.run(asks(http, sg + "/models", 3))

    assert 2 == len(made)
    assert 6 == len(http_spans(recorded))


def test_a_transport_that_was_sent_through_is_not_kept_alive(instrument, http, library, recorded, sg):
    instrument(http_spans="otel")
    transport = wrapping(http, library, [])
    alive = weakref.ref(transport)
    http.run(*asking(http, sg + "/models"), transport=transport)

    del transport
    gc.collect()

    assert 1 == len(http_spans(recorded))
    assert alive() is None


def test_transports_that_are_equal_send_to_their_own_places(instrument, http, library, recorded, ark):
    """Such as dataclasses whose pools are not compared."""
    instrument(http_spans="otel")
    sent = []

    def equal(place):
        def note(self):
            sent.append(place)
            return library.Response(200, json={"data": []})

        async def anote(self):
            return note(self)

        base = library.BaseTransport if http.colour == "sync" else library.AsyncBaseTransport
        name = "handle_request" if http.colour == "sync" else "handle_async_request"
        send = note if http.colour == "sync" else anote
        return type(
            "Equal",
            (base,),
            {
                "__eq__": lambda self, other: True,
                "__hash__": lambda self: 1,
                name: lambda self, _: send(self),
            },
        )()

    transports = [equal(place) for place in ("sg", "eu", "sg")]
    for transport in transports:
        http.run(*asking(http, ark.base_url("ap-southeast-1") + "/models"), transport=transport)

    assert ["sg", "eu", "sg"] == sent


def test_a_transport_that_allows_no_weak_reference_is_sent_through(instrument, http, library, recorded, sg):
    instrument(http_spans="otel")

    class Slotted:
        __slots__ = ("inner",)

        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.inner.close()

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            await self.inner.aclose()

    transport = Slotted(wrapping(http, library, []))
    with pytest.raises(TypeError):
        weakref.ref(transport)
    http.run(asks(http, sg + "/models", 2), transport=transport)

    assert 2 == len(http_spans(recorded))


@pytest.mark.parametrize("colour", ["sync"])
def test_http_spans_go_to_the_provider_of_now(recorded, http, library, instrument, ark, sg, monkeypatch):
    """An application sets its provider when it likes, and what was made for the one before is not kept."""
    other = TracerProvider(shutdown_on_exit=False)
    exported = InMemorySpanExporter()
    other.add_span_processor(SimpleSpanProcessor(exported))

    def calls(client):
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorded.provider)
        instrument(http_spans="otel", tracer_provider=None)
        client.get(sg + "/models")
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: other)
        client.get(sg + "/models")
        byteplus_trace.uninstrument()
        instrument(tracer_provider=other)
        client.get(sg + "/models")

    http.run(calls)

    assert 1 == len(http_spans(recorded))
    assert ["opentelemetry.instrumentation.httpx", "byteplus_trace"] == [
        span.instrumentation_scope.name for span in exported.get_finished_spans()
    ]


@pytest.mark.parametrize("colour", ["sync"])
def test_an_instrumentor_that_comes_and_goes_between_calls_doubles_no_span(
    instrument, recorded, http, library, sg
):
    instrument(http_spans="otel")
    instrumentor, hooked = http_instrumentor(library), []

    def calls(client):
        client.get(sg + "/models")
        instrumentor.instrument(
            tracer_provider=recorded.provider, request_hook=lambda span, request: hooked.append(request)
        )
        client.get(sg + "/models")
        instrumentor.uninstrument()
        client.get(sg + "/models")

    http.run(calls)

    assert 3 == len(http_spans(recorded))
    assert 1 == len(hooked)


@pytest.mark.parametrize("colour", ["sync"])
def test_threads_that_share_a_client_have_a_span_for_each_of_their_sends(instrument, recorded, http, sg):
    instrument(http_spans="otel")

    def calls(client):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: client.get(sg + "/models"), range(40)))

    http.run(calls)

    assert 40 == len(http_spans(recorded))


def test_the_hooks_that_an_application_gave_opentelemetry_are_called(instrument, http, library, recorded, sg):
    instrumentor, hooked = http_instrumentor(library), []

    async def hook(span, request):
        hooked.append(request.url)

    instrumentor.instrument(
        tracer_provider=recorded.provider,
        request_hook=lambda span, request: hooked.append(request.url),
        async_request_hook=hook,
    )
    try:
        instrument(http_spans="otel")
        http.run(*asking(http, sg + "/models?a=1"))
    finally:
        instrumentor.uninstrument()

    assert 1 == len(hooked)
    assert not [span for span in recorded.spans if "a=1" in repr(span.attributes)]


def call_within(recorded, http, sg, name, attributes):
    """A chat within another instrumentation's span, in a context which says that the model call is recorded already."""
    with recorded.provider.get_tracer("theirs").start_as_current_span(name, attributes=attributes):
        token = context.attach(context.set_value("suppress_language_model_instrumentation", True))
        try:
            http.post(sg + "/chat/completions", CHAT)
        finally:
            context.detach(token)
    return next(span for span in recorded.spans if span.name == name)


def test_the_span_of_a_model_call_that_a_framework_tells_is_given_what_we_know(
    instrument, recorded, http, sg
):
    instrument()

    outer = call_within(recorded, http, sg, "ChatOpenAI.chat", {"gen_ai.operation.name": "chat"})

    assert [outer] == recorded.logical
    assert "ok" == outer.attributes["byteplus.modelark.outcome"]
    assert recorded.attempts == children_of(recorded, outer)


@pytest.mark.parametrize("operation", ["invoke_agent", None])
def test_a_framework_that_says_so_outside_of_its_models_span_leaves_the_call_to_us(
    instrument, recorded, http, sg, operation
):
    """OpenLLMetry's LangChain instrumentation, whose own span is no longer the current one when the call is made."""
    instrument()

    outer = call_within(
        recorded, http, sg, "RunnableSequence", {"gen_ai.operation.name": operation} if operation else {}
    )

    (chat,) = [span for span in recorded.logical if span is not outer]
    assert [chat] == children_of(recorded, outer)
    assert recorded.attempts == children_of(recorded, chat)
    assert "byteplus.modelark.outcome" not in outer.attributes


def test_a_call_that_openais_instrumentor_tells_is_told_once(both, recorded, sg):
    both(OpenAIInstrumentor())

    with openai.OpenAI(base_url=sg, api_key="key") as client:
        client.chat.completions.create(**CHAT)

    genai = recorded.logical
    assert 1 == len(genai)
    assert "opentelemetry.instrumentation.genai.openai" in genai[0].instrumentation_scope.name
    assert "ap-southeast-1" == genai[0].attributes["cloud.region"]
    assert "ok" == genai[0].attributes["byteplus.modelark.outcome"]
    assert recorded.attempts == children_of(recorded, genai[0])
    assert 1 == recorded.series("modelark_operations_total", outcome="ok")


def test_the_span_of_openais_instrumentor_has_all_that_is_ours_to_say(both, recorded, sg):
    """What was asked as well as what came of it, and nothing under the conventions' names that is its own to say."""
    both(OpenAIInstrumentor())
    asked = {"thinking": {"type": "disabled"}, "service_tier": "fast"}

    with (
        openai.OpenAI(base_url=sg, api_key="key") as client,
        byteplus_trace.metadata(user="u-7", team="search", session="s-1"),
    ):
        client.chat.completions.create(
            **{**CHAT, "model": "ep-1"},
            extra_body=asked,
            extra_headers={"x-client-request-id": "c-1", "x-stainless-retry-count": "1"},
        )

    (span,) = recorded.logical
    ours = {
        name.removeprefix("byteplus.modelark."): value
        for name, value in span.attributes.items()
        if name.startswith("byteplus.modelark.")
    }
    expected = {
        "api": "chat_completions",
        "endpoint_id": "ep-1",
        "thinking": "disabled",
        "client_request_id": "c-1",
        "sdk_retry": 1,
        "metadata.user": "u-7",
        "metadata.team": "search",
        "metadata.session": "s-1",
        "outcome": "ok",
        "attempts": 1,
    }
    assert expected == {name: ours.get(name) for name in expected}
    assert {"service_tier", "target", "request_id"} <= ours.keys()
    assert "u-7" == span.attributes["user.id"]


def test_a_stream_that_openais_instrumentor_tells_is_told_once(both, recorded, sg):
    both(OpenAIInstrumentor())

    with openai.OpenAI(base_url=sg, api_key="key") as client:
        list(client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))

    genai = recorded.logical
    assert 1 == len(genai)
    assert "ok" == genai[0].attributes["byteplus.modelark.outcome"]
    assert recorded.series("modelark_tokens_total", type="output") > 0
