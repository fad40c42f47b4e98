"""
Which series move when a call has ended, and by how much.

One exchange becomes a list of points, each a row of `_instruments`, its label values in
the row's order and an amount: counters go up by it, histograms observe it. Values are
as the exchange has them; a sink bounds them and adds the metadata labels. What is not
known gives no point, so a series never gets a zero that nobody measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from msgspec.structs import astuple

from .._facts import Attempt, Exchange, Images, Operation, Outcome, Result
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
    RESCUES,
    RETRIES,
    SERVER_FALLBACKS,
    SKIPPED,
    STREAM_BREAKS,
    TOKENS,
    UNKNOWN,
    UNMEASURED,
    VIDEO_TASKS,
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

# The label `type` of each count of `Usage`, in its order. Those after the first two are subsets of them.
TOKEN_TYPES = (
    "input",
    "output",
    "cache_read",
    "reasoning",
    "text_input",
    "image_input",
    "audio_input",
    "cache_write",
)

# What is charged by the tokens or images of its own reply. A video's tokens arrive with the task, once it succeeded.
CHARGED: frozenset[Operation] = frozenset({"chat", "embeddings", "generate_content"})
UNCHARGED_APIS = frozenset({"video_task_create"})

RESCUED: dict[Outcome, str] = {"rescued_retry": "retry", "rescued_fallback": "fallback"}
IN_TROUBLE = frozenset({"breaker_open", "cooldown"})
"""The skips that say that a target would have failed."""


def points(exchange: Exchange) -> list[Point]:
    """All that one exchange adds to the series."""
    call, answer, outcome = exchange.call, exchange.answer, exchange.outcome
    operation = call.operation
    model, region = call.model or "", exchange.region or call.region
    who = operation, model, region
    # A task is asked for by its id: only the reply names its model.
    charged = (call.model or answer.model or "") if answer.task_id is not None else model
    stream = "true" if call.stream else "false"
    repeat = "true" if call.sdk_retry or exchange.duplicate == "sdk_resend" else "false"
    result = RESULTS[outcome]
    found: list[Point] = [
        (OPERATIONS, (operation, call.api, model, region, outcome, exchange.error_type or "", repeat), 1),
        (OPERATION_DURATION, (operation, model, region, stream, result, repeat), exchange.duration_seconds),
    ]
    # A response that is fetched was counted when it was made.
    if answer.usage is not None and operation != "fetch_response":
        for kind, tokens in zip(TOKEN_TYPES, astuple(answer.usage), strict=True):
            if tokens:
                found.append((TOKENS, (operation, charged, region, kind), tokens))
    if answer.images is not None:
        found += _images(answer.images, model, region)
    if exchange.cost_usd:
        found.append((COST, (operation, charged, region), float(exchange.cost_usd)))
    if result != "error" and (exchange.cost_usd is None or answer.usage is None) and _is_charged(exchange):
        found += _unmeasured(exchange, charged)
    if exchange.task_ended is not None:
        found.append((VIDEO_TASKS, (charged, region, exchange.task_ended), 1))
    for attempt in exchange.attempts:
        target, sent_to, ended = attempt.target, attempt.region, attempt.result
        found.append((ATTEMPTS, (operation, model, target, sent_to, ended, attempt.reason), 1))
        found.append((ATTEMPT_DURATION, (operation, target, sent_to, ended), attempt.duration_seconds))
    if call.stream:
        found += _stream_times(exchange, who)
        found += _stream_breaks(exchange)
    if len(exchange.attempts) > 1 or exchange.skipped:
        found += _moves(exchange)
    if exchange.unknown or exchange.duplicate is not None or answer.server_fallback is not None:
        found += _rare(exchange, model, region)
    return found


def mean_chunk_gap(exchange: Exchange) -> float | None:
    """Seconds between output chunks: of n chunks the n - 1 gaps; None where there is no gap to speak of."""
    first, last = exchange.first_chunk_seconds, exchange.last_chunk_seconds
    if first is None or last is None or exchange.chunks < 2:
        return None
    return (last - first) / (exchange.chunks - 1)


def _rare(exchange: Exchange, model: str, region: str) -> Iterator[Point]:
    operation = exchange.call.operation
    if exchange.answer.server_fallback is not None:
        yield SERVER_FALLBACKS, (operation, model), 1
    for what_and_name in exchange.unknown:
        yield UNKNOWN, what_and_name, 1
    if exchange.duplicate is not None:
        yield DUPLICATES, (operation, exchange.target or region, exchange.duplicate), 1


def _stream_times(exchange: Exchange, who: tuple[str, str, str]) -> Iterator[Point]:
    if exchange.first_chunk_seconds is None:
        return
    yield FIRST_CHUNK, who, exchange.first_chunk_seconds
    gap = mean_chunk_gap(exchange)
    if gap is not None:
        yield PER_CHUNK, who, gap


def _images(images: Images, model: str, region: str) -> Iterator[Point]:
    if images.generated:
        yield IMAGES, (model, region, "generated"), images.generated
    if images.failed:
        yield IMAGES, (model, region, "failed"), images.failed


def _is_charged(exchange: Exchange) -> bool:
    if exchange.task_ended is not None:
        return exchange.task_ended == "succeeded"
    call = exchange.call
    return call.operation in CHARGED and call.api not in UNCHARGED_APIS


def _unmeasured(exchange: Exchange, model: str) -> Iterator[Point]:
    operation, answer = exchange.call.operation, exchange.answer
    if answer.usage is None and answer.images is None:
        yield UNMEASURED, ("usage", model, operation), 1
    if exchange.cost_usd is None:
        yield UNMEASURED, ("price", model, operation), 1


def _moves(exchange: Exchange) -> Iterator[Point]:
    operation, model = exchange.call.operation, exchange.call.model or ""
    for before, after in pairwise(exchange.attempts):
        if after.cause == "retry":
            yield RETRIES, (operation, after.target, before.reason), 1
        elif after.target != before.target:
            yield FALLBACKS, (operation, model, before.target, after.target, before.reason, after.result), 1
    for skip in exchange.skipped:
        yield SKIPPED, (operation, skip.target, skip.reason), 1
    if exchange.outcome in RESCUED:
        yield RESCUES, (operation, exchange.attempts[0].region, RESCUED[exchange.outcome]), 1
    elif exchange.outcome == "ok":
        avoided = next((skip for skip in exchange.skipped if skip.reason in IN_TROUBLE), None)
        if avoided is not None:
            yield RESCUES, (operation, avoided.region, "breaker"), 1


def _stream_breaks(exchange: Exchange) -> Iterator[Point]:
    """
    Streams that began, with headers that promised success, and failed.

    Only the last attempt can have shown the caller any output: earlier ones were abandoned for a retry or another target.
    """
    for attempt in exchange.attempts:
        if attempt.result == "error" and _began(attempt):
            shown = attempt is exchange.attempts[-1] and exchange.chunks > 0
            phase = "after_output" if shown else "before_output"
            yield STREAM_BREAKS, (exchange.call.operation, attempt.target, phase, attempt.reason), 1


def _began(attempt: Attempt) -> bool:
    return attempt.status is not None and 200 <= attempt.status < 300
