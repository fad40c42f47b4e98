"""
The series that stand at 0 before anything moves them.

A rate sees a counter move only from one scrape to the next, so the first fallback of the
day would be invisible where its series appears with the value 1. What does not depend on a
call starts with the process; everything else when a model is first called, before that call
ends, because only then is it known what can be met (the tables below).

An error type cannot be known before it is met, so failed operations do not start at 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, permutations, product
from typing import NamedTuple, get_args

from .._facts import Call, Duplicate, Operation, Reason, SkipReason
from .._instruments import (
    ATTEMPT_DURATION,
    ATTEMPTS,
    BREAKER,
    BREAKER_OPENINGS,
    BUILD_INFO,
    COST,
    DUPLICATES,
    FALLBACKS,
    FIRST_CHUNK,
    HEALTH_STORE_ERRORS,
    HEALTH_STORE_UP,
    IMAGES,
    IN_FLIGHT,
    INSTRUMENTED,
    OLDEST,
    OPERATION_DURATION,
    OPERATIONS,
    PER_CHUNK,
    RESCUES,
    RETRIES,
    SERVER_FALLBACKS,
    SKIPPED,
    START_TIME,
    STREAM_BREAKS,
    TELEMETRY_ERRORS,
    TOKENS,
    UNKNOWN,
    UNMEASURED,
    VIDEO_TASKS,
    Instrument,
)
from .guard import PLACES
from .points import CHARGED, UNCHARGED_APIS

Start = tuple[Instrument, tuple[str, ...]]

EVERY_OPERATION: tuple[Operation, ...] = get_args(Operation)
# A response that is fetched is asked for where it was made, and nowhere else.
MOVING: tuple[Operation, ...] = ("chat", "embeddings", "generate_content", "other")
# Anthropic's form has breakers of its own.
BREAKERS = (*EVERY_OPERATION, "messages")

# Reasons, by what they can lead to; `bad_request` is a 409 there.
RETRIED: tuple[Reason, ...] = (
    "timeout",
    "reset",
    "rate_limit",
    "overloaded",
    "server_error",
    "bad_request",
    "stream_error",
    "empty",
)
MOVED: tuple[Reason, ...] = (*RETRIED, "connect", "quota", "auth", "model_unavailable", "cut", "idle")
FAILED: tuple[Reason, ...] = (*MOVED, "moderation")
# Of `other` no body is looked at before it is handed on: what is wrong with one moves nothing.
IN_BODY: tuple[Reason, ...] = ("stream_error", "empty", "cut", "idle")
BROKEN: dict[str, tuple[Reason, ...]] = {
    "before_output": ("stream_error", "empty", "cut", "idle", "timeout", "reset", "rate_limit", "overloaded", "server_error"),
    "after_output": ("stream_error", "cut", "idle", "timeout", "reset"),
}  # fmt: skip

TOKENS_OF: dict[str, tuple[str, ...]] = {
    "chat": ("input", "output", "cache_read", "reasoning"),
    "embeddings": ("input",),
}
"""By operation. The other types stand only in replies that count them, and begin when they do."""

# Pairs grow with the square of the targets: from the fifth target on, only moves to the next one start at 0.
PAIRS_OF_ALL = 4


BEGIN_LATER: Mapping[Instrument, str] = {
    OLDEST: "begins at +Inf, with the first call of its operation",
    UNKNOWN: "its names are what nobody knows",
    HEALTH_STORE_UP: "begins with the store",
    HEALTH_STORE_ERRORS: "begins at 0 with the store",
    START_TIME: "a time",
    INSTRUMENTED: "a time",
    BUILD_INFO: "always 1",
}
"""The series that are not begun here, and why."""


class Targets(NamedTuple):
    """Where calls can go."""

    named: Sequence[tuple[str, str]]
    """Name and region of each, in the policy's order; none without a policy."""

    def of(self, call: Call) -> Sequence[tuple[str, str]]:
        return self.named or [(call.region, call.region)]


def at_start(targets: Targets) -> Iterator[Start]:
    """Every series that exists from the first scrape on."""
    for place in PLACES:
        yield TELEMETRY_ERRORS, (place,)
    for operation in EVERY_OPERATION:
        yield IN_FLIGHT, (operation,)
    for (target, _), breaker in product(targets.named, BREAKERS):
        yield BREAKER, (target, breaker)


