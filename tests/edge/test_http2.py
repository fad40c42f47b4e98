"""One connection of HTTP/2 carries many calls, and its end is one event."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress

import anyio
import h2.config
import h2.connection
import h2.events
import pytest

from byteplus_trace import Policy, Target

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
IMAGE = {"model": "seedream-4-0-250828", "prompt": "A river."}
ANSWERS = {
    "/api/v3/chat/completions": {
        "id": "1",
        "object": "chat.completion",
        "model": "seed-1-6-250915",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Rhine"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    },
    "/api/v3/images/generations": {
        "model": "seedream-4-0-250828",
        "data": [{"url": "https://h/1.png", "size": "1x1"}],
        "usage": {"generated_images": 1, "output_tokens": 1},
    },
}


class Server:
    """
    A real HTTP/2 server, on a socket of its own.

    `ends(connection, stream_ids)` is called once a connection has as many requests as
    `waits_for`, for as many connections as `times`; others are answered.
    """

    def __init__(self, ends, *, waits_for=1, times=1):
        self.ends, self.waits_for, self.times = ends, waits_for, times
        self.connections = 0
        self.answered = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api/v3"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._socket.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                bad = self.connections <= self.times
                threading.Thread(target=self._serve, args=(connection, bad), daemon=True).start()

    def _serve(self, line, bad):
        h2_ = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        h2_.initiate_connection()
        paths, whole = {}, []
        with line, suppress(OSError):
            line.sendall(h2_.data_to_send())
            while data := line.recv(65536):
                for event in h2_.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        paths[event.stream_id] = dict(event.headers)[b":path"].decode()
                    elif isinstance(event, h2.events.DataReceived):
                        h2_.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        whole.append(event.stream_id)
                if bad and len(whole) == self.waits_for:
                    bad = self.ends(h2_, whole) is not None
                    whole.clear()
                    line.sendall(h2_.data_to_send())
                    if not bad and h2_.state_machine.state.name == "CLOSED":
                        line.shutdown(socket.SHUT_RDWR)
                        return
                elif not bad:
                    for stream_id in whole:
                        self.answered.append(paths[stream_id])
                        h2_.send_headers(
                            stream_id, [(":status", "200"), ("content-type", "application/json")]
                        )
                        h2_.send_data(
                            stream_id, json.dumps(ANSWERS[paths[stream_id]]).encode(), end_stream=True
                        )
                    whole.clear()
                line.sendall(h2_.data_to_send())


BEGUN = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Rhine"}}]}\n\n'


def goes_away(last_stream_id):
    def ends(connection, _stream_ids):
        connection.close_connection(error_code=0, last_stream_id=last_stream_id)

    return ends


def refuses(connection, stream_ids):
    for stream_id in stream_ids:
        connection.reset_stream(stream_id, error_code=0x7)


@pytest.fixture
def serves():
    servers = []

    def start(*arguments, **options):
        servers.append(Server(*arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def target(server, name="sg", region="ap-southeast-1"):
    return Target(name, region=region, base_url=server.base_url, api_key="k")


@pytest.mark.parametrize("ends", [goes_away(0), refuses], ids=["GOAWAY", "REFUSED_STREAM"])
def test_what_the_server_says_it_did_not_process_is_sent_again_whatever_it_costs(
    http, instrument, recorded, serves, ends
):
    """An image is paid for, and is never sent again where its first copy may have run."""
    server = serves(ends)
    instrument(policy=Policy([target(server)]), base_urls={})
    http.options.update(http1=False, http2=True)

    reply = http.post(server.base_url + "/images/generations", IMAGE)

    assert 200 == reply.status_code
    (exchange,) = recorded.exchanges
    assert ["reset", "none"] == [attempt.reason for attempt in exchange.attempts]
    assert exchange.duplicate is None
    assert ["/api/v3/images/generations"] == server.answered


def test_what_the_server_may_have_processed_is_not(http, instrument, recorded, serves):
    server = serves(goes_away(1))
    instrument(policy=Policy([target(server)]), base_urls={})
    http.options.update(http1=False, http2=True)

    with pytest.raises(http.library.RemoteProtocolError):
        http.post(server.base_url + "/images/generations", IMAGE)

    assert [] == server.answered


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
@pytest.mark.parametrize("last", [2**31 - 1, 0], ids=["processed", "unprocessed"])
def test_the_end_of_a_shared_connection_counts_once(http, instrument, recorded, serves, last, caplog):
    server, other = serves(goes_away(last), waits_for=20), serves(None, times=0)
    instrument(
        policy=Policy([target(server), target(other, "eu", "eu-west-1")]),
        base_urls={},
    )
    http.options.update(http1=False, http2=True)

    async def work(client):
        replies = []

        async def call():
            replies.append((await client.post(server.base_url + "/chat/completions", json=CHAT)).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(call)
        return replies

    assert [200] * 20 == http.run(work)
    assert 20 == len(recorded.exchanges)
    assert 20 == sum(attempt.reason == "reset" for each in recorded.exchanges for attempt in each.attempts)
    assert not [record for record in caplog.records if "opens" in record.message]


@pytest.mark.parametrize("shared", [True, False])
def test_the_end_of_a_shared_connection_amid_its_streams_counts_once(
    http, instrument, recorded, library, shared, caplog
):
    """httpcore raises for each stream, from the one event that ended them all."""

    class Goaway:
        error_code, last_stream_id = 0, 2**31 - 1

    ends = [Goaway() for _ in range(20)]

    class Broken(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self):
            yield BEGUN
            raise library.RemoteProtocolError("lost") from OSError(
                ends[0 if shared else len(recorded.exchanges)]
            )

        async def __aiter__(self):
            for part in self:
                yield part

    reply = {"headers": {"content-type": "text/event-stream"}, "stream": Broken()}
    http.options["transport"] = library.MockTransport(lambda _: library.Response(200, **reply))
    targets = [
        Target(name, region=name, base_url=f"https://{name}.example/api/v3", api_key="k")
        for name in ("ap-southeast-1", "eu-west-1")
    ]
    instrument(policy=Policy(targets), base_urls={})

    for _ in range(20):
        with pytest.raises(library.RemoteProtocolError):
            http.post(targets[0].base_url + "/chat/completions", {**CHAT, "stream": True})

    assert ["error"] * 20 == [each.outcome for each in recorded.exchanges]
    assert shared == (not [record for record in caplog.records if "opens" in record.message])
