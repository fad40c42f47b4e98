"""
How the ways of one call stand with `Health`: which are free now, and what their outcomes teach it.

Laws:
- A probe's slot that was taken is given back, whatever becomes of the call.
- Only the first server error of a call counts against a breaker.
"""

from __future__ import annotations

from .._facts import Skip
from .health import Health
from .order import Way
from .outcome import Outcome, asked_wait

LONG_COOLDOWN_SECONDS = 300.0


class Standing:
    """What one call asks of health, and tells it."""

    def __init__(self, health: Health, operation: str) -> None:
        self._health = health
        self._operation = operation
        self._probed: str | None = None
        """The target whose probe this call is, until that has come to a verdict."""
        self._blamed = False
        """A server error of this call was counted."""

    @property
    def is_probe(self) -> bool:
        """Whether the attempt under way holds a probe's slot."""
        return self._probed is not None

    def take(self, way: Way, *, insist: bool = False) -> Skip | None:
        """Take a way, as its target's probe where that is due; where it is barred, what is told of that instead."""
        if not insist:
            if self._health.dead_until(way.credential):
                return Skip(way.name, "dead_credential")
            if self._cool_until(way):
                return Skip(way.name, "cooldown")
        admission = self._health.admit(way.name, self._operation, insist=insist)
        if admission == "no":
            return Skip(way.name, "breaker_open")
        if admission == "probe":
            self._probed = way.name
        return None

    def is_free(self, way: Way) -> bool:
        """Whether a way could be taken."""
        barred = self._health.dead_until(way.credential) or self._cool_until(way)
        return not barred and self.breaker_lets(way)

    def breaker_lets(self, way: Way) -> bool:
        """As `is_free`, by the breaker alone."""
        return self._health.would_admit(way.name, self._operation)

    def free_at(self, way: Way) -> float:
        """When a barred way is free again."""
        return max(
            self._health.dead_until(way.credential),
            self._cool_until(way),
            self._health.reopens_at(way.name, self._operation),
        )

    def _cool_until(self, way: Way) -> float:
        return self._health.cool_until(
            ("target", way.name), way.quota_group, ("model", way.name, way.model or "")
        )

    def learn(self, way: Way, outcome: Outcome, backoff: float) -> None:
        """Let health know of an outcome."""
        name, cooling = way.name, max(asked_wait(way, outcome) or 0.0, backoff)
        match outcome.verdict.cools:
            case "model":
                self._health.cool(("model", name, way.model or ""), LONG_COOLDOWN_SECONDS)
            case "target":
                self._health.cool(("target", name), cooling)
            case "group":
                self._health.cool(way.quota_group, cooling)
            case "quota":
                self._health.cool(way.quota_group, LONG_COOLDOWN_SECONDS)
            case "credential" if way.credential is not None:
                self._health.bury(way.credential, name)
        self._judge(name, outcome)

    def _judge(self, name: str, outcome: Outcome) -> None:
        """Count the outcome at the breaker; the caller's own troubles say nothing of the target."""
        verdict = outcome.verdict
        counts = self._health.counts(name, outcome.status, verdict.breaker)
        if not counts and outcome.failure is not None:
            return
        if counts and verdict.server_error:
            if self._blamed:
                return
            self._blamed = True
        if counts:
            self._health.failed(name, self._operation, verdict.reason, probe=self.is_probe)
        else:
            self._health.succeeded(name, self._operation, probe=self.is_probe)
        self._probed = None

    def release(self) -> None:
        """A probe that came to no verdict gives its slot back."""
        if self._probed is not None:
            self._health.released(self._probed, self._operation)
            self._probed = None
