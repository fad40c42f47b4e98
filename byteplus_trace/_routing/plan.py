"""
One call, told as a story: which target next, may it be sent again, how long to wait.

    plan      filter the targets, then visit them in order, until one answers
    visit     send, look at what came, repeat where that may help
    ending    the first informative reply, or the first exception

Laws:
- What may have run and may not run twice is never sent again.
- Nothing is sent after the first output has been seen.
- No more sends than `max_attempts`, and none after the deadline.
- A credential goes only to the target that it was given for; the caller's own only to
  the region that the caller addressed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from random import Random
from typing import Literal, NamedTuple

from .._facts import Call, Cause, Skip
from .classify import SERVED, Verdict, classify_failure, classify_peeked, classify_reply
from .conditions import Params
from .health import Health
from .order import Leaf, order, shared_group
from .policy import Policy, Retry
from .resend import Prior
from .steps import Deliver, Discard, Failure, Keep, Peek, Peeked, Reply, Result, Send, Step, Wait

Plan = Generator[Step, Result, Deliver]
Visit = Generator[Step, Result, "Verdict | None"]

LONG_COOLDOWN_SECONDS = 300.0
REGION_HEADER = "x-portkey-byteplus-region"

_KIND_OF_API = {"responses": "responses", "video_task_create": "video"}
_KIND_OF_OPERATION = {"chat": "chat", "embeddings": "embeddings", "generate_content": "images"}
_SkipReason = Literal["breaker_open", "cooldown", "dead_credential", "operation", "model", "zone"]


def observe(call: Call) -> Plan:
    """Without a policy: one send to where the caller addressed it, and what came of it."""
    came = yield Send(target=call.region, region=call.region, base_url=None, cause="initial", number=1)
    return Deliver(failure=came if isinstance(came, Failure) else None)


def plan(
    call: Call,
    policy: Policy,
    health: Health,
    *,
    clock: Callable[[], float],
    random: Random,
    replayable: bool,
    body_params: Params,
    headers: Mapping[str, str],
    origin: str | None,
    prior: Prior | None = None,
) -> Plan:
    """
    Try each target in turn until one gives an answer worth delivering.

    Args:
        replayable: the body can be sent again, and rewritten.
        body_params: the body's top-level fields, for conditions; asked for only by them.
        headers: the request's, with lower-case names.
        origin: the target that the caller addressed, if it is one.
        prior: what the call came to that an SDK is sending again.
    """
    return _Story(call, policy, health, clock, random, replayable, body_params, headers, origin, prior).tell()


def kind_of(call: Call) -> str:
    """The key of `only` and `replay` that a call falls under."""
    return _KIND_OF_API.get(call.api) or _KIND_OF_OPERATION.get(call.operation, "other")


def may_run_twice(call: Call, policy: Policy) -> bool:
    """Whether a call may be sent again when nobody knows whether the first copy ran."""
    replay = policy.replay.get(kind_of(call), "unsent_only")
    if replay == "stateless_only":
        return call.params.get("store") is False and "previous_response_id" not in call.params
    return replay == "ambiguous"


class _Way(NamedTuple):
    """A leaf, and how this call would travel to it."""

    leaf: Leaf
    model: str | None
    credential: str
    """A digest of the credential that would be sent."""

    @property
    def name(self) -> str:
        return self.leaf.target.name


class _Story:
    def __init__(
        self,
        call: Call,
        policy: Policy,
        health: Health,
        clock: Callable[[], float],
        random: Random,
        replayable: bool,
        params: Params,
        headers: Mapping[str, str],
        origin: str | None,
        prior: Prior | None,
    ) -> None:
        self.call = call
        self.policy = policy
        self.health = health
        self.clock = clock
        self.random = random
        self.replayable = replayable
        self.params = params
        self.headers = headers
        self.origin = origin
        self.prior = prior
        self.kind = kind_of(call)
        self.twice = may_run_twice(call, policy)
        total = policy.deadline.total
        self.deadline_at = clock() + total if total is not None else None
        self.number = 0
        if prior is not None:
            self.number = prior.attempts
            self.deadline_at = prior.deadline_at
        self.first_number = self.number
        self.skipped: list[Skip] = []
        self.kept = False
        self.in_hand = False
        """A reply was received and not yet discarded."""
        self.status: int | None = None
        """Of the last attempt's refusal."""
        self.failure: Failure | None = None
        self.last_failure: Failure | None = None
        self.blamed = False
        self.unknown_copy = False
        """A copy that may have run is out there."""
        self.spared = False
        self.waited = 0.0

    # The story.

    def tell(self) -> Plan:
        if self.prior is not None and self.prior.blocked:
            return self._deliver(failure=self.prior.failure, spared=True)
        self.health.earn()
        ways = self._ways()
        at = 0
        while at < len(ways):
            way = ways[at]
            at += 1
            reason = self._closed(way)
            if reason is not None:
                self.skipped.append(Skip(way.name, reason))
                continue
            verdict = yield from self._visit(way, ways[at:])
            if verdict is None:
                return self._answered()
            if self._is_spent():
                break
            left = [other for other in ways[at:] if self._moves(way, other, verdict)]
            if not left:
                break
            ways[at:] = left
        if self.number == self.first_number and not self._is_spent():
            verdict = yield from self._nowhere_to_go(ways)
            if verdict is None:
                return self._answered()
        if self.in_hand and self.kept and self.policy.final == "primary":
            self.in_hand = False
            yield Discard()
        return self._last_word()

    def _visit(self, way: _Way, others: list[_Way]) -> Visit:
        """Send to one target, and again where that may help; None where its reply is to be delivered."""
        admission = self.health.admit(way.name, self.call.operation)
        cause: Cause = "initial" if self.number == 0 else "fallback"
        if admission == "probe":
            cause = "probe"
        retries = 0
        backoff = self._retry(way).base
        try:
            while True:
                verdict, retry_after = yield from self._attempt(way, cause, others, retries)
                if verdict is None:
                    return None
                wait = self._repeat_after(way, verdict, retry_after, others, retries, backoff)
                if wait is None:
                    break
                backoff = wait
                if self.in_hand:
                    yield from self._set_aside()
                if wait:
                    source: Literal["retry-after", "backoff"] = (
                        "retry-after" if wait == retry_after else "backoff"
                    )
                    yield Wait(wait, source, way.name, verdict.reason)
                self.waited = wait
                cause, retries = "retry", retries + 1
        finally:
            if admission == "probe":
                self.health.released(way.name, self.call.operation)
        if (
            self.in_hand
            and any(self._moves(way, other, verdict) for other in others)
            and not self._is_spent()
        ):
            yield from self._set_aside()
        return verdict

    def _attempt(
        self, way: _Way, cause: Cause, others: list[_Way], retries: int
    ) -> Generator[Step, Result, tuple[Verdict | None, float | None]]:
        """One send and what came of it: None for a reply to deliver, else what it means."""
        self.number += 1
        may_go_on = self._may_repeat(way, retries) or any(self._closed(other) is None for other in others)
        came = yield self._send(way, cause, may_go_on)
        self.skipped, self.waited, self.in_hand = [], 0.0, not isinstance(came, Failure)
        retry_after = self.status = None
        if isinstance(came, Reply):
            retry_after = came.retry_after_seconds
            if came.status >= 400:
                self.status = came.status
                verdict = self._adjusted(classify_reply(came.status, came.code), way, came.status)
                self._note(way, verdict, retry_after)
                return verdict, retry_after
            if not (may_go_on and self.call.operation != "other"):
                self.health.succeeded(way.name, self.call.operation)
                return None, None
            came = yield Peek(self._peek_seconds(came.streaming))
        if isinstance(came, Failure):
            self.in_hand = False
            self.failure = self.failure or came
            self.last_failure = came
            verdict = classify_failure(came)
            self.unknown_copy = self.unknown_copy or verdict.may_have_run
        else:
            verdict = classify_peeked(came) if isinstance(came, Peeked) else SERVED
            if verdict is SERVED:
                self.health.succeeded(way.name, self.call.operation)
                return None, None
        self._note(way, verdict, retry_after)
        return verdict, retry_after

    def _send(self, way: _Way, cause: Cause, may_go_on: bool) -> Send:
        target = way.leaf.target
        here = self.origin == target.name
        return Send(
            target=target.name,
            region=target.region,
            base_url=None if here else target.address,
            cause=cause,
            number=self.number,
            model=way.model if self.replayable and way.model != self.call.model else None,
            override_params=target.override_params if self.replayable else {},
            api_key=target.api_key,
            timeout_seconds=self._timeout(target.request_timeout, may_go_on),
            waited_seconds=self.waited,
            skipped=tuple(self.skipped),
            replays=self.unknown_copy,
            idle_seconds=self.policy.deadline.idle,
        )

    def _note(self, way: _Way, verdict: Verdict, retry_after: float | None) -> None:
        """Let health know."""
        target, operation = way.name, self.call.operation
        if verdict.breaker:
            # Only the first failure of one call counts: a poisonous request must not close every region.
            if not (self.blamed and verdict.server_error):
                self.health.failed(target, operation)
            self.blamed = self.blamed or verdict.server_error
        elif verdict.reason not in {"reset", "timeout"}:
            self.health.succeeded(target, operation)
        cooling = max(retry_after or 0.0, self._retry(way).base)
        group = way.leaf.target.quota_group or target
        if verdict.cools == "target":
            self.health.cool(("target", target), cooling)
        elif verdict.cools == "group":
            self.health.cool(("group", group), cooling)
        elif verdict.cools == "quota":
            self.health.cool(("group", group), LONG_COOLDOWN_SECONDS)
        elif verdict.cools == "model":
            self.health.cool(("model", target, way.model or ""), LONG_COOLDOWN_SECONDS)
        elif verdict.cools == "credential":
            self.health.bury(way.credential, target)

    # Where the call may go.

    def _ways(self) -> list[_Way]:
        """Every target that could serve this call, in order; the others are skipped for good."""
        leaves = order(self.policy, self.call, self.params, self.random)
        named, model = self._named(leaves)
        leaves = self._preferred(named or leaves)
        zone = next((leaf.target.zone for leaf in leaves if leaf.target.name == self.origin), None)
        ways: list[_Way] = []
        for leaf in leaves:
            target = leaf.target
            mapped = target.models.get(model or "", target.models.get("*", model))
            reason: _SkipReason | None = None
            if target.only is not None and self.kind not in target.only:
                reason = "operation"
            elif zone is not None and target.zone != zone:
                reason = "zone"
            elif mapped == model and (model or "").startswith("ep-") and target.region != self.call.region:
                reason = "model"
            elif target.api_key is None and target.region != self.call.region:
                reason = "dead_credential"
            if reason is None:
                ways.append(_Way(leaf, mapped, self._credential(target.api_key)))
            else:
                self.skipped.append(Skip(target.name, reason))
        return self._bound(ways)

    def _named(self, leaves: list[Leaf]) -> tuple[list[Leaf], str | None]:
        """A model written `@NAME/model` names its target; `@byteplus/model` any of them."""
        model = self.call.model
        if model is None or not model.startswith("@") or "/" not in model:
            return [], model
        name, _, plain = model[1:].partition("/")
        return [leaf for leaf in leaves if leaf.target.name == name], plain

    def _preferred(self, leaves: list[Leaf]) -> list[Leaf]:
        """A region that the request asks for comes first."""
        wanted = self.headers.get(REGION_HEADER)
        return sorted(leaves, key=lambda leaf: leaf.target.region != wanted) if wanted else leaves

    def _bound(self, ways: list[_Way]) -> list[_Way]:
        """A call that cannot move has one way: to the maker of its object, to where it was addressed, or to the first."""
        made = self.call.resource_id or self.call.params.get("previous_response_id")
        if made is not None:
            home = self.health.pinned(str(made))
            return ([way for way in ways if way.name == home] or ways)[:1]
        if self.headers.get("x-is-encrypted", "").lower() == "true":
            return ([way for way in ways if way.name == self.origin] or ways)[:1]
        return ways if self.replayable else ways[:1]

    def _closed(self, way: _Way) -> _SkipReason | None:
        """Why a way is closed just now."""
        target = way.leaf.target
        if self.health.is_dead(way.credential):
            return "dead_credential"
        if self._cool_until(way):
            return "cooldown"
        return None if self.health.would_admit(target.name, self.call.operation) else "breaker_open"

    def _cool_until(self, way: _Way) -> float:
        name = way.name
        return self.health.cool_until(
            ("target", name), ("group", way.leaf.target.quota_group or name), ("model", name, way.model or "")
        )

    def _nowhere_to_go(self, ways: list[_Way]) -> Visit:
        """Every way is closed: the one that opens soonest is tried, once; with none at all, the caller's own."""
        if not ways:
            self.number += 1
            came = yield Send(
                target=self.origin or self.call.region,
                region=self.call.region,
                base_url=None,
                cause="initial",
                number=self.number,
                skipped=tuple(self.skipped),
            )
            self.skipped = []
            self.in_hand = not isinstance(came, Failure)
            if isinstance(came, Failure):
                self.failure = self.last_failure = came
                return classify_failure(came)
            return None
        alive = [way for way in ways if not self.health.is_dead(way.credential)] or ways
        way = min(alive, key=self._opens_at)
        admission = self.health.insist(way.name, self.call.operation)
        try:
            verdict, _ = yield from self._attempt(
                way, "probe" if admission == "probe" else "initial", [], 1_000
            )
        finally:
            if admission == "probe":
                self.health.released(way.name, self.call.operation)
        return verdict

    def _opens_at(self, way: _Way) -> float:
        return max(self._cool_until(way), self.health.reopens_at(way.name, self.call.operation))

    def _moves(self, way: _Way, other: _Way, verdict: Verdict) -> bool:
        """Whether this outcome lets the call go from one way to another."""
        if self.number >= self.policy.max_attempts or not self._safe(verdict):
            return False
        listed = shared_group(way.leaf, other.leaf).on_status_codes
        if listed is not None and self.status is not None:
            return self.status in listed
        if verdict.move == "other_credential":
            return other.credential != way.credential
        if verdict.move == "other_model_or_credential":
            return other.model != way.model or other.credential != way.credential
        if verdict.move == "other_model_or_region":
            return other.model != way.model or other.leaf.target.region != way.leaf.target.region
        if verdict.move == "other_group":
            return _group(other) != _group(way)
        return verdict.move == "yes"

    def _safe(self, verdict: Verdict) -> bool:
        """Whether the call may be sent again after this; what may have run may not always."""
        return self.twice or not verdict.may_have_run

    def _adjusted(self, verdict: Verdict, way: _Way, status: int) -> Verdict:
        """Repeats by the target's own list of statuses, where a gateway config gives one."""
        repeats = self._retry(way).on_status_codes
        return verdict if repeats is None else replace(verdict, retry="yes" if status in repeats else "no")

    # Time, and how often.

    def _repeat_after(
        self,
        way: _Way,
        verdict: Verdict,
        retry_after: float | None,
        others: list[_Way],
        retries: int,
        backoff: float,
    ) -> float | None:
        """How long to wait before the same target is tried again; None where it is not."""
        if verdict.retry == "stale" and not (
            self.last_failure is not None and self.last_failure.stale_connection
        ):
            return None
        if (
            verdict.retry == "no"
            or not self._may_repeat(way, retries)
            or not (verdict.retry == "stale" or self._safe(verdict))
        ):
            return None
        if verdict.retry == "rate" and any(
            self._closed(other) is None and _group(other) != _group(way) for other in others
        ):
            return None
        retry = self._retry(way)
        if verdict.retry == "stale":
            wait = 0.0  # the connection was stale, not the server
        else:
            wait = min(retry.cap, self.random.uniform(retry.base, max(retry.base, 3 * backoff)))
        if retry_after is not None:
            if retry_after > retry.retry_after_cap:
                return None
            wait = max(wait, retry_after)
        remaining = self._remaining()
        if remaining is not None and remaining - wait < self.policy.deadline.min_attempt:
            return None
        return wait if self.health.spend() else None

    def _retry(self, way: _Way) -> Retry:
        return way.leaf.target.retry or self.policy.retry

    def _may_repeat(self, way: _Way, retries: int) -> bool:
        return (
            self.replayable
            and retries < self._retry(way).per_target
            and self.number < self.policy.max_attempts
        )

    def _remaining(self) -> float | None:
        return None if self.deadline_at is None else self.deadline_at - self.clock()

    def _is_spent(self) -> bool:
        remaining = self._remaining()
        return remaining is not None and remaining <= 0

    def _timeout(self, own: float | None, may_go_on: bool) -> float | None:
        """What an attempt may take: all that remains, less what the targets after it need."""
        remaining = self._remaining()
        if remaining is None:
            return own
        deadline = self.policy.deadline
        if may_go_on:
            remaining = max(min((1 - deadline.reserve) * remaining, remaining - deadline.min_attempt), 0.001)
        return remaining if own is None else min(own, remaining)

    def _peek_seconds(self, streaming: bool) -> float | None:
        remaining = self._remaining()
        limits = [remaining, self.policy.deadline.first_event if streaming else None]
        known = [limit for limit in limits if limit is not None]
        return max(min(known), 0.001) if known else None

    # The ending.

    def _set_aside(self) -> Generator[Step, Result, None]:
        """A reply that may yet be the last word is kept; another is discarded."""
        self.in_hand = False
        if self.policy.final == "last" or not self.kept:
            self.kept = True
            yield Keep()
        else:
            yield Discard()

    def _answered(self) -> Deliver:
        return self._deliver()

    def _last_word(self) -> Deliver:
        """All failed: the first informative reply, else the first exception; of `final="last"`, the last."""
        spared = self.unknown_copy and not self.twice
        last = self.policy.final == "last"
        if self._is_spent() and self.last_failure is not None and not self.in_hand:
            spent = Failure("deadline", self.last_failure.reached, error=self.last_failure.error)
            return self._deliver(failure=spent, spared=spared, final=True)
        if self.kept and not (self.in_hand and last):
            return self._deliver(kept=True, spared=spared, final=True)
        if self.in_hand:
            return self._deliver(spared=spared, final=True)
        return self._deliver(failure=self.last_failure if last else self.failure, spared=spared, final=True)

    def _deliver(
        self, *, kept: bool = False, failure: Failure | None = None, spared: bool = False, final: bool = False
    ) -> Deliver:
        return Deliver(
            kept=kept,
            failure=failure,
            skipped=tuple(self.skipped),
            spared=spared,
            final=final,
            attempts=self.number,
            deadline_at=self.deadline_at,
        )

    def _credential(self, api_key: str | None) -> str:
        given = f"Bearer {api_key}" if api_key is not None else self.headers.get("authorization", "")
        return hashlib.sha256(given.encode()).hexdigest()


def _group(way: _Way) -> str:
    return way.leaf.target.quota_group or way.name
