"""`capture()`, the pytest plugin, and what importing them loads."""

import subprocess
import sys

import pytest

from byteplus_trace.testing import capture

SG = "ap-southeast-1"
EU = "eu-west-1"
MODEL = "seed-2-0-lite-260428"


def test_importing_it_loads_no_client_no_telemetry_and_no_pytest():
    found = "import sys, byteplus_trace.testing; print({'httpx', 'httpx2', 'opentelemetry', 'pytest', 'prometheus_client'} & set(sys.modules))"  # fmt: skip

    assert "set()" == subprocess.check_output([sys.executable, "-c", found], text=True).strip()


def test_captured_calls_are_exchanges_spans_and_series(ark, client, chat):
    recorded = []
    with capture(base_urls=ark.base_urls, on_exchange=recorded.append) as seen:
        client.post("/chat/completions", json=chat())

        (exchange,) = seen.exchanges
        assert ("ok", SG, 8) == (exchange.outcome, exchange.region, exchange.answer.usage.input_tokens)
        assert ["POST", f"chat {MODEL}"] == [span.name for span in seen.spans]
        assert 1 == seen.sample("modelark_operations_total", region=SG, outcome="ok")
        assert 0 == seen.sample("modelark_operations_total", region=EU)
        with pytest.raises(RuntimeError, match=r"call uninstrument\(\) first"), capture():
            pass
    client.post("/chat/completions", json=chat())

    assert [exchange] == seen.exchanges == recorded


def test_the_pytest_plugin_gives_a_fake_and_what_it_saw(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["byteplus_trace.pytest_plugin"]')
    (tmp_path / "test_mine.py").write_text("""
import httpx

def test_mine(modelark, modelark_exchanges):
    modelark.region("eu-west-1").throttles()
    httpx.post(modelark.base_url("eu-west-1") + "/responses", json={"model": "m"}, headers={"Authorization": "Bearer k"})
    assert ["rate_limit"] == [exchange.reason for exchange in modelark_exchanges.exchanges]
""")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert 0 == ended.returncode, ended.stdout
    assert "1 passed" in ended.stdout
