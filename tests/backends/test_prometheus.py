"""A real Prometheus, a real process under traffic, and every question that the committed files ask."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from byteplus_trace.dashboards.alerts import ALERTS
from byteplus_trace.dashboards.recordings import LONG_WINDOWS, RECORDINGS

ROOT = Path(__file__).parent.parent.parent
GRAFANA = ROOT / "grafana"
CASES = [
    pytest.param(case, id=case["name"])
    for case in yaml.safe_load((Path(__file__).parent / "alert_cases.yml").read_text())
]
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
    if re.search(r"modelark_(health|breaker)_(store|open)", expression):
        prometheus.query(re.sub(r"\$\w+", "5m", expression))  # without a store there is nothing to show
    else:
        assert prometheus.shown(expression)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_every_recording_rule_records(prometheus, recording):
    if is_long(recording.name):
        narrow = re.sub("increase(" + "|".join(LONG_WINDOWS) + ")", "increase5m", recording.expression)
        assert prometheus.shown(narrow.replace(":5m]", ":2s]"))
        prometheus.query(recording.name)
    else:
        assert prometheus.shown(recording.name)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_measures_something_while_all_is_well(prometheus, alert):
    """Its expression is empty until it fires; what it compares must not be, except where the alert says why."""
    if alert.empty_when_well or is_long(alert.measured):
        prometheus.query(alert.measured)
    else:
        assert prometheus.shown(alert.measured)
    prometheus.query(alert.expression)


def is_long(expression):
    """Whether it stands on windows of more than an hour, which begin at the next full five minutes."""
    return any(f"increase{window}" in expression for window in LONG_WINDOWS)


def test_prometheus_finds_no_fault_in_the_rules(prometheus):
    rules = prometheus.shown(RECORDINGS[0].name) and prometheus.rules()

    assert {rule["name"] for rule in rules} == {one.name for one in (*RECORDINGS, *ALERTS)}
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]


@pytest.mark.parametrize(
    ("name", "is_its_span"),
    [
        ("modelark_operation_duration_seconds", lambda span: "gen_ai.operation.name" in span),
        ("modelark_attempt_duration_seconds", lambda span: "byteplus.modelark.attempt.cause" in span),
    ],
)
def test_an_exemplar_leads_to_a_span_of_its_kind_that_was_sent(prometheus, receiver, name, is_its_span):
    """The dot on a latency chart is a call, or an attempt, that the receiver of the spans holds too."""
    prometheus.shown(f"{name}_bucket")
    exemplars = prometheus.exemplars(f"{name}_bucket")
    sent = {(span.trace_id.hex(), span.span_id.hex()): span for span in list(receiver.spans)}
    dots = {(one["labels"]["trace_id"], one["labels"]["span_id"]) for one in exemplars}

    assert dots & sent.keys()
    for dot in dots & sent.keys():
        assert is_its_span({attribute.key for attribute in sent[dot].attributes})


def test_the_files_are_sound():
    promtool("check", "rules", GRAFANA / "prometheus/rules.yml")
    promtool("check", "config", GRAFANA / "prometheus/prometheus.yml")


def rules_for(names):
    """The alerts of these names and what they stand on, in the committed order, so that a case evaluates no others."""
    rules = yaml.safe_load((GRAFANA / "prometheus/rules.yml").read_text())["groups"][0]["rules"]
    wanted = set(names)
    for rule in reversed(rules):
        if rule.get("alert", rule.get("record")) in wanted:
            wanted |= set(re.findall(r"\w+:modelark_\w+:\w+", rule["expr"]))
    return [
        # The annotations are left out, or each case would repeat them.
        {key: value for key, value in rule.items() if key != "annotations"}
        for rule in rules
        if rule.get("alert", rule.get("record")) in wanted
    ]


@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_not_before(case, tmp_path):
    expressions = " ".join(check["expr"] for check in case.get("promql_expr_test", ()))
    names = {check["alertname"] for check in case.get("alert_rule_test", ())}
    names |= set(re.findall(r"\w+:modelark_\w+:\w+", expressions))
    groups = [{"name": "modelark", "rules": rules_for(names)}]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    file = {"rule_files": ["rules.yml"], "evaluation_interval": case["interval"], "tests": [case]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(file))
    promtool("test", "rules", tmp_path / "test.yml")


def test_every_alert_is_tested():
    """Each fires somewhere, ends there as well, and stays silent elsewhere."""
    fired, ended, silent = set(), set(), set()
    for param in CASES:
        (case,) = param.values
        firing = set()
        for check in sorted(case.get("alert_rule_test", ()), key=lambda check: seconds(check["eval_time"])):
            if check.get("exp_alerts"):
                firing.add(check["alertname"])
            elif check["alertname"] in firing:
                ended.add(check["alertname"])
        fired |= firing
        silent |= {check["alertname"] for check in case.get("alert_rule_test", ())} - firing

    assert fired == ended == silent == {alert.name for alert in ALERTS}


def seconds(duration):
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))
