"""What `instrument()` builds from its settings: all that a call needs, in one place."""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import _reaper
from .._config import Config, configure
from .._facts import Call, Exchange
from .._observer import Observer
from .._recognise import PORTKEY_HOST, PORTKEY_PREFIX, Place, Places, recognise
from .._regions import MODELARK, REGION_HEADER, REGIONS, region_named
from .._routing.health import CLOSED, Health, Opening
from .._routing.order import base_of
from .._routing.plan import plan
from .._routing.policy import Policy, warnings_of
from .._routing.resend import Key, Prior, Resends
from .._routing.steps import Deliver
from .._scope import current_metadata
from .._telemetry import guard as guarding
from .._telemetry.guard import guard
from .._telemetry.meter import MeterSink
from .._telemetry.provider import Tracers
from .._telemetry.recorder import Recorder, Settings
from .._version import __version__
from .._wire.request import file_ids
from .._wire.shape import json_in
from ..prometheus import Server, Sink, serve
from .drive import Begun, Plan
from .library import lowered, told
from .process import abandon_first, end_with_process

logger = logging.getLogger("byteplus_trace")

clock = time.monotonic

CONFIG_HEADER = "x-portkey-config"
MADE = frozenset({"ok", "rescued_retry", "rescued_fallback", "cancelled", "abandoned"})
"""The outcomes after which what a call made, if it said so, is there: also where its reader left."""
MAKERS = frozenset({"responses", "video_task_create", "files", "context_create"})
"""The APIs that make an object which lives where it was made."""


