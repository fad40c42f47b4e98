"""
Whose tracer our spans come from.

The app's TracerProvider if there is one, whenever it is set; else one of our own, built
from the standard `OTEL_*` variables (`exporting.py`) and never made global.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry import trace

from .._version import __version__
from .guard import guard

if TYPE_CHECKING:
    from .exporting import OwnTracerProvider

SCOPE = "byteplus_trace"

own_providers: list[OwnTracerProvider] = []
"""Those of our own that are not shut down: what ends the process ends them."""


class Tracers:
    """
    The tracer to use, asked anew for each call so that a provider set later is honoured.

    `found` is called when a provider that is not our own is found at work.
    """

    def __init__(
        self, configured: trace.TracerProvider | None, service_name: str | None, found: Callable[[], None]
    ) -> None:
        self._configured = configured
        self._found = found
        self._own: OwnTracerProvider | None = None
        self._provider: object = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        if configured is None and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            from .exporting import own_provider

            self._own = own_provider(service_name)
            if self._own is not None:
                own_providers.append(self._own)

    @property
    def provider(self) -> trace.TracerProvider:
        """The configured one, else the application's, else our own."""
        provider = self._configured or trace.get_tracer_provider()
        if self._own is not None and isinstance(provider, trace.ProxyTracerProvider):
            return self._own
        return provider

    def tracer(self) -> trace.Tracer:
        provider = self.provider
        if provider is not self._provider:
            self._tracer = provider.get_tracer(SCOPE, __version__)
            self._provider = provider
            if provider is not self._own:
                self._found()
        return self._tracer

    def flush(self, timeout_seconds: float) -> bool:
        """
        Have what has ended exported; whether it was, in time.

        In a thread of its own, for an SDK's `force_flush` waits for as long as its exporter
        does, whatever its timeout.
        """
        flushed: list[bool] = []
        thread = threading.Thread(
            target=self._flush, args=(timeout_seconds, flushed), name="byteplus-trace-flush", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # no thread is started any more at the end of the interpreter
            self._flush(timeout_seconds, flushed)
        else:
            thread.join(timeout_seconds)
        return flushed == [True]

    def _flush(self, timeout_seconds: float, flushed: list[bool]) -> None:
        with guard("flushing"):
            providers = (self._configured or trace.get_tracer_provider(), self._own)
            flushes = [getattr(each, "force_flush", None) for each in providers]
            asked = [bool(flush(int(timeout_seconds * 1000))) for flush in flushes if flush is not None]
            flushed.append(all(asked))

    def shutdown(self) -> None:
        if self._own is not None:
            own_providers.remove(self._own)
            self._own.shutdown()
