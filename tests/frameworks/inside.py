"""
Inside a framework's environment: the scenario plain, beside us, and rescued. Prints one line of JSON.

    plain      without us
    beside     with us: the same result, the same bytes sent, one call with its tokens
    rescued    the first region is down, a policy moves the call
    repeated   the only region is down: how often the framework sends in spite of `x-should-retry: false`
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import byteplus_trace
from byteplus_trace import Policy, Retry, Target
from byteplus_trace.testing import ModelArk
from tests.frameworks import scenarios

STEADY = ("content-type", "accept", "user-agent", "authorization", "content-length")
REGIONS = ("ap-southeast-1", "eu-west-1")


def measured(name: str) -> dict[str, Any]:
    """What the framework of that name does in each of the four settings."""
    call = getattr(scenarios, name)
    found: dict[str, Any] = {}
    trace.set_tracer_provider(TracerProvider())
    with ModelArk() as ark:
        sg, eu = (ark.region(region) for region in REGIONS)

        def sent() -> list[tuple[object, ...]]:
            requests = [
                (each.method, each.path, each.json, [each.headers.get(h) for h in STEADY])
                for each in sg.requests
            ]
            sg.requests.clear()
            return requests

        plain, plainly = call(sg.base_url, 0), sent()
        work = trace.get_tracer("application").start_as_current_span("work")
        with byteplus_trace.testing.capture(base_urls=bases(ark)) as seen, work:
            beside, besides = call(sg.base_url, 0), sent()
        (exchange,) = seen.exchanges
        (span,) = seen.spans[-1:]
        found["result"] = plain == beside
        found["bytes"] = plainly == besides
        found["tokens"] = exchange.answer.usage.input_tokens > 0 and exchange.answer.usage.output_tokens > 0
        found["parent"] = span.parent is not None

        sg.fails(503, code="ServerOverloaded")
        targets = [
            Target(each.name, region=each.name, base_url=each.base_url, api_key="key",
                   messages_base_url=each.base_url.removesuffix("/api/v3") + "/api/compatible")
            for each in (sg, eu)
        ]  # fmt: skip
        with byteplus_trace.testing.capture(
            base_urls=bases(ark), policy=Policy(targets=targets, retry=Retry(per_target=0))
        ) as seen:
            rescued = call(sg.base_url, 0)
        found["rescued"] = bool(rescued) and seen.exchanges[-1].outcome == "rescued_fallback"

        eu.fails(503, code="ServerOverloaded")
        sg.requests.clear()
        for retries in (0, 2):
            with byteplus_trace.testing.capture(
                base_urls=bases(ark), policy=Policy(targets=targets, retry=Retry(per_target=0))
            ) as seen:
                try:
                    call(sg.base_url, retries)
                except Exception as error:
                    found["error"] = type(error).__name__
            found[f"calls_{retries}"] = len(seen.exchanges)
            found[f"sends_{retries}"] = sum(len(each.attempts) for each in seen.exchanges)
    return found


def bases(ark: ModelArk) -> dict[str, str]:
    """Every base of the fake's regions, in both forms."""
    return {
        base + form: region
        for url, region in ark.base_urls.items()
        for base in (url.removesuffix("/api/v3"),)
        for form in ("/api/v3", "/api/compatible")
    }


if __name__ == "__main__":
    name, *distributions = sys.argv[1:]
    found = measured(name)
    found["versions"] = {each: version(each) for each in distributions}
    print(json.dumps(found))
