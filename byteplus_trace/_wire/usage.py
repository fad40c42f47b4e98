"""
The spellings of usage, read into one.

    prompt_tokens, completion_tokens, *_details            chat, embeddings, tasks
    input_tokens, output_tokens, *_details                 responses
    input_tokens without cache reads, cache_read_...       messages
    generated_images, output_tokens (an area measure)      images

Any part may be absent, null or of another type.
"""

from __future__ import annotations

from typing import Any

from .._facts import Images, Usage


def usage_of(given: Any, bot_usage: Any = None) -> Usage | None:
    """Tokens, in whichever spelling; None where there are none."""
    usage = given if isinstance(given, dict) else {}
    inputs = _count(usage, "prompt_tokens", "input_tokens")
    outputs = _count(usage, "completion_tokens", "output_tokens")
    asked = _details(usage, "prompt_tokens_details", "input_tokens_details")
    answered = _details(usage, "completion_tokens_details", "output_tokens_details")
    cache_read = _count(asked, "cached_tokens") if asked else None
    # /messages counts what it reads from and writes to the cache beside its input, the conventions inside of it.
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        read = _count(usage, "cache_read_input_tokens")
        written = _count(usage, "cache_creation_input_tokens")
        if read is not None or written is not None:
            inputs = (inputs or 0) + (read or 0) + (written or 0)
            cache_read = read
    if bot_usage is not None:
        inputs, outputs = _of_bot(bot_usage, inputs, outputs)
    if inputs is None and outputs is None:
        return None
    return Usage(
        input_tokens=inputs,
        output_tokens=outputs,
        cache_read_tokens=cache_read,
        reasoning_tokens=_count(answered, "reasoning_tokens") if answered else None,
        text_input_tokens=_count(asked, "text_tokens") if asked else None,
        image_input_tokens=_count(asked, "image_tokens") if asked else None,
        audio_input_tokens=_count(asked, "audio_tokens") if asked else None,
    )


def images_of(given: Any, *, generated: int, failed: int, size: str | None) -> Images | None:
    """What an image call made: by the service's own count where it says one; None where nothing was said."""
    usage = given if isinstance(given, dict) else {}
    counted = _count(usage, "generated_images")
    if counted is None and not generated and not failed:
        return None
    return Images(
        generated=generated if counted is None else counted,
        failed=failed,
        output_tokens=_count(usage, "output_tokens"),
        size=size,
    )


def _of_bot(bot_usage: Any, inputs: int | None, outputs: int | None) -> tuple[int | None, int | None]:
    """A bot calls several models; its plain usage counts fewer of them, never more."""
    models = bot_usage.get("model_usage") if isinstance(bot_usage, dict) else None
    called = [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []
    if not called:
        return inputs, outputs
    return (
        max(inputs or 0, sum(_count(model, "prompt_tokens") or 0 for model in called)),
        max(outputs or 0, sum(_count(model, "completion_tokens") or 0 for model in called)),
    )


def _count(given: dict[str, Any], name: str, other: str | None = None) -> int | None:
    value = given.get(name)
    if type(value) is int and value >= 0:  # not a bool
        return value
    return _count(given, other) if other is not None else None


def _details(given: dict[str, Any], name: str, other: str) -> dict[str, Any] | None:
    value = given.get(name)
    if not isinstance(value, dict):
        value = given.get(other)
    return value if isinstance(value, dict) else None
