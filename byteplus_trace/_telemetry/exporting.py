"""
A TracerProvider of our own, for a process whose application has none: by the standard `OTEL_*` variables.

An empty variable is one that is not set, as the specification says. Nobody may be listening on
the default endpoint, so the exporter is asked only where somebody does: as it comes, it
spends 8 seconds of the exit and four log lines on one span nobody takes. And what could not
be exported is remembered, for the SDK's `force_flush` only says that it was tried.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from .._errors import SettingError, shown, shown_url
from .._regions import DEFAULT_PORTS

logger = logging.getLogger("byteplus_trace")

DEFAULT_ENDPOINT = "http://localhost:4318"
ASKED_AGAIN_SECONDS = 4.0
"""How long nobody is taken to listen where nobody did: the batches of an exit come all at once."""


def own_provider(
    service_name: str | None, environ: Mapping[str, str] = os.environ
) -> OwnTracerProvider | None:
    """
    The provider that the variables ask for; None where they say that nothing is exported.

    Raises:
        SettingError: they cannot be followed; the message says what to write instead.
    """
    names = exporter_names(environ)
    if not names:
        return None
    exporters = [_exporter(name, environ) for name in names]
    try:
        return OwnTracerProvider(service_name, exporters)
    except ValueError as error:
        raise SettingError(f"The OTEL_BSP_* variables cannot be followed: {error}") from error


def exporter_names(environ: Mapping[str, str]) -> list[str]:
    """The exporters that the variables ask for; none where they say that nothing is exported."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    names = [name.strip() for name in environ.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()]
    return [] if "none" in names else names or ["otlp"]


def endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """Where OTLP traces go, by the standard variables."""
    return (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or DEFAULT_ENDPOINT
    )


def is_listening(url: str, timeout_seconds: float = 0.5) -> bool:
    """Whether a TCP connection to that URL's host opens."""
    try:
        parts = urlsplit(url)
        address = parts.hostname or "localhost", parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
        with socket.create_connection(address, timeout=timeout_seconds):
            return True
    except (OSError, ValueError):
        return False


class OwnTracerProvider(TracerProvider):
    """The SDK's, with a flush that knows whether the spans arrived."""

    def __init__(self, service_name: str | None, exporters: Sequence[Watched]) -> None:
        super().__init__(resource=Resource.create({SERVICE_NAME: service_name} if service_name else {}))
        self._exporters = exporters
        for exporter in exporters:
            self.add_span_processor(BatchSpanProcessor(exporter))

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Whether all that ended since the last flush was exported."""
        flushed = super().force_flush(timeout_millis)
        lost = [exporter.lost_any() for exporter in self._exporters]
        return flushed and not any(lost)


class Watched(SpanExporter):
    """An exporter, and whether what it was given was exported."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._lost = False

    def lost_any(self) -> bool:
        """Whether anything was lost since this was last asked."""
        lost, self._lost = self._lost, False
        return lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._export(spans)
        finally:
            self._lost |= result is not SpanExportResult.SUCCESS
        return result

    def _export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._inner.export(spans)

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


class WhenListening(Watched):
    """The OTLP exporter, asked only where somebody listens; one line where nobody does."""

    _told = False
    _ask_again_at = 0.0

    def _export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() < self._ask_again_at:
            return SpanExportResult.FAILURE
        if is_listening(endpoint()):
            return super()._export(spans)
        self._ask_again_at = time.monotonic() + ASKED_AGAIN_SECONDS
        if not self._told:
            self._told = True
            logger.warning(
                "Nobody takes OpenTelemetry spans at %s, so they are dropped. Start Jaeger there, set OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_TRACES_EXPORTER=none.",
                shown_url(endpoint()),
            )
        return SpanExportResult.FAILURE


def _exporter(name: str, environ: Mapping[str, str]) -> Watched:
    if name == "console":
        return Watched(ConsoleSpanExporter())
    if name in {"otlp", "otlp_proto_http"} and _protocol(environ) != "grpc":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return WhenListening(OTLPSpanExporter())
    wanted = "otlp_proto_grpc" if name == "otlp" else name
    for point in entry_points(group="opentelemetry_traces_exporter", name=wanted):
        return Watched(point.load()())
    raise SettingError(
        f"OTEL_TRACES_EXPORTER={shown(name)}: no exporter of that name is installed. Use otlp, console or none, or install the package that provides {shown(wanted)}."
    )


def _protocol(environ: Mapping[str, str]) -> str:
    return (
        environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    ).strip()
