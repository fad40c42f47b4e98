"""
What Prometheus records for the alerts, under the names `<labels>:modelark_<metric>:<op>`.

The error budget is spent by failures that somebody can do something about: a request
that ModelArk refuses as wrong or unsafe is its caller's, and no reason to wake anyone.
What an SDK repeats is no call of its own: the first failure is counted, and not the ones
after it.

Windows of more than an hour are sums of what was recorded for five minutes each, so that
an evaluation reads a few hundred samples and not days of every series.
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
FIRST_SENT = Not(("true",))
"""Of the label `repeat`: what no SDK repeats."""

THE_REGIONS: tuple[Reason, ...] = (
    "connect", "timeout", "reset", "overloaded", "server_error", "stream_error", "empty", "cut", "idle",
)  # fmt: skip
"""Reasons that speak against a region, rather than an account, a key or a request."""

WHERE = ("job", "target", "operation")


def refused_by_region(window: str) -> str:
    """
    How many calls a target failed or, because it had failed, never got.

    Behind an open breaker there are hardly any attempts: what is passed over there counts as what would have failed.
    """
    lens = Lens(window)
    return total(
        WHERE,
        lens.increase(ATTEMPTS, *WHERE, result="error", reason=THE_REGIONS),
        lens.increase(SKIPPED, *WHERE, reason="breaker_open"),
    )


def wanted_from_region(window: str) -> str:
    """How many calls a target got, or would have got but for its breaker."""
    lens = Lens(window)
    return total(
        WHERE,
        lens.increase(ATTEMPTS, *WHERE, result=("ok", "error")),
        lens.increase(SKIPPED, *WHERE, reason="breaker_open"),
    )


def summed(recorded: str, window: str) -> str:
    """What was recorded for five minutes at a time, over a longer window."""
    return f"sum_over_time({recorded}:increase5m[{window}:5m])"


CALLS, ERRORS = "job_operation:modelark_operations", "job_operation:modelark_operation_errors"
MOVED = "job_operation_target:modelark_operations_moved"


def _counted(window: str) -> tuple[Recording, ...]:
    """A service's calls of one operation, those that failed and should not have, and their share."""
    if window in LONG_WINDOWS:
        calls, errors = summed(CALLS, window), summed(ERRORS, window)
    else:
        lens = Lens(window)
        calls = lens.increase(OPERATIONS, "job", "operation", repeat=FIRST_SENT)
        errors = lens.increase(
            OPERATIONS,
            "job",
            "operation",
            outcome=FAILED,
            error_type=Not(REFUSED_AS_WRONG),
            repeat=FIRST_SENT,
        )
    return (
        Recording(f"{CALLS}:increase{window}", calls),
        Recording(f"{ERRORS}:increase{window}", errors),
        Recording(
            f"{ERRORS}:ratio_increase{window}",
            share(f"{ERRORS}:increase{window}", f"{CALLS}:increase{window}"),
        ),
    )


def _shown(window: str) -> str:
    """How many calls brought something: streams that began, and whole answers."""
    lens, by = Lens(window), ("job", "operation", "region")
    return total(
        by,
        lens.increase(FIRST_CHUNK, *by),
        lens.increase(OPERATION_DURATION, *by, stream="false", result="ok"),
    )


def _moved(window: str) -> tuple[Recording, ...]:
    """A service's calls that a target failed, or that were led past it because it was known to fail, and their share."""
    lens = Lens(window)
    moved = total(
        WHERE,
        renamed(lens.increase(FALLBACKS, "job", "from_target", "operation"), "from_target", "target"),
        lens.increase(SKIPPED, *WHERE, reason=LED_PAST),
    )
    return (
        Recording(f"{MOVED}:increase{window}", moved),
        Recording(
            f"{MOVED}:ratio_increase{window}",
            f"{MOVED}:increase{window} / on (job, operation) group_left () ({CALLS}:increase{window} > 0)",
        ),
    )


_3M, _5M, _1H = Lens("3m"), Lens("5m"), Lens("1h")
SHORT_WINDOWS, LONG_WINDOWS = ("3m", "5m", "30m", "1h"), ("2h", "6h", "1d", "3d")
_BY_REGION = ("job", "operation", "region")

RECORDINGS = (
    Recording("job_operation:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation")),
    Recording("job_operation_outcome:modelark_operations:rate5m", _5M.rate(OPERATIONS, "job", "operation", "outcome")),
    *(recording for window in (*SHORT_WINDOWS, *LONG_WINDOWS) for recording in _counted(window)),
    Recording("job_operation_region:modelark_operations:increase3m", _3M.increase(OPERATIONS, *_BY_REGION)),
    Recording(
        "job_operation_region:modelark_operations_cancelled:increase3m",
        _3M.increase(OPERATIONS, *_BY_REGION, outcome=CANCELLED),
    ),
    Recording("job_operation_region:modelark_operations_shown:increase3m", _shown("3m")),
    Recording("job_model:modelark_operations:increase5m", _5M.increase(OPERATIONS, "job", "model", repeat=FIRST_SENT)),
    Recording(
        "job_model:modelark_operations_unavailable:increase5m",
        _5M.increase(OPERATIONS, "job", "model", outcome=FAILED, error_type=MODEL_REFUSED, repeat=FIRST_SENT),
    ),
    Recording(
        "job_operation:modelark_operation_duration_seconds:p95_increase5m",
        _5M.quantile(0.95, OPERATION_DURATION, "job", "operation"),
    ),
    Recording(
        "job_operation:modelark_time_to_first_chunk_seconds:p95_increase5m",
        _5M.quantile(0.95, FIRST_CHUNK, "job", "operation"),
    ),
    Recording(
        "job_operation_target:modelark_attempt_errors:ratio_increase3m",
        share(refused_by_region("3m"), wanted_from_region("3m")),
    ),
    Recording(
        "job_target:modelark_attempt_duration_seconds:p95_increase5m",
        _5M.quantile(0.95, ATTEMPT_DURATION, "job", "target", result="ok"),
    ),
    *_moved("5m"),
    Recording("job_model:modelark_tokens:rate5m", _5M.rate(TOKENS, "job", "model", type=SPENT)),
    Recording("job_model:modelark_cost_usd:rate1h", _1H.rate(COST, "job", "model")),
    Recording("job:modelark_cost_usd:increase5m", _5M.increase(COST, "job")),
    Recording("job:modelark_cost_usd:increase1d", summed("job:modelark_cost_usd", "1d")),
)  # fmt: skip
