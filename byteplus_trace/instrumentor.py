"""The OpenTelemetry entry point, for `opentelemetry-instrument python app.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# Not in that module's __all__, and nowhere else.
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from . import uninstrument
from ._config import NAMES
from ._edge.lifecycle import switch_on


class ModelArkInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped base
    """
    `byteplus_trace.instrument()` in OpenTelemetry's manner.

    `ModelArkInstrumentor().instrument(tracer_provider=..., **settings)` takes the
    settings of `byteplus_trace.instrument()`. With none, as `opentelemetry-instrument`
    calls it, it gives way to a call of `byteplus_trace.instrument()` that has some.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """What `opentelemetry-instrument` looks for before it instruments; httpx2 is not required."""
        return ("httpx >= 0.27, < 1",)

    def _instrument(self, **kwargs: Any) -> None:
        settings = {name: value for name, value in kwargs.items() if name in NAMES and value is not None}
        switch_on(settings, automatic=not settings)

    def _uninstrument(self, **kwargs: Any) -> None:
        uninstrument()