def of_call(call: Call, targets: Targets) -> Iterator[Start]:
    """Every series that this call, or the next one like it, may move, as far as its labels can be known."""
    model, routed = call.model or "", bool(targets.named)
    places = targets.of(call)
    regions = list(dict.fromkeys([call.region, *(region for _, region in places)]))
    yield from _of_operation(call, model, regions, routed=routed)
    yield from _of_consumption(call, model, regions)
    for target, region in places:
        yield from _of_target(call, model, target, region)
    if routed:
        yield from _of_policy(call, model, [target for target, _ in places], regions)


def _of_operation(call: Call, model: str, regions: Sequence[str], *, routed: bool) -> Iterator[Start]:
    operation, repeat = call.operation, "true" if call.sdk_retry else "false"
    rescues = ("rescued_retry", "rescued_fallback") if routed and operation in MOVING else ()
    for region, outcome in product(regions, ("ok", *rescues, "cancelled", "abandoned")):
        yield OPERATIONS, (operation, call.api, model, region, outcome, "", repeat)
    # Of histograms, which have a line for each bucket, only those of the region that is addressed.
    for result in ("ok", "error"):
        yield (
            OPERATION_DURATION,
            (operation, model, call.region, "true" if call.stream else "false", result, repeat),
        )
    if call.stream:
        yield FIRST_CHUNK, (operation, model, call.region)
        yield PER_CHUNK, (operation, model, call.region)


def _of_consumption(call: Call, model: str, regions: Sequence[str]) -> Iterator[Start]:
    operation: str = call.operation
    if call.api in UNCHARGED_APIS:
        # What a video costs is read with its task, which is asked for by an id.
        for region in regions:
            yield TOKENS, ("other", model, region, "output")
            yield COST, ("other", model, region)
            for status in ("succeeded", "failed", "expired", "cancelled"):
                yield VIDEO_TASKS, (model, region, status)
        operation = "other"
    elif call.operation not in CHARGED:
        return
    for what in ("usage", "price"):
        yield UNMEASURED, (what, model, operation)
    if call.api in UNCHARGED_APIS:
        return
    for region in regions:
        yield COST, (operation, model, region)
        for kind in TOKENS_OF.get(operation, ()):
            yield TOKENS, (operation, model, region, kind)
        if call.api == "images":
            for status in ("generated", "failed"):
                yield IMAGES, (model, region, status)
    if operation == "chat":
        yield SERVER_FALLBACKS, (operation, model)


def _of_target(call: Call, model: str, target: str, region: str) -> Iterator[Start]:
    operation = call.operation
    yield ATTEMPTS, (operation, model, target, region, "ok", "none")
    yield ATTEMPTS, (operation, model, target, region, "cancelled", "none")
    for reason in FAILED:
        yield ATTEMPTS, (operation, model, target, region, "error", reason)
    for result in ("ok", "error"):
        yield ATTEMPT_DURATION, (operation, target, region, result)
    if call.stream:
        for phase, reasons in BROKEN.items():
            for reason in reasons:
                yield STREAM_BREAKS, (operation, target, phase, reason)


def _of_policy(call: Call, model: str, names: Sequence[str], regions: Sequence[str]) -> Iterator[Start]:
    operation = call.operation
    for name in names:
        for source in ("own", "fleet"):
            yield BREAKER_OPENINGS, (name, "messages" if call.api == "messages" else operation, source)
        for reason in _met(operation, RETRIED):
            yield RETRIES, (operation, name, reason)
        for skipped in get_args(SkipReason):
            yield SKIPPED, (operation, name, skipped)
        for action in get_args(Duplicate):
            yield DUPLICATES, (operation, name, action)
    if operation not in MOVING:
        return
    for region, by in product(regions, ("retry", "fallback", "breaker")):
        yield RESCUES, (operation, region, by)
    pairs = list(permutations(names, 2) if len(names) <= PAIRS_OF_ALL else pairwise(names))
    for before, after in pairs:
        for reason, result in product(_met(operation, MOVED), ("ok", "error")):
            yield FALLBACKS, (operation, model, before, after, reason, result)


def _met(operation: Operation, reasons: Sequence[Reason]) -> Sequence[Reason]:
    """Those that can move a call of this operation."""
    return [reason for reason in reasons if operation != "other" or reason not in IN_BODY]
