"""
A plan carried out on a connection.

Three things are exact here because tests rest on them: which bytes go out and when, how
a connection ends (a FIN, or a RST by a linger of zero), and that every wait of a reply
ends at once when the region recovers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from . import http1
from .values import Document, PlannedReply, Stream

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One reply on its way."""

    plan: PlannedReply
    writer: asyncio.StreamWriter
    recovered: asyncio.Event
    coding: http1.Coding | None

    async def deliver(self, headers: Callable[[], Headers]) -> bool:
        """Carry out the plan; whether the connection can be used again."""
        plan = self.plan
        if plan.raw is not None:
            self.writer.write(plan.raw)
            await self.writer.drain()
            return False
        if plan.hang:
            await self.recovered.wait()
        await self._pause(plan.delay_headers)
        if plan.leave:
            self._leave(plan.leave)
            return False
        sent = headers()
        if self.coding is not None:
            sent.append(("content-encoding", self.coding.name))
        match plan.reply:
            case Document():
                return await self._document(plan.reply, sent)
            case Stream():
                return await self._stream(plan.reply, sent)

    async def _document(self, reply: Document, headers: Headers) -> bool:
        body = reply.body
        if self.coding is not None:
            body = self.coding.part(body) + self.coding.end()
        headers += reply.headers
        if reply.body:
            headers.append(("content-type", reply.content_type))
        head = http1.head(reply.status, [*headers, ("content-length", str(len(body)))])
        if self.plan.delay_first_event:
            self.writer.write(head)
            head = b""
            await self._pause(self.plan.delay_first_event)
        whole = self.plan.stop_after is None
        self.writer.write(head + (body if whole else body[: len(body) // 2]))
        await self.writer.drain()
        if not whole:
            await self._stop()
        return whole

    async def _stream(self, reply: Stream, headers: Headers) -> bool:
        headers += [
            ("content-type", reply.content_type),
            ("cache-control", "no-cache"),
            ("transfer-encoding", "chunked"),
        ]
        self.writer.write(http1.head(200, headers))
        await self._pause(self.plan.delay_first_event)
        for at, event in enumerate(reply.events):
            if at:
                await self._pause(self.plan.delay_between)
            chunk = http1.chunk(self.coding.part(event) if self.coding is not None else event)
            if at == self.plan.stop_after:
                if self.plan.stop == "fin":
                    self.writer.write(chunk[: len(chunk) // 2])
                await self.writer.drain()
                if not await self._stop():
                    return False
            self.writer.write(chunk)
            await self.writer.drain()
        self.writer.write((http1.chunk(self.coding.end()) if self.coding else b"") + http1.LAST_CHUNK)
        await self.writer.drain()
        return True

    async def _stop(self) -> bool:
        """Stop in the body as planned; whether it goes on."""
        match self.plan.stop:
            case "hang":
                await self.recovered.wait()
                return True
            case "rst":
                # A reset throws away what has not arrived, and what was written should be read.
                await asyncio.sleep(0.02)
        self._leave(self.plan.stop)
        return False

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.recovered.wait(), seconds)

    def _leave(self, how: str) -> None:
        """Reset the connection; a FIN is what the server makes of any connection that is over."""
        if how == "rst":
            raw = self.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
