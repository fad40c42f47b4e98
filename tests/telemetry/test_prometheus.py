"""The series as Prometheus reads them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import urllib.request
import weakref
from math import inf

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from byteplus_trace import Policy, Retry, Target
from byteplus_trace._errors import SettingError
from byteplus_trace._facts import Usage
from byteplus_trace._instruments import INSTRUMENTS
from byteplus_trace._telemetry.points import points
from byteplus_trace._telemetry.sink import Sink
from byteplus_trace.prometheus import metrics_app, serve

from .conftest import STARTED_NS

MODEL = "seed-2-0-lite-260228"
EXEMPLAR = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def registry():
    return CollectorRegistry()


def record(sink, *exchanges, exemplar=None):
    for exchange in exchanges:
        sink.record(exchange, points(exchange), exemplar)


def values(registry, name, *labels):
    """Of each series so named, the values of these labels (all of them if none are named) -> what it stands at."""
    return {
        tuple(sample.labels[label] for label in labels or sample.labels): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_every_series_of_the_table_is_exported(registry):
    Sink(registry)

    assert {f"{family.name}" for family in registry.collect()} == {
        row.name.removesuffix("_total") for row in INSTRUMENTS
    }


def test_importing_the_module_does_not_import_the_client():
    program = "import sys, byteplus_trace.prometheus; print('prometheus_client' in sys.modules)"

    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


def test_a_sink_after_the_first_goes_on_counting(registry, exchange):
    record(Sink(registry), exchange())
    record(Sink(registry), exchange())

    assert values(registry, "modelark_operations_total", "outcome") == {("ok",): 2}


def test_a_registry_is_not_kept_alive(exchange):
    registry = CollectorRegistry()
    record(Sink(registry), exchange())
    gone = weakref.ref(registry)

    del registry
    gc.collect()

    assert gone() is None


def test_other_metadata_labels_for_the_same_registry_are_refused(registry):
    Sink(registry, metadata_labels=("team", "user"))
    Sink(registry, metadata_labels=("user", "team"))

    with pytest.raises(
        SettingError, match=r"metadata_labels=\('team', 'user'\).* registry=CollectorRegistry\(\)"
    ):
        Sink(registry, metadata_labels=("team",))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("team", "must be a sequence of keys"),
        (["model"], "rename it"),
        (["cost-centre"], "letters, digits"),
        (["__x"], "letters"),
    ],
)
def test_a_metadata_key_that_cannot_be_a_label_is_refused(registry, labels, message):
    with pytest.raises(SettingError, match=message):
        Sink(registry, metadata_labels=labels)


def test_series_of_the_same_name_that_are_not_ours_are_refused_and_nothing_stays_behind(registry):
    Counter("modelark_retries_total", "someone else's", registry=registry)

    with pytest.raises(SettingError, match="not ours"):
        Sink(registry)

    assert [family.name for family in registry.collect()] == ["modelark_retries"]


def test_a_second_copy_of_the_package_says_that_the_first_is_still_at_work():
    """As where a notebook's cell takes the modules out of `sys.modules` to load them anew."""
    program = """
import sys
import byteplus_trace
byteplus_trace.instrument()
for name in [name for name in sys.modules if name.startswith("byteplus_trace")]:
    del sys.modules[name]
import byteplus_trace
try:
    byteplus_trace.instrument()
except byteplus_trace.SettingError as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (ended.returncode, ended.stderr)
    assert "restart the process, or the notebook's kernel" in ended.stdout


def test_metadata_stands_only_on_the_series_that_have_it(registry, exchange):
    sink = Sink(registry, metadata_labels=("team",))
    record(
        sink,
        exchange(metadata={"team": "search", "user": "u-7"}, usage=Usage(5, 1), cost_usd="0.5"),
        exchange(),
    )

    assert values(registry, "modelark_operations_total", "team") == {("search",): 1, ("",): 1}
    assert values(registry, "modelark_tokens_total", "team", "type") == {
        ("search", "input"): 5,
        ("search", "output"): 1,
    }
    assert values(registry, "modelark_cost_usd_total", "team") == {("search",): 0.5}
    assert all("team" not in labels for labels in values(registry, "modelark_attempts_total"))
    assert b"u-7" not in _scrape(registry)


def test_models_error_types_and_metadata_values_are_bounded(registry, exchange):
    sink = Sink(registry, metadata_labels=("user",), max_models=3)
    for n in range(200):
        record(
            sink, exchange(model=f"ep-{n}", outcome="error", error_type=f"E{n}", metadata={"user": f"u-{n}"})
        )

    def distinct(label):
        return {labels[0] for labels in values(registry, "modelark_operations_total", label)}

    assert distinct("model") == {"ep-0", "ep-1", "ep-2", "other"}
    assert len(distinct("error_type")) == 65
    assert len(distinct("user")) == 101


def test_one_unencodable_value_does_not_spoil_the_scrape(registry, exchange):
    record(
        Sink(registry, metadata_labels=("user",)), exchange(model="caf\udce9", metadata={"user": "\ud800"})
    )

    assert b'model="caf?"' in _scrape(registry)


def test_series_with_a_target_start_at_zero_when_a_model_is_first_called(registry, exchange):
    sink = Sink(registry)
    sink.start_targets([("sg", "ap-southeast-1"), ("eu", "eu-west-1")])
    sink.in_flight(exchange().call).begins("a call", STARTED_NS)
    sink.in_flight(exchange("embeddings").call).begins("another", STARTED_NS)

    fallbacks = values(
        registry, "modelark_fallbacks_total", "operation", "from_target", "to_target", "reason", "result"
    )
    assert fallbacks["chat", "sg", "eu", "rate_limit", "ok"] == 0
    assert fallbacks["embeddings", "eu", "sg", "connect", "error"] == 0
    attempts = values(
        registry, "modelark_attempts_total", "operation", "target", "region", "result", "reason"
    )
    assert attempts["chat", "eu", "eu-west-1", "error", "server_error"] == 0
    assert values(registry, "modelark_breaker_state", "target", "operation")["sg", "chat"] == 0


def test_a_start_does_not_undo_what_was_counted_and_closes_the_breakers(registry, exchange):
    sink = Sink(registry)
    record(sink, exchange())
    sink.breaker("eu-west-1", "chat", 2)
    sink.start_targets([("ap-southeast-1", "ap-southeast-1"), ("eu-west-1", "eu-west-1")])

    attempts = values(registry, "modelark_attempts_total", "target", "operation", "result", "reason")
    assert attempts["ap-southeast-1", "chat", "ok", "none"] == 1
    assert values(registry, "modelark_breaker_state", "target", "operation")["eu-west-1", "chat"] == 0


def test_calls_under_way_are_counted_from_their_begin_to_their_end(registry, exchange):
    sink, call = Sink(registry), exchange().call
    sink.start_targets()

    def open_calls():
        return (
            values(registry, "modelark_operations_in_flight")["chat",],
            values(registry, "modelark_oldest_operation_start_seconds")["chat",],
        )

    assert open_calls() == (0, inf)
    sink.in_flight(call).begins("first", 10_000_000_000)
    sink.in_flight(call).begins("second", 20_000_000_000)
    sink.in_flight(call).begins("third", 30_000_000_000)
    assert open_calls() == (3, 10)
    sink.in_flight(call).ends("second")
    assert open_calls() == (2, 10)
    sink.in_flight(call).ends("first")
    assert open_calls() == (1, 30)
    sink.in_flight(call).ends("third")
    sink.in_flight(call).ends("third")
    assert open_calls() == (0, inf)
    assert values(registry, "modelark_oldest_operation_start_seconds")["embeddings",] == inf


def test_a_sink_after_the_first_keeps_the_calls_under_way(registry, exchange):
    first = Sink(registry)
    first.in_flight(exchange().call).begins("call", STARTED_NS)
    second = Sink(registry)
    second.start_targets()
    second.in_flight(exchange().call).begins("another", STARTED_NS)
    first.in_flight(exchange().call).ends("call")

    assert values(registry, "modelark_operations_in_flight")["chat",] == 1


def test_a_scrape_before_the_first_call_is_short(registry):
    sink = Sink(registry)
    sink.start_targets([("sg", "ap-southeast-1"), ("eu", "eu-west-1")])

    assert (
        len(_scrape(registry, accept="text/plain").splitlines()) < 250 - 40
    )  # of the process and its interpreter


def test_a_model_that_is_called_stands_at_zero_before_the_call_ends(registry, exchange):
    sink = Sink(registry, metadata_labels=("team",))
    sink.in_flight(exchange(metadata={"team": "search"}).call).begins("call", STARTED_NS)

    operations = values(registry, "modelark_operations_total", "operation", "api", "model", "outcome", "team")
    assert operations["chat", "chat_completions", MODEL, "ok", "search"] == 0
    assert values(registry, "modelark_tokens_total", "model", "type", "team")[MODEL, "input", "search"] == 0
    assert values(registry, "modelark_cost_usd_total", "model", "team") == {(MODEL, "search"): 0}


def test_models_beyond_the_bound_start_once_as_other(registry, exchange):
    sink = Sink(registry, max_models=1)
    for model in ("first", "second", "third"):
        sink.in_flight(exchange(model=model).call).begins(model, STARTED_NS)

    assert {model for (model,) in values(registry, "modelark_cost_usd_total", "model")} == {"first", "other"}


def test_what_is_no_exchange_is_counted_too(registry):
    sink = Sink(registry)
    sink.breaker("eu", "chat", 1)
    sink.telemetry_error("attributes")
    sink.build_info(version="0.1.0", httpx="0.28.1", httpx2="", opentelemetry="1.45.2")

    assert values(registry, "modelark_breaker_state", "target", "operation") == {("eu", "chat"): 1}
    assert values(registry, "modelark_telemetry_errors_total") == {("attributes",): 1}
    assert values(registry, "modelark_build_info", "version", "httpx", "httpx2") == {
        ("0.1.0", "0.28.1", ""): 1
    }


def test_threads_lose_no_count(registry, exchange):
    sink, call = Sink(registry), exchange(usage=Usage(3, 0))
    threads = [threading.Thread(target=record, args=(sink, *[call] * 500)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert values(registry, "modelark_operations_total", "outcome") == {("ok",): 4000}
    assert values(registry, "modelark_tokens_total", "type") == {("input",): 12_000}
    assert values(registry, "modelark_operation_duration_seconds_count", "result") == {("ok",): 4000}


# How it is read.


def _scrape(registry, accept=OPENMETRICS):
    status = []
    body = metrics_app(registry)({"HTTP_ACCEPT": accept, "REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""},
                                 lambda *line: status.append(line))  # fmt: skip
    assert status[0][0] == "200 OK"
    return b"".join(body)


def _get(url):
    request = urllib.request.Request(url, headers={"Accept": OPENMETRICS})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return reply.headers["Content-Type"], reply.read().decode()


def test_a_scrape_over_http_carries_exemplars_that_lead_to_the_trace(registry, exchange):
    call = exchange(stream=True, first_chunk_seconds=0.3, last_chunk_seconds=0.9, chunks=3)
    record(Sink(registry), call, exemplar=EXEMPLAR)
    server = serve(0, registry=registry)
    try:
        kind, text = _get(f"http://127.0.0.1:{server.port}/metrics")
    finally:
        server.stop()

    assert kind.startswith("application/openmetrics-text")
    with_exemplar = {
        sample.name: sample.exemplar.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar
    }
    assert with_exemplar == {
        "modelark_operation_duration_seconds_bucket": EXEMPLAR,
        "modelark_time_to_first_chunk_seconds_bucket": EXEMPLAR,
        "modelark_attempt_duration_seconds_bucket": EXEMPLAR,
    }


def test_an_attempts_exemplar_leads_to_the_attempts_span(http, instrument, recorded, ark, sg):
    """One call, an attempt that fails and one that helps: each is a series of its own, with its own dot."""
    targets = [
        Target(name, region=region, base_url=ark.base_url(region), api_key="any")
        for name, region in (("sg", "ap-southeast-1"), ("eu", "eu-west-1"))
    ]
    instrument(policy=Policy(targets=targets, retry=Retry(per_target=0)))
    ark.region("ap-southeast-1").fails(503, code="ServerOverloaded")
    http.post(f"{sg}/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})
    spans = {f"{span.context.span_id:016x}": span for span in recorded.spans}
    server = serve(0, registry=recorded.registry)
    try:
        _, text = _get(f"http://127.0.0.1:{server.port}/metrics")
    finally:
        server.stop()

    led = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.exemplar:
                span = spans[sample.exemplar.labels["span_id"]]
                assert sample.exemplar.labels["trace_id"] == f"{span.context.trace_id:032x}"
                led[family.name, sample.labels.get("target"), sample.labels["result"]] = span
    assert led == {
        ("modelark_operation_duration_seconds", None, "ok"): recorded.one,
        ("modelark_attempt_duration_seconds", "sg", "error"): recorded.attempts[0],
        ("modelark_attempt_duration_seconds", "eu", "ok"): recorded.attempts[1],
    }
    assert [span.attributes["byteplus.modelark.target"] for span in recorded.attempts] == ["sg", "eu"]


def _asked(server, method):
    """The status line, the headers and the body that one request gets, as they come."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as asking:
        asking.sendall(f"{method} /metrics HTTP/1.0\r\n\r\n".encode())
        with asking.makefile("rb") as reply:
            head, _, body = reply.read().partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in headers if not line.startswith("Date")), body


