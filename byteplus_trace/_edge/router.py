"""A policy at work: which calls it moves, the plan for each, and what it learns from their ends."""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from .._apis import MAKE_OBJECTS
from .._facts import Call, Exchange, SkipReason
from .._log import logger
from .._policy.policy import Policy
from .._policy.replay import breaker_operation, only_reads
from .._policy.store_address import StoreAddress
from .._policy.warnings import warnings_of
from .._regions import region_named
from .._routing.address import Addresses
from .._routing.breaker import CLOSED, Opening
from .._routing.health import Health
from .._routing.order import Request, why_it_stays
from .._routing.plan import plan
from .._routing.resend import Key, Prior, Resends
from .._routing.steps import Deliver, Failure, Plan
from .._telemetry.guard import guard
from .._wire.lenient_json import json_in
from .._wire.request import file_ids
from .connections import Losses
from .library import REDIRECTED
from .remembered import remembered

if TYPE_CHECKING:
    from .._routing.sharing import Sharing
    from .._telemetry.sink import Sink

clock = time.monotonic

MADE = frozenset({"ok", "rescued_retry", "rescued_fallback", "cancelled", "abandoned"})
"""The outcomes after which an object that the reply named exists, also where its reader stopped early."""

_STAYS = {
    "encrypted": "a call with X-Session-Token or X-Encrypt-Info is encrypted for the place that it addresses; such calls are never moved.",
    "signed": "a call that its client signs holds for the place that it addresses; such calls are never moved.",
}
_CALLERS_OWN = frozenset({"bad_request", "moderation"})


class Routed(msgspec.Struct):
    """One call, as a policy moves it."""

    router: Router
    plan: Plan
    key: Callable[[], Key] | None
    """By what an SDK's resend would be recognised; None where it cannot be."""
    resent: bool
    """It looks like an unmarked resend of a call that may have run: perhaps a second charge."""
    served: bool = False
    """Its target was counted as one that answered."""

    def heard(self, exchange: Exchange, error: BaseException | None) -> None:
        """Learn from how it ended; `error` is what ended it, if an exception did."""
        self.router.heard(exchange, error, served=self.served)


class Router:
    """The calls of one policy; the health of its targets is theirs together."""

    def __init__(self, policy: Policy, sink: Sink, health_store: str | None = None) -> None:
        self.policy = policy
        self.health = Health(policy, clock, random.Random(), self)
        self.losses = Losses()
        self._addresses = Addresses(policy.leaves)
        self._sink = sink
        self._resends = Resends(clock)
        self._region_hosts = {region_named(target.region).host for target in policy.leaves}
        self._stays_logged: set[str] = set()
        self._open: frozenset[tuple[str, str]] = frozenset()
        """The breakers of which the log says last that they opened."""
        sink.start_targets([(target.name, target.region) for target in policy.leaves])
        for warning in warnings_of(policy):
            logger.warning("byteplus_trace policy: %s", warning)
        self._sharing: Sharing | None = None
        if health_store is not None:
            from . import health_store as store

            self._sharing = store.share(self.health, policy, StoreAddress.of(health_store), sink)

    def stop_sharing(self) -> None:
        """From now on this process knows its own health alone."""
        if self._sharing is not None:
            from . import health_store as store

            store.leave(self._sharing)
            self._sharing = None
            self.health.journal = None

    def moves(self, call: Call, request: Any) -> bool:
        """Whether a call is addressed to one of the targets, or to the public host of one's region, and follows no redirect."""
        if REDIRECTED in request.extensions:
            return False
        return call.host in self._region_hosts or self._addressed(call) is not None

    def _addressed(self, call: Call) -> str | None:
        """The name of the target that a call is addressed to; None where it is only its region."""
        return self._addresses.of(call)[0].target

    def route(
        self,
        call: Call,
        request: Any,
        headers: Mapping[str, str],
        body: bytes | None,
        caller: Callable[[], object],
    ) -> Routed:
        """Plan a call that the policy moves; `headers` are those of its request that are looked at."""
        key = partial(_key, caller(), request.url, body) if body is not None else None
        # A key costs a digest of the body: none is made where no call is remembered.
        prior = self._resends.recall(key()) if key is not None and self._resends.ended else None
        resent = False
        if prior is not None and not call.sdk_retry:
            # Its SDK does not mark resends, so it is a call of its own, and perhaps a second charge.
            resent, prior = prior.failure.reached and not only_reads(call), None
        stay_reason = why_it_stays(headers)
        if stay_reason is not None:
            self._log_why_it_stays(stay_reason)
        decided = plan(
            call,
            self.policy,
            self._addresses,
            self.health,
            Request(
                headers,
                stay_reason,
                self._addressed(call),
                replayable=body is not None,
                body_params=lambda: _fields(body),
                file_ids=lambda: file_ids(body or b""),
            ),
            prior,
        )
        return Routed(self, decided, key, resent)

    def _log_why_it_stays(self, reason: SkipReason) -> None:
        """Say once of each reason that calls are not moved for it."""
        if reason not in self._stays_logged and len(self.policy.leaves) > 1:
            self._stays_logged.add(reason)
            logger.warning("byteplus_trace policy: %s", _STAYS[reason])

    def raises(self, routed: Routed, delivery: Deliver) -> None:
        """A call ends with an exception: its SDK may send it again."""
        failure = delivery.failure
        if routed.key is None or failure is None:
            return
        # As it is, it would keep the frames of its callers alive, and what they hold: each a body of megabytes, perhaps.
        error = remembered(failure.error) if failure.error is not None else None
        failure = Failure(failure.kind, failure.reached, failure.stale_connection, error)
        self._resends.remember(
            routed.key(), Prior(delivery.attempts, delivery.deadline_at, failure, delivery.spared)
        )

    def heard(self, exchange: Exchange, error: BaseException | None, *, served: bool) -> None:
        """Learn from a call that has ended: where its object lives, and whether what was counted as a success was one."""
        made = exchange.answer.task_id or exchange.answer.id
        broke = served and exchange.status == 200 and exchange.outcome == "error"
        if made is not None and exchange.call.api in MAKE_OBJECTS and (broke or exchange.outcome in MADE):
            self.health.pin(made, exchange.target)
        # A prompt that is refused is refused everywhere, and an API that is not there is nobody's outage.
        if broke and error is not None and not self.losses.is_new(error):
            return  # another call on the same connection has reported its loss
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
        breaker = target, operation
        if opening is not None:
            is_news, self._open = breaker not in self._open, self._open | {breaker}
            self._sink.breaker_opening(target, operation, "own" if opening.who is None else "fleet")
            others = any(self.health.would_admit(other.name, operation) for other in self.policy.leaves)
            cause = "a probe failed" if opening.again else "too many calls failed"
            logger.log(
                logging.WARNING if is_news else logging.INFO,
                "The breaker of target %r for %s opens for %.0f s: %s, the last failure was %r. %s.",
                target,
                operation,
                opening.seconds,
                cause if opening.who is None else f"{cause} in process {opening.who!r}",
                opening.reason,
                "Calls go to other targets meanwhile"
                if others
                else "No target is left: each call is tried once, where the breaker closes soonest",
            )
        elif state == CLOSED:
            self._open -= {breaker}
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
