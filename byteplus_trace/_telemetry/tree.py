"""
One call as a tree of lines: what it used and cost, what happened to it, and each time it was sent.

A `Node` is a call with its attempts beneath. It is made of an `Exchange` (`node_of`), or by
whoever has spans of the same attributes. `lines` turns it into `Line`s, which carry no
colour: terminals, notebooks and web pages dress them by their `kind`.

Content is never shown, whatever the attributes hold, and control characters never get
through: names and codes are the caller's and the service's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .. import _facts as facts
from . import semconv as sc
from .attributes import (
    attempt_end_attributes,
    attempt_start_attributes,
    end_attributes,
    span_name,
    start_attributes,
)

Kind = Literal["ok", "rescued", "failed", "stopped", "detail", "event", "attempt", "failed attempt"]

WIDTH = 80
"""Columns, which every terminal has."""
# To the right of the tree: how long it took; how a call ended, or the region of an attempt.
TIME, LAST = 9, 18


@dataclass(frozen=True, slots=True)
class Node:
    """A call, or one attempt of it: a span without its ids."""

    name: str
    attributes: Mapping[str, Any]
    seconds: float | None = None
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    attempts: Sequence[Node] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `kind` says what it is, for whoever chooses the colours."""

    kind: Kind
    text: str
    """The drawn branch and the words, of any length."""
    seconds: float | None = None
    last: str = ""
    """How the call ended, or the region of the attempt."""


def node_of(exchange: facts.Exchange) -> Node:
    """The call and its attempts, with the attributes of their spans."""
    call = exchange.call
    name = f"{call.method} {call.path}" if call.operation == "other" else span_name(call)
    return Node(
        name,
        {**start_attributes(call), **end_attributes(exchange)},
        exchange.duration_seconds,
        tuple(_events(exchange)),
        tuple(_attempt(call, attempt) for attempt in exchange.attempts),
    )


def _attempt(call: facts.Call, attempt: facts.Attempt) -> Node:
    return Node(
        call.method,
        {**attempt_start_attributes(call, attempt), **attempt_end_attributes(attempt)},
        attempt.duration_seconds,
    )


def _events(exchange: facts.Exchange) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for skip in exchange.skipped:
        yield "target.skipped", {"target": skip.target, "reason": skip.reason}
    before: facts.Attempt | None = None
    for attempt in exchange.attempts:
        if attempt.waited_seconds:
            yield "retry", {"wait": attempt.waited_seconds}
        if before is not None and before.target != attempt.target:
            yield "fallback", {"from": before.target, "to": attempt.target, "reason": before.reason}
        before = attempt


def lines(call: Node, branch: str = "", trunk: str = "") -> Iterator[Line]:
    """
    The lines of a call, the call itself first.

    `branch` is drawn before the first line and `trunk` before the others, where the call
    hangs in a larger tree.
    """
    outcome = clean(call.attributes.get(sc.OUTCOME, ""))
    yield Line(_kind_of(outcome), branch + clean(call.name), call.seconds, outcome)
    stem = trunk + ("│    " if call.attempts else "     ")
    for detail in _details(call.attributes):
        yield Line("detail", stem + detail)
    for name, attributes in call.events:
        yield Line("event", f"{stem}* {_event(name, attributes)}")
    if not call.attempts:
        yield Line("detail", stem + "nothing was sent")
    for at, attempt in enumerate(call.attempts):
        yield _attempt_line(attempt, trunk + ("└─ " if at == len(call.attempts) - 1 else "├─ "))


def plain(line: Line, width: int = WIDTH) -> str:
    """A line as text of at most so many columns, its time and its end aligned."""
    if line.seconds is None and not line.last:
        return cut(line.text, width)
    tree = width - TIME - LAST
    return f"{cut(line.text, tree):<{tree}}{milliseconds(line.seconds):>{TIME}}  {cut(line.last, LAST - 2)}".rstrip()


