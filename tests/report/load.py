"""
Many mixed calls, 200 of them in flight, while the service fails in every way it can.

The service is a process of its own, so that this one's memory, threads and descriptors are ours and the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace import Breaker, Policy, Retry, Target

from .calls import as_for_users
from .figures import Figures

CALLS, CALLS_THOROUGH = 20_000, 200_000
IN_FLIGHT = 200
PER_CLIENT = 10
MOST_GROWTH = 1_024
"""Bytes for each call, over the second half of the run."""
SG, EU = "ap-southeast-1", "eu-west-1"
CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "hi"}]}
EMBED = {"model": "doubao-embedding-vision-250615", "input": ["hi"]}
IMAGE = {"model": "seedream-4-0-250828", "prompt": "a river"}
RESPONSE = {"model": "seed-1-6-250915", "input": "hi"}
MIX: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("/chat/completions", CHAT, "read"),
    ("/chat/completions", {**CHAT, "stream": True}, "read"),
    ("/chat/completions", {**CHAT, "stream": True}, "left"),
    ("/embeddings/multimodal", EMBED, "read"),
    ("/responses", {**RESPONSE, "stream": True}, "read"),
    ("/responses", RESPONSE, "read"),
    ("/images/generations", IMAGE, "read"),
    ("/chat/completions", CHAT, "cancelled"),
)

SERVICE = """
import itertools, sys, threading, time
from byteplus_trace.testing import ModelArk
with ModelArk(keeps=10) as ark:
    print(*[region.base_url for region in ark.regions], flush=True)
    region = ark.regions[0]
    faults = itertools.cycle([
        lambda: region.fails(503, times=20), lambda: region.throttles(retry_after=0, times=20), lambda: region.resets(times=20),
        lambda: region.closes(times=20), lambda: region.cuts(after_events=1, times=20), lambda: region.errors_in_stream(times=20),
        lambda: region.answers_empty(times=20), lambda: region.answers_html(times=20), lambda: region.answers_garbage(times=20),
        lambda: region.hangs(times=2), lambda: region.delays(headers=0.05, times=20), lambda: region.fails(400, times=20),
    ])
    for line in sys.stdin:
        next(faults)()
