"""
The few errors that a user of the library can meet, all of them at configuration time.

    ByteplusTraceError
      └─ SettingError (also a ValueError)   an argument, variable or file says something we cannot do

A call in flight raises the HTTP library's own errors and nothing of ours.
"""

from __future__ import annotations

import re

LONGEST_SHOWN = 32
"""A key of ModelArk's is longer."""

# Scheme, credentials, the rest, query and fragment; an @ after those is a password that was not escaped.
_URL = re.compile(r"([a-z][a-z0-9+.-]*://)?(?:[^@?#]*@)?([^@?#]*)(?:[?#][^@]*)?", re.IGNORECASE)


class ByteplusTraceError(Exception):
    """The base of this library's errors."""


class SettingError(ByteplusTraceError, ValueError):
    """A setting cannot be followed; the message says what to write instead, and holds no key."""


# Where a person imports them from, as a traceback shows it.
ByteplusTraceError.__module__ = SettingError.__module__ = __package__


class Filled(str):
    """A text that `${NAME}` was filled into. It shows itself as it was written: what a variable holds may be a key."""

    __slots__ = ("written",)

    written: str

    def __new__(cls, text: str, written: str) -> Filled:
        filled = super().__new__(cls, text)
        filled.written = written
        return filled

    def __repr__(self) -> str:
        return repr(self.written)

    def __reduce__(self) -> tuple[type[Filled], tuple[str, str]]:
        return Filled, (str(self), self.written)


def as_written(text: str) -> str:
    """A text without what was filled into it."""
    return text.written if isinstance(text, Filled) else text


def shown(value: object) -> str:
    """
    A value as a message may show it: numbers and short texts alone.

    What is longer, or holds other values, may be a key or have one in it.
    """
    match value:
        case None | bool() | float():
            return repr(value)
        case int() if abs(value) < 10**LONGEST_SHOWN:
            return repr(value)
        case str():
            return (
                repr(value) if len(as_written(value)) <= LONGEST_SHOWN else f"'...' ({len(value)} characters)"
            )
        case list():
            return "[...]"
        case tuple():
            return "(...)"
        case dict() | set() | frozenset():
            return "{...}"
        case _:
            return f"<{type(value).__name__}>"


def shown_url(url: str) -> str:
    """A URL without what may be secret in it: credentials, query and fragment."""
    parts = _URL.fullmatch(url)
    return f"{parts[1] or ''}{parts[2]}" if parts else "(not shown)"