def test_a_head_is_answered_as_a_get_without_its_body(registry, exchange):
    record(Sink(registry), exchange())
    server = serve(0, registry=registry)
    try:
        get, head = _asked(server, "GET"), _asked(server, "HEAD")
    finally:
        server.stop()

    assert "HTTP/1.0 200 OK" == get[0]
    assert (get[0], get[1], b"") == head


def test_plain_text_is_served_to_those_who_ask_for_it(registry, exchange):
    record(Sink(registry), exchange(), exemplar=EXEMPLAR)

    text = _scrape(registry, accept="text/plain")

    assert b'modelark_operations_total{api="chat_completions"' in text
    assert b"trace_id" not in text


@pytest.mark.parametrize("form", ["asgi 2", "asgi 3"])
def test_the_same_application_is_asgi(registry, exchange, form):
    record(Sink(registry), exchange())
    app, sent = metrics_app(registry), []
    scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": []}

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send) if form == "asgi 3" else app(scope)(receive, send))

    assert sent[0]["status"] == 200
    assert b"modelark_operations_total" in sent[1]["body"]


def test_a_call_that_is_neither_wsgi_nor_asgi_is_refused(registry):
    with pytest.raises(TypeError, match="WSGI or ASGI"):
        metrics_app(registry)()


def test_a_stopped_server_frees_its_port(registry):
    server = serve(0, registry=registry)
    server.stop()
    server.stop()

    again = serve(server.port, registry=registry)

    assert again.port == server.port
    again.stop()


