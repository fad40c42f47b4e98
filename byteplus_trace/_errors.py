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
            return repr(value) if len(value) <= LONGEST_SHOWN else f"'...' ({len(value)} characters)"
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
