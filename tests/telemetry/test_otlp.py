"""The series over OpenTelemetry: the same names, labels and values as a scrape has."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from math import inf

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from byteplus_trace._errors import SettingError
from byteplus_trace._facts import Skip, Usage
from byteplus_trace._instruments import INSTRUMENTS, SECONDS
from byteplus_trace._telemetry import metric_exporting
from byteplus_trace._telemetry.points import points
from byteplus_trace._telemetry.provider import Meters
from byteplus_trace._telemetry.sink import Sink

from .conftest import STARTED_NS

ROWS = {row.otlp: row for row in INSTRUMENTS}
EXEMPLAR = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader):
    provider = MeterProvider([reader])
    yield provider
    provider.shutdown()


@pytest.fixture
def meters(provider):
    return Meters(provider)


def exported(reader):
    """Every point: (Prometheus name, labels) -> value, of a histogram its count."""
    data = reader.get_metrics_data()
    found = {}
    for scope in data.resource_metrics[0].scope_metrics if data is not None else ():
        for metric in scope.metrics:
            row = ROWS[metric.name]
            assert metric.unit == row.unit
            for point in metric.data.data_points:
                labels = tuple(sorted((name, value) for name, value in point.attributes.items() if value))
                found[row.name, labels] = point.count if row.kind == "histogram" else point.value
    return found


def scraped(registry):
    """The same of a registry."""
    found = {}
    for family in registry.collect():
        for sample in family.samples:
            name = sample.name.removesuffix("_count")
            if name in {row.name for row in INSTRUMENTS}:
                found[name, tuple(sorted((k, v) for k, v in sample.labels.items() if v))] = sample.value
    return found


def a_day(sink, exchange, attempt):
    """Every series moves."""
    sink.start_targets([("sg", "ap-southeast-1"), ("eu", "eu-west-1")])
    sink.build_info(version="1", httpx="2", httpx2="none", opentelemetry="3")
    sink.telemetry_error("flushing")
    sink.breaker("eu", "chat", 2)
    failed = attempt("sg", result="error", reason="cut")
    calls = [
        exchange(
            stream=True,
            outcome="rescued_fallback",
            attempts=[failed, attempt("eu", region="eu-west-1", cause="fallback")],
            usage=Usage(7, 2),
            cost_usd="0.5",
            first_chunk_seconds=0.1,
            last_chunk_seconds=0.3,
            chunks=3,
            duplicate="replayed",
            server_fallback="m",
            task_ended="failed",
            metadata={"team": "search"},
        ),
        exchange(
            outcome="error",
            attempts=[failed, attempt("sg", cause="retry", result="error", reason="timeout", status=None)],
            error_type="ReadTimeout",
            skipped=[Skip("eu", "breaker_open", "eu-west-1")],
        ),
        exchange("embeddings"),
    ]
    for call in calls:
        sink.in_flight(call.call).begins(id(call), STARTED_NS)
        sink.record(call, points(call), EXEMPLAR, [EXEMPLAR])
        sink.in_flight(call.call).ends(id(call))
    sink.in_flight(exchange().call).begins("one that hangs", STARTED_NS)


def test_both_places_have_the_same_series_with_the_same_values(reader, meters, exchange, attempt):
    registry = CollectorRegistry()
    a_day(
        Sink(registry, metrics="both", meters=meters, metadata_labels=("team",)),
        exchange,
        attempt,
    )
    here, there = scraped(registry), exported(reader)
    idle = {key for key, value in here.items() if value == inf}

    assert idle == {key for key, value in there.items() if value == sys.float_info.max}
    # A histogram that nothing was observed of does not exist in OpenTelemetry.
    unobserved = {key for key, value in here.items() if value == 0 and key not in there}
    assert all(name.endswith("_seconds") for name, _ in unobserved)
    assert {key: value for key, value in here.items() if key not in unobserved | idle} == {
        key: value for key, value in there.items() if key not in idle
    }


def test_durations_have_our_buckets_and_an_exemplar(reader, meters, exchange):
    sink, call = Sink(metrics="otlp", meters=meters), exchange(stream=True, first_chunk_seconds=0.1)
    attempt = {"trace_id": EXEMPLAR["trace_id"], "span_id": "00000000000000a1"}
    sink.record(call, points(call), EXEMPLAR, [attempt])
    metrics = {
        metric.name: metric.data.data_points[0]
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    }

    duration = metrics["modelark.operation.duration"]
    assert duration.explicit_bounds == SECONDS
    assert [f"{each.span_id:016x}" for each in duration.exemplars] == [EXEMPLAR["span_id"]]
    of_attempt = metrics["modelark.attempt.duration"].exemplars
    assert [f"{each.span_id:016x}" for each in of_attempt] == [attempt["span_id"]]


def test_a_sink_after_the_first_goes_on_counting(reader, meters, exchange, caplog):
    for _ in range(2):
        call = exchange()
        Sink(metrics="otlp", meters=meters).record(call, points(call))

    assert [v for (name, _), v in exported(reader).items() if name == "modelark_operations_total"] == [2]
    assert caplog.messages == []


def test_threads_lose_no_count(reader, meters, exchange):
    sink, call = Sink(metrics="otlp", meters=meters), exchange(usage=Usage(3, 0))

    def work():
        for _ in range(500):
            sink.record(call, points(call))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(v for (name, _), v in exported(reader).items() if name == "modelark_tokens_total") == 12_000


def _run(script, **environ):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "", **environ},
    )
    assert ran.returncode == 0, ran.stderr
    return ran


class Begun(MeterProvider):
    """Lets others do `meanwhile` while the first of our instruments are made."""

    meanwhile = others = None

    def get_meter(self, *args, **kwargs):
        if self.meanwhile is not None:
            self.others, self.meanwhile = threading.Thread(target=self.meanwhile), None
            self.others.start()
            self.others.join(0.2)  # they may wait until the instruments are made
        return super().get_meter(*args, **kwargs)


def test_what_ends_while_a_new_provider_gets_its_instruments_is_counted(reader, exchange):
    """A provider that was set after `instrument()`, or of a forked child."""
    provider = Begun([reader])
    meters = Meters(MeterProvider())
    sink = Sink(metrics="otlp", meters=meters)
    meters.configured = provider
    provider.meanwhile = lambda: sink.record(exchange(), points(exchange()))

    sink.record(exchange(), points(exchange()))
    provider.others.join()

    durations = {
        n: v for (name, n), v in exported(reader).items() if name == "modelark_operation_duration_seconds"
    }
    assert [2] == list(durations.values())
    provider.shutdown()


class Collector(HTTPServer):
    """Takes OTLP over HTTP, and keeps what it took."""

    def __init__(self):
        self.requests = []
        super().__init__(("127.0.0.1", 0), self._handler())

    def _handler(self):
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/metrics":
                    requests.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def by_instance(self):
        """Of each process: the values of each metric's points, as it last exported them."""
        found = {}
        for request in self.requests:
            for resource in request.resource_metrics:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                found[names["service.instance.id"]] = {
                    metric.name: [
                        point.as_double
                        for point in (metric.sum.data_points or metric.gauge.data_points)
                        if point.as_double
                    ]
                    for scope in resource.scope_metrics
                    for metric in scope.metrics
                }
        return found


