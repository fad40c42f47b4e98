"""
The spellings of usage, read into one.

    prompt_tokens, completion_tokens, *_details            chat, embeddings, tasks
    input_tokens, output_tokens, *_details                 responses
    input_tokens without cache reads, cache_read_...       messages
    generated_images, output_tokens (an area measure)      images

Any part may be absent, null or of another type: a reader's `Shape` takes that for absent.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from .._facts import Images, Usage

# More than a float counts exactly are not tokens. A span could not carry them, and a series would keep them.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None


class Details(msgspec.Struct, gc=False):
    """Parts of a count."""

    cached_tokens: Count = None
    reasoning_tokens: Count = None
    text_tokens: Count = None
    image_tokens: Count = None
    audio_tokens: Count = None


class Counts(msgspec.Struct, gc=False):
    """A field `usage`, in whichever spelling."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    generated_images: Count = None


class BotCounts(msgspec.Struct, gc=False):
    """A field `bot_usage`: what each model counted that a bot called."""

    model_usage: list[Counts] | None = None


_NO_DETAILS = Details()


def usage_of(counts: Counts | None, bot: BotCounts | None = None) -> Usage | None:
    """Tokens, in whichever spelling; None where there are none."""
    if counts is None:
        counts = Counts()
    inputs = counts.prompt_tokens if counts.prompt_tokens is not None else counts.input_tokens
    outputs = counts.completion_tokens if counts.completion_tokens is not None else counts.output_tokens
    asked = counts.prompt_tokens_details or counts.input_tokens_details or _NO_DETAILS
    answered = counts.completion_tokens_details or counts.output_tokens_details or _NO_DETAILS
    cache_read = asked.cached_tokens
    # /messages counts what it reads from and writes to the cache beside its input, the conventions inside of it.
    read, written = counts.cache_read_input_tokens, counts.cache_creation_input_tokens
    if read is not None or written is not None:
        inputs = (inputs or 0) + (read or 0) + (written or 0)
        cache_read = read
    if bot is not None and bot.model_usage:
        # A bot calls several models; its plain usage counts fewer of them, never more.
        inputs = max(inputs or 0, sum(model.prompt_tokens or 0 for model in bot.model_usage))
        outputs = max(outputs or 0, sum(model.completion_tokens or 0 for model in bot.model_usage))
    if inputs is None and outputs is None:
        return None
    return Usage(
        inputs,
        outputs,
        cache_read,
        answered.reasoning_tokens,
        asked.text_tokens,
        asked.image_tokens,
        asked.audio_tokens,
        written,
    )


def images_of(
    counts: Counts | None, *, generated: int, failed: int, missing: int = 0, size: str | None
) -> Images | None:
    """What an image call made, by the service's own count where it has one; None where nothing is known."""
    counted = counts.generated_images if counts is not None else None
    if counted is None and not generated and not failed:
        return None
    return Images(
        # An image that did not arrive is none and costs nothing, whatever the service counts.
        generated=max(counted - missing, generated) if counted is not None and generated else generated,
        failed=failed,
        output_tokens=counts.output_tokens if counts is not None else None,
        size=size,
    )
