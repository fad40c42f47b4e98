"""
The series that stand at 0 before any call.

A rate sees a counter move only from one scrape to the next, so the first fallback of
the day would be invisible where its series appears with the value 1. Everything with a
`target` therefore starts at 0, for the operations that cost money and the combinations
that can happen (the tables below); the rest appear when they first happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations, product

from .._facts import Operation, Reason
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

OPERATIONS_STARTED: tuple[Operation, ...] = ("chat", "embeddings", "generate_content")
STREAMED: tuple[Operation, ...] = ("chat", "generate_content")

# Reasons, by what they can lead to.
RETRIED: tuple[Reason, ...] = (
    "timeout",
    "reset",
    "rate_limit",
    "overloaded",
    "server_error",
    "stream_error",
    "empty",
)
MOVED: tuple[Reason, ...] = (*RETRIED, "connect", "quota", "auth", "model_unavailable", "cut", "idle")
FINAL: tuple[Reason, ...] = ("bad_request", "moderation")
BROKEN: dict[str, tuple[Reason, ...]] = {
    "before_output": ("stream_error", "empty", "cut", "idle", "timeout", "reset", "rate_limit", "overloaded", "server_error"),
    "after_output": ("stream_error", "cut", "idle", "timeout", "reset"),
}  # fmt: skip

SKIP_REASONS = ("breaker_open", "cooldown", "dead_credential", "operation", "model", "zone")
DUPLICATE_ACTIONS = ("raised", "replayed", "sdk_resend")

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
    for operation in OPERATIONS_STARTED:
        yield ATTEMPTS, (operation, target, region, "ok", "none")
        yield ATTEMPTS, (operation, target, region, "cancelled", "none")
        for reason in MOVED + FINAL:
            yield ATTEMPTS, (operation, target, region, "error", reason)
        for result in ("ok", "error"):
            yield ATTEMPT_DURATION, (operation, target, region, result)
        for action in DUPLICATE_ACTIONS:
            yield DUPLICATES, (operation, target, action)
    for operation, (phase, reasons) in product(STREAMED, BROKEN.items()):
        for reason in reasons:
            yield STREAM_BREAKS, (operation, target, phase, reason)


def _of_one_routed(target: str) -> Iterator[Start]:
    for operation in OPERATIONS_STARTED:
        yield BREAKER, (target, operation)
        for retried in RETRIED:
            yield RETRIES, (operation, target, retried)
    for reason in SKIP_REASONS:
        yield SKIPPED, (target, reason)


def _of_pairs(names: Sequence[str]) -> Iterator[Start]:
    pairs = list(permutations(names, 2) if len(names) <= PAIRS_OF_ALL else pairwise(names))
    for operation, (before, after), reason in product(OPERATIONS_STARTED, pairs, MOVED):
        for result in ("ok", "error"):
            yield FALLBACKS, (operation, before, after, reason, result)
