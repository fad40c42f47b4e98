"""
What Prometheus records for the alerts, under the names `<labels>:modelark_<metric>:<op>`.

The error budget is spent by failures that somebody can do something about: a request
that ModelArk refuses as wrong or unsafe is its caller's, and no reason to wake anyone.
"""

from __future__ import annotations

from .._classify import CALLERS_OWN, MODEL_GONE, Verdict, codes_of
from .._facts import Reason
from .._instruments import (
    ATTEMPT_DURATION,
    ATTEMPTS,
    COST,
    FALLBACKS,
    FIRST_CHUNK,
    OPERATION_DURATION,
    OPERATIONS,
    SKIPPED,
    TOKENS,
)
from .overview import CANCELLED, FAILED, SPENT
from .promql import Lens, Not, renamed, share, total
from .resilience import LED_PAST
from .rules import Recording


def _error_types(*verdicts: Verdict) -> tuple[str, ...]:
    """The values of the label `error_type`, as regular expressions: codes end at their first dot there."""
    return tuple(code.partition(".")[0].replace("*", ".*") for code in codes_of(*verdicts))


REFUSED_AS_WRONG = ("400", "404", "413", "415", "422", *_error_types(*CALLERS_OWN))
MODEL_REFUSED = _error_types(*MODEL_GONE)

THE_REGIONS: tuple[Reason, ...] = (
    "connect", "timeout", "reset", "overloaded", "server_error", "stream_error", "empty", "cut", "idle",
)  # fmt: skip
"""Reasons that speak against a region, rather than an account, a key or a request."""


def refused_by_region(window: str) -> str:
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


def wanted_from_region(window: str) -> str:
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
        Recording(f"job:modelark_operation_errors:ratio_rate{window}", share(wrong, counted)),
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
    """The share of a calls that a target failed, or that were led past it because it was known to fail."""
    lens = Lens(window)
    moved = total(
        ("job", "target"),
        renamed(lens.each(FALLBACKS), "from_target", "target"),
        lens.each(SKIPPED, reason=LED_PAST),
    )
    return f"{moved} / on (job) group_left () ({lens.increase(OPERATIONS, 'job')} > 0)"


_3M, _5M, _1H = Lens("3m"), Lens("5m"), Lens("1h")
ERROR_WINDOWS = ("3m", "5m", "30m", "1h", "6h")

RECORDINGS = (
    Recording("job_operation:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation")),
    Recording("job_operation_outcome:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation", "outcome")),
    *(recording for window in ERROR_WINDOWS for recording in _errors(window)),
    Recording("job_region:modelark_operations:increase3m", _3M.new_too(OPERATIONS, "job", "region")),
    Recording("job_region:modelark_operations_cancelled:increase3m", _3M.new_too(OPERATIONS, "job", "region", outcome=CANCELLED)),
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
        share(refused_by_region("3m"), wanted_from_region("3m")),
    ),
    Recording(
        "job_target:modelark_attempt_duration_seconds:p95_rate5m",
        _5M.quantile(0.95, ATTEMPT_DURATION, "job", "target", result="ok"),
    ),
    Recording("job_target:modelark_operations_moved:ratio_rate5m", _moved("5m")),
    Recording("job_model:modelark_tokens:rate5m", _5M.rate(TOKENS, "job", "model", type=SPENT)),
    Recording("job_model:modelark_cost_usd:rate1h", _1H.rate(COST, "job", "model")),
)  # fmt: skip
