"""
The series that stand at 0 before any call.

A rate sees a counter move only from one scrape to the next, so the first fallback of
the day would be invisible where its series appears with the value 1. Everything with a
`target` therefore starts at 0, for every operation and the combinations that its calls
can meet (the tables below).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations, product
from typing import get_args

from .._apis import APIS
from .._facts import Duplicate, Operation, Reason, SkipReason
from .._instruments import (
    ATTEMPT_DURATION,
    ATTEMPTS,
    BREAKER,
    DUPLICATES,
    FALLBACKS,
    RETRIES,
    SKIPPED,
    STREAM_BREAKS,
    Instrument,
)

Start = tuple[Instrument, tuple[str, ...]]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
STREAMED = tuple(dict.fromkeys(api.operation for api in APIS if api.streams))
# A response that is fetched is asked for where it was made, and nowhere else.
MOVING: tuple[Operation, ...] = ("chat", "embeddings", "generate_content", "other")

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
# Of `other` no body is looked at before it is handed on.
IN_BODY: tuple[Reason, ...] = ("stream_error", "empty", "cut", "idle")
BROKEN: dict[str, tuple[Reason, ...]] = {
    "before_output": ("stream_error", "empty", "cut", "idle", "timeout", "reset", "rate_limit", "overloaded", "server_error"),
    "after_output": ("stream_error", "cut", "idle", "timeout", "reset"),
}  # fmt: skip

# Pairs grow with the square of the targets: from the fifth target on, only moves to the next one start at 0.
PAIRS_OF_ALL = 4


def starts(targets: Sequence[tuple[str, str]], *, routed: bool) -> Iterator[Start]:
    """
    Every series that is to exist from the first scrape on.

    Args:
        targets: name and region of each, in the policy's order.
        routed: a policy moves calls between them; without one there are no retries, fallbacks, skips or breakers.
    """
    for target, region in targets:
        yield from _of_one(target, region)
        if routed:
            yield from _of_one_routed(target)
    if routed:
        yield from _of_pairs([target for target, _ in targets])


def _of_one(target: str, region: str) -> Iterator[Start]:
    for operation in OPERATIONS:
        yield ATTEMPTS, (operation, target, region, "ok", "none")
        yield ATTEMPTS, (operation, target, region, "cancelled", "none")
        for reason in FAILED:
            yield ATTEMPTS, (operation, target, region, "error", reason)
        for result in ("ok", "error"):
            yield ATTEMPT_DURATION, (operation, target, region, result)
        for action in get_args(Duplicate):
            yield DUPLICATES, (operation, target, action)
    for operation, (phase, reasons) in product(STREAMED, BROKEN.items()):
        for reason in reasons:
            yield STREAM_BREAKS, (operation, target, phase, reason)


def _of_one_routed(target: str) -> Iterator[Start]:
    for operation in OPERATIONS:
        yield BREAKER, (target, operation)
        for reason in _met(operation, RETRIED):
            yield RETRIES, (operation, target, reason)
    for skipped in get_args(SkipReason):
        yield SKIPPED, (target, skipped)


def _of_pairs(names: Sequence[str]) -> Iterator[Start]:
    pairs = list(permutations(names, 2) if len(names) <= PAIRS_OF_ALL else pairwise(names))
    for operation, (before, after) in product(MOVING, pairs):
        for reason, result in product(_met(operation, MOVED), ("ok", "error")):
            yield FALLBACKS, (operation, before, after, reason, result)


def _met(operation: Operation, reasons: Sequence[Reason]) -> Sequence[Reason]:
    """Those that can try a call of this operation again, there or elsewhere."""
    return [reason for reason in reasons if operation != "other" or reason not in IN_BODY]
