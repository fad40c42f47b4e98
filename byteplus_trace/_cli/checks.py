"""
What `doctor` looks at.

A check is a function that looks at one thing and yields findings; `CHECKS` is their order. A
finding is a failure only if the library could not work in this process. A feature that is
missing, or a setting that may surprise, is a warning. Whether calls are seen is tested, not
guessed: each HTTP library makes one call to a fake ModelArk on the loopback.

A key is looked for and never shown, not even in part.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._errors import SettingError, shown_url
from .._regions import MODELARK, REGIONS, SIMULATED_VARIABLE, Region, is_loopback_url
from .._version import __version__
from .findings import Finding, Status

if TYPE_CHECKING:
    from .._config import Config

METRICS_PORT = 9464


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the checks look at."""

    environ: Mapping[str, str]
    offline: bool = False
    timeout_seconds: float = 3.0


# What is installed


@dataclass(frozen=True, slots=True)
class Distribution:
    name: str
    needed: bool = False
    without: str = ""
    """What is missing without it."""


DISTRIBUTIONS = (
    Distribution("httpx", needed=True),
    Distribution("httpx2", without="the openai SDK 3.x runs on it: pip install 'byteplus-trace[httpx2]'"),
    Distribution("openai", without="any client on httpx or httpx2 will do"),
    Distribution("byteplus-python-sdk-v2", without="any client on httpx or httpx2 will do"),
    Distribution("opentelemetry-sdk", needed=True),
    Distribution("prometheus-client", needed=True),
    Distribution("wrapt", needed=True),
)


def _versions(_around: Surroundings) -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable})")
    yield Finding("ok", "byteplus-trace", __version__)
    for distribution in DISTRIBUTIONS:
        found = _version_of(distribution.name)
        if found is not None:
            yield Finding("ok", distribution.name, found)
        elif distribution.needed:
            yield Finding("fail", distribution.name, "not installed", f"pip install {distribution.name}")
        else:
            yield Finding("ok", distribution.name, f"not installed; {distribution.without}")


def _clients(_around: Surroundings) -> Iterator[Finding]:
    """Clients beside httpx and httpx2, and what an import of them lacks."""
    for name in ("aiohttp", "requests"):
        if _version_of(name) is not None:
            yield Finding("ok", name, "its calls are observed, and never moved")
    dspy = _version_of("dspy")
    if dspy is not None and [int(part) for part in re.findall(r"\d+", dspy)[:2]] >= [3, 4]:
        yield Finding(
            "warn",
            "dspy",
            f"{dspy} calls openai/... models over sockets of its own, which are not seen",
            'dspy.LM(..., engine="litellm")',
        )
    if _version_of("byteplus-python-sdk-v2") is not None and _version_of("sniffio") is None:
        yield Finding(
            "warn",
            "byteplus-python-sdk-v2",
            "cannot be imported without sniffio",
            "pip install 'byteplus-trace[ark]'",
        )


def _version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


# Whether calls are seen


def _configuration(around: Surroundings) -> Iterator[Finding]:
    from .._config import PREFIX, VARIABLES, YES, configure
    from .._regions import did_you_mean

    named = around.environ.get(PREFIX + "CONFIG", "").strip()
    found = sorted(name for name in around.environ if name in VARIABLES and name != PREFIX + "CONFIG")
    source = " and ".join([*([named] if named else []), *([", ".join(found)] if found else [])])
    unknown = [name for name in around.environ if name.startswith(PREFIX) and name not in VARIABLES]
    for name in unknown:
        yield Finding("warn", "settings", f"{name} is not a setting, and is not followed.{did_you_mean(name, VARIABLES)}")  # fmt: skip
    if YES.get(around.environ.get(PREFIX + "DISABLED", "").strip().lower(), False):
        yield Finding("warn", "settings", "BYTEPLUS_TRACE_DISABLED is set: nothing is observed and nothing is moved", "unset it to observe calls")  # fmt: skip
    try:
        config = configure({}, {name: value for name, value in around.environ.items() if name not in unknown})
    except SettingError as error:
        yield Finding("fail", "settings", str(error), "instrument() refuses these settings: mend them first")
        return
    yield from _health_store(config, around)
    yield Finding("ok", "settings", f"valid: {source}" if source else "none; the arguments and defaults of instrument() apply")  # fmt: skip
    if config.policy is None:
        yield Finding("ok", "policy", "none: calls are observed and never moved")
        return
    from .._policy.warnings import warnings_of

    yield Finding("ok", "policy", "loaded: byteplus-trace config check shows how it is understood")
    for warning in warnings_of(config.policy):
        yield Finding("warn", "policy", warning)
    if _version_of("byteplus-python-sdk-v2") is not None:
        yield Finding(
            "warn",
            "SDK retries",
            "the Ark SDK sends again on its own, and its resends look like new calls",
            "with a policy, make its client with max_retries=0",
        )


