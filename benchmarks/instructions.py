"""
What observing costs, counted in instructions: a chat call and a streamed chunk of the openai SDK.

    python benchmarks/instructions.py            count, print, and write benchmarks/instructions.json
    python benchmarks/instructions.py --check    count, and compare with benchmarks/instructions.json

Needs valgrind and gcc. Each scenario runs in a process of its own under callgrind, over an
in-memory transport, without a network and without an exporter. `--check` exits with 1 where an
added share grew by more than its limit. `README.md` beside this file explains the figures.

The bare SDK is counted in the process of each scenario, before that is switched on. What a chunk
of the SDK costs depends on where objects happen to lie, by 0.2% and more: which attributes share
a slot of the interpreter's method cache. Both sides of one process share that; two processes, or
two versions of our code, do not.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMITTED = HERE / "instructions.json"
PINS = HERE / "requirements.txt"

CALL_LIMIT = 0.5
"""Points of the bare SDK's call by which an added share may grow."""
CHUNK_LIMIT = 0.1
"""Points of the bare SDK's chunk by which an added share may grow."""
CHUNK_NOISE = 0.1
"""Points by which a chunk of the same code differs between two folders: their paths move what lies in memory."""

UNITS = ("call", "chunk")
SEEDS = (0, 1, 2)
"""Hash seeds, one a run: another seed is another layout of the memory, which moves a chunk by 0.15 points. The median counts."""
WINDOWS = 3
WARM_UP = 20
CALLS = 10
FEW, MANY = 5, 105

BARE = "the SDK alone"
SCENARIOS = {
    "observed": "observed, no MeterProvider",
    "metered": "observed, with a MeterProvider",
    "when_retried": 'metered, attempt_spans="when_retried"',
    "transport": "explicit ModelArkTransport",
    "routed": "routed, two targets, nothing fails",
    "unsampled": "unsampled, no MeterProvider",
    "no_sdk": "without an OpenTelemetry SDK",
    "http_spans_otel": 'http_spans="otel"',
    "content": "content captured",
}

REQUESTS = """
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; }
void stop(void) { CALLGRIND_STOP_INSTRUMENTATION; }
void zero(void) { CALLGRIND_ZERO_STATS; }
void dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
"""

BASE_URL = "https://ark.ap-southeast.bytepluses.com/api/v3"
MODEL = "seed-1-6-250915"
MESSAGES: Any = [{"role": "user", "content": "Name three rivers of Asia."}]

DOCUMENT = (
    b'{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"The Yangtze, the Mekong and '
    b'the Ganges.","reasoning_content":"Three rivers.","role":"assistant"}}],"created":1742631811,"id":"0217426318107460cfa",'
    b'"model":"seed-1-6-250915","service_tier":"default","object":"chat.completion","usage":{"completion_tokens":24,'
    b'"prompt_tokens":19,"total_tokens":43,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":'
    b'{"reasoning_tokens":9}}}'
)
HEADERS = {"x-request-id": "0217426318107460cfa", "x-envoy-upstream-service-time": "312"}
TAIL = [
    b'data: {"choices":[{"delta":{"content":"","role":"assistant"},"finish_reason":"stop","index":0}],"created":1742632436,'
    b'"id":"021742632435712396f12d018b5d576a7a","model":"seed-1-6-250915","object":"chat.completion.chunk","usage":null}\n\n',
    b'data: {"choices":[],"created":1742632436,"id":"021742632435712396f12d018b5d576a7a","model":"seed-1-6-250915",'
    b'"object":"chat.completion.chunk","usage":{"completion_tokens":500,"prompt_tokens":19,"total_tokens":519}}\n\n',
    b"data: [DONE]\n\n",
]

Work = Callable[[], None]


def chunk(number: int) -> bytes:
    return (
        b'data: {"choices":[{"delta":{"content":" word%d","role":"assistant"},"index":0}],"created":1742632436,'
        b'"id":"021742632435712396f12d018b5d576a7a","model":"seed-1-6-250915","service_tier":"default",'
        b'"object":"chat.completion.chunk","usage":null}\n\n' % number
    )


# In the child, under valgrind.


