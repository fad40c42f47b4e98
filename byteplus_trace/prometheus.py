"""
Two ways to let Prometheus read the series.

    app.mount("/metrics", byteplus_trace.prometheus.metrics_app())      # inside a web application
    server = byteplus_trace.prometheus.serve(9464)                      # or beside it

With `PROMETHEUS_MULTIPROC_DIR` set before `prometheus_client` is first imported, the
series are summed over all worker processes, whichever of them is asked. Exemplars do not
exist there. Under gunicorn, these hooks keep the directory small:

    from byteplus_trace.prometheus import child_exit, on_starting

`prometheus_client` is imported when it is first used, not with this module.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ._telemetry.collectors import default_registry
from ._telemetry.guard import guard
from ._telemetry.multiprocess import clear, fold, multiprocess_directory, serves, summed

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["MetricsApp", "Server", "child_exit", "metrics_app", "on_starting", "serve"]

logger = getLogger("byteplus_trace")

AGAIN_SECONDS = 2.0
"""How often a worker that waits for the port tries: a reload costs Prometheus one scrape at most."""


def metrics_app(registry: CollectorRegistry | None = None) -> MetricsApp:
    """
    The series as a web application, ASGI and WSGI in one object, OpenMetrics where the client accepts it.

    With `PROMETHEUS_MULTIPROC_DIR` set it serves the sums over all processes, and `registry` is not looked at.
    """
    return MetricsApp(_readable(registry))


def _readable(registry: CollectorRegistry | None) -> CollectorRegistry:
    directory = multiprocess_directory()
    if directory is None:
        serves()
        return registry or default_registry()
    return summed(directory)


class MetricsApp:
    """
    An application whose protocol follows from how it is called.

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
        head: list[Any] = []
        body = b"".join(self._wsgi({**environ, "REQUEST_METHOD": "GET"}, lambda *each: head.extend(each)))
        status, headers = head
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return []


class Server:
    """
    `/metrics` on a port of its own, from a daemon thread.

    A forked child has no such thread: it lets go of the port and its copy is not `serving`.
    """

    def __init__(self, port: int, addr: str, registry: CollectorRegistry | None) -> None:
        self.port = port
        self.serving = False
        """Whether the port is this process's: of several workers one has it, and the others wait for it."""
        self._addr = addr
        self._registry = _readable(registry)
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

        self._server, self._thread = start_http_server(self.port, self._addr, self._registry)
        self._server.set_app(MetricsApp(self._registry))
        self.port = self._server.server_port
        self.serving = True

    def wait(self) -> None:
        """Take the port when it is free."""
        waiting = threading.Thread(target=self._wait, name="byteplus-trace-metrics-port", daemon=True)
        try:
            waiting.start()
        except RuntimeError as error:  # no thread can start: another worker takes it then
            logger.warning("This process does not wait for port %s: %s.", self.port, error)
        else:
            self._waiting = waiting

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

    Of several processes with one `PROMETHEUS_MULTIPROC_DIR` the first takes the port and serves
    the sums of all. The others wait for it, and one of them takes it when the first ends.

    Returns:
        The server, or None where the port cannot be had: that is one log line, not the end of a worker.
    """
    server = Server(port, addr, registry)
    several = multiprocess_directory() is not None
    try:
        server.take()
    except (OSError, OverflowError, RuntimeError) as error:  # the last where no thread can start
        if several and isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            logger.info(
                "Port %s of %s is another process's, which serves the sums of all workers.", port, addr
            )
            server.wait()
            return server
        another = "metrics_port"
        if isinstance(error, OSError) and error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            another = "metrics_addr, such as 127.0.0.1"
        elif not several:
            another += "; where several workers share the port, set PROMETHEUS_MULTIPROC_DIR, and the one that has it serves the sums of all"
        logger.error(  # noqa: TRY400  one line, not a traceback
            "Metrics are not served: port %s of %s cannot be had (%s). Give another %s.",
            port,
            addr,
            error,
            another,
        )
        return None
    return server


def on_starting(_server: object) -> None:
    """
    A hook of gunicorn's: clear `PROMETHEUS_MULTIPROC_DIR` of what earlier servers wrote, before any worker lives.

    Nothing is removed while a process lives that wrote there, as at gunicorn's upgrade in place.
    """
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory:
        os.makedirs(directory, exist_ok=True)
        clear(directory)


def child_exit(_server: object, worker: Any) -> None:
    """
    A hook of gunicorn's: add what a dead worker counted to one file, and let its gauges end with it.

    No sum falls, and a scrape does not read a file for each worker that ever lived.
    """
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory:
        with guard("folding a worker's counts"):
            fold(directory, worker.pid)