def test_a_busy_port_is_one_log_line_that_says_what_to_do(registry, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.INFO):
        port = taken.getsockname()[1]

        assert serve(port, registry=registry) is None

    (line,) = caplog.messages
    assert str(port) in line
    assert "metrics_port" in line
    assert "PROMETHEUS_MULTIPROC_DIR" in line


# Several processes. `prometheus_client` chooses its storage when it is imported, so these run in processes of their own.


def _run(program, **environment):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    return ran.stdout


FORKED = """
import os, sys
from byteplus_trace.prometheus import serve

server = serve(0)
reading, writing = os.pipe()
wait, go = os.pipe()
if os.fork() == 0:
    server.stop()
    os.write(writing, str(server.serving).encode())
    os.read(wait, 1)
    os._exit(0)
print("child serves:", os.read(reading, 9).decode())
server.stop()
print("port is free:", serve(server.port) is not None)
os.write(go, b".")
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_serve_and_does_not_hold_the_port():
    assert _run(FORKED) == "child serves: False\nport is free: True\n"


WORKERS = """
import json, os, sys
from prometheus_client import multiprocess
from byteplus_trace._facts import Answer, Call, Exchange, Usage
from byteplus_trace._telemetry.points import points
from byteplus_trace._telemetry.sink import Sink
from byteplus_trace.prometheus import metrics_app

