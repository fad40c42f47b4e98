"""
Real servers on the loopback, and a real process whose calls they record.

A test that needs a server carries `@pytest.mark.server("prometheus")`, or several names, and
is skipped with that name where the program is missing; `.ci/install-backends` installs them.
Everything is started once a session, on free ports, and ended with it.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).parent.parent.parent
GRAFANA = ROOT / "grafana"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "byteplus-trace-backends"


def program(name: str) -> str | None:
    """Where the server's program is: on the path, or built by .ci/install-backends."""
    return shutil.which(name) or next(
        (str(path) for path in sorted(CACHE.glob(f"{name}-v*"), reverse=True)), None
    )


def compose() -> list[str] | None:
    """The command of Docker Compose 2, where there is one; it needs no engine to check a file."""
    for command in ([str(CACHE / "docker-compose")], ["docker", "compose"]):
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "version"], check=False, capture_output=True).returncode
        ):
            return command
    return None


@pytest.fixture(scope="session")
def docker_compose():
    return compose()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("server"):
        for name in mark.args:
            if not (compose() if name == "docker compose" else program(name)):
                pytest.skip(f"needs the server {name}: see .ci/install-backends")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(look, seconds, what):
    """The first truthy answer; a transport error is no answer yet."""
    until = time.monotonic() + seconds
    while True:
        try:
            if seen := look():
                return seen
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.2)


class Running:
    """A server process, whose output is kept and shown where it ends too early."""

    def __init__(self, command, log, environment=None):
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
            )

    def until(self, look, seconds, what):
        def still_there():
            assert self.process.poll() is None, (
                f"ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
            )
            return look()

        return eventually(still_there, seconds, what)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """start(name, command, environment) -> Running; all are stopped at the end, the last first."""
    started = []

    def start(name, command, environment=None):
        one = Running(command, tmp_path_factory.mktemp(name) / "log.txt", environment)
        started.append(one)
        return one

    yield start
    for one in reversed(started):
        one.stop()


class Receiver:
    """An OTLP/HTTP endpoint of the test itself, which keeps the spans and the metrics it is sent."""

    def __init__(self):
        self.spans, self.metrics = [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    receiver.keep(ExportTraceServiceRequest.FromString(body))
                if self.path == "/v1/metrics":
                    receiver.metrics += ExportMetricsServiceRequest.FromString(body).resource_metrics
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def keep(self, request):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="session")
def receiver():
    one = Receiver()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def traffic(running, receiver):
    """A process under eventful traffic: the port of its series."""
    port = free_port()
    command = [sys.executable, "-m", "byteplus_trace", "traffic"]
    process = running(
        "traffic",
        [*command, "--rate", "15", "--metrics-port", str(port), "--seed", "1"],
        {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "500"},
    )
    process.until(
        lambda: httpx.get(f"http://127.0.0.1:{port}/metrics").is_success, 30, "traffic serves its series"
    )
    return port


# What Grafana would put in: as wide as one round of the traffic's phases, and a little more.
INTERVALS = {"$__rate_interval": "40s", "$__range": "60s"}


class Prometheus:
    """The questions of dashboards and rules, through the HTTP API."""

    def __init__(self, url, process):
        self.process = process
        self.otlp = f"{url}/api/v1/otlp"
        self.client = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def ask(self, path, **params):
        answer = self.client.get(path, params=params).json()
        assert answer["status"] == "success", f"{params}: {answer.get('error')}"
        return answer["data"]

    def query(self, expression, **at):
        return self.ask("/query", query=expression, **at)["result"]

    def shown(self, expression):
        """
        The numbers that a panel would show with everything chosen, of which there must be some.

        Waits for one round of the traffic's phases to go by. A quantile of no calls is not a number.
        """
        for variable, value in INTERVALS.items():
            expression = expression.replace(variable, value)
        filled = re.sub(r"\$\w+", ".*", expression)

        def numbers():
            values = [float(series["value"][1]) for series in self.query(filled)]
            return [value for value in values if not math.isnan(value)]

        return eventually(numbers, 90, f"something to show for {filled}")

    def rules(self):
        return [rule for group in self.ask("/rules")["groups"] for rule in group["rules"]]

    def exemplars(self, name):
        found = self.ask("/query_exemplars", query=name, start=time.time() - 600, end=time.time() + 10)
        return [exemplar for series in found for exemplar in series["exemplars"]]


SWITCHES = {
    "prometheus": ("--enable-feature=exemplar-storage",),
    # What docs/metrics.md says of created timestamps and of its OTLP receiver is tried.
    "prometheus-3": (
        "--enable-feature=exemplar-storage,created-timestamp-zero-ingestion",
        "--web.enable-otlp-receiver",
    ),
}
"""The Prometheus servers that there may be, Debian's and one of today, with what each is started with."""

