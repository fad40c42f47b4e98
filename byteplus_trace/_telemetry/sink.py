"""
Where exchanges become series.

Collectors belong to their registry and outlive the sink that made them: a process that
instruments, uninstruments and instruments again goes on counting where it was. Label
values from outside are bounded (see `collectors.py`), then count as `other`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from logging import getLogger
from typing import TYPE_CHECKING, Any, Literal

from .._facts import Call, Exchange
from .._forks import ForkSafeLock, remake_after_fork
from .._instruments import (
    ATTEMPT_DURATION,
    BREAKER,
    BREAKER_OPENINGS,
    BUILD_INFO,
    HEALTH_STORE_ERRORS,
    HEALTH_STORE_UP,
    INSTRUMENTED,
    START_TIME,
    TELEMETRY_ERRORS,
    Instrument,
)
from .collectors import Series, forget, series_of
from .in_flight import CallsInFlight
from .multiprocess import warn_of_unseen_calls
from .places import Places
from .points import Point
from .provider import Meters
from .zero_series import Targets, at_start, of_call

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Metrics = Literal["prometheus", "otlp", "both"]
logger = getLogger("byteplus_trace")

Exemplar = Mapping[str, str] | None
"""`trace_id` and `span_id`, where they are sampled."""

MOST_KINDS = 10_000
"""How many kinds of call are remembered as begun; models are bounded, so only many endpoints at once come near."""


class Sink:
    """
    Where exchanges become series.

    Args:
        registry: of Prometheus; None is `prometheus_client.REGISTRY`.
        metrics: where they are: `prometheus`, `otlp` or `both`.
        meters: whose OpenTelemetry instruments to use; None: the global provider's, whenever it is set.
        metadata_labels: metadata keys that become labels of the series that have them.
        max_models: how many values the label `model` may take.

    Raises:
        SettingError: a metadata key cannot be a label, the registry was set up with other
            ones, or the directory for several processes is missing.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        metrics: Metrics = "prometheus",
        meters: Meters | None = None,
        metadata_labels: Sequence[str] = (),
        max_models: int = 100,
    ) -> None:
        self._registry = registry
        self._in_registry = metrics != "otlp"
        """Prometheus can have them: until its files have no space left."""
        self._withdraws = self._in_registry
        self._series: Series | Places
        self._elsewhere: list[Series] = []
        """Where the series are but for Prometheus."""
        if metrics != "prometheus":
            from .otlp_series import otlp_series_of

            self._elsewhere.append(otlp_series_of(meters or Meters(), metadata_labels, max_models))
        if metrics == "otlp":
            self._series = self._elsewhere[0]
        else:
            try:
                series = series_of(registry, metadata_labels, max_models)
                self._series = Places(*self._elsewhere, series) if self._elsewhere else series
            except OSError as error:
                self._withdraws = False
                self._lose_files(error)
        self._metadata_labels = self._series.metadata_labels
        self.exemplars = self._series.exemplars
        """Whether observations take one."""
        self._targets = Targets(())
        self._begun: set[tuple[object, ...]] = set()
        """The kinds of call whose series stand."""
        self._beginning = ForkSafeLock()
        self._forked = False
        remake_after_fork(self)

    def after_fork(self) -> None:
        """Have the child's first call set its gauges: not now, for a thread of the parent may have held their locks."""
        self._begun = set()
        self._forked = True

    def start_targets(self, targets: Iterable[tuple[str, str]] = ()) -> None:
        """
        Let what is known before any call stand at 0: faults by place, and the breakers of a policy's targets.

        Counters that moved already stay as they are; breakers are closed, for a policy that starts knows of no fault.

        Args:
            targets: name and region of each, in the policy's order; none without a policy.
        """
        self._targets = Targets(tuple(targets))
        for instrument, values in at_start(self._targets):
            child = self._child(instrument, values)
            if instrument is BREAKER:
                child.set(0)
        self._series.start_gauges()

    def in_flight(self, call: Call) -> CallsInFlight:
        """Where such a call is counted while it is in flight; its series exist from now on."""
        kind: tuple[object, ...] = (call.api, call.model or "", call.region, call.stream, call.sdk_retry == 0)
        if self._metadata_labels:
            kind = (*kind, *self._metadata(call))
        if kind not in self._begun:
            self._begin_kind(call, kind)
        return self._series.in_flight[call.operation]

    def record(
        self,
        exchange: Exchange,
        points: Iterable[Point],
        exemplar: Exemplar = None,
        attempt_exemplars: Sequence[Exemplar] = (),
    ) -> None:
        """Add what one exchange amounts to; `attempt_exemplars` lead to the spans of its attempts, in their order."""
        children, child = self._series.children, self._child
        extra: tuple[str, ...] = ()
        if self._metadata_labels:
            extra = self._metadata(exchange.call)
        attempts = iter(attempt_exemplars)
        for instrument, values, amount in points:
            if extra and instrument.metadata:
                values += extra  # noqa: PLW2901
            series = children[instrument].get(values) or child(instrument, values)
            if instrument.kind == "counter":
                series.inc(amount)
            elif not self.exemplars or not instrument.exemplars:
                series.observe(amount)
            elif instrument is ATTEMPT_DURATION:
                series.observe(amount, next(attempts, exemplar))
            else:
                series.observe(amount, exemplar)

    def breaker(self, target: str, operation: str, state: int) -> None:
        """0 closed, 1 half-open, 2 open."""
        self._child(BREAKER, (target, operation)).set(state)

    def breaker_opening(self, target: str, operation: str, source: str) -> None:
        """A breaker opened: by what this process saw (`own`), or another one (`fleet`)."""
        self._child(BREAKER_OPENINGS, (target, operation, source)).inc()

    def health_store_up(self, store: str, up: bool) -> None:
        """Whether health is shared through it now."""
        self._child(HEALTH_STORE_UP, (store,)).set(1 if up else 0)

    def health_store_error(self, store: str, reason: str, amount: int = 1) -> None:
        """It failed, or held what was not understood; with an `amount` of 0 the series begins."""
        self._child(HEALTH_STORE_ERRORS, (store, reason)).inc(amount)

    def telemetry_error(self, where: str) -> None:
        """A fault of our own was swallowed there."""
        self._child(TELEMETRY_ERRORS, (where,)).inc()

    def build_info(self, *, version: str, httpx: str, httpx2: str, opentelemetry: str) -> None:
        """The versions at work; of a library that is not installed, the empty string."""
        self._child(BUILD_INFO, (version, httpx, httpx2, opentelemetry)).set(1)
        if not self._series.children[START_TIME]:
            self._child(START_TIME, ()).set(time.time())

    def started(self, policy: str, at_seconds: float) -> None:
        """Calls are observed from then on, in Unix time; `policy` sums it up."""
        self._child(INSTRUMENTED, (policy,)).set(at_seconds)

    def withdraw(self) -> None:
        """Take the series out of their registry, and their counts with them."""
        if self._withdraws:
            forget(self._registry)

    def _begin_kind(self, call: Call, kind: tuple[object, ...]) -> None:
        """Let the series of such calls stand at 0, before the first of them ends."""
        with self._beginning:
            if self._forked:
                self._forked = False
                if self._in_registry:
                    warn_of_unseen_calls()
                self._child(START_TIME, ()).set(time.time())
            self._series.idle()
            # Whoever calls models without end has them counted as `other`, and their names are not kept.
            api, _, *others = kind
            bounded = (api, self._series.models(call.model or ""), *others)
            self._series.in_flight_of(call.operation)
            if bounded in self._begun:
                return
            extra = self._metadata(call)
            for instrument, values in of_call(call, self._targets):
                self._child(instrument, values + extra if instrument.metadata else values)
            if len(self._begun) >= MOST_KINDS:
                self._begun.clear()
            self._begun.add(bounded)

    def _child(self, instrument: Instrument, values: tuple[str, ...]) -> Any:
        """The counter, gauge or histogram with these label values; where its file has no space left, all but Prometheus'."""
        try:
            return self._series.child(instrument, values)
        except OSError as error:
            if not self._in_registry:
                raise
            self._lose_files(error)
            self._begun = set()
            return self._series.child(instrument, values)

    def _lose_files(self, error: OSError) -> None:
        self._in_registry = False
        self._series = Places(*self._elsewhere)
        logger.error(
            "The series of process %s stand still in Prometheus from now on: PROMETHEUS_MULTIPROC_DIR has no space "
            "for them (%s). Calls are not affected. Make space, and start the process again.",
            os.getpid(),
            error.strerror,
        )

    def _metadata(self, call: Call) -> tuple[str, ...]:
        return tuple(call.metadata.get(key, "") for key in self._metadata_labels)