"""
EVERY = 100
"""Calls from one fault to the next."""


class Counting(SpanProcessor):
    """Synchronous, and keeps nothing but the number of calls that ended."""

    def __init__(self) -> None:
        self.ended = (
            itertools.count()
        )  # spans end in the loop's thread and in the background's: one step is safe

    def on_end(self, span: Any) -> None:
        if "gen_ai.operation.name" in (span.attributes or {}):
            next(self.ended)


@contextlib.contextmanager
def service() -> Iterator[tuple[list[str], Any]]:
    """A fake ModelArk elsewhere: its base URLs, and a function that has it begin the next fault."""
    with subprocess.Popen([sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        stdin = process.stdin

        def next_fault() -> None:
            stdin.write("\n")
            stdin.flush()

        try:
            yield process.stdout.readline().split(), next_fault
        finally:
            process.send_signal(signal.SIGKILL)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Load:
    """The calls, and what was measured meanwhile."""

    def __init__(self, count: int, base_url: str, next_fault: Any) -> None:
        self.count = count
        self.base_url = base_url
        self.next_fault = next_fault
        self.numbers = itertools.count()
        self.made = self.raised = self.faults = 0
        self.memory: list[tuple[int, int]] = []
        self.threads = self.descriptors = 0
        self.stalls: list[float] = []

    async def main(self) -> None:
        options = {
            "headers": {"Authorization": "Bearer key"},
            "timeout": httpx.Timeout(30, read=2),
            "trust_env": False,
        }
        tls = ssl.create_default_context()
        watching = asyncio.create_task(self.watch())
        async with contextlib.AsyncExitStack() as stack:
            # A pool of 200 connections looks through all of them for each request, and would be what is measured.
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(verify=tls, **options))
                for _ in range(IN_FLIGHT // PER_CLIENT)
            ]
            await asyncio.gather(*(self.worker(client) for client in clients * PER_CLIENT))
        watching.cancel()

    async def worker(self, client: httpx.AsyncClient) -> None:
        while (number := next(self.numbers)) < self.count:
            if number % EVERY == 0:
                self.next_fault()
                self.faults += 1
            if number % (self.count // 40) == 0:
                gc.collect()
                self.memory.append((number, resident()))
                self.threads = max(self.threads, threading.active_count())
                self.descriptors = max(self.descriptors, descriptors())
            self.made += 1
            try:
                await self.call(client, *MIX[number % len(MIX)])
            except httpx.HTTPError:
                self.raised += 1

    async def call(self, client: httpx.AsyncClient, path: str, body: dict[str, Any], ending: str) -> None:
        with contextlib.suppress(TimeoutError):
            # One that is cancelled has hardly begun; its span is counted all the same.
            async with asyncio.timeout(0.005 if ending == "cancelled" else None):
                async with client.stream("POST", self.base_url + path, json=body) as reply:
                    async for _ in reply.aiter_raw():
                        if ending == "left":
                            break

    async def watch(self) -> None:
        """How late the loop is, twenty times a second."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.05)
            self.stalls.append(time.monotonic() - began - 0.05)

    @property
    def growth(self) -> float:
        """Bytes of memory for each call, over the second half: the slope of a line through what was measured."""
        half = [each for each in self.memory if each[0] >= self.count // 2]
        middle = sum(number for number, _ in half) / len(half)
        mean = sum(size for _, size in half) / len(half)
        across = sum((number - middle) * (size - mean) for number, size in half)
        return across / sum((number - middle) ** 2 for number, _ in half)


def run(thorough: bool) -> Iterator[Figures]:
    count = CALLS_THOROUGH if thorough else CALLS
    yield loaded(count)


def loaded(count: int) -> Figures:
    # That a breaker opens, and closes again, is a line each time.
    logging.disable(logging.CRITICAL)
    figures = Figures(f"{count:,} mixed calls under a policy, {IN_FLIGHT} in flight")
    counting, exchanges = Counting(), itertools.count()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(counting)
    with service() as (urls, next_fault), as_for_users():
        targets = [Target(name, region=name, base_url=url, api_key="k") for name, url in zip((SG, EU), urls, strict=True)]  # fmt: skip
        policy = Policy(targets, retry=Retry(base=0.01, cap=0.02), breaker=Breaker(open=0.5, open_max=1))
        registry = CollectorRegistry()
        threads_before, descriptors_before = threading.active_count(), descriptors()
        byteplus_trace.instrument(
            tracer_provider=provider,
            registry=registry,
            base_urls=dict(zip(urls, (SG, EU), strict=True)),
            policy=policy,
            on_exchange=lambda _: next(exchanges),
        )
        load = Load(count, urls[0], next_fault)
        asyncio.run(load.main())
        byteplus_trace.flush()
        open_calls = sum(
            s.value
            for f in registry.collect()
            for s in f.samples
            if s.name == "modelark_operations_in_flight"
        )
        ours = sum(
            s.value
            for f in registry.collect()
            for s in f.samples
            if s.name == "modelark_telemetry_errors_total"
        )
        byteplus_trace.uninstrument()
    gc.collect()
    figures.calls, figures.faults, figures.inputs = load.made, load.faults, len(MIX)
    recorded = next(exchanges)
    figures.spans_lost = abs(load.made - next(counting.ended))
    figures.require(recorded == load.made, f"{recorded} exchanges of {load.made} calls")
    figures.require(not open_calls, f"{open_calls:.0f} calls are still counted as open")
    figures.require(not ours, f"{ours:.0f} faults of our own were swallowed")
    remaining = threading.active_count() - threads_before, descriptors() - descriptors_before
    figures.require(remaining[0] <= 3, f"{remaining[0]} threads are left")
    figures.require(remaining[1] <= 3, f"{remaining[1]} descriptors are left")
    figures.require(load.growth < MOST_GROWTH, f"memory grows by {load.growth:.0f} bytes a call")
    stalls = sorted(load.stalls)
    figures.notes += [
        f"{load.raised} raise",
        f"memory grows by {load.growth:.0f} bytes a call",
        f"at most {load.threads} threads and {load.descriptors} descriptors",
        f"the event loop is late by {stalls[len(stalls) // 2] * 1000:.0f} ms (half), {stalls[-1 - len(stalls) // 100] * 1000:.0f} ms (99 of 100)",
    ]
    return figures
