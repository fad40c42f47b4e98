"""
Settings: arguments, then environment, then file; frozen; wrong ones say what to write.

`BYTEPLUS_TRACE_<NAME>` sets the argument of that name where it can be written as text.
The TOML or JSON file named by `BYTEPLUS_TRACE_CONFIG` holds settings and a policy: a
`policy` table, or the policy's own keys at the top.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from ._errors import SettingError, shown, shown_url
from ._facts import Exchange
from ._policy import checks
from ._regions import SIMULATED_VARIABLE, did_you_mean, region_named
from ._telemetry.collectors import checked_labels

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from ._policy.policy import Policy
    from ._prices import Table

logger = logging.getLogger("byteplus_trace")

PREFIX = "BYTEPLUS_TRACE_"
CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
HTTP_SPANS = ("own", "otel")
ATTEMPT_SPANS = ("always", "when_retried")
METRICS = ("prometheus", "otlp", "both")

_CAPTURE_VALUES = {
    "true": True, "1": True, "span_only": True, "span_and_event": True,
    "": False, "false": False, "0": False, "no_content": False, "event_only": False,
}  # fmt: skip
YES = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True, slots=True)
class Config:
    """What `instrument()` was asked for, checked."""

    service_name: str | None = None
    policy: Policy | None = None
    health_store: str | None = field(default=None, repr=False)
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    registry: CollectorRegistry | None = None
    metrics: Literal["prometheus", "otlp", "both"] | None = None
    metrics_port: int | None = None
    metrics_addr: str = "127.0.0.1"
    metadata_labels: tuple[str, ...] = ()
    max_models: int = 100
    redact: Callable[[str], str] | None = None
    base_urls: Mapping[str, str] = field(default_factory=dict)
    capture_content: bool = False
    http_spans: str = "own"
    attempt_spans: str = "always"
    propagate: bool = False
    include_usage: bool = False
    token_histograms: bool = False
    console: bool = False
    prices: Table | None = None
    on_exchange: Callable[[Exchange], None] | None = None


NAMES = tuple(each.name for each in fields(Config))


def configure(
    arguments: Mapping[str, Any], environ: Mapping[str, str] | None = None, *, file: str | None = None
) -> Config:
    """
    Settle every setting.

    Args:
        file: read in place of the one that `BYTEPLUS_TRACE_CONFIG` names.

    Raises:
        SettingError: one cannot be followed; the message says what to write instead.
    """
    environ = os.environ if environ is None else environ
    for name in arguments:
        if name not in NAMES:
            raise SettingError(f"{name!r} is not a setting.{did_you_mean(name, NAMES)}")
    settled = {
        **_from_file(environ, file),
        **_from_environment(environ),
        **{name: value for name, value in arguments.items() if value is not None},
    }
    return _checked(settled, environ)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in environ:
        # No error: it may be another version's, in an environment that many programs share.
        if name.startswith(PREFIX) and name not in VARIABLES:
            argument = name.removeprefix(PREFIX).lower()
            if argument in NAMES:
                logger.warning(
                    "%s is not followed: only the program can set it, as instrument(%s=...).", name, argument
                )
                continue
            logger.warning("%s is not a setting, and is not followed.%s", name, did_you_mean(name, VARIABLES))
    disabled = environ.get(PREFIX + "DISABLED", "").strip()
    if disabled and disabled.lower() not in YES:
        logger.warning("%sDISABLED=%s is not followed: it must be true or false.", PREFIX, shown(disabled))
    for name, read in _READERS.items():
        text = environ.get(PREFIX + name.upper())
        if text is not None and text.strip():
            found[name] = read(PREFIX + name.upper(), text.strip())
    captured = environ.get(CAPTURE_VARIABLE, "").strip()
    if "capture_content" not in found and captured:
        found["capture_content"] = _read_capture(CAPTURE_VARIABLE, captured)
    return found


def _from_file(environ: Mapping[str, str], file: str | None) -> dict[str, Any]:
    named = environ.get(PREFIX + "CONFIG", "").strip() or None if file is None else file
    if named is None:
        return {}
    from ._policy.policy import KEYS
    from ._policy.policyfile import read_file

    what = f"The {PREFIX}CONFIG file" if file is None else "The file"
    content = read_file(what, named)
    if not isinstance(content, dict):
        raise SettingError(f"{what} {named!r} must hold a table of settings, not a {type(content).__name__}.")
    settings = {key: value for key, value in content.items() if key in NAMES}
    policy = {key: value for key, value in content.items() if key not in NAMES}
    for key in policy:
        if key not in KEYS:
            raise SettingError(
                f"{what} {named!r}: {shown(key)} is neither a setting nor a policy's.{did_you_mean(key, (*NAMES, *KEYS))}"
            )
    if policy and "policy" in settings:
        raise SettingError(
            f"{what} {named!r}: {next(iter(policy))!r} is not a setting; with a 'policy' table, write it inside that table."
        )
    if policy:
        settings["policy"] = policy
    return settings


def _checked(settled: dict[str, Any], environ: Mapping[str, str]) -> Config:
    _load(settled, environ)
    settled["metadata_labels"] = checked_labels(settled.get("metadata_labels", ()))
    settled["base_urls"] = _checked_base_urls(settled.get("base_urls", {}))
    _check_number(settled, "metrics_port", 0, 65535)
    _check_number(settled, "max_models", 1, 100_000)
    capture = settled.get("capture_content")
    if isinstance(capture, str):
        settled["capture_content"] = _read_capture("capture_content", capture)
    for name, kind, expected in _KINDS:
        if not isinstance(settled.get(name, kind()), kind):
            raise SettingError(f"{name}={shown(settled[name])} must be {expected}.")
    for name, known in (("http_spans", HTTP_SPANS), ("attempt_spans", ATTEMPT_SPANS), ("metrics", METRICS)):
        value = settled.get(name)
        if value is not None and value not in known:
            raise SettingError(
                f"{name}={shown(value)} is not known (known: {', '.join(known)}).{did_you_mean(str(value), known)}"
            )
    if settled.get("metrics") == "otlp" and settled.get("metrics_port") is not None:
        raise SettingError(
            "metrics='otlp' leaves nothing to serve on metrics_port: write metrics='both', or leave the port out."
        )
    if settled.get("attempt_spans") == "when_retried":
        _check_attempt_spans(settled)
    _check_objects(settled)
    return Config(**settled)


def _check_attempt_spans(settled: Mapping[str, Any]) -> None:
    """Refuse what needs an attempt's span before it is known whether the call is sent again."""
    if settled.get("http_spans") == "otel":
        raise SettingError(
            "attempt_spans='when_retried' cannot be used with http_spans='otel', which has OpenTelemetry make a span of every send: "
            "write http_spans='own', or leave attempt_spans out."
        )
    if settled.get("propagate"):
        raise SettingError(
            "attempt_spans='when_retried' cannot be used with propagate=True, which sends the id of each attempt's span with the "
            "attempt: write propagate=False, or leave attempt_spans out."
        )


