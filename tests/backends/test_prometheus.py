"""A real Prometheus, a real process under traffic, and every question that the committed files ask."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from byteplus_trace.dashboards.alerts import ALERTS
from byteplus_trace.dashboards.recordings import RECORDINGS

ROOT = Path(__file__).parent.parent.parent
GRAFANA = ROOT / "grafana"
RULE_TESTS = sorted(Path(__file__).parent.glob("rules_*test.yml"))
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for path in sorted((GRAFANA / "dashboards").glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel.get("targets", ())
]

pytestmark = pytest.mark.server("prometheus", "promtool")


def promtool(*arguments):
    done = subprocess.run(
        ["promtool", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("expression", QUERIES)
def test_every_panel_has_something_to_show(prometheus, expression):
    assert prometheus.shown(expression)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_every_recording_rule_records(prometheus, recording):
    assert prometheus.shown(recording.name)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_measures_something_while_all_is_well(prometheus, alert):
    """Its expression is empty until it fires; what it compares must not be, except where the alert says why."""
    if alert.empty_when_well:
        prometheus.query(alert.measured)
    else:
        assert prometheus.shown(alert.measured)
    prometheus.query(alert.expression)


def test_prometheus_finds_no_fault_in_the_rules(prometheus):
    rules = prometheus.shown(RECORDINGS[0].name) and prometheus.rules()

    assert {rule["name"] for rule in rules} == {one.name for one in (*RECORDINGS, *ALERTS)}
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]


def test_exemplars_lead_to_traces_that_were_sent(prometheus, receiver):
    """The dot on a latency chart is a trace that the receiver of the spans holds too."""
    for name in ("modelark_operation_duration_seconds_bucket", "modelark_attempt_duration_seconds_bucket"):
        prometheus.shown(name)
        exemplars = prometheus.exemplars(name)
        dots = {exemplar["labels"]["trace_id"] for exemplar in exemplars}

        assert dots
        assert dots & receiver.trace_ids
        assert all(len(exemplar["labels"]["span_id"]) == 16 for exemplar in exemplars)


def test_the_files_are_sound():
    promtool("check", "rules", GRAFANA / "prometheus/rules.yml")
    promtool("check", "config", GRAFANA / "prometheus/prometheus.yml")


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_not_before(file):
    promtool("test", "rules", file)


def test_every_alert_is_tested():
    """Each both fires and stays silent somewhere."""
    tests = [test for file in RULE_TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    firing = {check["alertname"] for check in checks if check.get("exp_alerts")}
    silent = {check["alertname"] for check in checks if not check.get("exp_alerts")}

    assert firing == silent == {alert.name for alert in ALERTS}
