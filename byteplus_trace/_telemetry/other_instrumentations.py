"""
Other instrumentations in this process, and how ours shares the work with them.

A GenAI span of another library around a call: two would be two model calls to whoever
counts them, so ours is not opened, and what only we know goes onto theirs.

Attempt spans made by opentelemetry-instrumentation-httpx, where `http_spans="otel"` asks for it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import msgspec
import wrapt
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.trace import Span, TracerProvider

from . import semconv as sc
from .attributes import Attributes
from .guard import fault

# Where opentelemetry-util-genai keeps the invocation under way (1.3b0, 2026-11).
_OUTER_GENAI = tuple(
    f"opentelemetry.genai.client.{kind}.context" for kind in ("inference", "embedding", "fetch_response")
)
# Where OpenLLMetry's framework instrumentations say that the model call already has a span; that span
# need not be the current one (its LangChain instrumentation, 0.62, has detached it).
_OUTER_LANGUAGE_MODEL = "suppress_language_model_instrumentation"
_INFERENCE = frozenset({"chat", "text_completion", "generate_content", "embeddings"})


@dataclass(frozen=True, slots=True)
class OuterSpan:
    """The GenAI span of another instrumentation, around this call."""

    span: Span
    invocation: Any

    def annotate(self, attributes: Attributes) -> None:
        own = getattr(self.invocation, "attributes", None)
        if isinstance(own, MutableMapping):
            own.update(attributes)
        elif self.span.is_recording():
            self.span.set_attributes(attributes)


def outer_genai_span(context: Context) -> OuterSpan | None:
    for key in _OUTER_GENAI:
        invocation = context.get(key)
        if invocation is not None:
            return OuterSpan(trace.get_current_span(context), invocation)
    if context.get(_OUTER_LANGUAGE_MODEL):
        span = trace.get_current_span(context)
        if (getattr(span, "attributes", None) or {}).get(sc.OPERATION_NAME) in _INFERENCE:
            return OuterSpan(span, None)
    return None


_METHODS = {"Sync": "handle_request", "Async": "handle_async_request"}
_SUFFIXES = {"httpx": "", "httpx2": "Httpx2"}
_HOOKS = {"Sync": "request_hook", "Async": "async_request_hook"}


@cache
def _kind_of(library: str, colour: str) -> Any:
    """OpenTelemetry's class of transport; None where this version has none."""
    import opentelemetry.instrumentation.httpx as otel

    return getattr(otel, f"{colour}OpenTelemetryTransport{_SUFFIXES[library]}", None)


class HttpSpans:
    """
    Transports in OpenTelemetry's instrumentation: one span a send, without the query.

    Where its instrumentor has wrapped a transport, it is that which opens the span, with its own
    settings. What it has wrapped further in, below a cache or a retrying transport, is silent
    meanwhile: it would be a second span for one send.

    Making one of OpenTelemetry's transports takes 3.5% of a call of the SDK's, so each is made once,
    and forgotten with the transport in it. Where threads make the same one at once, either stays:
    they are alike.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        # By identity, for two transports may be equal and lead to two places.
        self._made: dict[tuple[int, Any], _Made] = {}

    def around(self, transport: Any, library: str, colour: str, provider: TracerProvider | None) -> Any:
        """A transport that sends through this one, and makes spans with that provider."""
        kind = _kind_of(library, colour)
        if kind is None or isinstance(transport, kind):
            return transport
        wrapped = getattr(transport, _METHODS[colour])
        instrumentor = _instrumentor_of(wrapped)
        if instrumentor is not None:
            hook_name = _HOOKS[colour]
            hook = instrumentor.keywords.get(hook_name)
            watched = partial(
                instrumentor.func,
                _noting(wrapped.__wrapped__, colour, nullcontext),
                transport,
                **{**instrumentor.keywords, hook_name: _hook(colour, hook)},
            )
            sends = _surviving(lambda request: watched((request,), {}), wrapped.__wrapped__, colour)
            return _Sender(sends, colour)
        made = self._remembered(kind, transport, colour, provider)
        return _Sender(_surviving(getattr(made, _METHODS[colour]), wrapped, colour), colour, transport)

    def _remembered(self, kind: Any, transport: Any, colour: str, provider: TracerProvider | None) -> Any:
        """OpenTelemetry's transport around this one, made where there is none yet."""
        key, all_made = (id(transport), kind), self._made
        made = all_made.get(key)
        if made is not None and made.inner() is transport and made.provider is provider:
            return made.transport

        def forget(_dead: object) -> None:
            all_made.pop(key, None)

        try:
            inner = weakref.ref(transport, forget)
        except TypeError:  # not weakly referenceable, so it could never be forgotten
            return _instrumented(kind, lambda: transport, colour, provider)
        made = all_made[key] = _Made(inner, provider, _instrumented(kind, inner, colour, provider))
        return made.transport


