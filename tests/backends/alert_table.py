"""
What each alert does in each condition: a table whose cells are cases for promtool.

A row says how a call moves the series of a service while all is well, and how while that
alert's trouble lasts. A condition says which processes there are and when they call. From
both come the samples, and the times at which the alert fires or is silent.

What one alert alone is about (a breaker in an outage, an emptied Prometheus) is written out
in `alert_cases.yml`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from byteplus_trace.dashboards.alerts import ALERTS, DAILY_BUDGET

SEVERITY = {alert.name: alert.severity for alert in ALERTS}
BEGINS, LASTS = 20.0, 20.0
"""The trouble, in minutes."""
NIGHT = 40.0
"""When two calls of a night meet the trouble, half a minute apart."""

ANSWERED = 'modelark_operations_total{operation="chat", model="m", region="r", outcome="ok", error_type=""}'
FAILED = (
    'modelark_operations_total{operation="chat", model="m", region="r", outcome="error", error_type="503"}'
)


@dataclass(frozen=True)
class Pod:
    """A process, when it is there, and when it calls; in minutes."""

    name: str
    calls: tuple[float, ...]
    begins: float = 0.0
    ends: float = 1e9
    started: float = -60.0


@dataclass(frozen=True)
class Now:
    """What a process is in when it is looked at; in minutes."""

    at: float
    in_trouble: bool
    met: tuple[float, ...]
    """When the calls were made that met the trouble."""


@dataclass(frozen=True)
class Row:
    """One alert's trouble."""

    labels: str
    """What it fires with, beside `job` and `severity`."""
    well: tuple[str, ...]
    """Series that each call moves by one while all is well."""
    trouble: tuple[str, ...] = ()
    """The same while the trouble lasts."""
    within: float = 0.0
    """It fires this many minutes after the trouble began, and not before that."""
    over: float = 0.0
    """It has ended this many minutes after the trouble did."""
    costs: dict[str, float] = field(default_factory=dict)
    """Of a series that a call moves by another amount."""
    gauges: Callable[[Now], dict[str, float]] = lambda now: {}
    hides: Callable[[str], bool] = lambda pod: False
    """Which processes cannot be read while the trouble lasts."""
    constant: tuple[str, ...] = ()
    step: int = 30
    """Seconds between two evaluations."""
    a_call_a_minute: float | None = None
    """Within how many minutes it fires there, and nothing where it stays silent."""
    with_one_pod: bool = True
    at_night: bool = False
    """Whether two calls are enough."""
    same_address: bool = False
    """A new release answers where the old one did."""


def _attempt(result: str, reason: str) -> str:
    return f'modelark_attempts_total{{operation="chat", model="m", target="sg", region="r", result="{result}", reason="{reason}"}}'


def _buckets(name: str, *bounds: str) -> tuple[str, ...]:
    return tuple(f'{name}_bucket{{operation="chat", model="m", region="r", le="{le}"}}' for le in bounds)


def _burns(within: float, over: float, step: int) -> Row:
    return Row("operation: chat", (ANSWERED,), (FAILED,), within, over, step=step, a_call_a_minute=13)


WHOLE = 'modelark_operation_duration_seconds_count{operation="chat", region="r", stream="false", result="ok"}'
STREAMS = 'modelark_operation_duration_seconds_count{operation="chat", region="r", stream="true"}'
BROKEN = 'modelark_stream_breaks_total{operation="chat", target="sg", phase="after_output", reason="cut"}'
MOVED = 'modelark_fallbacks_total{operation="chat", from_target="sg", to_target="eu", reason="connect", result="ok"}'
LED_PAST = 'modelark_targets_skipped_total{operation="chat", target="sg", reason="breaker_open"}'
GONE = FAILED.replace("503", "ModelNotOpen")
CANCELLED = FAILED.replace('"error"', '"cancelled"').replace("503", "")
COST = 'modelark_cost_usd_total{operation="chat", model="m", region="r"}'
WELL_SENT = _attempt("ok", "none")

