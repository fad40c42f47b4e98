"""
Whose tracer our spans come from.

The app's TracerProvider if there is one, whenever it is set; else one of our own, built
from the standard `OTEL_*` variables and never made global. Nobody may be listening on
the default endpoint, so our own exporter asks once before it sends: as it comes, the
OTLP exporter spends 8 seconds of the exit and four log lines on one span nobody takes.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import trace

from .._errors import SettingError
from .._regions import DEFAULT_PORTS
from .._version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace import TracerProvider as OwnTracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger("byteplus_trace")

SCOPE = "byteplus_trace"
DEFAULT_ENDPOINT = "http://localhost:4318"


class Tracers:
    """The tracer to use, asked anew for each call so that a provider set later is honoured."""

    def __init__(self, given: trace.TracerProvider | None, service_name: str | None) -> None:
        self._given = given
        self._own: OwnTracerProvider | None = None
        self._provider: object = None
        self._tracer: trace.Tracer = trace.NoOpTracer()
        if given is None and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            self._own = own_provider(service_name)

    @property
    def provider(self) -> trace.TracerProvider:
        """The one that is given, the application's, or our own."""
        provider = self._given or trace.get_tracer_provider()
        if self._own is not None and isinstance(provider, trace.ProxyTracerProvider):
            return self._own
        return provider

    def tracer(self) -> trace.Tracer:
        provider = self.provider
        if provider is not self._provider:
            self._tracer = provider.get_tracer(SCOPE, __version__)
            self._provider = provider
        return self._tracer

    def describe(self) -> str:
        """Which provider is at work, for people."""
        if self._given is not None:
            return "the tracer_provider given to instrument()"
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return "the application's global TracerProvider"
        return f"our own, exporting to {endpoint()}" if self._own is not None else "none"

    def flush(self, timeout_seconds: float) -> bool:
        provider = self._given or trace.get_tracer_provider()
        flushed = True
        for each in (provider, self._own):
            force_flush = getattr(each, "force_flush", None)
            if force_flush is not None:
                flushed = bool(force_flush(int(timeout_seconds * 1000))) and flushed
        return flushed

    def shutdown(self) -> None:
        if self._own is not None:
            self._own.shutdown()


def endpoint() -> str:
    """Where OTLP traces go, by the standard variables."""
    return (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or DEFAULT_ENDPOINT
    )


def own_provider(service_name: str | None) -> OwnTracerProvider | None:
    """A TracerProvider by the `OTEL_*` variables; None where they say that nothing is exported."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    names = [
        name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",") if name.strip()
    ]
    if "none" in names:
        return None

    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service_name} if service_name else {}))
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    return provider


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if name in {"otlp", "otlp_proto_http"} and _protocol() != "grpc":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return _patient_exporter(OTLPSpanExporter())
    wanted = "otlp_proto_grpc" if name == "otlp" else name
    for point in entry_points(group="opentelemetry_traces_exporter", name=wanted):
        exporter: SpanExporter = point.load()()
        return exporter
    raise SettingError(
        f"OTEL_TRACES_EXPORTER={name!r}: no exporter of that name is installed. Use otlp, console or none, or install the package that provides {wanted!r}."
    )


def _protocol() -> str:
    return (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    ).strip()


def _patient_exporter(inner: SpanExporter) -> SpanExporter:
    """The OTLP exporter, asked only when somebody listens; one line when nobody does."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class WhenListening(SpanExporter):
        silent = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if is_listening(endpoint()):
                return inner.export(spans)
            if not self.silent:
                self.silent = True
                logger.warning(
                    "Nobody takes OpenTelemetry spans at %s, so they are dropped. Start Jaeger there, set OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_TRACES_EXPORTER=none.",
                    endpoint(),
                )
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            inner.shutdown()

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return inner.force_flush(timeout_millis)

    return WhenListening()


def is_listening(url: str, timeout_seconds: float = 0.5) -> bool:
    """Whether a TCP connection to that URL's host opens."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
    try:
        with socket.create_connection((parts.hostname or "localhost", port), timeout=timeout_seconds):
            return True
    except OSError:
        return False
