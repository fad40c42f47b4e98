"""
What watching costs: the CPU added to a chat call and to a streamed chunk of the openai SDK.

    python benchmarks/overhead.py [--rounds N]

Three clients make the same calls over the same in-memory transport, in turns, in one
process: bare, watched by us, and the floor. The floor is a transport that knows the
answer beforehand and makes only the records: two recording spans with our attributes,
the histograms with exemplars and the counters of the contract. Figures are process CPU;
trust the ratios.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import httpx2
import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, Counter, Histogram

from byteplus_trace._instruments import SECONDS
from byteplus_trace.httpx2 import ModelArkTransport

BASE_URL = "https://ark.ap-southeast.bytepluses.com/api/v3"
MODEL = "seed-1-6-250915"
CHUNKS = 500
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


class Floor(httpx2.BaseTransport):
    """The records alone."""

    def __init__(
        self, inner: httpx2.BaseTransport, provider: TracerProvider, registry: CollectorRegistry
    ) -> None:
        self.inner = inner
        self.tracer = provider.get_tracer("floor")
        operation = ("operation", "model", "region")

        def counter(name: str, labels: tuple[str, ...], values: tuple[str, ...]) -> Counter:
            return Counter(name, name, labels, registry=registry).labels(*values)

        def histogram(name: str, labels: tuple[str, ...], values: tuple[str, ...]) -> Histogram:
            return Histogram(name, name, labels, registry=registry, buckets=SECONDS).labels(*values)

        place = ("chat", MODEL, "ap-southeast-1")
        self.histograms = [
            histogram("duration", (*operation, "stream", "result"), (*place, "false", "ok")),
            histogram("attempt", ("operation", "target", "region", "result"), ("chat", "sg", "sg", "ok")),
        ]
        tokens = counter("tokens", (*operation, "type"), (*place, "input"))
        self.counters = [
            (counter("operations", (*operation, "api", "outcome", "error_type"), (*place, "chat", "ok", "")), 1),
            (counter("attempts", ("operation", "target", "region", "result", "reason"), ("chat", "sg", "sg", "ok", "none")), 1),
            (tokens, 19), (tokens, 24), (tokens, 4), (tokens, 9),
            (counter("cost", operation, place), 0.0001),
            (counter("flight", ("operation",), ("chat",)), 1), (counter("flight2", ("operation",), ("chat",)), 1),
        ]  # fmt: skip

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        span = self.tracer.start_span(
            f"chat {MODEL}",
            kind=trace.SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat", "gen_ai.provider.name": "byteplus.modelark", "gen_ai.request.model": MODEL,
                "server.address": "ark.ap-southeast.bytepluses.com", "server.port": 443, "cloud.region": "ap-southeast-1",
                "byteplus.modelark.api": "chat_completions",
            },
        )  # fmt: skip
        attempt = self.tracer.start_span(
            "POST",
            trace.set_span_in_context(span),
            kind=trace.SpanKind.CLIENT,
            attributes={
                "http.request.method": "POST", "server.address": "ark.ap-southeast.bytepluses.com", "server.port": 443,
                "url.full": BASE_URL + "/chat/completions", "cloud.region": "ap-southeast-1",
                "byteplus.modelark.target": "ap-southeast-1", "byteplus.modelark.attempt.cause": "initial",
            },
        )  # fmt: skip
        response = self.inner.handle_request(request)
        attempt.set_attributes(
            {"http.response.status_code": 200, "byteplus.modelark.request_id": "0217426318107460cfa"}
        )
        attempt.end()
        span.set_attributes(
            {
                "gen_ai.response.id": "0217426318107460cfa", "gen_ai.response.model": MODEL,
                "gen_ai.response.finish_reasons": ["stop"], "gen_ai.usage.input_tokens": 19,
                "gen_ai.usage.output_tokens": 24, "gen_ai.usage.cache_read.input_tokens": 4,
                "gen_ai.usage.reasoning.output_tokens": 9, "byteplus.modelark.outcome": "ok",
                "byteplus.modelark.attempts": 1, "byteplus.modelark.target": "ap-southeast-1",
                "server.address": "ark.ap-southeast.bytepluses.com", "server.port": 443, "cloud.region": "ap-southeast-1",
                "byteplus.modelark.request_id": "0217426318107460cfa", "byteplus.modelark.upstream_ms": 312,
                "byteplus.modelark.service_tier": "default", "byteplus.modelark.cost_usd": 0.0001,
            }
        )  # fmt: skip
        span.end()
        context = span.get_span_context()
        exemplar = {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }
        for each in self.histograms:
            each.observe(0.312, exemplar)
        for each, amount in self.counters:
            each.inc(amount)
        return response


def client(transport: httpx2.BaseTransport) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=BASE_URL, api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0
    )


def cpu_of(work: Callable[[], None], times: int) -> float:
    """Process CPU seconds of one piece of work."""
    gc.collect()
    gc.disable()
    started = time.process_time_ns()
    for _ in range(times):
        work()
    spent = time.process_time_ns() - started
    gc.enable()
    return spent / times / 1e9


def measured(works: dict[str, Callable[[], None]], times: int, rounds: int) -> dict[str, float]:
    """The median cost of each piece of work, taken in turns."""
    for work in works.values():
        cpu_of(work, 20)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(cpu_of(work, times))
    return {name: statistics.median(each) for name, each in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    memory = InMemory()
    provider = TracerProvider(shutdown_on_exit=False)
    watched = ModelArkTransport(memory, tracer_provider=provider, registry=CollectorRegistry())
    clients = {
        "bare": client(memory),
        "floor": client(Floor(memory, provider, CollectorRegistry())),
        "watched": client(watched),
    }

    def chat(sdk: openai.OpenAI) -> None:
        sdk.chat.completions.create(model=MODEL, messages=MESSAGES)

    def stream(sdk: openai.OpenAI) -> None:
        for _ in sdk.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        ):
            pass

    call = measured({name: lambda sdk=sdk: chat(sdk) for name, sdk in clients.items()}, 10, 10 * rounds)
    added, least = call["watched"] - call["bare"], call["floor"] - call["bare"]
    print(
        f"a chat call           bare {call['bare'] * 1e6:7.0f} us   floor +{least * 1e6:.0f} us   watched +{added * 1e6:.0f} us"
    )
    print(f"  added / floor       {added / least:5.2f}   (at most 1.50)")
    print(f"  added / bare call   {added / call['bare']:5.1%}  (at most 30%)")
    kept = added <= 1.5 * least and added <= 0.3 * call["bare"]

    for name, whole, most in (("in one buffer", True, 0.03), ("one part an event", False, 0.06)):
        cost = {}
        # The difference of a long stream and a short one is what its chunks cost, and nothing else.
        for length in (FEW, CHUNKS):
            parts = [chunk(number) for number in range(length)] + TAIL
            memory.parts = [b"".join(parts)] if whole else parts
            works = {each: lambda sdk=clients[each]: stream(sdk) for each in ("bare", "watched")}
            cost[length] = measured(works, 1 if length == CHUNKS else 10, 3 * rounds)
        spent = {
            each: (cost[CHUNKS][each] - cost[FEW][each]) / (CHUNKS - FEW) for each in ("bare", "watched")
        }
        added = spent["watched"] - spent["bare"]
        print(
            f"a streamed chunk      bare {spent['bare'] * 1e6:7.1f} us   watched +{added * 1e6:.2f} us   {name}"
        )
        print(f"  added / bare chunk  {added / spent['bare']:5.1%}  (at most {most:.0%})")
        kept = kept and added <= most * spent["bare"]
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