call = Call("chat", "chat_completions", "POST", "", "ark", 443, "", "eu-west-1", model="m")
exchange = Exchange(call, (), Answer(usage=Usage(input_tokens=3)), "ok", 0, 0.5)
exemplar = {"trace_id": "a" * 32, "span_id": "b" * 16}
sink = Sink()
sink.build_info(version="0.1.0", httpx="", httpx2="", opentelemetry="")
sink.start_targets([("eu", "eu-west-1")])
sink.in_flight(call).begins("first", 70_000_000_000)
sink.in_flight(call).begins("second", 80_000_000_000)

def work(n):
    sink.record(exchange, points(exchange), exemplar)
    for _ in range(n):
        sink.record(exchange, points(exchange), exemplar)
    sink.in_flight(call).begins(n, (50 + n) * 1_000_000_000)
    sink.breaker("eu", "chat", n % 3)

workers = []
for n in range(4):
    pid = os.fork()
    if pid == 0:
        work(n)
        os._exit(0)
    workers.append(pid)
for pid in workers:
    os.waitpid(pid, 0)

def scrape():
    body = metrics_app()({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}, lambda *line: None)
    lines = b"".join(body).decode().splitlines()
    found = {}
    for line in lines:
        if "{" in line and "_bucket" not in line:
            name = line.split("{")[0]
            found[name] = max(found.get(name, 0), float(line.rsplit(" ", 1)[1]))
    return found

