"""The same facts under the GenAI conventions' metric names, as an OpenTelemetry SDK has them."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc

import pytest
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from byteplus_trace._facts import Images, Usage
from byteplus_trace._instruments import SECONDS
from byteplus_trace._telemetry.meter import MeterSink, token_counts
from byteplus_trace._telemetry.provider import Meters

INFERENCE = "gen_ai.client.inference."
EMBEDDED = "gen_ai.client.embeddings.operation.input_tokens"
WHO = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "byteplus.modelark",
    "gen_ai.request.model": "seed-2-0-lite-260228",
    "server.address": "ark.ap-southeast.bytepluses.com",
    "server.port": 443,
    "cloud.region": "ap-southeast-1",
}


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader):
    provider = MeterProvider([reader])
    yield provider
    provider.shutdown()


def recorded(reader):
    """Name of each metric -> its data points."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def by_modality(data_points):
    return {point.attributes["gen_ai.token.modality"]: point.value for point in data_points}


def test_a_streamed_chat_under_the_names_of_the_conventions(reader, provider, exchange):
    call = exchange(
        stream=True,
        seconds=2.0,
        first_chunk_seconds=0.5,
        last_chunk_seconds=1.5,
        chunks=5,
        usage=Usage(
            input_tokens=100,
            output_tokens=30,
            cache_read_tokens=80,
            cache_write_tokens=5,
            reasoning_tokens=20,
        ),
        answered_by="seed-2-0-lite-260228-sg",
    )
    MeterSink(Meters(provider)).record(call)
    metrics = recorded(reader)

    assert sorted(name.removeprefix(INFERENCE) for name in metrics) == [
        "duration",
        "time_to_first_chunk",
        "usage.cache_read.input_tokens",
        "usage.cache_write.input_tokens",
        "usage.input_tokens",
        "usage.output_tokens",
        "usage.reasoning.output_tokens",
    ]
    (duration,) = metrics[INFERENCE + "duration"]
    assert duration.sum == 2.0
    assert duration.explicit_bounds == SECONDS
    assert dict(duration.attributes) == WHO | {"gen_ai.response.model": "seed-2-0-lite-260228-sg"}
    assert metrics[INFERENCE + "time_to_first_chunk"][0].sum == 0.5
    assert by_modality(metrics[INFERENCE + "usage.input_tokens"]) == {"unknown": 100}
    assert by_modality(metrics[INFERENCE + "usage.output_tokens"]) == {"text": 30}
    assert by_modality(metrics[INFERENCE + "usage.cache_read.input_tokens"]) == {"unknown": 80}
    assert by_modality(metrics[INFERENCE + "usage.cache_write.input_tokens"]) == {"unknown": 5}
    assert by_modality(metrics[INFERENCE + "usage.reasoning.output_tokens"]) == {"text": 20}


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("chat", "gen_ai.client.inference.duration"),
        ("generate_content", "gen_ai.client.inference.duration"),
        ("embeddings", "gen_ai.client.embeddings.duration"),
        ("fetch_response", "gen_ai.client.operation.duration"),
    ],
)
def test_every_operation_has_its_duration(reader, provider, exchange, operation, name):
    MeterSink(Meters(provider)).record(exchange(operation))

    assert [metric for metric in recorded(reader) if metric.endswith("duration")] == [name]


def test_a_call_that_makes_no_genai_claim_is_not_recorded(reader, provider, exchange):
    MeterSink(Meters(provider)).record(exchange("other", usage=Usage(1, 1)))

    assert recorded(reader) == {}


def test_what_is_fetched_or_embedded_counts_no_inference_tokens(reader, provider, exchange):
    sink = MeterSink(Meters(provider))
    sink.record(exchange("fetch_response", usage=Usage(7, 2)))
    sink.record(exchange("embeddings", usage=Usage(7)))

    assert [name for name in recorded(reader) if "tokens" in name] == [EMBEDDED]


def test_tokens_add_up_and_failed_operations_count_a_zero(reader, provider, exchange):
    sink = MeterSink(Meters(provider))
    sink.record(exchange(usage=Usage(7, 2)))
    sink.record(exchange(usage=Usage(3, 1)))
    sink.record(exchange(outcome="error", error_type="RateLimitExceeded"))
    metrics = recorded(reader)

    assert by_modality(metrics[INFERENCE + "usage.input_tokens"]) == {"unknown": 10}
    assert by_modality(metrics[INFERENCE + "usage.output_tokens"]) == {"text": 3, "unknown": 0}
    later = recorded(reader)
    assert by_modality(later[INFERENCE + "usage.input_tokens"]) == {"unknown": 10}


def test_input_is_split_by_modality_as_far_as_the_service_did(exchange):
    usage = Usage(input_tokens=100, text_input_tokens=30, image_input_tokens=60)

    assert [count for count in token_counts(exchange(usage=usage)) if count[0].endswith("input_tokens")] == [
        (INFERENCE + "usage.input_tokens", "text", 30),
        (INFERENCE + "usage.input_tokens", "image", 60),
        (INFERENCE + "usage.input_tokens", "unknown", 10),
    ]


def test_the_area_of_an_image_is_no_token(exchange):
    call = exchange("generate_content", images=Images(generated=1, output_tokens=16_384))

    assert [tokens for _, _, tokens in token_counts(call)] == [0, 0]


