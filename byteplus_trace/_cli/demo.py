"""
`byteplus-trace demo`: what one line records, shown with the real openai SDK.

Scene one makes one call of every kind; scene two (`outage.py`) takes a region down in the
middle. The service is a fake ModelArk in this process, so no key, account or network is
needed; the SDK, the spans and the series are the real ones. One screen unless `--all` asks
for every tree and series.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import openai
from openai import DefaultHttpxClient, OpenAI
from rich.console import Group

import byteplus_trace

from .._instruments import COST, DUPLICATES, OPERATIONS
from .._regions import DEFAULT_REGION
from .._telemetry.exporting import is_disabled
from .demo_environment import SERVICE, Stage, Trace
from .render import Question, console, heads, series, tree

CHAT = "seed-2-0-pro-260328"
THINKING = "seed-1-8-251228"
EMBEDDING = "skylark-embedding-vision-251215"
IMAGE = "seedream-4-0-250828"

MESSAGES: Any = [
    {"role": "system", "content": "You are a guide who answers in one sentence."},
    {"role": "user", "content": "Where does the river Rhine begin?"},
]


def chat(client: OpenAI) -> None:
    client.chat.completions.create(model=CHAT, messages=MESSAGES, temperature=0.2)


def streamed_chat(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=THINKING,
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"thinking": {"type": "enabled"}},
    )
    for _ in stream:
        pass


def embedding(client: OpenAI) -> None:
    client.embeddings.create(model=EMBEDDING, input=["The Rhine", "The Danube"])


def multimodal_embedding(client: OpenAI) -> None:
    parts = [
        {"type": "text", "text": "A river between hills"},
        {"type": "image_url", "image_url": {"url": "https://images.example/river.jpeg"}},
    ]
    client.post("/embeddings/multimodal", body={"model": EMBEDDING, "input": parts}, cast_to=object)


def image(client: OpenAI) -> None:
    client.images.generate(model=IMAGE, prompt="A river between hills, in ink", size="1024x1024")


def response(client: OpenAI) -> None:
    client.responses.create(model=CHAT, input="Which sea does the Rhine reach?")


def streamed_response(client: OpenAI) -> None:
    for _ in client.responses.create(model=CHAT, input="And the Danube?", stream=True):
        pass


def failing_chat(client: OpenAI) -> None:
    client.chat.completions.create(model="seed-9-9-pro", messages=MESSAGES)


@dataclass(frozen=True, slots=True)
class Step:
    """What an application does, and its code, shortened."""

    name: str
    code: str
    work: Callable[[OpenAI], None]
    user: str = "u-1"
    fails: type[Exception] | None = None


STEPS = (
    Step("a chat", "client.chat.completions.create(...)", chat),
    Step("a streamed chat that thinks", "...create(..., stream=True)", streamed_chat),
    Step("an embedding", "client.embeddings.create(...)", embedding, "u-2"),
    Step("a multimodal embedding", 'client.post("/embeddings/multimodal", ...)', multimodal_embedding, "u-2"),
    Step("an image", "client.images.generate(...)", image, "u-3"),
    Step("a response", "client.responses.create(...)", response, "u-3"),
    Step("a streamed response", "client.responses.create(..., stream=True)", streamed_response, "u-3"),
    Step("a model nobody opened", "client.chat.completions.create(...)", failing_chat, "u-4", openai.NotFoundError),
)  # fmt: skip

QUESTIONS = (
    Question("how calls ended", "modelark_operations_total", ("operation", "outcome")),
    Question("what failed", "modelark_operations_total", ("model", "error_type"), having="error_type"),
    Question("tokens", "modelark_tokens_total", ("type",)),
    Question("images", "modelark_images_total", ("model", "status")),
    Question("cost, estimated", "modelark_cost_usd_total", ("model",), "$"),
    Question("mean duration", "modelark_operation_duration_seconds", ("operation",), "s", mean=True),
    Question("mean time to first chunk", "modelark_time_to_first_chunk_seconds", ("model",), "s", mean=True),
    Question("by team", "modelark_operations_total", ("team",)),
)

SCENES = ("calls", "outage")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make real SDK calls to a fake ModelArk inside this process and show what is recorded of them. "
        "Needs no key and no network. If an OTLP receiver listens on localhost:4318, or where "
        "OTEL_EXPORTER_OTLP_ENDPOINT points, spans go there too."
    )
    parser.add_argument("--only", choices=SCENES, help="one of the two scenes")
    parser.add_argument("--all", action="store_true", help="every call's tree, and the Prometheus series")


def run(args: argparse.Namespace) -> int:
    out = console()
    if is_disabled(os.environ):
        out.print("OTEL_SDK_DISABLED=true: there would be no spans to show. Unset it for the demo.")
        return 1
    scenes = [args.only] if args.only else SCENES
    traces: list[Trace] = []
    with Stage() as stage:
        if "calls" in scenes:
            traces += _calls(stage, out, everything=args.all)
        if "outage" in scenes:
            from . import outage

            traces += outage.play(stage, out, new_client, everything=args.all)
        exported_to = stage.exported_to
    _what_next(out, exported_to, traces, everything=args.all)
    out.print(_sum(stage), style="bold")
    unexpected = [trace for trace in traces if not trace.as_expected]
    for trace in unexpected:
        print(
            f"byteplus-trace: '{trace.root.name}' did not end as it should: {trace.raised!r}",
            file=sys.stderr,
        )
    return 1 if unexpected else 0


def new_client(base_url: str, **options: Any) -> OpenAI:
    """The openai SDK as usual, but without proxies, which the loopback does not need."""
    return OpenAI(
        base_url=base_url, api_key="any", http_client=DefaultHttpxClient(trust_env=False), **options
    )


def _calls(stage: Stage, out: Any, *, everything: bool) -> list[Trace]:
    out.rule("[bold]One line, and every call is recorded[/]", align="left")
    out.print("byteplus_trace.instrument()", style="cyan")
    home = stage.ark.region(DEFAULT_REGION)
    home.delays(headers=0.04, first_event=0.1, between=0.01)
    home.delays(headers=0.4, on="images")
    traces: list[Trace] = []
    with stage.instrumented(), new_client(home.base_url) as client:
        for step in STEPS:
            if step.fails is not None:
                home.fails(404, code="ModelNotOpen", times=1)
            with byteplus_trace.metadata(user=step.user, team="demo", session="s-1"):
                traces.append(stage.act(step.name, partial(step.work, client), step.fails))
    home.recovers()
    for step, trace in zip(STEPS, traces, strict=True):
        shown = everything or step.work in {streamed_chat, failing_chat}
        out.print(Group(*(tree(trace, f"{step.name}  {step.code}") if shown else heads(trace))))
    out.print()
    if everything:
        out.rule("[bold]The same calls as Prometheus series[/]", align="left")
        out.print(series(stage, QUESTIONS))
        out.print()
    return traces


def _what_next(out: Any, exported_to: str | None, traces: list[Trace], *, everything: bool) -> None:
    more = "" if everything else "Every tree: [cyan]byteplus-trace demo --all[/]. "
    out.rule("[bold]In your own application[/]", align="left")
    out.print("import byteplus_trace; byteplus_trace.instrument(console=True)", style="cyan")
    if exported_to is None:
        out.print(f"Live: [cyan]byteplus-trace watch[/]. {more}With Docker:")
        out.print(
            "  byteplus-trace dashboards modelark; docker compose -f modelark/compose.yaml up", style="cyan"
        )
    else:
        out.print(f"The traces are at {exported_to}, service {SERVICE}.")
        if more:
            out.print(more)
        for trace in traces if everything else ():
            out.print(f"  {trace.root.name:<30}{trace.id}")
    out.print()


def _sum(stage: Stage) -> str:
    """What the series of all scenes add up to."""
    calls, rescued = int(stage.total(OPERATIONS)), int(stage.total(OPERATIONS, "outcome", "rescued_"))
    refused = int(stage.total(DUPLICATES, "action", "raised"))
    cost = stage.total(COST)
    return f"{calls} calls: {rescued} rescued, {refused} refused to be sent twice, about ${cost:.2f} in all."
