"""How long a service asks its callers to wait (RFC 9110, 10.2.3; `retry-after-ms` as openai's SDKs read it)."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping

RETRY_AFTER = ("retry-after-ms", "retry-after")
"""The headers that are read here."""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """`retry-after-ms`, or `retry-after` in seconds or as an HTTP date: seconds from now."""
    in_ms = _number(headers.get("retry-after-ms"))
    if in_ms is not None:
        return in_ms / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):  # a year or an offset that no clock has
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
