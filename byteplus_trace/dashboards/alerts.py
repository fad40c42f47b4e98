"""
When somebody is woken, or asked to look.

Every alert is split into what is measured and when it is too much, so that a test can see
that there is something to measure while all is well. Each leads to its section in
`docs/alerts.md`, which is written beside the rules.
"""

from __future__ import annotations

from .._instruments import (
    ATTEMPTS,
    BREAKER,
    BUILD_INFO,
    DUPLICATES,
    IN_FLIGHT,
    OLDEST,
    OPERATION_DURATION,
    OPERATIONS,
    SKIPPED,
    STREAM_BREAKS,
    TELEMETRY_ERRORS,
)
from .promql import Lens, share, total
from .recordings import CALLS, ERRORS, MOVED, refused_by_region, wanted_from_region
from .resilience import RISKED
from .rules import Alert, Severity

BUDGET = 0.01
"""One call in a hundred may fail."""

DOWN = 0.65
"""
This share of three minutes' calls is an outage.

A total one is that within 2 minutes. One of a minute is not, even where the SDK above sends each failed call three
times, nor where a breaker waits for 45 seconds longer before it tries again.
"""

ENOUGH: dict[Severity, int] = {"page": 10, "ticket": 5}
"""Fewer failures in the window than this wake nobody."""

HANGING = "4m"
"""A process whose calls are older than this, and of which none has ended in this time, hangs."""

DAILY_BUDGET = "job:modelark_cost_usd:budget1d"
"""US dollars in 24 hours, as the user records it in `budget.yml`; where there is none, nothing is compared."""

_5M, _10M, _15M, _1H = Lens("5m"), Lens("10m"), Lens("15m"), Lens("1h")


def _burn(name: str, times: float, long: str, short: str, severity: Severity, spent: str) -> Alert:
    """
    The budget burns this many times too fast, over a long window and still over a short one.

    The pairs are those of Google's SRE workbook ("Alerting on SLOs"). The long window keeps a blip from waking anyone,
    the short one lets the alert end when the trouble does.
    """
    too_much = f"> {times:g} * {BUDGET:g}"
    return Alert(
        name,
        f"{ERRORS}:ratio_increase{long}",
        f"{too_much} and {ERRORS}:ratio_increase{short} {too_much}"
        f" and {ERRORS}:increase{long} >= {ENOUGH[severity]}",
        "2m",
        severity,
        "{{ $value | humanizePercentage }} of the {{ $labels.operation }} calls of {{ $labels.job }} fail",
        f"The error budget of {BUDGET:.0%} is spent {times:g} times too fast, over {long} and over {short}: {spent}. "
        "Calls that were rescued, requests that were wrong and what an SDK repeats are not counted.",
    )


