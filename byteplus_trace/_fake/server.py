"""
Sockets: one listener per region on one event loop in a daemon thread.

The loop's thread reads requests and carries out plans; any other thread may change a
region's script, or open and close it. Three things are exact here because tests rest
on them: which bytes go out and when, how a connection ends (FIN, or RST by a linger of
zero), and that every wait ends at once when the region recovers or the server stops.

A region that refuses keeps its port: a bound socket that does not listen makes the
kernel refuse connections and nobody else can take the address.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from . import handler, http1
from .words import Document, Plan, Received, Stream

_BACKLOG = 1024
_LIMIT = 1 << 20
_T = TypeVar("_T")


class Loop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-modelark", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of this coroutine, run over there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Listener:
    """One region's socket, connections and log. Its coroutines belong to the loop's thread."""

    def __init__(self, region: handler.Region, port: int, *, compress: bool) -> None:
        self.region = region
        self.requests: list[Received] = []
        self.compress = compress
        self._bound: socket.socket | None = _bound(port)
        self.port: int = self._bound.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._idle: set[asyncio.StreamWriter] = set()
        self._numbers = itertools.count(1)
        self._recovered = asyncio.Event()

    async def open(self) -> None:
        """Accept connections, again if need be."""
        if self._server is None:
            bound, self._bound = self._bound, None
            self._server = await asyncio.start_server(
                self._connected, sock=bound, backlog=_BACKLOG, limit=_LIMIT
            )

    async def refuse(self) -> None:
        """Accept nothing more; idle connections are closed, replies under way are finished."""
        if self._server is not None:
            self._server.close()
            self._server = None
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
        if self._server is not None:
            self._server.close()
        if self._bound is not None:
            self._bound.close()
        tasks = list(self._connections)
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The transports close their sockets on the next turns of the loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        number = next(self._numbers)
        try:
            while await self._exchange(reader, writer, number) and self._server is not None:
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass  # the client left, or stopped speaking HTTP
        except asyncio.CancelledError:
            pass  # only close() cancels, and it waits for us
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
        self.requests.append(request)
        plan = handler.plan(request, route, self.region)
        if plan.raw is not None:
            writer.write(plan.raw)
            await writer.drain()
            return False
        if plan.hang:
            await self._recovered.wait()
        if plan.delay_headers:
            await self._pause(plan.delay_headers)
        if plan.reset:
            _reset(writer)
            return False
        headers = self._headers(head.headers, request, began)
        coding = http1.coding(head.headers.get("accept-encoding", "")) if self.compress else None
        if coding is not None:
            headers.append(("content-encoding", coding.name))
        match plan.reply:
            case Document():
                return await self._send(plan, plan.reply, headers, coding, writer) and head.keeps_alive
            case Stream():
                return await self._stream(plan, plan.reply, headers, coding, writer) and head.keeps_alive

    def _received(
        self, head: http1.Head, path: str, body: bytes, connection: int, route: handler.Route
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

    def _headers(self, sent: Mapping[str, str], request: Received, began: float) -> list[tuple[str, str]]:
        headers = [
            ("server", "istio-envoy"),
            ("x-request-id", request.id),
            ("x-envoy-upstream-service-time", str(int((time.monotonic() - began) * 1000))),
        ]
        if "x-client-request-id" in sent:
            headers.append(("x-client-request-id", sent["x-client-request-id"]))
        return headers

    async def _send(
        self,
        plan: Plan,
        reply: Document,
        headers: list[tuple[str, str]],
        coding: http1.Coding | None,
        writer: asyncio.StreamWriter,
    ) -> bool:
        body = coding.part(reply.body) + coding.end() if coding is not None else reply.body
        headers += reply.headers
        if reply.body:
            headers.append(("content-type", reply.content_type))
        head = http1.head(reply.status, [*headers, ("content-length", str(len(body)))])
        if plan.stop_after is None:
            writer.write(head + body)
            await writer.drain()
            return True
        writer.write(head + body[: len(body) // 2])
        await self._stop(plan, writer)
        return False

    async def _stream(
        self,
        plan: Plan,
        reply: Stream,
        headers: list[tuple[str, str]],
        coding: http1.Coding | None,
        writer: asyncio.StreamWriter,
    ) -> bool:
        headers += [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("transfer-encoding", "chunked"),
        ]
        writer.write(http1.head(200, headers))
        await self._pause(plan.delay_first_event)
        for at, event in enumerate(reply.events):
            if at:
                await self._pause(plan.delay_between)
            chunk = http1.chunk(coding.part(event) if coding is not None else event)
            if at == plan.stop_after:
                if plan.stop == "hang":
                    await writer.drain()
                    await self._recovered.wait()
                else:
                    if plan.stop == "fin":
                        writer.write(chunk[: len(chunk) // 2])
                    await self._stop(plan, writer)
                    return False
            writer.write(chunk)
            await writer.drain()
        writer.write((http1.chunk(coding.end()) if coding is not None else b"") + http1.LAST_CHUNK)
        await writer.drain()
        return True

    async def _stop(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        await writer.drain()
        if plan.stop == "rst":
            # What was written should arrive: a reset throws away what the other side has not read.
            await asyncio.sleep(0.02)
            _reset(writer)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._recovered.wait(), seconds)


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
