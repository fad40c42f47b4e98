"""
Where the demo runs: a fake ModelArk, `instrument()`, and every span and series kept in memory.

The demo is the same everywhere: `BYTEPLUS_TRACE_*` variables and proxies are ignored, every
span is sampled, and the series have a registry of their own. If an OTLP receiver listens,
spans go there too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext, format_trace_id
from prometheus_client import CollectorRegistry

import byteplus_trace

from .._config import PREFIX
from .._errors import shown_url
from .._instruments import Instrument
from .._telemetry.exporting import endpoint, is_listening
from ..testing import ModelArk

SERVICE = "byteplus-trace-demo"


@dataclass(frozen=True, slots=True)
class Trace:
    """All spans under one span of the application."""

    spans: tuple[ReadableSpan, ...]
    raised: Exception | None = None
    """What the application saw instead of a result."""
    as_expected: bool = True

    @property
    def root(self) -> ReadableSpan:
        return next(span for span in self.spans if span.parent is None)

    @property
    def id(self) -> str:
        return format_trace_id(_context(self.root).trace_id)

    @property
    def calls(self) -> list[ReadableSpan]:
        """The logical spans, one for each request that the application's SDK made."""
        return [span for span in self.spans if "gen_ai.operation.name" in (span.attributes or {})]

    def children(self, parent: ReadableSpan) -> list[ReadableSpan]:
        """Its children, in the order in which they began."""
        parent_id = _context(parent).span_id
        of_parent = [span for span in self.spans if span.parent and span.parent.span_id == parent_id]
        return sorted(of_parent, key=lambda span: span.start_time or 0)


def _context(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None, "a finished span has one"
    return context


class Stage:
    """A fake ModelArk with two regions, and the spans and series of calls to it. A context manager."""

    def __init__(self) -> None:
        self.ark = ModelArk()
        self.registry = CollectorRegistry()
        self._registries: list[CollectorRegistry] = []
        self.logged: list[str] = []
        """The lines that the library logged."""
        self.exported_to = shown_url(endpoint()) if is_listening(endpoint()) else None
        """Where spans are exported to; None if nothing listens there."""
        self._kept = InMemorySpanExporter()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create({SERVICE_NAME: SERVICE}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(SimpleSpanProcessor(self._kept))
        if self.exported_to is not None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def __enter__(self) -> Stage:
        self.ark.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._provider.shutdown()
        self.ark.stop()

    @contextmanager
    def instrumented(self, **settings: Any) -> Iterator[None]:
        """`instrument()` with these settings, a registry of its own and what it logs in `logged`."""
        self.registry = CollectorRegistry()
        self._registries.append(self.registry)
        logger = logging.getLogger("byteplus_trace")
        listening, propagates = _Listening(self.logged), logger.propagate
        logger.addHandler(listening)
        logger.propagate = False
        with settings_aside():
            byteplus_trace.instrument(
                tracer_provider=self._provider,
                registry=self.registry,
                base_urls=self.ark.base_urls,
                metadata_labels=("team",),
                **settings,
            )
        try:
            yield
        finally:
            byteplus_trace.uninstrument()
            logger.removeHandler(listening)
            logger.propagate = propagates

    def act(self, name: str, work: Callable[[], object], expected: type[Exception] | None = None) -> Trace:
        """
        Do something as an application would, under a span of its own, and return its trace.

        Args:
            expected: how it is meant to fail; None: not at all.
        """
        self._kept.clear()
        raised: Exception | None = None
        with self._provider.get_tracer(SERVICE).start_as_current_span(name):
            try:
                work()
            except Exception as error:
                raised = error
        byteplus_trace.flush()
        as_expected = raised is None if expected is None else isinstance(raised, expected)
        return Trace(self._kept.get_finished_spans(), raised, as_expected)

    def sums(self, name: str, by: tuple[str, ...], having: str = "") -> dict[tuple[str, ...], float]:
        """A series of the registry, summed by some of its labels, where `having` is not empty; without those that are 0."""
        found: dict[tuple[str, ...], float] = {}
        for labels, value in _samples(self.registry, name):
            if having and not labels.get(having):
                continue
            key = tuple(labels.get(label, "") for label in by)
            found[key] = found.get(key, 0.0) + value
        return {key: value for key, value in found.items() if value}

    def total(self, instrument: Instrument, label: str = "", prefix: str = "") -> float:
        """A series summed over all scenes, where that label has that prefix."""
        return sum(
            value
            for registry in self._registries
            for labels, value in _samples(registry, instrument.name)
            if labels.get(label, "").startswith(prefix)
        )


def _samples(registry: CollectorRegistry, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels, sample.value


class _Listening(logging.Handler):
    """Log lines, kept."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


@contextmanager
def settings_aside() -> Iterator[None]:
    """Ignore this process's own settings: they may name a busy port, or a policy of real regions."""
    aside = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(PREFIX)}
    try:
        yield
    finally:
        os.environ.update(aside)