def _health_store(config: Config, around: Surroundings) -> Iterator[Finding]:
    if config.health_store is None:
        return
    from .._edge.health_store import trouble_with
    from .._policy.store_address import StoreAddress

    address = StoreAddress.of(config.health_store)
    for warning in address.warnings:
        yield Finding("warn", "health store", warning)
    if around.offline:
        return
    trouble = trouble_with(address)
    if trouble is None:
        yield Finding("ok", "health store", f"{address.name} can be read and written")
    else:
        yield Finding(
            "warn",
            "health store",
            f"{address.name} cannot be used: {trouble}",
            "calls go on without it, and each process knows its own targets alone",
        )


def _patch_points(_around: Surroundings) -> Iterator[Finding]:
    from .._edge.library import MODULES
    from .._edge.patch import CLIENTS, POINT

    for name in MODULES:
        try:
            module = import_module(name)
        except ImportError:
            continue
        missing = [f"{name}.{c}.{POINT}" for c, _ in CLIENTS if not hasattr(getattr(module, c, None), POINT)]
        if missing:
            yield Finding(
                "fail",
                f"{name} calls",
                f"{', '.join(missing)} is gone from {name} {_version_of(name)}",
                "give clients an explicit transport: byteplus_trace.ModelArkTransport() or byteplus_trace.httpx2.ModelArkTransport()",
            )
        else:
            yield _seen(name, module)


def _seen(name: str, module: Any) -> Finding:
    """Whether a call of this library to a ModelArk of our own is seen."""
    from opentelemetry.trace import NoOpTracerProvider
    from prometheus_client import CollectorRegistry

    import byteplus_trace
    from byteplus_trace.testing import ModelArk

    from .demo_environment import settings_aside

    seen: list[object] = []
    with ModelArk(regions=("ap-southeast-1",)) as ark, settings_aside():
        byteplus_trace.instrument(
            base_urls=ark.base_urls,
            tracer_provider=NoOpTracerProvider(),
            registry=CollectorRegistry(),
            on_exchange=seen.append,
        )
        try:
            with module.Client(trust_env=False) as client:
                client.post(
                    f"{ark.base_url('ap-southeast-1')}/chat/completions",
                    json={"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Hello"}]},
                    headers={"Authorization": "Bearer any"},
                )
            byteplus_trace.flush()
        finally:
            byteplus_trace.uninstrument()
    if seen:
        return Finding("ok", f"{name} calls", "patch point present; a call to the loopback was seen")
    return Finding(
        "fail",
        f"{name} calls",
        "patch point present, yet a call on the loopback was not seen",
        f"something else replaces {name}.Client's transport: give clients an explicit ModelArkTransport()",
    )


# Instrumentations that also make a span of a model call, and what happens next to ours.
_STEPS_ASIDE = "its span stays the only GenAI span, and carries our attributes"
_TWICE = "each call would have two spans: switch one off for these calls"
NEIGHBOURS: tuple[tuple[str, Status, str], ...] = (
    ("opentelemetry-instrumentation-genai-openai", "ok", _STEPS_ASIDE),
    ("opentelemetry-instrumentation-httpx", "ok", "silent around our send, unless http_spans='otel'"),
    ("opentelemetry-instrumentation-openai-v2", "warn", _TWICE),
    ("opentelemetry-instrumentation-openai", "warn", _TWICE),
    ("openinference-instrumentation-openai", "warn", _TWICE),
    ("ddtrace", "warn", _TWICE),
)


def _neighbours(_around: Surroundings) -> Iterator[Finding]:
    points = {point.name for point in entry_points(group="opentelemetry_instrumentor")}
    if "byteplus_trace" not in points:
        yield Finding(
            "warn",
            "opentelemetry-instrument",
            "does not know byteplus-trace",
            "install the package rather than putting it on the path",
        )
    for distribution, status, effect in NEIGHBOURS:
        found = _version_of(distribution)
        if found is not None and status == "ok":
            yield Finding("ok", "instrumentation", f"{distribution} {found}: {effect}")
        elif found is not None:
            yield Finding(status, "instrumentation", f"{distribution} {found} is installed", effect)


# Where calls go


