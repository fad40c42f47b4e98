"""
What came of one attempt, and what follows from it for the targets: pure functions.

Whether the same target may be asked again and after which wait, and which of the other
ways are left. A list of statuses that the user wrote counts before the verdict. What a
call has left to spend (sends, time, the budget of retries) is the plan's to ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .._facts import Skip, SkipReason
from .classify import Moving, Verdict
from .order import Way, shared_group
from .steps import Failure, Wait


class Outcome(NamedTuple):
    """What came of one attempt, and what it means."""

    verdict: Verdict
    status: int | None = None
    """Of a reply that was a refusal."""
    retry_after_seconds: float | None = None
    failure: Failure | None = None


def asked_wait(way: Way, outcome: Outcome) -> float | None:
    """How long the target asks to be left alone, where that is heeded."""
    heeded = way.retry.use_retry_after and outcome.verdict.heeds_retry_after
    return outcome.retry_after_seconds if heeded else None


def may_repeat(way: Way, outcome: Outcome, repeats: int, free: Iterable[Way]) -> bool:
    """Whether the same target may be asked again; `free` are the other ways that could be taken now."""
    statuses = way.retry.on_status_codes
    if statuses is not None and outcome.status is not None:
        return outcome.status in statuses
    match outcome.verdict.retry:
        case "no":
            return False
        case "stale":
            return repeats == 0 and outcome.failure is not None and outcome.failure.stale_connection
        case "rate":
            return all(other.quota_group == way.quota_group for other in free)
        case "yes":
            return True


def wait_before_repeat(way: Way, outcome: Outcome, backoff: float) -> Wait | None:
    """The wait after which the same target is asked again; None where that is longer than anybody waits."""
    verdict, asked = outcome.verdict, asked_wait(way, outcome)
    if verdict.retry == "stale":
        return Wait(0.0, "backoff", way.name, verdict.reason)  # the connection was stale, not the server
    if asked is not None and asked > way.retry.retry_after_cap:
        return None
    if asked is not None and asked > backoff:
        return Wait(asked, "retry-after", way.name, verdict.reason)
    return Wait(backoff, "backoff", way.name, verdict.reason)


def ways_left(way: Way, rest: list[Way], outcome: Outcome) -> tuple[list[Way], list[Skip]]:
    """The other ways that may be tried after an outcome, and the targets that are passed over because of it."""
    left: list[Way] = []
    skipped: list[Skip] = []
    for other in rest:
        statuses = shared_group(way, other).on_status_codes
        if statuses is not None and outcome.status is not None:
            if outcome.status in statuses:
                left.append(other)
        elif _may_move(way, other, outcome.verdict):
            left.append(other)
        elif outcome.verdict.move in _SKIPPED_FOR:
            skipped.append(Skip(other.name, _SKIPPED_FOR[outcome.verdict.move]))
    return left, skipped


_SKIPPED_FOR: Mapping[Moving, SkipReason] = {
    "other_credential": "dead_credential",
    "other_model_or_credential": "model",
    "other_model_or_region": "model",
    "other_group": "cooldown",
}


def _may_move(way: Way, other: Way, verdict: Verdict) -> bool:
    match verdict.move:
        case "no":
            return False
        case "yes":
            return True
        case "other_credential":
            return other.credential != way.credential
        case "other_model_or_credential":
            return other.model != way.model or other.credential != way.credential
        case "other_model_or_region":
            return other.model != way.model or other.target.region != way.target.region
        case "other_group":
            return other.quota_group != way.quota_group
