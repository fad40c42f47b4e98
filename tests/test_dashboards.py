"""Dashboards, rules and the stack that shows them: what can be known without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from byteplus_trace import dashboards
from byteplus_trace._cli import main
from byteplus_trace._instruments import BREAKER, BUILD_INFO, INSTRUMENTS, OPERATIONS, START_TIME, TOKENS
from byteplus_trace.dashboards import alerts, draw, panels, promql
from byteplus_trace.dashboards.panels import NOW, Page, Row, lines

ROOT = Path(__file__).parent.parent
GRAFANA = ROOT / "grafana"
SCHEMAS = Path(__file__).parent / "schemas"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}
PANELS = {
    f"{name}: {panel['title']}": panel
    for name, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
}
RULES = [
    rule
    for group in yaml.safe_load((GRAFANA / "prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
TARGETS = {
    f"{name} {target['refId']}": target for name, panel in PANELS.items() for target in panel["targets"]
}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
ALERTS = [rule for rule in RULES if "alert" in rule]
EXPRESSIONS = {name: target["expr"] for name, target in TARGETS.items()} | {
    rule.get("record") or rule["alert"]: rule["expr"] for rule in RULES
}

LABELS = {instrument.name: {*instrument.labels, *promql.PROCESS} for instrument in INSTRUMENTS}
for instrument in INSTRUMENTS:
    if instrument.metadata:
        LABELS[instrument.name].add("team")
    if instrument.kind == "histogram":
        LABELS[f"{instrument.name}_bucket"] = {*LABELS[instrument.name], "le"}
        LABELS[f"{instrument.name}_count"] = LABELS[f"{instrument.name}_sum"] = LABELS[instrument.name]


def unknown_names(expression):
    """Series and labels of the expression that no instrument has. Read from the text, not from what built it."""
    without_recorded = re.sub(r"[a-z_]+:modelark_\w+:\w+", "", expression)
    used = set(re.findall(r"\bmodelark_\w+", without_recorded))
    unknown = used - LABELS.keys()
    known = set().union(*(LABELS[name] for name in used - unknown)) if used else {"job", "operation"}
    for name, matchers in re.findall(r"\b(modelark_\w+)\{(.*?)\}", without_recorded):
        unknown |= set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", matchers)) - LABELS.get(name, set())
    for labels in re.findall(r"\bby \((.*?)\)", expression):
        unknown |= set(labels.split(", ")) - known
    return unknown


def filters_of(expression):
    """
    By which of the dashboard's choices each series of an expression is filtered; read from its text.

    What only says since when a process is there is neither added nor divided.
    """
    found = {}
    for name, matchers in re.findall(r"\b(modelark_\w+)(?:\{(.*?)\})?", expression):
        found.setdefault(name, set()).update(re.findall(r'(\w+)=~"\$\1"', matchers))
    beside = {BUILD_INFO.name, START_TIME.name}
    return {name: labels for name, labels in found.items() if name not in beside or len(found) == 1}


def kept_by(expression):
    """The labels that its first operand has."""
    summed, recorded = re.search(r"\bby \((.*?)\)|(\w+):modelark_\w+:\w+", expression).groups()
    return set(summed.split(", ") if summed else recorded.split("_"))


def test_the_committed_files_are_what_the_code_builds():
    """Run `python -m byteplus_trace.dashboards` and commit what it writes."""
    stale = [name for name, text in dashboards.built().items() if (GRAFANA / name).read_text() != text]

    assert not stale


def test_panels_and_rules_name_only_series_and_labels_that_exist():
    unknown = {name: unknown_names(expression) for name, expression in EXPRESSIONS.items()}

    assert {} == {name: names for name, names in unknown.items() if names}


def test_unknown_names_are_found():
    assert unknown_names('sum by (modle) (rate(modelark_operations_total{regoin="x", job="y"}[5m]))') == {
        "modle",
        "regoin",
    }
    assert unknown_names("modelark_calls_total") == {"modelark_calls_total"}


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda: NOW.rate(OPERATIONS, "modle"), "has no label 'modle'"),
        (lambda: NOW.rate(OPERATIONS, regoin="eu-west-1"), "has no label 'regoin'"),
        (lambda: NOW.rate(OPERATIONS, outcome="rescued"), "is never rescued"),
        (lambda: NOW.rate(TOKENS, type=("input", "cached")), "is never cached"),
        (lambda: NOW.rate(BREAKER), "is a gauge, which does not count"),
        (lambda: NOW.quantile(0.95, OPERATIONS), "is a counter, not a histogram"),
        (lambda: NOW.gauge(BREAKER, "team"), "has no label 'team'"),
        (lambda: NOW.each(BREAKER), "is a gauge, which does not count"),
        (lambda: NOW.buckets(BREAKER), "is a gauge, not a histogram"),
        (lambda: NOW.seen(OPERATIONS), "is a counter, not a gauge"),
    ],
)
def test_a_panel_that_asks_for_what_is_not_there_cannot_be_built(ask, complaint):
    with pytest.raises(ValueError, match=complaint):
        ask()


@pytest.mark.parametrize(
    ("what", "stands"),
    [
        ("a question", lambda panel: panel["type"] == "stat" or panel["title"].endswith("?")),
        ("a description", lambda panel: panel["description"].endswith((".", "%"))),
        ("a unit", lambda panel: panel["fieldConfig"]["defaults"]["unit"]),
        (
            "what it shows of nothing",
            lambda panel: panel["fieldConfig"]["defaults"].get("noValue") or panel["type"] == "heatmap",
        ),
    ],
)
def test_panels_say_what_they_answer_and_how_to_read_it(what, stands):
    assert [] == [name for name, panel in PANELS.items() if not stands(panel)], f"without {what}"


def test_legends_are_words_or_labels_that_the_expression_keeps():
    assert [] == [name for name, target in TARGETS.items() if not target.get("legendFormat")]
    assert [] == [
        f"{name}: {label}"
        for name, target in TARGETS.items()
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"])
        if not re.search(rf"\bby \([^)]*\b{label}\b", target["expr"])
    ]


def test_latency_panels_show_exemplars():
    """Figures show no points, so none of them is asked for exemplars."""

    def carries(target):
        return any(f"{row.name}_bucket" in target["expr"] for row in INSTRUMENTS if row.exemplars)

    assert [] == [
        f"{name} {target['refId']}"
        for name, panel in PANELS.items()
        for target in panel["targets"]
        if target.get("exemplar", False) is not (carries(target) and panel["type"] != "stat")
    ]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_dashboards_have_the_same_choices_and_know_one_another(board):
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    numbers = [panel["id"] for panel in board["panels"]]

    assert list(variables) == [
        "datasource",
        "cluster",
        "namespace",
        "job",
        "instance",
        "operation",
        "model",
        "region",
    ]
    for name in list(variables)[1:]:
        assert variables[name]["allValue"] == ".*", "a call without the label would be left out"
    assert board["links"][0]["tags"] == board["tags"] == [draw.TAG]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_each_choice_offers_what_there_is_under_those_before_it(board):
    _, *variables = board["templating"]["list"]

    assert variables[0]["query"] == "label_values(modelark_build_info{}, cluster)"
    for number, variable in enumerate(variables[1:], start=1):
        chosen = re.findall(r'(\w+)=~"\$\1"', variable["query"])
        assert chosen == [before["name"] for before in variables[:number]][:4]


def test_the_series_of_a_panel_are_filtered_alike():
    """Added or divided, series that know a choice and series that do not are no figure of anything."""
    chosen = {
        name: {frozenset(each) for target in panel["targets"] for each in filters_of(target["expr"]).values()}
        for name, panel in PANELS.items()
    }

    assert {} == {name: filters for name, filters in chosen.items() if len(filters) != 1}
    assert [] == [
        f"{name} does not say that it is not filtered by {label}"
        for name, (filters,) in chosen.items()
        for label in {"operation", "model", "region"} - filters
        if f" {label}" not in PANELS[name]["description"].rpartition("Not filtered by")[2]
    ]


def test_unlike_filters_are_found():
    unlike = 'modelark_a{model=~"$model", result="ok"} / (modelark_b{job=~"$job"} or modelark_c)'

    assert filters_of(unlike) == {"modelark_a": {"model"}, "modelark_b": {"job"}, "modelark_c": set()}


def test_what_is_counted_is_counted_with_its_first_sample():
    """`rate` never sees one, and `increase` stands for resets alone."""
    assert [] == [
        name
        for name, expression in EXPRESSIONS.items()
        if re.search(r"\b(rate|irate|delta|idelta)\(", expression)
        or expression.count("increase(") != expression.count("resets(")
    ]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_panels_lie_beside_each_other(board):
    taken = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= panels.WIDTH
        for cell in (
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        ):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_dashboards_are_valid_to_grafana(board):
    schema = json.loads((SCHEMAS / "dashboard.jsonschema.json").read_text())
    # The generator wrote "any" as an object; a matcher's options are a string where it matches by name.
    schema["definitions"]["MatcherConfig"]["properties"]["options"] = {}

    jsonschema.Draft7Validator(schema).validate(board)


def test_panels_are_valid_to_grafana():
    wrong = []
    for title, panel in PANELS.items():
        schema = json.loads((SCHEMAS / f"{panel['type'].replace('-', '')}.jsonschema.json").read_text())
        own = {"Options": panel["options"], "FieldConfig": panel["fieldConfig"]["defaults"].get("custom", {})}
        for name in own.keys() & schema["definitions"].keys():
            narrowed = {"$ref": f"#/definitions/{name}", "definitions": schema["definitions"]}
            errors = jsonschema.Draft7Validator(narrowed).iter_errors(own[name])
            wrong += [f"{title}, {name}: {error.message}" for error in errors]

    assert [] == wrong


def test_a_misspelt_key_is_not_valid():
    schema = json.loads((SCHEMAS / "timeseries.jsonschema.json").read_text())
    narrowed = {"$ref": "#/definitions/FieldConfig", "definitions": schema["definitions"]}

    assert not jsonschema.Draft7Validator(narrowed).is_valid({"lineWitdh": 1})


def test_recorded_names_tell_their_labels_the_metric_and_the_operation():
    for name in RECORDED:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*:modelark_[a-z_]+:[a-z0-9_]+", name)
        expression = next(rule["expr"] for rule in RULES if rule.get("record") == name)
        assert set(name.partition(":")[0].split("_")) == kept_by(expression) - {"le"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts_stand_on_what_is_recorded_and_lead_to_a_runbook(alert):
    runbook = (ROOT / "docs/alerts.md").read_text()
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")

    assert set(re.findall(r"\w+:modelark_\w+:\w+", alert["expr"])) <= {*RECORDED, alerts.DAILY_BUDGET}
    assert (GRAFANA / "prometheus" / path).read_text() == runbook, "it lies beside the rules"
    assert anchor == alert["alert"].lower()
    assert f"\n## {alert['alert']}\n" in runbook


def test_the_runbook_has_no_alert_that_is_gone():
    documented = set(re.findall(r"^## (ModelArk\w+)$", (ROOT / "docs/alerts.md").read_text(), re.MULTILINE))

    assert documented == {alert.name for alert in alerts.ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_speaks_only_of_labels_that_it_has(alert):
    named = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))

    assert named <= kept_by(alert["expr"])


def test_the_runbook_leads_only_within_itself():
    """It is read where the rest of the documentation is not."""
    text = (GRAFANA / "prometheus/alerts.md").read_text()
    sections = {heading.lower() for heading in re.findall(r"^## (\w+)$", text, re.MULTILINE)}

    assert {link.removeprefix("#") for link in re.findall(r"\]\((.*?)\)", text)} <= sections


@pytest.mark.parametrize(
    "alert", [alert for alert in alerts.ALERTS if alert.severity == "page"], ids=lambda a: a.name
)
def test_nobody_is_woken_for_a_single_call(alert):
    """Whatever is a share or a count of calls has a least number of them; the others count no calls."""
    assert f">= {alerts.ENOUGH['page']}" in alert.expression or alert.name == "ModelArkUnseen"


def test_the_links_from_traces_ask_for_series_that_exist():
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/modelark.yaml").read_text())["datasources"]
    prometheus, jaeger = sources
    links = jaeger["jsonData"]["tracesToMetrics"]

    assert links["datasourceUid"] == prometheus["uid"]
    assert prometheus["jsonData"]["exemplarTraceIdDestinations"][0] == {
        "name": "trace_id",
        "datasourceUid": jaeger["uid"],
        "urlDisplayLabel": "View trace",
    }
    for query in links["queries"]:
        expression = query["query"].replace("$$__tags", 'region="eu-west-1"')
        assert not unknown_names(expression), expression
        assert query["query"].count("resets(") == 1, "it counts the first sample too"


def test_the_documentation_counts_as_the_panels_do():
    page = (ROOT / "docs/metrics.md").read_text()
    counted = promql.Lens("5m").increase(OPERATIONS, outcome=("error", "deadline"))

    assert re.sub(r"\s+", "", counted) in re.sub(r"\s+", "", page)


class TestTheStack:
    """A Grafana without login is nobody else's business."""

    def services(self, name):
        text = re.sub(r"!reset null|!override", "", (GRAFANA / name).read_text())
        return yaml.safe_load(text)["services"]

    @pytest.mark.parametrize("name", ["compose.yaml", "compose.desktop.yaml", "compose.valkey.yaml"])
    def test_every_published_port_is_on_the_loopback(self, name):
        published = [port for service in self.services(name).values() for port in service.get("ports", ())]

        assert published
        assert all(port.startswith("127.0.0.1:") for port in published)

    def test_what_shares_the_hosts_network_listens_on_the_loopback(self):
        services = self.services("compose.yaml")
        sharing = {name for name, service in services.items() if service.get("network_mode") == "host"}

        assert sharing == {"prometheus", "grafana"}
        assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
        assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"

    def test_images_are_pinned_to_a_version(self):
        images = [
            service["image"]
            for name in ("compose.yaml", "compose.valkey.yaml")
            for service in self.services(name).values()
        ]

        assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images)

    def test_what_is_mounted_is_there(self):
        mounts = [
            volume.partition(":")[0]
            for name in ("compose.yaml", "compose.desktop.yaml")
            for service in self.services(name).values()
            for volume in service.get("volumes", ())
        ]

        assert all((GRAFANA / mount).exists() for mount in mounts if mount.startswith("."))


