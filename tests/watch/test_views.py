"""The waterfall of one call, the numbers of the last minutes, and the breakers."""

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import byteplus_trace
from byteplus_trace import Breaker, Policy, Retry, Target
from byteplus_trace._watch import now as numbers
from byteplus_trace._watch import otlp
from byteplus_trace._watch.breakers import Breakers, Reading
from byteplus_trace._watch.calls import call_of
from byteplus_trace._watch.plain import plain, plain_lines
from byteplus_trace._watch.shown import details, regions
from byteplus_trace._watch.store import Store
from byteplus_trace._watch.waterfall import waterfall

SKIPPED = ("target.skipped", {"target": "sg", "reason": "breaker_open"})


def test_a_waterfall_is_a_tree_in_time(make):
    spans = make.spans(
        make.attempt(4, 2, at=0.6, lasts=0.2, cause="fallback"),
        make.attempt(3, 2, at=0.2, lasts=0.2),
        make.call(2, trace=1, parent=1, at=0.2, lasts=0.6),
        make.call(5, trace=1, parent=1, at=0.9, lasts=0.1),
        {"id": 1, "name": "checkout", "at": 0.0, "lasts": 1.0},
    )

    bars = waterfall(spans[2].key, spans)

    assert [(1, 0, "around"), (2, 1, "call"), (3, 2, "attempt"), (4, 2, "attempt"), (5, 1, "other call")] == [
        (int(bar.span.span_id, 16), bar.depth, bar.role) for bar in bars
    ]
    assert [(0, 1), (0.2, 0.8), (0.2, 0.4), (0.6, 0.8), (0.9, 1)] == [
        (pytest.approx(bar.begins), pytest.approx(bar.ends)) for bar in bars
    ]


ONLY_ATTEMPT = {"byteplus.modelark.attempt.cause": "initial", "http.request.method": "POST"}


def test_a_call_that_holds_its_only_attempt_is_a_call(make):
    spans = make.spans(
        {"id": 1, "name": "checkout", "at": 0.0, "lasts": 1.0},
        make.call(2, trace=1, parent=1, at=0.2, lasts=0.6, **ONLY_ATTEMPT),
        make.call(3, trace=1, parent=1, at=0.9, lasts=0.1, **ONLY_ATTEMPT),
    )

    assert ["around", "call", "other call"] == [bar.role for bar in waterfall(spans[1].key, spans)]


@pytest.mark.parametrize(
    ("ended", "line"),
    [
        ({"target": "ap-southeast-1", "http.response.status_code": 200}, "└─ POST, initial, 200"),
        (
            {
                "target": "sg",
                "http.response.status_code": 503,
                "error.type": "ServerOverloaded",
                "outcome": "error",
            },
            "└─ POST sg, initial, 503 ServerOverloaded",
        ),
        (
            {"target": "sg", "error.type": "ConnectError", "outcome": "error"},
            "└─ POST sg, initial, ConnectError",
        ),
    ],
)
def test_the_tree_of_a_call_that_holds_its_only_attempt_shows_how_it_was_sent(make, ended, line):
    (span,) = make.spans(make.call(1, **ONLY_ATTEMPT, **ended))

    text = "\n".join(each.plain for each in details(span, [span]))

    assert line in text
    assert "nothing was sent" not in text


def test_a_call_that_holds_its_only_attempt_closes_a_breaker_that_was_open(make):
    breakers = Breakers()
    breakers.infer(*make.spans(make.call(1, events=[SKIPPED], target="eu", **ONLY_ATTEMPT)))
    breakers.infer(*make.spans(make.call(2, at=1, target="sg", outcome="error", **ONLY_ATTEMPT)))
    assert {"sg": "open"} == {name: each.state for name, each in breakers.states().items()}

    breakers.infer(*make.spans(make.call(3, at=2, target="sg", **ONLY_ATTEMPT)))
    assert {"sg": "closed"} == {name: each.state for name, each in breakers.states().items()}


def test_a_span_without_its_parent_is_a_root(make):
    spans = make.spans(make.call(2, trace=1, parent=77))

    assert [0] == [bar.depth for bar in waterfall(spans[0].key, spans)]


def test_spans_in_a_circle_are_all_shown(make):
    spans = make.spans(
        make.call(1, trace=1, parent=2), make.call(2, trace=1, parent=1), make.call(3, trace=1, parent=3)
    )

    assert {1, 2, 3} == {int(bar.span.span_id, 16) for bar in waterfall(spans[0].key, spans)}


