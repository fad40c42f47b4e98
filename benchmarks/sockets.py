"""
What observing costs on real sockets: time, memory and threads, of httpx2 alone, observed, and under a policy.

    python benchmarks/sockets.py                                      everything, for some minutes
    python benchmarks/sockets.py --rounds 200 --streams 100 --calls 1000 --batch 100

A server of fixed replies runs in a process of its own, on the loopback. Times are of one process in
which the three take turns, in another order each round, so that what else the machine does meets all
of them. Memory is the resident memory of a process for each, as Linux counts it. Spans go to a batch
processor whose exporter throws them away. `README.md` beside this file shows a run.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

MODES = ALONE, OBSERVED, ROUTED = "httpx2 alone", "observed", "under a policy"
THREADS = (1, 2, 4, 8, 16)
TURNS = 5
"""How often each number of threads is measured; the median counts."""
WARM_UP = 50

BODY = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
HELD = {**STREAMED, "user": "held"}
"""The server leaves the stream open after its first parts."""

DOCUMENT = (
    b'{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"The Rhine.","role":"assistant"}}],'
    b'"created":1742631811,"id":"0217426318107460cfa","model":"seed-1-6-250915","object":"chat.completion",'
    b'"usage":{"completion_tokens":24,"prompt_tokens":19,"total_tokens":43}}'
)
CHUNK = (
    b'data: {"choices":[{"delta":{"content":" word","role":"assistant"},"index":0}],"created":1742632436,'
    b'"id":"0217426324357","model":"seed-1-6-250915","object":"chat.completion.chunk","usage":null}\n\n'
)
END = (
    b'data: {"choices":[{"delta":{"content":""},"finish_reason":"stop","index":0}],"created":1742632436,'
    b'"id":"0217426324357","model":"seed-1-6-250915","object":"chat.completion.chunk","usage":null}\n\n'
    b'data: {"choices":[],"created":1742632436,"id":"0217426324357","model":"seed-1-6-250915",'
    b'"object":"chat.completion.chunk","usage":{"completion_tokens":5,"prompt_tokens":19,"total_tokens":24}}\n\n'
    b"data: [DONE]\n\n"
)


# The server, in a process of its own.


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: 0217426318107460cfa\r\n"
REPLY = HEAD + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(DOCUMENT), DOCUMENT)
BEGUN = (
    HEAD + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(CHUNK, CHUNK)
)
REST = chunked(CHUNK, CHUNK, CHUNK, END) + b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """Answers each request of a connection at once."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"\r\ncontent-length: *(\d+)", self.received[:end], re.IGNORECASE)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < whole:
                return
            body, self.received = self.received[end + 4 : whole], self.received[whole:]
            if b'"stream":true' not in body:
                self.transport.write(REPLY)
                continue
            self.transport.write(BEGUN)
            if b'"held"' not in body:
                self.transport.write(REST)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def server() -> Iterator[str]:
    """The base URL of a server that runs meanwhile."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", "server"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/api/v3"
    finally:
        process.kill()
        process.communicate()


# The callers.


def client_of(mode: str, base_url: str) -> Any:
    """A client with a pool of its own, that is observed or routed as the mode says."""
    import httpx2

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    transport: Any = httpx2.HTTPTransport(limits=limits)
    if mode != ALONE:
        transport = ours_around(transport, base_url, is_routed=mode == ROUTED)
    return httpx2.Client(
        transport=transport, base_url=base_url, headers={"authorization": "Bearer k"}, timeout=60
    )


def ours_around(transport: Any, base_url: str, *, is_routed: bool) -> Any:
    """Our transport. Its imports are here, so that a process of httpx2 alone has none of them in its memory."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from prometheus_client import CollectorRegistry

    from byteplus_trace.httpx2 import ModelArkTransport

    class ThrowAway(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(ThrowAway()))
    settings: dict[str, Any] = {
        "tracer_provider": provider,
        "registry": CollectorRegistry(),
        "base_urls": {base_url: "ap-southeast-1"},
    }
    if is_routed:
        from byteplus_trace import Policy, Target

        logging.getLogger("byteplus_trace").setLevel(logging.ERROR)  # what a policy warns of is no figure
        settings["policy"] = Policy(
            targets=[
                Target("sg", region="ap-southeast-1", base_url=base_url, api_key="k"),
                Target("eu", region="eu-west-1", api_key="k2"),
            ]
        )
    return ModelArkTransport(transport, **settings)


def call(client: Any) -> None:
    client.post("/chat/completions", json=BODY).raise_for_status()


def first_part(client: Any) -> float:
    """Seconds from the call to the first part of its stream."""
    began = time.perf_counter()
    with client.stream("POST", "/chat/completions", json=STREAMED) as response:
        parts = response.iter_raw()
        next(parts)
        took = time.perf_counter() - began
        for _ in parts:
            pass
    return took


