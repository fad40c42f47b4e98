"""
How long one call may still take, and how much of that each of its attempts is given.

`total` is a promise to the caller, so the last target gets all that remains; before it
some is kept back, but only for a call that may move after a timeout at all.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .._policy.targets import Deadline

# A timer may fire a little early: what remains then is no time to try anything in.
_NO_TIME = 0.005
_SHORTEST = 0.001


class RemainingTime(msgspec.Struct):
    """What remains of a call's deadline; `ends_at` is on the clock, None where nothing ends it."""

    _deadline: Deadline
    _clock: Callable[[], float]
    ends_at: float | None

    @property
    def seconds(self) -> float | None:
        return None if self.ends_at is None else self.ends_at - self._clock()

    @property
    def is_over(self) -> bool:
        seconds = self.seconds
        return seconds is not None and seconds <= _NO_TIME

    def allows_retry_after(self, wait_seconds: float) -> bool:
        """Whether a retry after this wait would have enough of it."""
        seconds = self.seconds
        return seconds is None or seconds - wait_seconds >= self._deadline.min_attempt

    def share(self, *, may_move: bool) -> float | None:
        """What an attempt may take of it to its response, of a stream to its first output."""
        seconds = self.seconds
        if seconds is None or not may_move:
            return seconds
        share = (1 - self._deadline.reserve) * seconds
        kept_back = seconds - self._deadline.min_attempt
        return min(share, kept_back) if kept_back > 0 else share


def least(*limits: float | None, since: float = 0.0) -> float | None:
    """The tightest of some limits, less the time that has passed."""
    known = [limit for limit in limits if limit is not None]
    return max(min(known) - since, _SHORTEST) if known else None
