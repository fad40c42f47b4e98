"""Every seam fails, and so does the network at every byte."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio

from byteplus_trace import Breaker, Policy, Retry, Target
from byteplus_trace.testing import ModelArk, capture
from tests.edge import test_seams as seams

from .calls import CLIENTS, as_for_users
from .figures import Figures, bytes_that_differ

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "hi"}]}
CALLS_OF_A_RUN = 3
"""Of `seams.broken`: two documents and a stream."""


def run(thorough: bool) -> Iterator[Figures]:
    # The seams make faults, and each would be a line of the log.
    logging.disable(logging.CRITICAL)
    with ModelArk() as fake, as_for_users():
        names = list(seams.SEAMS)
        colours = ("sync", "asyncio") if thorough else ("sync",)
        alone = [
            ((name,), colour, routed) for name in names for colour in colours for routed in (False, True)
        ]
        yield broken("each seam alone", fake, alone)
        yield broken("seams in pairs", fake, list(seams.pairs()))
    for name, reply in REPLIES.items():
        yield cut_everywhere(name, reply, 1 if thorough else 4)
    for name in ("a document", "a stream"):
        yield cut_under_a_policy(name, REPLIES[name], 1 if thorough else 8)


def broken(part: str, fake: ModelArk, runs: list[tuple[tuple[str, ...], str, bool]]) -> Figures:
    figures = Figures(part)
    for names, colour, routed in runs:
        figures.faults += len(names)
        figures.calls += CALLS_OF_A_RUN
        try:
            seams.broken(fake, list(names), colour=colour, routed=routed)
        except Exception as error:
            figures.failures.append(
                f"{' and '.join(names)}, {colour}, {'routed' if routed else 'plain'}: {error!r}"[:500]
            )
    return figures


def document(content: bytes, *extra: bytes) -> bytes:
    head = [
        b"HTTP/1.1 200 OK",
        b"content-type: application/json",
        b"content-length: %d" % len(content),
        *extra,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + content


def answer(who: str) -> bytes:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": f"said by {who}"},
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    return json.dumps({"id": "1", "model": "m", "choices": [choice], "usage": usage}).encode()


def events(who: str) -> list[bytes]:
    deltas: list[dict[str, Any]] = [
        {"delta": {"content": f"said {n} by {who}"}, "index": 0} for n in range(2)
    ]
    deltas.append({"delta": {}, "index": 0, "finish_reason": "stop"})
    found = [json.dumps({"id": "1", "model": "m", "choices": [each]}).encode() for each in deltas]
    return [b"data: %s\n\n" % each for each in [*found, b"[DONE]"]]


def stream(parts: list[bytes]) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


REPLIES = {
    "a document": document(answer("it")),
    "a stream": stream(events("it")),
    "a compressed document": document(gzip.compress(answer("it"), mtime=0), b"content-encoding: gzip"),
}


class Cutter:
    """A server that sends its reply as far as the header `x-cut` says, and ends the connection as that says."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base_url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/api/v3"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            ending, size = header(self.request(connection), b"x-cut").split(b"-")
            connection.sendall(self.reply[: int(size)])
            if ending == b"reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif ending == b"silence":
                connection.recv(1)  # until the client goes

    @staticmethod
    def request(connection: socket.socket) -> bytes:
        """Its head; the body is read too."""
        received = b""
        while b"\r\n\r\n" not in received:
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("no request came")
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        remaining = int(header(head, b"content-length")) - len(body)
        while remaining > 0:
            remaining -= len(connection.recv(65536))
        return head

    def close(self) -> None:
        self.listener.close()


def header(head: bytes, name: bytes) -> bytes:
    """The value of a header, in lower case."""
    return head.lower().split(b"\r\n%s: " % name)[1].split(b"\r\n")[0]


@contextlib.contextmanager
def cutting(reply: bytes) -> Iterator[Cutter]:
    server = Cutter(reply)
    try:
        yield server
    finally:
        server.close()


Result = tuple[int | None, bytes, str | None]


def call(base_url: str, library: Any, colour: str, ending: str, size: int, streamed: bool) -> Result:
    """The status, the bytes, and the exception that a caller gets."""
    parts: list[bytes] = []
    statuses: list[int] = []
    client = {"trust_env": False, "timeout": 0.2 if ending == "silence" else 30}
    asked = {
        "method": "POST",
        "url": base_url + "/chat/completions",
        "json": {**CHAT, "stream": streamed},
        "headers": {"x-cut": f"{ending}-{size}", "authorization": "Bearer key"},
    }

    async def work() -> None:
        async with library.AsyncClient(**client) as http, http.stream(**asked) as response:
            statuses.append(response.status_code)
            async for part in response.aiter_bytes():
                parts.append(part)  # noqa: PERF401  kept also where the next one raises

    raised = None
    try:
        if colour != "sync":
            anyio.run(work, backend=colour)
        else:
            with library.Client(**client) as http, http.stream(**asked) as response:
                statuses.append(response.status_code)
                parts.extend(response.iter_bytes())
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
    return (statuses[0] if statuses else None, b"".join(parts), raised)


