"""`BYTEPLUS_TRACE_DISABLED=1`: every call passes as if this library were not there."""

from __future__ import annotations

import os
from functools import lru_cache

from .._config import YES
from .._log import logger


def is_disabled() -> bool:
    """Whether the variable is set to `1`, `true`, `yes` or `on`. The first time, one line of the log says so."""
    disabled = YES.get(os.environ.get("BYTEPLUS_TRACE_DISABLED", "").strip().lower(), False)
    if disabled:
        _log_once()
    return disabled


@lru_cache(maxsize=1)
def _log_once() -> None:
    logger.warning("byteplus_trace: BYTEPLUS_TRACE_DISABLED is set; calls pass unobserved and unrouted.")
