"""`byteplus-trace doctor` for an environment, and for an application."""

import io
import re
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

import byteplus_trace
from byteplus_trace import Breaker, Policy, Target
from byteplus_trace._cli import main
from byteplus_trace._cli.checks import (
    Surroundings,
    _clients,
    _key,
    _meter_provider,
    _multiprocess,
    _providers,
    examine,
    receiver,
)
from byteplus_trace._cli.findings import Finding, Report


def test_a_bare_environment_has_warnings_and_no_failure_and_is_not_the_application(command):
    ended = command("doctor", "--offline")

    assert 0 == ended.returncode, ended.stdout
    assert ended.stdout.startswith("This examines the environment, not your application.")
    assert "byteplus_trace.doctor()" in ended.stdout
    assert "byteplus-trace doctor http://localhost:9464/metrics" in ended.stdout
    assert "httpx calls" in ended.stdout
    assert "a call to the loopback was seen" in ended.stdout
    assert "0 to mend" in ended.stdout


def test_settings_that_instrument_would_refuse_are_a_failure(command, tmp_path):
    config = tmp_path / "policy.toml"
    config.write_text('max_models = "many"\n')
    ended = command("doctor", "--offline", BYTEPLUS_TRACE_CONFIG=str(config))

    assert 1 == ended.returncode
    assert re.search(r"FAIL  settings +max_models='many' must be a whole number", ended.stdout)


def test_the_kill_switch_is_named_and_stops_no_health_check(command):
    ended = command("doctor", "--offline", BYTEPLUS_TRACE_DISABLED="1")

    assert 0 == ended.returncode
    assert re.search(r"warn  settings +BYTEPLUS_TRACE_DISABLED is set", ended.stdout)


def test_a_variable_that_is_no_setting_is_a_warning_with_the_name_meant(command):
    ended = command("doctor", "--offline", BYTEPLUS_TRACE_METRCS_PORT="1")

    assert "warn  settings" in ended.stdout
    assert "Did you mean 'BYTEPLUS_TRACE_METRICS_PORT'?" in " ".join(ended.stdout.split())
    assert "BYTEPLUS_TRACE_METRCS_PORT" not in ended.stderr


def test_a_key_is_found_and_never_shown(command):
    ended = command("doctor", "--offline", ARK_API_KEY="5ecre7-0000", OTEL_EXPORTER_OTLP_HEADERS="a=5ecre7")

    assert re.search(r"ok    ARK_API_KEY +set", ended.stdout)
    assert "5ecre7" not in ended.stdout + ended.stderr
    assert "0000" not in ended.stdout


@pytest.mark.parametrize(
    ("key", "status", "found"),
    [
        ("", "warn", "not set"),
        ("Bearer k", "warn", "set, beginning with 'Bearer '"),
        ("k\n", "warn", "set, with blanks around it"),
        ("k", "ok", "set"),
    ],
)
def test_the_form_of_a_key_is_looked_at(key, status, found):
    (finding,) = _key(Surroundings({"ARK_API_KEY": key}))

    assert (status, found) == (finding.status, finding.found)


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://me:hunter2@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://me:hunter2@127.0.0.1:9/?token=hunter3", "http://127.0.0.1:9/"),
        ("http://127.0.0.1:9/v1#hunter2", "http://127.0.0.1:9/v1"),
        ("http://me:hunter/2@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://me:hunter#2@127.0.0.1:9", "(not shown)"),
        ("http://me:hunter2@[", "http://["),
    ],
)
def test_what_may_be_secret_in_an_endpoint_is_left_out(endpoint, shown):
    variables, spans = _providers(Surroundings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}))

    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={shown}" == variables.found
    assert f"nobody listens at {shown}" == spans.found


def test_a_secret_inside_a_variable_is_not_shown():
    variables, _ = _providers(Surroundings({"OTEL_RESOURCE_ATTRIBUTES": "a=b,api.key=hunter2"}))

    assert "OTEL_RESOURCE_ATTRIBUTES=(set)" == variables.found


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin': no exporter of that name"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "OTEL_BSP_* variables cannot be followed"),
        ({"BYTEPLUS_TRACE_METADATA_LABELS": "model"}, "'model' cannot be a label"),
        ({"BYTEPLUS_TRACE_BASE_URLS": "ark.example=eu-west-1"}, "'ark.example' is not a base URL"),
    ],
)
def test_what_instrument_refuses_is_a_failure(command, variables, reason):
    ended = command("doctor", "--offline", **variables)

    assert 1 == ended.returncode, ended.stdout
    assert reason in " ".join(ended.stdout.split())


