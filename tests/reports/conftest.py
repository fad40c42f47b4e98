"""Calls over scripted replies, in each library and colour."""

from __future__ import annotations

import contextlib
import importlib
from typing import NamedTuple

import anyio
import httpx
import httpx2
import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace import Breaker, Deadline, Policy, Retry, Target

SINGAPORE = "https://ark.ap-southeast.bytepluses.com"
MODEL = "seed-2-0-lite-260428"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
EMBED = {"model": MODEL, "input": ["hi"]}

# The APIs by a short name: method, path and body. A second word is a variant of the body.
APIS = {
    "chat": ("POST", "/api/v3/chat/completions", CHAT),
    "bot": ("POST", "/api/v3/bots/chat/completions", {**CHAT, "model": "bot-1"}),
    "context": ("POST", "/api/v3/context/chat/completions", {**CHAT, "context_id": "ctx-1"}),
    "batch": ("POST", "/api/v3/batch/chat/completions", {**CHAT, "model": "ep-bi-1"}),
    "responses": ("POST", "/api/v3/responses", {"model": MODEL, "input": "hi"}),
    "responses unstored": ("POST", "/api/v3/responses", {"model": MODEL, "input": "hi", "store": False}),
    "fetched": ("GET", "/api/v3/responses/resp_1", None),
    "messages": ("POST", "/api/compatible/v1/messages", {**CHAT, "max_tokens": 9}),
    "images": ("POST", "/api/v3/images/generations", {"model": "seedream-4-5-251128", "prompt": "a river"}),
    "embeddings": ("POST", "/api/v3/embeddings", EMBED),
    "multimodal": (
        "POST",
        "/api/v3/embeddings/multimodal",
        {"model": MODEL, "input": [{"type": "text", "text": "hi"}]},
    ),
    "task made": ("POST", "/api/v3/contents/generations/tasks", {"model": "dreamina", "content": []}),
    "task read": ("GET", "/api/v3/contents/generations/tasks/cgt-1", None),
    "tasks": ("GET", "/api/v3/contents/generations/tasks", None),
    "tokenization": ("POST", "/api/v3/tokenization", {"model": MODEL, "text": "hi"}),
    "classification": ("POST", "/api/v3/classification", {"model": MODEL, "query": "hi", "labels": ["a"]}),
    "count_tokens": ("POST", "/api/compatible/v1/messages/count_tokens", CHAT),
    "models": ("GET", "/api/v3/models", None),
    "file": ("GET", "/api/v3/files/file-1", None),
    "input_items": ("GET", "/api/v3/responses/resp_1/input_items", None),
}


def two_targets(**options):
    """A policy of two regions and no retries."""
    return Policy(
        targets=[
            Target("sg", region="ap-southeast-1", api_key="one"),
            Target("eu", region="eu-west-1", api_key="two"),
        ],
        retry=Retry(per_target=0),
        **options,
    )