def _key(around: Surroundings) -> Iterator[Finding]:
    key = around.environ.get("ARK_API_KEY")
    if not key:
        yield Finding(
            "warn", "ARK_API_KEY", "not set", "fine where you pass api_key=; a key is made in the ModelArk console"
        )  # fmt: skip
    elif key != key.strip() or "\n" in key:
        yield Finding("warn", "ARK_API_KEY", "set, with blanks around it", "set it again without them")
    elif key.lower().startswith("bearer "):
        yield Finding("warn", "ARK_API_KEY", "set, beginning with 'Bearer '", "set the key alone")
    else:
        yield Finding("ok", "ARK_API_KEY", "set")


def _regions(around: Surroundings) -> Iterator[Finding]:
    if around.environ.get(SIMULATED_VARIABLE):
        yield Finding(
            "warn", "regions", f"{SIMULATED_VARIABLE} is set: a fake service stands in for ModelArk"
        )
        return
    if around.offline:
        return
    regions = [region for region in REGIONS if region.provider == MODELARK]
    with ThreadPoolExecutor(len(regions)) as pool:
        yield from pool.map(lambda region: _region(region, around.timeout_seconds), regions)


def _region(region: Region, timeout_seconds: float) -> Finding:
    subject = f"region {region.id}"
    try:
        with (
            socket.create_connection((region.host, 443), timeout=timeout_seconds) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=region.host) as secured,
        ):
            return Finding("ok", subject, f"{region.host} answers ({secured.version()})")
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "warn",
            subject,
            f"{region.host}: its certificate is not trusted here ({error.verify_message})",
            "a proxy that opens TLS? Give httpx its certificate (SSL_CERT_FILE)",
        )
    except OSError as error:
        return Finding(
            "warn",
            subject,
            f"{region.host}:443 cannot be reached: {_reason(error)}",
            "offline, or a firewall or proxy in between? Calls through HTTPS_PROXY may still work",
        )


# Where telemetry goes


def _providers(around: Surroundings) -> Iterator[Finding]:
    from .._telemetry.exporting import (
        exporter_names,
        is_disabled,
        missing_exporter,
        own_provider,
    )

    shown = [f"{name}={_shown(name, value)}" for name, value in sorted(around.environ.items()) if name.startswith("OTEL_")]  # fmt: skip
    yield Finding("ok", "OTEL_* variables", ", ".join(shown) or "none set")
    if is_disabled(around.environ):
        yield Finding(
            "warn", "spans", "OTEL_SDK_DISABLED=true: none are made by our own provider", "unset it to have spans"
        )  # fmt: skip
        return
    try:
        provider = own_provider(None, around.environ)
    except SettingError as error:
        yield Finding(
            "fail", "spans", str(error), "instrument() refuses this where the application has no TracerProvider"
        )  # fmt: skip
        return
    if provider is not None:
        provider.shutdown()
    missing = missing_exporter(around.environ)
    if missing is not None:
        yield Finding("warn", "spans", missing)
        return
    names = exporter_names(around.environ)
    if not any(name.startswith("otlp") for name in names):
        yield Finding("ok", "spans", f"go where OTEL_TRACES_EXPORTER says: {', '.join(names) or 'none'}")
        return
    yield from receiver(around)


def receiver(around: Surroundings) -> Iterator[Finding]:
    """Whether spans are accepted at the OTLP endpoint, for which one empty request is sent."""
    from .._telemetry.exporting import endpoint, is_grpc, is_listening, is_proxied, traces_url

    where = endpoint(around.environ)
    address, local = shown_url(where), is_loopback_url(where)
    if around.offline and not local:
        yield Finding("ok", "spans", f"go to {address}, which was not tried")
    elif not is_listening(where, around.timeout_seconds) and not is_proxied(where):
        here = (
            "byteplus-trace watch shows them in a terminal; or start Jaeger (byteplus-trace dashboards DIR, then "
            "docker compose -f DIR/compose.yaml up), or set OTEL_EXPORTER_OTLP_ENDPOINT"
        )
        there = "is OTEL_EXPORTER_OTLP_ENDPOINT right? A firewall in between, or a collector that is down?"
        yield Finding("warn", "spans", f"nobody listens at {address}", here if local else there)
    elif is_grpc(around.environ):
        yield Finding("ok", "spans", f"somebody listens at {address}; over gRPC nothing was sent to try it")
    else:
        yield _tried(traces_url(around.environ), around)


