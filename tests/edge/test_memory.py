"""What is held of a call does not grow with its length, and nothing of it stays when it is over."""

import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from byteplus_trace import _background
from byteplus_trace.httpx2 import ModelArkTransport

URL = "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions"
ASKED = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Count."}], "stream": True}
LAST = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

MOST_HELD_OF_A_STREAM = 512 * 1024
"""Bytes: a tenth of the stream's length, since what other threads of this process do meanwhile is counted too."""
MOST_LEFT_OF_A_CALL = 12
"""Bytes, on average: less than the smallest object that could be kept of each."""


def event(number):
    said = {"id": "1", "choices": [{"index": 0, "delta": {"content": f"word {number}"}}], "created": number}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


class Words(httpx2.SyncByteStream):
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
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Words(events))

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


def left_of_a_call(use):
    """
    The bytes that are still held of one call when it is over, on average.

    What a call left would be left in every window; what happens once is not in all of them.
    """
    tracemalloc.start()
    client, calls = client_of(3), 1_000

    def left():
        before = held()
        for _ in range(calls):
            use(client)
        return (held() - before) / calls

    return min(left() for _ in range(3))


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
    code = f"import {here.stem} as memory; print(memory.left_of_a_call(memory.{use.__name__}))"

    measured = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(measured.stdout) < MOST_LEFT_OF_A_CALL
