"""`byteplus-trace doctor --live`, with a fake service in the place of the real one."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from byteplus_trace import _regions
from byteplus_trace._cli import main
from byteplus_trace._cli.live import MODELS, PROBES, differences, estimate, form_of
from byteplus_trace._regions import SIMULATED_VARIABLE
from byteplus_trace.testing import ModelArk

REGION = "ap-southeast-1"
SECRET = "an answer that nobody may read"


@pytest.fixture
def service(monkeypatch):
    """service(url): what is called as the region; with a key."""

    def put(url):
        monkeypatch.setenv(SIMULATED_VARIABLE, f"{REGION}={url}")
        monkeypatch.setenv("ARK_API_KEY", "5ecret")
        _regions.simulated_regions.cache_clear()

    yield put
    monkeypatch.undo()
    _regions.simulated_regions.cache_clear()


@pytest.fixture
def fake(service):
    with ModelArk((REGION,)) as ark:
        service(ark.base_url(REGION))
        yield ark.region(REGION)


def test_a_service_as_expected_has_one_call_per_api_and_no_difference(fake, capsys):
    assert 0 == main(["doctor", "--live", "--yes"])

    out = capsys.readouterr().out
    assert len(PROBES) == out.count("as expected") == len(fake.requests)
    assert "5ecret" not in out


def test_the_cost_stands_before_the_calls(fake, capsys):
    main(["doctor", "--live", "--yes"])

    out = capsys.readouterr().out
    assert 0 < out.index("About $0.03") < out.index("as expected")
    assert "no price known" in out


def test_without_an_agreement_nothing_is_sent(fake, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)

    assert 2 == main(["doctor", "--live"])
    assert [] == fake.requests
    assert "Nothing was sent" in capsys.readouterr().err


def test_without_a_key_nothing_is_sent(fake, capsys, monkeypatch):
    monkeypatch.delenv("ARK_API_KEY")

    assert 2 == main(["doctor", "--live", "--yes"])
    assert "set ARK_API_KEY" in capsys.readouterr().err
    assert [] == fake.requests


def test_a_policy_of_this_environment_moves_none_of_the_calls(fake, monkeypatch):
    monkeypatch.setenv("BYTEPLUS_TRACE_POLICY", "nowhere.toml")

    assert 0 == main(["doctor", "--live", "--yes"])


def test_a_key_that_is_refused_ends_it(fake, capsys):
    fake.keys = {"main": "another"}

    assert 1 == main(["doctor", "--live", "--yes"])
    assert "the key is refused" in capsys.readouterr().out
    assert 1 == len(fake.requests)


def test_a_model_that_is_not_open_is_no_fault(fake, capsys):
    fake.fails(404, code="ModelNotOpen")

    assert 0 == main(["doctor", "--live", "--yes"])
    assert "this key cannot use it (ModelNotOpen)" in capsys.readouterr().out


def test_another_model_can_be_named(fake):
    main(["doctor", "--live", "--yes", "--model", "chat=ep-mine"])

    assert "ep-mine" in {request.model for request in fake.requests}


@pytest.mark.parametrize("named", ["chat", "chat=", "cht=m"])
def test_a_model_without_its_kind_is_a_sentence(fake, named, capsys):
    assert 2 == main(["doctor", "--live", "--yes", "--model", named])
    assert "write KIND=MODEL" in capsys.readouterr().err


@contextmanager
def answering(body):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_differs_is_named_without_its_content(service, capsys):
    body = b'{"id": "1", "choices": [{"message": {"content": "%s", "fresh": 1}}]}' % SECRET.encode()
    with answering(body) as url:
        service(url)
        main(["doctor", "--live", "--yes"])

    out = " ".join(capsys.readouterr().out.split())
    assert "new choices[].message.fresh (number)" in out
    assert "no usage was read" in out
    assert "no x-request-id" in out
    assert SECRET not in out


def test_forms_are_paths_and_types():
    assert {"a": "number", "b[].c": "string", "b[].d": "boolean"} == form_of(b'{"a": 1, "b": [{"c": "x"}, {"d": true}]}')  # fmt: skip
    assert {"<x>.type": "string", "<x>.n": "number"} == form_of(b'event: x\ndata: {"type": "x", "n": 1}\n\ndata: [DONE]\n')  # fmt: skip
    assert {} == form_of(b"<html>") == form_of(b"\xff")


def test_a_null_fits_every_type():
    assert [] == differences({"a": "null", "b": "string"}, {"a": "string", "b": "null", "c": "null"})
    assert ["a is string, not number", "new b (string)", "no c"] == differences({"a": "string", "b": "string"}, {"a": "number", "c": "string"})  # fmt: skip


def test_every_call_is_in_the_estimate():
    lines = list(estimate(MODELS, "x"))

    assert len(PROBES) + 2 == len(lines)


def test_an_unknown_region_is_answered_with_the_known_ones(capsys, monkeypatch):
    monkeypatch.setenv("ARK_API_KEY", "k")

    assert 2 == main(["doctor", "--live", "--yes", "--region", "sg"])
    assert "Did you mean 'ap-southeast-1'" in capsys.readouterr().err
