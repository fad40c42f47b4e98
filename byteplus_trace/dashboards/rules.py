"""
Recording and alerting rules, as values and as the file that Prometheus reads.

Recorded names are `<labels>:modelark_<metric>:<op>`. Every alert is split into what is
measured and when it is too much, so that a test can see that there is something to
measure while all is well. Each leads to its section in `docs/alerts.md`.

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
    COST,
    DUPLICATES,
    FALLBACKS,
    FIRST_CHUNK,
    OPERATION_DURATION,
    OPERATIONS,
    SKIPPED,
    STREAM_BREAKS,
    TELEMETRY_ERRORS,
    TOKENS,
)
from .overview import FAILED, SPENT
from .promql import Lens, Not, or_none_of, ratio
from .resilience import RISKED

RUNBOOK = "docs/alerts.md"

BUDGET = 0.01
"""One call in a hundred may fail."""

# ModelArk's codes for a request that is wrong or unsafe, up to their first dot, and the bare statuses.
CALLERS_OWN = (
    "400", "404", "413", "415", "422", "InvalidParameter", "InvalidArgument.*", "MissingParameter",
    "InvalidEndpointOrModel", "ModelNotOpen", ".*SensitiveContent.*",
)  # fmt: skip

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
    severity: Literal["page", "ticket"]
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


def _budget_spent(window: str) -> str:
    """The share of a service's calls that failed and should not have."""
    lens = Lens(window)
    calls = lens.rate(OPERATIONS, "job")
    failed = lens.rate(OPERATIONS, "job", outcome=FAILED, error_type=Not(CALLERS_OWN))
    return ratio(or_none_of(failed, calls), calls)


def _region_failing(window: str) -> str:
    lens = Lens(window)
    sent = lens.rate(ATTEMPTS, "job", "region", result=("ok", "error"))
    failed = lens.rate(ATTEMPTS, "job", "region", result="error", reason=THE_REGIONS)
    return ratio(or_none_of(failed, sent), sent)


_5M, _1H = Lens("5m"), Lens("1h")
ERROR_WINDOWS = ("5m", "30m", "1h", "6h")

RECORDINGS = (
    Recording("job_operation:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation")),
    Recording("job_operation_outcome:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation", "outcome")),
    *(Recording(f"job:modelark_operation_errors:ratio_rate{window}", _budget_spent(window)) for window in ERROR_WINDOWS),
    Recording(
        "job_operation:modelark_operation_duration_seconds:p95_rate5m",
        _5M.quantile(0.95, OPERATION_DURATION, "job", "operation"),
    ),
    Recording(
        "job_operation:modelark_time_to_first_chunk_seconds:p95_rate5m",
        _5M.quantile(0.95, FIRST_CHUNK, "job", "operation"),
    ),
    Recording("job_region:modelark_attempt_errors:ratio_rate5m", _region_failing("5m")),
    Recording(
        "job_target:modelark_attempt_duration_seconds:p95_rate5m",
        _5M.quantile(0.95, ATTEMPT_DURATION, "job", "target", result="ok"),
    ),
    Recording(
        "job:modelark_fallbacks:ratio_rate5m",
        ratio(or_none_of(_5M.rate(FALLBACKS, "job"), _5M.rate(OPERATIONS, "job")), _5M.rate(OPERATIONS, "job")),
    ),
    Recording("job_model:modelark_tokens:rate5m", _5M.rate(TOKENS, "job", "model", type=SPENT)),
    Recording("job_model:modelark_cost_usd:rate1h", _1H.rate(COST, "job", "model")),
)  # fmt: skip


