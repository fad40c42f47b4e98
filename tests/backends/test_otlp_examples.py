"""The worked examples of docs/metrics.md: their settings, as they stand there, and what becomes of `job` and `instance`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

from .conftest import Receiver

PAGE = (Path(__file__).parent.parent.parent / "docs/metrics.md").read_text()
PROGRAM = """
import byteplus_trace, httpx
from byteplus_trace.testing import ModelArk
with ModelArk() as ark:
    byteplus_trace.instrument(base_urls=ark.base_urls)
    chat = {"model": "seed-2-0-pro-260328", "messages": [{"role": "user", "content": "Hi"}]}
    httpx.post(ark.base_url("ap-southeast-1") + "/chat/completions", json=chat, headers={"Authorization": "Bearer any"})
    byteplus_trace.uninstrument()
"""


def block(comment):
    """What stands under a comment on the page."""
    return re.search(rf"<!-- {comment} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)[1]


def settings(comment):
    """The commands under a comment, each without its prompt."""
    return block(comment).replace("$ export", "export")


def calls_with(commands, endpoint):
    """One call of a process with these settings, which sends to `endpoint` instead."""
    commands, replaced = re.subn(
        r"(OTEL_EXPORTER_OTLP_ENDPOINT)=\S+", lambda match: f"{match[1]}={endpoint}", commands
    )
    assert replaced == 1
    environment = {
        **os.environ, "OTEL_TRACES_EXPORTER": "none", "INSTANCE_ID": "1", "TOKEN": "any", "PYTHON": sys.executable,
    }  # fmt: skip
    script = f'{commands}\nexec "$PYTHON" -c "$PROGRAM"'
    subprocess.run(["bash", "-euc", script], check=True, env={**environment, "PROGRAM": PROGRAM}, timeout=60)


def labels_of(line):
    return dict(re.findall(r'(\w+)="([^"]*)"', line))


@pytest.mark.server("otelcol")
def test_a_plain_collector(lone_collector, eventually):
    calls_with(settings("sent to a collector"), lone_collector.endpoint)

    def served():
        text = httpx.get(lone_collector.series).text
        return re.findall(r'^modelark_operations_total\{.*job="shop/checkout".* 1$', text, re.MULTILINE)

    (series,) = eventually(served, 30, "the Collector serves the call")
    assert labels_of(block("served by the collector")).items() <= labels_of(series).items()


@pytest.mark.server("prometheus-3")
def test_grafana_cloud_as_prometheus_takes_it(start_prometheus, tmp_path_factory, eventually):
    folder = tmp_path_factory.mktemp("receiver")
    prometheus = start_prometheus("prometheus-3", folder, "5s")
    calls_with(settings("sent to grafana cloud"), prometheus.otlp)

    (series,) = eventually(
        lambda: prometheus.query("modelark_operations_total == 1"), 30, "Prometheus has the call"
    )
    assert series["metric"].pop("__name__") == "modelark_operations_total"
    assert series["metric"] == labels_of(block("shown by prometheus"))
    assert prometheus.query(
        'histogram_quantile(0.5, modelark_operation_duration_seconds_bucket{job="shop/checkout"}) > 0'
    )


def test_datadog_is_sent_deltas():
    receiver = Receiver()
    try:
        calls_with(settings("sent to datadog"), receiver.endpoint)
    finally:
        receiver.stop()

    (resource,) = {
        frozenset((a.key, a.value.string_value) for a in each.resource.attributes)
        for each in receiver.metrics
    }
    assert {
        ("service.name", "checkout"), ("service.namespace", "shop"), ("service.instance.id", "pod-7")
    } <= resource  # fmt: skip
    sent = {
        metric.name: metric
        for each in receiver.metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    }
    assert {"modelark.operations", "modelark.operation.duration"} <= sent.keys()
    for metric in sent.values():
        if metric.sum.is_monotonic or metric.HasField("histogram"):
            assert (
                getattr(metric, metric.WhichOneof("data")).aggregation_temporality
                == AGGREGATION_TEMPORALITY_DELTA
            )