def cut(text: str, width: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def clean(text: object) -> str:
    """A text on one line whose characters can all be printed; the others are escaped."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode()
        for each in text
    )


def milliseconds(seconds: float | None) -> str:
    return f"{seconds * 1000:,.0f} ms" if seconds is not None else ""


def dollars(amount: float) -> str:
    """An amount with as many digits as it needs, six at most."""
    return f"${amount:.6f}".rstrip("0").rstrip(".")


def tokens(attributes: Mapping[str, Any]) -> str:
    """`17 in (10 cached), 14 out (5 reasoning)`; what is zero or not known is left out."""

    def counted(kind: str, noun: str) -> str:
        number = attributes.get(f"gen_ai.usage.{kind}_tokens")
        return f"{number:,} {noun}" if isinstance(number, int) and number else ""

    found = []
    for kind, noun, parts in _TOKENS:
        if whole := counted(kind, noun):
            within = ", ".join(filter(None, (counted(*part) for part in parts.items())))
            found.append(whole + (f" ({within})" if within else ""))
    return ", ".join(found)


# A count, its noun, and the parts of it that stand in brackets behind it.
_TOKENS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("input", "in", {"cache_read.input": "cached", "image.input": "of an image"}),
    ("output", "out", {"reasoning.output": "reasoning"}),
)

_KINDS: Mapping[str, Kind] = {
    "ok": "ok",
    "rescued_retry": "rescued",
    "rescued_fallback": "rescued",
    "error": "failed",
    "deadline": "failed",
}


def _kind_of(outcome: str) -> Kind:
    return _KINDS.get(outcome, "stopped")


def _attempt_line(attempt: Node, branch: str) -> Line:
    attributes = attempt.attributes
    region, target = (clean(attributes.get(name, "")) for name in (sc.CLOUD_REGION, sc.TARGET))
    error = attributes.get(sc.ERROR_TYPE)
    received = dict.fromkeys(
        clean(each) for each in (attributes.get(sc.HTTP_STATUS), error) if each is not None
    )
    parts = [
        clean(attempt.name) if target == region else f"{clean(attempt.name)} {target}",
        clean(attributes.get(sc.ATTEMPT_CAUSE, "")),
        " ".join(received),
    ]
    return Line(
        "failed attempt" if error else "attempt",
        branch + ", ".join(filter(None, parts)),
        attempt.seconds,
        region,
    )


def _details(attributes: Mapping[str, Any]) -> Iterator[str]:
    """What a call used, made, or failed with."""
    first = attributes.get(sc.TIME_TO_FIRST_CHUNK)
    if isinstance(first, float):
        yield f"first chunk after {milliseconds(first)}"
    used = tokens(attributes)
    cost = attributes.get(sc.COST_USD)
    found = [
        *([f"tokens: {used}"] if used else []),
        *_images(attributes),
        *([f"about {dollars(cost)}"] if isinstance(cost, (int, float)) else []),
    ]
    if found:
        yield " · ".join(found)
    error = attributes.get(sc.ERROR_CODE) or attributes.get(sc.ERROR_TYPE)
    if error:
        yield f"error {clean(error)}"
        if sc.REQUEST_ID in attributes:
            yield f"request {clean(attributes[sc.REQUEST_ID])}"


def _images(attributes: Mapping[str, Any]) -> Iterator[str]:
    for name, verb in ((sc.IMAGE_GENERATED, "generated"), (sc.IMAGE_FAILED, "failed")):
        count = attributes.get(name)
        if isinstance(count, int) and count:
            yield f"{count} image{'' if count == 1 else 's'} {verb}"


def _event(name: str, attributes: Mapping[str, Any]) -> str:
    shown = {key: clean(value) for key, value in attributes.items()}
    match name:
        case "retry":
            wait = attributes.get("wait")
            after = f" after {wait:.2f} s" if isinstance(wait, (int, float)) else ""
            return f"retry{after}" + (f" ({shown['source']})" if "source" in shown else "")
        case "fallback":
            return f"fallback {shown.get('from')} -> {shown.get('to')}, because of {shown.get('reason')}"
        case "target.skipped":
            return f"{shown.get('target')} skipped: {shown.get('reason')}"
    return clean(name)
