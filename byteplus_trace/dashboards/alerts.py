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
    OPERATION_DURATION,
    OPERATIONS,
    SKIPPED,
    STREAM_BREAKS,
    TELEMETRY_ERRORS,
)
from .promql import Lens, share, total
from .recordings import refused_by_region, wanted_from_region
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
"""Fewer failures in the window than this wake nobody. One failed call and its SDK's two repeats are three."""

_2M, _5M, _10M, _1H = Lens("2m"), Lens("5m"), Lens("10m"), Lens("1h")


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


def _dead_credential() -> Alert:
    """
    Only a refusal makes a credential dead: a target without a key is passed over for the same reason.

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
        share(
            "job_region:modelark_operations_cancelled:increase3m", "job_region:modelark_operations:increase3m"
        ),
        f"> {DOWN:g} and job_region:modelark_operations_cancelled:increase3m >= {ENOUGH['page']}"
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
        share(
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
        f"> {DOWN:g} and {refused_by_region('3m')} >= {ENOUGH['page']}",
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
        "The callers are served elsewhere, and no target remains if the other target fails too.",
        empty_when_well="without a policy nothing moves",
    ),
    Alert(
        "ModelArkBreakerOpen",
        _5M.gauge(BREAKER, "job", "target", "operation", reduce="max"),
        f"> 0 and on (job, target) {wanted_from_region('5m')} > 0",
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
            _10M.rate(STREAM_BREAKS, "job", phase="after_output"),
            _10M.count(OPERATION_DURATION, "job", stream="true"),
        ),
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
        Lens("15m").new_too(TELEMETRY_ERRORS, "job", "where"),
        "> 0",
        "0m",
        "ticket",
        "byteplus-trace failed at {{ $labels.where }} in {{ $labels.job }}",
        "No call was affected, but spans or series may be missing. Please report it with the log of `byteplus_trace`.",
        empty_when_well="this library has made no fault",
    ),
)