TABLE: dict[str, Row] = {
    "ModelArkCallsFail": Row("operation: chat", (ANSWERED,), (FAILED,), 4, 4),
    "ModelArkErrorBudgetBurnsFast": _burns(8, 7, 30),
    "ModelArkErrorBudgetBurnsSteadily": _burns(12, 32, 60),
    "ModelArkErrorBudgetBurnsSlowly": _burns(12, 130, 60),
    "ModelArkErrorBudgetRunsOut": _burns(12, 370, 60),
    "ModelArkCallersGiveUp": Row("operation: chat, region: r", (ANSWERED, WHOLE), (CANCELLED,), 4, 4),
    "ModelArkCallsHang": Row(
        "operation: chat",
        (ANSWERED,),
        (),
        6,
        1,
        gauges=lambda now: {
            'modelark_operations_in_flight{operation="chat"}': len(now.met) if now.in_trouble else 0,
            'modelark_oldest_operation_start_seconds{operation="chat"}': (
                60 * now.met[0] if now.in_trouble and now.met else 1e99
            ),
        },
        a_call_a_minute=12,
    ),
    "ModelArkModelUnavailable": Row("model: m", (ANSWERED,), (GONE,), 14, 6, a_call_a_minute=16),
    "ModelArkChatsSlow": Row(
        "operation: chat",
        (ANSWERED, *_buckets("modelark_operation_duration_seconds", "60", "85", "+Inf")),
        (ANSWERED, *_buckets("modelark_operation_duration_seconds", "85", "+Inf")),
        12,
        7,
        a_call_a_minute=13,
    ),
    "ModelArkStreamsBeginLate": Row(
        "operation: chat",
        (ANSWERED, *_buckets("modelark_time_to_first_chunk_seconds", "10", "14", "+Inf")),
        (ANSWERED, *_buckets("modelark_time_to_first_chunk_seconds", "14", "+Inf")),
        12,
        7,
        a_call_a_minute=13,
    ),
    "ModelArkRegionDown": Row(
        "operation: chat, target: sg", (WELL_SENT,), (_attempt("error", "server_error"),), 2.5, 3
    ),
    "ModelArkFallbackStorm": Row(
        "operation: chat, target: sg", (ANSWERED,), (ANSWERED, MOVED), 7, 5, a_call_a_minute=11
    ),
    "ModelArkBreakerOpen": Row(
        "operation: chat, target: sg",
        (WELL_SENT,),
        (LED_PAST,),
        6,
        1,
        gauges=lambda now: {
            'modelark_breaker_state{operation="chat", target="sg"}': 2 if now.in_trouble else 0
        },
        a_call_a_minute=7,
    ),
    "ModelArkDeadCredential": Row(
        "target: sg", (WELL_SENT,), (_attempt("error", "auth"),), 1, 11, a_call_a_minute=11
    ),
    "ModelArkStreamsBreak": Row("operation: chat", (STREAMS,), (STREAMS, BROKEN), 7, 11, a_call_a_minute=11),
    "ModelArkPossibleDuplicates": Row(
        "target: sg, action: replayed",
        (ANSWERED,),
        (
            ANSWERED,
            'modelark_possible_duplicates_total{operation="chat", target="sg", action="replayed"}',
        ),
        1,
        61,
        step=60,
        a_call_a_minute=2,
        at_night=True,
    ),
    "ModelArkSpendsTooMuch": Row(
        "",
        (ANSWERED,),
        (ANSWERED, COST),
        15,
        24 * 60 + 10,
        costs={COST: 20.0},
        constant=(f'{DAILY_BUDGET}{{job="shop"}} 100',),
        step=300,
        a_call_a_minute=15,
    ),
    "ModelArkUnseen": Row("", (ANSWERED,), (), 6, 1, hides=lambda pod: True, a_call_a_minute=6),
    "ModelArkProcessUnseen": Row(
        "instance: pod-0",
        (ANSWERED,),
        (),
        11,
        1,
        hides=lambda pod: pod == "pod-0",
        with_one_pod=False,
        same_address=True,
    ),
    "ModelArkTelemetryErrors": Row(
        "where: span",
        (ANSWERED,),
        (ANSWERED, 'modelark_telemetry_errors_total{where="span"}'),
        1,
        16,
        a_call_a_minute=2,
        at_night=True,
    ),
}


