"""
Recording and alerting rules, as values and as the file that Prometheus reads.

Recorded names are `<labels>:modelark_<metric>:<op>`. Every alert is split into what is
measured and when it is too much, so that a test can see that there is something to
measure while all is well. Each leads to its section in `docs/alerts.md`, which is written beside the rules.

The error budget is spent by failures that somebody can do something about: a request
that ModelArk refuses as wrong or unsafe is its caller's, and no reason to wake anyone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from .._facts import Reason
from .._instruments import (
    ATTEMPT_DURATION,
    ATTEMPTS,
    BREAKER,
    BUILD_INFO,
    COST,
    DUPLICATES,
    FALLBACKS,
    FIRST_CHUNK,
    IN_FLIGHT,
    OPERATION_DURATION,
    OPERATIONS,
    SKIPPED,
    STREAM_BREAKS,
    TELEMETRY_ERRORS,
    TOKENS,
)
from .._routing.classify import CALLERS_OWN, MODEL_GONE, Verdict, codes_of
from .overview import FAILED, LEFT, SPENT
from .promql import Lens, Not, or_none_of, ratio, renamed, total
from .resilience import LED_PAST, RISKED

Severity = Literal["page", "ticket"]

RUNBOOK = "alerts.md"
"""Beside the rules; written there from `docs/alerts.md`."""

BUDGET = 0.01
"""One call in a hundred may fail."""

DOWN = 0.65
"""
This share of three minutes' calls is an outage.

A total one is that within 2 minutes. One of a minute is not, even where the SDK above sends each failed call three
times, nor where a breaker waits for 45 seconds longer before it tries again.
"""

ENOUGH: dict[Severity, int] = {"page": 10, "ticket": 5}
"""Fewer failures in the window than this wake nobody. One failed call and its SDK's two repeats are three."""


def _error_types(*verdicts: Verdict) -> tuple[str, ...]:
    """The values of the label `error_type`, as regular expressions: codes end at their first dot there."""
    return tuple(code.partition(".")[0].replace("*", ".*") for code in codes_of(*verdicts))


REFUSED_AS_WRONG = ("400", "404", "413", "415", "422", *_error_types(*CALLERS_OWN))
MODEL_REFUSED = _error_types(*MODEL_GONE)

THE_REGIONS: tuple[Reason, ...] = (
    "connect", "timeout", "reset", "overloaded", "server_error", "stream_error", "empty", "cut", "idle",
)  # fmt: skip
"""Reasons that speak against a region, rather than an account, a key or a request."""


@dataclass(frozen=True, slots=True)
class Recording:
    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Alert:
    """
    Args:
        measured: what there always is to see under traffic, one value per thing that can be in trouble.
        too_much: the comparison that makes it an alert, such as `> 0.02`; further conditions follow it.
        summary: one line for a telephone; Prometheus fills in `{{ $labels.job }}` and `{{ $value }}`.
    """

    name: str
    measured: str
    too_much: str
    lasting: str
    severity: Severity
    summary: str
    tells: str
    empty_when_well: str = ""
    """Why there may be nothing to measure, for the few where that is so."""

    @property
    def expression(self) -> str:
        return f"{self.measured} {self.too_much}"

    @property
    def runbook(self) -> str:
        return f"{RUNBOOK}#{self.name.lower()}"


def _share(part: str, whole: str) -> str:
    """Of two recorded series, by the labels that both have."""
    return ratio(or_none_of(part, whole), whole)


def _refused_by_region(window: str) -> str:
    """
    How many calls a target failed or, because it had failed, never got.

    Behind an open breaker there are hardly any attempts: what is passed over there counts as what would have failed.
    """
    lens = Lens(window)
    return total(
        ("job", "target"),
        lens.each(ATTEMPTS, result="error", reason=THE_REGIONS),
        lens.each(SKIPPED, reason="breaker_open"),
    )


def _wanted_from_region(window: str) -> str:
    """How many calls a target got, or would have got but for its breaker."""
    lens = Lens(window)
    return total(
        ("job", "target"),
        lens.each(ATTEMPTS, result=("ok", "error")),
        lens.each(SKIPPED, reason="breaker_open"),
    )


