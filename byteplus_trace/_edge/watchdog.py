"""
One thread that does something when a time is over, unless that was called off before.

A timer of its own for each read would be a second thread for each waiting stream. Where
no thread can start (the interpreter ends, a limit on processes is met) nothing is done:
the read is not bounded then, and its reply is not lost for it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from .._forks import remake_after_fork
from .._telemetry.guard import fault, guard

FEWEST_TO_SWEEP = 64


class Alarm:
    """One time to wait for."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    @property
    def is_set(self) -> bool:
        """It was not called off, and has not rung."""
        return self._act is not None

    def call_off(self) -> None:
        """Do not do it, unless it is being done already."""
        self._act = None

    def ring(self) -> None:
        """Do it, once."""
        act, self._act = self._act, None
        if act is not None:
            with guard("bounding a read"):
                act()


class Watchdog:
    """The thread and its alarms, the earliest first."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.after_fork()
        remake_after_fork(self)

    def after_fork(self) -> None:
        """The alarms were the parent's, and its thread did not come along."""
        self._changed = threading.Condition()
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._sweep_at = FEWEST_TO_SWEEP
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, act: Callable[[], None]) -> Alarm | None:
        """Have `act` called when the seconds have passed. None where no thread can be had."""
        alarm = Alarm(act)
        with self._changed:
            if not self._runs():
                return None
            if len(self._alarms) >= self._sweep_at:
                self._sweep()
            heapq.heappush(self._alarms, (time.monotonic() + seconds, next(self._numbers), alarm))
            self._changed.notify()
        return alarm

    def _sweep(self) -> None:
        """Forget what was called off: nearly all are, long before their time, and a deadline may be minutes away."""
        self._alarms = [each for each in self._alarms if each[2].is_set]
        heapq.heapify(self._alarms)
        self._sweep_at = max(FEWEST_TO_SWEEP, 2 * len(self._alarms))

    def _runs(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return True
        thread = threading.Thread(target=self._watch, name="byteplus-trace-watchdog", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            fault("starting the watchdog", error)
            return False
        self._thread = thread
        return True

    def _watch(self) -> None:
        while True:
            self._next().ring()

    def _next(self) -> Alarm:
        """Wait for the earliest alarm, and take it."""
        with self._changed:
            while True:
                wait = self._alarms[0][0] - time.monotonic() if self._alarms else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._alarms)[2]
                self._changed.wait(wait)


watchdog = Watchdog()