def test_a_very_deep_trace_is_no_recursion(make):
    spans = make.spans(*(make.call(number, trace=1, parent=number - 1) for number in range(1, 3000)))

    assert 2998 == max(bar.depth for bar in waterfall(spans[0].key, spans))


def test_the_last_minutes_in_steps(make):
    spans = make.spans(
        make.call(1, at=-400, team="old"),
        make.call(2, at=-8, lasts=1, team="search", tokens_in=10, tokens_out=5, cost=0.5, first=0.3),
        make.call(3, at=-7, lasts=1, team="search", outcome="error"),
        make.call(4, at=-1, lasts=0.5, team="shop", outcome="deadline"),
        make.call(5, at=50, team="from the future"),
    )

    shown = numbers.now(map(call_of, spans), make.noon, "team")

    assert (3, 2, 10, 5, 0.5, 0.3) == (
        shown.whole.calls, shown.whole.failed, shown.whole.tokens_in, shown.whole.tokens_out, shown.whole.cost, shown.whole.first_chunk
    )  # fmt: skip
    assert (60, 5.0) == (len(shown.steps), shown.step_seconds)
    assert 3 == sum(step.calls for step in shown.steps)
    assert [("search", 2), ("shop", 1)] == [(name, each.calls) for name, each in shown.groups]


def test_calls_without_a_price_have_no_cost_rather_than_none_to_pay(make):
    priced, free, unknown = (
        make.call(1, model="a", cost=0.5),
        make.call(2, model="b", cost=0.0),
        make.call(3, model="c"),
    )

    shown = numbers.now(map(call_of, make.spans(priced, free, unknown)), make.noon + 10**9, "model")

    assert {"a": 0.5, "b": 0.0, "c": None} == {name: each.cost for name, each in shown.groups}
    assert 0.5 == shown.whole.cost
    assert None is numbers.numbers([]).cost


@pytest.mark.parametrize(("share", "value"), [(0.5, 10), (0.95, 19), (0, 1), (1, 20)])
def test_a_quantile_is_a_value_that_was_measured(share, value):
    assert value == numbers.quantile([float(each) for each in range(1, 21)], share)
    assert None is numbers.quantile([], share)


def test_a_region_shows_the_attempts_that_failed_in_it_beside_the_calls_that_ended_in_it(make):
    """Calls that leave a region during its outage end elsewhere, so its own failures are attempts."""
    store = Store()
    eu = {"target": "eu", "region": "eu-west-1"}
    rescued = {"outcome": "rescued_fallback", **eu}
    store.add(
        make.spans(
            make.attempt(11, 1, at=-400, status=503, error="ServerOverloaded"),
            make.call(1, at=-400, **rescued),
            make.attempt(12, 2, trace=2, at=-9, status=503, error="ServerOverloaded"),
            make.attempt(13, 2, trace=2, at=-8, cause="fallback", **eu),
            make.call(2, at=-9, lasts=2, **rescued),
            make.attempt(14, 3, trace=3, at=-9, status=503, error="ServerOverloaded"),
            make.attempt(15, 3, trace=3, at=-8, cause="fallback", **eu, status=503, error="ServerOverloaded"),
            make.call(3, at=-9, lasts=2, **{**rescued, "outcome": "error"}),
            make.call(4, at=-5, **eu, **ONLY_ATTEMPT),
            make.attempt(16, 99, trace=99, at=-1),
        )
    )

    found = numbers.regions(store.calls(), store.attempts(), {}, make.noon)

    assert [
        ("eu", "eu-west-1", (3, 1), (3, 1)),
        ("sg", "ap-southeast-1", (0, 0), (2, 2)),
    ] == [
        (each.target, each.region, (each.calls, each.failed), (each.attempts, each.failed_attempts))
        for each in found
    ]
    for width in (78, 118, 198):
        eu_line, sg_line = (line.plain for line in regions(found, width)[1:])
        assert ["eu", "eu-west-1", "3", "1", "3", "1", "-"] == eu_line.split()
        assert ["sg", "ap-southeast-1", "0", "0", "2", "2", "-"] == sg_line.split()


def test_a_breaker_that_skipped_its_target_is_open_until_a_send_succeeds(make):
    breakers = Breakers()
    skip, failed, served = make.spans(
        make.call(1, events=[SKIPPED], target="eu"),
        make.attempt(2, 9, at=1, status=503, error="ServerOverloaded"),
        make.attempt(3, 9, at=2),
    )

    breakers.infer(skip)
    assert ("open", "inferred") == (breakers.states()["sg"].state, breakers.states()["sg"].source)
    breakers.infer(failed)
    assert "open" == breakers.states()["sg"].state
    breakers.infer(served)
    assert ("closed", "ap-southeast-1") == (breakers.states()["sg"].state, breakers.states()["sg"].region)


