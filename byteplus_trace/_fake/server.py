"""
Sockets: one listener per region on one event loop in a daemon thread.

The loop's thread reads requests and has plans carried out (delivery.py); any other
thread may change a region's script, or open and close it. Stopping ends every wait.

A region that refuses keeps its port: a bound socket that does not listen makes the
kernel refuse connections and nobody else can take the address.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from . import handler, http1
from .delivery import Delivery
from .values import Received

_BACKLOG = 1024
_LIMIT = 1 << 20
_T = TypeVar("_T")


class Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop()  # the one that can stop accepting before it closes
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-modelark", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of this coroutine, run over there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """Cancel what still runs, connections that were only just accepted too."""
        self.run(_end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await _turns()


async def _turns() -> None:
    """Enough turns of the loop for callbacks of callbacks: accepting takes three, closing two."""
    for _ in range(5):
        await asyncio.sleep(0)


class RegionServer:
    """One region's socket, connections and log. Its coroutines belong to the loop's thread."""

    def __init__(self, region: handler.ServedRegion, port: int, *, compress: bool, keeps: int | None) -> None:
        self.region = region
        self.requests: list[Received] = []
        self._compress = compress
        self._keeps = keeps
        self._bound: socket.socket | None = _bound(port)
        self.port: int = self._bound.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._idle: set[asyncio.StreamWriter] = set()
        self._numbers = itertools.count(1)
        self._recovered = asyncio.Event()
        self._door = asyncio.Lock()

    async def open(self) -> None:
        """Accept connections, again if need be."""
        async with self._door:
            if self._server is None:
                bound, self._bound = self._bound, None
                self._server = await asyncio.start_server(
                    self._connected, sock=bound, backlog=_BACKLOG, limit=_LIMIT
                )

    async def refuse(self) -> None:
        """Accept nothing more; idle connections are closed, replies under way are finished."""
        async with self._door:
            if self._server is not None:
                await self._stop_accepting()
                self._bound = _bound(self.port)
                for writer in self._idle:
                    writer.transport.abort()

    async def recover(self) -> None:
        """End every wait, and accept connections."""
        self._recovered.set()
        self._recovered = asyncio.Event()
        await self.open()

    async def close(self) -> None:
        """End everything, at once."""
        await self._stop_accepting()
        if self._bound is not None:
            self._bound.close()
        for writer in self._connections.values():
            writer.transport.abort()

    async def _stop_accepting(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            # Accept first what the kernel has accepted already: asyncio leaks its socket otherwise (python/cpython#109564).
            asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
            await _turns()
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        number = next(self._numbers)
        try:
            while self._server is not None and await self._exchange(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass  # the client closed the connection, or what it sent is not HTTP
        except asyncio.CancelledError:
            pass  # only Loop.stop() cancels, and it waits for us
        finally:
            del self._connections[task]
            writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> bool:
        """Read one request and answer it; whether the connection can be used again."""
        self._idle.add(writer)
        try:
            head = await http1.read_head(reader)
        finally:
            self._idle.discard(writer)
        if head is None:
            return False
        body = await http1.read_body(reader, head.headers)
        began = time.monotonic()
        path = handler.under_base(head.path)
        route = handler.route_of(head.method, path)
        request = self._received(head, path, body, connection, route)
        self._log(request)
        plan = handler.plan(request, route, self.region)
        coding = http1.coding(head.headers.get("accept-encoding", "")) if self._compress else None
        delivery = Delivery(plan, writer, self._recovered, coding)
        return await delivery.deliver(lambda: _headers(head, request, began)) and head.keeps_alive

    def _log(self, request: Received) -> None:
        self.requests.append(request)
        if self._keeps is not None and len(self.requests) > self._keeps:
            del self.requests[: -self._keeps]

    def _received(
        self, head: http1.Head, path: str, body: bytes, connection: int, route: handler.FakeRoute
    ) -> Received:
        headers = dict(head.headers)
        authorization = headers.get("authorization")
        if authorization is None and "x-api-key" in headers:
            authorization = f"Bearer {headers['x-api-key']}"
        key = handler.key_of(authorization, self.region.keys)
        for name in ("authorization", "x-api-key"):
            if name in headers:
                headers[name] = key or "unknown"
        at_ms = time.time_ns() // 1_000_000
        return Received(
            head.method,
            path,
            head.query,
            headers,
            body,
            connection,
            self.region.name,
            route.api,
            route.operation,
            key,
            f"02{at_ms}{secrets.token_hex(19)}",
            at_ms,
        )


def _headers(head: http1.Head, request: Received, began: float) -> list[tuple[str, str]]:
    """What every reply carries; the service's time is taken when the headers go out."""
    headers = [
        ("server", "istio-envoy"),
        ("x-request-id", request.id),
        ("x-envoy-upstream-service-time", str(int((time.monotonic() - began) * 1000))),
    ]
    if "x-client-request-id" in head.headers:
        headers.append(("x-client-request-id", head.headers["x-client-request-id"]))
    return headers


def _bound(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off only for sockets that name TCP.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
