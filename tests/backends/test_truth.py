"""
Every panel against the truth: calls whose outcomes were known before, of processes that come and go.

What is counted agrees to a thousandth (where no series was reset: see `was_reset`), whether Prometheus scrapes the processes themselves or
a real Collector that they send to; quantiles to the width of their buckets (see `truth.py`).
Debian's Prometheus and a Prometheus 3 that reads created timestamps look at the same processes.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from byteplus_trace._instruments import OPERATIONS
from byteplus_trace.dashboards.promql import Lens

from .conftest import EACH_PROMETHEUS, GRAFANA, free_port, program, prometheus_here
from .truth import EMBEDDING, IMAGE, IN_FLIGHT, LITE, OWN, PRO, VIDEO, calls_of, expected

PANELS = {
    panel["title"]: panel
    for path in sorted((GRAFANA / "dashboards").glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    if panel["type"] != "row"
}
SECONDS = 600
"""Longer than all of it takes, so that nothing is lost at the window's edge."""

pytestmark = pytest.mark.server("prometheus")


class Pod:
    """A process under script; its calls are the truth."""

    def __init__(self, number, *, policy, environment, port=None):
        self.port = port or free_port()
        self.policy = policy
        settings = {"port": self.port, "service": "sent", "policy": policy, "metrics": "both"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "pod.py"), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environment, "OTEL_SERVICE_INSTANCE": str(number)},
        )  # fmt: skip
        self.calls = []

    def makes(self, *steps):
        """Make these calls, and know what they came to."""
        self.process.stdin.write(json.dumps(steps) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()[-3000:]
        made = [call for step in steps for call in calls_of(*step, policy=self.policy)]
        for call, (seconds, first) in zip(made, json.loads(line), strict=True):
            self.calls.append(replace(call, seconds=seconds, first_line=first))

    def ends(self):
        self.process.stdin.close()
        self.process.wait(60)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr, self.process.stdin):
            pipe.close()


class Shop:
    """The pods of a service and who knows them: each Prometheus, by scraping and by way of a Collector."""

    def __init__(self, readers, folder, environment, jobs, eventually):
        self.readers, self.jobs = readers, jobs
        self._folder, self._environment, self._eventually = folder, environment, eventually
        self.pods, self._live = [], []

    def begins(self, *, policy=None, first=()):
        """A pod begins, and makes its first calls before anybody knows of it."""
        pod = Pod(len(self.pods), policy=policy, environment=self._environment)
        self.pods.append(pod)
        pod.makes(*first)
        self._live.append(pod)
        self._list()
        self.is_seen()
        return pod

    def ends(self, pod):
        pod.ends()
        self._live.remove(pod)
        self._list()

    def _list(self):
        addresses = [f"127.0.0.1:{pod.port}" for pod in self._live]
        there = self._folder / "targets.new"
        there.write_text(json.dumps([{"targets": addresses, "labels": {"job": "scraped"}}]))
        there.rename(self._folder / "targets.yml")

    @property
    def calls(self):
        return [call for pod in self.pods for call in pod.calls]

    def processes(self, job):
        """Those that are there now; a Collector serves the series of one that has ended for five minutes more."""
        return len(self.pods if job == "sent" else self._live)

    def is_seen(self):
        """Nothing goes on, and nobody ends, before every reader has read what there is."""
        for job in self.jobs:
            self.all_see(
                f'sum(max_over_time(modelark_operations_total{{job="{job}"}}[{SECONDS}s])) == {len(self.calls)}'
            )

    def all_see(self, question):
        for reader in self.readers.values():
            self._eventually(lambda r=reader: r.query(question), 90, question)

    def is_whole(self):
        """The time, if no scrape of a process has just failed: gauges show who can be read."""
        now, there = time.time(), f'count(up{{job="scraped"}} == 1) == {len(self._live)}'
        return now if all(reader.query(there, time=now) for reader in self.readers.values()) else None

    def stop(self):
        for pod in self.pods:
            pod.stop()


