"""
The series in `prometheus_client`, and two ways to let Prometheus read them.

    app.mount("/metrics", byteplus_trace.prometheus.metrics_app())      # inside a web application
    server = byteplus_trace.prometheus.serve(9464)                      # or beside it

Collectors belong to their registry and outlive the sink that made them: a process that
instruments, uninstruments and instruments again goes on counting where it was. Label
values from outside are bounded (see `LIMITS`), then count as `other`.

With `PROMETHEUS_MULTIPROC_DIR` set before `prometheus_client` is first imported, the
series are summed over all worker processes, whichever of them is asked. Exemplars do not
exist there. Under gunicorn, let the gauges of a dead worker end with it:

    from prometheus_client import multiprocess

    def child_exit(server, worker):
        multiprocess.mark_process_dead(worker.pid)

`prometheus_client` is imported when it is first used, not with this module.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakKeyDictionary, WeakSet

from ._errors import SettingError
from ._facts import Exchange
from ._instruments import (
    ATTEMPT_DURATION,
    BREAKER,
    BUILD_INFO,
    FIRST_CHUNK,
    IN_FLIGHT,
    INSTRUMENTS,
    OPERATION_DURATION,
    SECONDS,
    TELEMETRY_ERRORS,
    Instrument,
)
from ._telemetry.bounds import Bound
from ._telemetry.points import Point
from ._telemetry.starts import starts

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry

__all__ = ["Server", "Sink", "metrics_app", "serve"]

logger = getLogger("byteplus_trace")

# How many values a label may take before `other`; `model` has its own setting. Regions and targets
# are configuration, but a gateway's header can name any region.
LIMITS: Final = {"error_type": 64, "region": 64, "target": 64}
METADATA_VALUES: Final = 100
SHARED: Final = {"from_target": "target", "to_target": "target"}

WITH_EXEMPLARS: Final = {OPERATION_DURATION.name, FIRST_CHUNK.name, ATTEMPT_DURATION.name}

# Over processes, calls in flight add up, the worst breaker counts, and versions are told by the living.
GAUGE_MODES: Final[dict[str, Literal["livesum", "livemax"]]] = {
    IN_FLIGHT.name: "livesum",
    BREAKER.name: "livemax",
    BUILD_INFO.name: "livemax",
}


class Sink:
    """
    Where exchanges become series of one registry.

    Args:
        registry: None is `prometheus_client.REGISTRY`.
        metadata_labels: metadata keys that become labels of the series that have them.
        max_models: how many values the label `model` may take.

    Raises:
        SettingError: a metadata key cannot be a label, the registry was set up with other
            ones, or the directory for several processes is missing.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        metadata_labels: Sequence[str] = (),
        max_models: int = 100,
    ) -> None:
        self._series = _series_of(registry, _checked(metadata_labels), max_models)
        self._metadata_labels = self._series.metadata_labels
        self._exemplars = not self._series.multiprocess

    def record(self, exchange: Exchange, points: Iterable[Point], exemplar: Mapping[str, str] | None) -> None:
        """Add what one exchange came to; `exemplar` is its `trace_id` and `span_id`, where they are sampled."""
        child = self._series.child
        metadata = exchange.call.metadata
        extra = tuple(metadata.get(key, "") for key in self._metadata_labels)
        exemplar = exemplar if self._exemplars else None
        for instrument, values, amount in points:
            labels = values + extra if instrument.metadata else values
            if instrument.kind == "counter":
                child(instrument, labels).inc(amount)
            else:
                told = exemplar if instrument.name in WITH_EXEMPLARS else None
                child(instrument, labels).observe(amount, told)

    def in_flight(self, operation: str, change: int) -> None:
        self._series.child(IN_FLIGHT, (operation,)).inc(change)

    def breaker(self, target: str, operation: str, state: int) -> None:
        """0 closed, 1 half-open, 2 open."""
        self._series.child(BREAKER, (target, operation)).set(state)

    def telemetry_error(self, where: str) -> None:
        self._series.child(TELEMETRY_ERRORS, (where,)).inc()

    def build_info(self, *, version: str, httpx: str, httpx2: str, opentelemetry: str) -> None:
        """The versions at work; of a library that is not installed, the empty string."""
        self._series.child(BUILD_INFO, (version, httpx, httpx2, opentelemetry)).set(1)

    def start_targets(self, targets: Iterable[tuple[str, str]], *, routed: bool = True) -> None:
        """
        Let the series of these targets, each a name and a region, stand at 0 until they first move.

        Which combinations do is told in `_telemetry/starts.py`. Series that moved already stay as they are.
        """
        for instrument, values in starts(list(targets), routed=routed):
            self._series.child(instrument, values)