def _errors(window: str) -> tuple[Recording, ...]:
    """A service's calls, those that failed and should not have, and their share."""
    lens = Lens(window)
    failed = lens.new_too(OPERATIONS, "job", outcome=FAILED, error_type=Not(REFUSED_AS_WRONG))
    counted, wrong = (
        f"job:modelark_operations:increase{window}",
        f"job:modelark_operation_errors:increase{window}",
    )
    return (
        Recording(counted, lens.new_too(OPERATIONS, "job")),
        Recording(wrong, failed),
        Recording(f"job:modelark_operation_errors:ratio_rate{window}", _share(wrong, counted)),
    )


def _shown(window: str) -> str:
    """How many calls brought something: streams that began, and whole answers."""
    lens = Lens(window)
    return total(
        ("job", "region"),
        lens.each_new_too(FIRST_CHUNK),
        lens.each_new_too(OPERATION_DURATION, stream="false", result="ok"),
    )


def _moved(window: str) -> str:
    """The share of a service's calls that left a target, or were led past it because it was known to fail."""
    lens = Lens(window)
    moved = total(
        ("job", "target"),
        renamed(lens.each(FALLBACKS), "from_target", "target"),
        lens.each(SKIPPED, reason=LED_PAST),
    )
    return f"{moved} / on (job) group_left () ({lens.increase(OPERATIONS, 'job')} > 0)"


_2M, _3M, _5M, _10M, _1H = Lens("2m"), Lens("3m"), Lens("5m"), Lens("10m"), Lens("1h")
ERROR_WINDOWS = ("3m", "5m", "30m", "1h", "6h")

RECORDINGS = (
    Recording("job_operation:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation")),
    Recording("job_operation_outcome:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation", "outcome")),
    *(recording for window in ERROR_WINDOWS for recording in _errors(window)),
    Recording("job_region:modelark_operations:increase3m", _3M.new_too(OPERATIONS, "job", "region")),
    Recording("job_region:modelark_operations_left:increase3m", _3M.new_too(OPERATIONS, "job", "region", outcome=LEFT)),
    Recording("job_region:modelark_operations_shown:increase3m", _shown("3m")),
    Recording("job_model:modelark_operations:increase5m", _5M.new_too(OPERATIONS, "job", "model")),
    Recording(
        "job_model:modelark_operations_unavailable:increase5m",
        _5M.new_too(OPERATIONS, "job", "model", outcome=FAILED, error_type=MODEL_REFUSED),
    ),
    Recording(
        "job_operation:modelark_operation_duration_seconds:p95_rate5m",
        _5M.quantile(0.95, OPERATION_DURATION, "job", "operation"),
    ),
    Recording(
        "job_operation:modelark_time_to_first_chunk_seconds:p95_rate5m",
        _5M.quantile(0.95, FIRST_CHUNK, "job", "operation"),
    ),
    Recording(
        "job_target:modelark_attempt_errors:ratio_rate3m",
        ratio(or_none_of(_refused_by_region("3m"), _wanted_from_region("3m")), _wanted_from_region("3m")),
    ),
    Recording(
        "job_target:modelark_attempt_duration_seconds:p95_rate5m",
        _5M.quantile(0.95, ATTEMPT_DURATION, "job", "target", result="ok"),
    ),
    Recording("job_target:modelark_operations_moved:ratio_rate5m", _moved("5m")),
    Recording("job_model:modelark_tokens:rate5m", _5M.rate(TOKENS, "job", "model", type=SPENT)),
    Recording("job_model:modelark_cost_usd:rate1h", _1H.rate(COST, "job", "model")),
)  # fmt: skip


def _burn(name: str, times: float, short: str, long: str, severity: Severity, lasts: str) -> Alert:
    """
    The budget burns this many times too fast, over a long window and still over a short one.

    The long window keeps a blip from waking anyone, the short one lets the alert end when the trouble does.
    """
    too_much = f"> {times:g} * {BUDGET:g}"
    return Alert(
        name,
        f"job:modelark_operation_errors:ratio_rate{long}",
        f"{too_much} and job:modelark_operation_errors:ratio_rate{short} {too_much}"
        f" and job:modelark_operation_errors:increase{long} >= {ENOUGH[severity]}",
        "2m",
        severity,
        "{{ $value | humanizePercentage }} of the ModelArk calls of {{ $labels.job }} fail",
        f"The error budget of {BUDGET:.0%} is spent {times:g} times too fast, over {long} and over {short}: a month's "
        f"would be gone in {lasts}. Calls that were rescued and requests that were wrong are not counted.",
    )


def _stream_breaks_in_sight() -> str:
    streams = _10M.count(OPERATION_DURATION, "job", stream="true")
    return ratio(or_none_of(_10M.rate(STREAM_BREAKS, "job", phase="after_output"), streams), streams)