def test_an_empty_exporter_is_the_usual_one():
    *_, spans = _providers(
        Surroundings({"OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    )

    assert "nobody listens at http://127.0.0.1:9" == spans.found


def test_a_directory_for_several_processes_has_to_be_there_and_empty(tmp_path):
    def look(directory):
        return next(_multiprocess(Surroundings({"PROMETHEUS_MULTIPROC_DIR": str(directory)}))).status

    assert "ok" == look(tmp_path)
    (tmp_path / "counter_1.db").touch()
    assert "warn" == look(tmp_path)
    assert "fail" == look(tmp_path / "elsewhere")


def test_a_check_that_breaks_is_itself_a_finding(monkeypatch):
    def _broken_check(_around):
        raise OSError("no such luck")

    monkeypatch.setattr("byteplus_trace._cli.checks.CHECKS", (_broken_check,))
    (finding,) = examine(Surroundings({}))

    assert ("warn", "broken check") == (finding.status, finding.subject)


@pytest.fixture
def only_installed(monkeypatch, tmp_path):
    """only_installed(name="version", ...): an environment that has these distributions, and none else."""

    def begin(**distributions):
        for name, version in distributions.items():
            stub = tmp_path / f"{name}-{version}.dist-info"
            stub.mkdir()
            title = name.replace("_", "-")
            (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title}\nVersion: {version}\n")
        monkeypatch.setattr(sys, "path", [str(tmp_path)])

    return begin


@pytest.mark.parametrize("version", ["3.4.0", "3.4rc1", "3.10.0", "4.0"])
def test_a_dspy_with_sockets_of_its_own_is_a_warning_with_the_engine_to_use(only_installed, version):
    only_installed(dspy=version)

    (finding,) = _clients(Surroundings({}))

    assert ("warn", "dspy") == (finding.status, finding.subject)
    assert finding.found.startswith(f"{version} calls openai/... models over sockets of its own")
    assert 'dspy.LM(..., engine="litellm")' == finding.advice


def test_a_dspy_over_httpx_is_no_finding(only_installed):
    only_installed(dspy="3.3.9")

    assert [] == list(_clients(Surroundings({})))


def test_an_ark_sdk_that_cannot_be_imported_is_a_warning_with_the_extra(only_installed):
    only_installed(byteplus_python_sdk_v2="3.0.63")

    (finding,) = _clients(Surroundings({}))

    assert ("warn", "byteplus-python-sdk-v2") == (finding.status, finding.subject)
    assert "cannot be imported without sniffio" == finding.found
    assert "pip install 'byteplus-trace[ark]'" == finding.advice


def test_an_ark_sdk_with_what_it_imports_is_no_finding(only_installed):
    only_installed(byteplus_python_sdk_v2="3.0.63", sniffio="1.3.1")

    assert [] == list(_clients(Surroundings({})))


def test_clients_that_are_observed_and_never_moved_are_named(only_installed):
    only_installed(aiohttp="3.13.0", requests="2.32.5")

    assert [("ok", "aiohttp"), ("ok", "requests")] == [(each.status, each.subject) for each in _clients(Surroundings({}))]  # fmt: skip


@contextmanager
def serving(status, body=b""):
    """An HTTP server that answers everything with that; its URL, and what it was sent."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("content-length", 0))
            received.append((self.path, dict(self.headers), self.rfile.read(length)))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def tried(url, **environ):
    (finding,) = receiver(Surroundings({"OTEL_EXPORTER_OTLP_ENDPOINT": url, **environ}))
    return finding


def test_a_receiver_is_tried_with_an_empty_otlp_request():
    with serving(200) as (url, received):
        finding = tried(url, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20k")

    assert ("ok", f"{url}/v1/traces accepts them") == (finding.status, finding.found)
    ((path, headers, body),) = received
    assert ("/v1/traces", b"") == (path, body)
    assert "application/x-protobuf" == headers["content-type"]
    assert "Bearer k" == headers["authorization"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_variable_for_its_credentials(status):
    with serving(status) as (url, _):
        without, wrong = tried(url), tried(url, OTEL_EXPORTER_OTLP_HEADERS="api-key=hunter2")

    assert "set OTEL_EXPORTER_OTLP_HEADERS, such as" in without.advice
    assert "credentials in OTEL_EXPORTER_OTLP_HEADERS are not accepted" in wrong.advice
    assert "hunter2" not in str(wrong)


@pytest.mark.parametrize(("status", "reason"), [(404, "no OTLP receiver at this path"), (405, "no OTLP receiver"), (415, "answered 415"), (500, "answered 500")])  # fmt: skip
def test_another_answer_is_a_warning(status, reason):
    with serving(status) as (url, _):
        finding = tried(url)

    assert "warn" == finding.status
    assert reason in finding.found


def test_the_variable_for_traces_is_used_as_it_is():
    with serving(200) as (url, received):
        tried("http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/mine")

    assert "/mine" == received[0][0]


def test_nobody_listening_has_advice_that_fits_the_place():
    assert "byteplus-trace watch" in tried("http://127.0.0.1:9").advice
    (remote,) = receiver(Surroundings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.invalid:4318"}))
    assert "watch" not in remote.advice
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in remote.advice


def test_a_simulation_is_named():
    warnings = [f for f in examine(Surroundings({"BYTEPLUS_TRACE_SIMULATED_REGIONS": "x=http://127.0.0.1"}, offline=True)) if f.subject == "regions"]  # fmt: skip

    assert "a fake service stands in" in warnings[0].found


class TestAnApplication:
    @pytest.fixture(autouse=True)
    def no_spans(self, monkeypatch):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")

    def found(self, report):
        return {(each.subject, each.status): each.found for each in report}

    def test_without_instrument_that_is_the_finding(self, capsys):
        report = byteplus_trace.doctor()

        assert not report.ok
        assert "not called in this process" in self.found(report)["instrument()", "fail"]
        assert "FAIL  instrument()" in capsys.readouterr().out
        assert repr(report).startswith("<Report: ")

    def test_calls_outcomes_and_unknown_codes_are_counted(self, instrument, library, ark, sg, capsys):
        instrument()
        ark.region("ap-southeast-1").fails(400, code="BrandNewProblem.OfToday", times=1)
        with library.Client(headers={"Authorization": "Bearer 5ecret"}) as client:
            for _ in range(2):
                client.post(sg + "/embeddings", json={"model": "m", "input": ["hello"]})
        byteplus_trace.flush()

        report = byteplus_trace.doctor()

        found = self.found(report)
        assert report.ok
        assert "2 seen: error 1, ok 1" == found["calls", "ok"]
        assert "BrandNewProblem" in found["error codes", "warn"]
        assert re.match(r"called at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", found["instrument()", "ok"])
        assert "go to the application's opentelemetry.sdk.trace.TracerProvider" in found["spans", "ok"]
        assert "5ecret" not in capsys.readouterr().out

    @pytest.mark.parametrize("encoding", ["cp1252", "ascii", None])
    def test_a_name_that_the_output_cannot_write_is_no_exception(self, instrument, sg, monkeypatch, encoding):
        instrument(policy=Policy([Target("東京", region="ap-southeast-1", base_url=sg, api_key="k")]))
        out = encoding and io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stdout", out)

        report = byteplus_trace.doctor()

        assert "fallback over 東京" == self.found(report)["policy", "ok"]
        assert out is None or b"fallback over ??" in out.buffer.getvalue()

    def test_known_codes_statuses_and_exceptions_are_no_news(self, instrument, library, ark, sg):
        instrument()
        region = ark.region("ap-southeast-1")
        region.fails(429, code="RateLimitExceeded.EndpointRPMExceeded", times=1)
        region.fails(400, code="InvalidParameter", times=1)
        region.resets(times=1)
        with library.Client(headers={"Authorization": "Bearer k"}) as client:
            for _ in range(2):
                client.post(sg + "/embeddings", json={"model": "m", "input": ["hello"]})
            with pytest.raises(library.TransportError):
                client.post(sg + "/embeddings", json={"model": "m", "input": ["hello"]})
        byteplus_trace.flush()

        assert ("error codes", "warn") not in self.found(byteplus_trace.doctor())

    def test_what_the_user_passed_is_no_fault_of_ours(self, instrument, library, sg, monkeypatch):
        monkeypatch.setattr("byteplus_trace._telemetry.guard.strict", False)
        instrument(on_exchange=lambda exchange: 1 / 0)
        with (
            byteplus_trace.metadata(team="x" * 200),
            library.Client(headers={"Authorization": "Bearer k"}) as client,
        ):
            client.post(sg + "/embeddings", json={"model": "m", "input": ["hello"]})
        byteplus_trace.flush()

        report = byteplus_trace.doctor()

        found = self.found(report)
        assert ("own faults", "warn") not in found
        assert "1 call had a value that is too long, and was cut" == found["metadata", "warn"]
        assert "1 time raised; no call was affected" == found["on_exchange", "warn"]
        assert "please report" not in str(report)

    def test_a_policy_and_its_breakers_are_summed_up_without_keys(self, instrument, library, ark, sg):
        targets = [
            Target("sg", region="ap-southeast-1", base_url=sg, api_key="5ecret"),
            Target("eu", region="eu-west-1", base_url=ark.base_url("eu-west-1"), api_key="5ecret"),
        ]
        instrument(policy=Policy(targets, breaker=Breaker(consecutive=1)))
        assert "all closed" == self.found(byteplus_trace.doctor())["breakers", "ok"]
        ark.region("ap-southeast-1").refuses()
        with library.Client(headers={"Authorization": "Bearer k"}) as client:
            client.post(sg + "/embeddings", json={"model": "m", "input": ["hello"]})
        byteplus_trace.flush()

        report = byteplus_trace.doctor()

        found = self.found(report)
        assert "fallback over sg, eu" == found["policy", "ok"]
        assert "sg, embeddings: open" == found["breaker", "warn"]
        assert "5ecret" not in str(report)

    def test_a_running_one_is_examined_by_its_metrics(self, instrument, recorded, library, sg, capsys):
        instrument()
        server = byteplus_trace.prometheus.serve(0, registry=recorded.registry)
        try:
            address = f"127.0.0.1:{server.port}"
            assert 0 == main(["doctor", f"http://{address}/metrics"])
            assert "none seen since" in capsys.readouterr().out
            with library.Client(headers={"Authorization": "Bearer k"}) as client:
                client.post(sg + "/embeddings", json={"model": "m", "input": ["hello"]})
            byteplus_trace.flush()
            assert 0 == main(["doctor", address])
        finally:
            server.stop()

        assert "1 seen: ok 1" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("status", "body", "reason"),
        [
            (200, b"# HELP x y\nx 1\n", "no series of byteplus-trace"),
            (200, b"<html>\x1b[31m", "no series of byteplus-trace"),
            (200, b"", "no series of byteplus-trace"),
            (404, b"", "answered 404"),
            (200, b'modelark_instrumented_time_seconds{policy="a\x1b[31m"} 1\n', "a?[31m"),
        ],
    )
    def test_what_is_no_such_page_is_a_finding(self, status, body, reason, capsys):
        with serving(status, body) as (url, _):
            main(["doctor", url])

        out = capsys.readouterr().out
        assert reason in " ".join(out.split())
        assert "\x1b" not in out

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/metrics", "127.0.0.1:9", "http://[", "http://user:hunter2@127.0.0.1:9"])  # fmt: skip
    def test_nobody_there_is_a_failure_with_advice(self, url, capsys):
        assert 1 == main(["doctor", url])

        out = capsys.readouterr().out
        assert "metrics_port=9464" in out
        assert "hunter2" not in out


def test_a_report_counts_and_says_whether_all_is_well():
    warned = Report([Finding("ok", "a", "b"), Finding("warn", "c", "d", "e")])

    assert warned.ok
    assert "ok    a  b\nwarn  c  d\n         -> e\n\n1 ok, 1 to look at, 0 to mend" == str(warned)
    assert not Report([Finding("fail", "a", "b")]).ok


@pytest.mark.parametrize(
    ("attributes", "state"), [({"service.name": "shop"}, "warn"), ({"service.instance.id": "a"}, "ok")]
)
def test_a_meter_provider_whose_processes_overwrite_each_other_is_named(monkeypatch, attributes, state):
    provider = MeterProvider(resource=Resource(attributes), shutdown_on_exit=False)
    monkeypatch.setattr("opentelemetry.metrics.get_meter_provider", lambda: provider)

    (finding,) = _meter_provider(Surroundings({}))

    assert state == finding.status


def test_without_a_meter_provider_nothing_is_found():
    assert [] == list(_meter_provider(Surroundings({})))


@pytest.mark.parametrize("columns", range(70, 110))
def test_a_command_is_not_cut_at_its_hyphens(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    advice = (
        "start Jaeger (byteplus-trace dashboards DIR, then docker-compose -f DIR/compose.yaml up), or not"
    )

    lines = str(Report([Finding("warn", "spans", "nobody listens", advice)])).splitlines()

    assert [] == [line for line in lines if line.endswith("-")]
