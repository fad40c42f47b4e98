"""
The OTLP receiver: HTTP on the loopback, in a thread of its own.

It listens on 127.0.0.1 alone and answers programs of this machine (`guarded`). Bodies are
read within bounds, and decoded one after the other in a second thread, so that a large one
delays neither the answers nor the view. Where too many wait the sender is asked to come
again: OTLP's exporters do.

Views of other processes ask the same port for what is new, with a secret that only they know.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus

import msgspec
from aiohttp import web

from .._telemetry import guard
from . import otlp
from .forward import Forward
from .guarded import loopback_alone
from .keep import Keep
from .otlp import BODY, RefusedError
from .plain import plain
from .program import Program
from .status import Changes, Status
from .store import Store

HOST = "127.0.0.1"
PORT = 4318
SERVER = "byteplus-trace"
MOST_WAITING = 32
"""Bodies that wait for being decoded."""
CHANGES = "/watch/changes"


_Use = Callable[[bytes, str, str], int]
"""What is done with a body of a media type and an encoding; how many spans of it are rejected."""


class Receiver:
    """
    A source of calls that arrive.

    Args:
        port: 0 takes a free one.
        secret: what views of other processes show; without one there are none.
    """

    def __init__(
        self,
        store: Store,
        port: int = PORT,
        *,
        keep: Keep | None = None,
        forward: Forward | None = None,
        secret: str = "",
        program: Program | None = None,
    ) -> None:
        self.store = store
        self.port = port
        self._keep = keep
        self._forward = forward
        self.secret = secret
        self.program = program
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="byteplus-trace-decode")
        self._waiting = 0
        self._rejected = 0
        self._refused = 0
        self._refusal = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._serve, name="byteplus-trace-receive", daemon=True)

    def start(self) -> None:
        """
        Listen.

        Raises:
            OSError: the port cannot be had.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop listening, and finish what was received."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._decoder.shutdown()
        if self._keep is not None:
            self._keep.close()

    def status(self) -> Status:
        counts = self.store.counts()
        troubles = [each.trouble for each in (self._keep, self._forward) if each is not None and each.trouble]
        return Status(
            place=f"{HOST}:{self.port}",
            received=counts.received,
            dropped=counts.dropped,
            rejected=self._rejected,
            refused=self._refused,
            refusal=self._refusal,
            troubles=[each for each in troubles if each is not None],
            program=self.program.state if self.program is not None else "",
            exit_status=self.program.exit_status if self.program is not None else None,
        )

    def output(self) -> list[str]:
        return self.program.output() if self.program is not None else []

    def _serve(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        app = web.Application(middlewares=[loopback_alone], client_max_size=BODY)
        app.add_routes([
            web.post("/v1/traces", self._traces),
            web.post("/v1/metrics", self._metrics),
            web.post("/v1/logs", self._logs),
            web.get(CHANGES, self._changes),
            web.get("/", self._greet),
        ])  # fmt: skip
        app.on_response_prepare.append(_sign)
        # Its own decompression has no bound.
        # aiohttp waits for the rest of a body that was refused, and the end of the view would wait with it.
        runner = web.AppRunner(app, auto_decompress=False, access_log=None, lingering_time=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST, self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            if self._forward is not None:
                self._forward.start()
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()
            if self._forward is not None:
                await self._forward.stop()

    async def _traces(self, request: web.Request) -> web.Response:
        return await self._take(request, "traces", self._add)

    async def _metrics(self, request: web.Request) -> web.Response:
        return await self._take(request, "metrics", self._read)

    async def _logs(self, request: web.Request) -> web.Response:
        """Logs are not shown, but a program that exports them is not refused, and they are forwarded."""
        return await self._take(request, "logs", lambda body, kind, encoding: 0)

    async def _take(self, request: web.Request, signal: str, use: _Use) -> web.Response:
        kind = otlp.PROTOBUF
        try:
            kind = otlp.media_type(request.headers.get("Content-Type", ""))
            body = await self._body(request)
            rejected = await self._used(use, body, kind, request.headers.get("Content-Encoding", ""))
        except RefusedError as refused:
            return self._refuse(refused, kind)
        except Exception as error:
            if guard.strict:
                raise
            return self._refuse(
                RefusedError(500, f"A fault of the receiver's own: {type(error).__name__}."), kind
            )
        if self._forward is not None:
            self._forward.put(f"/v1/{signal}", request.headers, body)
        return web.Response(body=otlp.response(signal, kind, rejected), content_type=kind)

    async def _body(self, request: web.Request) -> bytes:
        too_large = RefusedError(413, f"The body has more than {BODY:,} bytes: send smaller batches.")
        if (request.content_length or 0) > BODY:
            raise too_large
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None

    async def _used(self, use: _Use, body: bytes, kind: str, encoding: str) -> int:
        if self._waiting >= MOST_WAITING:
            raise RefusedError(503, "Too many requests wait. Try again.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoder, use, body, kind, encoding)
        finally:
            self._waiting -= 1

    def _refuse(self, refused: RefusedError, kind: str) -> web.Response:
        self._refused += 1
        self._refusal = plain(f"{refused.status}: {refused.reason}")
        headers = {"Retry-After": "1"} if refused.status == HTTPStatus.SERVICE_UNAVAILABLE else None
        body = otlp.refusal(refused.reason, kind)
        return web.Response(status=refused.status, body=body, content_type=kind, headers=headers)

    def _add(self, body: bytes, kind: str, encoding: str) -> int:
        decoded = otlp.spans_of(otlp.decompressed(body, encoding), kind)
        data = self.store.add(decoded.spans)
        if self._keep is not None:
            self._keep.add(decoded.spans, data)
        self._rejected += decoded.rejected
        return decoded.rejected

    def _read(self, body: bytes, kind: str, encoding: str) -> int:
        self.store.receive(otlp.readings_of(otlp.decompressed(body, encoding), kind))
        return 0

    async def _changes(self, request: web.Request) -> web.Response:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self.secret or not hmac.compare_digest(shown.encode(), self.secret.encode()):
            return web.Response(status=403, text="This is for the views of this receiver.\n")
        try:
            after = int(request.query.get("after", "0"))
        except ValueError:
            return web.Response(status=400, text="after is a number.\n")
        number, spans = self.store.since(after)
        changes = Changes(number, spans, self.store.readings(), self.status(), self.output())
        return web.Response(body=msgspec.msgpack.encode(changes), content_type="application/x-msgpack")

    async def _greet(self, request: web.Request) -> web.Response:
        return web.Response(text="byteplus-trace watch receives OTLP here: POST /v1/traces\n")


async def _sign(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER
