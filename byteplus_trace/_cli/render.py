"""
Spans and series as a person reads them in a terminal.

Everything shown is read from the finished spans and from the registry; nothing here
knows which calls were made. Laid out for 80 columns, which every terminal has; plain where
the output is no terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import TextIOWrapper

from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console, Group
from rich.text import Text

from .._telemetry.tree import WIDTH, Kind, Node, dollars, lines, milliseconds, plain
from .demo_environment import Stage, Trace

# As in `_telemetry/console.py`: a colour-blind person can tell them apart.
STYLES: Mapping[Kind, str] = {
    "ok": "bold",
    "rescued": "bold cyan",
    "failed": "bold yellow",
    "stopped": "bold",
    "detail": "dim",
    "event": "cyan",
    "attempt": "",
    "failed attempt": "yellow",
}


def console() -> Console:
    """Standard output, at most 80 columns wide; characters that it cannot write are replaced."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    found = Console(highlight=False)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


def tree(trace: Trace, title: str) -> Iterator[Text]:
    """A trace: the application's span under this title, its calls, their events and attempts."""
    yield Text(title, "bold")
    calls = trace.children(trace.root)
    for at, call in enumerate(calls):
        last = at == len(calls) - 1
        branch, trunk = ("└─ ", "   ") if last else ("├─ ", "│  ")
        for line in lines(_node(trace, call), branch, trunk):
            yield Text(plain(line), STYLES[line.kind])


def heads(trace: Trace) -> Iterator[Text]:
    """The first line of each call of a trace."""
    for call in trace.children(trace.root):
        line = next(lines(_node(trace, call)))
        yield Text(plain(line), STYLES[line.kind])


def _node(trace: Trace, span: ReadableSpan) -> Node:
    return Node(
        span.name,
        span.attributes or {},
        (span.end_time - span.start_time) / 1e9 if span.start_time and span.end_time else None,
        [(event.name, event.attributes or {}) for event in span.events],
        [_node(trace, child) for child in trace.children(span)],
    )


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the series that answer it."""

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

    def written(self, value: float) -> str:
        match self.unit:
            case "s":
                return milliseconds(value)
            case "$":
                return dollars(value)
        return f"{value:,.0f}"


def series(stage: Stage, questions: tuple[Question, ...]) -> Group:
    """Each question, the registry's answer, and the PromQL that would ask it."""
    lines: list[Text] = []
    for question in questions:
        answers = [
            Text.assemble(" ".join(filter(None, key)), " ", (question.written(value), "cyan"))
            for key, value in sorted(question.answers(stage).items())
        ]
        if answers:
            lines += [Text(question.asked, "bold"), *_flowing(answers)]
            lines += [Text(f"    {part}", "dim") for part in question.promql]
    return Group(*lines)


def _flowing(items: Iterable[Text]) -> Iterator[Text]:
    """As many on a line as fit; none is broken."""
    line = Text()
    for item in items:
        if line and len(line) + 3 + len(item) > WIDTH:
            yield line
            line = Text()
        line.append("   " if line else "  ").append_text(item)
    yield line
