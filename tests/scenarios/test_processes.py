"""Whole programs: real exporters, real receivers, entry points, forks, short lives."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import byteplus_trace
from byteplus_trace import SettingError
from byteplus_trace._telemetry import exporting

PROGRAM = """
import sys, httpx, byteplus_trace
url = sys.argv[1]
{before}
with httpx.Client(headers={{"Authorization": "Bearer key"}}) as client:
    reply = client.post(url + "/chat/completions", json={{"model": "seed-1-6-250915", "messages": [{{"role": "user", "content": "hi"}}]}})
    reply.raise_for_status()
{after}
"""


class Receiver:
    """A real OTLP/HTTP receiver: decodes what the exporter posts, and answers `status`; None: not before it is closed."""

    def __init__(self, port=0):
        received = self.requests = []
        self.status = 200
        self.closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append((self.path, ExportTraceServiceRequest.FromString(body)))
                if receiver.status is None:
                    receiver.closing.wait()
                    return
                self.send_response(receiver.status)
                self.send_header("Retry-After", "1000")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def spans(self):
        return [
            (resource, scope.scope, span)
            for _, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def run(source, *arguments, command=(sys.executable, "-c"), **environment):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "BYTEPLUS_TRACE_"))
    }
    done = subprocess.run(
        [*command, source, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**kept, **environment},
    )
    assert 0 == done.returncode, done.stderr
    return done


def attributes_of(span):
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


def base_urls(sg):
    return f"{sg}=ap-southeast-1"


def test_spans_reach_a_real_otlp_receiver_with_the_right_parents(receiver, sg):
    source = PROGRAM.format(
        before="byteplus_trace.instrument(service_name='shop')", after="byteplus_trace.flush()"
    )

    run(source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    (resource, scope, attempt), (_, _, logical) = sorted(receiver.spans, key=lambda found: found[2].name)
    assert "byteplus_trace" == scope.name
    assert "shop" == attributes_of(resource.resource)["service.name"]
    assert "chat seed-1-6-250915" == logical.name
    assert attempt.parent_span_id == logical.span_id
    recorded = attributes_of(logical)
    assert recorded["gen_ai.usage.input_tokens"] > 0
    assert "ap-southeast-1" == recorded["cloud.region"]


def test_a_program_that_just_ends_still_exports(receiver, sg):
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="")

    run(source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    assert 2 == len(receiver.spans)


def test_with_nobody_listening_there_is_one_line(sg):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="")

    done = run(source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=nowhere, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    (line,) = done.stderr.strip().splitlines()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in line


def test_credentials_of_the_endpoint_are_not_in_that_line(sg):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{free.getsockname()[1]}"
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="")

    done = run(
        source,
        sg,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://me:hunter2@{nowhere}/?token=hunter3",
        BYTEPLUS_TRACE_BASE_URLS=base_urls(sg),
    )

    assert f"as http://{nowhere}/ does not" in done.stderr
    assert "hunter" not in done.stderr


@pytest.mark.parametrize(("status", "arrived"), [(200, "True"), (400, "False"), (None, "False")])
def test_a_flush_says_whether_the_spans_arrived(receiver, sg, status, arrived):
    """None: nobody listens. Of what was lost before the last flush it says nothing any more."""
    receiver.status = status
    endpoint = receiver.endpoint if status else "http://127.0.0.1:9"
    source = PROGRAM.format(
        before="byteplus_trace.instrument()",
        after="print(byteplus_trace.flush(), byteplus_trace.flush())",
    )

    done = run(source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    assert [arrived, "True"] == done.stdout.split()


def test_a_flush_at_the_end_of_the_interpreter_exports_too(receiver, sg):
    """Where no thread is started any more."""
    source = PROGRAM.format(
        before="import atexit; byteplus_trace.instrument(); atexit.register(lambda: print(byteplus_trace.flush()))",
        after="",
    )

    done = run(
        source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg)
    )

    assert "True" == done.stdout.strip()
    assert 2 == len(receiver.spans)


class Scripted(SpanExporter):
    """An exporter whose exports come to this, one after the other, and that logs each failure."""

    def __init__(self, *successes):
        self.successes = list(successes)

    def export(self, spans):
        if self.successes.pop(0):
            return SpanExportResult.SUCCESS
        logging.getLogger(__name__).error("Failed to export %s", RuntimeError("https://key@collector"))
        return SpanExportResult.FAILURE


@pytest.fixture
def listening(monkeypatch):
    """Whether somebody listens at the collector's address, as a list of the one answer."""
    answer = [True]
    monkeypatch.setattr(exporting, "is_listening", lambda _url: answer[0])
    return answer


