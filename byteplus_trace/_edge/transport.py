"""
The two colours of transport, for whichever HTTP library.

`_httpx.py` and `httpx2.py` add the nominal base classes and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from .._call_end import End
from .._errors import SettingError, shown
from .._telemetry.guard import fault, guard
from .._telemetry.recorder import is_silent
from .instrumentation import Instrumentation
from .kill_switch import is_disabled
from .library import Library, library_named
from .passthrough import SingleSend
from .rewrite import outgoing

if TYPE_CHECKING:
    from .execution import Executor
    from .executors import AsyncExecutor, SyncExecutor
    from .received import Received

E = TypeVar("E", bound="Executor")


class Unobserved(NamedTuple):
    """A request that passes as it is."""

    request: Any


class Transport(Generic[E]):
    """
    A transport that observes ModelArk calls, and routes them where a policy says so.

    Args:
        transport: the transport that really sends; the library's own by default.
        settings: as of `byteplus_trace.instrument()`. With none, the settings of
            `instrument()` apply, or its defaults where it was never called.
    """

    library_name: str
    observed_stream: Callable[..., Any]
    colour: str
    transport: Any

    @staticmethod
    def executor() -> type[E]:
        """The class that executes plans. Its module is imported by the first call that a policy moves."""
        raise NotImplementedError

    def _settle(self, settings: dict[str, Any]) -> None:
        kind, method = ("", "handle_request") if self.colour == "Sync" else ("Async", "handle_async_request")
        # A class has the method too, and cannot send.
        if isinstance(self.transport, type) or not hasattr(self.transport, method):
            raise SettingError(
                f"{type(self).__name__}() wraps a transport, such as {self.library_name}.{kind}HTTPTransport(), not {shown(self.transport)}."
            )
        self._passes = is_disabled()
        self._own = Instrumentation.build(settings) if settings and not self._passes else None
        self._transport_for: Callable[[Any], Any] = lambda _url: self.transport

    @classmethod
    def around(
        cls, transport: Any, instrumentation: Instrumentation, transport_for: Callable[[Any], Any]
    ) -> Any:
        """Ours around the transport that a client found for a URL."""
        ours = cls.__new__(cls)
        ours.transport = transport
        ours._passes = False
        ours._own = instrumentation
        ours._transport_for = transport_for
        return ours

    @property
    def library(self) -> Library:
        return library_named(self.library_name)

    def _begin(self, request: Any, caller: Callable[[], object]) -> SingleSend | E | Unobserved:
        """Recognise a request: a call that no policy moves, one whose plan is to be executed, or none of ours."""
        if self._passes:
            return Unobserved(request)
        begun = None
        try:
            instrumentation = self._own or Instrumentation.current()
            begun = instrumentation.begin(request, is_silent(), caller)
            if begun is None:
                return Unobserved(request)
            if begun.routed is None:
                return SingleSend(
                    begun, request, self.transport, instrumentation, self.library_name, self.colour
                )
            return self.executor()(
                self.library, instrumentation, request, begun, begun.routed, self._transport_for
            )
        except Exception as error:
            fault("beginning a call", error)
            if begun is not None:
                begun.observer.finish(End("raised", error))
            return self._unobserved(request)

    def _unobserved(self, request: Any) -> Unobserved:
        """The request as it passes after a fault of ours. What may never leave the process is taken off all the same."""
        with guard("passing a request"):
            if (self._own or Instrumentation.current()).strips(request):
                return Unobserved(outgoing(self.library, request, url=request.url, stripped=True))
        return Unobserved(request)


class SyncTransport(Transport["SyncExecutor"]):
    """The sync colour."""

    colour = "Sync"

    @staticmethod
    def executor() -> type[SyncExecutor]:
        from .executors import SyncExecutor

        return SyncExecutor

    def handle_request(self, request: Any) -> Any:
        call = self._begin(request, threading.get_ident)
        match call:
            case SingleSend():
                try:
                    response = call.transport.handle_request(call.request)
                except BaseException as error:
                    call.raised(error)
                    raise
                finally:
                    call.sent()
                return call.delivered(response, self.observed_stream)
            case Unobserved():
                return self.transport.handle_request(call.request)
            case _:
                return self._execute(call)

    def _execute(self, call: SyncExecutor) -> Any:
        received: Received | None
        try:
            received = call.deliverable(call.run())
        except BaseException as error:
            if call.is_for_caller(error):
                call.observer.finish(End("raised", error))
                raise
            received = call.salvaged(error)
        finally:
            call.forget_errors()
        if received is None:
            return self.transport.handle_request(self._unobserved(call.request).request)
        return received.delivered(self.observed_stream, filters_usage=call.asks_usage)

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Any:
        self.transport.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.transport.__exit__(*exc)


class AsyncTransport(Transport["AsyncExecutor"]):
    """The async colour."""

    colour = "Async"

    @staticmethod
    def executor() -> type[AsyncExecutor]:
        from .executors import AsyncExecutor

        return AsyncExecutor

    async def handle_async_request(self, request: Any) -> Any:
        call = self._begin(request, _task)
        match call:
            case SingleSend():
                try:
                    response = await call.transport.handle_async_request(call.request)
                except GeneratorExit:  # nobody waits any more; perhaps the garbage collector says so
                    call.forgotten()
                    raise
                except BaseException as error:
                    call.raised(error)
                    raise
                finally:
                    call.sent()
                return call.delivered(response, self.observed_stream)
            case Unobserved():
                return await self.transport.handle_async_request(call.request)
            case _:
                return await self._execute(call)

    async def _execute(self, call: AsyncExecutor) -> Any:
        received: Received | None
        try:
            received = call.deliverable(await call.run())
        except GeneratorExit:  # as above
            call.observer.finish_soon("forgotten")
            raise
        except BaseException as error:
            if call.is_for_caller(error):
                call.observer.finish(End("raised", error))
                raise
            received = call.salvaged(error)
        finally:
            call.forget_errors()
        if received is None:
            return await self.transport.handle_async_request(self._unobserved(call.request).request)
        return received.delivered(self.observed_stream, filters_usage=call.asks_usage)

    async def aclose(self) -> None:
        await self.transport.aclose()

    async def __aenter__(self) -> Any:
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.transport.__aexit__(*exc)


def _task() -> object:
    import anyio

    try:
        return anyio.get_current_task().id
    except RuntimeError:  # an event loop that anyio does not know
        return threading.get_ident()
