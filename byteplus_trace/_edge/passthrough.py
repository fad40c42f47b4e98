"""
A call that no policy moves: sent once, where its caller addressed it, and watched.

The caller's own request leaves and its own response comes back, unless a setting asks
for more: a trace context put in, usage asked for, HTTP spans of OpenTelemetry's own.
A call to a gateway is left as it is, whatever the settings say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._facts import Sending
from .._wire.usage_filter import strainer
from .library import Library, content_of, failure_of, library_named, wanted_headers
from .rewrite import asks_usage, injected, outgoing, rewritten_body

if TYPE_CHECKING:
    from .._config import Config
    from .instrumentation import Begun, Instrumentation


class Once:
    """One send: what leaves, through which transport, and what becomes of what came."""

    __slots__ = ("_attempt_span", "_observer", "_strains", "_token", "request", "transport")

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
        self._strains = False
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
            self._strains = True
        if begun.stripped or headers or self._strains:
            self.request = outgoing(
                library,
                self.request,
                url=self.request.url,
                body=body,
                stripped=begun.stripped,
                injected=headers,
                plain_encoding=self._strains,
            )

    def left(self) -> None:
        """The send is over, whatever came of it."""
        if self._attempt_span is not None:
            self._attempt_span.detach(self._token)

    def forgotten(self) -> None:
        """Nobody waits any more, and it may be the collector that says so."""
        self._observer.finish_soon("forgotten")

    def failed(self, error: BaseException) -> None:
        """The library raised, or somebody stopped waiting."""
        self._observer.finish("raised", error, failure_of(error)[0])

    def came(self, response: Any, stream: Callable[..., Any]) -> Any:
        """The response to hand on, observed."""
        observer, headers, content = self._observer, wanted_headers(response.headers), content_of(response)
        if content is None:
            observer.replied(response.status_code, headers)
            strained = strainer(headers) if self._strains and response.status_code < 400 else None
            response.stream = stream(response.stream, observer, strained=strained)
        else:
            headers.pop("content-encoding", None)
            observer.replied(response.status_code, headers)
            observer.reads(content)
            observer.exhausted()
        return response
