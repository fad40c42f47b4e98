"""
One call as a sequence of steps: which target next, may it be sent again, how long to wait.

    run       visit the candidates in order until one answers; none free: the one that is soonest, once
    _visit    one target: an attempt, and again where that may help
    _attempt  one send, a look at the reply, and its verdict
    ...       how it ends

Which candidates there are is in `order.py`, which of them may be tried in `admission.py`, what follows from an
attempt in `attempt_end.py`, how long anything may take in `deadline.py`.

Laws:
- What may have run is sent again only where `replay` says so.
- After the first output nothing is sent.
- No more sends than `max_attempts`, and none after the deadline.
- A credential goes to the origin that it was given for, and nowhere else (`order.py`).
- However it ends, also when it is dropped half-way, no probe's slot stays taken.
"""

from __future__ import annotations

from collections.abc import Generator

from .._classify import EMPTY, SERVED, Verdict, classify_failure, classify_peeked, classify_reply
from .._facts import Call, Cause, Skip
from .._policy.policy import Policy
from .._policy.replay import breaker_operation, may_run_twice, only_reads
from .address import Addresses
from .admission import Standing
from .attempt_end import AttemptEnd, may_repeat, remaining_candidates, wait_before_repeat
from .deadline import RemainingTime, least
from .health import Health
from .order import Candidate, Request, candidates, unprefixed
from .resend import Prior
from .steps import Deliver, Discard, Failure, Keep, Peek, Peeked, Plan, Reply, Result, Send, Step, Wait


def plan(
    call: Call,
    policy: Policy,
    addresses: Addresses,
    health: Health,
    request: Request,
    prior: Prior | None = None,
) -> Plan:
    """
    Try each target in turn until one gives an answer worth delivering.

    Yields steps for the edge to perform and is sent their results. When all fail, the
    caller meets the error that it would have met without us: the primary's, or the last.

    Args:
        addresses: of the policy's calls.
        health: also whose clock and random numbers the plan goes by.
        prior: how the call ended that an SDK is sending again.
    """
    call_plan = _CallPlan(call, policy, health, request, prior)
    found, call_plan.skipped = candidates(call, policy, addresses, health, request)
    return call_plan.run(found)