def _burn(
    name: str, times: float, short: str, long: str, severity: Literal["page", "ticket"], lasts: str
) -> Alert:
    """
    The budget burns this many times too fast, over a long window and still over a short one.

    The long window keeps a blip from waking anyone, the short one lets the alert end when the trouble does.
    """
    too_much = f"> {times:g} * {BUDGET:g}"
    return Alert(
        name,
        f"job:modelark_operation_errors:ratio_rate{long}",
        f"{too_much} and job:modelark_operation_errors:ratio_rate{short} {too_much}",
        "2m",
        severity,
        "{{ $value | humanizePercentage }} of the ModelArk calls of {{ $labels.job }} fail",
        f"The error budget of {BUDGET:.0%} is spent {times:g} times too fast, over {long} and over {short}: a month's "
        f"would be gone in {lasts}. Calls that were rescued and requests that were wrong are not counted.",
    )


def _stream_breaks_in_sight() -> str:
    lens = Lens("10m")
    streams = lens.count(OPERATION_DURATION, "job", stream="true")
    return ratio(or_none_of(lens.rate(STREAM_BREAKS, "job", phase="after_output"), streams), streams)


def _refused_credentials() -> str:
    lens = Lens("10m")
    refused = lens.increase(ATTEMPTS, "job", "target", result="error", reason="auth")
    passed_over = lens.increase(SKIPPED, "job", "target", reason="dead_credential")
    return f"({passed_over} > 0 or {refused})"


ALERTS = (
    _burn("ModelArkErrorBudgetBurnsFast", 14.4, "5m", "1h", "page", "two days"),
    _burn("ModelArkErrorBudgetBurnsSlowly", 6, "30m", "6h", "ticket", "five days"),
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
        "job_region:modelark_attempt_errors:ratio_rate5m",
        "> 0.9",
        "2m",
        "page",
        "{{ $labels.region }} fails {{ $value | humanizePercentage }} of what {{ $labels.job }} sends there",
        "Failures of the region and the way to it: rate limits, keys and wrong requests are not counted.",
    ),
    Alert(
        "ModelArkFallbackStorm",
        "job:modelark_fallbacks:ratio_rate5m",
        "> 0.25",
        "5m",
        "ticket",
        "{{ $value | humanizePercentage }} of the ModelArk calls of {{ $labels.job }} move to another target",
        "The callers are served, but more slowly, and nothing is left to move to if the other target fails too.",
    ),
    Alert(
        "ModelArkBreakerOpen",
        Lens("5m").gauge(BREAKER, "job", "target", "operation", reduce="max"),
        "> 0",
        "5m",
        "ticket",
        "{{ $labels.job }} has sent no {{ $labels.operation }} to {{ $labels.target }} for 5 minutes, except probes",
        "The breaker is open, or half-open again and again: the target did not answer one probe well in that time.",
        empty_when_well="without a policy there are no breakers",
    ),
    Alert(
        "ModelArkDeadCredential",
        _refused_credentials(),
        "> 0",
        "0m",
        "page",
        "A credential of {{ $labels.job }} for {{ $labels.target }} is refused",
        "ModelArk answers 401, or 403 for an overdue account. Other targets may be serving its calls meanwhile.",
    ),
    Alert(
        "ModelArkStreamsBreak",
        _stream_breaks_in_sight(),
        "> 0.02",
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
        "ModelArkTelemetryErrors",
        # A counter that begins at 1 has not increased: what is new within the window counts whole.
        f"({Lens('15m').increase(TELEMETRY_ERRORS, 'job', 'where')} > 0"
        f" or sum by (job, where) ({TELEMETRY_ERRORS.name} unless {TELEMETRY_ERRORS.name} offset 15m))",
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
# Prometheus: rule_files: [rules.yml].  What to do when one fires: docs/alerts.md
"""


def rules_file() -> str:
    """The rules as YAML. Words are written as JSON strings, which YAML includes."""
    lines = [HEADER + "groups:", "  - name: modelark-recordings", "    rules:"]
    for recording in RECORDINGS:
        lines += [
            f"      - record: {recording.name}",
            "        expr: |-",
            f"          {recording.expression}",
        ]
    lines += ["  - name: modelark-alerts", "    rules:"]
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
            f"          runbook: {json.dumps(alert.runbook)}",
        ]
    return "\n".join(lines) + "\n"
