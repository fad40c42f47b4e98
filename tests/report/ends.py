"""
However a call ends, and however its process ends, its span is there.

Spans go to a synchronous processor: a batch processor drops by design, and what is counted here is ours.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2

from byteplus_trace import Breaker, Policy, Retry, Target
from byteplus_trace.testing import Captured, FakeRegion, ModelArk, capture

from .calls import as_for_users
from .figures import Figures
from .programs import PROGRAMS, Program, loops_and_servers

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "hi"}]}
STREAMED = {**CHAT, "stream": True}
SG, EU = "ap-southeast-1", "eu-west-1"
HEADERS = {"Authorization": "Bearer key"}


class ReaderError(Exception):
    """Of the code that reads."""


def nothing(_region: FakeRegion) -> None:
    """The region is well."""


@dataclass(frozen=True, slots=True)
class End:
    """One way in which a call ends: what is wrong with the region, and what the caller does."""

    work: Callable[..., Any]
    region: Callable[[FakeRegion], Any] = nothing
    timeout: float = 30.0


def opened(client: Any, url: str) -> Any:
    return client.send(client.build_request("POST", url, json=STREAMED), stream=True)


def posts(client: Any, url: str) -> None:
    with contextlib.suppress(httpx.TransportError, httpx2.TransportError):
        client.post(url, json=CHAT)


def reads(client: Any, url: str) -> None:
    with (
        contextlib.suppress(httpx.TransportError, httpx2.TransportError),
        contextlib.closing(opened(client, url)) as reply,
    ):
        reply.read()


def closes_at_once(client: Any, url: str) -> None:
    opened(client, url).close()


def closes_in_the_middle(client: Any, url: str) -> None:
    reply = opened(client, url)
    next(reply.iter_raw())
    reply.close()
    reply.close()


def stops_after_the_last_event(client: Any, url: str) -> None:
    with contextlib.closing(opened(client, url)) as reply:
        for part in reply.iter_raw():
            if b"[DONE]" in part:
                break


def raises(client: Any, url: str, error: type[BaseException] = ReaderError) -> None:
    with contextlib.suppress(error), contextlib.closing(opened(client, url)) as reply:
        for _ in reply.iter_raw():
            raise error


def is_interrupted(client: Any, url: str) -> None:
    raises(client, url, KeyboardInterrupt)


def forgets(client: Any, url: str) -> None:
    reply = opened(client, url)
    next(reply.iter_raw())


def forgets_unread(client: Any, url: str) -> None:
    opened(client, url)


def closes_in_another_thread(client: Any, url: str) -> None:
    reply = opened(client, url)
    next(reply.iter_raw())
    in_a_thread(reply.close)


def reads_in_another_thread(client: Any, url: str) -> None:
    in_a_thread(opened(client, url).read)


def in_a_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def stops_a_generator(client: Any, url: str) -> None:
    def through() -> Any:
        with contextlib.closing(opened(client, url)) as reply:
            yield from reply.iter_raw()

    generator = through()
    next(generator)
    generator.close()


FAILURES: dict[str, Callable[[FakeRegion], Any]] = {
    "refused": FakeRegion.refuses,
    "reset": lambda region: region.resets(),
    "closed": lambda region: region.closes(),
    "no HTTP": lambda region: region.answers_garbage(),
    "an empty 200": lambda region: region.answers_empty(),
    "a page": lambda region: region.answers_html(),
    "400": lambda region: region.fails(400),
    "429": lambda region: region.throttles(),
    "503": lambda region: region.fails(503),
}
IN_STREAMS: dict[str, Callable[[FakeRegion], Any]] = {
    "cut": lambda region: region.cuts(after_events=2),
    "reset in the middle": lambda region: region.cuts(after_events=2, reset=True),
    "an error in the stream": lambda region: region.errors_in_stream(after_events=1),
    **{
        f"odd: {name}": (lambda region, name=name: region.answers_oddly(name))
        for name in FakeRegion.ODD_REPLIES
    },
}
SYNC = {
    "a document is read": End(posts),
    "a stream is read": End(reads),
    **{
        each.__name__.replace("_", " "): End(each)
        for each in (
            closes_at_once,
            closes_in_the_middle,
            stops_after_the_last_event,
            raises,
            is_interrupted,
            forgets,
            forgets_unread,
            closes_in_another_thread,
            reads_in_another_thread,
            stops_a_generator,
        )
    },
    **{f"{name}, a document": End(posts, region) for name, region in FAILURES.items()},
    **{f"{name}, a stream": End(reads, region) for name, region in (FAILURES | IN_STREAMS).items()},
    "silent": End(posts, lambda region: region.hangs(), 0.2),
    "silent in the middle": End(reads, lambda region: region.hangs(after_events=1), 0.2),
}


async def aposts(client: Any, url: str) -> None:
    with contextlib.suppress(httpx.TransportError, httpx2.TransportError):
        await client.post(url, json=CHAT)


async def areads(client: Any, url: str) -> None:
    with contextlib.suppress(httpx.TransportError, httpx2.TransportError):
        reply = await opened(client, url)
        try:
            await reply.aread()
        finally:
            await reply.aclose()


async def acloses_at_once(client: Any, url: str) -> None:
    await (await opened(client, url)).aclose()


async def acloses_in_the_middle(client: Any, url: str) -> None:
    reply = await opened(client, url)
    await anext(reply.aiter_raw())
    await reply.aclose()
    await reply.aclose()


async def araises(client: Any, url: str) -> None:
    with contextlib.suppress(ReaderError):
        async with client.stream("POST", url, json=STREAMED) as reply:
            async for _ in reply.aiter_raw():
                raise ReaderError


async def is_cancelled(client: Any, url: str) -> None:
    with anyio.move_on_after(0.1):
        async with client.stream("POST", url, json=STREAMED) as reply:
            await reply.aread()


async def its_group_fails(client: Any, url: str) -> None:
    began = anyio.Event()

    async def read() -> None:
        async with client.stream("POST", url, json=STREAMED) as reply:
            async for _ in reply.aiter_raw():
                began.set()

    async def fail() -> None:
        await began.wait()
        raise ReaderError

    with contextlib.suppress(ExceptionGroup):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(fail)


async def aforgets(client: Any, url: str) -> None:
    reply = await opened(client, url)
    await anext(reply.aiter_raw())


async def aforgets_unread(client: Any, url: str) -> None:
    await opened(client, url)


ASYNC = {
    "a document is read": End(aposts),
    "a stream is read": End(areads),
    "closes at once": End(acloses_at_once),
    "closes in the middle": End(acloses_in_the_middle),
    "raises": End(araises),
    "is cancelled before its reply": End(is_cancelled, lambda region: region.hangs()),
    "is cancelled in its stream": End(is_cancelled, lambda region: region.hangs(after_events=1)),
    "its group fails": End(its_group_fails, lambda region: region.hangs(after_events=2)),
    "forgets": End(aforgets),
    "forgets unread": End(aforgets_unread),
    **{f"{name}, a document": End(aposts, region) for name, region in FAILURES.items()},
    **{f"{name}, a stream": End(areads, region) for name, region in (FAILURES | IN_STREAMS).items()},
    "silent": End(aposts, lambda region: region.hangs(), 0.2),
    "silent in the middle": End(areads, lambda region: region.hangs(after_events=1), 0.2),
}


def run(thorough: bool) -> Iterator[Figures]:
    logging.disable(logging.CRITICAL)
    # A client that is dropped with its connection open warns, with us and without.
    warnings.simplefilter("ignore", ResourceWarning)
    sys.unraisablehook = lambda _: None
    rounds = 10 if thorough else 1
    with ModelArk() as fake, as_for_users():
        for library in (httpx, httpx2):
            for colour, ends in (("sync", SYNC), ("asyncio", ASYNC), ("trio", ASYNC)):
                yield in_this_process(fake, library, colour, ends, rounds)
    yield of_processes("the process ends or forks", PROGRAMS, rounds)
    yield of_processes("loops and servers", *loops_and_servers(), rounds=rounds)


def in_this_process(fake: ModelArk, library: Any, colour: str, ends: dict[str, End], rounds: int) -> Figures:
    """Every end, without a policy and under one."""
    figures = Figures(f"{len(ends)} ends, {library.__name__}, {colour}, plain and routed")
    policy = Policy(
        [Target(name, region=name, base_url=fake.base_url(name), api_key="k") for name in (SG, EU)],
        retry=Retry(per_target=1, base=0.001, cap=0.002),
        breaker=Breaker(ratio=None, consecutive=None),
    )
    for routed in (None, policy):
        with capture(base_urls=fake.base_urls, policy=routed) as seen:
            for name, end in list(ends.items()) * rounds:
                before = len(seen.exchanges), len(calls(seen))
                end.region(fake.region(SG))
                try:
                    once(fake.base_url(SG) + "/chat/completions", library, colour, end)
                finally:
                    fake.region(SG).recovers()
                gc.collect()
                figures.inputs += 1
                figures.calls += 1
                figures.faults += end.region is not nothing
                found = len(seen.exchanges) - before[0], len(calls(seen)) - before[1]
                figures.spans_lost += max(0, 1 - found[1])
                how = "routed" if routed else "plain"
                figures.require(
                    found == (1, 1), f"{name}, {how}: {found[0]} exchanges and {found[1]} spans of 1 call"
                )
            open_calls = seen.sample("modelark_operations_in_flight")
            figures.require(not open_calls, f"{open_calls} calls are still counted as open")
            ours = seen.sample("modelark_telemetry_errors_total")
            figures.require(not ours, f"{ours:.0f} faults of our own were swallowed")
    return figures


def calls(seen: Captured) -> list[Any]:
    return [span for span in seen.spans if "gen_ai.operation.name" in (span.attributes or {})]


def once(url: str, library: Any, colour: str, end: End) -> None:
    options = {"headers": HEADERS, "timeout": end.timeout, "trust_env": False}
    if colour == "sync":
        with library.Client(**options) as client:
            end.work(client, url)
        return

    async def work() -> None:
        async with library.AsyncClient(**options) as client:
            await end.work(client, url)
            gc.collect()
            await anyio.sleep(0)

    anyio.run(work, backend=colour)


def of_processes(
    part: str, programs: list[Program], skipped: list[str] | int = 0, rounds: int = 1
) -> Figures:
    """Programs of their own, each of which knows how many calls it makes."""
    if isinstance(skipped, int):
        rounds, skipped = skipped, []
    figures = Figures(part, notes=list(skipped))
    with ModelArk() as fake, tempfile.TemporaryDirectory() as folder:
        for number, program in enumerate(programs * rounds):
            figures.inputs += 1
            figures.calls += program.calls
            figures.faults += program.ends_badly
            path = Path(folder, str(number))
            if program.hangs:
                fake.region(SG).hangs(after_events=2)
            status, errors = finished(program, fake.base_url(SG), path)
            fake.region(SG).recovers()
            found = path.read_text().splitlines() if path.exists() else []
            figures.spans_lost += max(0, program.calls - len(found))
            counted = f"{len(found)} spans of {program.calls} calls"
            figures.require(len(found) == program.calls, f"{program.name}: {counted}; {errors[-500:]}")
            figures.require(status == program.status, f"{program.name}: status {status}; {errors[-500:]}")
    return figures


def finished(program: Program, url: str, path: Path) -> tuple[int | None, str]:
    """The exit status of a program and what it wrote to its error output; None: it did not end."""
    command = [sys.executable, *program.flags, "-c", program.source, url, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            if program.sigterm:
                assert process.stdout is not None
                process.stdout.readline()  # it says when it is ready
                os.kill(process.pid, signal.SIGTERM)
            _, errors = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            return None, "it did not end"
        finally:
            process.kill()
    return process.returncode, errors
