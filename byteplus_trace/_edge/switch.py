"""On and off, once a process."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from .._telemetry import guard as guarding
from . import patch
from .instrumentation import Instrumentation

logger = logging.getLogger("byteplus_trace")

_lock = threading.Lock()
_arguments: dict[str, Any] = {}


def switch_on(arguments: dict[str, Any]) -> None:
    """Make an instrumentation of these arguments the active one, and patch."""
    global _arguments  # noqa: PLW0603 - there is one switch
    with _lock:
        if Instrumentation._active is not None:
            if arguments != _arguments:
                logger.warning(
                    "byteplus_trace.instrument() was called again with other arguments; the first ones stay. Call uninstrument() first to change them."
                )
            return
        instrumentation = Instrumentation.build(arguments)
        instrumentation.serve_metrics()
        Instrumentation._active = instrumentation
        _arguments = arguments
        patch.install()


def switch_off() -> None:
    """Undo `switch_on`."""
    with _lock:
        instrumentation, Instrumentation._active = Instrumentation._active, None
        if instrumentation is None:
            return
        patch.remove()
        instrumentation.shutdown()
        guarding.on_fault = None


def flush_all(timeout_seconds: float) -> bool:
    """Flush the active instrumentation, and the default one where it is in use, all in that time."""
    ends_at = time.monotonic() + timeout_seconds
    flushed = True
    for each in (Instrumentation._active, Instrumentation._default):
        if each is not None:
            flushed = each.flush(max(ends_at - time.monotonic(), 0.0)) and flushed
    return flushed
