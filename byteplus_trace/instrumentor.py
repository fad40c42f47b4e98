"""The OpenTelemetry entry point, for `opentelemetry-instrument python app.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# Not in that module's __all__, and nowhere else.
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from . import instrument, uninstrument
from ._config import NAMES


class ModelArkInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped base
    """
    `byteplus_trace.instrument()` in OpenTelemetry's manner.

    `ModelArkInstrumentor().instrument(tracer_provider=..., **settings)` takes the
    settings of `byteplus_trace.instrument()`.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        return ("httpx >= 0.27, < 1",)

    def _instrument(self, **kwargs: Any) -> None:
        instrument(**{name: value for name, value in kwargs.items() if name in NAMES})

    def _uninstrument(self, **kwargs: Any) -> None:
        uninstrument()
