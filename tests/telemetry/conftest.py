"""Exchanges as literals, in the domain's terms; what a test leaves out is an ordinary call that went well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from byteplus_trace._facts import Answer, Attempt, Call, Exchange, Images, Skip, Usage

APIS = {
    "chat": "chat_completions",
    "embeddings": "embeddings",
    "generate_content": "images",
    "fetch_response": "responses_get",
    "other": "files",
}
HOSTS = {
    "ap-southeast-1": "ark.ap-southeast.bytepluses.com",
    "eu-west-1": "ark.eu-west.bytepluses.com",
}
STARTED_NS = 1_795_478_400_000_000_000


def an_attempt(
    target: str = "ap-southeast-1",
    *,
    region: str | None = None,
    cause: str = "initial",
    result: str = "ok",
    reason: str = "none",
    status: int | None = 200,
    seconds: float = 1.0,
    number: int = 1,
    **more: Any,
) -> Attempt:
    region = region or (target if target in HOSTS else "ap-southeast-1")
    return Attempt(
        number=number,
        target=target,
        region=region,
        host=HOSTS[region],
        port=443,
        url=f"https://{HOSTS[region]}/api/v3/chat/completions",
        cause=cause,
        started_ns=STARTED_NS,
        duration_seconds=seconds,
        result=result,
        reason=reason,
        status=status,
        **more,
    )


def an_exchange(
    operation: str = "chat",
    *,
    api: str | None = None,
    model: str | None = "seed-2-0-lite-260228",
    stream: bool = False,
    outcome: str = "ok",
    seconds: float = 1.0,
    attempts: Iterable[Attempt] | None = None,
    usage: Usage | None = None,
    images: Images | None = None,
    answered_by: str | None = None,
    server_fallback: str | None = None,
    skipped: Iterable[Skip] = (),
    cost_usd: str | None = None,
    metadata: Mapping[str, str] | None = None,
    region: str = "ap-southeast-1",
    sdk_retry: int = 0,
    **more: Any,
) -> Exchange:
    attempts = (an_attempt(region),) if attempts is None else tuple(attempts)
    last = attempts[-1] if attempts else None
    return Exchange(
        call=Call(
            operation=operation,
            api=api or APIS[operation],
            method="POST",
            url=f"https://{HOSTS[region]}/api/v3/chat/completions",
            host=HOSTS[region],
            port=443,
            path="/chat/completions",
            region=region,
            model=model,
            stream=stream,
            metadata=metadata or {},
            sdk_retry=sdk_retry,
        ),
        attempts=attempts,
        answer=Answer(model=answered_by, usage=usage, images=images, server_fallback=server_fallback),
        outcome=outcome,
        started_ns=STARTED_NS,
        duration_seconds=seconds,
        target=last.target if last else "",
        region=last.region if last else "",
        host=last.host if last else "",
        port=last.port if last else 0,
        skipped=tuple(skipped),
        cost_usd=None if cost_usd is None else Decimal(cost_usd),
        **more,
    )


@pytest.fixture
def exchange() -> Callable[..., Exchange]:
    return an_exchange


@pytest.fixture
def attempt() -> Callable[..., Attempt]:
    return an_attempt
