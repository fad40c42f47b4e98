"""The frameworks, what each needs to be installed, and what its users have to write."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Framework:
    """One framework; its scenario is the function of the same name in `scenarios.py`."""

    name: str
    requirements: tuple[str, ...]
    lines: str
    """What a user writes beside `instrument()`."""
    most_used: bool = False


FRAMEWORKS = (
    Framework("openai2", ("openai>=2,<3",), "`max_retries=0` leaves the repeating to a policy", most_used=True),
    Framework("openai3", ("openai>=3,<4",), "`max_retries=0` leaves the repeating to a policy", most_used=True),
    Framework("ark", ("byteplus-python-sdk-v2", "sniffio"), "`max_retries=0` with a policy; the extra `ark`", most_used=True),
    Framework("langchain", ("langchain-openai",), "`ChatOpenAI(stream_usage=True)` for the usage of streams; `max_retries=0`", most_used=True),
    Framework("litellm", ("litellm",), '`stream_options={"include_usage": True}`; `num_retries=0`, of the Router too', most_used=True),
    Framework("pydantic_ai", ("pydantic-ai-slim[openai]",), "nothing; `AsyncOpenAI(max_retries=0)` with a policy", most_used=True),
    Framework("litellm_router", ("litellm",), "`Router(num_retries=0)`"),
    Framework("llama_index", ("llama-index-llms-openai-like",), '`max_retries=0`; `additional_kwargs={"stream_options": {"include_usage": True}}`'),
    Framework("portkey", ("portkey-ai",), "`max_retries=0` and a policy's `retry`; it repeats a 5xx all the same"),
    Framework("dspy", ("dspy>=3.4",), '`dspy.LM(..., engine="litellm")`'),
    Framework("anthropic", ("anthropic",), "`messages_base_url` where a target has a private endpoint"),
)  # fmt: skip
