"""On and off, once a process."""

from __future__ import annotations

import time
from typing import Any

from .._config import configure
from .._forks import ForkSafeLock
from .._log import logger
from .._telemetry import guard as guarding
from . import observed_clients, patch
from .instrumentation import Instrumentation
from .kill_switch import is_disabled

_lock = ForkSafeLock()
_arguments: dict[str, Any] = {}
_automatic = False


def switch_on(arguments: dict[str, Any], *, automatic: bool = False) -> None:
    """
    Make an instrumentation of these arguments the active one, and patch.

    An `automatic` one, which nobody in the program asked for, is replaced by the first that somebody asks for.
    """
    global _arguments, _automatic
    if is_disabled():
        return
    with _lock:
        before = Instrumentation._active
        if before is not None and (arguments == _arguments or not _automatic):
            if arguments != _arguments:
                logger.warning(
                    "byteplus_trace.instrument() was called again with other arguments; the first ones stay. Call uninstrument() first to change them."
                )
            return
        config = configure(arguments)
        if before is not None:
            _off(before)
            before.sink.withdraw()
        instrumentation = Instrumentation(config)
        instrumentation.serve_metrics()
        Instrumentation._active = instrumentation
        _arguments, _automatic = arguments, automatic
        patch.install()
        observed_clients.install()


def switch_off() -> None:
    """Undo `switch_on`."""
    with _lock:
        if Instrumentation._active is not None:
            _off(Instrumentation._active)


def _off(instrumentation: Instrumentation) -> None:
    Instrumentation._active = None
    patch.remove()
    observed_clients.remove()
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
