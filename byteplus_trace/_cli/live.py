"""
`byteplus-trace doctor --live`: does the real service answer as this library expects?

One minimal call per API, its cost estimated before anything is sent. The same call goes to
the fake service in this process. What the readers found in both replies is compared, and
the form of both: names of fields and types of values. No value is printed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import msgspec
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry

from .._errors import SettingError
from .._facts import Answer, Exchange, Images, Usage
from .._httpx import ModelArkTransport
from .._prices import table
from .._regions import DEFAULT_REGION, base_url, did_you_mean, region_named
from .._telemetry.tree import clean, cut, dollars, milliseconds
from ..testing import ModelArk
from .demo_environment import settings_aside
from .findings import Finding, Report

MODELS = {
    "chat": "seed-2-0-lite-260428",
    "embeddings": "skylark-embedding-vision-251215",
    "images": "seedream-4-0-250828",
}
MOST_DIFFERENCES = 20
LARGEST_REPLY = 4 * 1024 * 1024
# Refusals that say what a key may use, and nothing about this library.
NOT_OPEN = ("ModelNotOpen", "InvalidEndpointOrModel", "AccessDenied", "OperationDenied", "UnsupportedModel")

_ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 8}
_INPUT: dict[str, Any] = {"input": "Say yes.", "max_output_tokens": 16}
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True, slots=True)
class Probe:
    """One minimal call, and the most that it can use."""

    name: str
    method: str
    path: str
    kind: str | None = None
    """Which of `MODELS` it needs."""
    body: Mapping[str, Any] | None = None
    usage: Usage | None = None
    images: Images | None = None

    def cost(self, models: Mapping[str, str]) -> Decimal | None:
        """The most it can cost; None where no price is known."""
        if self.kind is None:
            return Decimal(0)
        today = datetime.datetime.now(datetime.UTC).date()
        return table().estimate(models[self.kind], self.usage, self.images, today)


PROBES = (
    Probe("models", "GET", "/models"),
    Probe("chat", "POST", "/chat/completions", "chat", _ASK, Usage(40, 8)),
    Probe("chat, streamed", "POST", "/chat/completions", "chat", {**_ASK, **_STREAM}, Usage(40, 8)),
    Probe("responses", "POST", "/responses", "chat", {**_INPUT, "store": False}, Usage(40, 16)),
    Probe("responses, streamed", "POST", "/responses", "chat", {**_INPUT, "store": False, "stream": True}, Usage(40, 16)),
    Probe("tokenization", "POST", "/tokenization", "chat", {"text": ["yes"]}, Usage(0, 0)),
    Probe("multimodal embeddings", "POST", "/embeddings/multimodal", "embeddings", {"input": [{"type": "text", "text": "yes"}]}, Usage(10, 0)),
    Probe("images", "POST", "/images/generations", "images", {"prompt": "a dot", "size": "1024x1024"}, images=Images(1)),
    Probe("video tasks", "GET", "/contents/generations/tasks"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the real service")
    group.add_argument(
        "--live", action="store_true", help="make one minimal call per API with ARK_API_KEY, and compare"
    )
    group.add_argument("--yes", action="store_true", help="do not ask before spending money")
    group.add_argument("--region", default=DEFAULT_REGION, help=f"where to call ({DEFAULT_REGION})")
    group.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="KIND=MODEL",
        help=f"a model or endpoint that your key can use, instead of {', '.join(f'{k}={m}' for k, m in MODELS.items())}",
    )


def run(args: argparse.Namespace) -> int:
    """Estimate, ask, call and compare."""
    key = os.environ.get("ARK_API_KEY", "").strip()
    if not key:
        raise SettingError("--live needs a key: set ARK_API_KEY.")
    models = {**MODELS, **dict(_named(text) for text in args.model)}
    region = region_named(args.region).id
    for line in estimate(models, base_url(region)):
        print(line)
    if not args.yes and not _agreed():
        print("Nothing was sent. Add --yes to go on without a question.", file=sys.stderr)
        return 2
    report = Report(list(examine(region, key, models, args.timeout)))
    print(report)
    return 0 if report.ok else 1


def _named(text: str) -> tuple[str, str]:
    kind, _, model = text.partition("=")
    if kind not in MODELS or not model:
        raise SettingError(f"--model {text!r}: write KIND=MODEL, the kind being one of {', '.join(MODELS)}.{did_you_mean(kind, MODELS)}")  # fmt: skip
    return kind, model


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("Make these calls? [y/N] ").strip().lower() in {"y", "yes"}


def estimate(models: Mapping[str, str], address: str) -> Iterator[str]:
    """What is about to be called, and the most that it can cost."""
    yield f"{len(PROBES)} calls to {address}:"
    total = Decimal(0)
    for probe in PROBES:
        cost = probe.cost(models)
        total += cost or 0
        price = "no price known" if cost is None else dollars(float(cost)) if cost else "free"
        yield f"  {probe.name:<24}{models[probe.kind] if probe.kind else '':<36}{price}"
    yield f"About {dollars(float(total))} at most, besides what has no known price."


def examine(region: str, key: str, models: Mapping[str, str], timeout: float) -> Iterator[Finding]:
    """Make every call, there and at the fake, and compare."""
    with ModelArk((region,)) as ark, settings_aside():
        for probe in PROBES:
            there = _Reply.of(probe, base_url(region), region, key, models, max(timeout, 60.0))
            finding = there.failure()
            if finding is None:
                here = _Reply.of(probe, ark.base_url(region), region, "any", models, 10.0)
                finding = there.compared(here)
            yield finding
            if there.status == 401:
                return


class _Reply:
    """One reply: what the readers found in it, and its form."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.status: int | None = None
        self.exchange: Exchange | None = None
        self.form: dict[str, str] = {}
        self.raised: str | None = None

    @classmethod
    def of(
        cls, probe: Probe, url: str, region: str, key: str, models: Mapping[str, str], timeout: float
    ) -> _Reply:
        found = cls(probe)

        def keep(exchange: Exchange) -> None:
            found.exchange = exchange

        transport = ModelArkTransport(
            on_exchange=keep,
            registry=CollectorRegistry(),
            tracer_provider=NoOpTracerProvider(),
            base_urls={url: region},
        )
        model = {"model": models[probe.kind]} if probe.kind is not None else {}
        body = {**probe.body, **model} if probe.body is not None else None
        try:
            with httpx.Client(transport=transport, timeout=timeout) as client:
                reply = client.request(
                    probe.method, url + probe.path, json=body, headers={"Authorization": f"Bearer {key}"}
                )
            found.status = reply.status_code
            found.form = form_of(reply.content[:LARGEST_REPLY])
        except httpx.HTTPError as error:
            found.raised = type(error).__name__
        return found

    def failure(self) -> Finding | None:
        """Why there is nothing to compare; None where there is."""
        name, exchange = self.probe.name, self.exchange
        if self.raised is not None or exchange is None or self.status is None:
            return Finding("warn", name, f"no reply: {self.raised or 'the call was not observed'}")
        if self.status < 400:
            return None
        error = exchange.answer.error
        code = clean(error.code) if error is not None and error.code else str(self.status)
        if self.status == 401:
            return Finding("fail", name, f"the key is refused ({code})", "is ARK_API_KEY of this region?")
        if self.status in {403, 404} or any(each in code for each in NOT_OPEN):
            return Finding("ok", name, f"this key cannot use it ({code}); --model names another")
        return Finding("warn", name, f"answered {self.status} ({code})", f"request id {exchange.request_id}")

    def compared(self, expected: _Reply) -> Finding:
        """How it differs from the fake's reply to the same call."""
        assert self.exchange is not None
        found = [
            *_unread(self.exchange.answer, expected.exchange.answer if expected.exchange else Answer()),
            *differences(self.form, expected.form),
        ]
        if self.exchange.outcome != "ok":
            found.insert(0, f"read as {self.exchange.outcome} ({self.exchange.reason})")
        if self.exchange.request_id is None:
            found.append("no x-request-id")
        took = milliseconds(self.exchange.duration_seconds)
        if not found:
            return Finding("ok", self.probe.name, f"as expected, {took}")
        return Finding(
            "warn",
            self.probe.name,
            f"{len(found)} differences, {took}: {'; '.join(found[:MOST_DIFFERENCES])}",
            "please report them: they are names of fields, without content",
        )


