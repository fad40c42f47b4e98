"""
The state of each target's breaker.

A program that exports metrics says it: `modelark_breaker_state`, 0 closed, 1 half-open, 2
open. Where no metrics arrive it is inferred from spans, and marked so: a target that was
skipped because of its breaker is open, and a send to it that succeeds afterwards closes it.
A send that fails after a skip was a probe, and leaves it open.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from .._telemetry import semconv as sc
from .spans import Span

State = Literal["closed", "half-open", "open"]
Source = Literal["received", "inferred"]

STATES: tuple[State, ...] = ("closed", "half-open", "open")
MOST = 1000
"""Targets that are remembered; the one that was not heard of for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One point of the series: a target's breaker for an operation, at a time."""

    target: str
    operation: str
    state: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of a target's breaker."""

    state: State
    source: Source
    at_ns: int
    region: str = ""


class Breakers:
    """What was last known of each target."""

    def __init__(self) -> None:
        self._received: dict[str, dict[str, Reading]] = {}
        self._inferred: dict[str, Breaker] = {}
        self._regions: dict[str, str] = {}

    def receive(self, readings: Iterable[Reading]) -> None:
        """Take points of the series. Of a target the worst of its operations counts."""
        for each in readings:
            by_operation = self._received.pop(each.target, {})
            known = by_operation.get(each.operation)
            if known is None or each.at_ns >= known.at_ns:
                by_operation[each.operation] = each
                while len(by_operation) > 20:
                    del by_operation[next(iter(by_operation))]
            self._received[each.target] = by_operation
            _forget(self._received)

    def readings(self) -> list[Reading]:
        """All points that are known."""
        return [each for by_operation in self._received.values() for each in by_operation.values()]

    def infer(self, span: Span) -> None:
        """Learn from a span of a call, which may have skipped targets, or of an attempt."""
        for event in span.events:
            if event.name == "target.skipped" and event.attributes.get("reason") == "breaker_open":
                target = event.attributes.get("target")
                if isinstance(target, str) and target:
                    self._learn(target, "open", event.at_ns)
        if sc.ATTEMPT_CAUSE in span.attributes and (target := span.text(sc.TARGET)):
            self._regions.pop(target, None)
            self._regions[target] = span.text(sc.CLOUD_REGION)
            _forget(self._regions)
            known = self._inferred.get(target)
            # Without a policy there are no breakers: only one that was once open is known to be closed.
            if known is not None and span.status != "error":
                self._learn(target, "closed", span.start_ns)

    def _learn(self, target: str, state: State, at_ns: int) -> None:
        known = self._inferred.pop(target, None)
        if known is None or at_ns >= known.at_ns:
            known = Breaker(state, "inferred", at_ns)
        self._inferred[target] = known
        _forget(self._inferred)

    def states(self) -> dict[str, Breaker]:
        """Each target whose breaker is known: as received where it was, else as inferred."""
        found: dict[str, Breaker] = {}
        for target, each in self._inferred.items():
            found[target] = Breaker(each.state, "inferred", each.at_ns, self._regions.get(target, ""))
        for target, by_operation in self._received.items():
            worst = max(by_operation.values(), key=lambda reading: reading.state)
            latest = max(reading.at_ns for reading in by_operation.values())
            found[target] = Breaker(STATES[worst.state], "received", latest, self._regions.get(target, ""))
        return found


def _forget(table: dict[str, Any]) -> None:
    while len(table) > MOST:
        del table[next(iter(table))]