@dataclass(frozen=True, slots=True)
class _Made:
    inner: Callable[[], Any]
    """The transport in it, which it does not keep alive."""
    provider: TracerProvider | None
    transport: Any


def _instrumented(kind: Any, inner: Callable[[], Any], colour: str, provider: TracerProvider | None) -> Any:
    return kind(
        _Sender(_silently(inner, colour), colour), tracer_provider=provider, request_hook=_hook(colour, None)
    )


class _Sender:
    """A transport that only sends, in one colour. It keeps alive what only a weak reference in `send` leads to."""

    def __init__(self, send: Callable[[Any], Any], colour: str, kept_alive: object = None) -> None:
        setattr(self, _METHODS[colour], send)
        self._kept_alive = kept_alive


def _instrumentor_of(method: Any) -> partial[Any] | None:
    """OpenTelemetry's own wrapper of a method; None where there is none, or somebody else's."""
    if not isinstance(method, (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper)):
        return None
    wrapper = getattr(method, "_self_wrapper", None)
    is_otels = isinstance(wrapper, partial) and getattr(wrapper.func, "__module__", "").startswith(
        "opentelemetry.instrumentation.httpx"
    )
    return wrapper if is_otels else None


class _Sent(msgspec.Struct):
    """What came of one send, inside of OpenTelemetry's instrumentation."""

    began: bool = False
    response: Any = None
    error: BaseException | None = None


_sent: ContextVar[_Sent] = ContextVar("byteplus_trace_sent")


def _noting(
    send: Callable[[Any], Any], colour: str, within: Callable[[], AbstractContextManager[Any]]
) -> Callable[[Any], Any]:
    """Send, and note in `_sent` what came of it."""

    def sync(request: Any) -> Any:
        sent = _sent.get()
        with within():
            sent.began = True
            try:
                sent.response = send(request)
            except BaseException as error:
                sent.error = error
                raise
        return sent.response

    async def awaited(request: Any) -> Any:
        sent = _sent.get()
        with within():
            sent.began = True
            try:
                sent.response = await send(request)
            except BaseException as error:
                sent.error = error
                raise
        return sent.response

    return sync if colour == "Sync" else awaited


def _silently(transport: Callable[[], Any], colour: str) -> Callable[[Any], Any]:
    if colour == "Sync":
        return _noting(
            lambda request: transport().handle_request(request), colour, suppress_http_instrumentation
        )
    return _noting(
        lambda request: transport().handle_async_request(request), colour, suppress_http_instrumentation
    )


def _surviving(
    watched: Callable[[Any], Any], plain: Callable[[Any], Any], colour: str
) -> Callable[[Any], Any]:
    """
    Send through OpenTelemetry's instrumentation. Where that fails, what the send brought is what counts.

    It lets through what a sampler, a processor or a hook raises, also after the server has answered.
    """

    def sync(request: Any) -> Any:
        sent = _Sent()
        token = _sent.set(sent)
        try:
            return watched(request)
        except Exception as error:
            _note_failure(sent, error)
        finally:
            _leave(token, sent)
        return sent.response if sent.began else plain(request)

    async def awaited(request: Any) -> Any:
        sent = _Sent()
        token = _sent.set(sent)
        try:
            return await watched(request)
        except Exception as error:
            _note_failure(sent, error)
        finally:
            _leave(token, sent)
        return sent.response if sent.began else await plain(request)

    return sync if colour == "Sync" else awaited


def _note_failure(sent: _Sent, error: Exception) -> None:
    """Count a failure that is not the send's own. Raises that one."""
    if error is not sent.error:
        fault("asking OpenTelemetry for HTTP spans", error)
    if sent.error is not None:
        raise sent.error


def _leave(token: Token[_Sent], sent: _Sent) -> None:
    sent.error = None  # its traceback leads here
    with suppress(ValueError):  # a coroutine stopped from another context
        _sent.reset(token)


def _hook(colour: str, then: Callable[[Span, Any], Any] | None) -> Callable[[Span, Any], Any]:
    """A request hook that takes the query off the URL, and then calls the application's own."""

    def plain(span: Span, request: Any) -> None:
        for name in (sc.URL_FULL, "http.url"):  # the newer name, and the one before
            recorded = (getattr(span, "attributes", None) or {}).get(name)
            if isinstance(recorded, str):
                span.set_attribute(name, recorded.partition("?")[0])
        if then is not None and colour == "Sync":
            then(span, request)

    async def awaited(span: Span, request: Any) -> None:
        plain(span, request)
        if then is not None:
            await then(span, request)

    return plain if colour == "Sync" else awaited
