"""
Canaries in all that a call holds, looked for in all that we put out.

Each place has a canary of its own, so a leak names the place. What a user asked to have recorded, such as content with
`capture_content=True`, may be where it was asked for and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import httpx2
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.openmetrics.exposition import generate_latest

import byteplus_trace
from byteplus_trace import Breaker, Policy, Retry, SettingError, Target
from byteplus_trace.testing import FakeRegion, ModelArk, capture

from .calls import CLIENTS, as_for_users
from .figures import Figures

SG, EU = "ap-southeast-1", "eu-west-1"
CANARY = re.compile(r"cAnArY\w+?Zz")


def canary(place: str) -> str:
    return f"cAnArY{place}0123456789abcdefZz"


KEYS = ("callersKey", "firstKey", "secondKey")
HEADERS = ("cookie", "apiKeyHeader", "ownHeader", "portkeyVirtualKey", "proxyAuthorization")
ADDRESS = ("query", "userInfo")
REPLY = ("replyHeader", "replyCookie")
FORMS = ("password", "bearer", "signedUrl", "privateKey", "toolSecret")
CONTENT = ("prompt", "system", "stop", "toolName", "toolArgument", "replyText", "endUser", "bodyMetadata")
ERROR = ("errorText",)
METADATA = ("metadata",)
OVERRIDE = ("override",)
PLACES = (*KEYS, *HEADERS, *ADDRESS, *REPLY, *FORMS, *CONTENT, *ERROR, *METADATA, *OVERRIDE)

BODY: dict[str, Any] = {
    "model": "seed-1-6-250915",
    "user": canary("endUser"),
    "metadata": {"note": canary("bodyMetadata")},
    "stop": [canary("stop")],
    "messages": [
        {"role": "system", "content": f"be kind, {canary('system')}"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"{canary('prompt')} password={canary('password')} Authorization: Bearer {canary('bearer')}"},
                {"type": "text", "text": f"-----BEGIN PRIVATE KEY-----\n{canary('privateKey')}\n-----END PRIVATE KEY-----"},
                {"type": "image_url", "image_url": {"url": f"https://bucket.example/a.png?X-Tos-Signature={canary('signedUrl')}"}},
            ],
        },
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {
            "name": "look", "arguments": json.dumps({"city": canary("toolArgument"), "api_key": canary("toolSecret")})}}]},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
    ],
    "tools": [{"type": "function", "function": {"name": canary("toolName"), "parameters": {"type": "object"}}}],
}  # fmt: skip
REQUEST_HEADERS = {
    "authorization": f"Bearer {canary('callersKey')}",
    "cookie": f"session={canary('cookie')}",
    "x-api-key": canary("apiKeyHeader"),
    "x-own": canary("ownHeader"),
    "x-portkey-virtual-key": canary("portkeyVirtualKey"),
    "proxy-authorization": f"Basic {canary('proxyAuthorization')}",
}


def well(region: FakeRegion) -> None:
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": canary("replyText")},
    }
    body = json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()
    region.replays(body, headers={"x-reply": canary("replyHeader"), "set-cookie": canary("replyCookie")})


def streams(region: FakeRegion) -> None:
    choice = {"index": 0, "finish_reason": "stop", "delta": {"content": canary("replyText")}}
    body = (
        b"data: "
        + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode()
        + b"\n\ndata: [DONE]\n\n"
    )
    region.replays(body, content_type="text/event-stream", headers={"x-reply": canary("replyHeader")})


SITUATIONS: dict[str, Any] = {
    "it is answered": well,
    "it is streamed": streams,
    "it is refused": lambda region: region.fails(400, code="InvalidParameter", message=f"no: {canary('errorText')}"),
    "its key is refused": lambda region: region.fails(401, code="AuthenticationError", message=f"wrong key {canary('callersKey')}"),
    "it is throttled": lambda region: region.fails(429, code="RateLimitExceeded", message=canary("errorText")),
    "its region fails": lambda region: region.fails(503, message=canary("errorText")),
    "its stream fails": lambda region: region.errors_in_stream(message=canary("errorText")),
    "it is cut": lambda region: region.cuts(after_events=1),
    "nobody listens": FakeRegion.refuses,
    "garbage is answered": lambda region: region.answers_garbage(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mode:
    """How we are set up, and which places may be in spans and exchanges then."""

    name: str
    settings: dict[str, Any]
    recorded: tuple[str, ...] = ()


MODES = (
    Mode("no content", {}),
    Mode("content", {"capture_content": True}, (*CONTENT, *ERROR)),
    Mode("content, redacted", {"capture_content": True, "redact": lambda text: CANARY.sub("-", text)}),
    Mode("OpenTelemetry's HTTP spans", {"http_spans": "otel"}),
    Mode("on the console", {"console": True, "propagate": True}),
)


def run(thorough: bool) -> Iterator[Figures]:
    with ModelArk() as fake, as_for_users():
        for mode in MODES:
            yield looked_for(fake, mode, CLIENTS if thorough else (CLIENTS[0], CLIENTS[3]))
    yield in_messages()


def looked_for(fake: ModelArk, mode: Mode, clients: Any) -> Figures:
    figures = Figures(
        f"{mode.name}: spans, metrics, logs at DEBUG, reprs, exceptions, and what other hosts get"
    )
    for (name, situation), (library, colour), routed in itertools.product(
        SITUATIONS.items(), clients, (False, True)
    ):
        figures.inputs += len(PLACES)
        figures.calls += 1
        figures.faults += situation not in {well, streams}
        for region in fake.regions:
            region.recovers()
        situation(fake.region(SG))
        before = len(fake.region(EU).requests)
        outputs, may = once(fake, mode, library, colour, routed, "stream" in name)
        elsewhere = fake.region(EU).requests[before:]
        outputs["the other region's headers"] = repr([(dict(each.headers), each.query) for each in elsewhere])
        may["the other region's headers"] = ("secondKey",)
        for output, text in outputs.items():
            for place in PLACES:
                if place not in may.get(output, ()) and found(canary(place), text):
                    figures.canaries_leaked += 1
                    how = f"{library.__name__}, {colour}, {'routed' if routed else 'plain'}"
                    figures.failures.append(f"{place} is in {output} when {name} ({how})")
        figures.require(outputs["spans"].count("gen_ai.operation.name") >= 1, f"no span when {name}")
    for region in fake.regions:
        region.recovers()
    return figures


def found(secret: str, text: str) -> bool:
    """The secret as it is, or as Basic credentials hold it."""
    encoded = base64.b64encode(f"user:{secret}".encode()).decode()
    return secret in text or encoded in text


def once(fake: ModelArk, mode: Mode, library: Any, colour: str, routed: bool, streamed: bool) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:  # fmt: skip
    """One call: every output by name, and what may be in each."""
    log, console = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("byteplus_trace")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    reader = InMemoryMetricReader()
    policy = policy_of(fake) if routed else None
    settings = {
        "base_urls": fake.base_urls,
        "policy": policy,
        "meter_provider": MeterProvider([reader], shutdown_on_exit=False),
        "metrics": "both",
        **mode.settings,
    }
    raised = ""
    try:
        with (
            contextlib.redirect_stderr(console),
            contextlib.redirect_stdout(console),
            capture(**settings) as seen,
        ):
            with byteplus_trace.metadata(team=canary("metadata")):
                try:
                    call(fake.base_url(SG), library, colour, streamed)
                except (httpx.HTTPError, httpx2.HTTPError):
                    raised = traceback.format_exc()
            exchanges, spans = seen.exchanges, seen.spans
            prometheus = generate_latest(seen.registry).decode()
            metrics = reader.get_metrics_data()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    outputs = {
        "spans": "".join(span.to_json() for span in spans),
        "Prometheus series": prometheus,
        "OpenTelemetry metrics": metrics.to_json() if metrics else "",
        "the log": log.getvalue(),
        "the console": console.getvalue(),
        "repr of the exchange": "".join(f"{each!r}{each}" for each in exchanges),
        "what is raised": raised,
        "repr of the policy": repr(policy),
    }
    # Metadata is what the caller asked to have on the span.
    may = {"spans": (*mode.recorded, *METADATA), "the console": METADATA}
    return outputs, may


def policy_of(fake: ModelArk) -> Policy:
    overrides = {"service_tier": canary("override")}
    targets = [
        Target(
            "sg", region=SG, base_url=fake.base_url(SG), api_key=canary("firstKey"), override_params=overrides
        ),
        Target("eu", region=EU, base_url=fake.base_url(EU), api_key=canary("secondKey")),
    ]
    return Policy(targets, retry=Retry(per_target=1, base=0.001, cap=0.001), breaker=Breaker(consecutive=1))


def call(base_url: str, library: Any, colour: str, streamed: bool) -> None:
    host = base_url.removeprefix("http://")
    url = f"http://user:{canary('userInfo')}@{host}/chat/completions?token={canary('query')}"
    asked = {"method": "POST", "url": url, "json": {**BODY, "stream": streamed}, "headers": REQUEST_HEADERS}

    async def work() -> None:
        async with (
            library.AsyncClient(trust_env=False, timeout=30) as client,
            client.stream(**asked) as reply,
        ):
            await reply.aread()

    if colour != "sync":
        anyio.run(work, backend=colour)
        return
    with library.Client(trust_env=False, timeout=30) as client, client.stream(**asked) as reply:
        reply.read()


# As long as a key of ModelArk's, or longer: a short name that is not known is shown.
KEY = canary("firstKey" * 3)
MISTAKES: tuple[dict[str, Any], ...] = (
    {"targets": [{"region": KEY}]},
    {"targets": [{"region": SG, "api_key": [KEY]}]},
    {"targets": [{"region": SG, "api_key": KEY + "\n\x00"}]},
    {"targets": [{"region": SG, "api_key": KEY, KEY: 1}]},
    {"targets": [{"region": SG, "api_key": KEY, "models": KEY}]},
    {"targets": [{"region": SG, "api_key": KEY, "base_url": f"https://user:{KEY}@host/?token={KEY}"}]},
    {"targets": [{"region": SG, "api_key": KEY, "override_params": KEY}]},
    {"targets": [{"region": SG, "api_key": KEY, "override_params": {"model": {"a": KEY}}}]},
    {"targets": [{"region": SG, "api_key": KEY}, {"region": SG, "api_key": KEY}], "deadline": {"total": KEY}},
    {"targets": [{"region": SG, "api_key": KEY}], "retry": {"per_target": KEY}},
    {"targets": KEY},
    {"targets": [KEY]},
    {KEY: KEY},
    {"strategy": {"mode": "fallback", KEY: KEY}, "targets": [{"provider": "byteplus", "api_key": KEY}]},
    {"strategy": {"mode": "fallback"}, "targets": [{"provider": "byteplus", "api_key": KEY, KEY: 1}]},
    {
        "targets": [{"region": SG, "api_key": KEY}],
        "conditions": [{"query": {f"metadata.{KEY}": {"$is": 1}}, "then": "a"}],
    },
)


def in_messages() -> Figures:
    """Policies with a mistake: none of the messages shows a key."""
    figures = Figures("policies with a mistake: what the errors say", inputs=len(MISTAKES))
    refused = 0
    for mistake in MISTAKES:
        try:
            Policy.load(mistake)
        except SettingError as error:
            refused += 1
            text = (
                "".join(traceback.format_exception_only(error))
                + str(error.__cause__)
                + str(error.__context__)
            )
            if CANARY.search(text):
                figures.canaries_leaked += 1
                figures.failures.append(f"the message of {mistake!r} shows it: {error}")
    figures.notes.append(f"{refused} are refused")
    figures.require(refused > 0, "no mistake was refused")
    return figures