class Instrumentation:
    """Settings at work. `current()` is the one that `instrument()` made, else one of the defaults."""

    _active: Instrumentation | None = None
    _default: Instrumentation | None = None
    _lock = threading.Lock()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.policy = config.policy
        self.alters = config.propagate or config.include_usage or config.http_spans == "otel"
        """A call that no policy moves leaves otherwise than its caller sent it."""
        tracers = Tracers(config.tracer_provider, config.service_name, abandon_first)
        self.sink = Sink(
            config.registry, metadata_labels=config.metadata_labels, max_models=config.max_models
        )
        self.recorder = Recorder(
            tracers,
            self.sink,
            MeterSink(
                config.meter_provider,
                token_histograms=config.token_histograms,
                max_models=config.max_models,
            ),
            Settings(
                http_spans=config.http_spans,
                capture=config.capture_content,
                redact=config.redact,
                on_exchange=config.on_exchange,
            ),
        )
        self.places = Places(_places(config))
        self.random = random.Random()
        self.resends = Resends(clock)
        if config.policy is not None:
            self._use(config.policy)
        else:
            regions = dict.fromkeys(
                [*(r.id for r in REGIONS if r.provider == MODELARK), *config.base_urls.values()]
            )
            self.sink.start_targets([(region, region) for region in regions], routed=False)
        self.server: Server | None = None
        self._warned_headers: set[str] = set()
        guarding.on_fault = self.sink.telemetry_error
        self.sink.build_info(
            version=__version__,
            httpx=_version_of("httpx"),
            httpx2=_version_of("httpx2"),
            opentelemetry=_version_of("opentelemetry-api"),
        )
        _reaper.start()
        end_with_process()

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

    def _use(self, policy: Policy) -> None:
        self.health = Health(policy, clock, self.random, self)
        self._targets = {target.address: target.name for target in reversed(policy.leaves)}
        self._region_hosts = {region_named(target.region).host for target in policy.leaves}
        self.sink.start_targets([(target.name, target.region) for target in policy.leaves])
        for warning in warnings_of(policy):
            logger.warning("byteplus_trace policy: %s", warning)

    def serve_metrics(self) -> None:
        """Serve /metrics where a port was asked for."""
        if self.config.metrics_port is not None:
            self.server = serve(self.config.metrics_port, self.config.metrics_addr, self.config.registry)

    def begin(self, request: Any, silent: bool, caller: Callable[[], object]) -> Begun | None:
        """Say which call a request is and set it going; None where it is not ours."""
        url = request.url
        headers = told(request.headers)
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
        stripped = False
        if not found.behind_gateway:
            for name in headers:
                if name.startswith(PORTKEY_PREFIX):
                    stripped = True
                    break
        if silent and self.policy is None and not stripped:
            return None
        if CONFIG_HEADER in headers and not found.behind_gateway:
            self._warn_of(
                CONFIG_HEADER, "a request cannot choose its policy; give the config to instrument(policy=...)"
            )
        if found.cut_metadata:
            self.sink.telemetry_error("metadata cut")
        origin = (
            self._origin_of(url, found.call) if self.policy is not None and not found.behind_gateway else None
        )
        key = deciding = None
        resent = False
        if origin is not None:
            # Before anybody watches: where it fails, the call is sent once, and told.
            with guard("planning a call"):
                key = partial(_key, caller(), url, body) if body is not None else None
                prior = self.resends.recall(key()) if key is not None and self.resends else None
                if prior is not None and not found.call.sdk_retry:
                    # Its SDK says nothing of resending, so it is a call of its own, and perhaps a second charge.
                    resent, prior = prior.failure.reached, None
                deciding = self._plan(found.call, lowered(request.headers), body, origin, prior)
        elif REGION_HEADER in headers and not found.behind_gateway:
            self._warn_of(REGION_HEADER, "no policy moves this call")
        observer = Observer(
            found.call,
            found.route.family,
            None if silent else self.recorder.begin,
            self.config.capture_content,
            self._heard if deciding is not None else None,
        )
        if resent:
            observer.duplicate = "sdk_resend"
        return Begun(observer, found.call, body, stripped, deciding, key, found.behind_gateway)

    def strips(self, request: Any) -> bool:
        """Whether a request carries Portkey's headers straight to ModelArk, which they are to leave without."""
        url = request.url
        addressed = self.places.addressed(request.method, url.scheme, url.host, url.port, _path(url))
        if addressed is None or url.host == PORTKEY_HOST:
            return False
        return any(name.startswith(PORTKEY_PREFIX) for name in told(request.headers))

    def _plan(
        self, call: Call, headers: Mapping[str, str], body: bytes | None, origin: str, prior: Prior | None
    ) -> Plan:
        """What the policy makes of a call."""
        assert self.policy is not None, "only a policy's targets have an origin"
        return plan(
            call,
            self.policy,
            self.health,
            clock=clock,
            random=self.random,
            replayable=body is not None,
            body_params=lambda: _fields(body),
            file_ids=lambda: file_ids(body or b""),
            headers=headers,
            origin=origin or None,
            prior=prior,
        )

    def _origin_of(self, url: Any, call: Call) -> str | None:
        """The target that a URL addresses; an empty name for the public host of a target's region; None for neither."""
        named = self._targets.get(base_of(call))
        if named is not None:
            return named
        return "" if url.host in self._region_hosts else None

    def _warn_of(self, header: str, why: str) -> None:
        """Say once of a header that it is not followed."""
        if header not in self._warned_headers:
            self._warned_headers.add(header)
            logger.warning("A request carries %s, which is not followed: %s.", header, why)

    def breaker_changed(self, target: str, operation: str, state: int, opening: Opening | None) -> None:
        """
        A breaker opened, closed, or lets a probe through.

        An opening and its end are both warnings: where only warnings are kept, a breaker would seem
        open for ever. A probe that failed changes nothing for callers, and is INFO.
        """
        self.sink.breaker(target, operation, state)
        if opening is not None:
            assert self.policy is not None, "only a policy's targets have breakers"
            others = any(self.health.would_admit(other.name, operation) for other in self.policy.leaves)
            logger.log(
                logging.INFO if opening.again else logging.WARNING,
                "The breaker of target %r for %s opens for %.0f s: %s, the last failure was %r. %s.",
                target,
                operation,
                opening.seconds,
                "a probe failed" if opening.again else "too many calls failed",
                opening.reason,
                "Calls go to other targets meanwhile"
                if others
                else "No target is left: each call is tried once, where the breaker closes soonest",
            )
        elif state == CLOSED:
            logger.warning("The breaker of target %r for %s closes: a probe was answered.", target, operation)

    def credential_dead(self, target: str) -> None:
        """A credential was refused."""
        logger.warning(
            "ModelArk refused the credential of target %r; it is left alone for 5 minutes. Check its api_key.",
            target,
        )

    def remember(self, key: Callable[[], Key] | None, delivery: Deliver) -> None:
        """A call ended with an exception: an SDK may send it again."""
        if key is not None and delivery.failure is not None:
            prior = Prior(delivery.attempts, delivery.deadline_at, delivery.failure, delivery.spared)
            self.resends.remember(key(), prior)

    def _heard(self, exchange: Exchange) -> None:
        """Learn from a call that has ended: where its object lives, or that its target broke off."""
        made = exchange.answer.task_id or exchange.answer.id
        broke = exchange.status == 200 and exchange.chunks and exchange.outcome == "error"
        if made is not None and exchange.call.api in MAKERS and (broke or exchange.outcome in MADE):
            self.health.pin(made, exchange.target)
        if broke:
            self.health.broke(exchange.target, exchange.call.operation, exchange.reason)

    def told_by_otel(self, transport: Any, library: str, colour: str) -> Any:
        """A transport whose sends OpenTelemetry's own instrumentation tells of."""
        from .._telemetry.http import told_by_otel

        return told_by_otel(transport, library, colour, self.recorder.tracers.provider)

    def flush(self, timeout_seconds: float) -> bool:
        """Tell what is waiting to be told, and have it exported, all in that time."""
        ends_at = time.monotonic() + timeout_seconds
        drained = _reaper.drain(timeout_seconds)
        return self.recorder.tracers.flush(max(ends_at - time.monotonic(), 0.0)) and drained

    def shutdown(self) -> None:
        """Stop what was started."""
        _reaper.drain()
        if self.server is not None:
            self.server.stop()
        self.recorder.tracers.shutdown()


def _places(config: Config) -> list[Place]:
    places = [Place.at(url, region) for url, region in config.base_urls.items()]
    if config.policy is not None:
        places += [Place.at(target.address, target.region) for target in config.policy.leaves]
    return places


def _key(caller: object, url: Any, body: bytes) -> Key:
    return Key(caller, str(url), hashlib.sha256(body).digest())


def _path(url: Any) -> str:
    """The path as it leaves, its escapes kept: `%2F` separates nothing and `%3F` begins no query."""
    return url.raw_path.partition(b"?")[0].decode("ascii")  # type: ignore[no-any-return]


def _fields(body: bytes | None) -> Mapping[str, Any]:
    """A body's top-level fields, for a policy's conditions."""
    fields = json_in(body or b"")
    return fields if isinstance(fields, dict) else {}


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
