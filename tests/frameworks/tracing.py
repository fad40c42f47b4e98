"""
Each framework's own tracing, switched on in the framework's environment.

A function has the name of its framework. What the framework records are OpenTelemetry spans, of the process's
TracerProvider; those of openai-agents are its own, and are read from its own processor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

OURS = "byteplus_trace"
APPLICATION = "application"
INFERENCE = {"chat", "text_completion", "generate_content", "embeddings"}
INPUT = ("gen_ai.usage.input_tokens", "llm.token_count.prompt")
OUTPUT = ("gen_ai.usage.output_tokens", "llm.token_count.completion")


@dataclass(frozen=True, order=True)
class Seen:
    """What a span of a framework says."""

    name: str
    parent: str
    input_tokens: int
    output_tokens: int
    is_model_call: bool


exporter = InMemorySpanExporter()
"""All spans of the process, ours too."""


def provide() -> None:
    """Set the process's TracerProvider."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def theirs(spans: list[ReadableSpan]) -> list[Seen]:
    """Of all spans those of the framework, by what they say and not by when they were."""
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    return sorted(
        Seen(
            span.name,
            names.get(span.parent.span_id, "") if span.parent else "",
            _first(span, INPUT),
            _first(span, OUTPUT),
            is_model_call(span),
        )
        for span in spans
        if span.instrumentation_scope is not None
        and span.instrumentation_scope.name not in {OURS, APPLICATION}
    )


def is_model_call(span: ReadableSpan) -> bool:
    """Whether it says that it is one, by OpenTelemetry's conventions or by OpenInference's."""
    attributes = span.attributes or {}
    return (
        attributes.get("gen_ai.operation.name") in INFERENCE
        or attributes.get("openinference.span.kind") == "LLM"
    )


def _first(span: ReadableSpan, names: tuple[str, ...]) -> int:
    return next((int(value) for name in names if (value := (span.attributes or {}).get(name))), 0)  # type: ignore[arg-type]


@contextmanager
def _instrumentor(module: str, name: str) -> Iterator[None]:
    instrumentor = getattr(import_module(module), name)()
    instrumentor.instrument(tracer_provider=trace.get_tracer_provider())
    try:
        yield
    finally:
        instrumentor.uninstrument()


def openai2() -> Any:
    return _instrumentor("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor")


openai3 = openai2


os.environ["ANTHROPIC_OPEN_TELEMETRY"] = "false"  # it is on wherever there is a TracerProvider


@contextmanager
def anthropic() -> Iterator[None]:
    del os.environ["ANTHROPIC_OPEN_TELEMETRY"]
    yield


def langchain() -> Any:
    return _instrumentor("openinference.instrumentation.langchain", "LangChainInstrumentor")


langgraph = langchain


@contextmanager
def llama_index() -> Iterator[None]:
    from llama_index.observability.otel import LlamaIndexOpenTelemetry

    # It adds an exporter to the provider, which has ours.
    LlamaIndexOpenTelemetry(
        tracer_provider=trace.get_tracer_provider(), span_exporter=InMemorySpanExporter()
    ).start_registering()
    yield


@contextmanager
def litellm() -> Iterator[None]:
    import litellm as library

    library.callbacks = ["otel"]
    yield


litellm_router = litellm


def dspy() -> Any:
    return _instrumentor("openinference.instrumentation.dspy", "DSPyInstrumentor")


def instructor() -> Any:
    return _instrumentor("openinference.instrumentation.instructor", "InstructorInstrumentor")


@contextmanager
def pydantic_ai() -> Iterator[None]:
    from pydantic_ai import Agent

    Agent.instrument_all(True)
    try:
        yield
    finally:
        Agent.instrument_all(False)


@contextmanager
def haystack() -> Iterator[None]:
    from haystack import tracing
    from haystack_integrations.tracing.opentelemetry import OpenTelemetryTracer

    tracing.enable_tracing(OpenTelemetryTracer(trace.get_tracer("haystack")))
    try:
        yield
    finally:
        tracing.disable_tracing()


@contextmanager
def openai_agents() -> Iterator[None]:
    """Its spans are its own: each is made one of OpenTelemetry's here, to be compared as the others are."""
    import agents

    class Copies(agents.TracingProcessor):
        def __init__(self) -> None:
            self.in_flight: dict[str, trace.Span] = {}

        def on_trace_start(self, run: Any) -> None:
            pass

        def on_trace_end(self, run: Any) -> None:
            pass

        def on_span_start(self, span: Any) -> None:
            parent = self.in_flight.get(span.parent_id)
            context = trace.set_span_in_context(parent) if parent is not None else None
            self.in_flight[span.span_id] = trace.get_tracer("openai-agents").start_span(
                span.span_data.type, context
            )

        def on_span_end(self, span: Any) -> None:
            copy = self.in_flight.pop(span.span_id)
            if span.span_data.type == "generation":
                copy.set_attribute("gen_ai.operation.name", "chat")
                for name, tokens in (span.span_data.usage or {}).items():
                    if name in {"input_tokens", "output_tokens"}:
                        copy.set_attribute(f"gen_ai.usage.{name}", tokens)
            copy.end()

        def shutdown(self) -> None:
            pass

        def force_flush(self) -> None:
            pass

    agents.set_trace_processors([Copies()])
    agents.set_tracing_disabled(False)
    yield


@contextmanager
def strands() -> Iterator[None]:
    """Always on: without a provider that keeps spans it writes into nothing."""
    yield


autogen = strands
veadk = strands


def agno() -> Any:
    return _instrumentor("openinference.instrumentation.agno", "AgnoInstrumentor")


def smolagents() -> Any:
    return _instrumentor("openinference.instrumentation.smolagents", "SmolagentsInstrumentor")
