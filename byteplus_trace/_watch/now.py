"""
The last minutes in numbers: calls, errors, times, tokens and cost in steps of time, by model, region or team.

A call counts when it ended. What was dropped from the store is not in these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from .breakers import Breaker
from .calls import Call

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
    cost: float


@dataclass(frozen=True, slots=True)
class Now:
    """The numbers of each step, oldest first, of all of them, and of each group, the one with most calls first."""

    step_seconds: float
    steps: list[Numbers]
    whole: Numbers
    groups: list[tuple[str, Numbers]]


@dataclass(frozen=True, slots=True)
class Region:
    """A target, what was sent there for calls that it served or failed last, and its breaker."""

    target: str
    region: str
    numbers: Numbers
    breaker: Breaker | None


def numbers(calls: Iterable[Call]) -> Numbers:
    """The numbers of these calls."""
    of = list(calls)
    seconds = sorted(call.seconds for call in of)
    first = sorted(call.first_chunk for call in of if call.first_chunk is not None)
    return Numbers(
        calls=len(of),
        failed=sum(call.failed for call in of),
        p50=quantile(seconds, 0.5),
        p95=quantile(seconds, 0.95),
        first_chunk=quantile(first, 0.5),
        tokens_in=sum(call.tokens_in or 0 for call in of),
        tokens_out=sum(call.tokens_out or 0 for call in of),
        cost=sum(call.cost or 0.0 for call in of),
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
    calls: Iterable[Call], breakers: dict[str, Breaker], at_ns: int, minutes: float = MINUTES
) -> list[Region]:
    """Each target of the calls that ended in these minutes, and each whose breaker is known."""
    begin_ns = at_ns - int(minutes * 60e9)
    by_target: dict[str, list[Call]] = {}
    for call in calls:
        if begin_ns <= call.end_ns and (call.target or call.region):
            by_target.setdefault(call.target or call.region, []).append(call)
    for target in breakers:
        by_target.setdefault(target, [])
    found = []
    for target, of in sorted(by_target.items())[:MOST_GROUPS]:
        breaker = breakers.get(target)
        region = of[-1].region if of else breaker.region if breaker is not None else ""
        found.append(Region(target, region, numbers(of), breaker))
    return found
