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

from .alert_table import CONDITIONS, TABLE
from .alert_table import case as table_case
from .conftest import program

ROOT = Path(__file__).parent.parent.parent
GRAFANA = ROOT / "grafana"
CASES = [
    pytest.param(case, id=case["name"])
    for case in yaml.safe_load((Path(__file__).parent / "alert_cases.yml").read_text())
]
RULES = yaml.safe_load((GRAFANA / "prometheus/rules.yml").read_text())["groups"][0]["rules"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for path in sorted((GRAFANA / "dashboards").glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel.get("targets", ())
]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.server(name)) for name in ("promtool", "promtool-3")]
)
def promtool(request):
    """promtool(...): what it says is well."""

    def run(*arguments):
        command = [program(request.param), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


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
    ids=["of a call", "of an attempt"],
)
def test_an_exemplar_leads_to_a_span_of_its_kind_that_was_sent(prometheus, receiver, name, is_its_span):
    """The dot on a latency chart is a call, or an attempt, that the receiver of the spans holds too."""
    chats = f'{name}_bucket{{operation="chat"}}'
    prometheus.shown(chats)
    exemplars = prometheus.exemplars(chats)
    sent = {(span.trace_id.hex(), span.span_id.hex()): span for span in list(receiver.spans)}
    dots = {(one["labels"]["trace_id"], one["labels"]["span_id"]) for one in exemplars}

    assert dots & sent.keys()
    for dot in dots & sent.keys():
        assert is_its_span({attribute.key for attribute in sent[dot].attributes})


def test_the_files_are_sound(promtool):
    promtool("check", "rules", GRAFANA / "prometheus/rules.yml")
    promtool("check", "config", GRAFANA / "prometheus/prometheus.yml")


def rules_for(names):
    """The alerts of these names and what they stand on, in the committed order, so that a case evaluates no others."""
    wanted = set(names)
    for rule in reversed(RULES):
        if rule.get("alert", rule.get("record")) in wanted:
            wanted |= set(re.findall(r"\w+:modelark_\w+:\w+", rule["expr"]))
    return [
        # The annotations are left out, or each case would repeat them.
        {key: value for key, value in rule.items() if key != "annotations"}
        for rule in RULES
        if rule.get("alert", rule.get("record")) in wanted
    ]


def holds(case, promtool, folder):
    """Whether promtool sees the alerts of a case fire when it says, and not else."""
    expressions = " ".join(check["expr"] for check in case.get("promql_expr_test", ()))
    names = {check["alertname"] for check in case.get("alert_rule_test", ())}
    names |= set(re.findall(r"\w+:modelark_\w+:\w+", expressions))
    groups = [{"name": "modelark", "rules": rules_for(names)}]
    (folder / "rules.yml").write_text(json.dumps({"groups": groups}))
    file = {"rule_files": ["rules.yml"], "evaluation_interval": case["interval"], "tests": [case]}
    (folder / "test.yml").write_text(json.dumps(file))
    promtool("test", "rules", folder / "test.yml")


@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_not_before(case, promtool, tmp_path):
    holds(case, promtool, tmp_path)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("alert", TABLE)
def test_each_alert_in_each_condition(alert, condition, promtool, tmp_path):
    holds(table_case(alert, condition), promtool, tmp_path)


ASKED = {
    "fires": lambda firing: firing[-1] and not firing[0],
    "stays silent": lambda firing: not any(firing),
    "ends": lambda firing: any(firing) and not firing[-1],
    "at one call a minute": lambda firing: len(firing) > 1,
    "with one pod": lambda firing: len(firing) > 1,
    "after a deploy": lambda firing: len(firing) > 1 and not any(firing),
    "after a deploy that brings the trouble, and is taken back": lambda firing: (
        any(firing) and not firing[-1]
    ),
    "at night": lambda firing: len(firing) > 1,
}
"""What the looks of a case at its alert have to be, in their order: does it fire?"""


def test_every_alert_has_a_case_in_every_condition():
    missing = []
    for alert in ALERTS:
        for condition, is_asked in ASKED.items():
            looks = table_case(alert.name, condition)["alert_rule_test"] if alert.name in TABLE else ()
            if not looks or not is_asked([bool(look.get("exp_alerts")) for look in looks]):
                missing.append(f"{alert.name} {condition}")

    assert not missing
    assert ASKED.keys() == CONDITIONS.keys()
