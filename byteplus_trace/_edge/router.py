"""A policy at work: which calls it moves, what it makes of each, and what it learns of how they end."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from .._facts import Call, Exchange
from .._regions import region_named
from .._routing.breaker import CLOSED, Opening
from .._routing.health import Health
from .._routing.order import base_of
from .._routing.plan import plan
from .._routing.policy import Policy
from .._routing.replay import breaker_operation, only_reads
from .._routing.resend import Key, Prior, Resends
from .._routing.steps import Deliver, Plan
from .._routing.warnings import warnings_of
from .._telemetry.guard import guard
from .._wire.lenient_json import json_in
from .._wire.request import file_ids
from .library import lowered

if TYPE_CHECKING:
    from .._telemetry.sink import Sink

logger = logging.getLogger("byteplus_trace")

clock = time.monotonic

MADE = frozenset({"ok", "rescued_retry", "rescued_fallback", "cancelled", "abandoned"})
"""The outcomes after which what a call made, if it said so, is there: also where its reader left."""
MAKERS = frozenset({"responses", "video_task_create", "files", "context_create"})
"""The APIs that make an object which lives where it was made."""


_CALLERS_OWN = frozenset({"bad_request", "moderation"})


class Routed(msgspec.Struct):
    """One call, as a policy moves it."""

    router: Router
    plan: Plan
    key: Callable[[], Key] | None
    """How an SDK's resend would be known; None where none can be."""
    resent: bool
    """It looks like an unmarked resend of a call that may have run: perhaps a second charge."""
    served: bool = False
    """Its target was counted as one that answered."""

    def heard(self, exchange: Exchange) -> None:
        """Learn from how it ended."""
        self.router.heard(exchange, served=self.served)


class Router:
    """The calls of one policy; the health of its targets is theirs together."""

    def __init__(self, policy: Policy, sink: Sink) -> None:
        self.policy = policy
        self.random = random.Random()
        self.health = Health(policy, clock, self.random, self)
        self._sink = sink
        self._resends = Resends(clock)
        self._targets = {target.address: target.name for target in reversed(policy.leaves)}
        self._region_hosts = {region_named(target.region).host for target in policy.leaves}
        sink.start_targets([(target.name, target.region) for target in policy.leaves])
        for warning in warnings_of(policy):
            logger.warning("byteplus_trace policy: %s", warning)

    def moves(self, call: Call) -> bool:
        """Whether a call is addressed to one of the targets, or to the public host of one's region."""
        return base_of(call) in self._targets or call.host in self._region_hosts

    def route(self, call: Call, request: Any, body: bytes | None, caller: Callable[[], object]) -> Routed:
        """What the policy makes of a call that it moves."""
        key = partial(_key, caller(), request.url, body) if body is not None else None
        prior = self._resends.recall(key()) if key is not None and self._resends else None
        resent = False
        if prior is not None and not call.sdk_retry:
            # Its SDK says nothing of resending, so it is a call of its own, and perhaps a second charge.
            resent, prior = prior.failure.reached and not only_reads(call), None
        decided = plan(
            call,
            self.policy,
            self.health,
            clock=clock,
            random=self.random,
            replayable=body is not None,
            body_params=lambda: _fields(body),
            file_ids=lambda: file_ids(body or b""),
            headers=lowered(request.headers),
            origin=self._targets.get(base_of(call)),
            prior=prior,
        )
        return Routed(self, decided, key, resent)

    def raises(self, routed: Routed, delivery: Deliver) -> None:
        """A call ends with an exception: its SDK may send it again."""
        if routed.key is not None and delivery.failure is not None:
            prior = Prior(delivery.attempts, delivery.deadline_at, delivery.failure, delivery.spared)
            self._resends.remember(routed.key(), prior)

    def heard(self, exchange: Exchange, *, served: bool) -> None:
        """Learn from a call that has ended: where its object lives, and whether what was counted as a success was one."""
        made = exchange.answer.task_id or exchange.answer.id
        broke = served and exchange.status == 200 and exchange.outcome == "error"
        if made is not None and exchange.call.api in MAKERS and (broke or exchange.outcome in MADE):
            self.health.pin(made, exchange.target)
        # A prompt that is refused is refused everywhere, and an API that is not there is nobody's outage.
        if broke and exchange.reason not in _CALLERS_OWN and exchange.call.operation != "other":
            probe = exchange.attempts[-1].cause == "probe"
            self.health.broke(exchange.target, breaker_operation(exchange.call), exchange.reason, probe=probe)

    def breaker_changed(self, target: str, operation: str, state: int, opening: Opening | None) -> None:
        """
        A breaker opened, closed, or lets a probe through.

        An opening and its end are both warnings: where only warnings are kept, a breaker would seem
        open for ever. A probe that failed changes nothing for callers, and is INFO.
        """
        with guard("reporting a breaker"):
            self._report_breaker(target, operation, state, opening)

    def _report_breaker(self, target: str, operation: str, state: int, opening: Opening | None) -> None:
        self._sink.breaker(target, operation, state)
        if opening is not None:
            others = any(self.health.would_admit(other.name, operation) for other in self.policy.leaves)
            logger.log(
                logging.INFO if opening.again else logging.WARNING,
                "The breaker of target %r for %s opens for %.0f s: %s, the last failure was %r. %s.",
                target,
                operation,
                opening.seconds,
                "a probe failed" if opening.again else "too many calls failed",
                opening.reason,
                "Calls go to other targets meanwhile"
                if others
                else "No target is left: each call is tried once, where the breaker closes soonest",
            )
        elif state == CLOSED:
            logger.warning("The breaker of target %r for %s closes: a probe was answered.", target, operation)

    def credential_dead(self, target: str) -> None:
        """A credential was refused."""
        with guard("reporting a refused credential"):
            logger.warning(
                "ModelArk refused the credential of target %r; it is left alone for 5 minutes. Check its api_key.",
                target,
            )


def _key(caller: object, url: Any, body: bytes) -> Key:
    return Key(caller, str(url), hashlib.sha256(body).digest())


def _fields(body: bytes | None) -> Mapping[str, Any]:
    """A body's top-level fields, for a policy's conditions."""
    fields = json_in(body or b"")
    return fields if isinstance(fields, dict) else {}
