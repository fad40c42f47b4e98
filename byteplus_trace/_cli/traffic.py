"""
`byteplus-trace traffic`: steady, eventful traffic, so that every panel has something to show.

Plain httpx clients call a fake ModelArk of two regions in this process, under a policy,
while its regions go through the phases of `chaos.py`. Kinds of call are drawn from a
shuffled deck, so that each is made now and then, however low the rate. Spans go where the
`OTEL_*` variables say; the library's own exporter serves the series.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random

import httpx

import byteplus_trace

from .. import prometheus
from .._facts import Exchange
from .._policy.policy import Policy
from .._policy.targets import Breaker, Deadline, Retry, Target
from ..testing import ModelArk
from .arguments import port
from .calls import BY_NAME, KINDS, Caller, Kind
from .chaos import AWAY, HOME, SPENT_MODEL, phase_at, set_in
from .demo_environment import settings_aside

SERVICE = "byteplus-trace-traffic"
TEAMS = ("search", "search", "search", "shop", "shop", "support")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Call a fake ModelArk of two regions, whose faults repeat every half minute, and serve the "
        "series for Prometheus. Spans go where the OTEL_* variables say, else to localhost:4318."
    )
    parser.add_argument("--duration", type=_positive, metavar="SECONDS", help="default: until Ctrl-C")
    parser.add_argument(
        "--rate", type=_positive, default=5.0, metavar="CALLS", help="calls a second (default: 5)"
    )
    parser.add_argument(
        "--metrics-port", type=port, default=9464, metavar="PORT", help="of /metrics (default: 9464)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of calls (default: 0)")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")


def run(args: argparse.Namespace) -> int:
    outcomes: Counter[str] = Counter()

    def count(exchange: Exchange) -> None:
        outcomes[exchange.outcome] += 1

    server = prometheus.serve(args.metrics_port)
    if server is None:
        return 1
    try:
        with ModelArk((HOME, AWAY), keeps=100) as ark, _instrumented(ark, count):
            print(f"Calling a fake ModelArk, {args.rate:g} calls a second.")
            print("It fails on purpose: what is logged of its targets needs no mending.")
            print(f"Series: http://127.0.0.1:{server.port}/metrics", flush=True)
            asyncio.run(_drive(ark, args.rate, args.duration, Random(args.seed)))
    finally:
        server.stop()
    counts = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
    print(f"{outcomes.total()} calls: {counts}")
    return 0


@contextmanager
def _instrumented(ark: ModelArk, on_exchange: Callable[[Exchange], None]) -> Iterator[None]:
    ark.region(HOME).keys = {"main": "key-of-sg"}
    ark.region(AWAY).keys = {"main": "key-of-eu"}
    with settings_aside():
        byteplus_trace.instrument(
            service_name=os.environ.get("OTEL_SERVICE_NAME") or SERVICE,
            base_urls=ark.base_urls,
            policy=_policy(ark),
            metadata_labels=("team",),
            on_exchange=on_exchange,
        )
    try:
        yield
    finally:
        byteplus_trace.flush(2.0)
        byteplus_trace.uninstrument()


def _policy(ark: ModelArk) -> Policy:
    """Times are short: what takes minutes in production takes seconds here."""
    sg, eu = ark.base_url(HOME), ark.base_url(AWAY)
    targets = [
        # Its key is revoked, and the quota of the next one is spent: an embedding moves on from both.
        Target("sg-old", region=HOME, base_url=sg, api_key="revoked", only={"embeddings"}),
        Target(
            "sg-trial",
            region=HOME,
            base_url=sg,
            api_key="key-of-sg",
            only={"embeddings"},
            models={"*": SPENT_MODEL},
            quota_group="trial",
        ),
        Target("sg", region=HOME, base_url=sg, api_key="key-of-sg", quota_group="account"),
        Target("eu", region=AWAY, base_url=eu, api_key="key-of-eu", zone="eu"),
    ]
    return Policy(
        targets=targets,
        retry=Retry(per_target=1, base=0.1, cap=1.0, retry_after_cap=2.0, budget_ratio=0.5),
        breaker=Breaker(window=10, min_requests=6, ratio=0.5, consecutive=4, open=1, open_max=2),
        deadline=Deadline(total=2, first_event=1.0, idle=1.0),
    )


async def _drive(ark: ModelArk, rate: float, duration: float | None, random: Random) -> None:
    """Start calls at the rate until the time is up or a signal arrives."""
    ended = _ended_by_signal()
    calls: set[asyncio.Task[None]] = set()
    deck = _deck(random)
    phase = None
    async with httpx.AsyncClient(
        headers={"Authorization": "Bearer key-of-sg"},
        timeout=6.0,
        trust_env=False,
        limits=httpx.Limits(max_connections=None),
    ) as client:
        caller = Caller(client, ark, random)
        number = 0
        began = time.monotonic()
        while not ended.is_set() and (duration is None or time.monotonic() - began < duration):
            now = phase_at(time.monotonic() - began)
            if now is not phase:
                phase = now
                set_in(ark, phase)
                print(f"{time.monotonic() - began:6.0f} s  {phase.description}", flush=True)
            more = phase.more_of if number % 2 else ()
            kind = BY_NAME[random.choice(more)] if more else next(deck)
            with byteplus_trace.metadata(team=random.choice(TEAMS), user=f"u-{random.randrange(20)}"):
                task = asyncio.create_task(_call(kind, caller))
            calls.add(task)
            task.add_done_callback(calls.discard)
            number += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), max(began + number / rate - time.monotonic(), 0))
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def _call(kind: Kind, caller: Caller) -> None:
    """Make one call, which is meant to fail sometimes."""
    with suppress(httpx.HTTPError):
        await kind.make(caller)


def _deck(random: Random) -> Iterator[Kind]:
    """Kinds in a shuffled order, each as often as its cards before the deck is shuffled again."""
    while True:
        cards = [kind for kind in KINDS for _ in range(kind.cards)]
        random.shuffle(cards)
        yield from cards


def _ended_by_signal() -> asyncio.Event:
    """An event that Ctrl-C or SIGTERM sets."""
    ended = asyncio.Event()
    if sys.platform != "win32":
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    return ended
