"""
One breaker: plain state, no lock and no clock.

It is closed, or open for a while, or half-open: one probe has been let through. Its
success closes the breaker, its failure opens it again for twice as long; calls that left
before it opened have no say any more.

Where processes share what they know (`sharing.py`), an opening may be the fleet's: then the
next probe is its own too, and takes a lease.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from .._facts import Reason
from .._policy.targets import Breaker

CLOSED: Final = 0
HALF_OPEN: Final = 1
OPEN: Final = 2

State = Literal[0, 1, 2]


@dataclass(frozen=True, slots=True)
class Opening:
    """Why a breaker opened, and for how long."""

    reason: Reason
    """Of the last failure, the one that was too much."""
    seconds: float
    again: bool
    """A probe failed; otherwise calls had passed until now."""
    who: str | None = None
    """The other process that opened it; None where it was this one."""


class Circuit:
    """Counts how calls ended, and says when that is too much; `Health` holds the lock and the clock."""

    __slots__ = (
        "asked_at", "epoch", "lately", "leased", "leased_until", "openings", "probing", "recent",
        "settings", "shared", "state", "until",
    )  # fmt: skip

    def __init__(self, settings: Breaker) -> None:
        self.settings = settings
        self.state: State = CLOSED
        self.until = 0.0
        self.openings = 0
        self.probing = False
        self.recent: deque[tuple[float, bool]] = deque()
        """(when, whether it failed), within the window."""
        self.lately: deque[bool] = deque(maxlen=settings.consecutive or 1)
        """Whether each of the last calls failed, however long ago."""
        self.epoch = 0
        """The number of the fleet's last opening."""
        self.shared = False
        """It is open for the whole fleet."""
        self.leased_until = 0.0
        """Until when the fleet's next probe is this process's."""
        self.leased = False
        """The probe under way is the fleet's."""
        self.asked_at = -math.inf
        """When a call was last turned away."""

    def lets_in(self, now: float) -> bool:
        return self.state == CLOSED or (not self.probing and now >= self.until)

    def count(self, now: float, failed: bool) -> None:
        self.lately.append(failed)
        self.recent.append((now, failed))
        while self.recent[0][0] <= now - self.settings.window:
            self.recent.popleft()

    def is_too_much(self) -> bool:
        settings, lately = self.settings, self.lately
        if settings.consecutive is not None and len(lately) == settings.consecutive and all(lately):
            return True
        if settings.ratio is None or len(self.recent) < settings.min_requests:
            return False
        return sum(failed for _, failed in self.recent) >= settings.ratio * len(self.recent)

    def open(self, now: float, random: Random, reason: Reason) -> Opening:
        settings = self.settings
        doubled = settings.open * 2.0 ** min(self.openings, 30) * random.uniform(0.9, 1.1)
        opening = Opening(reason, min(doubled, settings.open_max), again=self.openings > 0)
        self.state, self.probing = OPEN, False
        self.openings += 1
        self.until = now + opening.seconds
        self._forget()
        return opening

    def close(self) -> None:
        self.state, self.probing, self.openings, self.shared = CLOSED, False, 0, False
        self._forget()

    def bar(self, epoch: int, until: float, openings: int) -> None:
        """Another process opened it. That is no failure of this one's: a probe under way goes on, and has its say."""
        was_open = self.state != CLOSED
        self.until = max(self.until, until) if was_open else until
        self.openings = max(self.openings, openings) if was_open else openings
        self.epoch, self.shared, self.leased_until = epoch, True, 0.0
        if not self.probing:
            self.state = OPEN
        self._forget()

    def _forget(self) -> None:
        self.recent.clear()
        self.lately.clear()

    def take_back(self) -> None:
        """The last success was none."""
        for at in range(len(self.lately) - 1, -1, -1):
            if not self.lately[at]:
                del self.lately[at]
                break
        for at in range(len(self.recent) - 1, -1, -1):
            if not self.recent[at][1]:
                del self.recent[at]
                break
