"""
The series in `prometheus_client`, and two ways to let Prometheus read them.

    app.mount("/metrics", byteplus_trace.prometheus.metrics_app())      # inside a web application
    server = byteplus_trace.prometheus.serve(9464)                      # or beside it

Collectors belong to their registry and outlive the sink that made them: a process that
instruments, uninstruments and instruments again goes on counting where it was. Label
values from outside are bounded (see `_telemetry/collectors.py`), then count as `other`.

With `PROMETHEUS_MULTIPROC_DIR` set before `prometheus_client` is first imported, the
series are summed over all worker processes, whichever of them is asked. Exemplars do not
exist there. Under gunicorn, let the gauges of a dead worker end with it:

    def child_exit(server, worker):
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from prometheus_client import multiprocess

            multiprocess.mark_process_dead(worker.pid)

`prometheus_client` is imported when it is first used, not with this module.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ._facts import Exchange
from ._instruments import BREAKER, BUILD_INFO, IN_FLIGHT, START_TIME, TELEMETRY_ERRORS
from ._telemetry.collectors import default_registry, forget, multiprocess_directory, series_of
from ._telemetry.points import Point
from ._telemetry.zero_series import starts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["MetricsApp", "Server", "Sink", "metrics_app", "serve"]

logger = getLogger("byteplus_trace")

AGAIN_SECONDS = 2.0
"""How often a worker that waits for the port tries: a reload costs Prometheus one scrape at most."""


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
        self._registry = registry
        self._series = series_of(registry, metadata_labels, max_models)
        self._metadata_labels = self._series.metadata_labels
        self._exemplars = not self._series.multiprocess

    def record(self, exchange: Exchange, points: Iterable[Point], exemplar: Mapping[str, str] | None) -> None:
        """Add what one exchange came to; `exemplar` is its `trace_id` and `span_id`, where they are sampled."""
        children, child = self._series.children, self._series.child
        extra: tuple[str, ...] = ()
        if self._metadata_labels:
            metadata = exchange.call.metadata
            extra = tuple(metadata.get(key, "") for key in self._metadata_labels)
        exemplar = exemplar if self._exemplars else None
        for instrument, values, amount in points:
            if extra and instrument.metadata:
                values += extra  # noqa: PLW2901
            series = children[instrument].get(values) or child(instrument, values)
            if instrument.kind == "counter":
                series.inc(amount)
            else:
                series.observe(amount, exemplar if instrument.exemplars else None)

    def in_flight(self, operation: str, change: int) -> None:
        """A call began (1) or ended (-1)."""
        values = (operation,)
        gauge = self._series.children[IN_FLIGHT].get(values) or self._series.child(IN_FLIGHT, values)
        gauge.inc(change)

    def breaker(self, target: str, operation: str, state: int) -> None:
        """0 closed, 1 half-open, 2 open."""
        self._series.child(BREAKER, (target, operation)).set(state)

    def telemetry_error(self, where: str) -> None:
        """A fault of our own was swallowed there."""
        self._series.child(TELEMETRY_ERRORS, (where,)).inc()

    def build_info(self, *, version: str, httpx: str, httpx2: str, opentelemetry: str) -> None:
        """The versions at work; of a library that is not installed, the empty string."""
        self._series.child(BUILD_INFO, (version, httpx, httpx2, opentelemetry)).set(1)

    def started(self, policy: str, at_seconds: float) -> None:
        """Calls are observed from then on, in seconds since the epoch; `policy` sums it up."""
        self._series.child(START_TIME, (policy,)).set(at_seconds)

    def start_targets(self, targets: Iterable[tuple[str, str]], *, routed: bool = True) -> None:
        """
        Let the series of these targets, each a name and a region, stand at 0 until they first move.

        Which combinations do is told in `_telemetry/starts.py`. Counters that moved
        already stay as they are; breakers are closed, for a policy that starts knows of no fault.
        """
        for instrument, values in starts(list(targets), routed=routed):
            child = self._series.child(instrument, values)
            if instrument is BREAKER:
                child.set(0)

    def withdraw(self) -> None:
        """Take the series out of their registry, and their counts with them."""
        forget(self._registry)


def metrics_app(registry: CollectorRegistry | None = None) -> MetricsApp:
    """
    The series as a web application, ASGI and WSGI in one object, OpenMetrics where the client accepts it.

    With `PROMETHEUS_MULTIPROC_DIR` set it tells the sums over all processes, and `registry` is not looked at.
    """
    return MetricsApp(_told(registry))


def _told(registry: CollectorRegistry | None) -> CollectorRegistry:
    if multiprocess_directory() is None:
        return registry or default_registry()
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
            case (environ, start_response) if environ["REQUEST_METHOD"] == "HEAD":
                return self._head(environ, start_response)
            case (environ, start_response):
                return self._wsgi(environ, start_response)
            case (scope, receive, send):
                return self._asgi(scope, receive, send)
        raise TypeError(f"a WSGI or ASGI application takes 1 to 3 arguments, not {len(arguments)}")

    def _head(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """As a GET, without its body; the client's own application answers 405, and sends a body with that."""
        said: list[Any] = []
        body = b"".join(self._wsgi({**environ, "REQUEST_METHOD": "GET"}, lambda *head: said.extend(head)))
        status, headers = said
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return []


class Server:
    """
    `/metrics` on a port of its own, from a daemon thread.

    A forked child has no such thread: it lets go of the port and its copy says `serving` no more.
    """

    def __init__(self, port: int, addr: str, registry: CollectorRegistry | None) -> None:
        self.port = port
        self.serving = False
        """Whether the port is this process's: of several workers one has it, and the others wait for it."""
        self._addr = addr
        self._told = _told(registry)
        self._waiting: threading.Thread | None = None
        self._stopping = threading.Event()
        _servers.add(self)

    def take(self) -> None:
        """
        Take the port.

        Raises:
            OSError, OverflowError: it cannot be had.
        """
        from prometheus_client import start_http_server

        self._server, self._thread = start_http_server(self.port, self._addr, self._told)
        self._server.set_app(MetricsApp(self._told))
        self.port = self._server.server_port
        self.serving = True

    def wait(self) -> None:
        """Take the port when it is free."""
        self._waiting = threading.Thread(target=self._wait, name="byteplus-trace-metrics-port", daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        while not self.serving and not self._stopping.wait(AGAIN_SECONDS):
            with suppress(OSError):
                self.take()

    def stop(self) -> None:
        """Free the port, or wait for it no longer. Stopping twice is fine."""
        self._stopping.set()
        if self._waiting is not None:
            self._waiting.join()
        if self.serving:
            self.serving = False
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def _let_go(self) -> None:
        if self.serving:
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

    Of several processes with one `PROMETHEUS_MULTIPROC_DIR` the first takes the port and tells for
    all. The others wait for it, and one of them takes it when the first ends.

    Returns:
        The server, or None where the port cannot be had: that is one log line, not the end of a worker.
    """
    server = Server(port, addr, registry)
    several = multiprocess_directory() is not None
    try:
        server.take()
    except (OSError, OverflowError) as error:
        if several and isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            logger.info("Port %s of %s is another process's, which tells for all workers.", port, addr)
            server.wait()
            return server
        logger.error(  # noqa: TRY400  one line, not a traceback
            "Metrics are not served: port %s of %s cannot be had (%s). Give another metrics_port%s.",
            port,
            addr,
            error,
            ""
            if several
            else "; where several workers share the port, set PROMETHEUS_MULTIPROC_DIR, and the one that has it tells for all",
        )
        return None
    return server
