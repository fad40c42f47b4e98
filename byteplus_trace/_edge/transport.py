"""
The two colours of transport, for whichever HTTP library.

`_httpx.py` and `httpx2.py` add the nominal base classes and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .._telemetry.guard import guard
from .._telemetry.recorder import is_silent
from .drive import Begun, arun, run
from .instrumentation import Instrumentation
from .library import Library, library_named
from .performers import AsyncPerformer, SyncPerformer


class Transport:
    """
    A transport that observes ModelArk calls, and routes them where a policy says so.

    Args:
        transport: the transport that really sends; the library's own by default.
        settings: as of `byteplus_trace.instrument()`. With none, the settings of
            `instrument()` apply, or its defaults where it was never called.
    """

    library_name: str
    transport: Any

    def _settle(self, settings: dict[str, Any]) -> None:
        self._own = Instrumentation.build(settings) if settings else None
        self._transport_for: Callable[[Any], Any] = lambda _url: self.transport

    @classmethod
    def around(
        cls, transport: Any, instrumentation: Instrumentation, transport_for: Callable[[Any], Any]
    ) -> Any:
        """Ours around the transport that a client found for a URL."""
        ours = cls.__new__(cls)
        ours.transport = transport
        ours._own = instrumentation
        ours._transport_for = transport_for
        return ours

    @property
    def instrumentation(self) -> Instrumentation:
        return self._own or Instrumentation.current()

    @property
    def _library(self) -> Library:
        return library_named(self.library_name)

    def _begin(self, request: Any, caller: Callable[[], object]) -> Begun | None:
        """The call that this request is; None where it is to pass as it is."""
        with guard("recognising the call"):
            return self.instrumentation.begin(request, is_silent(), caller)
        return None


class SyncTransport(Transport):
    """The sync colour."""

    def handle_request(self, request: Any) -> Any:
        begun = self._begin(request, threading.get_ident)
        if begun is None:
            return self.transport.handle_request(request)
        performer = SyncPerformer(self._library, self.instrumentation, request, begun, self._transport_for)
        try:
            held = performer.deliverable(run(begun.plan, performer))
        except BaseException as error:
            begun.observer.finish("raised", error)
            if performer.is_unsent_by_a_fault_of_ours(error):
                return self.transport.handle_request(request)
            raise
        return performer.settle(held, self._library.observed_stream)

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Any:
        self.transport.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.transport.__exit__(*exc)


class AsyncTransport(Transport):
    """The async colour."""

    async def handle_async_request(self, request: Any) -> Any:
        begun = self._begin(request, _task)
        if begun is None:
            return await self.transport.handle_async_request(request)
        performer = AsyncPerformer(self._library, self.instrumentation, request, begun, self._transport_for)
        try:
            held = performer.deliverable(await arun(begun.plan, performer))
        except GeneratorExit:  # nobody waits any more; perhaps it is the collector that says so
            begun.observer.later("forgotten")
            raise
        except BaseException as error:
            begun.observer.finish("raised", error)
            if performer.is_unsent_by_a_fault_of_ours(error):
                return await self.transport.handle_async_request(request)
            raise
        return performer.settle(held, self._library.async_observed_stream)

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
