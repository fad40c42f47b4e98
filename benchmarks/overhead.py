"""
What watching costs: the CPU added to a chat call and to a streamed chunk of the openai SDK.

    python benchmarks/overhead.py [--rounds N]

Three clients make the same calls over the same in-memory transport, in turns, in one
process: bare, watched by us, and the floor. The floor is a transport that knows the
answer beforehand and makes only the records that we made of one real call: the two
spans with the attributes as they were set at the start and at the end, and every
counter, gauge and histogram that moved, exemplars included. Figures are process CPU;
trust the ratios. `README.md` beside this file says how to read them.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import httpx2
import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from byteplus_trace._facts import Exchange
from byteplus_trace._instruments import IN_FLIGHT, SECONDS, Instrument
from byteplus_trace._telemetry.points import points
from byteplus_trace.httpx2 import ModelArkTransport

BASE_URL = "https://ark.ap-southeast.bytepluses.com/api/v3"
MODEL = "seed-1-6-250915"
CHUNKS = 150
FEW = 5
MESSAGES = [{"role": "user", "content": "Name three rivers of Asia."}]

DOCUMENT = (
    b'{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"The Yangtze, the Mekong and '
    b'the Ganges.","reasoning_content":"Three rivers.","role":"assistant"}}],"created":1742631811,"id":"0217426318107460cfa",'
    b'"model":"seed-1-6-250915","service_tier":"default","object":"chat.completion","usage":{"completion_tokens":24,'
    b'"prompt_tokens":19,"total_tokens":43,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":'
    b'{"reasoning_tokens":9}}}'
)
HEADERS = {"x-request-id": "0217426318107460cfa", "x-envoy-upstream-service-time": "312"}


def chunk(number: int) -> bytes:
    return (
        b'data: {"choices":[{"delta":{"content":" word%d","role":"assistant"},"index":0}],"created":1742632436,'
        b'"id":"021742632435712396f12d018b5d576a7a","model":"seed-1-6-250915","service_tier":"default",'
        b'"object":"chat.completion.chunk","usage":null}\n\n' % number
    )


TAIL = [
    b'data: {"choices":[{"delta":{"content":"","role":"assistant"},"finish_reason":"stop","index":0}],"created":1742632436,'
    b'"id":"021742632435712396f12d018b5d576a7a","model":"seed-1-6-250915","object":"chat.completion.chunk","usage":null}\n\n',
    b'data: {"choices":[],"created":1742632436,"id":"021742632435712396f12d018b5d576a7a","model":"seed-1-6-250915",'
    b'"object":"chat.completion.chunk","usage":{"completion_tokens":500,"prompt_tokens":19,"total_tokens":519}}\n\n',
    b"data: [DONE]\n\n",
]


class Parts(httpx2.SyncByteStream):
    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts


class InMemory(httpx2.BaseTransport):
    """Answers each chat at once, from memory."""

    def __init__(self) -> None:
        self.parts = TAIL

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if b'"stream":true' in request.content:
            headers = {"content-type": "text/event-stream", **HEADERS}
            return httpx2.Response(200, headers=headers, stream=Parts(self.parts))
        headers = {"content-type": "application/json", **HEADERS}
        return httpx2.Response(200, headers=headers, stream=Parts([DOCUMENT]))


class Learning(SpanProcessor):
    """Notes each span's attributes as they were at its start, and as they were at its end."""

    def __init__(self) -> None:
        self.starts: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, dict[str, Any]] = {}

    def on_start(self, span: Span, parent_context: object = None) -> None:
        self.starts[span.name] = dict(span.attributes or {})

    def on_end(self, span: ReadableSpan) -> None:
        self.ends[span.name] = dict(span.attributes or {})

    def of(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was given at the start, and what was new at the end."""
        start = self.starts[name]
        return start, {key: value for key, value in self.ends[name].items() if start.get(key) != value}


def learnt(memory: InMemory) -> tuple[Learning, Exchange]:
    """What one watched call really records."""
    learning, exchanges = Learning(), list[Exchange]()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(learning)
    transport = ModelArkTransport(
        memory, tracer_provider=provider, registry=CollectorRegistry(), on_exchange=exchanges.append
    )
    chat(client(transport))
    return learning, exchanges[0]


class Floor(httpx2.BaseTransport):
    """The records alone."""

    def __init__(self, inner: InMemory, provider: TracerProvider) -> None:
        self.inner = inner
        self.tracer = provider.get_tracer("floor")
        learning, exchange = learnt(inner)
        self.name = f"chat {MODEL}"
        self.start, self.end = learning.of(self.name)
        self.attempt_start, self.attempt_end = learning.of("POST")
        registry = CollectorRegistry()
        kinds = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
        made: dict[str, Any] = {}

        def child(row: Instrument, values: tuple[str, ...]) -> Any:
            if row.name not in made:
                more = {"buckets": SECONDS} if row.kind == "histogram" else {}
                made[row.name] = kinds[row.kind](row.name, row.help, row.labels, registry=registry, **more)
            return made[row.name].labels(*values)

        self.in_flight = child(IN_FLIGHT, (exchange.call.operation,))
        moved = [(row, child(row, values), amount) for row, values, amount in points(exchange)]
        self.counters = [(series, amount) for row, series, amount in moved if row.kind == "counter"]
        self.histograms = [
            (series, amount, row.exemplars) for row, series, amount in moved if row.kind == "histogram"
        ]

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.in_flight.inc(1)
        span = self.tracer.start_span(self.name, kind=trace.SpanKind.CLIENT, attributes=self.start)
        within = trace.set_span_in_context(span)
        attempt = self.tracer.start_span("POST", within, trace.SpanKind.CLIENT, self.attempt_start)
        response = self.inner.handle_request(request)
        attempt.set_attributes(self.attempt_end)
        attempt.end()
        span.set_attributes(self.end)
        span.end()
        self.in_flight.inc(-1)
        context = span.get_span_context()
        exemplar = {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }
        for series, amount, leads_to_span in self.histograms:
            series.observe(amount, exemplar if leads_to_span else None)
        for series, amount in self.counters:
            series.inc(amount)
        return response


def client(transport: httpx2.BaseTransport) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=BASE_URL, api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0
    )


def chat(sdk: openai.OpenAI) -> None:
    sdk.chat.completions.create(model=MODEL, messages=MESSAGES)


def stream(sdk: openai.OpenAI) -> None:
    for _ in sdk.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ):
        pass


Work = Callable[[], None]
Costs = dict[str, list[float]]
"""By name, the process CPU seconds of one piece of work, round by round."""


def cpu_of(work: Work, times: int) -> float:
    """Process CPU seconds of one piece of work."""
    started = time.process_time_ns()
    for _ in range(times):
        work()
    return (time.process_time_ns() - started) / times / 1e9


def costs_of(works: dict[str, Work], times: int, rounds: int) -> Costs:
    """
    What each piece of work costs, taken in turns, another one first in each round.

    What is there before stays out of the collector's sight; what the work itself leaves
    for it is part of the cost.
    """
    for work in works.values():
        cpu_of(work, 30)
    gc.collect()
    gc.freeze()
    costs: Costs = {name: [] for name in works}
    for turn in range(rounds):
        for name in islice(cycle(works), turn % len(works), turn % len(works) + len(works)):
            costs[name].append(cpu_of(works[name], times))
    gc.unfreeze()
    return costs


def added(costs: Costs, name: str) -> float:
    """What this one costs more than the bare one: the median over the rounds, each against its own neighbour."""
    return statistics.median(one - bare for one, bare in zip(costs[name], costs["bare"], strict=True))


def a_call(clients: dict[str, openai.OpenAI], rounds: int) -> bool:
    """Measure and tell a chat call; whether it is within its limits."""
    costs = costs_of({name: lambda sdk=sdk: chat(sdk) for name, sdk in clients.items()}, 5, 100 * rounds)
    bare, floor, watched = statistics.median(costs["bare"]), added(costs, "floor"), added(costs, "watched")
    print(
        f"a chat call           bare {bare * 1e6:7.0f} us   floor +{floor * 1e6:.0f} us   watched +{watched * 1e6:.0f} us"
    )
    print(f"  added / floor       {watched / floor:5.2f}   (at most 1.50)")
    print(f"  added / bare call   {watched / bare:5.1%}  (at most 30%)")
    return watched <= 1.5 * floor and watched <= 0.3 * bare


def a_chunk(
    memory: InMemory, clients: dict[str, openai.OpenAI], rounds: int, *, whole: bool, most: float
) -> bool:
    """Measure and tell a streamed chunk: a long stream less a short one is what its chunks cost, and nothing else."""

    def streaming(name: str, length: int) -> Work:
        parts = [chunk(number) for number in range(length)] + TAIL
        parts = [b"".join(parts)] if whole else parts

        def work() -> None:
            memory.parts = parts
            stream(clients[name])

        return work

    names = ("bare", "watched")
    works = {f"{name} {length}": streaming(name, length) for name in names for length in (FEW, CHUNKS)}
    costs = costs_of(works, 1, 20 * rounds)
    chunks = {
        name: [
            (long - short) / (CHUNKS - FEW)
            for long, short in zip(costs[f"{name} {CHUNKS}"], costs[f"{name} {FEW}"], strict=True)
        ]
        for name in names
    }
    bare, watched = statistics.median(chunks["bare"]), added(chunks, "watched")
    how = "in one buffer" if whole else "one part an event"
    print(f"a streamed chunk      bare {bare * 1e6:7.1f} us   watched +{watched * 1e6:.2f} us   {how}")
    print(f"  added / bare chunk  {watched / bare:5.1%}  (at most {most:.0%})")
    return watched <= most * bare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    memory = InMemory()
    provider = TracerProvider(shutdown_on_exit=False)
    watched = ModelArkTransport(memory, tracer_provider=provider, registry=CollectorRegistry())
    clients = {"bare": client(memory), "floor": client(Floor(memory, provider)), "watched": client(watched)}
    kept = [
        a_call(clients, rounds),
        a_chunk(memory, clients, rounds, whole=True, most=0.03),
        a_chunk(memory, clients, rounds, whole=False, most=0.06),
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