def _tried(url: str, around: Surroundings) -> Finding:
    """Send an empty OTLP request, which is valid, and say what a receiver's answer means."""
    import httpx
    from opentelemetry.util.re import parse_env_headers

    environ, address = around.environ, shown_url(url)
    variable = "OTEL_EXPORTER_OTLP_HEADERS"
    text = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get(variable, "")
    certificate = environ.get("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE") or environ.get(
        "OTEL_EXPORTER_OTLP_CERTIFICATE"
    )
    try:
        headers = {**parse_env_headers(text, liberal=True), "content-type": "application/x-protobuf"}
        verify = ssl.create_default_context(cafile=certificate) if certificate else True
        status = httpx.post(
            url, content=b"", headers=headers, timeout=around.timeout_seconds, verify=verify
        ).status_code
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        # An exception's own words may hold the URL, with what is secret in it.
        return Finding("warn", "spans", f"{address} gave no answer to OTLP ({type(error).__name__})", "does it speak OTLP over HTTP (port 4318), and with TLS as the URL says?")  # fmt: skip
    if status < 300:
        return Finding("ok", "spans", f"{address} accepts them")
    if status in {401, 403}:
        wrong = (
            f"the credentials in {variable} are not accepted"
            if text
            else f"set {variable}, such as 'authorization=Bearer ...', as its vendor says"
        )
        return Finding("warn", "spans", f"{address} answered {status}: they are refused", wrong)
    if status in {404, 405}:
        return Finding("warn", "spans", f"{address} answered {status}: no OTLP receiver at this path", "OTEL_EXPORTER_OTLP_ENDPOINT is a base URL to which /v1/traces is added; OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is")  # fmt: skip
    return Finding(
        "warn", "spans", f"{address} answered {status} to an empty OTLP request", "its own log says why"
    )


# A name that says that the variable holds a secret, or a value that has one inside.
_SECRET = re.compile("HEADERS|KEY|TOKEN|PASSWORD|SECRET", re.IGNORECASE)


def _shown(name: str, value: str) -> str:
    shown = shown_url(value) if "://" in value or name.endswith("_ENDPOINT") else value
    return "(set)" if _SECRET.search(f"{name}={shown}") else shown


def _meter_provider(_around: Surroundings) -> Iterator[Finding]:
    """The application's own, as far as one is at work here: ours always has what is asked for."""
    from .._telemetry.metric_exporting import lacks_instance_id
    from .._telemetry.provider import Meters

    provider = Meters().provider
    if provider is None:
        return
    name = type(provider).__name__
    if lacks_instance_id(provider):
        yield Finding(
            "warn",
            "OpenTelemetry metrics",
            f"the global {name} has no service.instance.id: processes of one host overwrite each other's metrics",
            "give its Resource one, such as str(uuid.uuid4()), made in each process",
        )
    else:
        yield Finding("ok", "OpenTelemetry metrics", f"go to the global {name}")


def _metrics(around: Surroundings) -> Iterator[Finding]:
    text = around.environ.get("BYTEPLUS_TRACE_METRICS_PORT", "").strip()
    port = int(text) if text.isdecimal() else METRICS_PORT
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            yield Finding(
                "warn",
                "metrics port",
                f"{port} cannot be had: {_reason(error)}",
                "another process serves there? Give another metrics_port, or mount prometheus.metrics_app()",
            )
        else:
            yield Finding("ok", "metrics port", f"{port} is free")
    yield from _multiprocess(around)


def _multiprocess(around: Surroundings) -> Iterator[Finding]:
    named = around.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not named:
        return
    directory = Path(named)
    if not directory.is_dir():
        yield Finding(
            "fail", "PROMETHEUS_MULTIPROC_DIR", f"{named} is not a directory", f"mkdir -p {named}, or unset it"
        )  # fmt: skip
    elif not os.access(directory, os.W_OK):
        yield Finding(
            "fail", "PROMETHEUS_MULTIPROC_DIR", f"{named} cannot be written to", "give the workers the right to write"
        )  # fmt: skip
    else:
        count = len(list(directory.glob("*.db")))
        if count:
            yield Finding(
                "warn",
                "PROMETHEUS_MULTIPROC_DIR",
                f"{named} holds {count} files",
                "where no worker is running they are from an earlier run, and still counted: empty it before the start",
            )
        else:
            yield Finding("ok", "PROMETHEUS_MULTIPROC_DIR", f"{named} is empty and can be written to")


def _reason(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


CHECKS: tuple[Callable[[Surroundings], Iterator[Finding]], ...] = (
    _versions,
    _clients,
    _configuration,
    _patch_points,
    _neighbours,
    _key,
    _regions,
    _providers,
    _meter_provider,
    _metrics,
)


def examine(around: Surroundings) -> list[Finding]:
    """All findings, in the order of the checks; a check that breaks is itself a finding."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check(around))
        except Exception as error:
            name = check.__name__.strip("_").replace("_", " ")
            findings.append(Finding("warn", name, f"could not be checked: {error!r}"))
    return findings