class Caller:
    """Sends calls over scripted replies, in one library and colour, all through one transport."""

    def __init__(self, library, colour, **settings):
        self.library, self.colour = library, colour
        self.sent = []
        self.exchanges = []
        self.text = b""
        self.settings = settings
        self._handler = None
        self._client = None

    def _made(self, settings):
        """The client, made at the first call: the settings of later calls must be the same."""
        if self._client is None:
            own = {
                "tracer_provider": TracerProvider(shutdown_on_exit=False),
                "registry": CollectorRegistry(),
                "on_exchange": self.exchanges.append,
                **self.settings,
                **settings,
            }
            names = byteplus_trace if self.library.__name__ == "httpx" else byteplus_trace.httpx2
            mock = self.library.MockTransport(self._answered)
            headers = {"Authorization": "Bearer key"}
            if self.colour == "sync":
                transport = names.ModelArkTransport(mock, **own)
                self._client = self.library.Client(transport=transport, headers=headers)
            else:
                transport = names.AsyncModelArkTransport(mock, **own)
                self._client = self.library.AsyncClient(transport=transport, headers=headers)
        return self._client

    def _answered(self, request):
        return self._handler(request)

    def call(self, api, replies, *, stream=False, read_parts=None, raises=None, **settings):
        """
        The exchange, and the response.

        Args:
            api: a name of `APIS`, or a method, a path and a body.
            replies: status, content type and body, in the order of the sends.
            read_parts: how many parts of the body are read; None: all.
            raises: what the connection raises at the end of the first body.
        """
        method, path, body = APIS[api] if isinstance(api, str) else api
        scripted = iter(replies)
        self.sent.clear()
        self.exchanges.clear()
        self.text = b""

        def handler(request):
            self.sent.append(str(request.url))
            status, content_type, content = next(scripted)
            parts = (
                [part + b"\n\n" for part in content.split(b"\n\n") if part.strip()] if stream else [content]
            )
            error = raises if len(self.sent) == 1 else None
            return self.library.Response(
                status,
                headers={"content-type": content_type} if content_type else {},
                stream=_parts(self.library, parts, error),
            )

        if stream and body is not None:
            body = {**body, "stream": True}
        self._handler = handler
        client = self._made(settings)
        if self.colour == "sync":
            with client.stream(method, SINGAPORE + path, json=body) as response:
                for number, part in enumerate(response.iter_raw(), 1):
                    self.text += part
                    if number == read_parts:
                        break
        else:

            async def main():
                async with client.stream(method, SINGAPORE + path, json=body) as response:
                    reading = response.aiter_raw()
                    number = 0
                    async for part in reading:
                        self.text += part
                        number += 1
                        if number == read_parts:
                            break
                    await reading.aclose()
                    return response

            response = anyio.run(main, backend=self.colour)
        byteplus_trace._background.drain()
        (exchange,) = self.exchanges
        return exchange, response


def _parts(library, parts, error):
    class Stream(library.SyncByteStream, library.AsyncByteStream):
        def __iter__(self):
            yield from parts
            if error is not None:
                raise error

        async def __aiter__(self):
            for part in self:
                yield part

    return Stream()


@pytest.fixture
def caller(library, colour):
    return Caller(library, colour)


@pytest.fixture
def make_caller():
    """A `Caller` of a library and a colour that the test chooses."""
    return Caller


@pytest.fixture
def two():
    return two_targets


class End(NamedTuple):
    """How one call ended, and what its caller received."""

    outcome: str
    reason: str
    error_type: str | None
    text: bytes
    sends: int


def policies():
    """How a call is made: without a policy, or with two targets, with and without a total deadline."""
    # Breakers are off: each caller makes many calls that fail.
    steady = Breaker(ratio=None, consecutive=None)
    yield "alone", {}
    yield "routed", {"policy": two_targets(breaker=steady)}
    yield "routed in time", {"policy": two_targets(breaker=steady, deadline=Deadline(total=60))}


@pytest.fixture(scope="module")
def ends():
    """
    ends(api, replies): how a call ends, sync and async, for each of `policies`.

    Callers are kept for each API, because making one takes longer than a hundred calls.
    """
    kept = {}

    def of(api, replies, **options):
        name = str(api)
        if name not in kept:
            kept[name] = {
                (colour, setting): Caller(importlib.import_module(library), colour, **settings)
                for library, colour in (("httpx", "sync"), ("httpx2", "asyncio"))
                for setting, settings in policies()
            }
        found = {}
        for key, caller in kept[name].items():
            with contextlib.suppress(httpx.RemoteProtocolError, httpx2.RemoteProtocolError):
                caller.call(api, replies, **options)
            byteplus_trace._background.drain()
            (exchange,) = caller.exchanges
            found[key] = End(
                exchange.outcome, exchange.reason, exchange.error_type, caller.text, len(caller.sent)
            )
        return found

    return of


@pytest.fixture
def fresh_ends():
    """As `ends`, each call by a caller of its own: after an exception the next like it is taken for its SDK's resend."""

    def of(api, replies, error):
        found = {}
        for library, colour in (("httpx", "sync"), ("httpx2", "asyncio")):
            package = importlib.import_module(library)
            for setting, settings in policies():
                caller = Caller(package, colour, **settings)
                with contextlib.suppress(package.RemoteProtocolError):
                    caller.call(api, replies, stream=True, raises=package.RemoteProtocolError(error))
                byteplus_trace._background.drain()
                (exchange,) = caller.exchanges
                found[colour, setting] = exchange.outcome
        return found

    return of