def test_spans_that_arrive_late_do_not_turn_time_back(make):
    breakers = Breakers()
    late, newer = make.spans(make.attempt(2, 9, at=1), make.call(1, at=5, events=[SKIPPED]))

    breakers.infer(newer)
    breakers.infer(late)

    assert "open" == breakers.states()["sg"].state


def test_without_a_skip_nothing_is_said_of_a_breaker(make):
    breakers = Breakers()
    breakers.infer(*make.spans(make.attempt(2, 9)))

    assert {} == breakers.states()


@pytest.mark.parametrize("name", ["modelark_breaker_state", "modelark.breaker.state"])
def test_a_received_state_counts_more_than_an_inferred_one(make, name):
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="another").gauge.data_points.add(as_int=2)
    metric = scope.metrics.add(name=name)
    for target, operation, value in (("sg", "chat", 1), ("sg", "images", 0), ("eu", "chat", 7)):
        point = metric.gauge.data_points.add(as_double=value, time_unix_nano=make.noon)
        for key, text in (("target", target), ("operation", operation)):
            point.attributes.add(key=key).value.string_value = text
    breakers = Breakers()
    breakers.infer(*make.spans(make.call(1, events=[SKIPPED])))

    breakers.receive(otlp.readings_of(request.SerializeToString(), otlp.PROTOBUF))

    assert {"sg": ("half-open", "received")} == {
        target: (each.state, each.source) for target, each in breakers.states().items()
    }


def test_the_library_itself_sends_the_state_that_is_received(ark, instrument, sg):
    """A policy's breaker opens over real sockets, and the library's metrics say so as OTLP."""
    reader = InMemoryMetricReader()
    target = Target(
        "sg",
        region="ap-southeast-1",
        base_url=sg,
        api_key="any",
        breaker=Breaker(consecutive=2),
        retry=Retry(per_target=0),
    )
    instrument(
        policy=Policy(targets=[target]),
        metrics="otlp",
        meter_provider=MeterProvider([reader], shutdown_on_exit=False),
        registry=None,
    )
    ark.region("ap-southeast-1").fails(503, code="ServerOverloaded")
    body = {"model": "seed-2-0-lite-260428", "messages": [{"role": "user", "content": "Hello"}]}
    for _ in range(2):
        httpx.post(
            f"{sg}/chat/completions", json=body, headers={"authorization": "Bearer any"}, trust_env=False
        )
    byteplus_trace.flush()
    breakers = Breakers()

    breakers.receive(
        otlp.readings_of(encode_metrics(reader.get_metrics_data()).SerializeToString(), otlp.PROTOBUF)
    )

    assert {"sg": ("open", "received")} == {
        target: (each.state, each.source) for target, each in breakers.states().items()
    }


def test_the_targets_that_are_remembered_are_bounded(make):
    breakers = Breakers()
    for number in range(3000):
        breakers.receive([Reading(f"t{number}", "chat", 0, 1)])
        breakers.receive([Reading("one", f"o{number}", 0, 1)])

    assert len(breakers.states()) <= 1000
    assert len(breakers.readings()) < 1100


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("chat seed", "chat seed"),
        ("\x1b[2J\x1b]52;c;aGk=\x07", "\\x1b[2J\\x1b]52;c;aGk=\\x07"),
        ("a\r\nb\tc\x00\x7f\x9b", "a\\r\\nb\\tc\\x00\\x7f\\x9b"),
        ("\u202eright to left\u2066", "\\u202eright to left\\u2066"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028separator", "line\\u2028separator"),
        ("[bold red]markup[/]", "[bold red]markup[/]"),
        ("Größe 河流", "Größe 河流"),
        ("\ud800", "\\ud800"),
        ("x" * 3000, "x" * 1999 + "…"),
    ],
)
def test_what_reaches_a_terminal_prints(text, shown):
    assert shown == plain(text)
    assert plain(text).isprintable()


def test_a_text_of_many_lines_is_bounded():
    assert ["a", "b", "    c\\x1b"] == plain_lines("a\r\nb\n\tc\x1b")
    assert ["x", "x", "…"] == plain_lines("x\n" * 100_000, most=2)
