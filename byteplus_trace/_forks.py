"""
What a forked child must make anew.

A child has the parent's memory and only the thread that forked. A lock that another
thread held stays locked there for ever, and what that thread was doing never ends. So
whatever holds a lock, or a slot that a call under way has taken, registers itself here
and is asked to start again in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from typing import Protocol

count = 0
"""How many forks made this process: a call that is older than the last one is for its parent to record."""


class Forkable(Protocol):
    """Something that has state of threads in it."""

    def after_fork(self) -> None:
        """Make locks anew, and free what a thread of the parent had taken."""


class ForkSafeLock:
    """
    A lock that a forked child finds free. For locks that are not on the path of a call.

    Whoever holds it may take it again: a line of the log is written under some, and a handler of it may make a call.
    """

    def __init__(self) -> None:
        self.after_fork()
        remake_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self._lock.release()


_registered: weakref.WeakSet[Forkable] = weakref.WeakSet()


def remake_after_fork(state: Forkable) -> None:
    """Have `state.after_fork()` called in each forked child, for as long as `state` lives."""
    _registered.add(state)


def _remake() -> None:
    global count  # noqa: PLW0603 - there is one process
    count += 1
    for state in list(_registered):
        with suppress(Exception):  # the child needs the others all the same
            state.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_remake)