EACH_PROMETHEUS = [pytest.param(name, marks=pytest.mark.server(name)) for name in SWITCHES]


def prometheus_here() -> list[str]:
    return [name for name in SWITCHES if program(name)]


def prometheus_command(name, folder, port, every):
    """
    A Prometheus with the committed configuration and rules, and its targets in the folder.

    A scrape has as long before it times out as lies between two of them.
    """
    committed = (GRAFANA / "prometheus/prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(re.sub(r"_interval: 15s", f"_interval: {every}", committed))
    for file in ("rules.yml", "budget.yml"):
        (folder / file).write_text((GRAFANA / "prometheus" / file).read_text())
    return [
        program(name) or name,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / f'data-of-{name}'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        *SWITCHES[name],
    ]


@pytest.fixture(scope="session")
def start_prometheus(running):
    """start_prometheus(name, folder, every): a Prometheus that is ready."""
    started = []

    def start(name, folder, every):
        port = free_port()
        process = running(name, prometheus_command(name, folder, port, every))
        url = f"http://127.0.0.1:{port}"
        started.append(Prometheus(url, process))
        process.until(lambda: httpx.get(f"{url}/-/ready").is_success, 60, f"{name} is ready")
        return started[-1]

    yield start
    for one in started:
        one.client.close()


@pytest.fixture(scope="session")
def watching(start_prometheus, traffic, tmp_path_factory):
    """Each Prometheus that there is, with the committed rules, scraping the same traffic."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "targets.yml").write_text(f"- targets: ['127.0.0.1:{traffic}']\n")
    return {name: start_prometheus(name, folder, "5s") for name in prometheus_here()}


@pytest.fixture(scope="session", params=EACH_PROMETHEUS)
def prometheus(request, watching):
    one = watching[request.param]
    # On a busy machine the traffic itself takes its time to begin.
    one.process.until(
        lambda: one.query("modelark_operations_total > 0"), 180, "Prometheus has read the first calls"
    )
    return one


class Jaeger:
    """A Jaeger v2: where it takes spans, and what it answers."""

    def __init__(self, grpc, http, query):
        self.grpc = f"127.0.0.1:{grpc}"
        self.endpoint = f"http://127.0.0.1:{http}"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{query}", timeout=10)

    def spans(self, trace_id):
        """The trace as OTLP JSON, once it is there; every attribute as the pair of its type and value."""

        def look():
            answer = self.client.get(f"/api/v3/traces/{trace_id}")
            return answer.json() if answer.is_success else None

        answer = eventually(look, 15, f"Jaeger has the trace {trace_id}")
        return [
            {
                **span,
                "attributes": {
                    one["key"]: next(iter(one["value"].items())) for one in span.get("attributes", ())
                },
            }
            for resource in answer["result"]["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


@pytest.fixture(scope="session")
def jaeger(running):
    grpc, http, query, query_grpc, own = (free_port() for _ in range(5))
    process = running(
        "jaeger",
        [program("jaeger") or "jaeger", f"--config={Path(__file__).parent / 'jaeger.yaml'}"],
        {
            "GRPC_PORT": str(grpc),
            "HTTP_PORT": str(http),
            "QUERY_PORT": str(query),
            "QUERY_GRPC_PORT": str(query_grpc),
            "OWN_PORT": str(own),
        },
    )
    one = Jaeger(grpc, http, query)
    process.until(lambda: one.client.get("/api/services").is_success, 60, "Jaeger answers")
    yield one
    one.client.close()


class Collector:
    """A Collector with the committed configuration."""

    def __init__(self, http, prometheus):
        self.endpoint = f"http://127.0.0.1:{http}"
        self.series = f"http://127.0.0.1:{prometheus}/metrics"


@pytest.fixture(scope="session")
def collector(running, jaeger):
    return _collector(running, jaeger.grpc)


@pytest.fixture(scope="session")
def lone_collector(running):
    """A Collector whose spans go nowhere."""
    return _collector(running, "127.0.0.1:9")


def _collector(running, jaeger_otlp):
    grpc, http, series, own = (free_port() for _ in range(4))
    process = running(
        "otelcol",
        [program("otelcol") or "otelcol", f"--config={GRAFANA / 'collector.yaml'}"],
        {
            "OTLP_GRPC_PORT": str(grpc),
            "OTLP_HTTP_PORT": str(http),
            "PROMETHEUS_PORT": str(series),
            "OWN_METRICS_PORT": str(own),
            "JAEGER_OTLP": jaeger_otlp,
            "SPAN_METRICS_EVERY": "1s",
        },
    )
    one = Collector(http, series)
    process.until(lambda: httpx.get(one.series).is_success, 30, "the Collector serves series")
    return one


@pytest.fixture(name="eventually", scope="session")
def _eventually():
    return eventually
