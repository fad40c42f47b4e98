"""However a call ends, it ends once: one span, one count, nothing in flight, nothing left in the caller's context."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import subprocess
import sys
import threading
import time
import types
from functools import partial

import anyio
import httpx
import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

import byteplus_trace
from byteplus_trace import _background
from byteplus_trace._edge.instrumentation import Instrumentation

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED = {**CHAT, "stream": True}
PUBLIC = "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions"
WHOLE = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Rhine"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
HEADERS = {"Authorization": "Bearer k"}

# httpx's own inner generators warn when they are dropped half-way, watched or not.
dropping = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture
def url(sg):
    return sg + "/chat/completions"


@pytest.fixture(autouse=True, scope="module")
def only_these_tests_are_collected():
    """Each of them collects garbage; what tests before them still hold is none."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_remains(caplog):
    """No line of OpenTelemetry's about contexts, and the caller's context as it was."""
    before = otel_context.get_current()
    yield
    gc.collect()
    assert before == otel_context.get_current()
    assert [] == [
        record.getMessage()
        for record in caplog.get_records("call")
        if record.name.startswith(("opentelemetry", "byteplus_trace")) and record.levelno >= logging.WARNING
    ]


def ended_once(recorded, outcome, *, calls=1):
    """Exactly so many calls, each recorded once everywhere, ended so."""
    byteplus_trace.flush()
    assert [outcome] * calls == [exchange.outcome for exchange in recorded.exchanges]
    assert calls == len(recorded.logical)
    assert calls == len(recorded.attempts)
    assert {outcome} == {span.attributes["byteplus.modelark.outcome"] for span in recorded.logical}
    assert calls == recorded.series("modelark_operations_total", outcome=outcome)
    assert calls == recorded.series("modelark_operations_total")
    assert calls == recorded.series("modelark_attempts_total")
    assert 0 == recorded.series("modelark_operations_in_flight")
    for span in recorded.spans:
        assert span.end_time >= span.start_time


def opened(client, url):
    """A streamed reply whose body nobody has asked for yet."""
    return client.send(client.build_request("POST", url, json=STREAMED), stream=True)


# Sync: one thread, no loop.


class ReaderError(Exception):
    """Of the code that reads."""


def closes(response):
    response.close()


def breaks_and_closes(response):
    for _ in response.iter_raw():
        break
    response.close()


def raises_in_the_middle(response):
    with contextlib.suppress(ReaderError), contextlib.closing(response):
        for _ in response.iter_raw():
            raise ReaderError


def stops_a_generator(response):
    def through():
        with contextlib.closing(response):
            yield from response.iter_raw()

    generator = through()
    next(generator)
    generator.close()


def closes_twice(response):
    next(response.iter_raw())
    response.close()
    response.close()


def closes_elsewhere(response):
    next(response.iter_raw())
    thread = threading.Thread(target=response.close)
    thread.start()
    thread.join()


@dropping
@pytest.mark.parametrize(
    "leave",
    [closes, breaks_and_closes, raises_in_the_middle, stops_a_generator, closes_twice, closes_elsewhere],
)
def test_a_sync_stream_that_is_left(library, instrument, recorded, url, leave):
    instrument()

    with library.Client(headers=HEADERS) as client:
        leave(opened(client, url))

    ended_once(recorded, "cancelled")
    assert StatusCode.UNSET is recorded.one.status.status_code


@dropping
@pytest.mark.parametrize("read", [0, 1, 3])
def test_a_sync_stream_that_is_forgotten(library, instrument, recorded, url, read):
    instrument()

    with library.Client(headers=HEADERS) as client:
        response = opened(client, url)
        parts = response.iter_raw()
        for _ in range(read):
            next(parts)
        del response, parts
        gc.collect()

    # The inner generators of httpx2 close the stream when they are collected, and so does a reader who leaves.
    ended_once(recorded, "cancelled" if read and library.__name__ == "httpx2" else "abandoned")
    assert StatusCode.UNSET is recorded.one.status.status_code


def test_a_sync_stream_read_in_another_thread(library, instrument, recorded, url):
    instrument()
    found = []

    with library.Client(headers=HEADERS) as client:
        response = opened(client, url)
        thread = threading.Thread(target=lambda: found.append(response.read()))
        thread.start()
        thread.join()

    assert found[0].endswith(b"data: [DONE]\n\n")
    ended_once(recorded, "ok")


