"""What `instrument()` builds from its settings: all that a call needs, in one place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from .. import _background, _prices
from .._config import Config, configure
from .._facts import Call, Exchange
from .._forks import ForkSafeLock
from .._log import logger
from .._observer import Observer
from .._recognise import PORTKEY_HOST, PORTKEY_PREFIX, Place, Places, recognise
from .._regions import REGION_HEADER, simulated_regions
from .._scope import current_metadata
from .._telemetry import guard as guarding
from .._telemetry.guard import fault, guard
from .._telemetry.meter import MeterSink
from .._telemetry.other_instrumentations import HttpSpans
from .._telemetry.provider import Meters, Tracers
from .._telemetry.recorder import Recorder, Settings
from .._telemetry.sink import Sink
from .._version import __version__
from ..prometheus import Server, serve
from .at_exit import abandon_first, end_with_process
from .library import wanted_headers

if TYPE_CHECKING:
    from .._policy.policy import Policy
    from .._telemetry.metric_exporting import OwnMeterProvider
    from .router import Routed, Router

LONGEST_SUMMARY = 200
CONFIG_HEADER = "x-portkey-config"


class Begun(msgspec.Struct):
    """A call under way: its observer, what is needed to send it, and its policy."""

    observer: Observer
    call: Call
    body: bytes | None
    stripped: bool
    """Portkey's headers are to be removed."""
    behind_gateway: bool
    """It goes to a gateway, and is never changed."""
    routed: Routed | None
    """The routed call; None where no policy applies."""


