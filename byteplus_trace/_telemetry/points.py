"""
Which series move when a call has ended, and by how much.

One exchange becomes a list of points, each a row of `_instruments`, its label values in
the row's order and an amount: counters go up by it, histograms observe it. Values are
as the exchange has them; a sink bounds them and adds the metadata labels. What is not
known gives no point, so a series never learns a zero that nobody measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from .._facts import Attempt, Exchange, Outcome, Result, Usage
from .._instruments import (
    ATTEMPT_DURATION,
    ATTEMPTS,
    COST,
    DUPLICATES,
    FALLBACKS,
    FIRST_CHUNK,
    IMAGES,
    OPERATION_DURATION,
    OPERATIONS,
    PER_CHUNK,
    RETRIES,
    SERVER_FALLBACKS,
    SKIPPED,
    STREAM_BREAKS,
    TOKENS,
    Instrument,
)

Point = tuple[Instrument, tuple[str, ...], float]

RESULTS: dict[Outcome, Result] = {
    "ok": "ok",
    "rescued_retry": "ok",
    "rescued_fallback": "ok",
    "error": "error",
    "deadline": "error",
    "cancelled": "cancelled",
    "abandoned": "cancelled",
}

# The label `type` and the count behind it. The rows below the first two are subsets of them.
TOKEN_TYPES: tuple[tuple[str, Callable[[Usage], int | None]], ...] = (
    ("input", lambda usage: usage.input_tokens),
    ("output", lambda usage: usage.output_tokens),
    ("cache_read", lambda usage: usage.cache_read_tokens),
    ("reasoning", lambda usage: usage.reasoning_tokens),
    ("text_input", lambda usage: usage.text_input_tokens),
    ("image_input", lambda usage: usage.image_input_tokens),
    ("audio_input", lambda usage: usage.audio_input_tokens),
)


def points(exchange: Exchange) -> list[Point]:
    """All that one exchange adds to the series."""
    return [
        *_ending(exchange),
        *_stream_times(exchange),
        *_consumption(exchange),
        *_sends(exchange),
        *_moves(exchange),
        *_stream_breaks(exchange),
        *_oddities(exchange),
    ]


def mean_chunk_gap(exchange: Exchange) -> float | None:
    """Seconds between output chunks: of n chunks the n - 1 gaps; None where there is no gap to speak of."""
    first, last = exchange.first_chunk_seconds, exchange.last_chunk_seconds
    if first is None or last is None or exchange.chunks < 2:
        return None
    return (last - first) / (exchange.chunks - 1)


def _ending(exchange: Exchange) -> Iterator[Point]:
    operation, model, region = _who(exchange)
    call, outcome = exchange.call, exchange.outcome
    yield OPERATIONS, (operation, call.api, model, region, outcome, exchange.error_type or ""), 1
    stream = "true" if call.stream else "false"
    yield OPERATION_DURATION, (operation, model, region, stream, RESULTS[outcome]), exchange.duration_seconds


def _stream_times(exchange: Exchange) -> Iterator[Point]:
    if not exchange.call.stream or exchange.first_chunk_seconds is None:
        return
    yield FIRST_CHUNK, _who(exchange), exchange.first_chunk_seconds
    gap = mean_chunk_gap(exchange)
    if gap is not None:
        yield PER_CHUNK, _who(exchange), gap


def _consumption(exchange: Exchange) -> Iterator[Point]:
    operation, model, region = _who(exchange)
    answer = exchange.answer
    # A response that is fetched was counted when it was made.
    if answer.usage is not None and operation != "fetch_response":
        for kind, tokens in _known_tokens(answer.usage):
            yield TOKENS, (operation, model, region, kind), tokens
    if answer.images is not None:
        if answer.images.generated:
            yield IMAGES, (model, region, "generated"), answer.images.generated
        if answer.images.failed:
            yield IMAGES, (model, region, "failed"), answer.images.failed
    if exchange.cost_usd:
        yield COST, (operation, model, region), float(exchange.cost_usd)


def _known_tokens(usage: Usage) -> Iterator[tuple[str, int]]:
    for kind, count in TOKEN_TYPES:
        tokens = count(usage)
        if tokens:
            yield kind, tokens


def _sends(exchange: Exchange) -> Iterator[Point]:
    operation = exchange.call.operation
    for attempt in exchange.attempts:
        place = operation, attempt.target, attempt.region, attempt.result
        yield ATTEMPTS, (*place, attempt.reason), 1
        yield ATTEMPT_DURATION, place, attempt.duration_seconds


def _moves(exchange: Exchange) -> Iterator[Point]:
    operation = exchange.call.operation
    for before, after in pairwise(exchange.attempts):
        if after.cause == "retry":
            yield RETRIES, (operation, after.target, before.reason), 1
        elif after.target != before.target:
            yield FALLBACKS, (operation, before.target, after.target, before.reason, after.result), 1
    for skip in exchange.skipped:
        yield SKIPPED, (skip.target, skip.reason), 1


def _stream_breaks(exchange: Exchange) -> Iterator[Point]:
    """
    Streams that began, with headers that promised success, and failed.

    Only the last attempt can have shown the caller any output: earlier ones were given up for a retry or another target.
    """
    if not exchange.call.stream:
        return
    for attempt in exchange.attempts:
        if attempt.result == "error" and _began(attempt):
            shown = attempt is exchange.attempts[-1] and exchange.chunks > 0
            phase = "after_output" if shown else "before_output"
            yield STREAM_BREAKS, (exchange.call.operation, attempt.target, phase, attempt.reason), 1


def _oddities(exchange: Exchange) -> Iterator[Point]:
    operation, model, region = _who(exchange)
    if exchange.answer.server_fallback is not None:
        yield SERVER_FALLBACKS, (operation, model), 1
    if exchange.duplicate is not None:
        yield DUPLICATES, (operation, exchange.target or region, exchange.duplicate), 1


def _who(exchange: Exchange) -> tuple[str, str, str]:
    call = exchange.call
    return call.operation, call.model or "", exchange.region or call.region


def _began(attempt: Attempt) -> bool:
    return attempt.status is not None and 200 <= attempt.status < 300
