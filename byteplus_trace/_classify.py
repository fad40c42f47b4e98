"""
What an outcome means: may the same target be asked again, may the next one, who is to blame.

Read from ModelArk's `error.code`, then from the HTTP status, never from a message: one
message names both the limit that was met and the one that was not. A code is read by its
parts, for ModelArk adds codes that no list has: a row's pattern fits the whole code, or
the code up to one of its dots, so `RateLimitExceeded` is also
`RateLimitExceeded.EndpointRPMExceeded`, and `*QuotaExceeded` is also `AccountQuotaExceeded`.
The first row that fits counts.

`reason_of` and `reason_of_failure` name what happened for spans and series, with a
policy or without one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from ._facts import Reason

if TYPE_CHECKING:
    from ._facts import FailureKind
    from ._routing.steps import Failure, Peeked

Retrying = Literal[
    "no",
    "yes",
    "stale",  # only where a reused connection had died before a byte of the reply
    "rate",  # only where no target outside the quota group is free
]
Moving = Literal[
    "no",
    "yes",
    "other_credential",
    "other_model_or_credential",
    "other_model_or_region",
    "other_group",
]
Cooling = Literal[
    "nothing",
    "model",  # this model at this target, 5 minutes
    "target",  # for the wait
    "group",  # the target's quota group, for the wait
    "quota",  # the target's quota group, 5 minutes
    "credential",  # dead for 5 minutes
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an outcome."""

    reason: Reason
    retry: Retrying = "no"
    move: Moving = "no"
    breaker: bool = False
    """It counts against the target's breaker."""
    cools: Cooling = "nothing"
    may_have_run: bool = False
    """The work may have been done, and charged: only `replay` can allow another send."""
    server_error: bool = False
    """Of these only the first in one call counts against a breaker: a poisonous request meets one everywhere."""
    heeds_retry_after: bool = False


SERVED = Verdict("none")
CALLERS = Verdict("bad_request")
MODERATION = Verdict("moderation")
ENDPOINT_CLOSED = Verdict("model_unavailable", move="yes")
CREDENTIAL = Verdict("auth", move="other_credential", cools="credential")
FORBIDDEN = Verdict("auth", move="other_model_or_credential", cools="model")
UNAVAILABLE = Verdict("model_unavailable", move="other_model_or_region", cools="model")
TIMED_OUT_THERE = Verdict("timeout", retry="yes", move="yes", breaker=True)
CONFLICT = Verdict("bad_request", retry="yes", move="yes")
RATE = Verdict("rate_limit", retry="rate", move="yes", cools="target", heeds_retry_after=True)
ACCOUNT_RATE = replace(RATE, cools="group")
QUOTA = Verdict("quota", move="other_group", cools="quota")
OVERLOADED = Verdict(
    "overloaded", retry="yes", move="yes", breaker=True, server_error=True, heeds_retry_after=True
)
REFUSED = replace(OVERLOADED, reason="server_error")
SERVER_ERROR = replace(REFUSED, may_have_run=True)
EMPTY = Verdict("empty", retry="yes", move="yes", breaker=True, may_have_run=True)
STREAM_ERROR = replace(EMPTY, reason="stream_error")
CALLERS_OWN = (CALLERS, MODERATION)
MODEL_GONE = (UNAVAILABLE, ENDPOINT_CLOSED)

_CODES: tuple[tuple[Verdict, tuple[str, ...]], ...] = (
    (MODERATION, ("*SensitiveContent*", "*RiskDetection", "*ExistRisk", "ContentSecurityDetectionError", "ContentFilter*", "ContentPolicy*", "content_filter*", "content_policy*")),
    (ENDPOINT_CLOSED, ("InvalidEndpoint.ClosedEndpoint",)),
    (CREDENTIAL, ("AuthenticationError", "AccountOverdueError", "*InvalidSubscription", "InvalidApiKey")),
    (FORBIDDEN, ("AccessDenied", "OperationDenied")),
    # A limit of a day or longer is a quota, whatever stands before it: it does not come back within the minute.
    (QUOTA, ("*QuotaExceeded", "QuotaExceeded*", "*quota_exceeded", "insufficient_quota", "*PDExceeded", "*[IRT]PD*", "*[IRT]pd*", "*PerDay*", "*Daily*", "*Weekly*", "*Monthly*", "SetLimitExceeded")),
    (UNAVAILABLE, ("InvalidEndpointOrModel", "ModelNotOpen", "*UnsupportedModel")),
    (ACCOUNT_RATE, ("*Account*RateLimitExceeded",)),
    (RATE, ("RateLimitExceeded", "*RateLimitExceeded", "rate_limit_exceeded", "rate_limit_error", "RequestBurstTooFast", "InflightBatchsizeExceeded")),
    (OVERLOADED, ("ServerOverloaded", "overloaded_error")),
    (SERVER_ERROR, ("InternalServiceError", "InternalError", "InternalServerError")),
    (CALLERS, ("InvalidParameter", "MissingParameter", "InvalidArgumentError", "OutofContextError", "InvalidImageURL")),
)  # fmt: skip