before = scrape()
for pid in workers:
    multiprocess.mark_process_dead(pid)
print(json.dumps([before, scrape()]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_four_workers_export_one_sum(tmp_path):
    alive, dead = json.loads(_run(WORKERS, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)))

    assert alive["modelark_operations_total"] == 4 + 0 + 1 + 2 + 3
    assert alive["modelark_tokens_total"] == 30
    assert alive["modelark_operation_duration_seconds_count"] == 10
    assert alive["modelark_operations_in_flight"] == 2 + 4
    assert alive["modelark_breaker_state"] == 2
    assert alive["modelark_build_info"] == 1
    assert dead["modelark_operations_total"] == 10
    assert dead["modelark_operations_in_flight"] == 2
    assert alive["modelark_oldest_operation_start_seconds"] == 50
    assert dead["modelark_oldest_operation_start_seconds"] == 70


HANDED_OVER = """
import logging, os, socket, sys, time
from urllib.request import urlopen
from byteplus_trace import prometheus

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s")
prometheus.AGAIN_SECONDS = 0.02
with socket.create_server(("127.0.0.1", 0)) as other_worker:
    port = other_worker.getsockname()[1]
    one, other = prometheus.serve(port), prometheus.serve(port)
    other.stop()
    time.sleep(0.1)
    print(one.serving, other.serving)
until = time.monotonic() + 20
while not one.serving:
    assert time.monotonic() < until, "the port was never taken"
    time.sleep(0.01)
print(one.serving, other.serving, one.port == port, urlopen(f"http://127.0.0.1:{port}/metrics").status)
one.stop()
again = prometheus.serve(port)
print(again.serving)
"""


def test_of_several_workers_one_has_the_port_and_when_it_ends_one_that_waited_takes_it(tmp_path):
    """As at a reload: the new workers start while the old ones have it. That is no error, and is not logged as one."""
    output = _run(HANDED_OVER, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    assert output.splitlines() == [
        "INFO",
        "INFO",
        "False False",
        "True False True 200",
        "True",
    ]


def test_an_address_that_cannot_be_had_is_an_error_for_several_workers_too(tmp_path):
    program = """
import logging, sys
from byteplus_trace.prometheus import serve
logging.basicConfig(stream=sys.stdout)
print(serve(9464, "203.0.113.1"))
"""

    line, server = _run(program, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).splitlines()

    assert "None" == server
    assert line.startswith(
        "ERROR:byteplus_trace:Metrics are not served: port 9464 of 203.0.113.1 cannot be had"
    )
    assert "PROMETHEUS_MULTIPROC_DIR" not in line
    assert line.endswith("Give another metrics_addr, such as 127.0.0.1.")


def test_a_directory_that_is_named_after_the_client_was_imported_is_refused(registry, monkeypatch, tmp_path):
    """The client chose its storage then: it would leave nothing there, and every sum would be empty."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    with pytest.raises(SettingError, match=r"set after prometheus_client was imported.*: set it before"):
        Sink(registry)
    with pytest.raises(SettingError, match="set after prometheus_client was imported"):
        metrics_app()


def test_a_missing_directory_for_several_processes_is_refused(registry, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "missing"))

    with pytest.raises(SettingError, match="is not a directory: make it"):
        Sink(registry)
