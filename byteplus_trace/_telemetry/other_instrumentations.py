"""
Other instrumentations in this process, and how ours shares the work with them.

A GenAI span of another library around a call: two would be two model calls to whoever
counts them, so ours is not opened, and what only we know goes onto theirs.

Attempt spans made by opentelemetry-instrumentation-httpx, where `http_spans="otel"` asks for it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import wrapt
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, TracerProvider

from . import semconv as sc
from .attributes import Attributes

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


def instrumented_by_otel(transport: Any, library: str, colour: str, provider: TracerProvider | None) -> Any:
    """Wrap the transport in OpenTelemetry's instrumentation; unchanged if already wrapped or not supported."""
    import opentelemetry.instrumentation.httpx as otel

    kind = getattr(otel, f"{colour}OpenTelemetryTransport{_SUFFIXES[library]}", None)
    is_wrapped = isinstance(
        getattr(transport, _METHODS[colour]), (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper)
    )
    if kind is None or is_wrapped or isinstance(transport, kind):
        return transport
    return kind(transport, tracer_provider=provider)
