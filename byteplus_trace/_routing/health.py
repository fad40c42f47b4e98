"""
What is known of the targets, shared by all calls of a process.

A breaker (`breaker.py`) for each target and operation; cooldowns of a target, of one model
there, or of a quota group; credentials that were refused; the budget that all retries draw
on; where objects were made. The clock and the randomness are passed in.

A plain lock is held for a few statements, never across somebody else's code, so threads
and event loops may share one `Health`. Everything keyed by what callers send is bounded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Literal, Protocol, TypeVar

from .._facts import Reason
from .._forks import remake_after_fork
from .._policy.policy import Policy
from .breaker import CLOSED, HALF_OPEN, OPEN, Circuit, Opening, State

DEAD_FOR_SECONDS = 300.0
REMEMBERED = 10_000
BUDGET_MOST = 10.0
BUDGET_PER_SECOND = 1.0
_ONE = 1 - 1e-9  # ten tenths are a little less than one

Admission = Literal["yes", "probe", "no"]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Listener(Protocol):
    """Who wants to hear of changes; called with no lock held."""

    def breaker_changed(self, target: str, operation: str, state: int, opening: Opening | None) -> None:
        """0 closed, 1 half-open, 2 open; without an `opening` where a probe came to nothing that counts."""

    def credential_dead(self, target: str) -> None:
        """A target's credential was refused; said once for each credential."""


