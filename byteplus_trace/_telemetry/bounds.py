"""
How many different values a label may take.

Every value of a label is a series for as long as the process lives, and some values are
the caller's to choose. The first ones are kept, as many as the bound says; later ones
count as `other`.
"""

from __future__ import annotations

from threading import Lock

from .._forks import remake_after_fork

OTHER = "other"
LONGEST = 256
"""Characters of a label value: a scrape repeats it in every bucket of every histogram."""


class Bound:
    """
    The values that one label has taken so far.

    `most` may be raised or lowered later; what was admitted stays admitted.
    """

    __slots__ = ("__weakref__", "_admitted", "_lock", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._admitted: set[str] = {"", OTHER}
        self._lock = Lock()
        remake_after_fork(self)

    def after_fork(self) -> None:
        self._lock = Lock()

    def __call__(self, value: str) -> str:
        """The value itself, cut at 256 characters, while there is room for it; else `other`."""
        if value in self._admitted:
            return value
        value = value[:LONGEST]
        # One lone surrogate would make every later scrape fail to encode.
        clean = value.encode("utf-8", "replace").decode()
        with self._lock:
            if clean in self._admitted:
                return clean
            if len(self._admitted) - 2 >= self.most:
                return OTHER
            self._admitted.add(clean)
            return clean