def test_a_sync_stream_read_to_its_last_word_only(library, instrument, recorded, url):
    """openai's client stops at [DONE] and never meets the end of the body."""
    instrument()

    with library.Client(headers=HEADERS) as client:
        response = opened(client, url)
        for part in response.iter_raw():
            if b"[DONE]" in part:
                break
        assert 1 == len(recorded.exchanges)
        response.close()

    ended_once(recorded, "ok")


OUTPUT = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Rhine"}}]}\n\n'


def answering(library, body):
    return library.MockTransport(
        lambda _request: library.Response(200, headers={"content-type": "text/event-stream"}, stream=body)
    )


def looking_closer():
    """A policy that holds a stream until its first output."""
    return byteplus_trace.Policy(
        targets=[byteplus_trace.Target("sg", region="ap-southeast-1", api_key="key")],
        deadline=byteplus_trace.Deadline(total=5),
    )


def test_a_routed_stream_is_closed_by_one_thread_while_another_reads_it(library, instrument, recorded):
    waits, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Body(library.SyncByteStream):
        def __iter__(self):
            yield OUTPUT
            waits.set()
            assert goes_on.wait(5)

        def close(self):
            closed.set()

    instrument(policy=looking_closer())

    with library.Client(transport=answering(library, Body())) as client:
        response = opened(client, PUBLIC)
        reader = threading.Thread(target=response.read)
        reader.start()
        assert waits.wait(5)
        response.close()
        assert closed.is_set()
        byteplus_trace.flush()
        goes_on.set()
        reader.join()

    ended_once(recorded, "cancelled")


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_routed_stream_is_closed_by_one_task_while_another_reads_it(http, instrument, recorded, library):
    waits, goes_on, closed = anyio.Event(), anyio.Event(), anyio.Event()

    class Body(library.AsyncByteStream):
        async def __aiter__(self):
            yield OUTPUT
            waits.set()
            await goes_on.wait()

        async def aclose(self):
            closed.set()

    instrument(policy=looking_closer())

    async def work(client):
        response = await opened(client, PUBLIC)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(response.aread)
            await waits.wait()
            await response.aclose()
            assert closed.is_set()
            byteplus_trace.flush()
            goes_on.set()

    http.run(work, transport=answering(library, Body()))

    ended_once(recorded, "cancelled")


# Async: tasks, cancellation, loops that end.


@dropping
@pytest.mark.parametrize("colour", ["asyncio", "trio"])
@pytest.mark.parametrize("read", [0, 1])
def test_an_async_stream_that_is_closed(http, instrument, recorded, url, read):
    instrument()

    async def work(client):
        response = await opened(client, url)
        parts = response.aiter_raw()
        for _ in range(read):
            await anext(parts)
        await response.aclose()

    http.run(work)

    ended_once(recorded, "cancelled")


@dropping
@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_what_an_async_stream_reads_from_is_closed_with_it(http, library, instrument, recorded, url):
    """Otherwise trio warns of an async generator that nobody has closed."""
    instrument()
    closed = []

    class Body(library.AsyncByteStream):
        async def __aiter__(self):
            try:
                yield WHOLE
                yield b""
            finally:
                closed.append(True)

    async def work(client):
        response = await opened(client, url)
        parts = response.aiter_raw()
        await anext(parts)
        await response.aclose()
        assert [True] == closed
        await parts.aclose()

    http.run(work, transport=answering(library, Body()))

    ended_once(recorded, "ok")


@dropping
@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_task_creates_another_reads_a_third_closes(http, instrument, recorded, url):
    instrument()
    kept = {}

    async def work(client):
        async def create():
            kept["response"] = await opened(client, url)

        async def read():
            kept["parts"] = kept["response"].aiter_raw()
            await anext(kept["parts"])

        async def close():
            await kept["response"].aclose()

        for step in (create, read, close):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(step)

    http.run(work)

    ended_once(recorded, "cancelled")


@dropping
@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_reader_that_is_cancelled(http, instrument, recorded, url, ark):
    ark.region("ap-southeast-1").hangs(after_events=2)
    instrument()

    async def work(client):
        with anyio.move_on_after(0.2) as scope:
            async with client.stream("POST", url, json=STREAMED) as response:
                async for _ in response.aiter_raw():
                    pass
        assert scope.cancelled_caught

    http.run(work)

    ended_once(recorded, "cancelled")
    assert StatusCode.UNSET is recorded.one.status.status_code


