"""
The same calls beside one other library: `python -m tests.report.beside NAME alone|first|last URL`.

`alone` is without us; `first` and `last` say when we are switched on. Prints what the caller got, and what we recorded
of it, as JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "hi"}]}
RESPONSE = {"model": "seed-1-6-250915", "input": "hi", "stream": True}
HEADERS = {"Authorization": "Bearer key"}

Got = list[tuple[int, bytes]]


def plainly(url: str, client: Any = None) -> Got:
    """A document and a stream, sync and async."""
    import asyncio

    import httpx

    got: Got = []
    with client or httpx.Client(headers=HEADERS, trust_env=False, timeout=60) as http:
        reply = http.post(url + "/chat/completions", json=CHAT, headers=HEADERS)
        got.append((reply.status_code, reply.content))
        with http.stream("POST", url + "/responses", json=RESPONSE, headers=HEADERS) as reply:
            got.append((reply.status_code, b"".join(reply.iter_bytes())))

    async def work() -> None:
        async with httpx.AsyncClient(headers=HEADERS, trust_env=False, timeout=60) as http:
            reply = await http.post(url + "/chat/completions", json=CHAT)
            got.append((reply.status_code, reply.content))

    asyncio.run(work())
    return got


def by_openai(url: str) -> Got:
    import openai

    with openai.OpenAI(base_url=url, api_key="key") as client:
        chat = client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
        events = list(client.responses.create(**RESPONSE))  # type: ignore[call-overload]
    return [(200, chat.to_json().encode()), (200, b"".join(each.to_json().encode() for each in events))]


@contextlib.contextmanager
def instrumentor(module: str, name: str, **options: Any) -> Iterator[None]:
    import importlib

    it = getattr(importlib.import_module(module), name)()
    it.instrument(**options)
    yield
    it.uninstrument()


@contextlib.contextmanager
def respx_passes() -> Iterator[None]:
    import respx

    with respx.mock(using="httpx", assert_all_called=False) as mocked:
        mocked.route(host="127.0.0.1").pass_through()
        yield


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    import freezegun

    with freezegun.freeze_time("2020-02-02"):
        yield


@contextlib.contextmanager
def vcr_records() -> Iterator[None]:
    """Recorded on its first call, played on the next."""
    import vcr

    with tempfile.TemporaryDirectory() as folder, vcr.use_cassette(str(Path(folder, "tape.yaml"))):
        yield


@contextlib.contextmanager
def sentry() -> Iterator[None]:
    import sentry_sdk

    class Nowhere(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            pass

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0, transport=Nowhere)
    with sentry_sdk.start_transaction(name="test"):
        yield


@contextlib.contextmanager
def datadog() -> Iterator[None]:
    os.environ.update(
        DD_TRACE_OTEL_ENABLED="true",
        DD_TRACE_AGENT_URL="http://127.0.0.1:9",
        DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
        DD_REMOTE_CONFIGURATION_ENABLED="false",
    )
    logging.getLogger("ddtrace").setLevel(logging.CRITICAL)
    # `ddtrace.auto` patches asyncio too, under which httpx's own connections are cancelled, also without us.
    import ddtrace  # type: ignore[import-not-found, unused-ignore]

    ddtrace.patch(httpx=True, openai=True)
    from ddtrace.trace import tracer  # type: ignore[import-not-found, unused-ignore]

    with tracer.trace("test"):
        yield


def cached(url: str) -> Got:
    """The cache of hishel around the client's transport; asked twice, for what it keeps and for what it does not."""
    import hishel
    import hishel.httpx

    with tempfile.TemporaryDirectory() as folder:
        storage = hishel.SqliteStorage(database_path=str(Path(folder, "cache.db")))
        return plainly(
            url, hishel.httpx.CacheClient(storage=storage, headers=HEADERS, trust_env=False, timeout=60)
        )


PYTEST_HTTPX = """
import sys
sys.path.insert(0, {root!r})
from tests.report.beside import plainly

def test_it(httpx_mock):
    httpx_mock.add_response(url={url!r} + "/chat/completions", content=b"{{}}", is_reusable=True)
    httpx_mock.add_response(url={url!r} + "/responses", content=b"data: [DONE]\\n\\n", headers={{"content-type": "text/event-stream"}})
    GOT.extend(plainly({url!r}))
"""


def under_pytest_httpx(url: str) -> Got:
    import pytest

    got: Got = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test_it.py")
        path.write_text(PYTEST_HTTPX.format(root=os.getcwd(), url=url))

        class Plugin:
            def pytest_collection_modifyitems(self, items: Any) -> None:
                for item in items:
                    item.module.GOT = got

        status = pytest.main(
            ["-q", "-p", "no:cacheprovider", "--rootdir", folder, str(path)], plugins=[Plugin()]
        )
    if status:
        raise RuntimeError(f"pytest ended with {status}")
    return got


Beside = tuple[str, Callable[[], Any], Callable[[str], Got]]

# Name: the distribution, how it is switched on, and how calls are made.
NEIGHBOURS: dict[str, Beside] = {
    "OpenTelemetry, httpx": ("opentelemetry-instrumentation-httpx", lambda: instrumentor("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"), plainly),
    "OpenTelemetry, openai": ("opentelemetry-instrumentation-openai-v2", lambda: instrumentor("opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"), by_openai),
    "OpenTelemetry, openai (genai)": ("opentelemetry-instrumentation-genai-openai", lambda: instrumentor("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor"), by_openai),
    "OpenTelemetry, logging": ("opentelemetry-instrumentation-logging", lambda: instrumentor("opentelemetry.instrumentation.logging", "LoggingInstrumentor", set_logging_format=True), plainly),
    "respx": ("respx", respx_passes, plainly),
    "pytest-httpx": ("pytest-httpx", contextlib.nullcontext, under_pytest_httpx),
    "vcrpy": ("vcrpy", vcr_records, plainly),
    "hishel": ("hishel", contextlib.nullcontext, cached),
    "freezegun": ("freezegun", frozen, plainly),
    "sentry-sdk": ("sentry-sdk", sentry, plainly),
    "ddtrace": ("ddtrace", datadog, plainly),
    "ddtrace, openai": ("ddtrace", datadog, by_openai),
}  # fmt: skip


@contextlib.contextmanager
def ours(url: str, recorded: dict[str, float]) -> Iterator[None]:
    from byteplus_trace.testing import capture

    with capture(base_urls={url: "ap-southeast-1"}) as seen:
        yield
        recorded["exchanges"] = len(seen.exchanges)
        recorded["faults of our own"] = seen.sample("modelark_telemetry_errors_total")
        recorded["still open"] = seen.sample("modelark_operations_in_flight")
        recorded["ends before it starts"] = sum(span.end_time < span.start_time for span in seen.spans)  # type: ignore[operator]


def main() -> None:
    name, how, url = sys.argv[1:]
    _, on, work = NEIGHBOURS[name]
    recorded: dict[str, float] = {}
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        for enter in {
            "alone": [on],
            "first": [lambda: ours(url, recorded), on],
            "last": [on, lambda: ours(url, recorded)],
        }[how]:
            stack.enter_context(enter())
        got = work(url)
    replies = [(status, base64.b64encode(content).decode()) for status, content in got]
    print(json.dumps({"replies": replies, "recorded": recorded}), flush=True)
    # What others start in the background is not waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
