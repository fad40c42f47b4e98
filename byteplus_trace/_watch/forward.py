"""
Everything that is received also goes to another OTLP receiver, as it was sent.

In the order of arrival, with the request's own headers, so a Collector sees what it would
have seen. While it does not take them, requests wait, within bounds; beyond these the oldest
is dropped, and counted. What it refuses for good is dropped too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from .._errors import SettingError, shown_url
from .._regions import is_loopback

MOST_REQUESTS = 1000
MOST_BYTES = 64 * 1024 * 1024
_AGAIN = frozenset({429, 502, 503, 504})
_PATIENCE = aiohttp.ClientTimeout(total=10)
_HOP_BY_HOP = frozenset({
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "origin", "cookie",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    headers: Mapping[str, str]
    body: bytes


class Forward:
    """
    Where requests go on to.

    Raises:
        SettingError: the URL is none of HTTP's, or the receiver's own.
    """

    def __init__(self, url: str, port: int, wait: float = 1.0) -> None:
        try:
            parts = urlsplit(url)
            there = parts.port or 80
        except ValueError:
            parts, there = urlsplit(""), 80
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingError(f"--forward {shown_url(url)}: write it whole, such as http://localhost:14318.")
        if is_loopback(parts.hostname) and there == port:
            raise SettingError(
                f"--forward {shown_url(url)} is this receiver itself. Forward to another port."
            )
        self._url = url.rstrip("/").removesuffix("/v1/traces")
        self._proxied = not is_loopback(parts.hostname)
        self._wait = wait
        self._waiting: deque[_Request] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failure: str | None = None
        self.sent = 0
        self.dropped = 0

    @property
    def trouble(self) -> str | None:
        """What does not work; None where all does."""
        if self._failure is None and not self.dropped:
            return None
        count = len(self._waiting)
        waiting = f"{count} request{' waits' if count == 1 else 's wait'}, " if count else ""
        why = f": {self._failure}" if self._failure is not None else ""
        return f"forwarding to {shown_url(self._url)}{why} ({waiting}{self.dropped} dropped)"

    def put(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """Have a request go on. In the thread of the loop."""
        sent = {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
        self._waiting.append(_Request(path, sent, body))
        self._bytes += len(body)
        while len(self._waiting) > MOST_REQUESTS or self._bytes > MOST_BYTES:
            self._take()
            self.dropped += 1
        self._arrived.set()

    def _take(self) -> None:
        self._bytes -= len(self._waiting.popleft().body)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self, seconds: float = 2.0) -> None:
        """Send what waits, for so long."""
        task, self._task = self._task, None
        if task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting and self._failure is None:
                    await asyncio.sleep(0.02)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _run(self) -> None:
        async with aiohttp.ClientSession(
            timeout=_PATIENCE,
            trust_env=self._proxied,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    request = self._waiting[0]
                    again = await self._send(session, request)
                    if again:
                        await asyncio.sleep(self._wait)
                    elif self._waiting and self._waiting[0] is request:
                        self._take()

    async def _send(self, session: aiohttp.ClientSession, request: _Request) -> bool:
        """Whether it has to be sent again."""
        try:
            async with session.post(
                self._url + request.path, data=request.body, headers=request.headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # An exception's text may have the URL with what is secret in it.
            unheard = isinstance(error, aiohttp.ClientConnectorError)
            self._failure = "nobody listens" if unheard else type(error).__name__
            return True
        if status < 300:
            self.sent += 1
            self._failure = None
            return False
        self._failure = f"HTTP {status}"
        if status in _AGAIN:
            return True
        self.dropped += 1
        return False
