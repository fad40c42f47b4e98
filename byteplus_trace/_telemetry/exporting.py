"""
A TracerProvider of our own, for a process whose application has none: by the standard `OTEL_*` variables.

An empty variable is one that is not set, as the specification says. Nobody may be listening on
the default endpoint, and as it comes the OTLP exporter then spends 8 seconds of the exit and
four log lines on one span. So ours says one line for each outage. It tries as often as the SDK's
does, and does not where somebody waits for it, nobody listens and nobody ever did. And what could
not be exported is remembered, for the SDK's `force_flush` only says that it was tried.

To the loopback spans go every half second and not every five, unless `OTEL_BSP_SCHEDULE_DELAY`
says otherwise: who watches there wants to see a call when it has ended.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)

from .._errors import SettingError, shown, shown_url
from .._regions import DEFAULT_PORTS, is_loopback_url

logger = logging.getLogger("byteplus_trace")

Signal = Literal["TRACES", "METRICS"]

DEFAULT_ENDPOINT = "http://localhost:4318"
LOOPBACK_DELAY_MILLIS = 500
TRACES_EXPORTERS = "opentelemetry_traces_exporter"


def own_provider(
    service_name: str | None, environ: Mapping[str, str] = os.environ
) -> OwnTracerProvider | None:
    """
    The provider that the variables ask for; None where they say that nothing is exported.

    Raises:
        SettingError: they cannot be followed; the message says what to write instead.
    """
    names = exporter_names(environ)
    missing = missing_exporter(environ)
    if missing is not None:
        logger.warning("%s", missing)
        names.remove("otlp")
    if not names:
        return None
    exporters = [_exporter(name, environ) for name in names]
    try:
        return OwnTracerProvider(service_name, exporters)
    except ValueError as error:
        raise SettingError(f"The OTEL_BSP_* variables cannot be followed: {error}") from error
    except RuntimeError as error:  # no thread can start, and the program is to start all the same
        logger.warning("No spans are exported: %s.", error)
        return None


def is_disabled(environ: Mapping[str, str]) -> bool:
    """Whether `OTEL_SDK_DISABLED` says that there are no spans."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def exporter_names(
    environ: Mapping[str, str], signal: Signal = "TRACES", default: Sequence[str] = ("otlp",)
) -> list[str]:
    """The exporters that the variables ask for; none where they say that nothing is exported."""
    if is_disabled(environ):
        return []
    names = [name.strip() for name in environ.get(f"OTEL_{signal}_EXPORTER", "").split(",") if name.strip()]
    return [] if "none" in names else names or list(default)


def endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """Where OTLP traces go, by the standard variables."""
    return otlp_setting(environ, "ENDPOINT", DEFAULT_ENDPOINT)[1]


def traces_url(environ: Mapping[str, str] = os.environ) -> str:
    """The URL to which the exporter over HTTP sends traces."""
    variable, url = otlp_setting(environ, "ENDPOINT", DEFAULT_ENDPOINT)
    return url if variable == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" else f"{url.rstrip('/')}/v1/traces"


