"""
Spans and series as a person reads them in a terminal.

Everything shown is read from the finished spans and from the registry; nothing here
knows what was called. Laid out for 80 columns, which every terminal has; plain where the
output is no terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console, Group
from rich.text import Text

from .demo_environment import Stage, Trace

OWN = "byteplus.modelark."
WIDTH = 80

STYLES = {
    "ok": "green",
    "rescued_retry": "bold cyan",
    "rescued_fallback": "bold cyan",
    "error": "red",
    "deadline": "red",
}


def console() -> Console:
    """Standard output, at most 80 columns wide; letters it cannot write are replaced."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    found = Console(highlight=False)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


# What stands to the right of the tree: how long it took, and how a call ended or where an attempt went.
TIME, LAST = 9, 18
TREE = WIDTH - TIME - LAST


def span_tree(traces: Iterable[tuple[str, Trace]]) -> Group:
    """Each trace as a tree: the application's span, its calls, their events and attempts."""
    lines = [_line(Text(""), Text("time", "dim"), Text("outcome, region", "dim"))]
    for code, trace in traces:
        lines.append(Text.assemble((trace.root.name, "bold"), (f"  {code}" if code else "", "dim")))
        calls = trace.children(trace.root)
        for at, call in enumerate(calls):
            lines.extend(_call(trace, call, last=at == len(calls) - 1))
    return Group(*lines)


def _call(trace: Trace, call: ReadableSpan, *, last: bool) -> Iterator[Text]:
    told = call.attributes or {}
    branch, trunk = ("└─ ", "   ") if last else ("├─ ", "│  ")
    outcome = str(told.get(OWN + "outcome", ""))
    yield _line(
        Text(branch + call.name),
        Text(_milliseconds(_seconds_of(call))),
        Text(outcome, STYLES.get(outcome, "")),
    )
    attempts = trace.children(call)
    stem = trunk + ("│    " if attempts else "     ")
    for line in _details(told):
        yield Text(stem + line, "dim")
    for event in call.events:
        yield Text.assemble(stem, (f"* {_event(event.name, event.attributes or {})}", "yellow"))
    if not attempts:
        yield Text(stem + "nothing was sent", "dim")
    for at, attempt in enumerate(attempts):
        yield _attempt(trunk + ("└─ " if at == len(attempts) - 1 else "├─ "), attempt)


def _attempt(branch: str, attempt: ReadableSpan) -> Text:
    told = attempt.attributes or {}
    region, target = (str(told.get(name, "")) for name in ("cloud.region", OWN + "target"))
    error = told.get("error.type")
    status = told.get("http.response.status_code")
    came = [str(word) for word in dict.fromkeys((status, error)) if word is not None]
    words = [
        attempt.name if target == region else f"{attempt.name} {target}",
        str(told.get(OWN + "attempt.cause", "")),
        " ".join(dict.fromkeys(came)),
    ]
    return _line(
        Text.assemble(branch, (", ".join(words), "red" if error else "")),
        Text(_milliseconds(_seconds_of(attempt))),
        Text(region, "dim"),
    )


def _line(tree: Text, time: Text, last: Text) -> Text:
    tree.truncate(TREE, overflow="ellipsis", pad=True)
    time.align("right", TIME)
    line = Text.assemble(tree, time, "  ", last)
    line.rstrip()
    return line


def _details(told: Mapping[str, Any]) -> Iterator[str]:
    """What a call consumed, made, or failed with, in words."""
    first = told.get("gen_ai.response.time_to_first_chunk")
    if first is not None:
        yield f"first chunk after {_milliseconds(first)}"
    tokens = ", ".join(_tokens(told))
    made = [
        f"{told[OWN + name]} image{'s' if told[OWN + name] != 1 else ''} {words}"
        for name, words in (("image.generated", "generated"), ("image.failed", "failed"))
        if told.get(OWN + name)
    ]
    cost = [f"about {_dollars(told[OWN + 'cost_usd'])}"] if OWN + "cost_usd" in told else []
    told_of = [*([f"tokens: {tokens}"] if tokens else []), *made, *cost]
    if told_of:
        yield " · ".join(told_of)
    error = told.get(OWN + "error.code") or told.get("error.type")
    if error:
        yield f"error {error}"
    if error and OWN + "request_id" in told:
        yield f"request {told[OWN + 'request_id']}"


