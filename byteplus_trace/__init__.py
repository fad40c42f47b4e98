"""
See, measure and survive every BytePlus ModelArk call, inside your own process.

    import byteplus_trace

    byteplus_trace.instrument()

From then on each call of any httpx or httpx2 client to ModelArk (the openai SDK, the Ark
SDKs, plain clients) is an OpenTelemetry span with a child for each attempt, moves the
Prometheus series `modelark_*`, and, given a policy, survives a region failing.

Importing this package is cheap: OpenTelemetry, prometheus_client and httpx are imported
when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from ._errors import ByteplusTraceError, SettingError
from ._regions import DEFAULT_REGION, base_url
from ._scope import metadata
from ._version import __version__

if TYPE_CHECKING:
    import httpx
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from . import httpx2, prometheus, testing
    from ._cli.application import doctor
    from ._facts import Answer, Attempt, Call, Content, Exchange, Images, Skip, Usage, WireError
    from ._httpx import AsyncModelArkTransport, ModelArkTransport
    from ._policy.policy import Policy
    from ._policy.targets import Breaker, Condition, Deadline, Group, Retry, Target
    from .instrumentor import ModelArkInstrumentor

__all__ = [
    "Answer",
    "AsyncModelArkTransport",
    "Attempt",
    "Breaker",
    "ByteplusTraceError",
    "Call",
    "Condition",
    "Content",
    "Deadline",
    "Exchange",
    "Group",
    "Images",
    "ModelArkInstrumentor",
    "ModelArkTransport",
    "Policy",
    "Retry",
    "SettingError",
    "Skip",
    "Target",
    "Usage",
    "WireError",
    "__version__",
    "async_client",
    "base_url",
    "client",
    "doctor",
    "flush",
    "flush_on_sigterm",
    "httpx2",
    "instrument",
    "metadata",
    "prometheus",
    "testing",
    "uninstrument",
]

_LAZY = {
    **dict.fromkeys(
        ("Answer", "Attempt", "Call", "Content", "Exchange", "Images", "Skip", "Usage", "WireError"), "_facts"
    ),
    "AsyncModelArkTransport": "_httpx",
    "ModelArkTransport": "_httpx",
    "Breaker": "_policy.targets",
    "Condition": "_policy.targets",
    "Deadline": "_policy.targets",
    "Group": "_policy.targets",
    "Policy": "_policy.policy",
    "Retry": "_policy.targets",
    "Target": "_policy.targets",
    "ModelArkInstrumentor": "instrumentor",
    "doctor": "_cli.application",
    "httpx2": None,
    "prometheus": None,
    "testing": None,
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _LAZY[name]
    if module is None:
        return import_module(f"{__name__}.{name}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return list(__all__)


def instrument(
    *,
    service_name: str | None = None,
    policy: Policy | Mapping[str, Any] | str | PathLike[str] | None = None,
    health_store: str | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    registry: CollectorRegistry | None = None,
    metrics: Literal["prometheus", "otlp", "both"] | None = None,
    metrics_port: int | None = None,
    metrics_addr: str | None = None,
    metadata_labels: tuple[str, ...] | list[str] | None = None,
    max_models: int | None = None,
    redact: Callable[[str], str] | None = None,
    base_urls: Mapping[str, str] | None = None,
    capture_content: bool | None = None,
    http_spans: Literal["own", "otel"] | None = None,
    attempt_spans: Literal["always", "when_retried"] | None = None,
    propagate: bool | None = None,
    include_usage: bool | None = None,
    token_histograms: bool | None = None,
    console: bool | None = None,
    prices: Mapping[str, Any] | str | PathLike[str] | None = None,
    on_exchange: Callable[[Exchange], None] | None = None,
) -> None:
    """
    See every ModelArk call of this process from now on.

    Covers every httpx and httpx2 client, sync and async, whether it exists already or
    is made later, and whichever library is imported first. Calls to other hosts are
    never touched. Idempotent: a second call with other arguments warns and changes
    nothing. After it has returned nothing of ours is ever raised into a call.

    Each argument left out is taken from `BYTEPLUS_TRACE_<NAME>`, then from the file that
    `BYTEPLUS_TRACE_CONFIG` names, then from the default given here.

    Args:
        service_name: `service.name` of the spans, where the provider is our own; else `OTEL_SERVICE_NAME`.
        policy: how calls move between regions, endpoints and models: a `Policy`, a mapping, or the path of a TOML
            or JSON file, a Portkey gateway config included. None: observe only.
        health_store: a Redis or Valkey through which processes and machines share what they know of the policy's
            targets, such as `redis://host:6379/0?namespace=prod`; needs the extra `redis`. None: each knows its own.
        tracer_provider: whose tracer to use; else the global one, whenever it is set; else one of our own by the
            standard `OTEL_*` variables, exporting OTLP over HTTP to localhost:4318.
        meter_provider: where the OpenTelemetry metrics go; else the global one; else, where `metrics` or
            `OTEL_METRICS_EXPORTER` asks for it, one of our own by the standard `OTEL_*` variables.
        registry: where the Prometheus series live; `prometheus_client.REGISTRY`.
        metrics: where the series `modelark_*` are. `prometheus`: in `registry`, and nothing is recorded with
            OpenTelemetry; `otlp`: in OpenTelemetry, and prometheus_client is not imported; `both`. None: in `registry`,
            in our own MeterProvider too where there is one, and `gen_ai.*` wherever there is a MeterProvider.
        metrics_port: serve /metrics on this port; no port, no server. A busy port is one log line.
        metrics_addr: the address to serve on; 127.0.0.1.
        metadata_labels: metadata keys allowed to become Prometheus labels; none.
        max_models: distinct values of the label `model`; the rest count as `other`; 100.
        redact: applied to every captured text before it is recorded. None: common secrets are removed by their form.
        base_urls: more places that are ModelArk, and their regions: a private endpoint, a proxy.
        capture_content: put prompts and answers on the spans. None:
            `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`; off by default.
        http_spans: `own`: attempt spans of ours, other HTTP instrumentation silent around our send; `otel`:
            opentelemetry-instrumentation-httpx makes them, and propagates as it does.
        attempt_spans: `always`: each send is a child of its call's span; `when_retried`: only where a call is sent more
            than once, and else what is known of the send is on the call's span. Not with `propagate` or `otel` spans.
        propagate: send `traceparent` to ModelArk (`own` spans only); off.
        include_usage: ask for usage on streamed chats that did not, and take the extra chunk out again; off.
        token_histograms: record each call's token counts as OpenTelemetry histograms too, for percentiles; off.
        console: print each finished call to standard output, as a tree of its attempts with times, tokens and cost; off.
        prices: a TOML or JSON file of your own prices, before those of the package: contracts, discounts and
            models that it lacks; None: the package's table alone.
        on_exchange: called with each finished `Exchange`; an exception of its is logged and swallowed.

    Raises:
        SettingError: a setting cannot be followed; the message says what to write instead.
    """
    from ._edge.lifecycle import switch_on

    arguments = {name: value for name, value in locals().items() if name != "switch_on" and value is not None}
    switch_on(arguments)


def uninstrument() -> None:
    """
    Put everything back as it was; `instrument()` works again.

    The Prometheus collectors stay in their registry, with their counts, and are used
    again. Streams under way are still observed to their end.
    """
    from ._edge.lifecycle import switch_off

    switch_off()


def flush(timeout: float = 5.0) -> bool:
    """
    Record what is waiting, and export it; for short-lived processes.

    Args:
        timeout: the most to wait, in seconds.

    Returns:
        Whether all was exported in time.
    """
    from ._edge.lifecycle import flush_all

    return flush_all(timeout)


def flush_on_sigterm() -> None:
    """
    Export what was recorded when SIGTERM comes; for servers and jobs that it ends, such as uvicorn.

    SIGTERM's default action ends a process without `atexit`, and the spans of its last seconds are lost. Call this
    once in the main thread, after `instrument()`. It chains: the handler that was installed follows, or the default
    action. Exporting delays that by one second at most, or three where the process ends.

    Raises:
        SettingError: this is not the main thread, or SIGTERM is handled outside of Python.
    """
    from ._edge.sigterm import flush_on_sigterm

    flush_on_sigterm()


def client(
    region: str = DEFAULT_REGION,
    api_key: str | None = None,
    policy: Policy | Mapping[str, Any] | str | PathLike[str] | None = None,
    **options: Any,
) -> httpx.Client:
    """
    A ready `httpx.Client` for a region: base URL, key, and a transport that observes and routes.

    Args:
        region: where calls go.
        api_key: the key; else the environment's `ARK_API_KEY`.
        policy: as of `instrument()`.
        options: passed to `httpx.Client`.

    Raises:
        SettingError: the region is not known, or there is no key, or none that could be one.
    """
    import httpx

    from ._httpx import ModelArkTransport

    options = _client_options(region, api_key, options)
    transport = ModelArkTransport() if policy is None else ModelArkTransport(policy=policy)
    return httpx.Client(**options, transport=transport)


def async_client(
    region: str = DEFAULT_REGION,
    api_key: str | None = None,
    policy: Policy | Mapping[str, Any] | str | PathLike[str] | None = None,
    **options: Any,
) -> httpx.AsyncClient:
    """As `client`, async."""
    import httpx

    from ._httpx import AsyncModelArkTransport

    options = _client_options(region, api_key, options)
    transport = AsyncModelArkTransport() if policy is None else AsyncModelArkTransport(policy=policy)
    return httpx.AsyncClient(**options, transport=transport)


def _client_options(region: str, api_key: str | None, options: dict[str, Any]) -> dict[str, Any]:
    import os

    from ._policy import checks

    if "transport" in options:
        raise SettingError(
            "client() brings its own transport. Write httpx.Client(transport=ModelArkTransport(yours))."
        )
    key = api_key or os.environ.get("ARK_API_KEY", "")
    if isinstance(key, str) and not key.strip():
        raise SettingError("No API key: pass api_key=, or set ARK_API_KEY.")
    headers = {
        "Authorization": f"Bearer {checks.api_key('client()', key)}",
        **dict(options.pop("headers", None) or {}),
    }
    # Images and long reasoning take minutes; httpx's own 5 seconds would cut them (the Ark SDKs wait 600).
    options.setdefault("timeout", 600.0)
    return {"base_url": base_url(region), "headers": headers, **options}