@pytest.fixture
def collector():
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


CALLS = """
import os, sys
import byteplus_trace

byteplus_trace.instrument(metrics=os.environ.get("METRICS"), service_name="shop")

from byteplus_trace._edge.instrumentation import Instrumentation
from byteplus_trace._facts import Answer, Call, Exchange
from byteplus_trace._telemetry.points import points

sink = Instrumentation.current().sink
exchange = Exchange(
    Call("chat", "chat_completions", "POST", "", "ark", 443, "", "eu-west-1", model="m"), (), Answer(), "ok", 0, 0.5
)

def count(times):
    for n in range(times):
        sink.in_flight(exchange.call).begins(n, 1)
        sink.record(exchange, points(exchange))
        sink.in_flight(exchange.call).ends(n)

count(3)
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        count(2)
        byteplus_trace.flush()
        os._exit(0)
    os.waitpid(child, 0)
count(1)
print("prometheus_client" in sys.modules)
"""


@pytest.mark.parametrize(
    ("settings", "imported"),
    [({"METRICS": "otlp"}, "False\n"), ({"OTEL_METRICS_EXPORTER": "otlp"}, "True\n")],
    ids=["metrics=otlp", "OTEL_METRICS_EXPORTER=otlp"],
)
def test_our_own_provider_exports_each_process_under_an_identity_of_its_own(collector, settings, imported):
    ran = _run(CALLS, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_TRACES_EXPORTER="none", **settings)

    assert (ran.stdout, ran.stderr) == (imported, "")
    counted = sorted(metrics["modelark.operations"] for metrics in collector.by_instance().values())
    assert counted == [[2], [4]]


def test_without_a_collector_there_is_one_line(collector):
    collector.shutdown()
    collector.server_close()
    ran = _run(
        CALLS.replace("count(1)", "count(1); byteplus_trace.flush()"),
        METRICS="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_TRACES_EXPORTER="none",
    )

    assert ran.stderr.count("\n") <= 2  # one of the process, one of its child
    assert "OpenTelemetry metrics are dropped" in ran.stderr
    assert "OTEL_METRICS_EXPORTER=none" in ran.stderr


@pytest.mark.parametrize(
    ("environ", "wanted", "made"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, False, True),
        ({"OTEL_METRICS_EXPORTER": "console"}, False, True),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, False, False),
        ({"OTEL_METRICS_EXPORTER": "none"}, True, False),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, True, False),
    ],
)
def test_a_provider_of_our_own_is_made_where_one_is_asked_for(environ, wanted, made):
    assert (metric_exporting.own_meter_provider(None, wanted=wanted, environ=environ) is not None) == made


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OTEL_METRICS_EXPORTER": "otpl"}, "OTEL_METRICS_EXPORTER='otpl'"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "write http://collector:4318"),
    ],
)
def test_variables_that_cannot_be_followed_are_refused(environ, message):
    with pytest.raises(SettingError, match=message):
        metric_exporting.own_meter_provider(None, wanted=True, environ=environ)


def test_a_provider_without_an_identity_is_found():
    from opentelemetry.sdk.resources import Resource

    assert metric_exporting.lacks_instance_id(MeterProvider(resource=Resource({"service.name": "shop"})))
    assert not metric_exporting.lacks_instance_id(
        MeterProvider(resource=Resource({"service.instance.id": "pod-1"}))
    )
