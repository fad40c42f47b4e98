"""
The few errors that a user of the library can meet, all of them at configuration time.

    ByteplusTraceError
      └─ SettingError (also a ValueError)   an argument, variable or file says something we cannot do

A call in flight raises the HTTP library's own errors and nothing of ours.
"""

from __future__ import annotations


class ByteplusTraceError(Exception):
    """The base of this library's errors."""


class SettingError(ByteplusTraceError, ValueError):
    """A setting cannot be followed; the message says what to write instead."""
