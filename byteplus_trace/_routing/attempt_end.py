"""
How one attempt ended, and what follows from it for the targets: pure functions.

Whether the same target may be asked again and after which wait, and which of the other
candidates remain. A list of statuses that the user wrote counts before the verdict. What a
call may still spend (sends, time, the budget of retries) is the plan's to ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .._classify import Moving, Verdict
from .._facts import Skip, SkipReason
from .order import Candidate, shared_group
from .steps import Failure, Wait

LONGEST_RETRY_AFTER_SECONDS = 300.0
"""A server may ask for a year by mistake; it is asked again after five minutes."""


class AttemptEnd(NamedTuple):
    """How one attempt ended, and what that means."""

    verdict: Verdict
    status: int | None = None
    """Of a reply that was a refusal."""
    retry_after_seconds: float | None = None
    failure: Failure | None = None


def asked_wait(candidate: Candidate, outcome: AttemptEnd) -> float | None:
    """How long the target asks callers to wait, where that is followed."""
    heeded = candidate.retry.use_retry_after and outcome.verdict.heeds_retry_after
    if not heeded or outcome.retry_after_seconds is None:
        return None
    return min(outcome.retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS)


def may_repeat(candidate: Candidate, outcome: AttemptEnd, repeats: int, free: Iterable[Candidate]) -> bool:
    """Whether the same target may be asked again; `free` are the other candidates that could be taken now."""
    statuses = candidate.retry.on_status_codes
    if statuses is not None and outcome.status is not None:
        return outcome.status in statuses
    match outcome.verdict.retry:
        case "no":
            return False
        case "stale":
            return repeats == 0 and outcome.failure is not None and outcome.failure.stale_connection
        case "rate":
            return all(other.quota_group == candidate.quota_group for other in free)
        case "yes":
            return True


def wait_before_repeat(candidate: Candidate, outcome: AttemptEnd, backoff: float) -> Wait | None:
    """The wait after which the same target is asked again; None where that is longer than anybody waits."""
    verdict, asked = outcome.verdict, asked_wait(candidate, outcome)
    if verdict.retry == "stale":
        # The connection was stale, not the server.
        return Wait(0.0, "backoff", candidate.name, verdict.reason)
    if asked is not None and asked > candidate.retry.retry_after_cap:
        return None
    if asked is not None and asked > backoff:
        return Wait(asked, "retry-after", candidate.name, verdict.reason)
    return Wait(backoff, "backoff", candidate.name, verdict.reason)


def remaining_candidates(
    candidate: Candidate, rest: list[Candidate], outcome: AttemptEnd
) -> tuple[list[Candidate], list[Skip]]:
    """The other candidates that may be tried after an outcome, and the targets that are passed over because of it."""
    remaining: list[Candidate] = []
    skipped: list[Skip] = []
    for other in rest:
        statuses = shared_group(candidate, other).on_status_codes
        if statuses is not None and outcome.status is not None:
            if outcome.status in statuses:
                remaining.append(other)
        elif _may_move(candidate, other, outcome.verdict):
            remaining.append(other)
        elif outcome.verdict.move in _SKIPPED_FOR:
            skipped.append(Skip(other.name, _SKIPPED_FOR[outcome.verdict.move], other.target.region))
    return remaining, skipped


_SKIPPED_FOR: Mapping[Moving, SkipReason] = {
    "other_credential": "dead_credential",
    "other_model_or_credential": "model",
    "other_model_or_region": "model",
    "other_group": "cooldown",
}


def _may_move(candidate: Candidate, other: Candidate, verdict: Verdict) -> bool:
    match verdict.move:
        case "no":
            return False
        case "yes":
            return True
        case "other_credential":
            return other.credential != candidate.credential
        case "other_model_or_credential":
            return other.model != candidate.model or other.credential != candidate.credential
        case "other_model_or_region":
            return other.model != candidate.model or other.target.region != candidate.target.region
        case "other_group":
            return other.quota_group != candidate.quota_group
