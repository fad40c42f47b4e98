"""
What is known of the targets, shared by all calls of a process.

Breakers for each (target, operation), cooldowns, dead credentials, the retry budget and
pins. The clock and the randomness are given; a plain lock is held for a few statements
and never while anybody else's code runs, so threads and event loops may share one.

A breaker is closed, open, or half-open: open for a while, then one probe is let through;
its success closes the breaker, its failure opens it again for twice as long.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal, Protocol

from .policy import Breaker, Policy

CLOSED, HALF_OPEN, OPEN = 0, 1, 2
DEAD_FOR_SECONDS = 300.0
REMEMBERED_PINS = 10_000
BUDGET_MOST = 10.0
BUDGET_PER_SECOND = 1.0

Admission = Literal["yes", "probe", "no"]


class Listener(Protocol):
    """Who wants to hear of changes."""

    def breaker_changed(self, target: str, operation: str, state: int) -> None: ...
    def credential_dead(self, target: str) -> None: ...


@dataclass(slots=True)
class _State:
    """One breaker."""

    state: int = CLOSED
    until: float = 0.0
    open_for: float = 0.0
    consecutive: int = 0
    probing: bool = False
    results: deque[tuple[float, bool]] = field(default_factory=deque)


class Health:
    """Everything that outlives a call."""

    def __init__(
        self,
        policy: Policy,
        clock: Callable[[], float],
        random: Random,
        listener: Listener | None = None,
    ) -> None:
        self._usual = policy.breaker
        self._own = {target.name: target.breaker for target in policy.leaves if target.breaker is not None}
        self._per_call = policy.retry.budget_ratio
        self._clock = clock
        self._random = random
        self._listener = listener
        self._lock = threading.Lock()
        self._breakers: dict[tuple[str, str], _State] = {}
        self._changes: deque[tuple[str, str, int]] = deque()
        self._cool_until: dict[tuple[str, ...], float] = {}
        self._dead_until: dict[str, float] = {}
        self._budget = BUDGET_MOST
        self._budget_at = clock()
        self._pins: OrderedDict[str, str] = OrderedDict()

    def admit(self, target: str, operation: str) -> Admission:
        """Whether a call may go there now; `probe` takes the one slot of a half-open breaker."""
        with self._lock:
            found = self._breakers.get((target, operation))
            if found is None or found.state == CLOSED:
                return "yes"
            if found.probing or self._clock() < found.until:
                return "no"
            self._probe(target, operation, found)
        self._notify()
        return "probe"

    def insist(self, target: str, operation: str) -> Admission:
        """As `admit`, before its time: for a call that has nowhere else to go."""
        with self._lock:
            found = self._breakers.get((target, operation))
            if found is None or found.state == CLOSED:
                return "yes"
            if found.probing:
                return "yes"
            self._probe(target, operation, found)
        self._notify()
        return "probe"

    def _probe(self, target: str, operation: str, found: _State) -> None:
        found.probing = True
        found.state = HALF_OPEN
        self._tell(target, operation, HALF_OPEN)

    def would_admit(self, target: str, operation: str) -> bool:
        """As `admit`, without taking anything."""
        with self._lock:
            found = self._breakers.get((target, operation))
            return (
                found is None or found.state == CLOSED or not (found.probing or self._clock() < found.until)
            )

    def reopens_at(self, target: str, operation: str) -> float:
        """When an open breaker lets a probe through; 0 for a closed one."""
        with self._lock:
            found = self._breakers.get((target, operation))
            return 0.0 if found is None or found.state == CLOSED else found.until

    def succeeded(self, target: str, operation: str) -> None:
        """The target answered."""
        self._count(target, operation, failed=False)
        self._notify()

    def failed(self, target: str, operation: str) -> None:
        """The target failed in a way that counts."""
        self._count(target, operation, failed=True)
        self._notify()

    def released(self, target: str, operation: str) -> None:
        """A probe came to nothing that counts: the slot is free again."""
        with self._lock:
            found = self._breakers.get((target, operation))
            if found is not None and found.probing:
                found.probing = False
                found.state = OPEN
                self._tell(target, operation, OPEN)
        self._notify()

    def _count(self, target: str, operation: str, *, failed: bool) -> None:
        with self._lock:
            now = self._clock()
            found = self._breakers.setdefault((target, operation), _State())
            if found.probing:
                found.probing = False
                if failed:
                    self._open(target, operation, found, now)
                else:
                    self._breakers[target, operation] = _State()
                    self._tell(target, operation, CLOSED)
                return
            if found.state != CLOSED:
                return
            found.consecutive = found.consecutive + 1 if failed else 0
            settings = self._own.get(target, self._usual)
            found.results.append((now, failed))
            while found.results and found.results[0][0] < now - settings.window:
                found.results.popleft()
            if failed and _is_too_much(found, settings):
                self._open(target, operation, found, now)

    def _open(self, target: str, operation: str, found: _State, now: float) -> None:
        settings = self._own.get(target, self._usual)
        found.open_for = min(found.open_for * 2, settings.open_max) if found.open_for else settings.open
        found.until = now + found.open_for * self._random.uniform(0.9, 1.1)
        found.state = OPEN
        found.consecutive = 0
        found.results.clear()
        self._tell(target, operation, OPEN)

    def _tell(self, target: str, operation: str, state: int) -> None:
        self._changes.append((target, operation, state))

    def _notify(self) -> None:
        """Say what changed, with no lock held."""
        while self._changes:
            try:
                change = self._changes.popleft()
            except IndexError:
                return
            if self._listener is not None:
                self._listener.breaker_changed(*change)

    def cool(self, key: tuple[str, ...], seconds: float) -> None:
        """Leave a target, a model of it or a quota group alone for a while."""
        with self._lock:
            self._cool_until[key] = max(self._cool_until.get(key, 0.0), self._clock() + seconds)

    def cool_until(self, *keys: tuple[str, ...]) -> float:
        """When the last of these cooldowns ends; 0 where none is on."""
        now = self._clock()
        with self._lock:
            until = max((self._cool_until.get(key, 0.0) for key in keys), default=0.0)
            for key in keys:
                if self._cool_until.get(key, now) < now:
                    del self._cool_until[key]
        return until if until > now else 0.0

    def bury(self, credential: str, target: str) -> None:
        """A credential was refused: leave it alone for five minutes."""
        with self._lock:
            now = self._clock()
            known = self._dead_until.get(credential, 0.0) > now
            self._dead_until[credential] = now + DEAD_FOR_SECONDS
        if not known and self._listener is not None:
            self._listener.credential_dead(target)

    def is_dead(self, credential: str) -> bool:
        """Whether a credential was refused lately."""
        with self._lock:
            return self._dead_until.get(credential, 0.0) > self._clock()

    def earn(self) -> None:
        """A call came: the budget of repeats grows."""
        with self._lock:
            self._refill()
            self._budget = min(BUDGET_MOST, self._budget + self._per_call)

    def spend(self) -> bool:
        """Take one repeat from the budget; false where there is none."""
        with self._lock:
            self._refill()
            if self._budget < 1:
                return False
            self._budget -= 1
            return True

    def _refill(self) -> None:
        now = self._clock()
        self._budget = min(BUDGET_MOST, self._budget + (now - self._budget_at) * BUDGET_PER_SECOND)
        self._budget_at = now

    def pin(self, made: str, target: str) -> None:
        """A response, task or file was made there and lives there."""
        with self._lock:
            self._pins[made] = target
            self._pins.move_to_end(made)
            while len(self._pins) > REMEMBERED_PINS:
                self._pins.popitem(last=False)

    def pinned(self, made: str) -> str | None:
        """Where an object was made, if that is still known."""
        with self._lock:
            return self._pins.get(made)


def _is_too_much(found: _State, settings: Breaker) -> bool:
    if settings.consecutive is not None and found.consecutive >= settings.consecutive:
        return True
    failures = sum(failed for _, failed in found.results)
    total = len(found.results)
    return (
        settings.ratio is not None and total >= settings.min_requests and failures >= settings.ratio * total
    )
