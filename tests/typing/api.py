"""
The public interface as a user's type checker sees it: never run, only checked.

    mypy --strict tests/typing
    pyright --pythonpath .venv/bin/python tests/typing
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import httpx
import httpx2
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace import (
    Answer,
    Attempt,
    Breaker,
    ByteplusTraceError,
    Call,
    Deadline,
    Exchange,
    Policy,
    Retry,
    SettingError,
    Target,
    Usage,
)
from byteplus_trace.testing import Captured, FakeRegion, ModelArk, Received, capture, tokens


def sink(exchange: Exchange) -> None:
    assert_type(exchange.call, Call)
    assert_type(exchange.answer, Answer)
    assert_type(exchange.attempts, tuple[Attempt, ...])
    assert_type(exchange.answer.usage, Usage | None)
    assert_type(exchange.cost_usd, Decimal | None)
    assert_type(exchange.first_chunk_seconds, float | None)


POLICY = Policy(
    targets=[
        Target("sg", region="ap-southeast-1", api_key="key", quota_group="acct-1"),
        Target(
            "eu", region="eu-west-1", api_key="key", models={"a": "b"}, only={"chat"}, zone="eu", weight=2
        ),
        Target("eu-2", region="eu-west-1", only=["chat", "responses"]),
    ],
    mode="loadbalance",
    retry=Retry(per_target=1, base=0.25, on_status_codes=(429,)),
    breaker=Breaker(window=30, ratio=None, on_status_codes={503}),
    deadline=Deadline(total=60, idle=None),
    replay={"chat": "ambiguous", "images": "unsent_only"},
    max_attempts=4,
    final="last",
    on_status_codes=[429, 503],
)

byteplus_trace.instrument()
byteplus_trace.instrument(
    service_name="shop",
    policy=POLICY,
    tracer_provider=TracerProvider(),
    registry=CollectorRegistry(),
    metrics_port=9464,
    metrics_addr="127.0.0.1",
    metadata_labels=("team",),
    max_models=10,
    redact=str.upper,
    base_urls={"https://ark.private.example/api/v3": "ap-southeast-1"},
    capture_content=True,
    http_spans="own",
    attempt_spans="when_retried",
    propagate=False,
    include_usage=True,
    on_exchange=sink,
)
byteplus_trace.instrument(policy="policy.toml")
byteplus_trace.instrument(console=True, prices=Path("prices.toml"))
byteplus_trace.instrument(prices={"discount": [{"off": 0.15}]})
byteplus_trace.instrument(policy=Path("policy.toml"))
byteplus_trace.instrument(policy={"targets": [{"name": "sg", "region": "ap-southeast-1"}]})
byteplus_trace.instrument(sevice_name="shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
byteplus_trace.instrument(attempt_spans="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
byteplus_trace.instrument(http_spans="mine")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
byteplus_trace.instrument(metrics_port="9464")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Target("sg")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Policy(targets=[], mode="random")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

assert_type(byteplus_trace.flush(timeout=1.0), bool)
assert_type(byteplus_trace.base_url("eu-west-1"), str)
assert_type(byteplus_trace.__version__, str)
assert_type(byteplus_trace.doctor(timeout=1.0).ok, bool)
byteplus_trace.metadata({"team": "search"}, user="u-7")
assert_type(Policy.load("policy.json"), Policy)
byteplus_trace.uninstrument()

assert_type(byteplus_trace.client("eu-west-1", api_key="key", policy=POLICY), httpx.Client)
assert_type(byteplus_trace.async_client(), httpx.AsyncClient)
httpx.Client(transport=byteplus_trace.ModelArkTransport(httpx.HTTPTransport(), policy=POLICY))
httpx.AsyncClient(transport=byteplus_trace.AsyncModelArkTransport())
httpx2.Client(transport=byteplus_trace.httpx2.ModelArkTransport())
httpx2.AsyncClient(transport=byteplus_trace.httpx2.AsyncModelArkTransport(httpx2.AsyncHTTPTransport()))


@byteplus_trace.metadata(team="search")
def plain(question: str) -> int:
    return len(question)


@byteplus_trace.metadata(team="search")
async def asynchronous(question: str) -> str:
    return question


@byteplus_trace.metadata(team="search")
def generator() -> Iterator[int]:
    yield 1


@byteplus_trace.metadata(team="search")
async def async_generator() -> AsyncIterator[int]:
    yield 1


assert_type(plain("?"), int)
assert_type(generator(), Iterator[int])
assert_type(async_generator(), AsyncIterator[int])


async def awaited() -> None:
    assert_type(await asynchronous("?"), str)


with byteplus_trace.metadata(user="u-7", attempt=3):
    pass

try:
    byteplus_trace.instrument()
except SettingError as error:
    base: ByteplusTraceError = error
    value_error: ValueError = error

app = byteplus_trace.prometheus.metrics_app()
server = byteplus_trace.prometheus.serve(0)
if server is not None:
    assert_type(server.port, int)
    server.stop()

with ModelArk() as ark, capture(base_urls=ark.base_urls) as seen:
    assert_type(ark, ModelArk)
    assert_type(seen, Captured)
    assert_type(ark.region("eu-west-1"), FakeRegion)
    assert_type(ark.requests, list[Received])
    assert_type(seen.exchanges, list[Exchange])
    assert_type(seen.sample("modelark_operations_total", outcome="ok"), float)
    assert_type(tokens("two words"), int)
