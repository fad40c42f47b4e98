"""What every test stands on: a fake ModelArk, calls in every library and colour, and what was recorded of them."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import ssl
from collections import defaultdict
from functools import lru_cache

import anyio
import pytest
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace._telemetry import guard
from byteplus_trace.testing import ModelArk

# The same examples in every run, and none that a busy machine can fail.
settings.register_profile(
    "steady",
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.load_profile("steady")

# Every client reads the certificates of all authorities, which took a third of the time of these tests. All of them
# speak plain HTTP to the loopback.
ssl.create_default_context = lru_cache(ssl.create_default_context)

# A shell's job in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Three workers for two cores: a third of the time, tests wait for a deadline, a delay or a process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores * 3 // 2


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """
    The tests and all that they import are no garbage: each collection would look at their million objects again.

    That took a third of a second for each `gc.collect()`, and a fifth of the time in which the tests are collected.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def strict_guard():
    """Our own faults are raised here, so that the kindness that hides them from users hides no bug."""
    guard.strict = True
    yield
    guard.strict = False


@pytest.fixture
def messages():
    """messages(error): all that a log says of an error, its causes included, without the lines of code."""

    def of(error):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return str(error) + (of(cause) if cause is not None else "")

    return of


class Recorded:
    """What instrument() recorded: spans, series, exchanges."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.registry = CollectorRegistry()
        self.exchanges = []

    @property
    def spans(self):
        byteplus_trace.flush()
        return self.exporter.get_finished_spans()

    @property
    def logical(self):
        return [span for span in self.spans if "gen_ai.operation.name" in span.attributes]

    @property
    def attempts(self):
        return [span for span in self.spans if "byteplus.modelark.attempt.cause" in span.attributes]

    @property
    def one(self):
        (span,) = self.logical
        return span

    def series(self, name, **labels):
        """The sum of a series over the labels not named."""
        byteplus_trace.flush()
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def moved(self):
        """Every counter and histogram count that is not 0, by name and labels."""
        byteplus_trace.flush()
        found = defaultdict(float)
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name.endswith(("_total", "_count")) and sample.value:
                    found[sample.name, *sorted(sample.labels.items())] += sample.value
        return dict(found)


@pytest.fixture
def ark():
    with ModelArk() as fake:
        yield fake


@pytest.fixture
def recorded():
    return Recorded()


@pytest.fixture
def instrument(recorded, ark):
    """instrument(**settings), undone at the end."""

    def begin(**settings):
        byteplus_trace.instrument(
            **{
                "tracer_provider": recorded.provider,
                "registry": recorded.registry,
                "base_urls": ark.base_urls,
                "on_exchange": recorded.exchanges.append,
                **settings,
            }
        )

    yield begin
    byteplus_trace.uninstrument()


@pytest.fixture(params=["httpx", "httpx2"])
def library(request):
    return importlib.import_module(request.param)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def colour(request):
    return request.param


class Http:
    """One way to call: a library and a colour."""

    def __init__(self, library, colour, **options):
        self.library = library
        self.colour = colour
        self.options = {"timeout": 5, "headers": {"Authorization": "Bearer test"}, **options}

    def run(self, work, **options):
        """Do `work(client)` with a client of this colour: a coroutine function of the async ones."""
        if self.colour == "sync":
            with self.library.Client(**{**self.options, **options}) as client:
                return work(client)

        async def main():
            async with self.library.AsyncClient(**{**self.options, **options}) as client:
                return await work(client)

        return anyio.run(main, backend=self.colour)

    def post(self, url, json, **options):
        """A call whose reply is read whole."""
        if self.colour == "sync":
            return self.run(lambda client: client.post(url, json=json, **options))

        async def work(client):
            return await client.post(url, json=json, **options)

        return self.run(work)

    def parts(self, url, json, most=None):
        """The raw parts of a streamed reply; the reader leaves after `most` of them."""
        if self.colour == "sync":

            def work(client):
                found = []
                with client.stream("POST", url, json=json) as response:
                    for part in response.iter_raw():
                        found.append(part)
                        if most is not None and len(found) >= most:
                            break
                return found

            return self.run(work)

        async def awork(client):
            found = []
            async with client.stream("POST", url, json=json) as response:
                async for part in response.aiter_raw():
                    found.append(part)
                    if most is not None and len(found) >= most:
                        break
            return found

        return self.run(awork)


@pytest.fixture
def http(library, colour):
    return Http(library, colour)


@pytest.fixture
def sg(ark):
    return ark.base_url("ap-southeast-1")
