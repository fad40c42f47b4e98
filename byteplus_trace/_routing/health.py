"""
What is known of the targets, shared by all calls of a process.

A breaker (`breaker.py`) for each target and operation; cooldowns of a target, of one model
there, or of a quota group; credentials that were refused; the budget that all retries draw
on; where objects were made. The clock and the randomness are passed in.

A plain lock is held for a few statements, never across somebody else's code, so threads
and event loops may share one `Health`. Everything keyed by what callers send is bounded.

Where other processes are to know it too, what is learnt is also written into a `journal`,
in memory; `sharing.py` reads it, and lets this `Health` know what others learnt.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple, Protocol, TypeVar

from .._facts import Reason
from .._forks import remake_after_fork
from .._policy.policy import Policy
from .._policy.targets import Breaker
from .breaker import CLOSED, HALF_OPEN, OPEN, Circuit, Opening, State

DEAD_FOR_SECONDS = 300.0
REMEMBERED = 10_000
BUDGET_MOST = 10.0
BUDGET_PER_SECOND = 1.0
_ONE = 1 - 1e-9  # ten tenths are a little less than one

Admission = Literal["yes", "probe", "no"]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Counted(NamedTuple):
    """A call to a target whose breaker is closed ended; `failure` is None where it was answered."""

    target: str
    operation: str
    failure: Reason | None


class Opened(NamedTuple):
    """A breaker opened. `leased`: by the failure of the fleet's own probe."""

    target: str
    operation: str
    reason: Reason
    leased: bool


class Closed(NamedTuple):
    """A probe closed a breaker that the fleet had opened so many times."""

    target: str
    operation: str
    epoch: int


class Cooled(NamedTuple):
    key: tuple[str, ...]
    until: float


class Buried(NamedTuple):
    credential: str
    until: float


class Made(NamedTuple):
    object_id: str
    target: str


Lesson = Counted | Opened | Closed | Cooled | Buried | Made


class Ask(NamedTuple):
    """A target to which the fleet's next probe is wanted here."""

    target: str
    operation: str
    epoch: int


class Listener(Protocol):
    """Who wants to hear of changes; called with no lock held."""

    def breaker_changed(self, target: str, operation: str, state: int, opening: Opening | None) -> None:
        """0 closed, 1 half-open, 2 open; without an `opening` where a probe ended in nothing that counts."""

    def credential_dead(self, target: str) -> None:
        """A target's credential was refused; reported once for each credential."""