class _Series:
    """The collectors of one registry, the label values admitted and the children in use."""

    def __init__(
        self, registry: CollectorRegistry, metadata_labels: tuple[str, ...], max_models: int
    ) -> None:
        self.metadata_labels = metadata_labels
        self.multiprocess = _multiprocess_directory() is not None
        self.models = Bound(max_models)
        bounds = {label: Bound(most) for label, most in LIMITS.items()}
        bounds |= {label: bounds[other] for label, other in SHARED.items()}
        bounds |= {key: Bound(METADATA_VALUES) for key in metadata_labels}
        bounds["model"] = self.models
        self._collectors: dict[str, Any] = {}
        self._bounds: dict[str, tuple[Bound | None, ...]] = {}
        self._children: dict[str, dict[tuple[str, ...], Any]] = {row.name: {} for row in INSTRUMENTS}
        for row in INSTRUMENTS:
            labels = row.labels + (metadata_labels if row.metadata else ())
            self._collectors[row.name] = _collector(row, labels)
            self._bounds[row.name] = tuple(bounds.get(label) for label in labels)
        _register(registry, self._collectors.values())

    def child(self, instrument: Instrument, values: tuple[str, ...]) -> Any:
        """The counter, gauge or histogram with these label values, bounded."""
        # By name: an instrument's own hash would be computed from all its fields each time.
        children = self._children[instrument.name]
        found = children.get(values)
        if found is None:
            bounds = self._bounds[instrument.name]
            values = tuple(bound(v) if bound else v for bound, v in zip(bounds, values, strict=True))
            found = children.get(values)
        if found is None:
            found = children[values] = self._collectors[instrument.name].labels(*values)
        return found


_by_registry: WeakKeyDictionary[CollectorRegistry, _Series] = WeakKeyDictionary()
_by_registry_lock = threading.Lock()


def _series_of(
    registry: CollectorRegistry | None, metadata_labels: tuple[str, ...], max_models: int
) -> _Series:
    registry = registry or _default_registry()
    with _by_registry_lock:
        series = _by_registry.get(registry)
        if series is None:
            series = _by_registry[registry] = _Series(registry, metadata_labels, max_models)
        elif sorted(series.metadata_labels) != sorted(metadata_labels):
            raise SettingError(
                f"This registry's series have the metadata labels {list(series.metadata_labels)}, and labels cannot change: "
                f"write metadata_labels={series.metadata_labels!r}, or give another registry=CollectorRegistry()."
            )
        series.models.most = max_models
        return series


def _default_registry() -> CollectorRegistry:
    from prometheus_client import REGISTRY

    return REGISTRY


def _checked(metadata_labels: Sequence[str]) -> tuple[str, ...]:
    if isinstance(metadata_labels, str):
        raise SettingError(
            f"metadata_labels={metadata_labels!r} is one string: write ({metadata_labels!r},)."
        )
    taken = {label for row in INSTRUMENTS if row.metadata for label in row.labels}
    for key in metadata_labels:
        if key in taken:
            raise SettingError(
                f"Metadata key {key!r} cannot be a label, the series have one of that name: rename it."
            )
        if not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", key):
            raise SettingError(
                f"Metadata key {key!r} cannot be a Prometheus label: use letters, digits and underscores, such as 'team'."
            )
    return tuple(dict.fromkeys(metadata_labels))