def everything(shop):
    """The script."""
    ok, chat = ("ok", PRO, "search"), "search"
    first = shop.begins(first=[("overloaded", PRO, chat), ok, ok])
    first.makes(
        ok, ("slow", LITE, "shop"), ("broken", LITE, "shop"), ("streamed", PRO, chat), ("spent", PRO, chat)
    )
    shop.is_seen()
    first.makes(ok, ("closed", OWN, chat), ("late", PRO, chat), ("ok", OWN, ""), ("repeated", PRO, "shop"))
    first.makes(("cut_at_once", PRO, chat), ("forgotten", LITE, chat), ("streamed_late", LITE, chat))
    shop.is_seen()
    second = shop.begins(policy="patient", first=[ok])
    second.makes(
        ("retried", PRO, chat), ("moved", PRO, chat), ("nobody", LITE, chat), ("image_again", IMAGE, "shop")
    )
    shop.is_seen()
    shop.ends(first)
    second.makes(ok, ("streamed", LITE, "shop"), ("throttled", PRO, chat))
    shop.is_seen()
    third = shop.begins(
        first=[("embedding", EMBEDDING, chat), ("image", IMAGE, "shop"), ("refused_image", IMAGE, "shop")]
    )
    third.makes(
        ok, ("unsafe", PRO, chat), ("another_model", PRO, chat), ("streamed_without_usage", LITE, "shop")
    )
    third.makes(
        ("models_listed", "", ""),
        ("video", VIDEO, chat),
        ("multimodal", EMBEDDING, chat),
        ("faulty", PRO, ""),
    )
    shop.is_seen()
    # It cannot be read for a while.
    third.process.send_signal(signal.SIGSTOP)
    shop.all_see(f'up{{instance="127.0.0.1:{third.port}"}} == 0')
    third.process.send_signal(signal.SIGCONT)
    third.makes(
        ("closed_early", LITE, "shop"),
        ("cut", PRO, chat),
        ("wrong_key", PRO, chat),
        ("embedding", EMBEDDING, ""),
        ok,
    )
    shop.is_seen()
    fourth = shop.begins(policy="strict", first=[ok])
    fourth.makes(
        ("late_everywhere", PRO, chat), ("ok", LITE, chat), ("opens", LITE, chat), ("denied", IMAGE, "shop")
    )
    shop.is_seen()
    third.makes(("held", PRO, chat))
    for job in shop.jobs:
        shop.all_see(f'sum(modelark_operations_in_flight{{job="{job}"}}) == {IN_FLIGHT}')


@pytest.fixture(scope="module")
def shop(request, start_prometheus, tmp_path_factory, eventually):
    folder = tmp_path_factory.mktemp("truth")
    environment = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    jobs = ["scraped"]
    if program("otelcol"):
        collector = request.getfixturevalue("lone_collector")
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        address = collector.series.removeprefix("http://").removesuffix("/metrics")
        (folder / "collector-targets.yml").write_text(json.dumps([{"targets": [address]}]))
        jobs.append("sent")
    readers = {name: start_prometheus(name, folder, "2s") for name in prometheus_here()}
    one = Shop(readers, folder, environment, jobs, eventually)
    began = time.monotonic()
    try:
        everything(one)
        assert time.monotonic() - began < SECONDS - 60, "the machine is too slow for the window"
        one.at = eventually(one.is_whole, 60, "a moment at which every process could be read")
        yield one
    finally:
        one.stop()


@pytest.fixture(params=EACH_PROMETHEUS)
def reader(request, shop):
    return shop.readers[request.param]


@pytest.fixture(params=["scraped", pytest.param("sent", marks=pytest.mark.server("otelcol"))])
def job(request):
    return request.param


def shown(shop, reader, expression, job, model=".*"):
    """The values of one query by their labels, without those that are 0."""
    for variable in ("$__rate_interval", "$__range"):
        expression = expression.replace(variable, f"{SECONDS}s")
    chosen = re.sub(r"\$\w+", ".*", expression.replace("$job", job).replace("$model", model))
    found = {}
    for series in reader.query(chosen, time=shop.at):
        labels = {
            name: {"no model": "", "no team": ""}.get(value, value)
            for name, value in series["metric"].items()
            if name not in ("httpx", "httpx2", "opentelemetry", "version", "instance")
        }
        if labels.pop("le", "+Inf") == "+Inf" and float(series["value"][1]):
            found[tuple(labels.items())] = float(series["value"][1])
    return found


def is_near(happened, seen, tolerance):
    return happened.keys() == seen.keys() and all(
        seen[key] == pytest.approx(happened[key], rel=tolerance) for key in happened
    )