@dropping
def test_a_reader_that_wait_for_stops(library, instrument, recorded, url, ark):
    ark.region("ap-southeast-1").hangs(after_events=2)
    instrument()

    async def main():
        async with library.AsyncClient(headers=HEADERS) as client:

            async def read():
                async with client.stream("POST", url, json=STREAMED) as response:
                    return [part async for part in response.aiter_raw()]

            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(read(), 0.2)

    asyncio.run(main())

    ended_once(recorded, "cancelled")


@dropping
@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_timeout_of_the_client_is_an_error(http, instrument, recorded, url, ark, library):
    ark.region("ap-southeast-1").hangs(after_events=2)
    instrument()

    async def work(client):
        with pytest.raises(library.ReadTimeout):  # noqa: PT012 - the raise is the loop's
            async with client.stream("POST", url, json=STREAMED, timeout=0.2) as response:
                async for _ in response.aiter_raw():
                    pass

    http.run(work)

    ended_once(recorded, "error")
    assert "ReadTimeout" == recorded.one.attributes["error.type"]


@dropping
@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_reader_that_raises(http, instrument, recorded, url):
    instrument()

    async def work(client):
        with pytest.raises(ReaderError):  # noqa: PT012 - the raise is the loop's
            async with client.stream("POST", url, json=STREAMED) as response:
                async for _ in response.aiter_raw():
                    raise ReaderError

    http.run(work)

    ended_once(recorded, "cancelled")


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_stream_iterated_again_after_its_end(http, instrument, recorded, library):
    """The second pass is the inner stream's to answer, and changes nothing that was recorded."""
    passes = []

    class Twice(library.AsyncByteStream):
        async def __aiter__(self):
            passes.append(self)
            yield WHOLE

    class Answering(library.AsyncBaseTransport):
        async def handle_async_request(self, request):
            return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Twice())

    instrument(base_urls={})

    async def work(client):
        response = await opened(client, PUBLIC)
        for _ in range(2):
            assert [WHOLE] == [part async for part in response.stream]
        await response.aclose()

    http.run(work, transport=Answering())

    assert 2 == len(passes)
    ended_once(recorded, "ok")


@dropping
def test_an_asyncio_stream_that_is_forgotten(library, instrument, recorded, url):
    instrument()

    async def main():
        async with library.AsyncClient(headers=HEADERS) as client:
            response = await opened(client, url)
            parts = response.aiter_raw()
            await anext(parts)
            del response, parts
            gc.collect()
            await asyncio.sleep(0.05)

    asyncio.run(main())
    gc.collect()

    byteplus_trace.flush()
    assert recorded.exchanges[0].outcome in {"abandoned", "cancelled"}
    ended_once(recorded, recorded.exchanges[0].outcome)


@dropping
def test_a_loop_that_ends_with_a_stream_open(library, instrument, recorded, url, ark):
    ark.region("ap-southeast-1").hangs(after_events=2)
    instrument()

    def main():
        loop = asyncio.new_event_loop()

        async def begin():
            client = library.AsyncClient(headers=HEADERS)
            response = await opened(client, url)
            parts = response.aiter_raw()
            await anext(parts)
            return client, response, parts

        kept = loop.run_until_complete(begin())
        loop.close()
        return kept

    kept = main()
    ark.stop()
    assert [] == recorded.exchanges
    del kept
    gc.collect()

    ended_once(recorded, "abandoned")


def test_a_call_whose_coroutine_is_dropped(library, instrument, recorded):
    """It began in one context and is stopped by the collector in another."""
    instrument(base_urls={})
    call = waiting(library)

    del call
    gc.collect()

    ended_once(recorded, "abandoned")


