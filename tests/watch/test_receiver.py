"""The receiver, over real sockets."""

import gzip
import http.client
import logging
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

pytest.importorskip("aiohttp", reason="the extra 'watch' is not installed")

from byteplus_trace import SettingError
from byteplus_trace._watch import otlp
from byteplus_trace._watch.forward import Forward
from byteplus_trace._watch.keep import Keep, kept
from byteplus_trace._watch.otlp import JSON, PROTOBUF
from byteplus_trace._watch.port_in_use import explained
from byteplus_trace._watch.program import Program
from byteplus_trace._watch.receiver import CHANGES, Receiver
from byteplus_trace._watch.status import Changes
from byteplus_trace._watch.store import Store
from byteplus_trace._watch.view import OpenedFile, OtherProcess


def patiently(found):
    until = time.monotonic() + 30
    while not (result := found()):
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)
    return result


@pytest.fixture
def listen():
    """listen(**options): a receiver on a free port."""
    started = []

    def start(**options):
        receiver = Receiver(Store(), options.pop("port", 0), **options)
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def receiver(listen):
    return listen()


def ask(receiver, method, path, body=b"", **headers):
    """The status, the headers and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=30)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def post(receiver, body, kind=PROTOBUF, path="/v1/traces", **headers):
    return ask(receiver, "POST", path, body, Content_Type=kind, **headers)


def test_spans_of_an_exporter_arrive(receiver):
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{receiver.port}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    with provider.get_tracer("shop").start_as_current_span(
        "chat seed", attributes={"byteplus.modelark.api": "chat_completions"}
    ):
        pass
    provider.shutdown()

    assert ["chat"] == [call.operation.replace("other", "chat") for call in receiver.store.calls()]
    assert (1, 0) == (receiver.status().received, receiver.status().refused)


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_a_request_is_answered_in_its_own_form(receiver, make, kind):
    body = make.request(make.call()).SerializeToString() if kind == PROTOBUF else b'{"resourceSpans": []}'

    status, headers, answer = post(receiver, body, kind)

    assert (200, kind) == (status, headers["Content-Type"])
    assert answer == (b"" if kind == PROTOBUF else b"{}")


def test_rejected_spans_are_a_partial_success(receiver, make):
    request = make.request(make.call(1), make.call(2))
    request.resource_spans[0].scope_spans[0].spans[0].span_id = b""

    _, _, answer = post(receiver, request.SerializeToString())

    assert 1 == ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans
    assert (1, 1) == (receiver.status().received, receiver.status().rejected)


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs"])
def test_metrics_and_logs_are_taken(receiver, path):
    assert 200 == post(receiver, b"", path=path)[0]


def test_a_gzip_body_is_taken(receiver, make):
    body = gzip.compress(make.request(make.call()).SerializeToString())

    assert 200 == post(receiver, body, Content_Encoding="gzip")[0]
    assert 1 == len(receiver.store.calls())


@pytest.mark.parametrize(
    ("kind", "body", "encoding", "status"),
    [
        ("text/plain", b"hello", "", 415),
        ("application/x-www-form-urlencoded", b"a=b", "", 415),
        ("", b"", "", 415),
        (PROTOBUF, b"x", "br", 415),
        (PROTOBUF, b"\xff\xff\xff", "", 400),
        (JSON, b"{]", "", 400),
        (PROTOBUF, b"no gzip", "gzip", 400),
        (PROTOBUF, gzip.compress(b"\0" * (otlp.BODY + 1)), "gzip", 413),
    ],
    ids=["text", "a form", "nothing", "brotli", "noise", "no JSON", "no gzip", "a bomb"],
)
def test_what_is_no_otlp_is_refused_and_said(receiver, kind, body, encoding, status):
    answered, _, _ = post(receiver, body, kind, **({"Content_Encoding": encoding} if encoding else {}))

    assert status == answered
    assert (1, f"{status}: ") == (receiver.status().refused, receiver.status().refusal[:5])
    assert 200 == post(receiver, b"")[0]


def test_a_body_over_the_bound_is_refused_before_it_is_read(receiver):
    with socket.create_connection(("127.0.0.1", receiver.port), 30) as connection:
        connection.sendall(
            f"POST /v1/traces HTTP/1.1\r\nHost: localhost:{receiver.port}\r\nContent-Type: {PROTOBUF}\r\n"
            f"Content-Length: {otlp.BODY + 1}\r\n\r\n".encode()
        )
        connection.sendall(b"\0" * 100_000)

        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_is_bounded_too(receiver):
    def pieces():
        for _ in range(otlp.BODY // 1_000_000 + 2):
            yield b"\0" * 1_000_000

    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=30)
    try:
        connection.request("POST", "/v1/traces", pieces(), {"Content-Type": PROTOBUF})
        assert 413 == connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        pass  # it said so, and left, before all was written
    finally:
        connection.close()
    assert 0 == receiver.status().received


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
@pytest.mark.parametrize("port", ["", ":4318"])
def test_this_machine_may_ask_by_any_of_its_names(receiver, host, port):
    assert 200 == post(receiver, b"", Host=host + port)[0]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "",
        "localhost/x",
        "[::1",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/traces"), ("POST", "/v1/metrics"), ("GET", "/"), ("GET", CHANGES), ("GET", "/nothing")],
)
def test_a_name_that_points_here_from_elsewhere_is_refused(receiver, host, method, path):
    assert 403 == ask(receiver, method, path, Host=host, Content_Type=PROTOBUF)[0]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "file://", ""]
)
def test_a_page_of_another_origin_is_refused(receiver, origin):
    assert 403 == post(receiver, b"", Origin=origin)[0]


def test_its_own_origin_may_ask(receiver):
    place = f"localhost:{receiver.port}"

    assert 200 == post(receiver, b"", Host=place, Origin=f"http://{place}")[0]


def test_it_listens_on_the_loopback_alone(receiver):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = probe.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no other address")
    with pytest.raises(OSError):  # noqa: PT011 - refused, or no route, as the system has it
        socket.create_connection((address, receiver.port), 2)


@pytest.mark.parametrize("shown", ["", "Bearer ", "Bearer wrong", "secret"])
@pytest.mark.parametrize("secret", ["", "secret-2"])
def test_what_is_new_is_for_the_receivers_own_views(listen, shown, secret):
    assert 403 == ask(listen(secret=secret), "GET", CHANGES, Authorization=shown)[0]


def test_a_view_of_another_process_has_the_same_calls(listen, make):
    receiver = listen(secret="s")
    for number in range(1, 400):
        receiver.store.add(make.spans(make.call(number, user="x" * 16_000)))
    view = OtherProcess(receiver.port, "s", every=0.01)
    view.start()
    try:
        patiently(lambda: len(view.store.calls()) == 399)
        post(receiver, make.request(make.call(500)).SerializeToString())
        patiently(lambda: len(view.store.calls()) == 400)
        assert receiver.store.calls() == view.store.calls()
        assert 400 == view.status().received
    finally:
        view.stop()


def test_a_view_says_that_its_receiver_is_gone():
    view = OtherProcess(1, "s", every=0.01)
    view.start()
    try:
        patiently(lambda: view.status().troubles == ["the receiver is gone"])
    finally:
        view.stop()


def test_changes_are_asked_for_by_number(listen):
    receiver = listen(secret="s")

    assert 400 == ask(receiver, "GET", CHANGES + "?after=x", Authorization="Bearer s")[0]
    assert (
        0
        == msgspec.msgpack.decode(
            ask(receiver, "GET", CHANGES, Authorization="Bearer s")[2], type=Changes
        ).number
    )


def test_what_is_kept_is_shown_again(listen, make, tmp_path):
    file = tmp_path / "calls.db"
    receiver = listen(keep=Keep(file))
    post(receiver, make.request(make.call(1), make.call(2)).SerializeToString())
    post(receiver, make.request(make.call(2, model="again")).SerializeToString())
    receiver.stop()

    opened = OpenedFile(file)

    assert [make.model, "again"] == [call.model for call in opened.store.calls()]
    assert (2, str(file)) == (opened.status().received, opened.status().place)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)


def test_a_file_is_added_to(make, tmp_path):
    for number in (1, 2):
        keep = Keep(tmp_path / "calls.db")
        spans = make.spans(make.call(number))
        keep.add(spans, Store().add(spans))
        keep.close()

    assert 2 == len(OpenedFile(tmp_path / "calls.db").store.calls())


@pytest.mark.parametrize(
    "content", [b"", b"no database", None, "another"], ids=["empty", "text", "missing", "another database"]
)
def test_a_file_that_is_not_ours_is_not_opened(tmp_path, content):
    file = tmp_path / "other.db"
    if content == "another":
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE mine (a)")
        other.close()
    elif content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingError):
        OpenedFile(file)
    if content in {b"no database", "another"}:
        before = file.read_bytes()
        with pytest.raises(SettingError):
            Keep(file)
        assert before == file.read_bytes()


def test_rows_that_are_no_spans_are_passed_over(make, tmp_path):
    keep = Keep(tmp_path / "calls.db")
    spans = make.spans(make.call(1))
    keep.add(spans, Store().add(spans))
    keep._file.executemany(
        "INSERT INTO spans (trace_id, span_id, data) VALUES (?, ?, ?)",
        [("a", "b", b"\xff"), ("a", "c", b""), ("a", "d", "text")],
    )
    keep._file.commit()
    keep.close()

    assert (1, 3) == ((found := kept(tmp_path / "calls.db", 100))[0].__len__(), found[1])


def test_a_file_that_cannot_be_written_any_more_stops_nothing(listen, make, tmp_path):
    keep = Keep(tmp_path / "calls.db")
    receiver = listen(keep=keep)
    keep._file.execute("DROP TABLE spans")

    assert 200 == post(receiver, make.request(make.call()).SerializeToString())[0]
    assert 1 == len(receiver.store.calls())
    assert "is not written" in receiver.status().troubles[0]


class Collector:
    """Another OTLP receiver."""

    def __init__(self, *statuses):
        seen, remaining = self.requests, self.statuses = [], list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                seen.append(
                    (self.path, dict(self.headers), self.rfile.read(int(self.headers["content-length"])))
                )
                self.send_response(remaining.pop(0) if remaining else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector():
    made = []

    def start(*statuses):
        made.append(Collector(*statuses))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/metrics", "/v1/logs"])
def test_everything_is_passed_on_as_it_was_sent(listen, collector, path):
    there = collector()
    receiver = listen(forward=Forward(there.url, 1))
    body = gzip.compress(b"")

    post(receiver, body, path=path, Content_Encoding="gzip", Api_Key="k", Cookie="c")
    patiently(lambda: there.requests)

    ((to, headers, sent),) = there.requests
    assert (path, body, "gzip", PROTOBUF, "k") == (
        to,
        sent,
        *(headers[name] for name in ("Content-Encoding", "Content-Type", "Api-Key")),
    )
    assert "Cookie" not in headers
    assert [] == receiver.status().troubles


def test_what_is_refused_here_is_not_passed_on(listen, collector):
    there = collector()
    receiver = listen(forward=Forward(there.url, 1))

    post(receiver, b"\xff")
    post(receiver, b"")
    patiently(lambda: there.requests)

    assert [b""] == [body for _, _, body in there.requests]


def test_a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not(listen, collector):
    there = collector(503, 200, 400, 200)
    forward = Forward(there.url, 1, wait=0.01)
    receiver = listen(forward=forward)
    bodies = [b"", b"{}", b'{"resourceSpans":[]}']
    post(receiver, bodies[0])
    for body in bodies[1:]:
        post(receiver, body, JSON)

    patiently(lambda: forward.sent == 2)

    assert [bodies[0], *bodies] == [body for _, _, body in there.requests]
    assert "1 dropped" in receiver.status().troubles[0]


def test_where_nobody_takes_them_the_view_says_so_in_words(listen):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        forward = Forward(f"http://127.0.0.1:{nobody.getsockname()[1]}", 1, wait=30)
        receiver = listen(forward=forward)
        post(receiver, b"")

        trouble = patiently(lambda: next(iter(receiver.status().troubles), ""))

        assert trouble.endswith(": nobody listens (1 request waits, 0 dropped)")
        receiver.stop()


def test_while_nobody_takes_them_the_newest_wait(listen, monkeypatch):
    monkeypatch.setattr("byteplus_trace._watch.forward.MOST_REQUESTS", 3)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        forward = Forward(f"http://127.0.0.1:{nobody.getsockname()[1]}", 1, wait=30)
        receiver = listen(forward=forward)
        for _ in range(5):
            post(receiver, b"")

        trouble = patiently(lambda: next(iter(receiver.status().troubles), ""))

        assert forward.dropped == 2
        assert "3 requests wait, 2 dropped" in trouble
        receiver.stop()


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "ftp://x",
        "http://",
        "http://localhost:4318",
        "http://127.0.0.1:4318/v1/traces",
        "http://[",
        "http://x:y",
    ],
)
def test_a_place_that_cannot_be_forwarded_to_is_refused(url):
    with pytest.raises(SettingError, match="--forward"):
        Forward(url, 4318)


def test_a_port_in_use_names_who_has_it(receiver):
    with pytest.raises(OSError, match=r"in use|98|48"):
        Receiver(Store(), receiver.port).start()

    why = explained(receiver.port)

    assert "probably by another byteplus-trace watch" in why
    assert f"--port {receiver.port + 1} --forward http://localhost:{receiver.port}" in why


def test_a_port_in_use_by_another_program_names_that(collector):
    source = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as other:
        port = int(other.stdout.readline())
        try:
            why = explained(port)
        finally:
            other.kill()

    assert (f"(process {other.pid})" if sys.platform == "linux" else "Jaeger") in why
    assert "time.sleep" not in why


def test_a_fault_of_its_own_is_answered_and_said(receiver, monkeypatch, caplog):
    from byteplus_trace._telemetry import guard

    caplog.set_level(logging.CRITICAL)
    guard.strict = False
    monkeypatch.setattr(otlp, "spans_of", lambda body, kind: 1 / 0)

    assert 500 == post(receiver, b"")[0]
    assert "ZeroDivisionError" in receiver.status().refusal


def test_too_many_waiting_bodies_are_asked_to_come_again(receiver, monkeypatch):
    monkeypatch.setattr("byteplus_trace._watch.receiver.MOST_WAITING", 0)

    status, headers, _ = post(receiver, b"")

    assert (503, "1") == (status, headers["Retry-After"])


def program(source, port=4318, **environ):
    import os

    return Program([sys.executable, "-c", source], port, {**os.environ, **environ})


def ended(made):
    made.start()
    patiently(lambda: made.exit_status is not None)
    made.stop()
    return made


def test_a_program_runs_with_its_own_environment_and_its_output_is_plain():
    source = "import sys, os; print('\\x1b[31mred\\x1b[0m \\x1b]52;c;aGk=\\x07'); print(os.environ['A'], sys.stdin.read(), file=sys.stderr); sys.exit(3)"

    made = ended(program(source, A="b"))

    assert ["red \\x1b]52;c;aGk=\\x07", "b "] == made.output()
    assert 3 == made.exit_status
    assert made.state.endswith("ended with 3")


@pytest.mark.parametrize(
    ("port", "environ", "seen"),
    [
        (4318, {}, "None"),
        (5000, {}, "http://localhost:5000"),
        (5000, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "http://collector:4318"),
    ],
)
def test_a_program_sends_its_spans_here_unless_its_environment_says_otherwise(
    monkeypatch, port, environ, seen
):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    made = ended(program("import os; print(os.environ.get('OTEL_EXPORTER_OTLP_ENDPOINT'))", port, **environ))

    assert [seen] == made.output()
    assert bool(environ) == (made.goes_elsewhere is not None)


def test_a_program_that_does_not_exist_is_refused():
    with pytest.raises(SettingError, match="cannot be run: No such file"):
        Program(["/no/such/program"], 4318).start()


def test_a_program_that_still_runs_is_ended():
    made = program("import time; print('up', flush=True); time.sleep(600)")
    made.start()
    patiently(made.output)

    assert made.state.endswith(" runs")
    made.stop()
    assert 128 + 15 == made.exit_status


def test_the_output_that_is_remembered_is_bounded():
    made = ended(program("for n in range(5000): print(n)\nprint('x' * 200000)"))

    patiently(lambda: made.output()[-1].startswith("x"))
    assert 1000 == len(made.output())
    assert max(map(len, made.output())) <= 2000