def is_grpc(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the variables ask for the exporter over gRPC."""
    return otlp_setting(environ, "PROTOCOL", "http/protobuf")[1].strip() == "grpc"


def missing_exporter(environ: Mapping[str, str] = os.environ) -> str | None:
    """
    Why nothing is exported although the variables are right; None where nothing is missing.

    A cluster says grpc to all that runs in it: that is no reason for a program not to start.
    """
    variable, protocol = otlp_setting(environ, "PROTOCOL", "http/protobuf")
    if (
        "otlp" not in exporter_names(environ)
        or protocol.strip() != "grpc"
        or points_of(TRACES_EXPORTERS, "otlp_proto_grpc")
    ):
        return None
    return (
        f"No spans are exported: {variable}=grpc, and its exporter is not installed. Install opentelemetry-exporter-otlp-proto-grpc, "
        "or set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf, and the collector's HTTP port (4318) in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT."
    )


def otlp_setting(
    environ: Mapping[str, str], what: str, default: str, signal: Signal = "TRACES"
) -> tuple[str, str]:
    """A setting of the OTLP exporter, and the variable that has it."""
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_{what}", f"OTEL_EXPORTER_OTLP_{what}"):
        if value := environ.get(variable):
            return variable, value
    return variable, default


def is_listening(url: str, timeout_seconds: float = 0.5) -> bool:
    """Whether a TCP connection to that URL's host opens."""
    try:
        parts = urlsplit(url)
        address = parts.hostname or "localhost", parts.port or DEFAULT_PORTS.get(parts.scheme, 80)
        with socket.create_connection(address, timeout=timeout_seconds):
            return True
    except (OSError, ValueError):
        return False


def is_proxied(url: str) -> bool:
    """Whether what is sent to that URL goes through a proxy, so that nobody here can know who listens."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


class KnowsExporters:
    """What a provider of our own knows of its exporters."""

    _exporters: Sequence[Watched]

    @property
    def is_troubled(self) -> bool:
        """Whether a batch was last refused, so that there is little to wait for."""
        return any(exporter.troubled for exporter in self._exporters)

    def give_up(self) -> None:
        """The process ends before all was exported."""
        for exporter in self._exporters:
            exporter.give_up()

    def _flushed(self, flush: Callable[[], bool]) -> bool:
        """Flush; whether all since the last flush was exported."""
        self._await(True)
        try:
            flushed = flush()
        finally:
            self._await(False)
        lost = [exporter.lost_any() for exporter in self._exporters]
        return flushed and not any(lost)

    def _await(self, awaited: bool) -> None:
        for exporter in self._exporters:
            exporter.awaited = awaited


class OwnTracerProvider(KnowsExporters, TracerProvider):
    """
    The SDK's, with a flush that knows whether the spans arrived.

    It is not shut down by itself at the exit, which would wait for as long as its exporter does.
    """

    def __init__(self, service_name: str | None, exporters: Sequence[Watched]) -> None:
        super().__init__(
            resource=Resource.create({SERVICE_NAME: service_name} if service_name else {}),
            shutdown_on_exit=False,
        )
        self._exporters = exporters
        for exporter in exporters:
            self.add_span_processor(
                BatchSpanProcessor(exporter, schedule_delay_millis=_delay_millis(exporter, os.environ))
            )

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Whether all that ended since the last flush was exported."""
        return self._flushed(partial(super().force_flush, timeout_millis))

    def shutdown(self) -> None:
        self._await(True)
        super().shutdown()


class Watched(SpanExporter):
    """An exporter, and whether all that it got was exported."""

    signal: Signal = "TRACES"
    success: Any = SpanExportResult.SUCCESS
    failure: Any = SpanExportResult.FAILURE
    awaited = False
    """Somebody waits for what is exported: a flush, the exit."""
    troubled = False
    """The last export failed."""
    is_local = False
    """It exports to this machine."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._lost = False

    def lost_any(self) -> bool:
        """Whether anything was lost since this was last asked."""
        lost, self._lost = self._lost, False
        return lost

    def export(self, batch: Any, **options: Any) -> Any:  # type: ignore[override]  # spans, or metrics
        result = self.failure
        try:
            result = self._export(batch, **options)
        finally:
            self.troubled = result is not self.success
            self._lost |= self.troubled
        return result

    def _export(self, batch: Any, **options: Any) -> Any:
        return self._inner.export(batch, **options)

    def give_up(self) -> None:
        """The process ends while it exports."""

    def shutdown(self, **options: Any) -> None:
        self._inner.shutdown(**options)

    def force_flush(self, timeout_millis: float = 30000) -> bool:
        return bool(self._inner.force_flush(timeout_millis))


class OverHttp(Watched):
    """The OTLP exporter, whose own log lines are held back; one of ours when an outage begins."""

    start = "Run 'byteplus-trace watch' to see them, start Jaeger"
    drops = "OpenTelemetry spans are dropped, as %s does not take them: %s."

    def __init__(self, inner: Any, url: str) -> None:
        super().__init__(inner)
        self._url = url
        self.is_local = is_loopback_url(url)
        self._taken = False
        self._reported = False
        self._thread: int | None = None
        self._why: str | None = None
        self._logger = logging.getLogger(type(inner).__module__)
        self._logger.addFilter(self)

    def _export(self, batch: Any, **options: Any) -> Any:
        if self.awaited and not self._taken and not self._may_listen():
            self.lose(self._nobody())
            return self.failure
        self._thread, self._why = threading.get_ident(), None
        try:
            result = super()._export(batch, **options)
        except Exception as error:  # as older releases let it through
            result, self._why = self.failure, type(error).__name__
        finally:
            self._thread = None
        if result is self.success:
            self._taken, self._reported = True, False
        else:
            self.lose(self._why or "it failed" if self._may_listen() else self._nobody())
        return result

    def _nobody(self) -> str:
        """What to do where nothing listens."""
        none = f"OTEL_{self.signal}_EXPORTER=none"
        if self.is_local:
            return f"nobody listens. {self.start} there, set OTEL_EXPORTER_OTLP_ENDPOINT, or {none}"
        return f"nobody listens. Check OTEL_EXPORTER_OTLP_ENDPOINT, or set {none}"

    def _may_listen(self) -> bool:
        return is_proxied(self._url) or is_listening(self._url)

    def give_up(self) -> None:
        # Its first send may still be trying again, and then nothing was logged yet.
        nobody = self.is_local and not self._may_listen()
        self.lose(
            self._nobody()
            if nobody
            else "no answer before the process ended. byteplus_trace.flush(timeout=...) waits longer"
        )

    def lose(self, why: str) -> None:
        """What was to be exported is dropped."""
        if not self._reported:
            self._reported = True
            logger.warning(self.drops, shown_url(self._url), why)

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold back what the exporter logs of our exports; other exporters of the process share its logger."""
        if self._thread != threading.get_ident():
            return True
        self.troubled = True
        if self._why is None:
            # An exception's text may hold the URL with what is secret in it.
            arguments = [
                type(each).__name__ if isinstance(each, Exception) else each for each in record.args or ()
            ]
            self._why = (str(record.msg) % tuple(arguments)).rstrip(".")
        return False

    def shutdown(self, **options: Any) -> None:
        super().shutdown(**options)
        self._logger.removeFilter(self)


def _exporter(name: str, environ: Mapping[str, str]) -> Watched:
    if name == "console":
        return Watched(ConsoleSpanExporter())
    grpc = otlp_setting(environ, "PROTOCOL", "http/protobuf")[1].strip() == "grpc"
    if name in {"otlp", "otlp_proto_http"} and not grpc:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OverHttp(OTLPSpanExporter(), http_endpoint(environ))
    wanted = "otlp_proto_grpc" if name == "otlp" else name
    for point in points_of(TRACES_EXPORTERS, wanted):
        return Watched(point.load()())
    raise SettingError(
        f"OTEL_TRACES_EXPORTER={shown(name)}: no exporter of that name is installed. Use otlp, console or none, or install the package that provides {shown(wanted)}."
    )


def _delay_millis(exporter: Watched, environ: Mapping[str, str]) -> int | None:
    """How long an ended span waits for others; None: as the SDK has it."""
    if exporter.is_local and not environ.get("OTEL_BSP_SCHEDULE_DELAY"):
        return LOOPBACK_DELAY_MILLIS
    return None


def http_endpoint(environ: Mapping[str, str], signal: Signal = "TRACES") -> str:
    """
    Where OTLP over HTTP goes, by the standard variables.

    Raises:
        SettingError: that is no HTTP URL.
    """
    variable, url = otlp_setting(environ, "ENDPOINT", DEFAULT_ENDPOINT, signal)
    if not url.strip().lower().startswith(("http://", "https://")):
        bare = shown_url(url).rpartition("://")[2]
        raise SettingError(
            f"{variable}={shown_url(url)!r} must begin with http:// or https://: write http://{bare}."
        )
    return url


def points_of(group: str, name: str) -> EntryPoints:
    """What installed packages provide under that name."""
    return entry_points(group=group, name=name)