def waiting(library):
    """A call that waits for its reply, begun in a context of its own; its coroutine."""

    @types.coroutine
    def forever():
        yield

    class Waiting(library.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await forever()

    transport = Waiting()
    client = library.AsyncClient(transport=transport)
    request = library.Request("POST", PUBLIC, json=CHAT)
    call = client._transport_for_url(request.url).handle_async_request(request)
    contextvars.copy_context().run(call.send, None)
    return call


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_call_that_is_cancelled_before_its_reply(http, instrument, recorded, url, ark):
    ark.region("ap-southeast-1").hangs()
    instrument()

    async def work(client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post, client, url)
            await anyio.sleep(0.1)
            assert 1 == recorded.series("modelark_operations_in_flight", operation="chat")
            tasks.cancel_scope.cancel()

    http.run(work)

    ended_once(recorded, "cancelled")


async def post(client, url):
    await client.post(url, json=CHAT)


# The collector, locks, forks, switching off.


def bounded(work, seconds=10):
    """Do it in a thread; a deadlock is a failure, not a wait."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "deadlock"


@dropping
def test_collecting_while_a_lock_of_prometheus_is_held(library, instrument, recorded, url):
    """The collector may run anywhere, also where the very thread is counting."""
    instrument()
    client = library.Client(headers=HEADERS)
    response = opened(client, url)
    next(response.iter_raw())

    def collect_under_lock(response):
        locks = locks_of(recorded.registry)
        with contextlib.ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            del response
            gc.collect()

    kept = [response]
    del response
    bounded(lambda: collect_under_lock(kept.pop()))
    client.close()

    byteplus_trace.flush()
    ended_once(recorded, recorded.exchanges[0].outcome)
    assert recorded.exchanges[0].outcome in {"abandoned", "cancelled"}


def locks_of(registry):
    """Every lock that the collectors of a registry hold while they count."""
    found = {}
    for collector in list(registry._collector_to_names):
        for metric in [collector, *getattr(collector, "_metrics", {}).values()]:
            lock = getattr(metric, "_lock", None)
            if lock is not None:
                found[id(lock)] = lock
            for value in [getattr(metric, "_value", None), getattr(metric, "_sum", None)]:
                lock = getattr(value, "_lock", None)
                if lock is not None:
                    found[id(lock)] = lock
    return list(found.values())


def test_a_call_collected_while_a_lock_of_prometheus_is_held(library, instrument, recorded):
    """A coroutine that waits for a reply, collected: it is stopped inside the collector."""
    instrument(base_urls={})
    kept = [waiting(library)]

    def collect_under_lock():
        with contextlib.ExitStack() as held:
            for lock in locks_of(recorded.registry):
                held.enter_context(lock)
            kept.clear()
            gc.collect()

    bounded(collect_under_lock)

    ended_once(recorded, "abandoned")


@dropping
def test_streams_open_when_we_are_switched_off_end_as_ever(library, instrument, recorded, url):
    instrument()

    with library.Client(headers=HEADERS) as client:
        response = opened(client, url)
        parts = response.iter_raw()
        first = next(parts)
        byteplus_trace.uninstrument()
        body = first + b"".join(parts)
        unseen = client.post(url, json=CHAT)

    assert body.endswith(b"data: [DONE]\n\n")
    assert 200 == unseen.status_code
    ended_once(recorded, "ok")


def test_a_flush_waits_for_what_is_being_told(instrument, recorded, url):
    """The reaper may have taken a closed stream's end and not yet recorded it."""
    begun, released = threading.Event(), threading.Event()

    def slow(exchange):
        begun.set()
        released.wait(5)
        recorded.exchanges.append(exchange)

    instrument(on_exchange=slow)
    with httpx.Client(headers=HEADERS) as client, client.stream("POST", url, json=STREAMED):
        pass
    assert begun.wait(5)
    threading.Timer(0.2, released.set).start()

    byteplus_trace.flush()

    assert ["cancelled"] == [exchange.outcome for exchange in recorded.exchanges]


def test_a_flush_waits_no_longer_than_it_was_asked_to(instrument, recorded, caplog):
    """An SDK's own `force_flush` waits for as long as its exporter does."""
    released = threading.Event()

    class Stuck(SpanExporter):
        def export(self, spans):
            released.wait(30)
            return SpanExportResult.SUCCESS

    recorded.provider.add_span_processor(BatchSpanProcessor(Stuck()))
    instrument()
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json={}))) as client:
        client.post(PUBLIC, json=CHAT)

    in_time = byteplus_trace.flush(0.05)
    still_stuck = not released.is_set()
    released.set()

    assert (False, True) == (in_time, still_stuck)
    assert byteplus_trace.flush()
    recorded.provider.shutdown()
    caplog.clear()  # the oldest SDKs log that their own flush took too long


def test_a_thousand_streams_forgotten_leave_nothing(instrument, recorded):
    """No list grows, no thread is left: what was kept for a call goes with it."""
    instrument(base_urls={})

    def handler(_request):
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Dripping())

    class Dripping(httpx.SyncByteStream):
        def __iter__(self):
            yield b'data: {"choices":[]}\n\n'

    threads = threading.active_count()
    with httpx.Client(transport=Streaming(handler)) as client:
        for _ in range(1_000):
            opened(client, PUBLIC)
    gc.collect()
    byteplus_trace.flush()

    assert 1_000 == recorded.series("modelark_operations_total")
    assert 0 == recorded.series("modelark_operations_in_flight")
    assert threading.active_count() < threads + 10  # of a thousand; others of this process come and go
    assert not _background._jobs