def in_memory_transport() -> tuple[Any, list[bytes]]:
    """A transport that answers each chat at once, and the parts of its streamed answers, to be replaced in place."""
    import httpx2

    parts: list[bytes] = list(TAIL)

    class Body(httpx2.SyncByteStream):
        def __init__(self, body: list[bytes]) -> None:
            self.body = body

        def __iter__(self) -> Iterator[bytes]:
            yield from self.body

    class InMemory(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            if b'"stream":true' in request.read():
                return httpx2.Response(
                    200, headers={"content-type": "text/event-stream", **HEADERS}, stream=Body(parts)
                )
            return httpx2.Response(
                200, headers={"content-type": "application/json", **HEADERS}, stream=Body([DOCUMENT])
            )

    return InMemory(), parts


def settings_of(scenario: str) -> dict[str, Any]:
    """The settings of `instrument()` in this scenario."""
    from opentelemetry import trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
    from prometheus_client import CollectorRegistry

    def meter() -> MeterProvider:
        return MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)

    settings: dict[str, Any] = {
        "registry": CollectorRegistry(),
        "tracer_provider": TracerProvider(shutdown_on_exit=False),
    }
    match scenario:
        case "metered":
            settings["meter_provider"] = meter()
        case "when_retried":
            settings["meter_provider"] = meter()
            settings["attempt_spans"] = "when_retried"
        case "routed":
            from byteplus_trace import Policy, Target

            settings["meter_provider"] = meter()
            settings["policy"] = Policy(
                targets=[
                    Target("sg", region="ap-southeast-1", api_key="k"),
                    Target("eu", region="eu-west-1", api_key="k2"),
                ]
            )
        case "unsampled":
            settings["tracer_provider"] = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        case "no_sdk":
            settings["tracer_provider"] = trace.NoOpTracerProvider()
        case "http_spans_otel":
            settings["http_spans"] = "otel"
        case "content":
            settings["capture_content"] = True
    return settings


class Counter:
    """Counts the instructions of work; the counts are in callgrind's dumps, by name."""

    def __init__(self, library: str) -> None:
        self.requests = ctypes.CDLL(library)

    def count(self, name: str, work: Work, times: int) -> None:
        self.requests.start()
        work()  # what callgrind sees for the first time is counted in no window
        for window in range(WINDOWS):
            gc.collect()
            gc.freeze()
            gc.disable()
            self.requests.zero()
            for _ in range(times):
                work()
            self.requests.dump(f"{name}.{window}".encode())
            gc.enable()
            gc.unfreeze()
        self.requests.stop()


def count_scenario(scenario: str, counter: Counter) -> None:
    """Count calls, short streams and long streams, of the bare SDK and then of this scenario."""
    import httpx2
    import openai

    import byteplus_trace
    from byteplus_trace.httpx2 import ModelArkTransport

    inner, parts = in_memory_transport()
    settings = settings_of(scenario)

    def count(side: str, transport: Any) -> None:
        sdk = openai.OpenAI(
            base_url=BASE_URL, api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0
        )

        def call() -> None:
            sdk.chat.completions.create(model=MODEL, messages=MESSAGES)

        def stream() -> None:
            for _ in sdk.chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            ):
                pass

        parts[:] = TAIL
        for _ in range(WARM_UP):
            call()
            stream()
        counter.count(f"{side}_call", call, CALLS)
        for name, length in (("short", FEW), ("long", MANY)):
            parts[:] = [chunk(number) for number in range(length)] + TAIL
            stream()
            counter.count(f"{side}_{name}", stream, 1)

    # Whatever the scenario imports and makes is there when the bare SDK is counted.
    byteplus_trace.instrument(**settings)
    byteplus_trace.uninstrument()
    count("bare", inner)
    if scenario == "transport":
        count("ours", ModelArkTransport(inner, **settings))
    else:
        byteplus_trace.instrument(**settings)
        count("ours", inner)


def count_import(others: list[str], counter: Counter) -> None:
    """Count the import of our own modules, once those of others are there."""
    for name in others:
        importlib.import_module(name)
    counter.requests.start()
    counter.requests.zero()
    import byteplus_trace

    byteplus_trace.instrument()
    counter.requests.dump(b"import.0")
    counter.requests.stop()


# In the parent.


