"""
How the candidates of one call stand with `Health`: which are free now, and what their outcomes teach it.

Laws:
- A probe's slot that was taken is given back, whatever becomes of the call.
- Only the first server error of a call counts against a breaker.
"""

from __future__ import annotations

from .._facts import Skip
from .attempt_end import AttemptEnd, asked_wait
from .health import Health
from .order import Candidate

LONG_COOLDOWN_SECONDS = 300.0
LONGEST_MODEL = 512
"""Characters of a model's name: of a longer one, which no service has, nothing is remembered."""


class Standing:
    """What one call asks of health, and reports to it."""

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

    def take(self, candidate: Candidate, *, insist: bool = False) -> Skip | None:
        """Claim this target, as its probe if one is due. Returns why not, if it is barred."""
        if not insist:
            if self._health.dead_until(candidate.credential):
                return Skip(candidate.name, "dead_credential", candidate.target.region)
            if self._cool_until(candidate):
                return Skip(candidate.name, "cooldown", candidate.target.region)
        admission = self._health.admit(candidate.name, self._operation, insist=insist)
        if admission == "no":
            return Skip(candidate.name, "breaker_open", candidate.target.region)
        if admission == "probe":
            self._probed = candidate.name
        return None

    def is_free(self, candidate: Candidate) -> bool:
        """Whether a candidate could be taken."""
        barred = self._health.dead_until(candidate.credential) or self._cool_until(candidate)
        return not barred and self.breaker_lets(candidate)

    def breaker_lets(self, candidate: Candidate) -> bool:
        """As `is_free`, by the breaker alone."""
        return self._health.would_admit(candidate.name, self._operation)

    def free_at(self, candidate: Candidate) -> float:
        """When a barred candidate is free again."""
        return max(
            self._health.dead_until(candidate.credential),
            self._cool_until(candidate),
            self._health.reopens_at(candidate.name, self._operation),
        )

    def _cool_until(self, candidate: Candidate) -> float:
        return self._health.cool_until(
            ("target", candidate.name),
            candidate.quota_group,
            ("model", candidate.name, candidate.model or ""),
        )

    def learn(self, candidate: Candidate, outcome: AttemptEnd, backoff: float) -> None:
        """Let health know of an outcome."""
        name, cooling = candidate.name, max(asked_wait(candidate, outcome) or 0.0, backoff)
        match outcome.verdict.cools:
            case "model" if len(candidate.model or "") <= LONGEST_MODEL:
                self._health.cool(("model", name, candidate.model or ""), LONG_COOLDOWN_SECONDS)
            case "target":
                self._health.cool(("target", name), cooling)
            case "group":
                self._health.cool(candidate.quota_group, cooling)
            case "quota":
                self._health.cool(candidate.quota_group, LONG_COOLDOWN_SECONDS)
            case "credential" if candidate.credential is not None:
                self._health.bury(candidate.credential, name)
        self._judge(name, outcome)

    def _judge(self, name: str, outcome: AttemptEnd) -> None:
        """Count the outcome at the breaker; the caller's own troubles say nothing of the target."""
        if outcome.failure is not None and outcome.failure.is_counted:
            return
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
        """A probe without a verdict gives its slot back."""
        if self._probed is not None:
            self._health.released(self._probed, self._operation)
            self._probed = None
