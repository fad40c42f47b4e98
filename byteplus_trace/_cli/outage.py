"""
The demo's second scene: a region goes down in the middle, and callers do not notice.

Each act sets the faults of the home region and then makes calls with the real openai SDK,
under a policy of two targets. Everything shown is read from spans, from the series and from
the fake's own log of requests.
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
from .._telemetry.semconv import ATTEMPT_CAUSE, ERROR_TYPE, HTTP_STATUS, OPERATION_NAME, OUTCOME, TARGET
from ..testing import REGIONS, FakeRegion
from .demo_environment import Stage, Trace
from .render import Question, series, tree

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
    fault: Callable[[FakeRegion], None]
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


def _well_later(home: FakeRegion) -> None:
    home.recovers()
    time.sleep(OPEN * 1.5)


ACTS = (
    Act("is well", _well, (("a chat", chat),)),
    Act("begins a stream and falls silent", _hangs, (("a streamed chat", streamed_chat),)),
    Act("answers 503 ServerOverloaded", _overloaded, (("a chat, answered 503", chat),)),
    Act("refuses connections", _refuses, (("a chat, refused", chat), ("a chat", chat), ("an image, refused", image))),
    Act("resets an image it may have made", _resets_images, (("an image, cut off", image),), openai.APIConnectionError),
    Act("is well again", _well_later, (("the first chat", chat), ("the next chat", chat))),
)  # fmt: skip

QUESTIONS = (
    Question("how calls ended", "modelark_operations_total", ("operation", "outcome")),
    Question("moves", "modelark_fallbacks_total", ("from_target", "to_target", "reason", "result")),
    Question("retries", "modelark_retries_total", ("target", "reason")),
    Question("not even asked", "modelark_targets_skipped_total", ("target", "reason")),
    Question("second charges", "modelark_possible_duplicates_total", ("operation", "action")),
)


def play(stage: Stage, out: Console, new_client: Callable[..., OpenAI], *, everything: bool) -> list[Trace]:
    """Play all acts and print a row for each call; `everything` prints trees and series too. The traces of all calls."""
    out.rule("[bold]A region goes down, and the calls go on[/]", align="left")
    out.print("byteplus_trace.instrument(policy=Policy(targets=[sg, eu], ...))", style="cyan", markup=False)
    home = stage.ark.region(HOME)
    before = len(home.requests)
    rows = [_row(*(name for name, _ in COLUMNS))]
    traces: list[Trace] = []
    # The policy sends again where that is safe, so the SDK need not: a failure is counted once.
    with stage.instrumented(policy=_policy(stage)), new_client(home.base_url, max_retries=0) as client:
        for act in ACTS:
            act.fault(home)
            if everything:
                rows.append(Text(f"sg {act.region}", "bold"))
            for name, work in act.calls:
                trace = stage.act(name, partial(work, client), act.fails)
                rows.append(_of(trace, stage))
                traces.append(trace)
    out.print(Group(*rows))
    sent = sum(request.api == "images" for request in home.requests[before:])
    out.print(f"Images that reached sg: {sent}. It may have been made and charged: not sent again.")
    out.print()
    if everything:
        _print_everything(stage, out, traces)
    return traces


def _print_everything(stage: Stage, out: Console, traces: list[Trace]) -> None:
    for line in stage.logged:
        out.print(f"its log: {line}", style="dim")
    out.print()
    out.print("Calls that met a fault, as their traces show them:", style="bold")
    for trace in traces:
        if len(trace.spans) > 3 or _is_probe(trace):
            out.print(Group(*tree(trace, trace.root.name)))
    out.print()
    out.rule("[bold]The same, as Prometheus series[/]", align="left")
    out.print(series(stage, QUESTIONS))
    out.print()


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


COLUMNS = (("", 23), ("the caller saw", 19), ("sent, and its result", 26), ("sg's breaker", 13))


def _row(*cells: str | Text) -> Text:
    line = Text()
    for each, (_, width) in zip(cells, COLUMNS, strict=True):
        cell = Text(each, "dim") if isinstance(each, str) else each.copy()
        cell.truncate(width - 1, overflow="ellipsis", pad=True)
        line.append_text(cell).append(" ")
    line.rstrip()
    return line


def _of(trace: Trace, stage: Stage) -> Text:
    """One call as a row."""
    attributes = trace.calls[-1].attributes or {}
    outcome, style = str(attributes.get(OUTCOME, "")), "bold"
    if trace.raised is not None:
        outcome, style = type(trace.raised).__name__, "bold yellow"
    elif outcome.startswith("rescued"):
        style = "bold cyan"
    return _row(
        Text("  " + trace.root.name),
        Text(outcome, style),
        Text(", ".join(each for call in trace.calls for each in _sent(trace, call))),
        _breaker(stage, str(attributes.get(OPERATION_NAME, ""))),
    )


def _sent(trace: Trace, call: ReadableSpan) -> Iterator[str]:
    """The targets that were skipped and those that were tried, and the result of each, in order."""
    reasons = {}
    for event in call.events:
        attributes = event.attributes or {}
        if event.name == "target.skipped":
            yield f"({attributes.get('target')} {attributes.get('reason')})"
        if event.name == "fallback":
            reasons[attributes.get("from")] = attributes.get("reason")
    for attempt in trace.children(call):
        attributes = attempt.attributes or {}
        target, status, error = (attributes.get(name) for name in (TARGET, HTTP_STATUS, ERROR_TYPE))
        result = status if status and not (error and status == 200) else reasons.get(target) or error
        yield f"{target} {'probe ' if attributes.get(ATTEMPT_CAUSE) == 'probe' else ''}{result}"


def _is_probe(trace: Trace) -> bool:
    return any((span.attributes or {}).get(ATTEMPT_CAUSE) == "probe" for span in trace.spans)


_BREAKER = {0: Text("closed"), 1: Text("half-open", "yellow"), 2: Text("open", "bold yellow")}


def _breaker(stage: Stage, operation: str) -> Text:
    states = stage.sums("modelark_breaker_state", ("target", "operation"))
    return _BREAKER[int(states.get(("sg", operation), 0))]