def counts_of(scenario: str, seed: int, scratch: Path) -> dict[str, list[int]]:
    """Run this scenario under callgrind with this hash seed: instructions by name, window by window."""
    folder = scratch / f"{scenario}-{seed}"
    folder.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "BYTEPLUS_"))
    }
    # Else most of what the import of a checkout counts would be the compiler.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment |= {"PYTHONHASHSEED": str(seed), "OTEL_TRACES_EXPORTER": "none"}
    child = [sys.executable, __file__, "--child", scenario, "--library", str(scratch / "requests.so")]
    out = folder / "out"
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", "-q"]
    done = subprocess.run([*valgrind, *child], env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{scenario} failed under valgrind:\n{done.stderr}")
    counts: dict[str, dict[int, int]] = {}
    for dump in folder.glob("out.*"):
        text = dump.read_text()
        name = re.search(r"^desc: Trigger: Client Request: (\w+)\.(\d+)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if name and total:
            counts.setdefault(name[1], {})[int(name[2])] = int(total[1])
    return {name: [windows[number] for number in sorted(windows)] for name, windows in counts.items()}


def per_call_and_chunk(counts: dict[str, list[int]], side: str) -> dict[str, float]:
    """Instructions of one call and of one chunk, `bare` or `ours`: the median of the windows."""
    streams = zip(counts[f"{side}_long"], counts[f"{side}_short"], strict=True)
    return {
        "call": statistics.median(counts[f"{side}_call"]) / CALLS,
        "chunk": statistics.median((long - short) / (MANY - FEW) for long, short in streams),
    }


def figures() -> dict[str, Any]:
    """Count all scenarios."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "requests.c").write_text(REQUESTS)
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-o", scratch / "requests.so", scratch / "requests.c"],
            check=True,
        )
        runs = [(name, seed) for name in SCENARIOS for seed in SEEDS]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            imported = pool.submit(counts_of, "import", SEEDS[0], scratch)
            counted = dict(
                zip(runs, pool.map(lambda run: counts_of(run[0], run[1], scratch), runs), strict=True)
            )
    bare = {run: per_call_and_chunk(counts, "bare") for run, counts in counted.items()}
    ours = {run: per_call_and_chunk(counts, "ours") for run, counts in counted.items()}

    def added(name: str, unit: str) -> float:
        shares = [100 * (ours[name, seed][unit] / bare[name, seed][unit] - 1) for seed in SEEDS]
        return round(statistics.median(shares), 2)

    return {
        **versions(),
        "bare": {unit: round(statistics.median(one[unit] for one in bare.values())) for unit in UNITS},
        "import": imported.result()["import"][0],
        "added": {name: {unit: added(name, unit) for unit in UNITS} for name in SCENARIOS},
    }


def versions() -> dict[str, Any]:
    """What the counts depend on: Python, and each package that `requirements.txt` pins."""
    names = [line.partition("==")[0] for line in PINS.read_text().splitlines() if "==" in line]

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {"python": platform.python_version(), "packages": {name: installed(name) for name in names}}


def different_versions(committed: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Each version that is another one than that of the committed figures, for a person to read."""
    before = {"Python": committed["python"], **committed["packages"]}
    now = {"Python": current["python"], **current["packages"]}
    return [
        f"{name} {now.get(name)} instead of {before.get(name)}"
        for name in before | now
        if now.get(name) != before.get(name)
    ]


def grown(committed: dict[str, dict[str, float]], current: dict[str, dict[str, float]]) -> list[str]:
    """
    The added shares that grew by more than their limit, for a person to read.

    Args:
        committed: percent of the bare SDK, by scenario, then by "call" and "chunk".
        current: the same, counted now.
    """
    limits = {"call": CALL_LIMIT, "chunk": CHUNK_LIMIT + CHUNK_NOISE}
    return [f"{scenario}: no figure is committed" for scenario in current.keys() - committed.keys()] + [
        f"{scenario}: a {unit} adds {now[unit]:.2f}%, {now[unit] - committed[scenario][unit]:.2f} points more "
        f"than committed (limit {limit})"
        for scenario, now in current.items()
        for unit, limit in limits.items()
        # The shares have two decimals: half of one more is float rounding, not growth.
        if scenario in committed and now[unit] - committed[scenario][unit] > limit + 0.005
    ]


def show(found: dict[str, Any]) -> None:
    packages = found["packages"]
    print(
        f"Python {found['python']}, "
        + ", ".join(f"{name} {packages[name]}" for name in ("openai", "httpx2", "opentelemetry-sdk"))
    )
    bare = found["bare"]
    print(f"{BARE:38}{bare['call']:12,} a call{bare['chunk']:12,} a chunk   instructions")
    for name, added in found["added"].items():
        print(f"{SCENARIOS[name]:38}{added['call']:+11.2f}% a call{added['chunk']:+11.2f}% a chunk")
    print(f"{'import of our modules, no policy':38}{found['import']:12,} instructions")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--check", action="store_true", help="compare with the committed figures")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    match arguments.child:
        case None:
            return check() if arguments.check else write()
        case "import":
            program = "import sys, byteplus_trace; byteplus_trace.instrument(); print(*sys.modules)"
            names = subprocess.check_output([sys.executable, "-c", program], text=True).split()
            count_import(
                [name for name in names if name.partition(".")[0] not in ("byteplus_trace", "__main__")],
                Counter(arguments.library),
            )
        case scenario:
            count_scenario(scenario, Counter(arguments.library))
    return 0


def write() -> int:
    found = figures()
    show(found)
    COMMITTED.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def check() -> int:
    committed = json.loads(COMMITTED.read_text())
    if different := different_versions(committed, versions()):
        print(f"not compared, the committed figures are for other versions: {', '.join(different)}")
        return 0
    found = figures()
    show(found)
    failures = grown(committed["added"], found["added"])
    for line in failures:
        print(line)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
