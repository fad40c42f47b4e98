"""
Attempt spans by opentelemetry-instrumentation-httpx, where `http_spans="otel"` asks for it.

Its instrumentor may have wrapped the transport already; else its transport is put around
the one that sends.
"""

from __future__ import annotations

from typing import Any

import wrapt
from opentelemetry.trace import TracerProvider

_METHODS = {"Sync": "handle_request", "Async": "handle_async_request"}
_SUFFIXES = {"httpx": "", "httpx2": "Httpx2"}


def told_by_otel(transport: Any, library: str, colour: str, provider: TracerProvider | None) -> Any:
    """The transport as OpenTelemetry tells of it; itself where it is told already, or no twin for the library exists."""
    import opentelemetry.instrumentation.httpx as otel

    kind = getattr(otel, f"{colour}OpenTelemetryTransport{_SUFFIXES[library]}", None)
    told_already = isinstance(
        getattr(transport, _METHODS[colour]), (wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper)
    )
    if kind is None or told_already or isinstance(transport, kind):
        return transport
    return kind(transport, tracer_provider=provider)