def places(reply: bytes, step: int) -> list[tuple[str, int]]:
    """Where it ends, and how. Each waits for a timeout where there is silence, so these are fewer."""
    ends = ("closed", "reset")
    found = [(ends[(size + size // step) % 2], size) for size in range(0, len(reply) + 1, step)]
    if step == 1:
        found = [(end, size) for end in ends for size in range(len(reply) + 1)]
    return found + [("silence", size) for size in range(0, len(reply), 64 if step == 1 else 128)]


def cut_everywhere(name: str, reply: bytes, step: int) -> Figures:
    """Each cut bare, then watched, in one of four ways to call."""
    # Which bytes are tried goes round the ways, so that each way meets each kind of place.
    tried = places(reply, 1)
    tried = [each for number, each in enumerate(tried) if number % step == number // len(reply) % step]
    figures = Figures(
        f"{name}, cut at {'every' if step == 1 else f'each {step}th'} byte",
        inputs=len(tried),
        faults=2 * len(tried),
    )
    streamed = b"event-stream" in reply
    with cutting(reply) as server:
        cases = [(*CLIENTS[number % len(CLIENTS)], *place) for number, place in enumerate(tried)]
        bare = [call(server.base_url, *case, streamed) for case in cases]
        with as_for_users(), capture(base_urls={server.base_url: "ap-southeast-1"}) as seen:
            watched = [call(server.base_url, *case, streamed) for case in cases]
            figures.spans_lost = len(tried) - len({span.context.trace_id for span in seen.spans})
            ours = seen.sample("modelark_telemetry_errors_total")
    figures.calls = len(bare) + len(watched)
    for case, one, other in zip(cases, bare, watched, strict=True):
        figures.bytes_changed += bytes_that_differ(one[1], other[1])
        figures.require(one == other, f"{case}: {one} without us, {other} with us"[:1_000])
    figures.require(not ours, f"{ours:.0f} faults of our own were swallowed")
    return figures


def cut_under_a_policy(name: str, reply: bytes, step: int) -> Figures:
    """The first region is cut; the caller gets one region's answer or a beginning of it, and never a mixed one."""
    streamed = b"event-stream" in reply
    well = stream(events("other")) if streamed else document(answer("other"))
    whole = [b"".join(events(who)) if streamed else answer(who) for who in ("it", "other")]
    tried = places(reply, step)
    figures = Figures(f"{name}, cut under a policy", inputs=len(tried), calls=len(tried))
    with cutting(reply) as server, cutting(well) as other:
        other.answer = sends_all(other)  # type: ignore[method-assign]
        policy = Policy(
            [
                Target("sg", region="ap-southeast-1", base_url=server.base_url, api_key="a"),
                Target("eu", region="eu-west-1", base_url=other.base_url, api_key="b"),
            ],
            retry=Retry(per_target=0),
            # Closed throughout: each call is to meet its fault.
            breaker=Breaker(ratio=None, consecutive=None),
            forward_headers=("x-cut",),
        )
        rescued = 0
        urls = {server.base_url: "ap-southeast-1", other.base_url: "eu-west-1"}
        with as_for_users(), capture(base_urls=urls, policy=policy) as seen:
            for number, (ending, size) in enumerate(tried):
                using = CLIENTS[number % len(CLIENTS)]
                status, body, raised = call(server.base_url, *using, ending, size, streamed)
                rescued += body == whole[1]
                where = f"{using}, {ending} at {size}"
                if raised is None:
                    figures.require(status == 200 and body in whole, f"{where}: {status} {body!r}")
                else:
                    figures.require(
                        any(each.startswith(body) for each in whole), f"{where}: {body!r}, {raised}"
                    )
            figures.spans_lost = len(tried) - len({span.context.trace_id for span in seen.spans})
            figures.faults = sum(each.attempts[0].target == "sg" for each in seen.exchanges)
            ours = seen.sample("modelark_telemetry_errors_total")
    figures.require(not ours, f"{ours:.0f} faults of our own were swallowed")
    figures.notes.append(f"{rescued} calls were rescued")
    figures.require(rescued > 0, "no call was rescued")
    figures.require(figures.faults == len(tried), "some calls met no fault")
    return figures


def sends_all(server: Cutter) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            server.request(connection)
            connection.sendall(server.reply)

    return send
