"""The frameworks, what each needs to be installed, what traces it, and what its users have to write."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tracing:
    """A framework's own tracing; it is switched on by the function of the framework's name in `tracing.py`."""

    title: str
    requirement: str = ""
    """What has to be installed for it; empty where it is part of the framework."""


@dataclass(frozen=True, slots=True)
class Framework:
    """One framework; its scenario is the function of the same name in `scenarios.py`."""

    name: str
    requirements: tuple[str, ...]
    lines: str
    """What a user writes beside `instrument()`."""
    tracing: Tracing | None = None
    no_tracing: str = ""
    """Why none of its own is run."""
    no_streams: str = ""
    """Why none is run."""
    most_used: bool = False


_GENAI = Tracing("OpenTelemetry's", "opentelemetry-instrumentation-genai-openai")
_LITELLM = Tracing("its callback `otel`")


def _openinference(name: str) -> Tracing:
    return Tracing("OpenInference", f"openinference-instrumentation-{name}")


FRAMEWORKS = (
    Framework("openai2", ("openai>=2,<3",), "`max_retries=0` leaves the repeating to a policy", _GENAI, most_used=True),
    Framework("openai3", ("openai>=3,<4",), "`max_retries=0` leaves the repeating to a policy", _GENAI, most_used=True),
    Framework("ark", ("byteplus-python-sdk-v2", "sniffio"), "`max_retries=0` with a policy; the extra `ark`", no_tracing="none", most_used=True),
    Framework("anthropic", ("anthropic",), "`messages_base_url` where a target has a private endpoint; its own tracing is on wherever there is a TracerProvider, unless `ANTHROPIC_OPEN_TELEMETRY=false`", Tracing("its own")),
    Framework("langchain", ("langchain-openai",), "`ChatOpenAI(stream_usage=True)` for the usage of streams; `max_retries=0`", _openinference("langchain"), most_used=True),
    Framework("langgraph", ("langgraph", "langchain-openai"), "as LangChain", _openinference("langchain")),
    Framework("llama_index", ("llama-index-llms-openai-like",), '`additional_kwargs={"stream_options": {"include_usage": True}}` for the usage of streams; `max_retries=0`', Tracing("its own", "llama-index-observability-otel")),
    Framework("litellm", ("litellm",), '`stream_options={"include_usage": True}`; `num_retries=0`', _LITELLM, most_used=True),
    Framework("litellm_router", ("litellm",), "as LiteLLM; `Router(num_retries=0)`", _LITELLM),
    Framework("dspy", ("dspy>=3.4",), '`dspy.LM(..., engine="litellm")`', _openinference("dspy"), no_streams="it streams through its programs alone"),
    Framework("instructor", ("instructor", "openai"), "`create_partial(stream_options={\"include_usage\": True})` for the usage of streams; `OpenAI(max_retries=0)` with a policy", _openinference("instructor")),
    Framework("pydantic_ai", ("pydantic-ai-slim[openai]",), "nothing; `AsyncOpenAI(max_retries=0)` with a policy", Tracing("`Agent.instrument_all()`"), most_used=True),
    Framework("openai_agents", ("openai-agents",), "`ModelSettings(include_usage=True)` for the usage of streams; `AsyncOpenAI(max_retries=0)` with a policy", Tracing("its own")),
    Framework("haystack", ("haystack-ai",), '`generation_kwargs={"stream_options": {"include_usage": True}}` for the usage of streams; `max_retries=0`', Tracing("its own", "opentelemetry-haystack")),
    Framework("agno", ("agno", "openai"), "`OpenAILike(max_retries=0)` with a policy", _openinference("agno")),
    Framework("strands", ("strands-agents[openai]",), '`client_args={"max_retries": 0}` with a policy', Tracing("its own")),
    Framework("autogen", ("autogen-agentchat", "autogen-ext[openai]"), '`OpenAIChatCompletionClient(stream_options={"include_usage": True})` for the usage of streams; `max_retries=0` with a policy', Tracing("its own")),
    Framework("veadk", ("veadk-python",), '`model_extra_config={"num_retries": 0}`', Tracing("its own")),
    Framework("smolagents", ("smolagents[openai]",), '`client_kwargs={"max_retries": 0}` with a policy', _openinference("smolagents")),
    Framework("portkey", ("portkey-ai",), "`max_retries=0` and a policy's `retry`; it repeats a 5xx all the same", no_tracing="not run: it needs Portkey's service"),
)  # fmt: skip