def times_to_first_part(clients: Mapping[str, Any], rounds: int) -> dict[str, list[float]]:
    """The times of each mode, one a round."""
    found: dict[str, list[float]] = {mode: [] for mode in clients}
    for number in range(-WARM_UP, rounds):
        for mode in random.sample(MODES, len(MODES)):
            took = first_part(clients[mode])
            if number >= 0:
                found[mode].append(took)
    return found


def calls_a_second(clients: Mapping[str, Any], threads: int, calls: int) -> dict[str, float]:
    """What so many threads that share a client do together, in each mode."""
    rates: dict[str, list[float]] = {mode: [] for mode in clients}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(TURNS):
            for mode in random.sample(MODES, len(MODES)):
                began = time.perf_counter()
                list(pool.map(call, [clients[mode]] * calls))
                rates[mode].append(calls / (time.perf_counter() - began))
    return {mode: statistics.median(measured) for mode, measured in rates.items()}


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_of_streams(client: Any, streams: int) -> float:
    """Bytes that a stream takes while it is open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    opened = []

    def open_one() -> None:
        request = client.build_request("POST", "/chat/completions", json=HELD)
        response = client.send(request, stream=True)
        parts = response.iter_raw()
        next(parts)
        opened.append((response, parts))

    for _ in range(WARM_UP):
        open_one()
    before = resident()
    for _ in range(streams):
        open_one()
    return (resident() - before) / streams


def memory_of_calls(client: Any, marks: Sequence[int]) -> list[int]:
    """Bytes that are in memory after so many calls."""
    found, made = [], 0
    for mark in marks:
        for _ in range(mark - made):
            call(client)
        made = mark
        found.append(resident())
    return found


def in_its_own_process(what: str, mode: str, base_url: str, *numbers: int) -> Any:
    command = [sys.executable, __file__, "--child", what, mode, base_url, *map(str, numbers)]
    return json.loads(subprocess.check_output(command, text=True))


# The table.


def show(title: str, figures: Mapping[str, str]) -> None:
    print(f"{title:38}" + "".join(f"{figures.get(mode, ''):>16}" for mode in MODES), flush=True)


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def measure(rounds: int, streams: int, calls: int, batch: int) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("httpx2", "opentelemetry-sdk"))
    print(f"Python {platform.python_version()}, {packages}, {os.cpu_count()} cores")
    show("", {mode: mode for mode in MODES})
    with server() as base_url:
        clients = {mode: client_of(mode, base_url) for mode in MODES}
        times = times_to_first_part(clients, rounds)
        alone = times[ALONE]
        show(
            "time to first part, median",
            {mode: microseconds(statistics.median(times[mode])) for mode in MODES},
        )
        added = {
            mode: statistics.median(ours - bare for ours, bare in zip(times[mode], alone, strict=True))
            for mode in (OBSERVED, ROUTED)
        }
        show("  added, median of the rounds", {mode: microseconds(each) for mode, each in added.items()})
        tails = {mode: statistics.quantiles(times[mode], n=20)[-1] for mode in MODES}
        show("  95 of 100 took less", {mode: microseconds(tails[mode]) for mode in MODES})
        for threads in THREADS:
            rates = calls_a_second(clients, threads, batch)
            show(
                f"calls a second, {threads} thread{'s' if threads > 1 else ''}",
                {mode: f"{rates[mode]:,.0f}" for mode in MODES},
            )
        for client in clients.values():
            client.close()
        held = {mode: in_its_own_process("streams", mode, base_url, streams) for mode in MODES}
        show(
            f"memory of an open stream, of {streams:,}",
            {mode: f"{held[mode] / 1024:.1f} KiB" for mode in MODES},
        )
        marks = [calls // 100, calls // 10, calls // 2, calls]
        after = {mode: in_its_own_process("calls", mode, base_url, *marks) for mode in MODES}
        for at, mark in enumerate(marks):
            show(
                f"resident after {mark:,} calls",
                {mode: f"{after[mode][at] / 2**20:.1f} MiB" for mode in MODES},
            )


def child(what: str, *arguments: str) -> None:
    if what == "server":
        asyncio.run(serve())
        return
    mode, base_url, *numbers = arguments
    client = client_of(mode, base_url)
    counts = [int(number) for number in numbers]
    print(
        json.dumps(
            memory_of_streams(client, *counts) if what == "streams" else memory_of_calls(client, counts)
        ),
        flush=True,
    )
    # Spans that wait, and streams that are open, are nobody's concern any more.
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument(
        "--rounds", type=int, default=2_000, help="streams of each kind that are timed to their first part"
    )
    parser.add_argument(
        "--batch", type=int, default=1_000, help="calls of each kind and number of threads, five times"
    )
    parser.add_argument("--streams", type=int, default=1_000, help="streams that are open together")
    parser.add_argument("--calls", type=int, default=100_000, help="calls after which memory is read")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
    else:
        measure(arguments.rounds, arguments.streams, arguments.calls, arguments.batch)


if __name__ == "__main__":
    main()
