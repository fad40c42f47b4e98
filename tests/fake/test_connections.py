"""Connections that are refused, hang, end early or are slow."""

import asyncio
import gc
import socket
import threading
import time
import zlib

import httpx
import pytest

from byteplus_trace.testing import ModelArk

SG = "ap-southeast-1"
ANSWER = "Hello! How can I help you today?"


def test_a_reply_is_compressed_only_where_configured_and_accepted(chat, events):
    with ModelArk(compress=True) as ark:
        for coding in ("gzip", "deflate", "br"):
            headers = {"Authorization": "Bearer any", "Accept-Encoding": coding}
            url = f"{ark.base_url(SG)}/chat/completions"
            whole = httpx.post(url, json=chat(), headers=headers)
            stream = httpx.post(url, json=chat(stream=True), headers=headers)

            assert [coding, coding] == [whole.headers["content-encoding"], stream.headers["content-encoding"]]
            assert ANSWER == whole.json()["choices"][0]["message"]["content"]
            assert "[DONE]" == events(stream.text)[-1]
        plain = httpx.get(f"{ark.base_url(SG)}/models", headers={**headers, "Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers


def test_every_event_can_be_decompressed_as_it_comes(chat):
    with ModelArk(compress=True) as ark:
        ark.region(SG).hangs(after_events=1)
        headers = {"Authorization": "Bearer any", "Accept-Encoding": "gzip"}
        with (
            httpx.Client(headers=headers) as client,
            client.stream("POST", f"{ark.base_url(SG)}/chat/completions", json=chat(stream=True)) as reply,
        ):
            raw = b""
            for part in reply.iter_raw():
                raw += part
                if b"reasoning_content" in zlib.decompressobj(wbits=31).decompress(raw):
                    break
    assert len(raw) < 1000


def test_a_refusing_region_keeps_its_port_and_comes_back(client, sg):
    client.get("/models")
    sg.refuses()
    with pytest.raises(httpx.ConnectError, match="refused"):
        client.get("/models")
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", sg.port))
    sg.accepts()

    assert client.get("/models").is_success
    assert [1, 2] == [request.connection for request in sg.requests]


def test_a_hanging_request_is_answered_when_the_region_recovers(client, sg):
    sg.hangs(times=1)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/models", timeout=0.05)
    sg.hangs()
    waiting = threading.Thread(target=lambda: replies.append(client.get("/models")))
    replies = []
    waiting.start()
    while len(sg.requests) < 2:
        time.sleep(0.001)
    assert [] == replies
    sg.recovers()
    waiting.join(5)

    assert [200] == [reply.status_code for reply in replies]


def test_stopping_ends_what_hangs_at_once():
    with ModelArk() as ark:
        ark.region(SG).hangs()
        headers = {"Authorization": "Bearer any"}
        ends = []

        def call():
            with httpx.Client(headers=headers, timeout=5) as client, pytest.raises(httpx.RemoteProtocolError):
                client.get(f"{ark.base_url(SG)}/models")
            ends.append(True)

        threads = [threading.Thread(target=call) for _ in range(5)]
        for thread in threads:
            thread.start()
        while len(ark.requests) < 5:
            time.sleep(0.001)
        began = time.monotonic()
    for thread in threads:
        thread.join(5)

    assert time.monotonic() - began < 1
    assert 5 == len(ends)
    assert 5 == len(ark.requests)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda sg: sg.resets(), httpx.ReadError),
        (lambda sg: sg.answers_garbage(), httpx.RemoteProtocolError),
        (lambda sg: sg.cuts(), httpx.RemoteProtocolError),
        (lambda sg: sg.closes(), httpx.RemoteProtocolError),
    ],
    ids=["resets", "garbage", "cuts", "closes"],
)
def test_a_connection_fails_as_scripted(client, sg, fault, error, chat):
    fault(sg)
    with pytest.raises(error):
        client.post("/chat/completions", json=chat())


@pytest.mark.parametrize(("reset", "error"), [(False, httpx.RemoteProtocolError), (True, httpx.ReadError)])
def test_a_stream_is_cut_after_so_many_events(client, sg, reset, error, chat):
    sg.cuts(after_events=3, reset=reset)
    seen = []
    with client.stream("POST", "/chat/completions", json=chat(stream=True)) as reply, pytest.raises(error):
        seen.extend(reply.iter_text())

    assert 3 == "".join(seen).count("\n\n")


def test_a_stream_that_hangs_goes_on_when_the_region_recovers(client, sg, chat, events):
    sg.hangs(after_events=2)
    with client.stream("POST", "/chat/completions", json=chat(stream=True)) as reply:
        parts = reply.iter_text()
        seen = next(parts)
        while seen.count("\n\n") < 2:
            seen += next(parts)
        sg.recovers()
        seen += "".join(parts)

    assert "[DONE]" == events(seen)[-1]


def test_delays_add_to_other_faults_and_end_when_the_region_recovers(client, sg):
    sg.delays(headers=60, first_event=60, between=60)
    sg.fails(503)
    releasing = threading.Timer(0.05, sg.recovers)
    releasing.start()

    assert 503 == client.get("/models").status_code
    releasing.join()


def test_the_body_of_a_document_can_be_late(client, sg):
    sg.delays(first_event=0.05)
    with client.stream("GET", "/models") as reply:
        headers_received = time.monotonic()
        reply.read()

    assert time.monotonic() - headers_received > 0.03


def test_a_stream_begins_at_once_on_a_connection_in_use_too(client, chat):
    """Else Nagle's algorithm and the client's delayed acknowledgement hold it back for 40 ms."""
    took = []
    for _ in range(6):
        began = time.perf_counter()
        with client.stream("POST", "/chat/completions", json=chat(stream=True)) as reply:
            parts = reply.iter_raw()
            next(parts)
            took.append(time.perf_counter() - began)
            list(parts)

    assert min(took[1:]) < 0.03


def test_delays_are_kept(client, sg, chat):
    sg.delays(headers=0.02, first_event=0.02, between=0.01)
    began = time.monotonic()
    client.post("/chat/completions", json=chat(stream=True))

    assert time.monotonic() - began > 0.04 + 15 * 0.01


def test_many_calls_at_once_are_answered(ark, chat):
    async def calls():
        headers = {"Authorization": "Bearer any"}
        async with httpx.AsyncClient(base_url=ark.base_url(SG), headers=headers, timeout=30) as client:
            return await asyncio.gather(*(client.post("/chat/completions", json=chat()) for _ in range(100)))

    assert {200} == {reply.status_code for reply in asyncio.run(calls())}
    assert 100 == len(ark.requests)


def test_stopping_while_connections_come_in_leaves_nothing_behind(caplog):
    for _ in range(5):
        with ModelArk() as ark:
            sockets = [socket.create_connection(("127.0.0.1", ark.region(SG).port)) for _ in range(20)]
        for each in sockets:
            each.close()
    gc.collect()

    assert [] == caplog.records


def test_many_live_beside_each_other_and_start_again():
    arks = [ModelArk().start() for _ in range(5)]
    ports = {region.port for ark in arks for region in ark.regions}
    for ark in arks:
        ark.stop()
        ark.stop()

    assert 10 == len(ports)
    with arks[0] as again:
        assert httpx.get(f"{again.base_url(SG)}/models", headers={"Authorization": "Bearer x"}).is_success
