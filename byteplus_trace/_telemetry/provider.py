"""
Whose tracer our spans come from, and whose meter our metrics.

The app's provider if there is one, whenever it is set; else one of our own, built from the
standard `OTEL_*` variables (`exporting.py`, `metric_exporting.py`) and never made global.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace

from .._version import __version__
from .guard import guard

if TYPE_CHECKING:
    from .exporting import OwnTracerProvider
    from .metric_exporting import OwnMeterProvider

SCOPE = "byteplus_trace"
SCHEMA = "https://opentelemetry.io/schemas/1.42.0"
"""Of the general conventions. Those of GenAI stand apart from them since that release, and have none yet."""

own_providers: list[OwnTracerProvider | OwnMeterProvider] = []
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
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._tracer_for: trace.TracerProvider | None = None
        """The configured or global provider that was found when the tracer was made."""
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
        current = self._configured or trace.get_tracer_provider()
        if current is not self._tracer_for:
            provider = self.provider
            self._tracer = provider.get_tracer(SCOPE, __version__, schema_url=SCHEMA)
            self._tracer_for = current
            if provider is not self._own:
                self._found()
        return self._tracer

    def flush(self, timeout_seconds: float, meters: Meters | None = None) -> bool:
        """
        Have what has ended exported, and what our own MeterProvider counts; whether it was, in time.

        In a thread of its own, for an SDK's `force_flush` waits for as long as its exporter
        does, whatever its timeout.
        """
        flushed: list[bool] = []
        thread = threading.Thread(
            target=self._flush,
            args=(timeout_seconds, flushed, meters),
            name="byteplus-trace-flush",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # no thread is started any more at the end of the interpreter
            self._flush(timeout_seconds, flushed, meters)
        else:
            thread.join(timeout_seconds)
        return flushed == [True]

    def _flush(self, timeout_seconds: float, flushed: list[bool], meters: Meters | None) -> None:
        with guard("flushing"):
            of_metrics = meters.own if meters is not None else None
            providers = (self._configured or trace.get_tracer_provider(), self._own, of_metrics)
            flushes = [getattr(each, "force_flush", None) for each in providers]
            asked = [bool(flush(int(timeout_seconds * 1000))) for flush in flushes if flush is not None]
            flushed.append(all(asked))

    def shutdown(self) -> None:
        if self._own is not None:
            own_providers.remove(self._own)
            self._own.shutdown()


class Meters:
    """
    The MeterProvider to use, asked anew for each call so that one that is set later is honoured.

    Args:
        configured: the one that `instrument()` got; else the global one is used, else our own.
        own: of our own, where the variables ask for one.
    """

    def __init__(
        self, configured: metrics.MeterProvider | None = None, own: OwnMeterProvider | None = None
    ) -> None:
        self.configured = configured
        self.own = own
        self._known: tuple[metrics.MeterProvider | None, bool] = None, False
        """The configured or global provider of the last call, and whether it records."""
        if own is not None:
            own_providers.append(own)

    @property
    def provider(self) -> metrics.MeterProvider | None:
        """None where there is none that records."""
        provider = self.configured or metrics.get_meter_provider()
        known, records = self._known
        if provider is not known:
            records = not records_nothing(provider)
            self._known = provider, records
        if records:
            return provider
        return self.own.current if self.own is not None else None

    def shutdown(self) -> None:
        if self.own is not None:
            own_providers.remove(self.own)
            self.own.shutdown()


def records_nothing(provider: metrics.MeterProvider) -> bool:
    """The API alone: its no-op provider, or its stand-in for one that nobody has set yet."""
    return type(provider).__module__.startswith("opentelemetry.metrics")


def meter_of(provider: metrics.MeterProvider) -> metrics.Meter:
    """Our meter there."""
    return provider.get_meter(SCOPE, __version__, SCHEMA)
