"""
Real processes, a real redis-server and a region that dies: what sharing health does, in milliseconds.

    python benchmarks/fleet_processes.py             8 processes at 20 calls a second, with and without sharing

Each process calls a fake ModelArk of two regions under a policy of two targets. Two minutes; it needs the extra
`redis` and the program `redis-server`. `tests/backends/test_fleet.py` runs the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SG, EU = "ap-southeast-1", "eu-west-1"
BODY = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}


# The store


class Redis:
    """A redis-server of one's own, on the loopback, with nothing on disk."""

    program = shutil.which("redis-server")

    def __init__(self, *options: str) -> None:
        assert self.program is not None, "redis-server is not here: install Debian's package"
        self.options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.directory = tempfile.mkdtemp(prefix="byteplus-trace-redis-")
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self.port}/0?namespace=test"

    def __enter__(self) -> Redis:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> Redis:
        self.process = subprocess.Popen(
            [
                str(self.program), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--dir", self.directory, *self.options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        raise TimeoutError("redis-server does not listen")

    def kill(self) -> None:
        if self.process is not None:
            self.thaw()
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def client(self) -> Any:
        import redis

        return redis.Redis(port=self.port, socket_timeout=5)


# One process, as seen from outside


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a process; times are the wall clock's."""

    at: float
    seconds: float
    status: int | str


@dataclass(frozen=True, slots=True)
class Send:
    target: str
    cause: str
    at: float


@dataclass(frozen=True, slots=True)
class Report:
    """What one process did."""

    calls: Sequence[Call]
    sends: Sequence[Send]
    openings: Sequence[float]
    """When its breaker of the first target opened."""
    closings: Sequence[float]
    threads: Sequence[str]
    """Those of ours that were alive after `uninstrument()`."""
    connections: Sequence[str]
    """Those to the store that were open then."""
    lines: Sequence[str]
    """What it logged."""

    def sent(self, target: str, since: float = 0.0, cause: str | None = None) -> list[Send]:
        return [
            send
            for send in self.sends
            if send.target == target and send.at >= since and cause in {None, send.cause}
        ]

    @property
    def failed(self) -> list[Call]:
        return [call for call in self.calls if call.status != 200]


class Worker:
    """A process that calls, from `go()` to `report()`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )

    def is_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == "ready\n", f"the worker says {line!r}"

    def go(self) -> None:
        self._write("go\n")

    def report(self) -> Report:
        out, _ = self.process.communicate("stop\n", timeout=60)
        assert self.process.returncode == 0, f"the worker ends with {self.process.returncode}"
        found = json.loads(out)
        calls = [Call(*each) for each in found.pop("calls")]
        return Report(calls=calls, sends=[Send(*each) for each in found.pop("sends")], **found)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()


class Workers:
    """Several, ended with the `with`."""

    def __init__(self, ark: Any, store: str | None, **settings: Any) -> None:
        self.settings = {
            "sg": ark.base_url(SG), "eu": ark.base_url(EU), "store": store, "rate": 20.0, "stream": False, **settings,
        }  # fmt: skip
        self.workers: list[Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()

    def start(self, count: int) -> None:
        new = [Worker({**self.settings, "phase": len(self.workers) + at}) for at in range(count)]
        self.workers += new
        for worker in new:
            worker.is_ready()
        for worker in new:
            worker.go()

    def reports(self) -> list[Report]:
        for worker in self.workers:
            worker._write("stop\n")
        return [worker.report() for worker in self.workers]


# What a process does


async def _calls(settings: Mapping[str, Any], calls: list[Any]) -> None:
    """Call at an even pace, once stdin says go and until it says stop."""
    import httpx

    url = settings["sg"] + "/chat/completions"
    body = {**BODY, "stream": settings["stream"]}

    async def one(client: httpx.AsyncClient) -> None:
        at, began = time.time(), time.perf_counter()
        try:
            status: int | str = (await client.post(url, json=body)).status_code
        except Exception as error:
            status = repr(error)
        calls.append([at, time.perf_counter() - began, status])

    stopping = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        stopping.set()

    async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=None)) as client:
        await one(client)  # what is slow the first time
        calls.clear()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        threading.Thread(target=listen, daemon=True).start()
        every = 1 / settings["rate"]
        due = time.monotonic() + every * (settings["phase"] % 8) / 8
        async with asyncio.TaskGroup() as group:
            while not stopping.is_set():
                await asyncio.sleep(max(due - time.monotonic(), 0))
                due += every
                group.create_task(one(client))


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def worker(settings: Mapping[str, Any]) -> None:
    """Call until stdin says stop, then say what happened."""
    import byteplus_trace
    from byteplus_trace import Breaker, Deadline, Policy, Target

    lines = _Lines()
    logger = logging.getLogger("byteplus_trace")
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    sends: list[Any] = []

    def exchanged(exchange: Any) -> None:
        sends.extend(
            [attempt.target, attempt.cause, attempt.started_ns / 1e9] for attempt in exchange.attempts
        )

    byteplus_trace.instrument(
        policy=Policy(
            targets=[
                Target("sg", region=SG, base_url=settings["sg"], api_key="key-sg"),
                Target("eu", region=EU, base_url=settings["eu"], api_key="key-eu"),
            ],
            breaker=Breaker(open=settings.get("open", 15.0), open_max=settings.get("open_max", 120.0)),
            deadline=Deadline(first_event=1),
        ),
        health_store=settings["store"],
        on_exchange=exchanged,
    )
    calls: list[Any] = []
    asyncio.run(_calls(settings, calls))
    byteplus_trace.flush()
    byteplus_trace.uninstrument()
    mine = [record for record in lines.records if "'sg'" in record.getMessage()]
    report = {
        "calls": calls,
        "sends": sends,
        "openings": [r.created for r in mine if " opens for " in r.getMessage()],
        "closings": [r.created for r in mine if " closes: " in r.getMessage()],
        "threads": [thread.name for thread in threading.enumerate() if "health-store" in thread.name],
        "connections": _connections(settings["store"]),
        "lines": [record.getMessage() for record in lines.records],
    }
    print(json.dumps(report))


def _connections(store: str | None) -> list[str]:
    """This process's sockets that are connected to the store."""
    if store is None:
        return []
    port = f":{int(store.rsplit(':', 1)[1].split('/')[0]):04X}"
    mine = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}  # fmt: skip
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return [row[2] for row in rows if row[2].endswith(port) and f"socket:[{row[9]}]" in mine]


# An outage


@dataclass(frozen=True, slots=True)
class Outage:
    reports: Sequence[Report]
    died_at: float
    returned_at: float

    @property
    def opened_at(self) -> float:
        """When the first breaker opened."""
        return min(at for report in self.reports for at in report.openings if at >= self.died_at)

    @property
    def delays(self) -> list[float]:
        """How long after the first opening each process skipped the region, in order."""
        first = self.opened_at
        return sorted(
            min((at for at in report.openings if at >= first), default=self.returned_at) - first
            for report in self.reports
        )

    def sent(self, since: float, cause: str | None = None) -> int:
        """Sends into the dead region."""
        return sum(
            send.at < self.returned_at for report in self.reports for send in report.sent("sg", since, cause)
        )


def outage(
    store: str | None,
    kind: str,
    *,
    processes: int = 8,
    late: int = 0,
    before: float = 2.0,
    during: float = 5.0,
    after: float = 0.0,
    meanwhile: Callable[[], None] = lambda: None,
    **settings: Any,
) -> Outage:
    """
    Let a region die under processes that call it.

    Args:
        kind: `refuses` or `hangs`.
        late: processes that start in the middle of it.
        meanwhile: done in the middle of it.
        after: seconds of calls once it is back.
    """
    from byteplus_trace.testing import ModelArk

    with ModelArk() as ark, Workers(ark, store, stream=kind == "hangs", **settings) as workers:
        workers.start(processes)
        time.sleep(before)
        died_at = time.time()
        getattr(ark.region(SG), kind)()
        time.sleep(during / 2)
        meanwhile()
        workers.start(late)
        time.sleep(during / 2)
        returned_at = time.time()
        if after:
            ark.region(SG).recovers()
            time.sleep(after)
        reports = workers.reports()
        ark.region(SG).recovers()
    return Outage(reports, died_at, returned_at)


def p99(seconds: Iterable[float]) -> float:
    ordered = sorted(seconds)
    return ordered[int(len(ordered) * 0.99)]


def _shown(kind: str, name: str, found: Outage) -> None:
    delays = found.delays
    calls = [call for report in found.reports for call in report.calls]
    failed = sum(len(report.failed) for report in found.reports)
    late = found.sent(found.opened_at + 0.3) - found.sent(found.opened_at + 0.3, "probe")
    print(
        f"{kind:<8} {name:<16} calls {len(calls):>5}, failed {failed}   sends into it {found.sent(found.died_at):>3}"
        f" (later than 300 ms after the first opening, but for probes: {late:>3})"
        f"   skipped after: median {1_000 * statistics.median(delays):>6.0f} ms, last {1_000 * delays[-1]:>6.0f} ms"
    )


def _frozen(rounds: int) -> None:
    """Calls with a store that is well and one that is frozen, in turns."""
    from byteplus_trace.testing import ModelArk

    spent: dict[str, list[float]] = {"well": [], "frozen": []}
    with Redis() as store, ModelArk() as ark, Workers(ark, store.url) as workers:
        workers.start(2)
        time.sleep(1)
        spans = []
        for at in range(rounds):
            name = "frozen" if at % 2 else "well"
            (store.freeze if at % 2 else store.thaw)()
            began = time.time()
            time.sleep(2)
            spans.append((name, began, time.time()))
        store.thaw()
        for report in workers.reports():
            for call in report.calls:
                for name, began, ended in spans:
                    if began <= call.at < ended:
                        spent[name].append(call.seconds)
    for name, seconds in spent.items():
        print(f"store {name:<7} {len(seconds):>4} calls   median {1_000 * statistics.median(seconds):.1f} ms   p99 {1_000 * p99(seconds):.1f} ms")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second of each process")
    parser.add_argument("--rounds", type=int, default=10, help="of two seconds each, for the frozen store")
    options = parser.parse_args()
    if options.worker is not None:
        worker(json.loads(options.worker))
        return
    for kind in ("refuses", "hangs"):
        for name in ("without sharing", "shared"):
            with Redis() as store:
                found = outage(
                    store.url if name == "shared" else None,
                    kind,
                    processes=options.processes,
                    rate=options.rate,
                )
            _shown(kind, name, found)
    _frozen(options.rounds)


if __name__ == "__main__":
    main()