def _dead_credential() -> Alert:
    """
    Only a refusal makes a credential dead: a target without a key is passed over by the same word.

    One that is dead is tried every five minutes, and passed over in between.
    """
    refused = {"result": "error", "reason": "auth"}
    unserved = total(
        ("job", "target"), _10M.each(ATTEMPTS, **refused), _10M.each(SKIPPED, reason="dead_credential")
    )
    return Alert(
        "ModelArkDeadCredential",
        _10M.increase(ATTEMPTS, "job", "target", **refused),
        f"> 0 and {unserved} >= {ENOUGH['page']}",
        "0m",
        "page",
        "A credential of {{ $labels.job }} for {{ $labels.target }} is refused",
        "ModelArk answers 401 or 403. Other targets may be serving its calls meanwhile.",
    )


ALERTS = (
    Alert(
        "ModelArkCallsFail",
        "job:modelark_operation_errors:ratio_rate3m",
        f"> {DOWN:g} and job:modelark_operation_errors:increase3m >= {ENOUGH['page']}",
        "1m",
        "page",
        "{{ $value | humanizePercentage }} of the ModelArk calls of {{ $labels.job }} fail now",
        "Most callers see an error. Calls that were rescued and requests that were wrong are not counted.",
    ),
    _burn("ModelArkErrorBudgetBurnsFast", 14.4, "5m", "1h", "page", "two days"),
    _burn("ModelArkErrorBudgetBurnsSlowly", 6, "30m", "6h", "ticket", "five days"),
    Alert(
        "ModelArkCallersGiveUp",
        _share("job_region:modelark_operations_left:increase3m", "job_region:modelark_operations:increase3m"),
        f"> {DOWN:g} and job_region:modelark_operations_left:increase3m >= {ENOUGH['page']}"
        " unless job_region:modelark_operations_shown:increase3m"
        f" > (1 - {DOWN:g}) * job_region:modelark_operations:increase3m",
        "1m",
        "page",
        "{{ $value | humanizePercentage }} of the callers of {{ $labels.job }} give up on {{ $labels.region }}",
        "They cancel before anything was shown, as they do when a region accepts calls and never answers. No error is "
        "counted for it.",
    ),
    Alert(
        "ModelArkNothingEnds",
        _2M.change(IN_FLIGHT, "job", "operation"),
        f">= {ENOUGH['page']} unless {_2M.new_too(OPERATIONS, 'job', 'operation')} > 0",
        "3m",
        "page",
        "{{ $labels.job }} begins {{ $labels.operation }} calls, and none of them ends",
        "Not one has ended for five minutes, well or badly: a region that accepts calls and never answers, and callers "
        "who wait for it as long as the SDK lets them.",
    ),
    Alert(
        "ModelArkModelUnavailable",
        _share(
            "job_model:modelark_operations_unavailable:increase5m", "job_model:modelark_operations:increase5m"
        ),
        f"> 0.5 and job_model:modelark_operations_unavailable:increase5m >= {ENOUGH['ticket']}",
        "10m",
        "ticket",
        "ModelArk does not serve {{ $labels.model }} to {{ $labels.job }}",
        "The model was retired or never opened for the account, or its endpoint was closed or misspelt.",
    ),
    Alert(
        "ModelArkChatsSlow",
        'job_operation:modelark_operation_duration_seconds:p95_rate5m{operation="chat"}',
        "> 60",
        "10m",
        "ticket",
        "5 of 100 chats of {{ $labels.job }} take more than {{ $value | humanizeDuration }}",
        "Retries and fallbacks included. Compare the targets' attempt latency on the page ModelArk resilience.",
    ),
    Alert(
        "ModelArkStreamsBeginLate",
        'job_operation:modelark_time_to_first_chunk_seconds:p95_rate5m{operation="chat"}',
        "> 10",
        "10m",
        "ticket",
        "5 of 100 streams of {{ $labels.job }} show nothing for {{ $value | humanizeDuration }}",
        "The time to the first output is what a reader feels. Reasoning counts as output.",
    ),
    Alert(
        "ModelArkRegionDown",
        "job_target:modelark_attempt_errors:ratio_rate3m",
        f"> {DOWN:g} and {_refused_by_region('3m')} >= {ENOUGH['page']}",
        "0m",
        "page",
        "{{ $labels.target }} fails {{ $value | humanizePercentage }} of what {{ $labels.job }} has for it",
        "Failures of the region and the way to it, and calls led past its open breaker: rate limits, keys and wrong "
        "requests are not counted. Without a policy the target is the region.",
    ),
    Alert(
        "ModelArkFallbackStorm",
        "job_target:modelark_operations_moved:ratio_rate5m",
        "> 0.25",
        "5m",
        "ticket",
        "{{ $value | humanizePercentage }} of the ModelArk calls of {{ $labels.job }} leave {{ $labels.target }} or are "
        "led past it",
        "The callers are served elsewhere, and nothing is left to move to if the other target fails too.",
        empty_when_well="without a policy nothing moves",
    ),
    Alert(
        "ModelArkBreakerOpen",
        _5M.gauge(BREAKER, "job", "target", "operation", reduce="max"),
        f"> 0 and on (job, target) {_wanted_from_region('5m')} > 0",
        "5m",
        "ticket",
        "{{ $labels.job }} has sent no {{ $labels.operation }} to {{ $labels.target }} for 5 minutes, except probes",
        "The breaker is open, or half-open again and again: the target did not answer one probe well in that time.",
        empty_when_well="without a policy there are no breakers",
    ),
    _dead_credential(),
    Alert(
        "ModelArkStreamsBreak",
        _stream_breaks_in_sight(),
        f"> 0.02 and {_10M.increase(STREAM_BREAKS, 'job', phase='after_output')} >= {ENOUGH['ticket']}",
        "5m",
        "ticket",
        "{{ $value | humanizePercentage }} of the streams of {{ $labels.job }} break after their first output",
        "Their readers saw half an answer. What was shown cannot be taken back, so such calls are never sent again.",
    ),
    Alert(
        "ModelArkPossibleDuplicates",
        _1H.increase(DUPLICATES, "job", "target", "action", action=RISKED),
        "> 0",
        "0m",
        "ticket",
        "{{ $labels.job }} may have paid twice at {{ $labels.target }} ({{ $labels.action }})",
        "A generation was sent again although the first may have run: `replayed` by the policy's leave, `sdk_resend` by "
        "the SDK above, whose own retries should then be 0.",
    ),
    Alert(
        "ModelArkUnseen",
        Lens("6h").seen(BUILD_INFO, "job"),
        f"and count by (job) (up) unless {_5M.gauge(BUILD_INFO, 'job', reduce='count')}",
        "5m",
        "page",
        "{{ $labels.job }} no longer tells of its ModelArk calls",
        "None of its processes can be read, or none of them calls `instrument()` any more: no other alert can fire for "
        "it.",
    ),
    Alert(
        "ModelArkProcessUnseen",
        Lens("6h").seen(BUILD_INFO, "job", "instance"),
        f"and on (job, instance) up == 0 and on (job) {_5M.gauge(BUILD_INFO, 'job', reduce='count')}",
        "10m",
        "ticket",
        "{{ $labels.instance }} of {{ $labels.job }} no longer tells of its ModelArk calls",
        "Prometheus cannot read it, while it reads others of the same job. Its calls are in no series.",
    ),
    Alert(
        "ModelArkTelemetryErrors",
        Lens("15m").new_too(TELEMETRY_ERRORS, "job", "where"),
        "> 0",
        "0m",
        "ticket",
        "byteplus-trace failed at {{ $labels.where }} in {{ $labels.job }}",
        "No call was affected, but spans or series may be missing. Please report it with the log of `byteplus_trace`.",
        empty_when_well="this library has made no fault",
    ),
)

HEADER = """\
# Written by `python -m byteplus_trace.dashboards` from byteplus_trace/dashboards/rules.py: change it there.
# Prometheus: rule_files: [rules.yml].  What to do when one fires: alerts.md, beside this file.
"""


def rules_file() -> str:
    """
    The rules as YAML. Words are written as JSON strings, which YAML includes.

    They are one group, whose rules are evaluated in their order, so that an alert sees what was recorded just before.
    """
    lines = [HEADER + "groups:", "  - name: modelark", "    rules:"]
    for recording in RECORDINGS:
        lines += [
            f"      - record: {recording.name}",
            "        expr: |-",
            f"          {recording.expression}",
        ]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            "        expr: |-",
            f"          {alert.expression}",
            f"        for: {alert.lasting}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f"          summary: {json.dumps(alert.summary)}",
            f"          description: {json.dumps(alert.tells)}",
            f"          runbook_url: {json.dumps(alert.runbook)}",
        ]
    return "\n".join(lines) + "\n"
