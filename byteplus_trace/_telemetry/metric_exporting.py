"""
A MeterProvider of our own, for a process whose application has none: by the standard `OTEL_*` variables.

Processes of one host whose series have the same labels overwrite each other, wherever the
receiver tells them apart by the resource alone. So ours has a `service.instance.id` that is
fresh in each process and in each forked child, which also counts from 0. It writes one line
for each outage, as the exporter of spans does.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource

from .._errors import SettingError, shown
from .._forks import remake_after_fork
from .exporting import (
    KnowsExporters,
    OverHttp,
    Signal,
    Watched,
    exporter_names,
    http_endpoint,
    otlp_setting,
    points_of,
)

logger = logging.getLogger("byteplus_trace")

METRICS: Signal = "METRICS"


def own_meter_provider(
    service_name: str | None, *, wanted: bool, environ: Mapping[str, str] = os.environ
) -> OwnMeterProvider | None:
    """
    The provider that the variables ask for; None where nothing is exported.

    Args:
        wanted: the settings ask for OTLP: then that is exported unless `OTEL_METRICS_EXPORTER` names another exporter,
            or `none`.

    Raises:
        SettingError: the variables cannot be followed; the message says what to write instead.
    """
    names = exporter_names(environ, METRICS, default=("otlp",) if wanted else ())
    # A cluster's `prometheus` is what `metrics_app()` and `metrics_port` are for.
    found = [_exporter(name, environ) for name in names if name != "prometheus"]
    exporters = [each for each in found if each is not None]
    return OwnMeterProvider(service_name, exporters) if exporters else None


class OwnMeterProvider(KnowsExporters):
    """The SDK's, made anew in a forked child. It is not shut down by itself at the exit."""

    def __init__(self, service_name: str | None, exporters: Sequence[Watched]) -> None:
        self._service_name = service_name
        self._exporters = exporters
        self._lock = threading.Lock()
        self._forked = False
        self._current: MeterProvider | None = None
        self._is_shut_down = False
        remake_after_fork(self)

    def after_fork(self) -> None:
        """The parent exports what it counted; its readers' threads did not come along."""
        self._lock = threading.Lock()
        self._current = None
        self._forked = True

    @property
    def current(self) -> MeterProvider:
        """The provider of this process."""
        provider = self._current
        if provider is None:
            with self._lock:
                provider = self._current
                if provider is None:
                    provider = self._current = self._made()
        return provider

    def _made(self) -> MeterProvider:
        return MeterProvider(
            [_Reader(exporter) for exporter in self._exporters],  # type: ignore[arg-type]  # it has all that is asked for
            resource=_resource(self._service_name, forked=self._forked),
            shutdown_on_exit=False,
        )

    def force_flush(self, timeout_millis: float = 30000) -> bool:
        """Whether all that was counted was exported; there is nothing to export where nothing was counted."""
        if self._current is None:
            return True
        return self._flushed(partial(self._current.force_flush, timeout_millis))

    def shutdown(self) -> None:
        if self._current is not None and not self._is_shut_down:
            self._is_shut_down = True
            self._await(True)
            self._current.shutdown()


class _Reader(PeriodicExportingMetricReader):
    """Its copy in a forked child exports nothing: the child has a provider of its own."""

    def _at_fork_reinit(self) -> None:
        pass


class MetricsOverHttp(OverHttp):
    """The OTLP exporter of metrics, whose own log lines are held back."""

    signal = METRICS
    success = MetricExportResult.SUCCESS
    failure = MetricExportResult.FAILURE
    start = "Start a collector"
    drops = "OpenTelemetry metrics are dropped, as %s does not take them: %s."

    @property
    def _preferred_temporality(self) -> Any:
        return self._inner._preferred_temporality

    @property
    def _preferred_aggregation(self) -> Any:
        return self._inner._preferred_aggregation


class _WatchedMetrics(Watched):
    signal = METRICS
    success = MetricExportResult.SUCCESS
    failure = MetricExportResult.FAILURE
    _preferred_temporality = MetricsOverHttp._preferred_temporality
    _preferred_aggregation = MetricsOverHttp._preferred_aggregation


def lacks_instance_id(provider: object) -> bool:
    """Whether a provider of the application's has no `service.instance.id`, so that its processes overwrite each other."""
    config = getattr(provider, "_sdk_config", None)
    resource = getattr(config, "resource", None)
    return resource is not None and not resource.attributes.get(SERVICE_INSTANCE_ID)


def _resource(service_name: str | None, *, forked: bool) -> Resource:
    named = {SERVICE_NAME: service_name} if service_name else {}
    resource = Resource.create(named)
    # The user's own, from `OTEL_RESOURCE_ATTRIBUTES`, is one process's: a child of it would be taken for its parent.
    if not forked and resource.attributes.get(SERVICE_INSTANCE_ID):
        return resource
    return resource.merge(Resource({SERVICE_INSTANCE_ID: str(uuid.uuid4())}))


def _exporter(name: str, environ: Mapping[str, str]) -> Watched | None:
    if name == "console":
        return _WatchedMetrics(ConsoleMetricExporter())
    variable, protocol = otlp_setting(environ, "PROTOCOL", "http/protobuf", METRICS)
    grpc = protocol.strip() == "grpc"
    if name in {"otlp", "otlp_proto_http"} and not grpc:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        return MetricsOverHttp(OTLPMetricExporter(), http_endpoint(environ, METRICS))
    wanted = "otlp_proto_grpc" if name == "otlp" else name
    for point in points_of("opentelemetry_metrics_exporter", wanted):
        return _WatchedMetrics(point.load()())
    if name == "otlp":
        logger.warning(
            "No metrics are exported: %s=grpc, and its exporter is not installed. Install "
            "opentelemetry-exporter-otlp-proto-grpc, or set OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/protobuf, and the "
            "collector's HTTP port (4318) in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT.",
            variable,
        )
        return None
    raise SettingError(
        f"OTEL_METRICS_EXPORTER={shown(name)}: no exporter of that name is installed. Use otlp, console or none, or install the package that provides {shown(wanted)}."
    )