def _load(settled: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Read what is in files, and import what only some settings need."""
    if settled.get("policy") is not None:
        from ._policy.policy import Policy

        settled["policy"] = Policy.load(settled["policy"], environ)
    if settled.get("health_store") is not None:
        from ._policy.policyfile import filled_text
        from ._policy.store_address import StoreAddress

        if isinstance(settled["health_store"], str):
            settled["health_store"] = filled_text(settled["health_store"], environ, "health_store")
        StoreAddress.of(settled["health_store"])
    if settled.get("prices") is not None:
        from ._pricefile import load

        settled["prices"] = load(settled["prices"])


def _check_objects(settled: Mapping[str, Any]) -> None:
    for name, method, instead in _MADE_ELSEWHERE:
        value = settled.get(name)
        # By its methods, for this floor knows no telemetry library; a class has them only once it is made.
        if value is not None and (isinstance(value, type) or not callable(getattr(value, method, None))):
            raise SettingError(f"{name}={shown(value)} must be {instead}.")
    for name in ("redact", "on_exchange"):
        if settled.get(name) is not None and not callable(settled[name]):
            raise SettingError(f"{name} must be a function, not {shown(settled[name])}.")
        if inspect.iscoroutinefunction(settled.get(name)):
            raise SettingError(f"{name} must be a plain function: an async one would never be awaited.")


_KINDS: tuple[tuple[str, type, str], ...] = (
    ("service_name", str, "a text"),
    ("metrics_addr", str, "a text"),
    ("http_spans", str, f"one of {', '.join(HTTP_SPANS)}"),
    ("attempt_spans", str, f"one of {', '.join(ATTEMPT_SPANS)}"),
    ("capture_content", bool, "True or False"),
    ("propagate", bool, "True or False"),
    ("include_usage", bool, "True or False"),
    ("token_histograms", bool, "True or False"),
    ("console", bool, "True or False"),
)
# Objects of other libraries, what is asked of them, and what to write.
_MADE_ELSEWHERE: tuple[tuple[str, str, str], ...] = (
    (
        "tracer_provider",
        "get_tracer",
        "a TracerProvider, such as opentelemetry.sdk.trace.TracerProvider(); OTEL_TRACES_EXPORTER chooses the exporter of our own one",
    ),
    (
        "meter_provider",
        "get_meter",
        "a MeterProvider, such as opentelemetry.sdk.metrics.MeterProvider(metric_readers=[...])",
    ),
    ("registry", "register", "a registry, such as prometheus_client.CollectorRegistry()"),
)


def _checked_base_urls(urls: object) -> dict[str, str]:
    if not isinstance(urls, Mapping):
        raise SettingError(
            f"base_urls={shown(urls)} must map base URLs to regions, such as {{'https://ark.private.example/api/v3': 'ap-southeast-1'}}."
        )
    for url, region in urls.items():
        called = f"base_urls: {shown_url(str(url))!r}"
        checks.base_url(called, url, allow_http=True)
        checks.region_of_base_url(called, url, region_named(region).id)
    return dict(urls)


def _check_number(settled: Mapping[str, Any], name: str, least: int, most: int) -> None:
    value = settled.get(name)
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise SettingError(f"{name}={shown(value)} must be a whole number from {least} to {most}.")


def _read_number(variable: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SettingError(f"{variable}={shown(text)} must be a whole number.") from None


def _read_yes(variable: str, text: str) -> bool:
    try:
        return YES[text.lower()]
    except KeyError:
        raise SettingError(f"{variable}={shown(text)} must be true or false.") from None


def _read_capture(variable: str, text: str) -> bool:
    try:
        return _CAPTURE_VALUES[text.strip().lower()]
    except KeyError:
        raise SettingError(
            f"{variable}={shown(text)} is not known (known: SPAN_ONLY, NO_CONTENT, true, false)."
        ) from None


def _read_list(_variable: str, text: str) -> Sequence[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _read_text(_variable: str, text: str) -> str:
    return text


def _read_base_urls(variable: str, text: str) -> dict[str, str]:
    found = {}
    for pair in _read_list(variable, text):
        url, separator, region = pair.rpartition("=")
        if not separator:
            raise SettingError(
                f"{variable}: write each as URL=REGION, comma-separated; {shown_url(pair)!r} has no region."
            )
        found[url] = region
    return found


_READERS: dict[str, Callable[[str, str], Any]] = {
    "service_name": _read_text,
    "policy": _read_text,
    "metrics": _read_text,
    "health_store": _read_text,
    "metrics_port": _read_number,
    "metrics_addr": _read_text,
    "metadata_labels": _read_list,
    "max_models": _read_number,
    "base_urls": _read_base_urls,
    "capture_content": _read_capture,
    "http_spans": _read_text,
    "attempt_spans": _read_text,
    "propagate": _read_yes,
    "include_usage": _read_yes,
    "token_histograms": _read_yes,
    "console": _read_yes,
    "prices": _read_text,
}

VARIABLES = (*(PREFIX + name.upper() for name in (*_READERS, "config", "disabled")), SIMULATED_VARIABLE)
