"""The examples run as they stand, each in a process of its own against a fake ModelArk that is where the regions are."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

import byteplus_trace
from byteplus_trace._config import configure
from byteplus_trace.testing import ModelArk

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

# A region's address is looked up in one table; the first statement of each process moves the regions to the fake.
MOVED = """
import sys
from byteplus_trace import _regions
class Local(_regions.Region):
    @property
    def base_url(self):
        return {addresses}[self.id]
for name in {addresses}:
    _regions._BY_ID[name] = Local(name, "127.0.0.1", _regions.MODELARK)
sys.argv = {argv}
import runpy
"""


@pytest.fixture
def fake():
    with ModelArk() as ark:
        yield ark


def command(fake, argv, then):
    addresses = {name: url for url, name in fake.base_urls.items()}
    return [sys.executable, "-W", "error", "-c", MOVED.format(addresses=addresses, argv=argv) + then]


def environment(fake):
    places = ",".join(f"{url}={region}" for url, region in fake.base_urls.items())
    keys = dict.fromkeys(("ARK_API_KEY", "ARK_API_KEY_SG", "ARK_API_KEY_EU"), "key")
    return {**os.environ, **keys, "BYTEPLUS_TRACE_BASE_URLS": places, "OTEL_TRACES_EXPORTER": "console"}


def run(fake, name):
    then = f"runpy.run_path({str(EXAMPLES / name)!r}, run_name='__main__')"
    done = subprocess.run(
        command(fake, [name], then),
        env=environment(fake),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_openai_chat(fake):
    recorded = run(fake, "openai_chat.py")

    assert 2 == len(fake.requests)
    assert 2 == recorded.count('"name": "chat seed-2-0-lite-260428"')
    assert 2 == recorded.count('"byteplus.modelark.metadata.team": "examples"')
    assert 2 == recorded.count('"gen_ai.usage.output_tokens"')


def test_ark_sdk_moves_on_by_its_policy(fake):
    fake.region("ap-southeast-1").refuses()

    recorded = run(fake, "ark_sdk.py")

    assert ["eu-west-1"] * 3 == [request.region for request in fake.requests]
    assert 3 == recorded.count('"byteplus.modelark.outcome": "rescued_fallback"')


def test_asgi_app_answers_shows_its_series_and_exports_its_spans_before_sigterm_ends_it(fake):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [
        "uvicorn",
        "--app-dir",
        str(EXAMPLES),
        "--port",
        str(port),
        "--log-level",
        "warning",
        "asgi_app:app",
    ]
    then = "runpy.run_module('uvicorn', run_name='__main__')"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    # Spans wait for longer than the server lives: what is exported was flushed.
    waiting = {**environment(fake), "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with subprocess.Popen(command(fake, argv, then), env=waiting, **options) as server:
        try:
            answer = patiently(f"http://127.0.0.1:{port}/")
            series = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            server.terminate()
            recorded, _ = server.communicate(timeout=20)
        finally:
            server.kill()

    assert (200, "Hello! How can I help you today?") == (answer.status_code, answer.text)
    assert 'outcome="ok",region="ap-southeast-1",repeat="false"} 1.0' in series
    assert 1 == recorded.count('"name": "chat seed-2-0-lite-260428"')


def patiently(url):
    until = time.monotonic() + 20
    while True:
        try:
            return httpx.get(url)
        except httpx.ConnectError:
            assert time.monotonic() < until, "the server never came up"
            time.sleep(0.1)


def test_the_policy_loads(monkeypatch):
    keys = {"ARK_API_KEY_SG": "key", "ARK_API_KEY_EU": "key"}
    settled = configure({}, {**keys, "BYTEPLUS_TRACE_CONFIG": str(EXAMPLES / "policy.toml")})

    assert ["sg", "eu", "eu-mini"] == [target.name for target in settled.policy.leaves]


def test_the_gunicorn_configuration_instruments_once_a_workers_signals_are_its_own(monkeypatch):
    """Not in `post_fork`: a SIGTERM in that moment would wait out the whole graceful timeout."""
    found, settings = {}, []
    monkeypatch.setattr(byteplus_trace, "instrument", lambda **named: settings.append(named))
    exec((EXAMPLES / "gunicorn.conf.py").read_text(encoding="utf-8"), found)

    assert {"workers", "on_starting", "child_exit"} <= set(found)
    assert found.keys().isdisjoint({"post_fork", "pre_fork", "when_ready"})
    assert [] == settings
    found["post_worker_init"](SimpleNamespace(pid=7))
    assert [{"metrics_port": 9464}] == settings


@pytest.mark.parametrize("shared", [True, False])
def test_under_gunicorn_a_dead_worker_takes_its_gauges_along_and_nothing_else(monkeypatch, tmp_path, shared):
    """What a hook raises ends the master: without a directory there is nothing to clear up."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    if shared:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for name in ("gauge_livesum_7.db", "counter_7.db", "gauge_livesum_8.db"):
        (tmp_path / name).touch()
    found = {}
    exec((EXAMPLES / "gunicorn.conf.py").read_text(encoding="utf-8"), found)

    found["child_exit"](None, SimpleNamespace(pid=7))

    remaining = {path.name for path in tmp_path.iterdir()}
    own = {"byteplus_trace.lock"} if shared else {"gauge_livesum_7.db"}
    assert {"counter_7.db", "gauge_livesum_8.db"} | own == remaining  # that counter cannot be read, and stays
