"""
The series of `_instruments.py` as OpenTelemetry instruments, for those who have only OTLP.

Named so that the Collector's and Prometheus' own translation gives the names that a scrape
has, with the same labels: one set of dashboards and rules serves both.

Counters and gauges are sums of ours, which observable instruments read when they are
collected: a call pays an addition. Durations are recorded on the SDK's histograms, with our
bounds as advice. An OpenTelemetry histogram cannot begin at 0.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isinf
from weakref import finalize

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from .._forks import ForkSafeLock, remake_after_fork
from .._instruments import INSTRUMENTS, SECONDS, START_TIME, Instrument
from .collectors import Series, checked_labels
from .guard import fault
from .provider import Meters, meter_of

_NO_CONTEXT = Context()


class Sum:
    """A counter or a gauge."""

    __slots__ = ("_function", "_sums", "attributes", "value")

    def __init__(self, sums: Sums, attributes: Mapping[str, str]) -> None:
        self._sums = sums
        self.attributes = attributes
        self.value = 0.0
        self._function: Callable[[], float] | None = None

    def inc(self, amount: float = 1) -> None:
        with self._sums.lock:
            self.value += amount

    def set(self, value: float) -> None:
        self.value = value

    def set_function(self, function: Callable[[], float]) -> None:
        """Ask this when the value is read."""
        self._function = function

    def observation(self) -> Observation:
        value = self._function() if self._function is not None else self.value
        # The SDK drops what is not finite, and the last finite value would stay: this one is as far away as there is.
        return Observation(sys.float_info.max if isinf(value) else value, self.attributes)


class Durations:
    """A histogram."""

    __slots__ = ("_attributes", "_row", "_sums")

    def __init__(self, sums: Sums, row: Instrument, attributes: Mapping[str, str]) -> None:
        self._sums = sums
        self._row = row
        self._attributes = attributes

    def observe(self, seconds: float, exemplar: Mapping[str, str] | None = None) -> None:
        try:
            histograms = self._sums.histograms()
            if histograms is not None:
                histograms[self._row].record(seconds, self._attributes, _context(exemplar))
        except Exception as error:  # Prometheus may count the same
            fault("counting for OpenTelemetry", error)


def _context(exemplar: Mapping[str, str] | None) -> Context:
    """A context that an exemplar is taken from; without one none is, whatever is current."""
    if exemplar is None:
        return _NO_CONTEXT
    trace_id, span_id = int(exemplar["trace_id"], 16), int(exemplar["span_id"], 16)
    span = NonRecordingSpan(SpanContext(trace_id, span_id, False, TraceFlags(TraceFlags.SAMPLED)))
    return trace.set_span_in_context(span, Context())


class _Family:
    """The children of one row."""

    __slots__ = ("_labels", "_row", "_sums")

    def __init__(self, sums: Sums, row: Instrument, labels: tuple[str, ...]) -> None:
        self._sums = sums
        self._row = row
        self._labels = labels

    def labels(self, *values: str) -> Sum | Durations:
        attributes = dict(zip(self._labels, values, strict=True))
        if self._row.kind == "histogram":
            return Durations(self._sums, self._row, attributes)
        return self._sums.sum_of(self._row, attributes)


class Sums:
    """What was counted, and the instruments of the provider that reads it now."""

    __slots__ = ("__weakref__", "_making", "_of_provider", "_sums", "lock", "meters", "series")

    def __init__(self, meters: Meters) -> None:
        self.meters = meters
        self.lock = threading.Lock()
        self._sums: dict[Instrument, dict[tuple[tuple[str, str], ...], Sum]] = {
            row: {} for row in INSTRUMENTS
        }
        self._of_provider: tuple[MeterProvider | None, dict[Instrument, Histogram] | None] = None, None
        """The provider of the last call, and its histograms."""
        self._making = ForkSafeLock()
        self.series: Series | None = None
        remake_after_fork(self)

    def after_fork(self) -> None:
        """A child counts what it does itself: its parent exports the rest."""
        self.lock = threading.Lock()
        for row, sums in self._sums.items():
            if row.kind == "counter":
                for each in list(sums.values()):
                    each.value = 0.0
        for each in self._sums[START_TIME].values():
            each.set(time.time())

    def family(self, row: Instrument, labels: tuple[str, ...]) -> _Family | Sum:
        return _Family(self, row, labels) if labels else self.sum_of(row, {})

    def sum_of(self, row: Instrument, attributes: Mapping[str, str]) -> Sum:
        with self.lock:
            return self._sums[row].setdefault(tuple(attributes.items()), Sum(self, attributes))

    def histograms(self) -> Mapping[Instrument, Histogram] | None:
        """Those of the provider at work, whose other instruments read the sums from then on; None without one."""
        provider = self.meters.provider
        known, histograms = self._of_provider
        if provider is not known:
            # A call that ends meanwhile waits for them, or it would be counted nowhere.
            with self._making:
                known, histograms = self._of_provider
                if provider is not known:
                    histograms = self._made(provider) if provider is not None else None
                    self._of_provider = provider, histograms
        return histograms

    def _made(self, provider: MeterProvider) -> dict[Instrument, Histogram]:
        meter = meter_of(provider)
        histograms: dict[Instrument, Histogram] = {}
        for row in INSTRUMENTS:
            match row.kind:
                case "histogram":
                    histograms[row] = meter.create_histogram(
                        row.otlp, row.unit, row.help, explicit_bucket_boundaries_advisory=SECONDS
                    )
                case "counter":
                    meter.create_observable_counter(row.otlp, [self._reader(row)], row.unit, row.help)
                case "gauge":
                    meter.create_observable_gauge(row.otlp, [self._reader(row)], row.unit, row.help)
        return histograms

    def _reader(self, row: Instrument) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            with self.lock:
                sums = list(self._sums[row].values())
            return [each.observation() for each in sums]

        return read


# An SDK drops the callbacks of an instrument that it has already, so a provider keeps its sums over `uninstrument()`
# and `instrument()`. By its identity: logfire's has no hash. Under 0 are those of the global provider, and of our own.
_by_provider: dict[int, Sums] = {}
_by_provider_lock = ForkSafeLock()


def otlp_series_of(meters: Meters, metadata_labels: Sequence[str], max_models: int) -> Series:
    """
    The series of a provider, made if it has none.

    Raises:
        SettingError: a metadata key cannot be a label.
    """
    labels = checked_labels(metadata_labels)
    configured = meters.configured
    with _by_provider_lock:
        key = id(configured) if configured is not None else 0
        sums = _by_provider.get(key)
        if sums is None:
            sums = _by_provider[key] = Sums(meters)
            if configured is not None:
                finalize(configured, _by_provider.pop, key, None).atexit = False
        sums.meters = meters
        if sums.series is None or sums.series.metadata_labels != labels:
            sums.series = Series(sums.family, labels, max_models)
        sums.series.models.most = max_models
    sums.histograms()
    return sums.series
