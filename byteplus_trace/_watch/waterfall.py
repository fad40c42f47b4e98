"""
One call, the spans around it in their order, and when each began and ended.

The spans are a tree by their parents. What is not held, or stands in a circle, is no reason
to show less: a span whose parent is missing is a root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .calls import call_of, is_attempt
from .spans import Key, Span

Role = Literal["call", "attempt", "other call", "around"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A span in the waterfall."""

    span: Span
    depth: int
    role: Role
    begins: float
    """As a share of the whole time, from 0 to 1."""
    ends: float


def waterfall(key: Key, spans: list[Span]) -> list[Bar]:
    """The spans in the order of a tree, children by their start."""
    by_id = {span.span_id: span for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(by_id.values(), key=lambda span: span.start_ns):
        parent = span.parent_id if span.parent_id in by_id and span.parent_id != span.span_id else ""
        children.setdefault(parent, []).append(span)
    ordered: list[tuple[Span, int]] = []
    seen: set[str] = set()
    _walk(children.get("", []), children, ordered, seen)
    # The others stand in a circle.
    for span in by_id.values():
        if span.span_id not in seen:
            _walk([span], children, ordered, seen)
    first = min((span.start_ns for span in spans), default=0)
    whole = max(1, max((span.end_ns for span in spans), default=0) - first)
    return [
        Bar(span, depth, _role(span, key), (span.start_ns - first) / whole, (span.end_ns - first) / whole)
        for span, depth in ordered
    ]


def _walk(
    roots: list[Span], children: dict[str, list[Span]], ordered: list[tuple[Span, int]], seen: set[str]
) -> None:
    waiting = [(span, 0) for span in reversed(roots)]
    while waiting:
        span, depth = waiting.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        ordered.append((span, depth))
        waiting.extend((child, depth + 1) for child in reversed(children.get(span.span_id, [])))


def _role(span: Span, key: Key) -> Role:
    if span.key == key:
        return "call"
    if is_attempt(span):
        return "attempt"
    return "other call" if call_of(span) is not None else "around"