def test_each_outage_of_a_collector_is_one_line(caplog, listening):
    """Not each batch, and not only the first of a process's life; the exporter's own lines are held back."""
    exporter = exporting.OverHttp(
        Scripted(True, False, False, True, False, False), "http://u:secret@collector:4318"
    )

    results = [exporter.export([]).name for _ in range(6)]
    exporter.shutdown()

    assert ["SUCCESS", "FAILURE", "FAILURE"] * 2 == results
    line = "OpenTelemetry spans are dropped, as http://collector:4318 does not take them: Failed to export RuntimeError."
    assert [line] * 2 == caplog.messages


def test_the_lines_of_another_exporter_of_the_process_are_not_held_back(caplog, listening):
    ours, theirs = exporting.OverHttp(Scripted(False), "http://collector:4318"), Scripted(False)

    ours.export([])
    theirs.export([])
    ours.shutdown()

    assert ["byteplus_trace", __name__] == [record.name for record in caplog.records]


@pytest.mark.parametrize(
    ("awaited", "taken", "proxy", "tried"),
    [
        (True, False, None, False),
        (False, False, None, True),
        (True, True, None, True),
        (True, False, "http://proxy:3128", True),
    ],
    ids=["nobody ever listened", "nobody waits", "it is away for a moment", "who listens cannot be known"],
)
def test_where_somebody_waits_and_nobody_listens_nothing_is_tried(
    monkeypatch, listening, awaited, taken, proxy, tried
):
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if proxy:
        monkeypatch.setenv("http_proxy", proxy)
    inner = Scripted(*[True] * taken, False)
    exporter = exporting.OverHttp(inner, "http://collector:4318")
    if taken:
        exporter.export([])
    listening[0] = False
    exporter.awaited = awaited

    exporter.export([])
    exporter.shutdown()

    assert tried == (inner.successes == [])


@pytest.mark.parametrize(
    ("url", "listens", "why"),
    [
        ("http://localhost:4318", False, "nobody listens. Run 'byteplus-trace watch' to see them"),
        ("http://localhost:4318", True, "no answer before the process ended"),
        ("http://collector:4318", False, "no answer before the process ended"),
    ],
    ids=["nobody is there", "it is slow", "it is elsewhere, and asking would take time"],
)
def test_a_process_that_ends_amid_an_export_says_why_spans_are_lost(caplog, listening, url, listens, why):
    listening[0] = listens
    exporter = exporting.OverHttp(Scripted(), url)

    exporter.give_up()
    exporter.shutdown()

    (line,) = caplog.messages
    assert why in line


def test_a_collector_that_is_away_for_a_moment_loses_nothing(monkeypatch, caplog):
    """OpenTelemetry's own exporter tries again: so does ours, and has nothing to tell."""
    with socket.socket() as away:
        away.bind(("127.0.0.1", 0))
        port = away.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        provider = exporting.own_provider("shop")
        provider.get_tracer("test").start_span("a call").end()
        patiently(lambda: provider.is_troubled)
    back = Receiver(port)
    try:
        patiently(lambda: back.spans)
    finally:
        provider.shutdown()
        back.close()

    assert ["a call"] == [span.name for _, _, span in back.spans]
    assert [] == caplog.messages


