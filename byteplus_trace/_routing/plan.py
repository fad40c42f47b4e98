"""
One call, told as a story: which target next, may it be sent again, how long to wait.

    tell      visit the ways in order until one answers; none open: the soonest, once
    _visit    one target: an attempt, and again where that may help
    _attempt  one send, a look at what came, and its verdict
    ...       where it may go, how long it may take, what is learnt, how it ends

Laws:
- What may have run is sent again only where `replay` says so.
- After the first output nothing is sent.
- No more sends than `max_attempts`, and none after the deadline.
- A credential goes to the origin that it was given for, and nowhere else (`order.py`).
- However it ends, also when it is dropped half-way, no probe's slot stays taken.

`total` is a promise to the caller, so the last target gets all that remains; before it
some is kept back, but only for a call that may move after a timeout at all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from random import Random
from typing import Literal, NamedTuple

from .._facts import Call, Cause, Skip
from .classify import PASSED_ON, SERVED, Verdict, classify_failure, classify_peeked, classify_reply
from .conditions import Params
from .health import Admission, Health
from .order import Way, may_run_twice, shared_group, unprefixed, ways
from .policy import Policy
from .resend import Prior
from .steps import Deliver, Discard, Failure, Keep, Peek, Peeked, Reply, Result, Send, Step, Wait

Plan = Generator[Step, Result, Deliver]

LONG_COOLDOWN_SECONDS = 300.0
# A timer may fire a little early: what is left then is no time to try anything in.
_NO_TIME = 0.005


def plan(
    call: Call,
    policy: Policy,
    health: Health,
    *,
    clock: Callable[[], float],
    random: Random,
    replayable: bool,
    body_params: Params,
    file_ids: Callable[[], Iterable[str]],
    headers: Mapping[str, str],
    origin: str | None,
    prior: Prior | None = None,
) -> Plan:
    """
    Try each target in turn until one gives an answer worth delivering.

    Yields steps for the edge to perform and is sent their outcomes. When all fail, the
    caller meets the error that it would have met without us: the primary's, or the last.

    Args:
        clock: monotonic seconds.
        replayable: the body can be sent again, and rewritten.
        body_params: the whole body, parsed when asked; for conditions.
        file_ids: the uploaded files that the body names, looked for when asked.
        headers: the request's, with lower-case names.
        origin: the name of the target that the caller addressed; None where it was only its region.
        prior: what the call came to that an SDK is sending again.
    """
    story = _Story(call, policy, health, clock, random, replayable, prior)
    found, skipped = ways(
        call,
        policy,
        health,
        random=random,
        body_params=body_params,
        file_ids=file_ids,
        headers=headers,
        origin=origin,
    )
    story.skipped = skipped
    return story.tell(found, origin)


class _Outcome(NamedTuple):
    """What came of one attempt, and what it means."""

    verdict: Verdict
    status: int | None = None
    """Of a reply that was a refusal."""
    retry_after_seconds: float | None = None
    failure: Failure | None = None


class _Story:
    def __init__(
        self,
        call: Call,
        policy: Policy,
        health: Health,
        clock: Callable[[], float],
        random: Random,
        replayable: bool,
        prior: Prior | None,
    ) -> None:
        self.call = call
        self.policy = policy
        self.health = health
        self.clock = clock
        self.random = random
        self.prior = prior
        self.replayable = replayable
        self.twice = may_run_twice(call, policy)
        total = policy.deadline.total
        self.deadline_at = clock() + total if total is not None else None
        self.before = 0
        """Sends of this call before an SDK sent it again."""
        if prior is not None:
            self.deadline_at, self.before = prior.deadline_at, prior.attempts
        self.sent = 0
        self.most = policy.max_attempts - self.before if replayable else 1
        self.skipped: list[Skip] = []
        self.waited = 0.0
        self.in_hand = False
        """A reply was received and neither kept nor discarded."""
        self.kept = False
        self.failures: list[Failure] = []
        self.copies = False
        """A copy that may have run is out there."""
        self.blamed = False
        """A server error of this call was counted against a breaker."""
        self.probing: tuple[str, str] | None = None

    # The story.

    def tell(self, open_ways: list[Way], origin: str | None) -> Plan:
        if self.prior is not None and (self.prior.blocked or self.most <= 0 or not self._has_time()):
            return self._raised_again(self.prior)
        if not open_ways:
            return (yield from self._as_addressed(origin))
        self.health.earn()
        outcome: _Outcome | None = None
        rest, closed = open_ways, []
        while rest and self.sent < self.most and self._has_time():
            way, *rest = rest
            admission = self._admission(way)
            if admission == "no":
                closed.append(way)
                continue
            outcome = yield from self._visit(way, rest, admission)
            if outcome.verdict is SERVED:
                return self._delivered()
            rest = self._moves(way, rest, outcome)
        if outcome is None and closed:
            outcome = yield from self._visit_soonest(closed)
            if outcome.verdict is SERVED:
                return self._delivered()
        return (yield from self._last_word(outcome))

    def _visit_soonest(self, closed: list[Way]) -> Generator[Step, Result, _Outcome]:
        """Every way is closed: the one that opens soonest is tried, once."""
        way = min(closed, key=self._opens_at)
        self.skipped = [skip for skip in self.skipped if skip.target != way.name]
        self.most = min(self.most, 1)
        admission = self.health.admit(way.name, self.call.operation, insist=True)
        return (yield from self._visit(way, [], admission))

    def _visit(self, way: Way, rest: list[Way], admission: Admission) -> Generator[Step, Result, _Outcome]:
        """One target: an attempt, and again where that may help."""
        cause: Cause = "initial" if self.sent == 0 else "fallback"
        if admission == "probe":
            cause, self.probing = "probe", (way.name, self.call.operation)
        repeats, backoff = 0, way.retry.base
        try:
            while True:
                outcome = yield from self._attempt(way, rest, cause, repeats)
                backoff = self._backoff(way, backoff)
                self._learn(way, outcome, backoff)
                wait = self._wait_before_repeat(way, rest, outcome, repeats, backoff)
                if wait is None:
                    return outcome
                yield from self._set_aside()
                if wait.seconds > 0:
                    yield wait
                if not self._has_time():
                    return outcome
                cause, repeats, self.waited = "retry", repeats + 1, wait.seconds
        finally:
            self._release()

    def _attempt(
        self, way: Way, rest: list[Way], cause: Cause, repeats: int
    ) -> Generator[Step, Result, _Outcome]:
        """One send, a look at what came, and its verdict."""
        yield from self._set_aside()
        self.sent += 1
        elsewhere = self.sent < self.most and any(self._is_open(other) for other in rest)
        began, limit = self.clock(), self._limit(elsewhere)
        came = yield self._send(way, cause, limit, elsewhere)
        self.skipped, self.waited = [], 0.0
        if isinstance(came, Failure):
            return self._failed(came)
        assert isinstance(came, Reply), "a send brings a reply or a failure"
        self.in_hand = True
        if came.status >= 400:
            return _Outcome(classify_reply(came.status, came.code), came.status, came.retry_after_seconds)
        if not self._looks_closer(came, elsewhere or self._may_repeat(way, repeats)):
            return _Outcome(SERVED)
        first_event = self._first_event(elsewhere) if came.streaming else None
        seen = yield Peek(_least(limit, first_event, since=self.clock() - began))
        if isinstance(seen, Failure):
            self.in_hand = False
            return self._failed(seen)
        verdict = classify_peeked(seen) if isinstance(seen, Peeked) else SERVED
        return _Outcome(verdict, retry_after_seconds=came.retry_after_seconds)

    def _failed(self, failure: Failure) -> _Outcome:
        verdict = classify_failure(failure)
        self.failures.append(failure)
        self.copies = self.copies or (verdict.may_have_run and not failure.stale_connection)
        return _Outcome(verdict, failure=failure)

    def _send(self, way: Way, cause: Cause, limit: float | None, elsewhere: bool) -> Send:
        target = way.target
        first_event = self._first_event(elsewhere) if self.call.stream else None
        return Send(
            target=target.name,
            region=target.region,
            base_url=None if way.here else target.address,
            cause=cause,
            number=self.sent,
            model=self._rewritten(way.model),
            override_params=target.override_params if self.replayable else {},
            api_key=target.api_key,
            timeout_seconds=_least(limit, first_event, target.request_timeout),
            share_seconds=limit,
            waited_seconds=self.waited,
            skipped=tuple(self.skipped),
            replays=self.copies,
            idle_seconds=self.policy.deadline.idle,
        )

    def _rewritten(self, model: str | None) -> str | None:
        """The model to write into the body; None where it stays as it is."""
        return model if self.replayable and model != self.call.model else None

    def _as_addressed(self, origin: str | None) -> Plan:
        """No target can serve this call: it travels as if there were no policy, but for the name of a target before its model."""
        region = self.call.region
        _, model = unprefixed(self.call.model, self.policy)
        came = yield Send(
            origin or region,
            region,
            None,
            "initial",
            1,
            model=self._rewritten(model),
            skipped=tuple(self.skipped),
        )
        self.skipped, self.sent = [], 1
        return self._delivered(failure=came if isinstance(came, Failure) else None)

    # Where it may go.

    def _admission(self, way: Way) -> Admission:
        """Whether a way is open now; a skip is noted where it is not."""
        if self.health.dead_until(way.credential):
            self.skipped.append(Skip(way.name, "dead_credential"))
        elif self._cool_until(way):
            self.skipped.append(Skip(way.name, "cooldown"))
        else:
            admission = self.health.admit(way.name, self.call.operation)
            if admission == "no":
                self.skipped.append(Skip(way.name, "breaker_open"))
            return admission
        return "no"

    def _is_open(self, way: Way) -> bool:
        """As `_admission`, without taking anything."""
        return not (self.health.dead_until(way.credential) or self._cool_until(way)) and (
            self.health.would_admit(way.name, self.call.operation)
        )

    def _opens_at(self, way: Way) -> float:
        return max(
            self.health.dead_until(way.credential),
            self._cool_until(way),
            self.health.reopens_at(way.name, self.call.operation),
        )

    def _cool_until(self, way: Way) -> float:
        return self.health.cool_until(
            ("target", way.name), way.quota_group, ("model", way.name, way.model or "")
        )

    def _moves(self, way: Way, rest: list[Way], outcome: _Outcome) -> list[Way]:
        """The ways that are left after this outcome."""
        if self._is_final_copy(outcome.verdict):
            return []
        left = []
        for other in rest:
            statuses = shared_group(way, other).on_status_codes
            if statuses is not None and outcome.status is not None:
                if outcome.status in statuses:
                    left.append(other)
            elif _may_move(way, other, outcome.verdict):
                left.append(other)
            elif outcome.verdict.move in _SKIPPED_FOR:
                self.skipped.append(Skip(other.name, _SKIPPED_FOR[outcome.verdict.move]))
        return left

    def _is_final_copy(self, verdict: Verdict) -> bool:
        """The work may have been done and must not be done twice."""
        return verdict.may_have_run and not self.twice

    # How often, and how long.

    def _may_repeat(self, way: Way, repeats: int) -> bool:
        return self.probing is None and repeats < way.retry.per_target and self.sent < self.most

    def _wait_before_repeat(
        self, way: Way, rest: list[Way], outcome: _Outcome, repeats: int, backoff: float
    ) -> Wait | None:
        """The wait after which the same target is asked again; None where it is not."""
        if not self._may_repeat(way, repeats) or not self._repeats(way, rest, outcome, repeats):
            return None
        seconds, source = backoff, "backoff"
        asked = outcome.retry_after_seconds if self._heeds_retry_after(way, outcome) else None
        if outcome.verdict.retry == "stale":
            seconds = 0.0  # the connection was stale, not the server
        elif asked is not None:
            if asked > way.retry.retry_after_cap:
                return None
            if asked > seconds:
                seconds, source = asked, "retry-after"
        remaining = self._remaining()
        if remaining is not None and remaining - seconds < self.policy.deadline.min_attempt:
            return None
        if not self.health.spend():
            return None
        return Wait(
            seconds, "retry-after" if source == "retry-after" else "backoff", way.name, outcome.verdict.reason
        )

    def _repeats(self, way: Way, rest: list[Way], outcome: _Outcome, repeats: int) -> bool:
        """Whether this outcome lets the same target be asked again."""
        verdict, statuses = outcome.verdict, way.retry.on_status_codes
        if self._is_final_copy(verdict) or not self.health.would_admit(way.name, self.call.operation):
            return False
        if statuses is not None and outcome.status is not None:
            return outcome.status in statuses
        match verdict.retry:
            case "no":
                return False
            case "stale":
                return repeats == 0 and outcome.failure is not None and outcome.failure.stale_connection
            case "rate":
                free = (other for other in rest if self._is_open(other))
                return all(other.quota_group == way.quota_group for other in free)
            case "yes":
                return True

    def _backoff(self, way: Way, previous: float) -> float:
        """Decorrelated jitter."""
        return min(way.retry.cap, self.random.uniform(way.retry.base, 3 * previous))

    def _heeds_retry_after(self, way: Way, outcome: _Outcome) -> bool:
        return way.retry.use_retry_after and outcome.verdict.heeds_retry_after

    def _remaining(self) -> float | None:
        return None if self.deadline_at is None else self.deadline_at - self.clock()

    def _has_time(self) -> bool:
        remaining = self._remaining()
        return remaining is None or remaining > _NO_TIME

    def _limit(self, elsewhere: bool) -> float | None:
        """How long the attempt may take to its response, of a stream to its first output."""
        remaining = self._remaining()
        if remaining is None or not (elsewhere and self.twice):
            return remaining
        share = (1 - self.policy.deadline.reserve) * remaining
        kept_back = remaining - self.policy.deadline.min_attempt
        return min(share, kept_back) if kept_back > 0 else share

    def _first_event(self, elsewhere: bool) -> float | None:
        return self.policy.deadline.first_event if elsewhere and self.twice else None

    def _looks_closer(self, reply: Reply, may_go_on: bool) -> bool:
        """Whether the body is looked at before it is handed on."""
        if reply.status >= 300 or self.call.operation == "other":
            return False
        return may_go_on or self.deadline_at is not None

    # What is learnt.

    def _learn(self, way: Way, outcome: _Outcome, backoff: float) -> None:
        """Let health know of an outcome."""
        verdict, name = outcome.verdict, way.name
        asked = outcome.retry_after_seconds if self._heeds_retry_after(way, outcome) else None
        cooling = max(asked or 0.0, backoff)
        match verdict.cools:
            case "model":
                self.health.cool(("model", name, way.model or ""), LONG_COOLDOWN_SECONDS)
            case "target":
                self.health.cool(("target", name), cooling)
            case "group":
                self.health.cool(way.quota_group, cooling)
            case "quota":
                self.health.cool(way.quota_group, LONG_COOLDOWN_SECONDS)
            case "credential" if way.credential is not None:
                self.health.bury(way.credential, name)
        self._judge(way, outcome)

    def _judge(self, way: Way, outcome: _Outcome) -> None:
        """Count the outcome at the breaker; the caller's own troubles say nothing of the target."""
        verdict, name, operation = outcome.verdict, way.name, self.call.operation
        counts = self.health.counts(name, outcome.status, verdict.breaker)
        if not counts and outcome.failure is not None:
            return
        if counts and verdict.server_error:
            if self.blamed:
                return
            self.blamed = True
        if counts:
            self.health.failed(name, operation, verdict.reason, probe=self.probing is not None)
        else:
            self.health.succeeded(name, operation, probe=self.probing is not None)
        self.probing = None

    def _release(self) -> None:
        """A probe that came to no verdict gives its slot back."""
        if self.probing is not None:
            self.health.released(*self.probing)
            self.probing = None

    # How it ends.

    def _set_aside(self) -> Generator[Step, Result, None]:
        """Before another send: keep the reply in hand where it may be the last word, else close it."""
        if not self.in_hand:
            return
        self.in_hand = False
        if self.kept and self.policy.final == "primary":
            yield Discard()
        else:
            self.kept = True
            yield Keep()

    def _last_word(self, outcome: _Outcome | None) -> Plan:
        """All failed: the first informative reply, else the first exception; for `final="last"`, the last ones."""
        verdict = outcome.verdict if outcome is not None else None
        failure = outcome.failure if outcome is not None else None
        if verdict is PASSED_ON and self.in_hand:
            return self._delivered()
        if failure is not None and failure.kind in {"timeout", "idle"} and not self._has_time():
            return self._delivered(
                failure=Failure("deadline", failure.reached, error=failure.error),
                spared=verdict is not None and self._is_final_copy(verdict),
                final=True,
            )
        if failure is not None and verdict is not None and self._must_be_raised(verdict):
            return self._delivered(failure=failure, spared=self._is_final_copy(verdict), final=True)
        if self.in_hand and (self.policy.final == "last" or not self.kept):
            return self._delivered(final=True)
        if self.kept:
            if self.in_hand:
                self.in_hand = False
                yield Discard()
            return self._delivered(kept=True, final=True)
        if not self.failures:
            return self._delivered(failure=Failure("deadline", reached=False), final=True)
        return self._delivered(failure=self.failures[-1 if self.policy.final == "last" else 0], final=True)

    def _must_be_raised(self, verdict: Verdict) -> bool:
        """An exception that no earlier reply may hide: the work may have run, or the caller's own side failed."""
        return self._is_final_copy(verdict) or verdict.move == "no"

    def _raised_again(self, prior: Prior) -> Deliver:
        """An SDK sent again what may not be sent again, or for which nothing is left."""
        if prior.blocked or self.most <= 0:
            return self._delivered(failure=prior.failure, spared=prior.blocked, final=True)
        spent = Failure("deadline", prior.failure.reached, error=prior.failure.error)
        return self._delivered(failure=spent, final=True)

    def _delivered(
        self, *, kept: bool = False, failure: Failure | None = None, spared: bool = False, final: bool = False
    ) -> Deliver:
        return Deliver(
            kept=kept,
            failure=failure,
            skipped=tuple(self.skipped),
            spared=spared,
            final=final,
            attempts=self.before + self.sent,
            deadline_at=self.deadline_at,
        )


_SKIPPED_FOR: Mapping[str, Literal["dead_credential", "model", "cooldown"]] = {
    "other_credential": "dead_credential",
    "other_model_or_credential": "model",
    "other_model_or_region": "model",
    "other_group": "cooldown",
}


def _may_move(way: Way, other: Way, verdict: Verdict) -> bool:
    """Whether an outcome at one target lets the call go to another one."""
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


def _least(*limits: float | None, since: float = 0.0) -> float | None:
    """The tightest of some limits, less the time that has passed."""
    known = [limit for limit in limits if limit is not None]
    return max(min(known) - since, 0.001) if known else None