class Instrumentation:
    """Settings at work. `current()` is the one that `instrument()` made, else one of the defaults."""

    _active: Instrumentation | None = None
    _default: Instrumentation | None = None
    _lock = ForkSafeLock()
    _is_built = False
    """The default one is being built, by the thread that holds the lock."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.alters = config.propagate or config.include_usage or config.http_spans == "otel"
        """A call that no policy moves is changed before it is sent."""
        tracers = Tracers(config.tracer_provider, config.service_name, abandon_first)
        own = self._own_meter_provider(config)
        self.meters = Meters(config.meter_provider, own)
        self.sink = Sink(
            config.registry,
            metrics=config.metrics or ("both" if own is not None else "prometheus"),
            meters=self.meters,
            metadata_labels=config.metadata_labels,
            max_models=config.max_models,
        )
        self.recorder = Recorder(
            tracers,
            self.sink,
            MeterSink(self.meters, token_histograms=config.token_histograms, max_models=config.max_models)
            if config.metrics != "prometheus"
            else None,
            Settings(
                http_spans=config.http_spans,
                attempt_spans=config.attempt_spans,
                propagate=config.propagate,
                capture=config.capture_content,
                redact=config.redact,
                on_exchange=config.on_exchange,
                show=_console() if config.console else None,
            ),
        )
        self._http_spans = HttpSpans() if config.http_spans == "otel" else None
        self.cost = config.prices.cost if config.prices is not None else _prices.cost
        self.places = Places(_places(config))
        self.router = self._router(config)
        self.server: Server | None = None
        self._warned_headers: set[str] = set()
        guarding.on_fault = self.sink.telemetry_error
        self.sink.build_info(
            version=__version__,
            httpx=_version_of("httpx"),
            httpx2=_version_of("httpx2"),
            opentelemetry=_version_of("opentelemetry-api"),
        )
        self.sink.started(_summary(config.policy), time.time())
        _background.start()
        end_with_process()

    @staticmethod
    def _own_meter_provider(config: Config) -> OwnMeterProvider | None:
        """The one that the settings or the variables ask for, where the application has none."""
        wanted = config.metrics in {"otlp", "both"}
        if config.metrics == "prometheus" or Meters(config.meter_provider).provider is not None:
            return None
        if not wanted and not os.environ.get("OTEL_METRICS_EXPORTER", "").strip():
            return None  # and the SDK's metrics are not imported
        from .._telemetry.metric_exporting import own_meter_provider

        return own_meter_provider(config.service_name, wanted=wanted)

    def _router(self, config: Config) -> Router | None:
        if config.policy is None:
            self.sink.start_targets()
            return None
        # A third of what there is to import, for those who have a policy.
        from .router import Router

        return Router(config.policy, self.sink, config.health_store)

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Instrumentation:
        """
        From settings as a user writes them.

        Raises:
            SettingError: one cannot be followed.
        """
        return cls(configure(settings))

    @classmethod
    def current(cls) -> Instrumentation:
        """The active one, else one of the defaults, built once."""
        if cls._active is not None:
            return cls._active
        with cls._lock:
            if cls._default is None:
                if cls._is_built:
                    raise RuntimeError("a call is made by what the first one logs")
                cls._is_built = True
                try:
                    cls._default = cls.build({})
                finally:
                    cls._is_built = False
            return cls._default

    def serve_metrics(self) -> None:
        """Serve /metrics where a port was asked for."""
        if self.config.metrics_port is not None:
            self.server = serve(self.config.metrics_port, self.config.metrics_addr, self.config.registry)

    def begin(self, request: Any, silent: bool, caller: Callable[[], object]) -> Begun | None:
        """Recognise a request and begin to observe it. None where it is not ours."""
        url = request.url
        headers = wanted_headers(request.headers)
        body = getattr(request, "_content", None)
        found = recognise(
            self.places,
            method=request.method,
            scheme=url.scheme,
            host=url.host,
            port=url.port,
            path=_path(url),
            headers=headers,
            body=body if "content-encoding" not in headers else None,
            capture=self.config.capture_content,
            metadata=current_metadata(),
        )
        if found is None:
            return None
        direct = not found.behind_gateway
        stripped = direct and _has_portkeys(headers)
        if silent and self.router is None and not stripped:
            return None
        if found.cut_metadata:
            self.sink.telemetry_error("metadata cut")
        routed, heard = None, None
        if direct and self.router is not None and self.router.moves(found.call, request):
            # Before the observer is made: where it fails, the call is sent once, and recorded.
            try:
                routed = self.router.route(found.call, request, headers, body, caller)
                heard = routed.heard
            except Exception as error:
                fault("planning a call", error)
        if stripped:
            self._warn_of_unheeded(headers, moved=routed is not None)
        observer = Observer(
            found.call,
            found.family,
            None if silent else self.recorder.begin,
            self.config.capture_content,
            heard,
            self.cost,
        )
        if routed is not None and routed.resent:
            observer.duplicate = "sdk_resend"
        return Begun(observer, found.call, body, stripped, found.behind_gateway, routed)

    def strips(self, request: Any) -> bool:
        """Whether a request carries Portkey's headers straight to ModelArk, which is not to see them."""
        url = request.url
        addressed = self.places.addressed(request.method, url.scheme, url.host, url.port, _path(url))
        if addressed is None or url.host == PORTKEY_HOST:
            return False
        return _has_portkeys(wanted_headers(request.headers))

    def _warn_of_unheeded(self, headers: Mapping[str, str], *, moved: bool) -> None:
        """Log once for each of Portkey's headers that it is not followed."""
        why = {CONFIG_HEADER: "a request cannot choose its policy; give the config to instrument(policy=...)"}
        if not moved:
            why[REGION_HEADER] = "no policy moves this call"
        for header in why.keys() & headers.keys() - self._warned_headers:
            self._warned_headers.add(header)
            logger.warning("A request carries %s, which is not followed: %s.", header, why[header])

    def sending(self, transport: Any, library: str, colour: str) -> Any:
        """The transport that sends: itself, or wrapped by OpenTelemetry's instrumentation where that records HTTP spans."""
        if self._http_spans is not None:
            with guard("asking OpenTelemetry for HTTP spans"):
                return self._http_spans.around(transport, library, colour, self.recorder.tracers.provider)
        return transport

    def flush(self, timeout_seconds: float) -> bool:
        """Record what waits for that, and have it exported, all within that time."""
        ends_at = time.monotonic() + timeout_seconds
        drained = _background.drain(timeout_seconds)
        return self.recorder.tracers.flush(max(ends_at - time.monotonic(), 0.0), self.meters) and drained

    def shutdown(self) -> None:
        """Stop what was started."""
        _background.drain()
        if self.router is not None:
            self.router.stop_sharing()
        if self.server is not None:
            self.server.stop()
        self.recorder.tracers.shutdown()
        self.meters.shutdown()


def _summary(policy: Policy | None) -> str:
    """A policy in one line, without its keys and addresses; `none` without one."""
    if policy is None:
        return "none"
    names = ", ".join(target.name for target in policy.leaves)
    return f"{policy.mode} over {names}"[:LONGEST_SUMMARY]


def _console() -> Callable[[Exchange], None]:
    from .._telemetry.console import show

    return show


def _places(config: Config) -> list[Place]:
    places = [Place.at(url, region) for url, region in config.base_urls.items()]
    places += [Place.at(url, region) for region, url in simulated_regions().items()]
    if config.policy is not None:
        places += [
            Place.at(base, target.region) for target in config.policy.leaves for base in target.bases.forms
        ]
    return places


def _has_portkeys(headers: Mapping[str, str]) -> bool:
    for name in headers:  # noqa: SIM110  asked of every call, and `any` would make a generator for it
        if name.startswith(PORTKEY_PREFIX):
            return True
    return False


def _path(url: Any) -> str:
    """The path as it is sent, escapes kept: `%2F` separates nothing and `%3F` begins no query."""
    return url.raw_path.partition(b"?")[0].decode("ascii")  # type: ignore[no-any-return]


@cache
def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