class Streaming(httpx.BaseTransport):
    """Answers by a function, reading no request."""

    def __init__(self, handler):
        self._handler = handler

    def handle_request(self, request):
        return self._handler(request)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_stream_open_at_a_fork_is_told_by_the_parent_alone(url):
    """The child inherits the stream and drops it; it is the parent's call."""
    source = """
import gc, os, sys, httpx, byteplus_trace
from prometheus_client import CollectorRegistry
recorded = []
byteplus_trace.instrument(registry=CollectorRegistry(), on_exchange=recorded.append, base_urls={sys.argv[1].removesuffix("/chat/completions"): "eu-west-1"})
client = httpx.Client(headers={"Authorization": "Bearer key"})
response = client.send(client.build_request("POST", sys.argv[1], json={"model": "m", "stream": True, "messages": []}), stream=True)
next(response.iter_raw())
child = os.fork()
if child == 0:
    del response
    gc.collect()
    byteplus_trace.flush()
    os._exit(len(recorded))
status = os.waitpid(child, 0)[1]
response.close()
byteplus_trace.flush()
print(os.waitstatus_to_exitcode(status), [exchange.outcome for exchange in recorded])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**environment, "OTEL_TRACES_EXPORTER": "none"},
    )

    assert "0 ['cancelled']" == done.stdout.strip()


def test_the_span_of_a_stream_lasts_as_long_as_the_stream(http, instrument, recorded, ark, url):
    ark.region("ap-southeast-1").delays(first_event=0.05, between=0.01)
    instrument()
    began = time.time_ns()

    http.parts(url, STREAMED)

    ended = time.time_ns()
    span = recorded.one
    assert span.end_time - span.start_time >= 60_000_000
    assert began - 1_000_000 <= span.start_time
    assert span.end_time <= ended + 1_000_000
    assert span.attributes["gen_ai.response.time_to_first_chunk"] >= 0.05


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_call_that_is_cancelled_between_two_attempts(http, instrument, recorded, ark, sg, url):
    """The attempt failed, the call did not: its caller went away while it waited to try again."""
    ark.region("ap-southeast-1").fails(503)
    target = byteplus_trace.Target("sg", region="ap-southeast-1", base_url=sg, api_key="key")
    instrument(
        policy=byteplus_trace.Policy(
            targets=[target], retry=byteplus_trace.Retry(per_target=1, base=5, cap=8)
        )
    )

    async def work(client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(client.post, url, json=CHAT))
            while not recorded.exporter.get_finished_spans():
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    http.run(work)

    byteplus_trace.flush()
    (exchange,) = recorded.exchanges
    assert "cancelled" == exchange.outcome
    assert ["error"] == [attempt.result for attempt in exchange.attempts]
    assert StatusCode.UNSET is recorded.one.status.status_code
    assert 0 == recorded.series("modelark_operations_in_flight")


def test_a_probe_collected_while_the_breakers_are_locked(library, instrument, recorded, caplog):
    """Its slot is given back inside the collector, perhaps in the thread that holds their lock."""
    target = byteplus_trace.Target("sg", region="ap-southeast-1", api_key="key")
    breaker = byteplus_trace.Breaker(consecutive=1, open=0.01, open_max=0.01)
    instrument(base_urls={}, policy=byteplus_trace.Policy(targets=[target], breaker=breaker))

    def refusing(request):
        raise library.ConnectError("refused", request=request)

    with library.Client(transport=library.MockTransport(refusing)) as client:
        for _ in range(2):
            with contextlib.suppress(library.ConnectError):
                client.post(PUBLIC, json=CHAT)
    caplog.clear()  # that the breaker opened
    time.sleep(0.05)

    async def probe():
        return waiting(library)

    kept = [asyncio.run(probe())]

    def collect_under_lock():
        with Instrumentation.current().router.health._lock:
            kept.clear()
            gc.collect()

    bounded(collect_under_lock)

    byteplus_trace.flush()
    assert "probe" == recorded.exchanges[-1].attempts[0].cause
    assert "abandoned" == recorded.exchanges[-1].outcome
    asyncio.run(probe()).close()
    byteplus_trace.flush()
    assert "probe" == recorded.exchanges[-1].attempts[0].cause
