"""
A span of a call becomes a row.

A call is a span that has `byteplus.modelark.api`: the library's own, another GenAI
instrumentation's with our attributes on it, or, of a request that makes no GenAI claim,
the attempt itself. An attribute of the wrong type counts as missing.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import force_setattr

from .._telemetry import semconv as sc
from .spans import Key, Span

FAILED = frozenset({"error", "deadline"})
"""The outcomes in which the caller saw a failure."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call in one row. Texts are as they were sent; empty, and None for a number, where it is not known."""

    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    operation: str
    model: str
    region: str
    outcome: str
    error: str
    """ModelArk's code where there is one, else the error's type."""
    first_chunk: float | None
    """Seconds."""
    tokens_in: int | None
    tokens_out: int | None
    cached: int | None
    reasoning: int | None
    cost: float | None
    """US dollars."""
    user: str
    team: str
    session: str
    request_id: str
    service: str
    target: str
    attempts: int | None
    metadata: tuple[tuple[str, str], ...]
    # Kept, for the views ask ten thousand calls for them several times a second.
    key: Key = ("", "")
    seconds: float = 0.0
    failed: bool = False

    def __post_init__(self) -> None:
        force_setattr(self, "key", (self.trace_id, self.span_id))
        force_setattr(self, "seconds", max(0, self.end_ns - self.start_ns) / 1e9)
        force_setattr(self, "failed", self.outcome in FAILED)


def holds_attempt(span: Span) -> bool:
    """Whether it says how one send went: an attempt's own span, or that of a call which was sent once."""
    return sc.ATTEMPT_CAUSE in span.attributes


def is_attempt(span: Span) -> bool:
    """Whether it is an attempt's own span."""
    return holds_attempt(span) and sc.OUTCOME not in span.attributes


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One send of a call."""

    call: Key
    target: str
    region: str
    failed: bool


def attempt_of(span: Span) -> Attempt | None:
    """The send that a span tells of; None where it tells of none, or of several."""
    if not holds_attempt(span):
        return None
    return Attempt(
        call=(span.trace_id, span.parent_id) if is_attempt(span) else span.key,
        target=span.text(sc.TARGET),
        region=span.text(sc.CLOUD_REGION),
        failed=span.status == "error",
    )


def call_of(span: Span) -> Call | None:
    """The row of a call's span; None for any other."""
    if sc.API not in span.attributes:
        return None
    metadata = tuple(
        (name.removeprefix(sc.METADATA), value)
        for name, value in span.attributes.items()
        if name.startswith(sc.METADATA) and isinstance(value, str)
    )
    by_name = dict(metadata)
    cost = span.number(sc.COST_USD)
    return Call(
        trace_id=span.trace_id,
        span_id=span.span_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        operation=span.text(sc.OPERATION_NAME) or "other",
        model=span.text(sc.REQUEST_MODEL),
        region=span.text(sc.CLOUD_REGION),
        outcome=span.text(sc.OUTCOME) or ("error" if span.status == "error" else "ok"),
        error=span.text(sc.ERROR_CODE) or span.text(sc.ERROR_TYPE),
        first_chunk=_seconds(span, sc.TIME_TO_FIRST_CHUNK),
        tokens_in=span.count("gen_ai.usage.input_tokens"),
        tokens_out=span.count("gen_ai.usage.output_tokens"),
        cached=span.count("gen_ai.usage.cache_read.input_tokens"),
        reasoning=span.count("gen_ai.usage.reasoning.output_tokens"),
        cost=float(cost) if cost is not None and cost >= 0 else None,
        user=span.text(sc.USER_ID) or by_name.get("user", ""),
        team=by_name.get("team", ""),
        session=span.text(sc.CONVERSATION_ID) or by_name.get("session", ""),
        request_id=span.text(sc.REQUEST_ID),
        service=span.service,
        target=span.text(sc.TARGET),
        attempts=span.count(sc.ATTEMPTS),
        metadata=metadata,
    )


def _seconds(span: Span, name: str) -> float | None:
    value = span.number(name)
    return float(value) if value is not None and value >= 0 else None