@pytest.mark.parametrize(
    ("endpoint", "asked", "waits"),
    [
        ("http://localhost:4318", None, 500),
        ("http://127.0.0.1:9999/", None, 500),
        ("http://[::1]:4318", "", 500),
        ("http://localhost:4318", "2000", 2000),
        ("http://collector.example:4318", None, 5000),
    ],
)
def test_spans_for_this_machine_wait_half_a_second(monkeypatch, endpoint, asked, waits):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.delenv("OTEL_BSP_SCHEDULE_DELAY", raising=False)
    if asked is not None:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", asked)
    provider = exporting.own_provider("shop")
    (processor,) = provider._active_span_processor._span_processors

    try:
        assert waits == processor._batch_processor._schedule_delay * 1000
    finally:
        provider.shutdown()


def patiently(found):
    until = time.monotonic() + 20
    while not found():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def test_a_collector_behind_a_proxy_gets_the_spans(receiver, sg):
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="")

    run(
        source, sg, OTEL_EXPORTER_OTLP_ENDPOINT="http://collector.corp.invalid:4318", BYTEPLUS_TRACE_BASE_URLS=base_urls(sg),
        http_proxy=receiver.endpoint, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1",
    )  # fmt: skip

    assert 2 == len(receiver.spans)
    assert {"http://collector.corp.invalid:4318/v1/traces"} == {path for path, _ in receiver.requests}


@pytest.mark.parametrize("status", [503, None], ids=["is overloaded", "never answers"])
def test_a_collector_that_takes_nothing_does_not_hold_up_the_exit(receiver, sg, status):
    """The exporter itself would try, or wait, for as long as it may."""
    receiver.status = status
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="")

    done = run(
        source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="3000",
        BYTEPLUS_TRACE_BASE_URLS=base_urls(sg),
    )  # fmt: skip

    assert 1 == len(receiver.requests)
    (line,) = done.stderr.strip().splitlines()
    assert "no answer before the process ended" in line


STREAMED = """
import sys, httpx, byteplus_trace
byteplus_trace.instrument(on_exchange=lambda exchange: print(exchange.outcome))
client = httpx.Client(headers={"Authorization": "Bearer key"})
body = {"model": "seed-1-6-250915", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
reply = client.send(client.build_request("POST", sys.argv[1] + "/chat/completions", json=body), stream=True)
parts = reply.iter_raw()
next(parts)
print("left")
"""


def test_a_call_that_is_open_when_the_program_ends_is_told_as_abandoned(receiver, sg):
    done = run(
        STREAMED, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg)
    )

    assert ["left", "abandoned"] == done.stdout.split()
    recorded = [attributes_of(span).get("byteplus.modelark.outcome") for _, _, span in receiver.spans]
    assert sorted(filter(None, recorded)) == ["abandoned"]


