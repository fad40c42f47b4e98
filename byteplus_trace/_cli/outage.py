"""
The demo's second scene: a region goes down in the middle, and callers do not notice.

Each act sets what the home region does and then makes calls with the real openai SDK, under a
policy of two targets. What is told of them is all read from their spans, from the series
and from the fake's own log of requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import openai
from openai import OpenAI
from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console, Group
from rich.text import Text

from .._policy.policy import Policy
from .._policy.targets import Breaker, Deadline, Retry, Target
from ..testing import REGIONS, FakeRegion
from .demo_environment import Stage, Trace
from .render import OWN, STYLES, Question, series, span_tree

HOME, AWAY = REGIONS
# Seconds that the breaker stays open, and that a stream may take to its first output: short, for a demo.
OPEN, FIRST_EVENT = 0.8, 0.5

MODEL = "seed-2-0-lite-260428"
IMAGE_MODEL = "seedream-5-0-260128"
MESSAGES: Any = [{"role": "user", "content": "Where does the river Rhine begin?"}]


def chat(client: OpenAI) -> None:
    client.chat.completions.create(model=MODEL, messages=MESSAGES)


def streamed_chat(client: OpenAI) -> None:
    for _ in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
        pass


def image(client: OpenAI) -> None:
    client.images.generate(model=IMAGE_MODEL, prompt="A river between hills, in ink")


@dataclass(frozen=True, slots=True)
class Act:
    """What the home region does, and what the application does meanwhile."""

    region: str
    weather: Callable[[FakeRegion], None]
    calls: tuple[tuple[str, Callable[[OpenAI], None]], ...]
    fails: type[Exception] | None = None


def _well(home: FakeRegion) -> None:
    home.recovers()


def _hangs(home: FakeRegion) -> None:
    home.hangs(after_events=0)


def _overloaded(home: FakeRegion) -> None:
    home.recovers()
    home.fails(503, code="ServerOverloaded")


def _refuses(home: FakeRegion) -> None:
    home.recovers()
    home.refuses()


def _resets_images(home: FakeRegion) -> None:
    home.recovers()
    home.resets(on="images")


def _well_after_a_while(home: FakeRegion) -> None:
    home.recovers()
    time.sleep(OPEN * 1.5)


ACTS = (
    Act("is well", _well, (("a chat", chat),)),
    Act("begins a stream and falls silent", _hangs, (("a streamed chat", streamed_chat),)),
    Act("answers 503 ServerOverloaded", _overloaded, (("a chat, answered 503", chat),)),
    Act("refuses connections", _refuses, (("a chat, refused", chat), ("a chat", chat), ("an image, refused", image))),
    Act("resets an image it may have made", _resets_images, (("an image, cut off", image),), openai.APIConnectionError),
    Act("is well again", _well_after_a_while, (("the first chat", chat), ("the next chat", chat))),
)  # fmt: skip

QUESTIONS = (
    Question("how calls ended", "modelark_operations_total", ("operation", "outcome")),
    Question("moves", "modelark_fallbacks_total", ("from_target", "to_target", "reason", "result")),
    Question("retries", "modelark_retries_total", ("target", "reason")),
    Question("not even asked", "modelark_targets_skipped_total", ("target", "reason")),
    Question("second charges", "modelark_possible_duplicates_total", ("operation", "action")),
)


def play(stage: Stage, out: Console, new_client: Callable[[str], OpenAI]) -> list[Trace]:
    """Play all acts and tell them; the traces of all calls."""
    out.rule("[bold]A region goes down, and the calls go on[/]", align="left")
    out.print("byteplus_trace.instrument(policy=Policy(targets=[sg, eu], ...))", style="cyan", markup=False)
    home = stage.ark.region(HOME)
    before = len(home.requests)
    lines = [_row(*(name for name, _ in COLUMNS))]
    traces: list[Trace] = []
    with stage.instrumented(policy=_policy(stage)), new_client(home.base_url) as client:
        for act in ACTS:
            act.weather(home)
            lines.append(Text(f"sg {act.region}", "bold"))
            for name, work in act.calls:
                trace = stage.act(name, partial(work, client), act.fails)
                lines.append(_told(trace, stage))
                traces.append(trace)
    for line in stage.logged:
        out.print(f"its log: {line}", style="dim")
    out.print()
    out.print(Group(*lines))
    out.print()
    out.print("Those that met it, as their traces show them:", style="bold")
    out.print(span_tree(("", trace) for trace in traces if len(trace.spans) > 3 or _is_probe(trace)))
    out.print()
    sent = sum(request.api == "images" for request in home.requests[before:])
    out.print(
        f"Images that reached sg: {sent}. The one that was cut off may have been made and charged, "
        "so it was not sent a second time."
    )
    out.print()
    out.rule("[bold]The same, as Prometheus series[/]", align="left")
    out.print(series(stage, QUESTIONS))
    out.print()
    return traces


def _policy(stage: Stage) -> Policy:
    targets = [
        Target(name, region=region, base_url=stage.ark.base_url(region), api_key=f"key-of-{name}")
        for name, region in (("sg", HOME), ("eu", AWAY))
    ]
    return Policy(
        targets=targets,
        retry=Retry(per_target=1, base=0.05),
        breaker=Breaker(consecutive=3, open=OPEN),
        deadline=Deadline(total=10, first_event=FIRST_EVENT),
    )


COLUMNS = (("", 23), ("the caller saw", 19), ("what was sent, and came", 26), ("sg's breaker", 13))


def _row(*words: str | Text) -> Text:
    line = Text()
    for word, (_, width) in zip(words, COLUMNS, strict=True):
        cell = Text(word, "dim") if isinstance(word, str) else word.copy()
        cell.truncate(width - 1, overflow="ellipsis", pad=True)
        line.append_text(cell).append(" ")
    line.rstrip()
    return line


def _told(trace: Trace, stage: Stage) -> Text:
    """One call as a row."""
    told = trace.calls[-1].attributes or {}
    outcome = type(trace.raised).__name__ if trace.raised is not None else str(told.get(OWN + "outcome", ""))
    return _row(
        Text("  " + trace.root.name),
        Text(outcome, STYLES.get(outcome, "red")),
        Text(", ".join(word for call in trace.calls for word in _sent(trace, call))),
        _breaker(stage, str(told.get("gen_ai.operation.name", ""))),
    )


def _sent(trace: Trace, call: ReadableSpan) -> Iterator[str]:
    """The targets that were passed over and those that were asked, and what they answered, in order."""
    reasons = {}
    for event in call.events:
        told = event.attributes or {}
        if event.name == "target.skipped":
            yield f"({told.get('target')} {told.get('reason')})"
        if event.name == "fallback":
            reasons[told.get("from")] = told.get("reason")
    for attempt in trace.children(call):
        told = attempt.attributes or {}
        target, status = told.get(OWN + "target"), told.get("http.response.status_code")
        failed = "error.type" in told
        came = (
            status
            if status and not (failed and status == 200)
            else reasons.get(target) or told.get("error.type")
        )
        yield f"{target} {'probe ' if told.get(OWN + 'attempt.cause') == 'probe' else ''}{came}"


def _is_probe(trace: Trace) -> bool:
    return any((span.attributes or {}).get(OWN + "attempt.cause") == "probe" for span in trace.spans)


_BREAKER = {0: Text("closed", "green"), 1: Text("half-open", "yellow"), 2: Text("open", "bold red")}


def _breaker(stage: Stage, operation: str) -> Text:
    states = stage.sums("modelark_breaker_state", ("target", "operation"))
    return _BREAKER[int(states.get(("sg", operation), 0))]
