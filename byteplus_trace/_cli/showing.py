"""
Spans and series as a person reads them in a terminal.

Everything shown is read from the finished spans and from the registry; nothing here
knows what was called. Laid out for 100 columns; plain where the output is no terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .stage import Stage, Trace

OWN = "byteplus.modelark."
WIDTH = 100

STYLES = {
    "ok": "green",
    "rescued_retry": "bold cyan",
    "rescued_fallback": "bold cyan",
    "error": "red",
    "deadline": "red",
}


def console() -> Console:
    """Standard output, at most 100 columns wide; letters it cannot write are replaced."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    found = Console(highlight=False)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


# What stands to the right of the tree, and how much room it takes.
COLUMNS = (("time", 9), ("1st chunk", 10), ("  region", 18), ("outcome", 16))
TREE = WIDTH - sum(width for _, width in COLUMNS)


def span_tree(traces: Iterable[tuple[str, Trace]]) -> Group:
    """Each trace as a tree: the application's span, its calls, their events and attempts."""
    lines = [_line(Text(""), *(Text(name, "dim") for name, _ in COLUMNS))]
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
        Text(_milliseconds(told.get("gen_ai.response.time_to_first_chunk"))),
        Text(str(told.get("cloud.region", ""))),
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
        Text(""),
        Text(region, "dim"),
        Text(""),
    )


def _line(tree: Text, time: Text, first: Text, region: Text, outcome: Text) -> Text:
    tree.truncate(TREE, overflow="ellipsis", pad=True)
    for text, (_, width) in zip((time, first), COLUMNS, strict=False):
        text.align("right", width)
    region.pad_left(0 if region.plain.startswith(" ") else 2)
    region.truncate(COLUMNS[2][1], pad=True)
    line = Text.assemble(tree, time, first, region, outcome)
    line.rstrip()
    return line


def _details(told: Mapping[str, Any]) -> Iterator[str]:
    """What a call consumed, made, or failed with, in words."""
    tokens = [
        f"{told[name]:,} {words}"
        for name, words in (
            ("gen_ai.usage.input_tokens", "in"),
            ("gen_ai.usage.cache_read.input_tokens", "of them cached"),
            ("gen_ai.usage.output_tokens", "out"),
            ("gen_ai.usage.reasoning.output_tokens", "of them reasoning"),
            ("gen_ai.usage.image.input_tokens", "of an image"),
        )
        if told.get(name)
    ]
    made = [
        f"{told[OWN + name]} image{'s' if told[OWN + name] != 1 else ''} {words}"
        for name, words in (("image.generated", "generated"), ("image.failed", "failed"))
        if told.get(OWN + name)
    ]
    cost = [f"about {_dollars(told[OWN + 'cost_usd'])}"] if OWN + "cost_usd" in told else []
    told_of = [*([f"tokens: {', '.join(tokens)}"] if tokens else []), *made, *cost]
    if told_of:
        yield " · ".join(told_of)
    error = told.get(OWN + "error.code") or told.get("error.type")
    if error:
        yield f"error {error}" + (
            f" · request {told[OWN + 'request_id']}" if OWN + "request_id" in told else ""
        )


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
    def promql(self) -> str:
        labels = ", ".join(self.by)
        if self.mean:
            return f"sum by ({labels}) ({self.name}_sum) / sum by ({labels}) ({self.name}_count)"
        chosen = f'{{{self.having}!=""}}' if self.having else ""
        return f"sum by ({labels}) ({self.name}{chosen})"

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


def series(stage: Stage, questions: tuple[Question, ...]) -> Table:
    """Questions, the PromQL that asks them, and what the registry answers now."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, show_header=False)
    table.add_column("", no_wrap=True, style="bold")
    table.add_column("", ratio=1)
    for question in questions:
        answers = question.answers(stage)
        if not answers:
            continue
        table.add_row(question.asked, Text(question.promql, "dim"))
        table.add_row(
            "",
            "   ".join(
                f"{escape(' '.join(word for word in key if word))} [cyan]{question.worded(value)}[/]"
                for key, value in sorted(answers.items())
            ),
        )
    return table
