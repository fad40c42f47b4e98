"""
What `byteplus-trace watch` takes: 200 calls a second for a minute, while somebody presses keys.

    python benchmarks/watch.py [--seconds 60] [--rate 200]

Another process exports the spans of calls, with their attempts and the caller's own span,
over OTLP as the SDK does. The app draws to a terminal of 120x40 that nobody sees. It prints
how long keys take to be answered (by the clock, and of that the processor time of the view's
thread), how much memory the process takes, and whether spans sent = shown + dropped. The exit
status is 1 where they are not, or where one key of a hundred took longer than 100 ms: on a
machine that is busy with something else the clock says more of that than of the view.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import time

from byteplus_trace._watch.app import CallRows, Watch
from byteplus_trace._watch.receiver import Receiver
from byteplus_trace._watch.store import Store

SENDER = """
import json, sys, time
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
provider = TracerProvider(shutdown_on_exit=False)
exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000, schedule_delay_millis=250))
tracer = provider.get_tracer("byteplus_trace")
begun, calls = time.monotonic(), 0
while time.monotonic() - begun < seconds:
    while calls < (time.monotonic() - begun) * rate:
        calls += 1
        failed = calls % 20 == 0
        with tracer.start_as_current_span("GET /answer"):
            with tracer.start_as_current_span("chat seed-2-0-lite-260428", kind=SpanKind.CLIENT, attributes={
                "byteplus.modelark.api": "chat_completions", "gen_ai.operation.name": "chat",
                "gen_ai.request.model": f"seed-{calls % 7}", "gen_ai.provider.name": "byteplus.modelark",
                "cloud.region": "ap-southeast-1", "byteplus.modelark.outcome": "error" if failed else "ok",
                "byteplus.modelark.metadata.team": f"team-{calls % 5}", "user.id": f"u-{calls % 1000}",
                "byteplus.modelark.request_id": f"021795{calls:040d}", "byteplus.modelark.attempts": 1,
                "gen_ai.usage.input_tokens": calls % 5000, "gen_ai.usage.output_tokens": calls % 700,
                "gen_ai.response.time_to_first_chunk": 0.2, "byteplus.modelark.cost_usd": 0.0004,
                "byteplus.modelark.target": "sg", "server.address": "ark.ap-southeast.bytepluses.com",
            }):
                with tracer.start_as_current_span("POST", kind=SpanKind.CLIENT, attributes={
                    "byteplus.modelark.attempt.cause": "initial", "byteplus.modelark.target": "sg",
                    "cloud.region": "ap-southeast-1", "http.response.status_code": 503 if failed else 200,
                    "url.full": "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions",
                }):
                    pass
    time.sleep(0.002)
provider.shutdown()
print(json.dumps({"calls": calls, "spans": 3 * calls}))
"""
KEYS = (
    "down",
    "down",
    "up",
    "s",
    "r",
    "end",
    "home",
    "2",
    "b",
    "1",
    "p",
    "p",
    "slash",
    "e",
    "r",
    "r",
    "escape",
    "enter",
    "down",
    "escape",
)


async def answer(app: Watch, key: str) -> None:
    """
    Press a key, and wait until everything that may act on it has, and the screen is drawn.

    Not `Pilot.press`, which waits until the whole process is idle, and so for the receiver too.
    """
    drawn = asyncio.Event()
    passed = [*app.focused.ancestors_with_self] if app.focused is not None else [app.screen, app]

    def next_one() -> None:
        if passed:
            passed.pop(0).call_next(next_one)
        else:
            app.screen.call_after_refresh(drawn.set)

    app.simulate_key(key)
    app.call_next(next_one)
    await drawn.wait()


async def watch(
    receiver: Receiver, rate: float, seconds: float
) -> tuple[dict[str, int], list[tuple[float, float]], int]:
    """Drive the app while spans arrive: what was sent, how long keys took, and the calls shown at the end."""
    app = Watch(receiver)
    gc.freeze()  # as the command does
    taken: list[tuple[float, float]] = []
    async with app.run_test(size=(120, 40)) as pilot:
        sender = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SENDER, str(receiver.port), str(rate), str(seconds), stdout=subprocess.PIPE
        )
        sent = asyncio.create_task(sender.communicate())
        pressed = 0
        while not sent.done():
            begun, used = time.perf_counter(), time.thread_time()
            await answer(app, KEYS[pressed % len(KEYS)])
            taken.append((time.perf_counter() - begun, time.thread_time() - used))
            pressed += 1
            await asyncio.sleep(0.1)
        while len(app.screen_stack) > 1:
            await pilot.press("escape")
        await pilot.press("escape")
        app.look()
        app.draw()
        return json.loads((await sent)[0]), taken, app.query_one(CallRows).total


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    args = parser.parse_args()
    receiver = Receiver(Store(), 0)
    receiver.start()
    before = _megabytes()
    try:
        sent, taken, shown = asyncio.run(watch(receiver, args.rate, args.seconds))
    finally:
        receiver.stop()
    counts = receiver.store.counts()
    by_clock = _spread([clock for clock, _ in taken])
    by_processor = _spread([processor for _, processor in taken])
    adds_up = sent["spans"] == counts.held + counts.dropped
    print(f"sent      {sent['calls']:,} calls, {sent['spans']:,} spans")
    print(f"held      {counts.held:,} spans in {counts.bytes / 1e6:.1f} MB packed, {shown:,} calls shown")
    print(
        f"dropped   {counts.dropped:,} spans, for newer ones; at most {receiver.store.most_spans:,} are held"
    )
    print(f"keys      {len(taken)} pressed, answered within {_shown(by_clock)}")
    print(f"          of which processor time {_shown(by_processor)}")
    print(f"memory    {_megabytes():.0f} MB at most, {before:.0f} MB before")
    print("sent = shown + dropped" if adds_up else "SENT IS NOT SHOWN + DROPPED")
    print(f"load      {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0 if adds_up and by_clock[1] <= 0.1 else 1


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    """The middle, what 99 of 100 do not exceed, and the most."""
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]


def _shown(spread: tuple[float, float, float]) -> str:
    middle, nearly_all, most = (each * 1000 for each in spread)
    return f"{middle:.0f} ms (middle), {nearly_all:.0f} ms (99%), {most:.0f} ms (most)"


def _megabytes() -> float:
    """The most memory that this process has had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    sys.exit(main())