@dataclass(frozen=True)
class Cell:
    """A service in a condition, and when the alert is looked at."""

    pods: tuple[Pod, ...]
    trouble: tuple[float, float] | None
    silent: tuple[float, ...] = ()
    firing: tuple[float, ...] = ()


def _every(seconds: float, begins: float, ends: float) -> tuple[float, ...]:
    """Calls between two times, the first of them soon after the beginning."""
    return tuple(
        begins + number * seconds / 60 + 0.05 for number in range(int((ends - begins) * 60 / seconds))
    )


def _three(ends: float) -> tuple[Pod, ...]:
    """Half a call a second."""
    return tuple(Pod(f"pod-{number}", _every(6, 0, ends)) for number in range(3))


def _released(row: Row, *releases: float) -> tuple[Pod, ...]:
    """Two pods, and two new ones at each release, which have made five calls before anybody reads them."""
    pods = []
    for release, (begins, ends) in enumerate(pairwise(releases)):
        for number in range(2):
            name = f"pod-{number}" if row.same_address else f"pod-{number}-of-{release}"
            calls = (begins,) * 5 * (begins > 0) + _every(4, begins, ends)
            pods.append(Pod(name, calls, begins, ends, begins - 0.1 if begins else -60.0))
    return tuple(pods)


def _stays_silent(row: Row) -> Cell:
    return Cell(_three(40), None, silent=(1, 10, 20, 39))


def _fires(row: Row) -> Cell:
    return Cell(_three(40), (BEGINS, BEGINS + LASTS), (BEGINS,), (BEGINS + row.within, BEGINS + LASTS - 1))


def _ends(row: Row) -> Cell:
    gone = BEGINS + LASTS + row.over
    return Cell(
        _three(gone + 1), (BEGINS, BEGINS + LASTS), silent=(BEGINS, gone), firing=(BEGINS + LASTS - 1,)
    )


def _one_call_a_minute(row: Row) -> Cell:
    pod, trouble = Pod("pod-0", _every(60, 0, BEGINS + LASTS)), (BEGINS, BEGINS + LASTS)
    if row.a_call_a_minute is None:
        return Cell((pod,), trouble, silent=(5, 19, 22, 25, 30, 35, 39))
    return Cell((pod,), trouble, (5, BEGINS), (BEGINS + row.a_call_a_minute, BEGINS + LASTS - 1))


def _one_pod(row: Row) -> Cell:
    pod, trouble = Pod("pod-0", _every(2, 0, BEGINS + LASTS)), (BEGINS, BEGINS + LASTS)
    if not row.with_one_pod:
        return Cell((pod,), trouble, silent=(19, 25, 39))
    return Cell((pod,), trouble, (1, BEGINS), (BEGINS + row.within, BEGINS + LASTS - 1))


def _a_deploy(row: Row) -> Cell:
    pods = _released(row, 0, BEGINS, BEGINS + LASTS)
    return Cell(pods, None, silent=(BEGINS + 0.5, BEGINS + 1, BEGINS + 3, BEGINS + row.within, 39))


def _a_bad_deploy(row: Row) -> Cell:
    pods = _released(row, 0, BEGINS, BEGINS + LASTS, BEGINS + LASTS + row.over + 1)
    return Cell(
        pods,
        (BEGINS, BEGINS + LASTS),
        (BEGINS - 1, BEGINS + LASTS + row.over),
        (BEGINS + row.within, BEGINS + LASTS - 1),
    )