class Health:
    """Everything about targets that outlives a call."""

    def __init__(
        self, policy: Policy, clock: Callable[[], float], random: Random, listener: Listener | None = None
    ) -> None:
        self._usual = policy.breaker
        self._own = {target.name: target.breaker for target in policy.leaves if target.breaker is not None}
        self._per_call = policy.retry.budget_ratio
        self._clock = clock
        self._random = random
        self._listener = listener
        self._lock = threading.Lock()
        remake_after_fork(self)
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._cool_until: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._dead_until: OrderedDict[str, float] = OrderedDict()
        self._budget = BUDGET_MOST
        self._budget_at = clock()
        self._pins: OrderedDict[str, str] = OrderedDict()

    def after_fork(self) -> None:
        """The lock anew, and no probe under way: those of the parent end there."""
        self._lock = threading.Lock()
        for circuit in self._circuits.values():
            if circuit.probing:
                circuit.probing, circuit.state = False, OPEN

    # Breakers.

    def admit(self, target: str, operation: str, *, insist: bool = False) -> Admission:
        """
        Whether a call may go there now; `probe` takes the one slot of a half-open breaker.

        `insist` is for a call that has nowhere else to go: it is let in before the time,
        as a probe where there is none under way.
        """
        with self._lock:
            circuit = self._circuits.get((target, operation))
            if circuit is None or circuit.state == CLOSED:
                return "yes"
            if not (insist or circuit.lets_in(self._clock())):
                return "no"
            if circuit.probing:
                return "yes"
            circuit.probing, circuit.state = True, HALF_OPEN
        self._tell(target, operation, HALF_OPEN)
        return "probe"

    def would_admit(self, target: str, operation: str) -> bool:
        """As `admit`, without taking anything."""
        with self._lock:
            circuit = self._circuits.get((target, operation))
            return circuit is None or circuit.lets_in(self._clock())

    def reopens_at(self, target: str, operation: str) -> float:
        """When an open breaker lets a probe through; 0 for a closed one."""
        with self._lock:
            circuit = self._circuits.get((target, operation))
            return 0.0 if circuit is None or circuit.state == CLOSED else circuit.until

    def succeeded(self, target: str, operation: str, *, probe: bool = False) -> None:
        """The target answered."""
        self._count(target, operation, None, probe=probe)

    def failed(self, target: str, operation: str, reason: Reason, *, probe: bool = False) -> None:
        """The target failed in a way that counts."""
        self._count(target, operation, reason, probe=probe)

    def broke(self, target: str, operation: str, reason: Reason, *, probe: bool = False) -> None:
        """A reply that had been counted as a success was none. If it was a probe's, its breaker opens again."""
        opening = None
        with self._lock:
            circuit = self._circuits.get((target, operation))
            if circuit is not None and circuit.state == CLOSED:
                circuit.take_back()
                if probe:
                    circuit.openings = 1
                    opening = circuit.open(self._clock(), self._random, reason)
        if opening is not None:
            self._tell(target, operation, OPEN, opening)
        else:
            self._count(target, operation, reason, probe=False)

    def released(self, target: str, operation: str) -> None:
        """A probe came to nothing that counts: the next call may be one."""
        with self._lock:
            circuit = self._circuits.get((target, operation))
            if circuit is None or not circuit.probing:
                return
            circuit.probing, circuit.state = False, OPEN
        self._tell(target, operation, OPEN)

    def counts(self, target: str, status: int | None, otherwise: bool) -> bool:
        """Whether a failure counts: by the breaker's own list of statuses, where it has one."""
        statuses = self._own.get(target, self._usual).on_status_codes
        return otherwise if statuses is None or status is None else status in statuses

    def _count(self, target: str, operation: str, failure: Reason | None, *, probe: bool) -> None:
        opening = None
        with self._lock:
            circuit = self._circuits.get((target, operation))
            if circuit is None:
                circuit = Circuit(self._own.get(target, self._usual))
                self._circuits[target, operation] = circuit
            before = circuit.state
            if circuit.state == CLOSED:
                circuit.count(self._clock(), failure is not None)
                if failure is not None and circuit.is_too_much():
                    opening = circuit.open(self._clock(), self._random, failure)
            elif probe and failure is not None:
                opening = circuit.open(self._clock(), self._random, failure)
            elif probe:
                circuit.close()
            after = circuit.state
        if after != before:
            self._tell(target, operation, after, opening)

    def _tell(self, target: str, operation: str, state: State, opening: Opening | None = None) -> None:
        if self._listener is not None:
            self._listener.breaker_changed(target, operation, state, opening)

    # Cooldowns and credentials.

    def cool(self, key: tuple[str, ...], seconds: float) -> None:
        """Leave a target, a model of it or a quota group alone for a while."""
        with self._lock:
            self._cool_until[key] = max(self._cool_until.pop(key, 0.0), self._clock() + seconds)
            _bound(self._cool_until)

    def cool_until(self, *keys: tuple[str, ...]) -> float:
        """When the last of these cooldowns ends; 0 where none is on."""
        with self._lock:
            now = self._clock()
            until = max((self._cool_until.get(key, 0.0) for key in keys), default=0.0)
        return until if until > now else 0.0

    def bury(self, credential: str, target: str) -> None:
        """A credential was refused: it is left alone for five minutes, wherever it would be used."""
        with self._lock:
            known = credential in self._dead_until
            self._dead_until[credential] = self._clock() + DEAD_FOR_SECONDS
            self._dead_until.move_to_end(credential)
            _bound(self._dead_until)
        if not known and self._listener is not None:
            self._listener.credential_dead(target)

    def dead_until(self, credential: str | None) -> float:
        """When a refused credential may be tried again; 0 for one that was not refused lately."""
        if credential is None:
            return 0.0
        with self._lock:
            until = self._dead_until.get(credential, 0.0)
            return until if until > self._clock() else 0.0

    # The retry budget.

    def earn(self) -> None:
        """A call came: the budget of retries grows."""
        with self._lock:
            self._refill()
            self._budget = min(BUDGET_MOST, self._budget + self._per_call)

    def spend(self) -> bool:
        """Take one retry from the budget; false where there is none."""
        with self._lock:
            self._refill()
            if self._budget < _ONE:
                return False
            self._budget -= 1
            return True

    def _refill(self) -> None:
        now = self._clock()
        self._budget = min(BUDGET_MOST, self._budget + (now - self._budget_at) * BUDGET_PER_SECOND)
        self._budget_at = now

    # Pins.

    def pin(self, object_id: str, target: str) -> None:
        """A response, task or file was made there and lives there."""
        with self._lock:
            self._pins[object_id] = target
            self._pins.move_to_end(object_id)
            _bound(self._pins)

    def pinned(self, object_id: str) -> str | None:
        """The target where an object was made, while that is remembered."""
        with self._lock:
            if object_id in self._pins:
                self._pins.move_to_end(object_id)
            return self._pins.get(object_id)


def _bound(remembered: OrderedDict[_K, _V]) -> None:
    while len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
