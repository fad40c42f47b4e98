"""Performing a plan's steps, in two colours: what blocks and what awaits, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import nullcontext, suppress
from typing import Any, assert_never

from .._routing.steps import Discard, Failure, Keep, Peek, Result, Send, Step, Wait
from .._telemetry.guard import guard
from .execution import Held, Performer
from .timeouts import WireWatch
from .watchdog import Alarm, watchdog

KEPT_WITHIN_SECONDS = 1.0
"""What is left of a failed stream comes at once or not at all."""
AFTER_THE_LIBRARY_SECONDS = 0.05


class SyncPerformer(Performer):
    """Performs steps, blocking."""

    colour = "Sync"

    def __call__(self, step: Step) -> Result:
        """Perform it; a reply that fails meanwhile is closed, for without that a pool counts it as open for ever."""
        try:
            result = self._perform(step)
        except BaseException:
            self._close()
            raise
        if isinstance(result, Failure):
            self._close()
        return result

    def _perform(self, step: Step) -> Result:
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
                self.observer.attempt_over("exhausted")
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
            wire.note(event)
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
        held = self.received(response, step)
        if response.status_code >= 400 and not held.drained:
            failure = self._read(held, self.remaining_seconds())
            if failure is not None:
                return failure
        return self.reply(held)

    def _peek(self, step: Peek) -> Result:
        held = self.in_hand
        assert held is not None, "a plan peeks only at a reply"
        return (None if held.drained else self._read(held, step.timeout_seconds)) or self.peeked(held)

    def _read(self, held: Held, timeout_seconds: float | None) -> Result:
        held.rest = held.rest if held.rest is not None else iter(held.response.stream)
        cut = Cut(held.response, timeout_seconds)
        try:
            with cut:
                for part in held.rest:
                    if self.hold(held, part):
                        return None
                    if cut.is_due:
                        return self.too_late(None)
            # A body that ends with its connection ends where that was cut, and nothing raises.
            if cut.made:
                return self.too_late(None)
            self.drained(held)
        except Exception as error:
            return self.too_late(error) if cut.made else self.raised(error)
        return None

    def _read_on(self) -> None:
        """Have all of a reply that may yet be delivered, as far as it comes soon."""
        held = self.in_hand
        if held is None or held.rest is None or held.drained:
            return
        with suppress(Exception), Cut(held.response, KEPT_WITHIN_SECONDS):
            for part in held.rest:
                held.parts.append(part)
        held.drained = True

    def _close(self) -> None:
        held, self.in_hand = self.in_hand, None
        if held is not None:
            with guard("closing a reply that is not used"):
                if isinstance(held.rest, Generator):
                    held.rest.close()
                held.response.stream.close()


class AsyncPerformer(Performer):
    """Performs steps, awaiting."""

    colour = "Async"

    async def __call__(self, step: Step) -> Result:
        """As the sync one."""
        try:
            result = await self._perform(step)
        except GeneratorExit:  # nothing may be awaited any more
            raise
        except BaseException:
            await self._close()
            raise
        if isinstance(result, Failure):
            await self._close()
        return result

    async def _perform(self, step: Step) -> Result:
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
                self.observer.attempt_over("exhausted")
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
            wire.note(event)
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
        held = self.received(response, step)
        if response.status_code >= 400 and not held.drained:
            failure = await self._read(held, self.remaining_seconds())
            if failure is not None:
                return failure
        return self.reply(held)

    async def _peek(self, step: Peek) -> Result:
        held = self.in_hand
        assert held is not None, "a plan peeks only at a reply"
        return (None if held.drained else await self._read(held, step.timeout_seconds)) or self.peeked(held)

    async def _read(self, held: Held, timeout_seconds: float | None) -> Result:
        import anyio

        held.rest = held.rest if held.rest is not None else aiter(held.response.stream)
        try:
            with anyio.move_on_after(timeout_seconds) as scope:
                async for part in held.rest:
                    if self.hold(held, part):
                        return None
                self.drained(held)
        except Exception as error:
            return self.raised(error)
        if scope.cancelled_caught:
            return self.too_late(None)
        return None

    async def _read_on(self) -> None:
        """Have all of a reply that may yet be delivered, as far as it comes soon."""
        import anyio

        held = self.in_hand
        if held is None or held.rest is None or held.drained:
            return
        with suppress(Exception), anyio.move_on_after(KEPT_WITHIN_SECONDS):
            async for part in held.rest:
                held.parts.append(part)
        held.drained = True

    async def _close(self) -> None:
        held, self.in_hand = self.in_hand, None
        if held is not None:
            with guard("closing a reply that is not used"):
                if isinstance(held.rest, AsyncGenerator):
                    await held.rest.aclose()
                await held.response.stream.aclose()


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
    be given to it. After that time the connection is shut down instead, from the watchdog's
    thread, which the read then notices. A connection of HTTP/2 is shared with other
    calls and is left alone: there the time is looked at between parts only.
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
            # What was read may have given its connection back, to a call of somebody else's.
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
            self._alarm = watchdog.after(self._seconds, self._cut)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._alarm is not None:
            self._alarm.call_off()
            with self._reading:
                self._read = True