def _unread(found: Answer, expected: Answer) -> Iterator[str]:
    """What the readers should have found and did not."""
    for name in msgspec.structs.fields(Answer):
        if name.name not in {"content", "error"} and getattr(expected, name.name) and not getattr(found, name.name):  # fmt: skip
            yield f"no {name.name} was read"


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Fields that are new, missing, or of another type; a null fits everything."""
    new = [f"new {path} ({found[path]})" for path in found if path not in expected]
    missing = [f"no {path}" for path in expected if path not in found and expected[path] != "null"]
    other = [
        f"{path} is {found[path]}, not {expected[path]}"
        for path in found
        if path in expected and found[path] != expected[path] and "null" not in {found[path], expected[path]}
    ]
    return [clean(cut(each, 100)) for each in (*other, *new, *missing)]


def form_of(body: bytes) -> dict[str, str]:
    """The paths of a reply's fields and the types of their values; of a stream, of all its events together."""
    text = body.decode("utf-8", "replace")
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    form: dict[str, str] = {}
    for part in lines or [text]:
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        kind = str(value.get("type", "")) if lines and isinstance(value, dict) else ""
        for path, type_ in _fields(value, kind and f"<{kind}>"):
            if form.get(path, "null") == "null":
                form[path] = type_
    return form


def _fields(value: Any, path: str) -> Iterable[tuple[str, str]]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _fields(inner, f"{path}.{key}" if path else str(key))
        case list():
            for inner in value:
                yield from _fields(inner, f"{path}[]")
        case bool():
            yield path, "boolean"
        case None:
            yield path, "null"
        case str():
            yield path, "string"
        case _:
            yield path, "number"
