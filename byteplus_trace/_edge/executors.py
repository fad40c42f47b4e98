"""Executing a plan's steps, in two colours: what blocks and what awaits, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import nullcontext, suppress
from typing import Any, assert_never

from .._call_end import End
from .._routing.steps import Deliver, Discard, Failure, Keep, Peek, Result, Send, Step, Wait
from .._telemetry.guard import guard
from .drive import arun, run
from .execution import Executor
from .received import Received
from .timeouts import WireWatch
from .watchdog import Alarm, watchdog

KEPT_WITHIN_SECONDS = 1.0
"""The rest of a failed stream arrives at once or not at all."""
AFTER_THE_LIBRARY_SECONDS = 0.05


class SyncExecutor(Executor):
    """Executes steps, blocking."""

    colour = "Sync"

    def run(self) -> Deliver:
        """Execute the plan, up to how its call ends."""
        return run(self.routed.plan, self)

    def __call__(self, step: Step) -> Result:
        """
        Execute it. A reply that fails meanwhile is closed: else its pool would count it as open for ever.

        After a fault of ours the reply stays open, for its caller may get it all the same.
        """
        try:
            result = self._execute(step)
        except Exception:
            raise
        except BaseException:
            self._close()
            raise
        try:
            if isinstance(result, Failure):
                self._close()
            return result
        finally:
            del result  # its exception holds this frame

    def _execute(self, step: Step) -> Result:
        match step:
            case Send():
                return self._send(step)
            case Peek():
                return self._peek(step)
            case Wait():
                self.observer.waits(step.seconds, step.source)
                time.sleep(step.seconds)
                return None
            case Discard():
                self.observer.attempt_over(End("exhausted"))
                self._close()
                return None
            case Keep():
                self._read_on()
                self.keep()
                self._close()
                return None
            case _ as never:
                assert_never(never)

    def trace_extension(self, wire: WireWatch) -> Callable[[str, Any], None]:
        def trace(event: str, info: Any) -> None:
            wire.note(event, info)
            if wire.outer is not None:
                wire.outer(event, info)

        return trace

    def _send(self, step: Send) -> Result:
        request, transport, span = self.prepare(step)
        token = span.attach() if span is not None else None
        try:
            response = transport.handle_request(request)
        except Exception as error:
            return self.raised(error)
        finally:
            if span is not None:
                span.detach(token)
        received = self.received(response, step)
        unread = response.status_code >= 400 and not received.drained
        return (self._read(received, self.remaining_seconds()) if unread else None) or self.reply(received)

    def _peek(self, step: Peek) -> Result:
        received = self.in_hand
        assert received is not None, "a plan peeks only at a reply"
        return (None if received.drained else self._read(received, step.timeout_seconds)) or self.peeked(
            received
        )

    def _read(self, received: Received, timeout_seconds: float | None) -> Result:
        received.rest = received.rest if received.rest is not None else iter(received.response.stream)
        cut = Cut(received.response, timeout_seconds)
        try:
            with cut:
                for part in received.rest:
                    if self.hold(received, part):
                        return None
                    if cut.is_due:
                        return self.too_late(None)
            # A body that ends with its connection ends where that was cut, and nothing raises.
            if cut.made:
                return self.too_late(None)
            self.drained(received)
        except Exception as error:
            return self.too_late(error) if cut.made else self.raised(error)
        return None

    def _read_on(self) -> None:
        """Have all of a reply that may yet be delivered, as far as it comes soon."""
        received = self.in_hand
        if received is None or received.rest is None or received.drained:
            return
        with suppress(Exception), Cut(received.response, KEPT_WITHIN_SECONDS) as cut:
            for part in received.rest:
                if not self.keeps(received, part) or cut.is_due:
                    break
        received.drained = True

    def _close(self) -> None:
        received, self.in_hand = self.in_hand, None
        if received is not None:
            with guard("closing a reply that is not used"):
                try:
                    if isinstance(received.rest, Generator):
                        received.rest.close()
                finally:
                    received.response.stream.close()


class AsyncExecutor(Executor):
    """Executes steps, awaiting."""

    colour = "Async"

    async def run(self) -> Deliver:
        """Execute the plan, up to how its call ends."""
        return await arun(self.routed.plan, self)

    async def __call__(self, step: Step) -> Result:
        """As the sync one."""
        try:
            result = await self._execute(step)
        except (Exception, GeneratorExit):  # after the second nothing may be awaited
            raise
        except BaseException:
            await self._close()
            raise
        try:
            if isinstance(result, Failure):
                await self._close()
            return result
        finally:
            del result  # as above

    async def _execute(self, step: Step) -> Result:
        match step:
            case Send():
                return await self._send(step)
            case Peek():
                return await self._peek(step)
            case Wait():
                import anyio

                self.observer.waits(step.seconds, step.source)
                await anyio.sleep(step.seconds)
                return None
            case Discard():
                self.observer.attempt_over(End("exhausted"))
                await self._close()
                return None
            case Keep():
                await self._read_on()
                self.keep()
                await self._close()
                return None
            case _ as never:
                assert_never(never)

    def trace_extension(self, wire: WireWatch) -> Callable[[str, Any], Any]:
        async def trace(event: str, info: Any) -> None:
            wire.note(event, info)
            if wire.outer is not None:
                await wire.outer(event, info)

        return trace

    async def _send(self, step: Send) -> Result:
        request, transport, span = self.prepare(step)
        token = span.attach() if span is not None else None
        try:
            with _in_time(step.timeout_seconds) as scope:
                response = await transport.handle_async_request(request)
        except Exception as error:
            return self.raised(error)
        finally:
            if span is not None:
                span.detach(token)
        if scope is not None and scope.cancelled_caught:
            return self.too_late(None)
        received = self.received(response, step)
        unread = response.status_code >= 400 and not received.drained
        return (await self._read(received, self.remaining_seconds()) if unread else None) or self.reply(
            received
        )

    async def _peek(self, step: Peek) -> Result:
        received = self.in_hand
        assert received is not None, "a plan peeks only at a reply"
        return (
            None if received.drained else await self._read(received, step.timeout_seconds)
        ) or self.peeked(received)

    async def _read(self, received: Received, timeout_seconds: float | None) -> Result:
        import anyio

        received.rest = received.rest if received.rest is not None else aiter(received.response.stream)
        try:
            with anyio.move_on_after(timeout_seconds) as scope:
                async for part in received.rest:
                    if self.hold(received, part):
                        return None
                self.drained(received)
        except Exception as error:
            return self.raised(error)
        if scope.cancelled_caught:
            return self.too_late(None)
        return None

    async def _read_on(self) -> None:
        """Have all of a reply that may yet be delivered, as far as it comes soon."""
        import anyio

        received = self.in_hand
        if received is None or received.rest is None or received.drained:
            return
        with suppress(Exception), anyio.move_on_after(KEPT_WITHIN_SECONDS):
            async for part in received.rest:
                if not self.keeps(received, part):
                    break
        received.drained = True

    async def _close(self) -> None:
        received, self.in_hand = self.in_hand, None
        if received is not None:
            with guard("closing a reply that is not used"):
                try:
                    if isinstance(received.rest, AsyncGenerator):
                        await received.rest.aclose()
                finally:
                    await received.response.stream.aclose()


def _in_time(seconds: float | None) -> Any:
    """
    A scope that ends the awaiting inside after so many seconds.

    The library's own timeouts end each phase; this ends what comes in drops. It is a
    little later, so that where both would the library says what it was.
    """
    if seconds is None:
        return nullcontext()
    import anyio

    return anyio.move_on_after(seconds + AFTER_THE_LIBRARY_SECONDS)


class Cut:
    """
    Bounds a blocking read without touching the caller's own timeouts.

    httpcore reads the timeout of a body once, so a limit for its first part only cannot
    be set on it. After that time the connection is shut down instead, from the watchdog's
    thread, which the read then notices. A connection of HTTP/2 is shared with other
    calls and is not touched: there the time is looked at between parts only.
    """

    def __init__(self, response: Any, seconds: float | None) -> None:
        self.made = False
        self._until = time.monotonic() + seconds if seconds is not None else None
        self._stream = response.extensions.get("network_stream")
        alone = self._stream is not None and response.extensions.get("http_version") != b"HTTP/2"
        self._seconds = seconds if alone else None
        self._alarm: Alarm | None = None
        self._reading = threading.Lock()
        self._read = False

    @property
    def is_due(self) -> bool:
        """The time is over, whether or not anything was cut."""
        return self._until is not None and time.monotonic() >= self._until

    def _cut(self) -> None:
        import socket

        with self._reading, guard("cutting a silent stream"):
            # A body that was read has returned its connection to the pool, and another call may use it now.
            if self._read:
                return
            self.made = True
            connection = self._stream.get_extra_info("socket")
            # A copy of the descriptor: shutting down a TLS socket object from here would race its reader.
            # Either end may have closed it just now.
            with suppress(OSError), socket.socket(fileno=socket.dup(connection.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Cut:
        if self._seconds is not None:
            with guard("bounding a read"):  # without an alarm it is not bounded, and its reply has not failed
                self._alarm = watchdog.after(self._seconds, self._cut)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._alarm is not None:
            self._alarm.call_off()
            with self._reading:
                self._read = True