_STATUSES = {401: CREDENTIAL, 403: FORBIDDEN, 408: TIMED_OUT_THERE, 409: CONFLICT, 429: RATE, 503: REFUSED}

# A connection that never was, or a request that never left: safe for every operation.
_UNSENT = Verdict("connect", move="yes", breaker=True)
_AMBIGUOUS = Verdict("reset", retry="stale", move="yes", breaker=True, may_have_run=True)

_FAILURES: dict[FailureKind, Verdict] = {
    "connect": _UNSENT,
    "timeout": replace(_AMBIGUOUS, reason="timeout"),
    "idle": replace(_AMBIGUOUS, reason="idle"),
    "reset": _AMBIGUOUS,
    "pool": Verdict("timeout"),  # our own saturation: no region's fault
    "deadline": Verdict("timeout"),
    "cancelled": Verdict("none"),
    "other": Verdict(
        "reset"
    ),  # a request that the library itself refuses, or a fault in somebody's transport
}


def classify_reply(status: int, code: str | None) -> Verdict:
    """What a reply's status and error code mean. A success is `SERVED` until its body says otherwise."""
    if status < 400:
        return SERVED
    named = _meant(code) if status in {400, 404} else _by_code(code) if code else None
    # The status says more than `InternalServiceError` does: a 503 was refused, a 500 may have run.
    if named is not None and not (status >= 500 and named is SERVER_ERROR):
        return named
    return _STATUSES.get(status) or (SERVER_ERROR if status >= 500 else CALLERS)


def classify_failure(failure: Failure) -> Verdict:
    """What an exception of the HTTP library means."""
    verdict = _FAILURES[failure.kind]
    if not failure.reached and verdict.may_have_run:
        return replace(verdict, may_have_run=False)
    return verdict


def classify_peeked(peeked: Peeked) -> Verdict:
    """What the held part of a 200's body means. Without a known code an error in it is the service's."""
    if peeked.output:
        return SERVED
    if peeked.failed:
        named = _meant(peeked.code)
        if named is None:
            return STREAM_ERROR
        # What the caller asked for is refused to it alone: it must not close a region for everyone else.
        return named if named in (*CALLERS_OWN, *MODEL_GONE) else replace(named, breaker=True)
    return EMPTY if peeked.empty else SERVED


def codes_of(*verdicts: Verdict) -> tuple[str, ...]:
    """The patterns of the codes that mean this."""
    return tuple(pattern for verdict, patterns in _CODES if verdict in verdicts for pattern in patterns)


def is_known_code(code: str) -> bool:
    """Whether a rule names this code."""
    return _by_code(code) is not None


def reason_of(status: int | None, code: str | None) -> Reason:
    """The closed word for a reply that failed; without a status of 400 or more, for an error inside its body."""
    if status is not None and status >= 400:
        return classify_reply(status, code).reason
    if not code:
        return "none"
    named = _meant(code)
    return named.reason if named is not None else "stream_error"


def reason_of_failure(kind: FailureKind) -> Reason:
    """The closed word for an exception of that kind."""
    return _FAILURES[kind].reason


def is_known(code: str) -> bool:
    """Whether a row of the table, or the name of an endpoint or a model in it, decides what a code means."""
    return _by_code(code) is not None or _names_model(code)


def _meant(code: str | None) -> Verdict | None:
    """What a code alone means; None where it says nothing."""
    named = _by_code(code) if code else None
    return UNAVAILABLE if code and named in (None, CALLERS) and _names_model(code) else named


def _names_model(code: str) -> bool:
    """Whether a refusal's code speaks of an endpoint or a model, and not of one that the request left out."""
    first, *_ = parts = code.lower().split(".")
    return not first.startswith("missing") and any("endpoint" in part or "model" in part for part in parts)


@lru_cache(maxsize=512)
def _by_code(code: str) -> Verdict | None:
    for verdict, patterns in _CODES:
        if any(fnmatchcase(code, pattern) or fnmatchcase(code, f"{pattern}.*") for pattern in patterns):
            return verdict
    return None