def test_an_application_that_sets_its_provider_later_is_told_of_a_call_that_is_open_at_the_end(receiver, sg):
    """Its provider is shut down at the exit too, and takes nothing after."""
    later = """
byteplus_trace.instrument()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
"""
    source = STREAMED.replace("client =", later + "client =", 1)

    run(source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    assert 2 == len(receiver.spans)


CHILDREN = """
import multiprocessing, sys, httpx, byteplus_trace
from concurrent.futures import ProcessPoolExecutor

def call(url):
    byteplus_trace.instrument()
    with httpx.Client(headers={"Authorization": "Bearer key"}) as client:
        client.post(url + "/chat/completions", json={"model": "seed-1-6-250915", "messages": []}).raise_for_status()

if __name__ == "__main__":
    how = multiprocessing.get_context(sys.argv[2])
    if sys.argv[2] == "fork":
        byteplus_trace.instrument()
    if sys.argv[3] == "process":
        child = how.Process(target=call, args=(sys.argv[1],))
        child.start()
        child.join()
        assert child.exitcode == 0
    else:
        with ProcessPoolExecutor(1, mp_context=how) as pool:
            pool.submit(call, sys.argv[1]).result()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("kind", ["process", "pool"])
@pytest.mark.parametrize("how", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_that_just_ends_still_exports(receiver, sg, tmp_path, how, kind):
    """It ends without what ends an interpreter, and long before the next batch."""
    program = tmp_path / "children.py"
    program.write_text(CHILDREN)

    run(
        str(program), sg, how, kind, command=(sys.executable,), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        BYTEPLUS_TRACE_BASE_URLS=base_urls(sg),
    )  # fmt: skip

    assert ["POST", "chat seed-1-6-250915"] == sorted(span.name for _, _, span in receiver.spans)


def test_an_application_that_sets_its_provider_later_gets_the_spans(receiver, sg):
    later = """
byteplus_trace.instrument()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
"""
    source = PROGRAM.format(before=later, after="print(len(kept.get_finished_spans()))")

    done = run(
        source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg)
    )

    assert "2" == done.stdout.strip()
    assert [] == receiver.spans


@pytest.mark.parametrize(
    "name", ["OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
)  # fmt: skip
def test_an_empty_variable_is_one_that_is_not_set(receiver, sg, name):
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="byteplus_trace.flush()")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, name: ""}

    run(source, sg, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg), **environment)

    assert 2 == len(receiver.spans)


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_telemetry_can_be_switched_off_as_the_specification_says(receiver, sg, variables):
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="byteplus_trace.flush()")

    done = run(
        source,
        sg,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        BYTEPLUS_TRACE_BASE_URLS=base_urls(sg),
        **variables,
    )

    assert [] == receiver.requests
    assert "" == done.stderr


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_grpc_without_its_exporter_is_one_line_and_the_program_runs(sg, variable):
    """A cluster sets it for all that runs there."""
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="print(byteplus_trace.flush())")

    done = run(source, sg, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg), **{variable: "grpc"})

    (line,) = done.stderr.strip().splitlines()
    assert f"No spans are exported: {variable}=grpc, and its exporter is not installed" in line
    assert "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf" in line
    assert "True" == done.stdout.strip()


@pytest.mark.parametrize(
    ("endpoint", "advice"),
    [
        ("collector:4318", "='collector:4318' must begin with http:// or https://: write http://collector:4318."),
        ("grpc://me:key@collector:4317", "='grpc://collector:4317' must begin with http:// or https://: write http://collector:4317."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_that_http_cannot_reach_is_refused_with_the_one_to_write(variable, endpoint, advice):
    with pytest.raises(SettingError) as refused:
        exporting.own_provider(None, {variable: endpoint})

    assert f"{variable}{advice}" == str(refused.value)


def test_spans_can_go_to_the_console(sg):
    source = PROGRAM.format(before="byteplus_trace.instrument()", after="byteplus_trace.flush()")

    done = run(source, sg, OTEL_TRACES_EXPORTER="console", BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    assert "gen_ai.usage.input_tokens" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_call_of_a_thread_that_a_child_of_multiprocessing_waits_for_is_not_abandoned(sg):
    source = """
import multiprocessing, sys, threading, httpx, byteplus_trace
byteplus_trace.instrument(on_exchange=lambda exchange: print(exchange.outcome, flush=True))

def call(began, ended):
    client = httpx.Client(headers={"Authorization": "Bearer key"})
    body = {"model": "seed-1-6-250915", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with client.stream("POST", sys.argv[1] + "/chat/completions", json=body) as reply:
        began.set()
        ended.wait(30)
        reply.read()

def work():
    began, ended = threading.Event(), threading.Event()
    multiprocessing.util.Finalize(None, ended.set, exitpriority=-1000)  # after ours
    threading.Thread(target=call, args=(began, ended)).start()
    began.wait(30)

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""

    done = run(source, sg, OTEL_TRACES_EXPORTER="none", BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    assert ["ok"] == done.stdout.split()


def test_opentelemetry_instrument_finds_us(receiver, sg, tmp_path):
    program = tmp_path / "app.py"
    program.write_text(PROGRAM.format(before="", after=""))
    command = (str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable)

    run(
        str(program), sg, command=command, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none", BYTEPLUS_TRACE_BASE_URLS=base_urls(sg),
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="openai", OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )  # fmt: skip

    assert ["POST", "chat seed-1-6-250915"] == sorted(span.name for _, _, span in receiver.spans)


AUTOMATIC = """
import sys, httpx, byteplus_trace
from byteplus_trace import ModelArkInstrumentor, Policy, Target
ModelArkInstrumentor().instrument()
byteplus_trace.instrument()
try:
    byteplus_trace.instrument(policy={"targets": [{"region": "nowhere"}]})
except byteplus_trace.SettingError:
    pass
byteplus_trace.instrument(
    policy=Policy(targets=[Target("sg", region="ap-southeast-1", base_url=sys.argv[1], api_key="key")]),
    metadata_labels=("team",), on_exchange=lambda exchange: print(exchange.target),
)
with httpx.Client() as client, byteplus_trace.metadata(team="search"):
    client.post(sys.argv[1] + "/chat/completions", json={"model": "m", "messages": []})
byteplus_trace.instrument(max_models=3)
from prometheus_client import generate_latest
for line in generate_latest().decode().splitlines():
    if line.startswith(("modelark_operations_total", "modelark_attempts_total{")) and not line.endswith(" 0.0"):
        print(line)
"""


def test_an_explicit_call_takes_over_from_opentelemetry_instrument(sg):
    """It was called first, and with nothing: not even its series are left. What was asked for once stays."""
    done = run(AUTOMATIC, sg, OTEL_TRACES_EXPORTER="none", BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    target, operation, *attempts = done.stdout.splitlines()
    assert "sg" == target
    assert 'team="search"} 1.0' in operation
    assert attempts
    assert all('target="sg"' in line for line in attempts), attempts
    (warning,) = done.stderr.splitlines()
    assert "the first ones stay" in warning


def test_a_forked_worker_tells_its_own_calls(receiver, sg):
    """As gunicorn does with `preload_app`: instrumented once, before the fork."""
    source = """
import os, sys, httpx, byteplus_trace
byteplus_trace.instrument()
def call():
    with httpx.Client(headers={"Authorization": "Bearer key"}) as client:
        with client.stream("POST", sys.argv[1] + "/chat/completions", json={
            "model": "seed-1-6-250915", "stream": True, "messages": [{"role": "user", "content": "hi"}]}) as reply:
            for _ in reply.iter_raw():
                break
    byteplus_trace.flush()
call()
child = os.fork()
if child == 0:
    call()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""

    run(source, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg))

    logical = [span for _, _, span in receiver.spans if span.name.startswith("chat")]
    assert 2 == len(logical)
    assert {"cancelled"} == {attributes_of(span)["byteplus.modelark.outcome"] for span in logical}


def test_metrics_are_served_in_openmetrics_with_exemplars(receiver, sg):
    serving = PROGRAM.format(
        before="byteplus_trace.instrument(metrics_port=0)",
        after="""
import urllib.request
from byteplus_trace._edge.instrumentation import Instrumentation
port = Instrumentation.current().server.port
asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
with urllib.request.urlopen(asked) as reply:
    print(reply.read().decode())
""",
    )

    done = run(
        serving, sg, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, BYTEPLUS_TRACE_BASE_URLS=base_urls(sg)
    )

    families = {family.name: family for family in text_string_to_metric_families(done.stdout.rstrip() + "\n")}
    durations = families["modelark_operation_duration_seconds"].samples
    exemplars = [sample.exemplar for sample in durations if sample.exemplar]
    assert {"trace_id", "span_id"} == set(exemplars[0].labels)
    (operations,) = [
        s for s in families["modelark_operations"].samples if s.name.endswith("_total") and s.value
    ]
    assert "ok" == operations.labels["outcome"]


def test_importing_is_cheap():
    heavy = ("opentelemetry", "prometheus_client", "httpx", "httpx2", "msgspec", "wrapt", "asyncio")
    done = run(f"import sys, byteplus_trace; print([name for name in {heavy!r} if name in sys.modules])")

    assert "[]" == done.stdout.strip()


SERVED = """
import sys
sys.path.insert(0, {examples!r})
import httpx, uvicorn
import asgi_app, byteplus_trace
url = sys.argv[1]
{before}
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        {lifespan}
        return
    async with httpx.AsyncClient(headers={{"Authorization": "Bearer key"}}) as client:
        body = {{"model": "seed-1-6-250915", "messages": [{{"role": "user", "content": "hi"}}]}}
        (await client.post(url + "/chat/completions", json=body)).raise_for_status()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b""}})
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", lifespan="{mode}")
"""
FLUSHES = "await asgi_app.lifespan(receive, send)"


@pytest.fixture
def ends_by_sigterm(sg, receiver):
    """ends_by_sigterm(source): how a real server ended, which answered five calls and then met SIGTERM."""

    def run_and_end(source):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OTEL_", "BYTEPLUS_TRACE_"))
        }
        environment = {
            **kept,
            "ARK_API_KEY": "key",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            "BYTEPLUS_TRACE_BASE_URLS": base_urls(sg),
        }
        command = [sys.executable, "-c", source, sg, str(port)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
            try:
                while True:
                    try:
                        assert 200 == httpx.get(f"http://127.0.0.1:{port}/").status_code
                        break
                    except httpx.ConnectError:
                        assert server.poll() is None, "the server never came up"
                        time.sleep(0.05)
                for _ in range(4):
                    assert 200 == httpx.get(f"http://127.0.0.1:{port}/").status_code
                assert [] == receiver.spans
                server.terminate()
                server.wait(30)
            finally:
                server.kill()
            assert "Traceback" not in server.stderr.read()
        return server.returncode

    return run_and_end


EXAMPLES = str(Path(__file__).resolve().parents[2] / "examples")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM here")
@pytest.mark.parametrize(
    ("before", "lifespan", "mode", "calls"),
    [
        ("", "pass", "off", 0),
        ("", FLUSHES, "on", 5),
        ("byteplus_trace.flush_on_sigterm()", "pass", "off", 5),
        ("byteplus_trace.flush_on_sigterm(); byteplus_trace.flush_on_sigterm()", FLUSHES, "on", 5),
    ],
    ids=["neither: the default action loses them", "lifespan", "handler", "both"],
)
def test_a_server_that_sigterm_ends_exports_what_it_recorded(
    ends_by_sigterm, receiver, before, lifespan, mode, calls
):
    source = SERVED.format(examples=EXAMPLES, before=before, lifespan=lifespan, mode=mode)

    assert -signal.SIGTERM == ends_by_sigterm(source)
    assert 2 * calls == len(receiver.spans)


CHAINED = """
import os, signal, sys, threading
import httpx, byteplus_trace
byteplus_trace.instrument()
{before}
byteplus_trace.flush_on_sigterm()
with httpx.Client(headers={{"Authorization": "Bearer key"}}) as client:
    body = {{"model": "seed-1-6-250915", "messages": [{{"role": "user", "content": "hi"}}], "stream": True}}
    with client.stream("POST", sys.argv[1] + "/chat/completions", json=body) as reply:
        parts = reply.iter_raw()
        next(parts)
        os.kill(os.getpid(), signal.SIGTERM)
        {then}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM here")
@pytest.mark.parametrize(
    ("before", "then", "status", "outcome"),
    [
        ("", "", -signal.SIGTERM, "abandoned"),
        ("threading.Thread(target=threading.Event().wait).start()", "", -signal.SIGTERM, "abandoned"),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))", "", 3, "cancelled"),
        ("signal.signal(signal.SIGTERM, lambda *_: None)", "list(parts)", 0, "ok"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "list(parts)", 0, "ok"),
    ],
    ids=["default", "a thread runs", "exits", "goes on", "ignored"],
)
def test_the_handler_does_what_would_have_happened_without_it(receiver, sg, before, then, status, outcome):
    done = subprocess.run(
        [sys.executable, "-c", CHAINED.format(before=before, then=then or "sys.exit(9)"), sg],
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            "BYTEPLUS_TRACE_BASE_URLS": base_urls(sg),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert status == done.returncode, done.stderr
    assert [outcome] == [
        attributes_of(span)["byteplus.modelark.outcome"]
        for _, _, span in receiver.spans
        if span.name.startswith("chat")
    ]


def test_only_the_main_thread_can_have_the_handler():
    raised = []

    def call():
        try:
            byteplus_trace.flush_on_sigterm()
        except SettingError as error:
            raised.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()

    assert ["Only the main thread can handle signals: call flush_on_sigterm() there."] == raised
