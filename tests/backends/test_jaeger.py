"""Spans in a real Jaeger: sent straight to it, and through a real Collector with the committed configuration."""

from __future__ import annotations

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from byteplus_trace import Policy, Target, flush

HOME, AWAY = "ap-southeast-1", "eu-west-1"
MODEL = "seed-2-0-lite-260428"
CLIENT = 3  # SPAN_KIND_CLIENT in OTLP
ERROR = 2  # STATUS_CODE_ERROR


@pytest.fixture(
    params=[
        pytest.param("jaeger", marks=pytest.mark.server("jaeger")),
        pytest.param("collector", marks=pytest.mark.server("jaeger", "otelcol")),
    ]
)
def first_receiver(request):
    """What takes the spans first: Jaeger itself, or a Collector before it."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def provider(first_receiver):
    one = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    one.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{first_receiver.endpoint}/v1/traces")))
    yield one
    one.shutdown()


@pytest.fixture
def instrumented(instrument, provider, ark, recorded):
    """Calls go to the home region first, and then to the other."""
    targets = [
        Target(name, region=region, base_url=ark.base_url(region), api_key=f"key-of-{name}")
        for name, region in (("sg", HOME), ("eu", AWAY))
    ]
    instrument(tracer_provider=provider, policy=Policy(targets=targets))


@pytest.fixture
def trace_of(provider, jaeger):
    """trace_of(work): what Jaeger has of the calls that `work` makes."""

    def look(work):
        with provider.get_tracer("test").start_as_current_span("the page") as page:
            work()
        flush()
        provider.force_flush()
        return jaeger.spans(format(page.get_span_context().trace_id, "032x"))

    return look


def chat(ark, **also):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **also}
    return httpx.post(
        f"{ark.base_url(HOME)}/chat/completions", json=body, headers={"Authorization": "Bearer k"}
    )


@pytest.mark.usefixtures("instrumented")
def test_a_rescued_call_is_one_span_with_its_attempts_beneath(ark, trace_of):
    ark.region(HOME).refuses()

    spans = trace_of(lambda: chat(ark, temperature=0.5))

    (page,) = [span for span in spans if span["name"] == "the page"]
    (call,) = [span for span in spans if span.get("parentSpanId") == page["spanId"]]
    attempts = sorted(
        (span for span in spans if span.get("parentSpanId") == call["spanId"]),
        key=lambda span: span["startTimeUnixNano"],
    )
    assert call["name"] == f"chat {MODEL}"
    assert {span["kind"] for span in (call, *attempts)} == {CLIENT}
    assert [span["attributes"]["byteplus.modelark.attempt.cause"] for span in attempts] == [
        ("stringValue", "initial"),
        ("stringValue", "fallback"),
    ]
    assert [span["attributes"]["cloud.region"][1] for span in attempts] == [HOME, AWAY]
    assert [span.get("status", {}).get("code") == ERROR for span in (call, *attempts)] == [False, True, False]
    assert "fallback" in [event["name"] for event in call["events"]]


@pytest.mark.usefixtures("instrumented")
def test_attributes_keep_their_types(ark, trace_of):
    """Jaeger shows what it receives: a number that arrived as text could not be compared."""
    spans = trace_of(lambda: chat(ark, temperature=0.5, stream=True))

    (call,) = [span for span in spans if "gen_ai.operation.name" in span["attributes"]]
    kinds = {name: kind for name, (kind, _) in call["attributes"].items()}
    assert kinds["gen_ai.request.model"] == "stringValue"
    assert kinds["gen_ai.request.temperature"] == "doubleValue"
    assert kinds["gen_ai.request.stream"] == "boolValue"
    assert kinds["gen_ai.response.finish_reasons"] == "arrayValue"
    assert kinds["server.port"] == kinds["byteplus.modelark.chunks"] == "intValue"
    assert kinds["gen_ai.response.time_to_first_chunk"] == "doubleValue"
    assert call["attributes"]["gen_ai.provider.name"][1] == "byteplus.modelark"


@pytest.mark.usefixtures("instrumented")
def test_a_call_that_nothing_rescued_is_an_error(ark, trace_of):
    ark.region(HOME).refuses()
    ark.region(AWAY).refuses()

    def call():
        with pytest.raises(httpx.ConnectError):
            chat(ark)

    spans = trace_of(call)

    (failed,) = [span for span in spans if "gen_ai.operation.name" in span["attributes"]]
    assert failed["status"]["code"] == ERROR
    assert failed["attributes"]["error.type"] == ("stringValue", "ConnectError")
    assert failed["attributes"]["byteplus.modelark.outcome"] == ("stringValue", "error")


@pytest.mark.server("jaeger", "otelcol")
@pytest.mark.parametrize("first_receiver", ["collector"], indirect=True)
@pytest.mark.usefixtures("instrumented")
def test_the_collector_counts_the_spans_that_pass(ark, trace_of, collector, eventually):
    """For machines and jobs that nobody scrapes."""
    trace_of(lambda: chat(ark))

    def counted():
        series = httpx.get(collector.series).text.splitlines()
        wanted = (
            "traces_span_metrics_calls_total{",
            HOME,
            'gen_ai_operation_name="chat"',
            'service_name="shop"',
        )
        return [line for line in series if all(part in line for part in wanted)]

    assert eventually(counted, 20, "the Collector serves counts of the chat's spans")