class TestTheCommand:
    def test_it_writes_all_that_there_is(self, tmp_path, capsys):
        assert main(["dashboards", str(tmp_path / "new" / "folder")]) == 0

        written = {
            str(path.relative_to(tmp_path / "new/folder"))
            for path in (tmp_path / "new").rglob("*")
            if path.is_file()
        }
        assert written == {str(path.relative_to(GRAFANA)) for path in GRAFANA.rglob("*") if path.is_file()}
        assert "compose.yaml up -d" in capsys.readouterr().out

    def test_it_leaves_other_files_alone_and_says_what_it_cannot_do(self, tmp_path, capsys):
        (tmp_path / "mine.json").write_text("{}")
        assert main(["dashboards", str(tmp_path)]) == 0
        assert (tmp_path / "mine.json").read_text() == "{}"

        assert main(["dashboards", str(tmp_path / "mine.json")]) == 1
        assert "cannot write to" in capsys.readouterr().err


def test_a_page_is_drawn_whatever_its_panels_are():
    page = Page(
        "x",
        "X",
        "Nothing.",
        (Row("A row", (lines("Is it?", "Read it.", "s", panels.Query("vector(1)", "one")),)),),
    )

    board = json.loads(draw.drawn(page))

    assert [panel["title"] for panel in board["panels"]] == ["A row", "Is it?"]
    assert board["panels"][1]["gridPos"] == {"h": 9, "w": 8, "x": 0, "y": 1}


def test_shares_of_nothing_are_nothing_and_absent_parts_are_zero():
    assert promql.ratio("a", "b") == "a / (b > 0)"
    assert promql.or_none_of("a", "b") == "(a or 0 * b)"
    assert promql.or_zero("a") == "(a or vector(0))"
