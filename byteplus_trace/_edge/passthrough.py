"""
A call that no policy moves: sent once, where its caller addressed it, and observed.

The caller's own request goes out and its own response comes back, unless a setting asks
for more: a trace context put in, usage asked for, HTTP spans of OpenTelemetry's own.
A call to a gateway is never changed, whatever the settings say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._call_end import End
from .._facts import Sending
from .._telemetry.guard import fault
from .library import Library, failure_of, library_named
from .received import Received
from .rewrite import asks_usage, injected, outgoing, rewritten_body

if TYPE_CHECKING:
    from .._config import Config
    from .instrumentation import Begun, Instrumentation


class SingleSend:
    """One send: the request that goes out, the transport that sends it, and the reply's way to the caller."""

    __slots__ = ("_attempt_span", "_filters_usage", "_observer", "_token", "request", "transport")

    def __init__(
        self,
        begun: Begun,
        request: Any,
        transport: Any,
        instrumentation: Instrumentation,
        library_name: str,
        colour: str,
    ) -> None:
        call = begun.call
        self._observer = begun.observer
        self._filters_usage = False
        self.request = request
        self.transport = transport
        sending = Sending(1, call.region, call.region, call.host, call.port, call.url)
        self._attempt_span = span = begun.observer.sends(sending)
        if begun.stripped or instrumentation.alters:
            self._alter(begun, instrumentation, library_name, colour)
        # Last, so that what failed before leaves nothing attached.
        self._token = span.attach() if span is not None else None

    def _alter(self, begun: Begun, instrumentation: Instrumentation, library_name: str, colour: str) -> None:
        if not begun.behind_gateway:
            self._rewrite(begun, instrumentation.config, library_named(library_name))
        self.transport = instrumentation.sending(self.transport, library_name, colour)

    def _rewrite(self, begun: Begun, config: Config, library: Library) -> None:
        headers = injected(self._attempt_span) if config.propagate else {}
        body = None
        if begun.body is not None and asks_usage(config, begun.call):
            body = rewritten_body(begun.body, {}, include_usage=True)
            self._filters_usage = True
        if begun.stripped or headers or self._filters_usage:
            self.request = outgoing(
                library,
                self.request,
                url=self.request.url,
                body=body,
                stripped=begun.stripped,
                injected=headers,
                plain_encoding=self._filters_usage,
            )

    def sent(self) -> None:
        """The send is over, whether it brought a reply or an exception."""
        if self._attempt_span is not None:
            self._attempt_span.detach(self._token)

    def forgotten(self) -> None:
        """Nobody waits any more. This may be called by the garbage collector."""
        self._observer.finish_soon("forgotten")

    def raised(self, error: BaseException) -> None:
        """The library raised, or the caller stopped waiting."""
        try:
            self._observer.finish(End("raised", error, failure_of(error)[0]))
        except Exception as own:
            fault("finishing", own)

    def delivered(self, response: Any, stream: Callable[..., Any]) -> Any:
        """The response for the caller, observed; as it is where that fails."""
        try:
            return Received(response, self._observer).delivered(stream, filters_usage=self._filters_usage)
        except Exception as error:
            fault("taking a reply", error)
            self._observer.finish(End("closed"))
            return response
