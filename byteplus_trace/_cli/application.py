"""
What an instrumented application says of itself: in its own process, or by its `/metrics`.

Both are read from the same series, so they give the same findings. No label of ours holds a
key or content.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

import httpx

from .._classify import is_known_code
from .._errors import shown_url
from .._facts import Reason
from .._instruments import BREAKER, INSTRUMENTED, OPERATIONS, TELEMETRY_ERRORS
from .._regions import is_loopback
from .._telemetry.console import write
from .._telemetry.guard import USER_FUNCTIONS
from .checks import METRICS_PORT, Surroundings, receiver
from .findings import Finding, Report

if TYPE_CHECKING:
    from prometheus_client import Metric

BREAKERS = {1: "half-open", 2: "open"}


def doctor(timeout: float = 3.0) -> Report:
    """
    Examine this process: print what was found, with advice, and return it.

    Says whether `instrument()` is at work, how many calls were seen since when, which
    policy there is and what its breakers say, which error codes are not known to it, and
    whether spans are accepted where they go, for which it sends one empty OTLP request.

    Args:
        timeout: for that request, in seconds.
    """
    report = Report([*_process(), *_spans(timeout)])
    if sys.stdout is not None:  # a program without a console has none
        write(f"{report}\n", sys.stdout)
    return report


def _process() -> Iterator[Finding]:
    from .._edge import patch
    from .._edge.instrumentation import Instrumentation
    from .._edge.kill_switch import is_disabled
    from .._edge.library import MODULES
    from .._telemetry.collectors import default_registry

    active = Instrumentation._active
    if active is None:
        if is_disabled():
            yield Finding(
                "fail", "instrument()", "BYTEPLUS_TRACE_DISABLED is set", "unset it to observe calls"
            )
        else:
            yield Finding(
                "fail",
                "instrument()",
                "not called in this process, or undone: calls of its clients are not seen",
                "call byteplus_trace.instrument() at startup; in each worker, where they are spawned",
            )
        if Instrumentation._default is None:
            return
        active = Instrumentation._default
    for name in MODULES:
        if name in sys.modules and Instrumentation._active is not None and not patch.is_patched(name):
            yield Finding(
                "fail",
                f"{name} calls",
                f"the patch of {name} is not the outermost any more",
                "call instrument() after what replaced it, or give clients a ModelArkTransport()",
            )
    yield from of_series((active.config.registry or default_registry()).collect())
    if active.config.metrics_port is not None and (active.server is None or not active.server.serving):
        yield Finding("warn", "metrics port", f"{active.config.metrics_port} is not served by this process")


def _spans(timeout: float) -> Iterator[Finding]:
    from opentelemetry import trace

    from .._edge.instrumentation import Instrumentation

    instrumentation = Instrumentation._active or Instrumentation._default
    chosen = instrumentation.config.tracer_provider if instrumentation is not None else None
    provider = chosen or trace.get_tracer_provider()
    if not isinstance(provider, trace.ProxyTracerProvider):
        name = f"{type(provider).__module__}.{type(provider).__qualname__}"
        yield Finding("ok", "spans", f"go to the application's {name}, which exports them as it was set up")
        return
    yield from receiver(Surroundings(os.environ, timeout_seconds=timeout))


def at_url(url: str, timeout: float) -> list[Finding]:
    """What the application says that serves its series at that URL."""
    address = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(address)
        if not parsed.path.strip("/"):
            parsed = parsed.copy_with(path="/metrics")
        reply = httpx.get(
            parsed, timeout=timeout, trust_env=not is_loopback(parsed.host), headers={"accept": "text/plain"}
        )
        reply.raise_for_status()
    except httpx.HTTPStatusError as error:
        return [Finding("fail", "series", f"{shown_url(str(parsed))} answered {error.response.status_code}", "give the URL that Prometheus scrapes")]  # fmt: skip
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return [
            Finding(
                "fail",
                "series",
                f"{shown_url(address)} cannot be read: {error or type(error).__name__}",
                f"serve the series with instrument(metrics_port={METRICS_PORT}), or give the URL that Prometheus scrapes",
            )
        ]
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(reply.text))
    except ValueError:
        families = []
    return list(of_series(families))


@dataclass(frozen=True, slots=True)
class _Sample:
    name: str
    labels: dict[str, str]
    value: float


def of_series(families: Iterable[Metric]) -> Iterator[Finding]:
    """The findings that the series of one application hold."""
    samples = [
        _Sample(sample.name, sample.labels, sample.value)
        for family in families
        if family.name.startswith("modelark_")
        for sample in family.samples
    ]
    started = [each for each in samples if each.name == INSTRUMENTED.name and each.value]
    if not started:
        yield Finding(
            "fail",
            "instrument()",
            "there are no series of byteplus-trace here",
            "call byteplus_trace.instrument() in that process; registry= decides where its series are",
        )
        return
    last = max(started, key=lambda each: each.value)
    since = datetime.fromtimestamp(last.value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield Finding("ok", "instrument()", f"called at {since}")
    yield from _calls(samples, since)
    yield from _policy(samples, last.labels.get("policy", "none"))
    for each in samples:
        if each.name == TELEMETRY_ERRORS.name and each.value:
            yield _fault(each.value, each.labels.get("where", ""))


def _fault(count: float, where: str) -> Finding:
    if where == "metadata cut":
        calls = f"{count:g} call{'' if count == 1 else 's'}"
        return Finding("warn", "metadata", f"{calls} had a value that is too long, and was cut", "a value may have 128 characters")  # fmt: skip
    if where in USER_FUNCTIONS:
        times = f"{count:g} time{'' if count == 1 else 's'}"
        return Finding("warn", where, f"{times} raised; no call was affected", f"the log has what your {where}= raised, once a minute")  # fmt: skip
    return Finding(
        "warn",
        "own faults",
        f"{count:g} while {where}; no call was affected",
        "the log has the first of each minute: please report it",
    )


def _calls(samples: list[_Sample], since: str) -> Iterator[Finding]:
    calls = [each for each in samples if each.name == OPERATIONS.name and each.value]
    count = sum(each.value for each in calls)
    if not count:
        yield Finding(
            "warn",
            "calls",
            f"none seen since {since}",
            "is anything called? a client of another kind is not seen; a private address needs base_urls=",
        )
        return
    outcomes: dict[str, float] = {}
    for each in calls:
        outcome = each.labels.get("outcome", "")
        outcomes[outcome] = outcomes.get(outcome, 0) + each.value
    ended = ", ".join(f"{outcome} {number:g}" for outcome, number in sorted(outcomes.items()))
    yield Finding("ok", "calls", f"{count:g} seen: {ended}")
    codes = sorted({each.labels.get("error_type", "") for each in calls})
    unknown = [code for code in codes if not _is_known(code)]
    if unknown:
        yield Finding(
            "warn",
            "error codes",
            f"not known to this version, so their HTTP status decided: {', '.join(unknown)}",
            "a newer byteplus-trace may know them; else please report them",
        )


def _is_known(error_type: str) -> bool:
    """Whether it is a code that the rules name, a status, an exception's class, or a word of ours."""
    return (
        not error_type
        or error_type.isdecimal()
        or error_type in {"other", *get_args(Reason)}
        or hasattr(httpx, error_type)
        or hasattr(builtins, error_type)
        or is_known_code(error_type)
    )


def _policy(samples: list[_Sample], summary: str) -> Iterator[Finding]:
    if summary == "none":
        yield Finding("ok", "policy", "none: calls are observed and never moved")
        return
    yield Finding("ok", "policy", summary)
    breakers = [each for each in samples if each.name == BREAKER.name]
    troubled = [each for each in breakers if each.value in BREAKERS]
    for each in troubled:
        target, operation = each.labels.get("target"), each.labels.get("operation")
        yield Finding(
            "warn",
            "breaker",
            f"{target}, {operation}: {BREAKERS[int(each.value)]}",
            "calls go to other targets; a probe is sent when its time is up",
        )
    if breakers and not troubled:
        yield Finding("ok", "breakers", "all closed")