def _collector(row: Instrument, labels: tuple[str, ...]) -> Any:
    from prometheus_client import Counter, Gauge, Histogram

    match row.kind:
        case "counter":
            return Counter(row.name, row.help, labels, registry=None)
        case "histogram":
            return Histogram(row.name, row.help, labels, registry=None, buckets=SECONDS)
        case "gauge":
            return Gauge(row.name, row.help, labels, registry=None, multiprocess_mode=GAUGE_MODES[row.name])


def _register(registry: CollectorRegistry, collectors: Iterable[Any]) -> None:
    """All of them or none."""
    registered: list[Any] = []
    try:
        for collector in collectors:
            registry.register(collector)
            registered.append(collector)
    except ValueError as error:
        for collector in registered:
            registry.unregister(collector)
        raise SettingError(
            f"This registry has series of these names that are not ours ({error}): give another registry=CollectorRegistry()."
        ) from error


def _multiprocess_directory() -> str | None:
    """Where the workers leave their numbers; None where there is one process."""
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory and not os.path.isdir(directory):
        raise SettingError(
            f"PROMETHEUS_MULTIPROC_DIR={directory!r} is not a directory: make it, empty, before the first worker starts."
        )
    return directory or None


def metrics_app(registry: CollectorRegistry | None = None) -> MetricsApp:
    """
    The series as a web application, ASGI and WSGI in one object, OpenMetrics where the client accepts it.

    With `PROMETHEUS_MULTIPROC_DIR` set it tells the sums over all processes, and `registry` is not looked at.
    """
    return MetricsApp(_told(registry))


def _told(registry: CollectorRegistry | None) -> CollectorRegistry:
    if _multiprocess_directory() is None:
        return registry or _default_registry()
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    summed = CollectorRegistry()
    MultiProcessCollector(summed)  # type: ignore[no-untyped-call]  # the client's own lack
    return summed


class MetricsApp:
    """
    An application that is told apart by how it is called.

    `(environ, start_response)` is WSGI and `(scope, receive, send)` ASGI. `(scope)` alone is
    ASGI 2, which servers suppose where `__call__` is no coroutine function.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import make_asgi_app, make_wsgi_app

        self._wsgi = make_wsgi_app(registry)
        self._asgi = make_asgi_app(registry)

    def __call__(self, *arguments: Any) -> Any:
        match arguments:
            case (scope,):
                return partial(self._asgi, scope)
            case (environ, start_response):
                return self._wsgi(environ, start_response)
            case (scope, receive, send):
                return self._asgi(scope, receive, send)
        raise TypeError(f"a WSGI or ASGI application takes 1 to 3 arguments, not {len(arguments)}")


class Server:
    """
    `/metrics` on a port of its own, from a daemon thread.

    A forked child has no such thread: it lets go of the port and its copy says `serving` no more.
    """

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self.port = server.server_port
        self.serving = True
        self._server = server
        self._thread = thread
        _servers.add(self)

    def stop(self) -> None:
        """Free the port. Stopping twice is fine."""
        if self.serving:
            self.serving = False
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _let_go(self) -> None:
        self.serving = False
        self._server.socket.close()


_servers: WeakSet[Server] = WeakSet()


def _let_go_of_all() -> None:
    for server in list(_servers):
        server._let_go()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_let_go_of_all)


def serve(port: int, addr: str = "127.0.0.1", registry: CollectorRegistry | None = None) -> Server | None:
    """
    Serve the series over HTTP from a daemon thread; port 0 takes a free one.

    Returns:
        The server, or None where the port cannot be had: that is one log line, not the end of a worker.
    """
    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, addr, _told(registry))
    except (OSError, OverflowError) as error:
        logger.error(  # noqa: TRY400  one line, not a traceback
            "Metrics are not served: port %s of %s cannot be had (%s). Give another metrics_port; where several "
            "workers share the port, set PROMETHEUS_MULTIPROC_DIR, and the one that has it tells for all.",
            port,
            addr,
            error,
        )
        return None
    return Server(server, thread)