class _CallPlan:
    def __init__(
        self,
        call: Call,
        policy: Policy,
        health: Health,
        request: Request,
        prior: Prior | None,
    ) -> None:
        self.call = call
        self.policy = policy
        self.health = health
        self.clock = clock = health.clock
        self.prior = prior
        self.origin = request.origin
        self.replayable = request.replayable
        self.twice = may_run_twice(call, policy.replay)
        self.before = prior.attempts if prior is not None else 0
        """Sends of this call before an SDK sent it again."""
        total = policy.deadline.total
        ends_at = clock() + total if total is not None else None
        self.time = RemainingTime(policy.deadline, clock, prior.deadline_at if prior is not None else ends_at)
        self.standing = Standing(health, breaker_operation(call))
        self.sent = 0
        self.alone = False
        """Only one target can serve the call: its SDK may repeat it as if there were no policy, with a key made anew."""
        self.most = policy.max_attempts - self.before if self.replayable else 1
        self.skipped: list[Skip] = []
        self.waited = 0.0
        self.in_hand = False
        """A reply was received and neither kept nor discarded."""
        self.empty = False
        """It says nothing, not even what failed."""
        self.kept = False
        self.failures: list[Failure] = []
        self.copies = False
        """A copy that may have run, and be charged, is out there."""

    # The sequence.

    def run(self, possible: list[Candidate]) -> Plan:
        # Where it may not be sent again, its caller meets the exception of before at once.
        if self.prior is not None and (self.prior.blocked or self.most <= 0 or self.time.is_over):
            return self._raised_again(self.prior)
        if not possible:
            return (yield from self._as_addressed())
        self.alone = len(possible) == 1
        # The budget grows with the calls and not with the failures, so that retries stay a fraction of the traffic.
        self.health.earn()
        outcome: AttemptEnd | None = None
        rest, barred = possible, []
        while rest and self.sent < self.most and not self.time.is_over:
            candidate, *rest = rest
            skip = self.standing.take(candidate)
            if skip is not None:
                # Barred only for now: where no other candidate remains, it is tried anyway.
                self.skipped.append(skip)
                barred.append(candidate)
                continue
            outcome = yield from self._visit(candidate, rest)
            if outcome.verdict is SERVED:
                return self._delivered(served=True)
            rest = self._remaining_after(candidate, rest, outcome)
        if outcome is None and barred:
            outcome = yield from self._visit_soonest(barred)
            if outcome.verdict is SERVED:
                return self._delivered(served=True)
        if outcome is None:
            return self._delivered(failure=Failure("deadline", reached=False), final=True)
        return (yield from self._final_failure(outcome))

    def _remaining_after(
        self, candidate: Candidate, rest: list[Candidate], outcome: AttemptEnd
    ) -> list[Candidate]:
        """The candidates that remain after an outcome."""
        if self._is_final_copy(outcome.verdict):
            return []
        remaining, skipped = remaining_candidates(candidate, rest, outcome)
        self.skipped += skipped
        return remaining

    def _is_final_copy(self, verdict: Verdict) -> bool:
        """The work may have been done and must not be done twice."""
        return verdict.may_have_run and not self.twice

    def _visit_soonest(self, barred: list[Candidate]) -> Generator[Step, Result, AttemptEnd]:
        """No candidate is free: the one that is soonest is tried, once."""
        # A breaker keeps a crowd away from a target. It is no reason to fail a call that has nowhere else to go.
        candidate = min(barred, key=self.standing.free_at)
        self.skipped = [skip for skip in self.skipped if skip.target != candidate.name]
        self.most = min(self.most, 1)
        self.standing.take(candidate, insist=True)
        return (yield from self._visit(candidate, []))

    def _visit(self, candidate: Candidate, rest: list[Candidate]) -> Generator[Step, Result, AttemptEnd]:
        """One target: an attempt, and again where that may help."""
        cause: Cause = "initial" if self.sent == 0 else "fallback"
        if self.standing.is_probe:
            cause = "probe"
        repeats, backoff = 0, candidate.retry.base
        try:
            while True:
                outcome = yield from self._attempt(candidate, rest, cause, repeats)
                # Decorrelated jitter.
                backoff = min(
                    candidate.retry.cap, self.health.random.uniform(candidate.retry.base, 3 * backoff)
                )
                # After each attempt and not each visit: others are to hear of it while this call waits.
                self.standing.learn(candidate, outcome, backoff)
                wait = self._wait_before_repeat(candidate, rest, outcome, repeats, backoff)
                if wait is None:
                    return outcome
                # Before the wait, for a reply in hand holds its connection.
                yield from self._set_aside()
                if wait.seconds > 0:
                    yield wait
                if self.time.is_over:
                    return outcome
                cause, repeats, self.waited = "retry", repeats + 1, wait.seconds
        finally:
            self.standing.release()

    def _wait_before_repeat(
        self, candidate: Candidate, rest: list[Candidate], outcome: AttemptEnd, repeats: int, backoff: float
    ) -> Wait | None:
        """The wait after which the same target is asked again; None where it is not."""
        if not self._has_repeats(candidate, repeats) or self._is_final_copy(outcome.verdict):
            return None
        free = (other for other in rest if self.standing.is_free(other))
        if not (self.standing.breaker_lets(candidate) and may_repeat(candidate, outcome, repeats, free)):
            return None
        wait = wait_before_repeat(candidate, outcome, backoff)
        # The budget is asked last: what it grants is spent.
        if wait is None or not self.time.allows_retry_after(wait.seconds) or not self.health.spend():
            return None
        return wait

    def _has_repeats(self, candidate: Candidate, repeats: int) -> bool:
        """Whether this target may be asked again; a probe has none."""
        if self.alone and self.call.sdk_retry:
            return False  # its SDK repeats it: both together would multiply
        return not self.standing.is_probe and repeats < candidate.retry.per_target and self.sent < self.most

    def _attempt(
        self, candidate: Candidate, rest: list[Candidate], cause: Cause, repeats: int
    ) -> Generator[Step, Result, AttemptEnd]:
        """One send, a look at the reply, and its verdict."""
        yield from self._set_aside()
        self.sent += 1
        # A candidate that is barred now is no reason to cut this attempt short.
        elsewhere = self.sent < self.most and any(self.standing.is_free(other) for other in rest)
        may_move = elsewhere and self.twice  # a timeout leaves a copy that may have run
        first_event = self.policy.deadline.first_event if may_move else None
        began, limit = self.clock(), self.time.share(may_move=may_move)
        # Before its headers only the request says whether a reply will be a stream.
        received = yield self._send(candidate, cause, limit, first_event if self.call.stream else None)
        self.skipped, self.waited = [], 0.0  # the send took them along
        if isinstance(received, Failure):
            return self._failed(received)
        assert isinstance(received, Reply), "a send brings a reply or a failure"
        self.in_hand, self.empty = True, False
        if received.status >= 400:
            return AttemptEnd(
                classify_reply(received.status, received.code), received.status, received.retry_after_seconds
            )
        if not self._looks_closer(received, elsewhere or self._has_repeats(candidate, repeats)):
            return AttemptEnd(SERVED)
        bound = least(limit, first_event if received.streaming else None, since=self.clock() - began)
        seen = yield Peek(bound)
        if isinstance(seen, Failure):
            self.in_hand = False
            return self._failed(seen)
        verdict = classify_peeked(seen) if isinstance(seen, Peeked) else SERVED
        self.empty = verdict is EMPTY
        return AttemptEnd(verdict, retry_after_seconds=received.retry_after_seconds)

    def _failed(self, failure: Failure) -> AttemptEnd:
        verdict = classify_failure(failure)
        self.failures.append(failure)
        # A connection that had died before did not deliver the request.
        if verdict.may_have_run and not failure.stale_connection and not only_reads(self.call):
            self.copies = True
        return AttemptEnd(verdict, failure=failure)

    def _looks_closer(self, reply: Reply, may_go_on: bool) -> bool:
        """
        Whether the body is looked at before it is handed on.

        Where something better may follow, or was kept: a 200 that turns out to be an error
        must not hide an informative refusal. The very last chance passes as it comes, so
        that its caller waits for nothing; the breaker hears of its end then (`Router.heard`).
        """
        # A 204 has nothing to look at.
        if reply.status == 204 or reply.status >= 300 or self.call.operation == "other":
            return False
        return may_go_on or self.kept or self.time.ends_at is not None

    def _send(
        self, candidate: Candidate, cause: Cause, limit: float | None, first_event: float | None
    ) -> Send:
        target = candidate.target
        return Send(
            target=candidate.name,
            region=str(target.region),
            base_url=None if candidate.here else candidate.base_url,
            path=candidate.path,
            cause=cause,
            number=self.sent,
            model=self._rewritten(candidate.model),
            override_params=target.override_params if self.replayable else {},
            api_key=target.api_key,
            timeout_seconds=least(limit, first_event, target.request_timeout),
            share_seconds=least(limit, first_event),
            waited_seconds=self.waited,
            skipped=tuple(self.skipped),
            replays=self.copies,
            idle_seconds=self.policy.deadline.idle,
        )

    def _rewritten(self, model: str | None) -> str | None:
        """The model to write into the body; None where it stays as it is."""
        # A body that is a stream can only be read once, which is when it is sent.
        return model if self.replayable and model != self.call.model else None

    def _as_addressed(self) -> Plan:
        """No target can serve this call: it travels as if there were no policy, but for the name of a target before its model."""
        region = self.call.region
        _, model = unprefixed(self.call.model, self.policy)
        received = yield Send(
            self.origin or region,
            region,
            None,
            "initial",
            1,
            model=self._rewritten(model),
            skipped=tuple(self.skipped),
        )
        self.skipped, self.sent = [], 1
        return self._delivered(failure=received if isinstance(received, Failure) else None)

    # How it ends.

    def _set_aside(self) -> Generator[Step, Result, None]:
        """Before another send: keep the reply in hand where it may be the last word, else close it."""
        if not self.in_hand:
            return
        self.in_hand = False
        if self.empty or (self.kept and self.policy.final == "primary"):
            yield Discard()
        else:
            self.kept = True
            yield Keep()

    def _final_failure(self, outcome: AttemptEnd) -> Plan:
        """All failed: the first informative reply, else the first exception; for `final="last"`, the last ones."""
        verdict, failure = outcome.verdict, outcome.failure
        final = not self.alone or self.time.is_over or self._is_final_copy(verdict)
        if failure is not None:
            spared = self._is_final_copy(verdict)
            if failure.kind in {"timeout", "idle"} and self.time.is_over:
                spent = Failure("deadline", failure.reached, error=failure.error)
                return self._delivered(failure=spent, spared=spared, final=True)
            # No earlier reply may hide that the work may have run, or that the caller's own side failed.
            if spared or verdict.move == "no":
                return self._delivered(failure=failure, spared=spared, final=True)
        if self.in_hand and not (self.kept and (self.empty or self.policy.final == "primary")):
            # A 200 was only looked at to bound it: its caller gets it as it would without a deadline.
            return self._delivered(final=final and (outcome.status is not None or self.sent > 1))
        if self.kept:
            if self.in_hand:
                self.in_hand = False
                yield Discard()
            return self._delivered(kept=True, final=final)
        return self._delivered(failure=self.failures[-1 if self.policy.final == "last" else 0], final=final)

    def _raised_again(self, prior: Prior) -> Deliver:
        """An SDK sent again what may not be sent again, or for which nothing remains."""
        if prior.blocked or self.most <= 0:
            return self._delivered(failure=prior.failure, spared=prior.blocked, final=True)
        spent = Failure("deadline", prior.failure.reached, error=prior.failure.error)
        return self._delivered(failure=spent, final=True)

    def _delivered(
        self,
        *,
        served: bool = False,
        kept: bool = False,
        failure: Failure | None = None,
        spared: bool = False,
        final: bool = False,
    ) -> Deliver:
        return Deliver(
            served=served,
            kept=kept,
            failure=failure,
            skipped=tuple(self.skipped),
            spared=spared,
            final=final,
            attempts=self.before + self.sent,
            deadline_at=self.time.ends_at,
        )
