"""
Inside a framework's environment: the scenario in each setting, a document and a stream. Prints one line of JSON.

    plain      without us
    beside     with us: the same result, the same bytes sent, one call with its tokens, below its caller's span
    rescued    the first region is down, a policy moves the call
    repeated   every region is down: how often the framework sends in spite of `x-should-retry: false`
    traced     beside the framework's own tracing: all of it as without, and its spans as without us
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

from opentelemetry import trace

import byteplus_trace
from byteplus_trace import Policy, Retry, Target
from byteplus_trace.testing import Captured, ModelArk, capture
from tests.frameworks import scenarios, tracing

STEADY = ("content-type", "accept", "user-agent", "authorization", "x-api-key", "content-length")
REGIONS = ("ap-southeast-1", "eu-west-1")
PATIENCE = 20.0
"""Seconds until a framework's last span is there: some end it in a thread of their own."""


class Measured:
    """What the framework of that name does in each of the settings."""

    def __init__(self, name: str, streams: bool) -> None:
        self.call = getattr(scenarios, name)
        self.tracing = getattr(tracing, name, None)
        self.kinds = (False, True) if streams else (False,)
        self.found: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        tracing.provide()
        with ModelArk() as self.ark:
            self.sg, self.eu = (self.ark.region(region) for region in REGIONS)
            untraced = {stream: self.harm(stream) for stream in self.kinds}
            for stream in self.kinds:
                self.rescue(stream)
            self.repeats()
            if self.tracing is not None:
                with self.tracing():
                    for stream in self.kinds:
                        self.beside_its_tracing(stream, untraced[stream])
        return self.found

    def note(self, promise: str, kept: bool) -> None:
        self.found[promise] = self.found.get(promise, True) and kept

    def harm(self, stream: bool) -> dict[str, Any]:
        plain = self.made(stream)
        beside = self.observed(stream)
        self.note("result", plain["result"] == beside["result"] != "")
        self.note("sent", plain["sent"] == beside["sent"])
        self.note(
            "tokens",
            beside["calls"] == 1 and min(beside["tokens"]) > 0 and beside["counted"] == beside["tokens"],
        )
        self.note("parent", beside["parents"])
        return beside

    def rescue(self, stream: bool) -> None:
        self.sg.fails(503, code="ServerOverloaded")
        with self.routed() as seen:
            rescued = self.call(self.sg.base_url, 0, stream)
        self.note(
            "rescued", rescued != "" and [each.outcome for each in seen.exchanges] == ["rescued_fallback"]
        )
        self.sg.recovers()

    def repeats(self) -> None:
        for region in (self.sg, self.eu):
            region.fails(503, code="ServerOverloaded")
        for retries in (0, 2):
            with self.routed() as seen, suppress(Exception):  # each framework's own
                self.call(self.sg.base_url, retries, False)
            self.found[f"calls_{retries}"] = len(seen.exchanges)
            self.found[f"sends_{retries}"] = sum(len(each.attempts) for each in seen.exchanges)
        for region in (self.sg, self.eu):
            region.recovers()

    def beside_its_tracing(self, stream: bool, untraced: dict[str, Any]) -> None:
        traced = self.made(stream, expected=1)
        both = self.observed(stream, expected=len(traced["theirs"]))
        self.note(
            "traced",
            all(both[each] == untraced[each] for each in ("result", "sent", "calls", "tokens", "counted")),
        )
        self.note("traced", both["parents"])
        self.note("undisturbed", traced["theirs"] == both["theirs"] != [] and traced["sent"] == both["sent"])
        self.found["model spans of theirs"] = sum(each.is_model_call for each in both["theirs"])
        self.found["model spans of ours"] = both["model spans of ours"]

    def observed(self, stream: bool, expected: int = 0) -> dict[str, Any]:
        """The scenario beside us."""
        with capture(base_urls=self.bases(), tracer_provider=trace.get_tracer_provider()) as seen:
            made = self.made(stream, expected)
            return made | counted(seen)

    def made(self, stream: bool, expected: int = 0) -> dict[str, Any]:
        """The scenario as things are; `expected` spans of the framework's own are waited for."""
        tracing.exporter.clear()
        self.sg.requests.clear()
        with trace.get_tracer(tracing.APPLICATION).start_as_current_span("work"):
            result = self.call(self.sg.base_url, 0, stream)
        byteplus_trace.flush()
        spans = ended(expected)
        sent = [
            (each.method, each.path, each.json, [each.headers.get(name) for name in STEADY])
            for each in self.sg.requests
        ]
        ours = [each for each in spans if each.instrumentation_scope.name == tracing.OURS]
        ids = {each.context.span_id: each for each in spans}
        return {
            "result": result,
            "sent": sent,
            "theirs": tracing.theirs(spans),
            "parents": bool(ours)
            and all(each.parent is not None and each.parent.span_id in ids for each in ours),
            "model spans of ours": sum(tracing.is_model_call(each) for each in ours),
        }

    @contextmanager
    def routed(self) -> Iterator[Captured]:
        targets = [
            Target(each.name, region=each.name, base_url=each.base_url, api_key="key",
                   messages_base_url=each.base_url.removesuffix("/api/v3") + "/api/compatible")
            for each in (self.sg, self.eu)
        ]  # fmt: skip
        policy = Policy(targets=targets, retry=Retry(per_target=0))
        with capture(base_urls=self.bases(), policy=policy) as seen:
            yield seen

    def bases(self) -> dict[str, str]:
        """Every base of the fake's regions, in both forms."""
        return {
            base + form: region
            for url, region in self.ark.base_urls.items()
            for base in (url.removesuffix("/api/v3"),)
            for form in ("/api/v3", "/api/compatible")
        }


def counted(seen: Captured) -> dict[str, Any]:
    """Calls and tokens: of the exchanges, and of the series."""
    usages = [each.answer.usage for each in seen.exchanges if each.answer.usage is not None]
    return {
        "calls": len(seen.exchanges),
        "tokens": (
            sum(each.input_tokens or 0 for each in usages),
            sum(each.output_tokens or 0 for each in usages),
        ),
        "counted": (
            int(seen.sample("modelark_tokens_total", type="input")),
            int(seen.sample("modelark_tokens_total", type="output")),
        ),
    }


def ended(expected: int) -> list[Any]:
    """The spans of the process: once as many as that are the framework's, and no more come."""
    until, before = time.monotonic() + PATIENCE, -1
    while expected and time.monotonic() < until:
        now = len(tracing.theirs(list(tracing.exporter.get_finished_spans())))
        if now >= expected and now == before:
            break
        before = now
        time.sleep(0.3)
    return list(tracing.exporter.get_finished_spans())


if __name__ == "__main__":
    name, streams, *distributions = sys.argv[1:]
    found = Measured(name, streams == "streams").run()
    found["versions"] = {each: version(each) for each in distributions}
    print(json.dumps(found))
