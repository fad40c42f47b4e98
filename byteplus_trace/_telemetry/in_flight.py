"""
The calls of one operation that have begun and not ended, and when the oldest of them began.

Two gauges: how many, and the start of the oldest, which is `+Inf` where there is none. A
rule compares that start with its own clock, so a process that hangs cannot hold it back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import Protocol

from .._forks import remake_after_fork

IDLE = inf


class CallsInFlight(Protocol):
    """Where calls in flight are counted. `key` identifies a call from its beginning to its end."""

    def begins(self, key: object, started_ns: int) -> None: ...
    def ends(self, key: object) -> None: ...


class InFlight:
    """Calls under way; gauges ask it when they are read."""

    __slots__ = ("__weakref__", "_started")

    def __init__(self) -> None:
        self._started: dict[object, int] = {}
        remake_after_fork(self)

    def after_fork(self) -> None:
        """The parent's calls are not the child's."""
        self._started = {}

    def begins(self, key: object, started_ns: int) -> None:
        self._started[key] = started_ns

    def ends(self, key: object) -> None:
        """Of a call that began here: one that began before a fork is the parent's."""
        self._started.pop(key, None)

    def count(self) -> float:
        return len(self._started)

    def oldest(self) -> float:
        # A list is made at once, whatever other threads begin and end meanwhile.
        return min(list(self._started.values()), default=IDLE) / 1e9


class InFlightInFiles:
    """The same where other processes read the gauges, so that each change is written."""

    __slots__ = ("__weakref__", "_add", "_lock", "_set_oldest", "_started")

    def __init__(self, add: Callable[[int], None], set_oldest: Callable[[float], None]) -> None:
        self._add = add
        self._set_oldest = set_oldest
        self._started: dict[object, int] = {}
        self._lock = threading.Lock()
        remake_after_fork(self)

    def after_fork(self) -> None:
        """As above. The child's gauges are set when it first calls, for they have locks too."""
        self._lock = threading.Lock()
        self._started = {}

    def begins(self, key: object, started_ns: int) -> None:
        self._add(1)
        with self._lock:
            self._started[key] = started_ns
            if len(self._started) == 1:
                self._set_oldest(started_ns / 1e9)

    def ends(self, key: object) -> None:
        with self._lock:
            started = self._started
            if key not in started:
                return
            was_oldest = next(iter(started)) is key
            del started[key]
            if was_oldest:
                self._set_oldest(next(iter(started.values())) / 1e9 if started else IDLE)
        self._add(-1)