def was_reset(shop, reader, expression, job):
    """
    Whether a series of the expression fell, so that it was counted with `increase()`, which extrapolates.

    No process of the script shares an address with another. But where a series began while it was scraped, a Prometheus
    that reads created timestamps puts its 0 after its first sample.
    """
    names = set(re.findall(r"\bmodelark_\w+_(?:total|count|bucket)\b", expression))
    return any(
        reader.query(f'resets({name}{{job="{job}"}}[{SECONDS}s]) > 0', time=shop.at) for name in sorted(names)
    )


def differences(shop, reader, panel, job, model=None):
    """What a panel shows and should not, query by query."""
    known = [
        call
        for call in shop.calls
        if model is None or call.model == model or "$model" not in panel["targets"][0]["expr"]
    ]
    for target, truth in zip(
        panel["targets"], expected(panel["title"], known, SECONDS, shop.processes(job)), strict=True
    ):
        seen = shown(shop, reader, target["expr"], job, model or ".*")
        if isinstance(truth, dict):
            happened = {tuple(sorted(key)): value for key, value in truth.items() if value}
            seen = {tuple(sorted(key)): value for key, value in seen.items()}
            if is_near(happened, seen, 1e-3) or (
                was_reset(shop, reader, target["expr"], job) and is_near(happened, seen, 0.5)
            ):
                continue
        elif truth.fits(seen):
            continue
        yield f"{panel['title']} ({target['refId']})\n  truth: {truth}\n  shown: {seen}"


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_shows_what_happened(shop, reader, job, panel):
    wrong = "\n".join(differences(shop, reader, panel, job))

    assert not wrong, wrong


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_a_panel_shows_what_happened_with_one_model(shop, reader, job, panel):
    wrong = "\n".join(differences(shop, reader, panel, job, LITE))

    assert not wrong, wrong


def test_a_wrong_panel_is_found(shop):
    """What the overview once asked: it shows fewer failures than there were, for the first of each kind is in no rate."""
    failed = 'sum(rate(modelark_operations_total{job=~"$job", outcome="error"}[$__range]))'
    wrong = f'{failed} / sum(rate(modelark_operations_total{{job=~"$job"}}[$__range]))'
    panel = {**PANELS["Failed for the caller"], "targets": [{"expr": wrong, "refId": "A"}]}

    (difference,) = differences(shop, shop.readers["prometheus"], panel, "scraped")
    assert difference.startswith("Failed for the caller (A)")


class TestCreatedTimestamps:
    """What `docs/metrics.md` says of a Prometheus 3 that reads them."""

    pytestmark = pytest.mark.server("prometheus-3")

    def test_increase_counts_the_first_sample_too(self, shop):
        """Prometheus guesses beyond the samples, so it is not exact."""
        failed = f'sum(increase(modelark_operations_total{{job="scraped", outcome="error"}}[{SECONDS}s]))'
        values = {
            name: float(reader.query(failed, time=shop.at)[0]["value"][1])
            for name, reader in shop.readers.items()
        }
        happened = sum(call.failed for call in shop.calls)

        assert values["prometheus"] < happened / 2
        assert values["prometheus-3"] == pytest.approx(happened, rel=0.2)

    def test_a_restart_that_shows_no_less_than_before_is_seen(
        self, start_prometheus, tmp_path_factory, eventually
    ):
        """Two calls, and after the restart at the same address, before anybody looks, three."""
        folder, address, seen = tmp_path_factory.mktemp("restarted"), free_port(), {}
        targets = folder / "targets.yml"
        targets.write_text("[]")
        readers = {name: start_prometheus(name, folder, "1s") for name in prometheus_here()}
        counted = Lens("600s").increase(OPERATIONS)
        for made in (2, 3):
            shows, gone = f"sum(modelark_operations_total) == {made}", "absent(up)"
            pod = Pod(0, policy=None, environment={"OTEL_TRACES_EXPORTER": "none"}, port=address)
            try:
                pod.makes(*[("ok", PRO, "shop")] * made)
                targets.write_text(json.dumps([{"targets": [f"127.0.0.1:{address}"]}]))
                for name, reader in readers.items():
                    eventually(lambda r=reader, q=shows: r.query(q), 60, shows)
                    seen[name] = float(reader.query(counted)[0]["value"][1])
                targets.write_text("[]")
                for reader in readers.values():
                    eventually(lambda r=reader, q=gone: r.query(q), 60, gone)
            finally:
                pod.stop()

        assert seen["prometheus"] == 3
        assert 4 < seen["prometheus-3"] < 7