def _at_night(row: Row) -> Cell:
    pod = Pod("pod-0", (*_every(20 * 60, 0, NIGHT), NIGHT, NIGHT + 0.5, *_every(20 * 60, NIGHT + 20, 80)))
    looked = tuple(NIGHT + after for after in (1, 2, 3, 5, 7, 10, 15, 20))
    trouble = (NIGHT, NIGHT + 0.75)
    if not row.at_night:
        return Cell((pod,), trouble, (19, 39, *looked))
    return Cell((pod,), trouble, (19, 39), looked[:1])


CONDITIONS: dict[str, Callable[[Row], Cell]] = {
    "fires": _fires,
    "stays silent": _stays_silent,
    "ends": _ends,
    "at one call a minute": _one_call_a_minute,
    "with one pod": _one_pod,
    "after a deploy": _a_deploy,
    "after a deploy that brings the trouble, and is taken back": _a_bad_deploy,
    "at night": _at_night,
}


def case(alert: str, condition: str) -> dict:
    """The cell as promtool reads it."""
    row = TABLE[alert]
    cell = CONDITIONS[condition](row)
    step, last = row.step / 60, max((*cell.silent, *cell.firing))
    times = [number * step for number in range(int(last / step) + 2)]
    series: dict[str, list[str]] = {}
    for pod in cell.pods:
        for name, samples in _samples(row, cell, pod, times):
            before = series.setdefault(name, ["_"] * len(times))
            # Where a new process answers at the address of an old one, the old one's samples stand before its own.
            series[name] = [old if new == "_" else new for old, new in zip(before, samples, strict=True)]
    for line in row.constant:
        name, value = line.rsplit(" ", 1)
        series[name] = [value] * len(times)
    labels = {"job": "shop", "severity": SEVERITY[alert], **_labels(row.labels)}
    return {
        "name": f"{alert} {condition}",
        "interval": f"{row.step}s",
        "input_series": [{"series": name, "values": " ".join(samples)} for name, samples in series.items()],
        "alert_rule_test": [
            {
                "alertname": alert,
                "eval_time": f"{round(at * 60)}s",
                "exp_alerts": [{"exp_labels": labels}] * (at in cell.firing),
            }
            for at in sorted((*cell.silent, *cell.firing))
        ],
    }


def _labels(text: str) -> dict[str, str]:
    return dict(each.split(": ") for each in text.split(", ") if each)


def _samples(row: Row, cell: Cell, pod: Pod, times: list[float]) -> Iterator[tuple[str, list[str]]]:
    """Each series of a process: nothing before there is something to show, and where nobody can read it."""
    begins, ends = cell.trouble or (1e9, 1e9)
    shown: dict[str, list[str]] = {}
    for number, at in enumerate(times):
        there, in_trouble = pod.begins <= at < pod.ends, begins <= at < ends
        seen = there and not (in_trouble and row.hides(pod.name))
        made = bisect_right(pod.calls, at)
        met = pod.calls[bisect_left(pod.calls, begins, 0, made) : bisect_left(pod.calls, ends, 0, made)]
        values = {"up{}": float(seen)} if there else {}
        if seen:
            values |= row.gauges(Now(at, in_trouble, met))
            values |= {"modelark_build_info{}": 1, "modelark_process_start_time_seconds{}": 60 * pod.started}
            for name in {*row.well, *row.trouble}:
                moved = (name in row.well) * (made - len(met)) + (name in row.trouble) * len(met)
                if moved:
                    values[name] = moved * row.costs.get(name, 1.0)
        for name in {*shown, *values}:
            samples = shown.setdefault(name, ["_"] * number)
            gone = len(samples) > 0 and samples[-1] not in ("_", "stale")
            samples.append(f"{values[name]:g}" if name in values else "stale" if gone else "_")
    for name, samples in shown.items():
        metric, _, labels = name.partition("{")
        inside = ", ".join(filter(None, ('job="shop"', f'instance="{pod.name}"', labels.removesuffix("}"))))
        yield f"{metric}{{{inside}}}", samples