def _dead_credential() -> Alert:
    """
    Only a refusal makes a credential dead: a target without a key is passed over for the same reason.

    One that is dead is tried every five minutes, and passed over in between.
    """
    refused = {"result": "error", "reason": "auth"}
    unserved = total(
        ("job", "target"),
        _10M.increase(ATTEMPTS, "job", "target", **refused),
        _10M.increase(SKIPPED, "job", "target", reason="dead_credential"),
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


def _hanging() -> str:
    """
    Calls under way in processes where the oldest is old and none has ended since.

    Its age is the clock's minus its beginning, so that a process that hangs altogether grows old as well.
    """
    process, lens = "job, instance, operation", Lens(HANGING)
    in_flight = lens.gauge(IN_FLIGHT, "job", "instance", "operation")
    began = lens.gauge(OLDEST, "job", "instance", "operation", reduce="min")
    ended = lens.increase(OPERATIONS, "job", "instance", "operation")
    return (
        f"sum by (job, operation) ({in_flight} and on ({process}) {began} < {lens.began}"
        f" unless on ({process}) {ended} > 0)"
    )


_UNAVAILABLE = "job_model:modelark_operations_unavailable:increase5m"
_CANCELLED, _SHOWN, _ENDED = (
    f"job_operation_region:modelark_operations{what}:increase3m" for what in ("_cancelled", "_shown", "")
)

ALERTS = (
    Alert(
        "ModelArkCallsFail",
        f"{ERRORS}:ratio_increase3m",
        f"> {DOWN:g} and {ERRORS}:increase3m >= {ENOUGH['page']}",
        "1m",
        "page",
        "{{ $value | humanizePercentage }} of the {{ $labels.operation }} calls of {{ $labels.job }} fail now",
        "Most callers see an error. Calls that were rescued, requests that were wrong and what an SDK repeats are not "
        "counted.",
    ),
    _burn("ModelArkErrorBudgetBurnsFast", 14.4, "1h", "5m", "page", "a month's would be gone in two days"),
    _burn("ModelArkErrorBudgetBurnsSteadily", 6, "6h", "30m", "page", "a month's would be gone in five days"),
    _burn("ModelArkErrorBudgetBurnsSlowly", 3, "1d", "2h", "ticket", "a month's would be gone in ten days"),
    _burn("ModelArkErrorBudgetRunsOut", 1, "3d", "6h", "ticket", "nothing of it will remain"),
    Alert(
        "ModelArkCallersGiveUp",
        share(_CANCELLED, _ENDED),
        f"> {DOWN:g} and {_CANCELLED} >= {ENOUGH['page']} unless {_SHOWN} > (1 - {DOWN:g}) * {_ENDED}",
        "1m",
        "page",
        "{{ $value | humanizePercentage }} of the {{ $labels.operation }} callers of {{ $labels.job }} give up on "
        "{{ $labels.region }}",
        "They cancel before anything was shown, as they do when a region accepts calls and never answers. No error is "
        "counted for it.",
    ),
    Alert(
        "ModelArkCallsHang",
        _hanging(),
        f">= {ENOUGH['page']}",
        "1m",
        "page",
        "{{ $value }} {{ $labels.operation }} calls of {{ $labels.job }} hang",
        f"The oldest began more than {HANGING} ago, and in the same process none has ended since, well or badly: a region "
        "that accepts calls and never answers, and callers who wait for it as long as the SDK lets them.",
        empty_when_well="nothing hangs",
    ),
    Alert(
        "ModelArkModelUnavailable",
        share(_UNAVAILABLE, "job_model:modelark_operations:increase5m"),
        f"> 0.5 and {_UNAVAILABLE} >= {ENOUGH['ticket']}",
        "10m",
        "ticket",
        "ModelArk does not serve {{ $labels.model }} to {{ $labels.job }}",
        "The model was retired or never opened for the account, or its endpoint was closed or misspelt.",
    ),
    Alert(
        "ModelArkChatsSlow",
        'job_operation:modelark_operation_duration_seconds:p95_increase5m{operation="chat"}',
        f"> 60 and {CALLS}:increase30m >= {ENOUGH['ticket']}",
        "10m",
        "ticket",
        "5 of 100 chats of {{ $labels.job }} take more than {{ $value | humanizeDuration }}",
        "Retries and fallbacks included. Compare the targets' attempt latency on the page ModelArk resilience.",
    ),
    Alert(
        "ModelArkStreamsBeginLate",
        'job_operation:modelark_time_to_first_chunk_seconds:p95_increase5m{operation="chat"}',
        f"> 10 and {CALLS}:increase30m >= {ENOUGH['ticket']}",
        "10m",
        "ticket",
        "5 of 100 streams of {{ $labels.job }} show nothing for {{ $value | humanizeDuration }}",
        "The time to the first output is what a reader feels. Reasoning counts as output.",
    ),
    Alert(
        "ModelArkRegionDown",
        "job_operation_target:modelark_attempt_errors:ratio_increase3m",
        f"> {DOWN:g} and {refused_by_region('3m')} >= {ENOUGH['page']}",
        "0m",
        "page",
        "{{ $labels.target }} fails {{ $value | humanizePercentage }} of the {{ $labels.operation }} calls that "
        "{{ $labels.job }} has for it",
        "Failures of the region and the way to it, and calls led past its open breaker: rate limits, keys and wrong "
        "requests are not counted. Without a policy the target is the region.",
    ),
    Alert(
        "ModelArkFallbackStorm",
        f"{MOVED}:ratio_increase5m",
        f"> 0.25 and {MOVED}:increase5m >= {ENOUGH['ticket']}",
        "5m",
        "ticket",
        "{{ $value | humanizePercentage }} of the {{ $labels.operation }} calls of {{ $labels.job }} leave "
        "{{ $labels.target }} or are led past it",
        "The callers are served elsewhere, and no target remains if the other target fails too.",
        empty_when_well="without a policy nothing moves",
    ),
    Alert(
        "ModelArkBreakerOpen",
        _5M.gauge(BREAKER, "job", "target", "operation", reduce="max"),
        f"> 0 and on (job, target, operation) {wanted_from_region('5m')} > 0",
        "5m",
        "ticket",
        "{{ $labels.job }} has sent no {{ $labels.operation }} to {{ $labels.target }} for 5 minutes, except probes",
        "The breaker is open, or half-open again and again: the target did not answer one probe well in that time.",
        empty_when_well="without a policy there are no breakers",
    ),
    _dead_credential(),
    Alert(
        "ModelArkStreamsBreak",
        share(
            _10M.increase(STREAM_BREAKS, "job", "operation", phase="after_output"),
            _10M.increase(OPERATION_DURATION, "job", "operation", stream="true"),
        ),
        f"> 0.02 and {_10M.increase(STREAM_BREAKS, 'job', 'operation', phase='after_output')} >= {ENOUGH['ticket']}",
        "5m",
        "ticket",
        "{{ $value | humanizePercentage }} of the {{ $labels.operation }} streams of {{ $labels.job }} break after their first output",
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
        "ModelArkSpendsTooMuch",
        "job:modelark_cost_usd:increase1d",
        f"> on (job) {DAILY_BUDGET}",
        "5m",
        "ticket",
        "{{ $labels.job }} has spent {{ $value | humanize }} US dollars at ModelArk in 24 hours",
        "More than its budget in `budget.yml`. The figure is an estimate, and calls without a known price are not in it.",
    ),
    Alert(
        "ModelArkUnseen",
        Lens("6h").seen(BUILD_INFO, "job"),
        f"and count by (job) (up) unless {_5M.gauge(BUILD_INFO, 'job', reduce='count')}",
        "5m",
        "page",
        "{{ $labels.job }} no longer reports its ModelArk calls",
        "None of its processes can be read, or none of them calls `instrument()` any more: no other alert can fire for "
        "it.",
    ),
    Alert(
        "ModelArkProcessUnseen",
        Lens("6h").seen(BUILD_INFO, "job", "instance"),
        f"and on (job, instance) up == 0 and on (job) {_5M.gauge(BUILD_INFO, 'job', reduce='count')}",
        "10m",
        "ticket",
        "{{ $labels.instance }} of {{ $labels.job }} no longer reports its ModelArk calls",
        "Prometheus cannot read it, while it reads others of the same job. Its calls are in no series.",
    ),
    Alert(
        "ModelArkTelemetryErrors",
        _15M.increase(TELEMETRY_ERRORS, "job", "where"),
        "> 0",
        "0m",
        "ticket",
        "byteplus-trace failed at {{ $labels.where }} in {{ $labels.job }}",
        "No call was affected, but spans or series may be missing. Please report it with the log of `byteplus_trace`.",
        empty_when_well="this library has made no fault",
    ),
)