def test_the_error_type_stands_on_the_duration_alone(reader, provider, exchange):
    sink = MeterSink(Meters(provider), token_histograms=True)
    sink.record(exchange(outcome="error", error_type="RateLimitExceeded", usage=Usage(7, 2)))
    sink.record(exchange(outcome="deadline"))
    metrics = recorded(reader)

    with_error = {
        name for name, points in metrics.items() if any("error.type" in point.attributes for point in points)
    }
    assert with_error == {INFERENCE + "duration"}
    assert {point.attributes["error.type"] for point in metrics[INFERENCE + "duration"]} == {
        "RateLimitExceeded",
        "_OTHER",
    }
    assert not [name for name in metrics if ".operation." in name]


def test_token_histograms_are_recorded_when_asked_for_and_of_embeddings_always(reader, provider, exchange):
    calls = [
        exchange(usage=Usage(7, 2)),
        exchange("embeddings", usage=Usage(9)),
        exchange("fetch_response", usage=Usage(7, 2)),
    ]
    for call in calls:
        MeterSink(Meters(provider)).record(call)
    assert [name for name in recorded(reader) if ".operation." in name and "tokens" in name] == [EMBEDDED]

    for call in calls:
        MeterSink(Meters(provider), token_histograms=True).record(call)
    assert {
        name: points[0].sum
        for name, points in recorded(reader).items()
        if ".operation." in name and "tokens" in name
    } == {
        "gen_ai.client.inference.operation.input_tokens": 7,
        "gen_ai.client.inference.operation.output_tokens": 2,
        EMBEDDED: 2 * 9,
    }


def test_models_are_bounded(reader, provider, exchange):
    sink = MeterSink(Meters(provider), max_models=2)
    for n in range(9):
        sink.record(exchange(model=f"ep-{n}", usage=Usage(10, 2)))
    metrics = recorded(reader)

    assert {"ep-0": 1, "ep-1": 1, "other": 7} == {
        point.attributes["gen_ai.request.model"]: point.count for point in metrics[INFERENCE + "duration"]
    }
    assert {"ep-0": 10, "ep-1": 10, "other": 70} == {
        point.attributes["gen_ai.request.model"]: point.value
        for point in metrics[INFERENCE + "usage.input_tokens"]
    }


def test_a_second_sink_of_the_same_provider_goes_on_counting(reader, provider, exchange, caplog):
    MeterSink(Meters(provider)).record(exchange(usage=Usage(7, 2)))
    MeterSink(Meters(provider)).record(exchange(usage=Usage(3, 1)))

    assert by_modality(recorded(reader)[INFERENCE + "usage.input_tokens"]) == {"unknown": 10}
    assert caplog.messages == []


def test_a_provider_that_has_no_hash_works_too(reader, provider, exchange):
    """As logfire's, a dataclass that compares by value."""

    class Compared:
        def __init__(self, inner):
            self.get_meter = inner.get_meter

        __hash__ = None

    sink = MeterSink(Meters(Compared(provider)))
    sink.record(exchange())
    MeterSink(sink._meters).record(exchange())

    (point,) = recorded(reader)[INFERENCE + "duration"]
    assert 2 == point.count


def test_an_exemplar_leads_to_the_span_of_the_call(reader, provider, exchange):
    span = NonRecordingSpan(SpanContext(0x4B, 0x0F, False, TraceFlags(TraceFlags.SAMPLED)))
    MeterSink(Meters(provider)).record(exchange(), trace.set_span_in_context(span))

    (exemplar,) = recorded(reader)[INFERENCE + "duration"][0].exemplars
    assert (exemplar.trace_id, exemplar.span_id) == (0x4B, 0x0F)


def test_without_a_recording_provider_nothing_is_made(exchange, monkeypatch):
    monkeypatch.setattr(NoOpMeterProvider, "get_meter", lambda *_: pytest.fail("asked for a meter"))

    MeterSink(Meters(NoOpMeterProvider())).record(exchange(usage=Usage(7, 2)))


LATER = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from byteplus_trace._facts import Answer, Call, Exchange
from byteplus_trace._telemetry.meter import MeterSink

call = Call("embeddings", "embeddings", "POST", "", "ark", 443, "", "eu-west-1")
sink, reader = MeterSink(), InMemoryMetricReader()
sink.record(Exchange(call, (), Answer(), "ok", 0, 1.0))
metrics.set_meter_provider(MeterProvider([reader]))
sink.record(Exchange(call, (), Answer(), "ok", 0, 2.0))
(metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print(metric.name, metric.data.data_points[0].sum)
"""


def test_a_global_provider_that_is_set_later_is_found():
    """In a process of its own, for the global provider is set once."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATER], capture_output=True, text=True, check=False
    )

    assert (ran.stderr, ran.stdout) == ("", "gen_ai.client.embeddings.duration 2.0\n")


def test_of_a_models_name_as_much_is_kept_as_is_recorded(provider, exchange):
    """A refusal is recorded too, and a name may be as long as its caller likes."""
    sink = MeterSink(Meters(provider))
    tracemalloc.start()
    try:
        for number in range(20):
            sink.record(exchange(model=f"{number}" + "m" * 1_000_000, outcome="error"))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
