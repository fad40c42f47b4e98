"""
The last minutes in numbers: calls, errors, times, tokens and cost in steps of time, by model, region or team.

A call counts when it ended. What was dropped from the store is not in these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from .breakers import Breaker
from .calls import Attempt, Call

MINUTES: Final = 5
STEPS: Final = 60
MOST_GROUPS: Final = 50

GROUPS: Final[dict[str, Callable[[Call], str]]] = {
    "model": lambda call: call.model,
    "region": lambda call: call.region,
    "team": lambda call: call.team,
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """The sums and times of some calls."""

    calls: int
    failed: int
    p50: float | None
    """Seconds."""
    p95: float | None
    first_chunk: float | None
    """The median, in seconds."""
    tokens_in: int
    tokens_out: int
    cost: float | None
    """None where the cost of no call is known."""


@dataclass(frozen=True, slots=True)
class Now:
    """The numbers of each step, oldest first, of all of them, and of each group, the one with most calls first."""

    step_seconds: float
    steps: list[Numbers]
    whole: Numbers
    groups: list[tuple[str, Numbers]]


@dataclass(frozen=True, slots=True)
class RegionNow:
    """A target, the calls that ended there, all that was sent there, and its breaker."""

    target: str
    region: str
    calls: int
    failed: int
    attempts: int
    failed_attempts: int
    breaker: Breaker | None


def numbers(calls: Iterable[Call]) -> Numbers:
    """The numbers of these calls."""
    of = list(calls)
    # Lists and no generators, here and below, which take half as long again: keys wait for this.
    seconds = sorted([call.seconds for call in of])
    first = sorted([call.first_chunk for call in of if call.first_chunk is not None])
    costs = [call.cost for call in of if call.cost is not None]
    return Numbers(
        calls=len(of),
        failed=sum([call.failed for call in of]),
        p50=quantile(seconds, 0.5),
        p95=quantile(seconds, 0.95),
        first_chunk=quantile(first, 0.5),
        tokens_in=sum([call.tokens_in or 0 for call in of]),
        tokens_out=sum([call.tokens_out or 0 for call in of]),
        cost=sum(costs) if costs else None,
    )


def quantile(ordered: list[float], share: float) -> float | None:
    """The value that this share of them does not exceed: always one that was measured."""
    if not ordered:
        return None
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


def now(calls: Iterable[Call], at_ns: int, by: str, *, minutes: float = MINUTES, steps: int = STEPS) -> Now:
    """The numbers of the minutes before a time."""
    step_ns = int(minutes * 60e9 / steps)
    # Whole steps, so that a call stays in its step while time goes on.
    last = at_ns // step_ns
    in_steps: list[list[Call]] = [[] for _ in range(steps)]
    group_of = GROUPS[by]
    in_groups: dict[str, list[Call]] = {}
    for call in calls:
        at = call.end_ns // step_ns - last + steps - 1
        if 0 <= at < steps:
            in_steps[at].append(call)
            in_groups.setdefault(group_of(call), []).append(call)
    busiest = sorted(in_groups.items(), key=lambda item: (-len(item[1]), item[0]))[:MOST_GROUPS]
    return Now(
        step_seconds=step_ns / 1e9,
        steps=[numbers(each) for each in in_steps],
        whole=numbers(call for each in in_steps for call in each),
        groups=[(name, numbers(each)) for name, each in busiest],
    )


def regions(
    calls: Iterable[Call],
    attempts: Iterable[Attempt],
    breakers: dict[str, Breaker],
    at_ns: int,
    minutes: float = MINUTES,
) -> list[RegionNow]:
    """
    Each target of the calls that ended in these minutes, and each whose breaker is known.

    A call that was rescued counts where it ended, and its attempts where they were made.
    """
    begin_ns = at_ns - int(minutes * 60e9)
    recent = {call.key: call for call in calls if begin_ns <= call.end_ns}
    calls_of: dict[str, list[Call]] = {}
    attempts_of: dict[str, list[Attempt]] = {}
    for call in recent.values():
        calls_of.setdefault(call.target or call.region, []).append(call)
    for attempt in attempts:
        if attempt.call in recent:
            attempts_of.setdefault(attempt.target or attempt.region, []).append(attempt)
    found = []
    for target in sorted((calls_of.keys() | attempts_of.keys() | breakers.keys()) - {""})[:MOST_GROUPS]:
        of, sent, breaker = calls_of.get(target, []), attempts_of.get(target, []), breakers.get(target)
        found.append(
            RegionNow(
                target=target,
                region=next(
                    (each.region for each in (*of[-1:], *sent[-1:], breaker) if each is not None), ""
                ),
                calls=len(of),
                failed=sum(call.failed for call in of),
                attempts=len(sent),
                failed_attempts=sum(attempt.failed for attempt in sent),
                breaker=breaker,
            )
        )
    return found
