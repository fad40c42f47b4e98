"""
The two colours of transport, for whichever HTTP library.

`_httpx.py` and `httpx2.py` add the nominal base classes and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .._telemetry.guard import fault, guard
from .._telemetry.recorder import is_silent
from .drive import arun, run
from .executors import AsyncPerformer, SyncPerformer
from .instrumentation import Begun, Instrumentation
from .kill_switch import is_disabled
from .library import Library, library_named
from .passthrough import Once
from .rewrite import outgoing


class Transport:
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

    def _settle(self, settings: dict[str, Any]) -> None:
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
    def instrumentation(self) -> Instrumentation:
        return self._own or Instrumentation.current()

    @property
    def library(self) -> Library:
        return library_named(self.library_name)

    def _begin(self, request: Any, caller: Callable[[], object]) -> Any:
        """The call that this request is, to be performed (`Begun`) or sent `Once`; else the request that is to pass."""
        if self._passes:
            return request
        begun = None
        try:
            instrumentation = self.instrumentation
            begun = instrumentation.begin(request, is_silent(), caller)
            if begun is None:
                return request
            if begun.routed is not None:
                return begun
            return Once(begun, request, self.transport, instrumentation, self.library_name, self.colour)
        except Exception as error:
            fault("beginning a call", error)
            if begun is not None:
                begun.observer.finish("raised", error)
            return self._unwatched(request)

    def _unwatched(self, request: Any) -> Any:
        """The request as it passes where a fault of ours left nobody to watch it: what is never to leave stays all the same."""
        with guard("passing a request"):
            if self.instrumentation.strips(request):
                return outgoing(self.library, request, url=request.url, stripped=True)
        return request


class SyncTransport(Transport):
    """The sync colour."""

    colour = "Sync"

    def handle_request(self, request: Any) -> Any:
        begun = self._begin(request, threading.get_ident)
        if isinstance(begun, Once):
            try:
                response = begun.transport.handle_request(begun.request)
            except BaseException as error:
                begun.failed(error)
                raise
            finally:
                begun.left()
            return begun.came(response, self.observed_stream)
        if isinstance(begun, Begun):
            return self._perform(request, begun)
        return self.transport.handle_request(begun)

    def _perform(self, request: Any, begun: Begun) -> Any:
        performer = SyncPerformer(self.library, self.instrumentation, request, begun, self._transport_for)
        try:
            held = performer.deliverable(run(performer.routed.plan, performer))
        except BaseException as error:
            begun.observer.finish("raised", error)
            if performer.is_unsent_by_a_fault_of_ours(error):
                return self.transport.handle_request(self._unwatched(request))
            raise
        return performer.settle(held, self.observed_stream)

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Any:
        self.transport.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.transport.__exit__(*exc)


class AsyncTransport(Transport):
    """The async colour."""

    colour = "Async"

    async def handle_async_request(self, request: Any) -> Any:
        begun = self._begin(request, _task)
        if isinstance(begun, Once):
            try:
                response = await begun.transport.handle_async_request(begun.request)
            except GeneratorExit:  # nobody waits any more; perhaps it is the collector that says so
                begun.forgotten()
                raise
            except BaseException as error:
                begun.failed(error)
                raise
            finally:
                begun.left()
            return begun.came(response, self.observed_stream)
        if isinstance(begun, Begun):
            return await self._perform(request, begun)
        return await self.transport.handle_async_request(begun)

    async def _perform(self, request: Any, begun: Begun) -> Any:
        performer = AsyncPerformer(self.library, self.instrumentation, request, begun, self._transport_for)
        try:
            held = performer.deliverable(await arun(performer.routed.plan, performer))
        except GeneratorExit:  # as above
            begun.observer.finish_soon("forgotten")
            raise
        except BaseException as error:
            begun.observer.finish("raised", error)
            if performer.is_unsent_by_a_fault_of_ours(error):
                return await self.transport.handle_async_request(self._unwatched(request))
            raise
        return performer.settle(held, self.observed_stream)

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
