"""What is held of a call does not grow with its length, and nothing of it stays when it is over."""

import contextlib
import gc
import json
import socket
import subprocess
import sys
import tracemalloc
import weakref
from pathlib import Path

import httpx
import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from byteplus_trace import Policy, Target, _background
from byteplus_trace._edge.remembered import remembered
from byteplus_trace.httpx2 import ModelArkTransport

URL = "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions"
ASKED = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Count."}], "stream": True}
CHAT = {**ASKED, "stream": False}
LAST = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

MOST_HELD_OF_A_STREAM = 512 * 1024
"""Bytes: a tenth of the stream's length, since what other threads of this process do meanwhile is counted too."""
MOST_KEPT_OF_A_CALL = 12
"""Bytes, on average: less than the smallest object that could be kept of each."""


def event(number):
    chunk = {"id": "1", "choices": [{"index": 0, "delta": {"content": f"word {number}"}}], "created": number}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


class Events(httpx2.SyncByteStream):
    """A stream of so many events, made when they are read."""

    def __init__(self, events):
        self.events = events

    def __iter__(self):
        for number in range(self.events):
            yield event(number)
        yield LAST


def client_of(events):
    """A client whose server streams so many events."""

    def answer(request):
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Events(events))

    transport = ModelArkTransport(
        httpx2.MockTransport(answer),
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        registry=CollectorRegistry(),
    )
    return httpx2.Client(transport=transport)


def held():
    """The bytes that are held now, garbage aside."""
    _background.drain()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def traced():
    tracemalloc.start()
    yield held
    tracemalloc.stop()


def read_whole(client):
    with client.stream("POST", URL, json=ASKED) as reply:
        for _ in reply.iter_raw():
            pass


def leave_early(client):
    with client.stream("POST", URL, json=ASKED) as reply:
        next(reply.iter_raw())


def forget(client):
    reply = client.send(client.build_request("POST", URL, json=ASKED), stream=True)
    next(reply.iter_raw())


def kept_of_a_call(use):
    """
    The bytes that are still held of one call when it is over, on average.

    What a call left would be left in every window; what happens once is not in all of them.
    """
    tracemalloc.start()
    client, calls = client_of(3), 300

    def kept():
        before = held()
        for _ in range(calls):
            use(client)
        return (held() - before) / calls

    return min(kept() for _ in range(4))


def test_a_stream_of_fifty_thousand_events_is_held_no_more_than_a_short_one(traced):
    client = client_of(50_000)
    read_whole(client_of(10))
    before = traced()
    tracemalloc.reset_peak()

    read_whole(client)

    assert tracemalloc.get_traced_memory()[1] - before < MOST_HELD_OF_A_STREAM


@pytest.mark.parametrize("use", [read_whole, leave_early, forget], ids=lambda use: use.__name__)
def test_nothing_stays_of_thousands_of_calls(use):
    """In a process of its own, for the threads of this one keep what they like."""
    here = Path(__file__)
    code = f"import {here.stem} as memory; print(memory.kept_of_a_call(memory.{use.__name__}))"

    measured = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(measured.stdout) < MOST_KEPT_OF_A_CALL


def refused(library, url, body, **options):
    """A call whose connection is refused; a weak reference to what its caller worked on."""

    class Work:
        pass

    work = Work()
    with library.Client(**options) as client, contextlib.suppress(library.ConnectError):
        client.post(url + "/chat/completions", json=body)
    return weakref.ref(work)


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("routed", [True, False])
def test_a_refused_call_keeps_nothing_of_its_caller_alive(library, instrument, collects, routed):
    """
    Its exception is remembered, for an SDK may send the call again.

    httpcore makes circles of its own, so where the collector does not run nothing of httpcore's does.
    """

    class Refusing(library.BaseTransport):
        def handle_request(self, request):
            raise library.ConnectError("refused")

    options = {} if collects else {"transport": Refusing()}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/api/v3"
    sg, eu = (
        Target(name, region=name, base_url=nobody if name[0] == "a" else nobody + "/eu")
        for name in ("ap-southeast-1", "eu-west-1")
    )
    instrument(base_urls={nobody: "ap-southeast-1"}, policy=Policy([sg, eu]) if routed else None)
    refused(library, nobody, CHAT, **options)
    if not collects:
        gc.disable()
    try:
        works = [refused(library, nobody, {**CHAT, "user": str(number)}, **options) for number in range(5)]
        if collects:
            gc.collect()
        assert [] == [work() for work in works if work() is not None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("slow", request=httpx.Request("POST", "https://h", content=b"x" * 100)),
        OSError(111, "Connection refused"),
        ExceptionGroup("each address", [OSError(111, "Connection refused"), ValueError("no")]),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        KeyError(object()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_remembered_exception_says_the_same_and_holds_nothing(error):
    def fail():
        raise error

    try:
        try:
            fail()
        except Exception as cause:
            raise httpx.ConnectError("m" * 5_000) from cause
    except httpx.ConnectError as raised:
        found = remembered(raised)

    cause = found.__cause__
    assert (httpx.ConnectError, 1_000) == (type(found), len(str(found)))
    assert type(cause) is type(error)
    assert getattr(cause, "errno", None) == getattr(error, "errno", None)
    assert found.__traceback__ is cause.__traceback__ is None
    with pytest.raises(RuntimeError):
        found.request  # noqa: B018


def test_a_remembered_exception_holds_none_of_its_arguments():
    class Work:
        pass

    work = Work()
    seen, found = weakref.ref(work), remembered(KeyError(work))
    del work
    gc.collect()

    assert seen() is None
    assert KeyError is type(found)
