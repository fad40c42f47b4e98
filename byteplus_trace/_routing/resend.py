"""
SDKs resend after an exception, above our heads; what they resend is still one call.

An exception cannot carry `x-should-retry: false`. So the end of a call is remembered
when it ends with one: a request with `x-stainless-retry-count` above 0, from the same
thread or task, with the same URL and body, goes on where that call ended: with its
deadline and its attempts, or, where its first copy may have run and may not run twice,
with its first exception and no send. SDKs without that header cannot be recognised for
certain: what looks like theirs is only counted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from .._forks import remake_after_fork
from .steps import Failure

REMEMBERED = 1_000
REMEMBERED_FOR_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Prior:
    """How the call before this one ended."""

    attempts: int
    deadline_at: float | None
    failure: Failure
    blocked: bool
    """Its last copy may have run, and it may not run twice."""


class Key(NamedTuple):
    """Who sent what: the thread or task, the URL, a digest of the body."""

    caller: object
    url: str
    digest: bytes


class Resends:
    """The calls that ended with an exception lately; shared by all threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        remake_after_fork(self)
        self.ended: OrderedDict[Key, tuple[float, Prior]] = OrderedDict()
        """How calls ended, each with the time until which it is remembered."""

    def after_fork(self) -> None:
        """The lock anew; how the parent's calls ended is the parent's."""
        self._lock = threading.Lock()
        self.ended.clear()

    def _forget(self) -> None:
        """The oldest stand first."""
        now = self._clock()
        while self.ended and (len(self.ended) > REMEMBERED or next(iter(self.ended.values()))[0] <= now):
            self.ended.popitem(last=False)

    def remember(self, key: Key, prior: Prior) -> None:
        """A call ended with an exception."""
        with self._lock:
            self.ended.pop(key, None)
            self.ended[key] = (self._clock() + REMEMBERED_FOR_SECONDS, prior)
            self._forget()

    def recall(self, key: Key) -> Prior | None:
        """How the same caller's same request ended just before, once."""
        with self._lock:
            self._forget()
            _, prior = self.ended.pop(key, (0.0, None))
            return prior