class Health:
    """Everything about targets that outlives a call."""

    def __init__(
        self, policy: Policy, clock: Callable[[], float], random: Random, listener: Listener | None = None
    ) -> None:
        self._usual = policy.breaker
        self._own = {target.name: target.breaker for target in policy.leaves if target.breaker is not None}
        self._per_call = policy.retry.budget_ratio
        self.clock = clock
        self.random = random
        self._listener = listener
        self._lock = threading.Lock()
        remake_after_fork(self)
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._cool_until: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._dead_until: OrderedDict[str, float] = OrderedDict()
        self._budget = BUDGET_MOST
        self._budget_at = clock()
        self._pins: OrderedDict[str, str] = OrderedDict()
        self.journal: deque[Lesson] | None = None
        """What was learnt, for who shares it; None where nobody does."""
        self.home_elsewhere: Callable[[str], str | None] | None = None
        """Where another process made an object."""
        self.in_fleet = False
        """Others can be heard now, so a breaker that is open for all is probed with a lease."""

    def after_fork(self) -> None:
        """The lock anew, and no probe under way: those of the parent end there, and so do its leases."""
        self._lock = threading.Lock()
        self.in_fleet = False
        if self.journal is not None:
            self.journal.clear()
        for circuit in self._circuits.values():
            circuit.leased_until = 0.0
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
            now = self.clock()
            if not (insist or self._lets_in(circuit, now)):
                circuit.asked_at = now
                return "no"
            if circuit.probing:
                return "yes"
            circuit.probing, circuit.state = True, HALF_OPEN
            circuit.leased = circuit.leased_until > now
        self._tell(target, operation, HALF_OPEN)
        return "probe"

    def would_admit(self, target: str, operation: str) -> bool:
        """As `admit`, without taking anything."""
        with self._lock:
            circuit = self._circuits.get((target, operation))
            return circuit is None or self._lets_in(circuit, self.clock())

    def _lets_in(self, circuit: Circuit, now: float) -> bool:
        if not circuit.lets_in(now):
            return False
        return circuit.state == CLOSED or not (self.in_fleet and circuit.shared) or circuit.leased_until > now

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
                    opening = circuit.open(self.clock(), self.random, reason)
                    self._write(Opened(target, operation, reason, circuit.leased))
        if opening is not None:
            self._tell(target, operation, OPEN, opening)
        else:
            self._count(target, operation, reason, probe=False)

    def released(self, target: str, operation: str) -> None:
        """A probe ended in nothing that counts: the next call may be one."""
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
            circuit = self._circuit(target, operation)
            before = circuit.state
            if circuit.state == CLOSED:
                circuit.count(self.clock(), failure is not None)
                if self.journal is not None:
                    self.journal.append(Counted(target, operation, failure))
                if failure is not None and circuit.is_too_much():
                    opening = circuit.open(self.clock(), self.random, failure)
                    self._write(Opened(target, operation, failure, leased=False))
            elif probe and failure is not None:
                opening = circuit.open(self.clock(), self.random, failure)
                self._write(Opened(target, operation, failure, circuit.leased))
            elif probe:
                if circuit.shared:
                    self._write(Closed(target, operation, circuit.epoch))
                circuit.close()
            after = circuit.state
        if after != before:
            self._tell(target, operation, after, opening)

    def _tell(self, target: str, operation: str, state: State, opening: Opening | None = None) -> None:
        if self._listener is not None:
            self._listener.breaker_changed(target, operation, state, opening)

    def _write(self, lesson: Lesson) -> None:
        if self.journal is not None:
            self.journal.append(lesson)

    # Cooldowns and credentials.

    def cool(self, key: tuple[str, ...], seconds: float) -> None:
        """Leave a target, a model of it or a quota group alone for a while."""
        until = self.clock() + seconds
        self.cooled_elsewhere(key, until)
        self._write(Cooled(key, until))

    def cool_until(self, *keys: tuple[str, ...]) -> float:
        """When the last of these cooldowns ends; 0 where none is on."""
        if not self._cool_until:
            return 0.0
        with self._lock:
            now = self.clock()
            until = max((self._cool_until.get(key, 0.0) for key in keys), default=0.0)
        return until if until > now else 0.0

    def bury(self, credential: str, target: str) -> None:
        """A credential was refused: it is not used for five minutes, wherever it would be used."""
        until = self.clock() + DEAD_FOR_SECONDS
        known = self.buried_elsewhere(credential, until)
        self._write(Buried(credential, until))
        if not known and self._listener is not None:
            self._listener.credential_dead(target)

    def dead_until(self, credential: str | None) -> float:
        """When a refused credential may be tried again; 0 for one that was not refused lately."""
        if credential is None or not self._dead_until:
            return 0.0
        with self._lock:
            until = self._dead_until.get(credential, 0.0)
            return until if until > self.clock() else 0.0

    # The retry budget.

    def earn(self) -> None:
        """A call began: the budget of retries grows."""
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
        now = self.clock()
        self._budget = min(BUDGET_MOST, self._budget + (now - self._budget_at) * BUDGET_PER_SECOND)
        self._budget_at = now

    # Pins.

    def pin(self, object_id: str, target: str) -> None:
        """A response, task or file was made there and lives there."""
        with self._lock:
            self._pins[object_id] = target
            self._pins.move_to_end(object_id)
            _bound(self._pins)
        self._write(Made(object_id, target))

    def pinned(self, object_id: str) -> str | None:
        """The target where an object was made, while that is remembered."""
        with self._lock:
            if object_id in self._pins:
                self._pins.move_to_end(object_id)
                return self._pins[object_id]
        return self.home_elsewhere(object_id) if self.home_elsewhere is not None else None

    # What other processes learnt.

    def opened_elsewhere(
        self,
        target: str,
        operation: str,
        *,
        epoch: int,
        until: float,
        openings: int,
        reason: Reason,
        who: str,
    ) -> None:
        """The fleet's opening of that number bars the target here too."""
        with self._lock:
            circuit, now = self._circuit(target, operation), self.clock()
            if circuit.epoch > epoch or (circuit.epoch == epoch and circuit.state == CLOSED):
                return
            if circuit.epoch == epoch and circuit.shared:
                circuit.until = max(circuit.until, until)
                return
            before = circuit.state
            circuit.bar(epoch, until, openings)
            after = circuit.state
        if after != before:
            self._tell(target, operation, after, Opening(reason, max(until - now, 0.0), openings > 1, who))

    def closed_elsewhere(self, target: str, operation: str, epoch: int) -> None:
        """A probe of another process closed the fleet's opening of that number; what opened here alone stays open."""
        with self._lock:
            circuit = self._circuit(target, operation)
            closes = circuit.state != CLOSED and circuit.shared and circuit.epoch <= epoch
            if closes:
                circuit.close()
            circuit.epoch = max(circuit.epoch, epoch)
        if closes:
            self._tell(target, operation, CLOSED)

    def cooled_elsewhere(self, key: tuple[str, ...], until: float) -> None:
        """As `cool`, learnt by another process."""
        with self._lock:
            self._cool_until[key] = max(self._cool_until.pop(key, 0.0), until)
            _bound(self._cool_until)

    def buried_elsewhere(self, credential: str, until: float) -> bool:
        """As `bury`, learnt by another process. Returns whether it was known before."""
        with self._lock:
            before = self._dead_until.pop(credential, None)
            self._dead_until[credential] = max(before or 0.0, until)
            _bound(self._dead_until)
        return before is not None

    # What the fleet's side of it asks.

    def open_for_fleet(
        self, target: str, operation: str, *, epoch: int, reason: Reason, again: bool
    ) -> tuple[float, int] | None:
        """
        Make the breaker's opening the fleet's, of that number; where the breaker is closed, open it.

        Returns until when it is open, and how often in a row; None where it is the fleet's already.

        Args:
            again: the fleet's own probe failed.
        """
        opening = None
        with self._lock:
            circuit = self._circuit(target, operation)
            if circuit.epoch >= epoch or (circuit.shared and not again):
                return None
            if circuit.state == CLOSED:
                opening = circuit.open(self.clock(), self.random, reason)
            circuit.epoch, circuit.shared, circuit.leased_until = epoch, True, 0.0
            until, openings = circuit.until, circuit.openings
        if opening is not None:
            self._tell(target, operation, OPEN, opening)
        return until, openings

    def probes_wanted(self, since: float, due: float) -> list[Ask]:
        """Breakers open for the fleet that may be probed by `due`, and from which a call was turned away `since`."""
        with self._lock:
            return [
                Ask(target, operation, circuit.epoch)
                for (target, operation), circuit in self._circuits.items()
                if circuit.shared and circuit.until <= due and (circuit.probing or circuit.asked_at >= since)
            ]

    def lease(self, ask: Ask, until: float) -> None:
        """The fleet's next probe there is this process's for so long."""
        with self._lock:
            circuit = self._circuit(ask.target, ask.operation)
            if circuit.shared and circuit.epoch == ask.epoch:
                circuit.leased_until = until

    def _circuit(self, target: str, operation: str) -> Circuit:
        circuit = self._circuits.get((target, operation))
        if circuit is None:
            circuit = self._circuits[target, operation] = Circuit(self._own.get(target, self._usual))
        return circuit

    def limits(self, target: str) -> Breaker:
        """When the target's breaker opens."""
        return self._own.get(target, self._usual)


def _bound(remembered: OrderedDict[_K, _V]) -> None:
    while len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