# What is counted, its word, and the parts of it that are told beside it.
_TOKENS: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "input",
        "in",
        {"cache_read.input": "cached", "image.input": "of an image"},
    ),
    ("output", "out", {"reasoning.output": "reasoning"}),
)


def _tokens(told: Mapping[str, Any]) -> Iterator[str]:
    def counted(kind: str, word: str) -> str:
        number = told.get(f"gen_ai.usage.{kind}_tokens")
        return f"{number:,} {word}" if number else ""

    for kind, word, parts in _TOKENS:
        if whole := counted(kind, word):
            within = ", ".join(filter(None, (counted(*part) for part in parts.items())))
            yield whole + (f" ({within})" if within else "")


_EVENTS = {
    "fallback": "fallback {from} -> {to}, because of {reason}",
    "retry": "retry after {wait:.2f} s ({source})",
    "target.skipped": "{target} skipped: {reason}",
}


def _event(name: str, told: Mapping[str, Any]) -> str:
    return _EVENTS[name].format(**told) if name in _EVENTS else name


def _seconds_of(span: ReadableSpan) -> float | None:
    if span.start_time is None or span.end_time is None:
        return None
    return (span.end_time - span.start_time) / 1e9


def _milliseconds(seconds: Any) -> str:
    return f"{seconds * 1000:,.0f} ms" if isinstance(seconds, float) else ""


def _dollars(amount: float) -> str:
    return f"${amount:.6f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks of the series, and where the answer is."""

    asked: str
    name: str
    by: tuple[str, ...]
    unit: str = ""
    mean: bool = False
    """Of a histogram: the sum over the count."""
    having: str = ""
    """Only where this label is not empty."""

    @property
    def promql(self) -> tuple[str, ...]:
        """Its lines: one, or of a mean two."""
        labels = ", ".join(self.by)
        if self.mean:
            return (f"sum by ({labels}) ({self.name}_sum)", f"/ sum by ({labels}) ({self.name}_count)")
        chosen = f'{{{self.having}!=""}}' if self.having else ""
        return (f"sum by ({labels}) ({self.name}{chosen})",)

    def answers(self, stage: Stage) -> dict[tuple[str, ...], float]:
        if not self.mean:
            return stage.sums(self.name, self.by, self.having)
        counts = stage.sums(self.name + "_count", self.by)
        return {key: value / counts[key] for key, value in stage.sums(self.name + "_sum", self.by).items()}

    def worded(self, value: float) -> str:
        match self.unit:
            case "s":
                return _milliseconds(value)
            case "$":
                return _dollars(value)
        return f"{value:,.0f}"


def series(stage: Stage, questions: tuple[Question, ...]) -> Group:
    """Questions, the PromQL that asks them, and what the registry answers now."""
    lines: list[Text] = []
    for question in questions:
        answers = [
            Text.assemble(" ".join(filter(None, key)), " ", (question.worded(value), "cyan"))
            for key, value in sorted(question.answers(stage).items())
        ]
        if answers:
            lines += [Text(question.asked, "bold"), *_flowing(answers)]
            lines += [Text(f"    {part}", "dim") for part in question.promql]
    return Group(*lines)


def _flowing(words: Iterable[Text]) -> Iterator[Text]:
    """As many on a line as fit; none is broken."""
    line = Text()
    for word in words:
        if line and len(line) + 3 + len(word) > WIDTH:
            yield line
            line = Text()
        line.append("   " if line else "  ").append_text(word)
    yield line
