"""What `instrument()` builds from its settings: all that a call needs, in one place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import _reaper
from .._config import Config, configure
from .._facts import Call
from .._observer import Observer
from .._recognise import PORTKEY_PREFIX, Place, Places, Recognised, recognise
from .._routing.plan import observe
from .._scope import current_metadata
from .._telemetry import guard as guarding
from .._telemetry.meter import MeterSink
from .._telemetry.provider import Tracers
from .._telemetry.recorder import Recorder, Settings
from .._version import __version__
from ..prometheus import Server, Sink, serve
from .library import lowered
from .perform import Begun

logger = logging.getLogger("byteplus_trace")


class Instrumentation:
    """Settings at work. `current()` is the one that `instrument()` made, else one of the defaults."""

    _active: Instrumentation | None = None
    _default: Instrumentation | None = None
    _lock = threading.Lock()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.policy = config.policy
        tracers = Tracers(config.tracer_provider, config.service_name)
        self.sink = Sink(
            config.registry, metadata_labels=config.metadata_labels, max_models=config.max_models
        )
        self.recorder = Recorder(
            tracers,
            self.sink,
            MeterSink(config.meter_provider),
            Settings(
                http_spans=config.http_spans,
                capture=config.capture_content,
                redact=config.redact,
                on_exchange=config.on_exchange,
            ),
        )
        self.places = Places(_places(config))
        self.server: Server | None = None
        self._warned_region_header = False
        guarding.on_fault = self.sink.telemetry_error
        self.sink.build_info(
            version=__version__,
            httpx=_version_of("httpx"),
            httpx2=_version_of("httpx2"),
            opentelemetry=_version_of("opentelemetry-api"),
        )
        _reaper.start()

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
                cls._default = cls.build({})
            return cls._default

    def serve_metrics(self) -> None:
        """Serve /metrics where a port was asked for."""
        if self.config.metrics_port is not None:
            self.server = serve(self.config.metrics_port, self.config.metrics_addr, self.config.registry)

    def begin(self, request: Any, silent: bool, caller: Callable[[], object]) -> Begun | None:
        """Say which call a request is and set it going; None where it is not ours."""
        url = request.url
        headers = lowered(request.headers)
        body = getattr(request, "_content", None)
        found = recognise(
            self.places,
            method=request.method,
            scheme=url.scheme,
            host=url.host,
            port=url.port,
            path=url.path,
            headers=headers,
            body=body if "content-encoding" not in headers else None,
            capture=self.config.capture_content,
            metadata=current_metadata(),
        )
        if found is None:
            return None
        if found.cut_metadata:
            self.sink.telemetry_error("metadata cut")
        observer = Observer(
            found.call,
            found.route.family,
            None if silent else self.recorder.begin,
            self.config.capture_content,
        )
        stripped = not found.behind_gateway and any(name.startswith(PORTKEY_PREFIX) for name in headers)
        return Begun(
            self._plan(found, request, headers, body, observer, caller), observer, found.call, body, stripped
        )

    def _plan(self, found: Recognised, request: Any, headers: Mapping[str, str], body: bytes | None, observer: Observer, caller: Callable[[], object]) -> Any:  # fmt: skip
        return observe(found.call)

    def told_by_otel(self, transport: Any, library: str, colour: str) -> Any:
        """A transport whose sends OpenTelemetry's own instrumentation tells of."""
        from .._telemetry.http import told_by_otel

        return told_by_otel(transport, library, colour, self.recorder.tracers.provider)

    def ended(self, call: Call, request: Any, error: BaseException) -> None:
        """A call ended with an exception."""

    def flush(self, timeout_seconds: float) -> bool:
        """Tell what is waiting to be told, and have it exported."""
        _reaper.drain()
        return self.recorder.tracers.flush(timeout_seconds)

    def shutdown(self) -> None:
        """Stop what was started."""
        _reaper.drain()
        if self.server is not None:
            self.server.stop()
        self.recorder.tracers.shutdown()


def _places(config: Config) -> list[Place]:
    return [Place.at(url, region) for url, region in config.base_urls.items()]


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
