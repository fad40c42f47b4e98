"""
Where exchanges become series.

Collectors belong to their registry and outlive the sink that made them: a process that
instruments, uninstruments and instruments again goes on counting where it was. Label
values from outside are bounded (see `collectors.py`), then count as `other`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .._facts import Exchange
from .._instruments import BREAKER, BUILD_INFO, IN_FLIGHT, TELEMETRY_ERRORS
from .collectors import forget, series_of
from .points import Point
from .zero_series import starts

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Sink:
    """
    Where exchanges become series of one registry.

    Args:
        registry: None is `prometheus_client.REGISTRY`.
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
        metadata_labels: Sequence[str] = (),
        max_models: int = 100,
    ) -> None:
        self._registry = registry
        self._series = series_of(registry, metadata_labels, max_models)
        self._metadata_labels = self._series.metadata_labels
        self._exemplars = not self._series.multiprocess

    def record(self, exchange: Exchange, points: Iterable[Point], exemplar: Mapping[str, str] | None) -> None:
        """Add what one exchange amounts to; `exemplar` is its `trace_id` and `span_id`, where they are sampled."""
        children, child = self._series.children, self._series.child
        extra: tuple[str, ...] = ()
        if self._metadata_labels:
            metadata = exchange.call.metadata
            extra = tuple(metadata.get(key, "") for key in self._metadata_labels)
        exemplar = exemplar if self._exemplars else None
        for instrument, values, amount in points:
            if extra and instrument.metadata:
                values += extra  # noqa: PLW2901
            series = children[instrument].get(values) or child(instrument, values)
            if instrument.kind == "counter":
                series.inc(amount)
            else:
                series.observe(amount, exemplar if instrument.exemplars else None)

    def in_flight(self, operation: str, change: int) -> None:
        """A call began (1) or ended (-1)."""
        values = (operation,)
        gauge = self._series.children[IN_FLIGHT].get(values) or self._series.child(IN_FLIGHT, values)
        gauge.inc(change)

    def breaker(self, target: str, operation: str, state: int) -> None:
        """0 closed, 1 half-open, 2 open."""
        self._series.child(BREAKER, (target, operation)).set(state)

    def telemetry_error(self, where: str) -> None:
        """A fault of our own was swallowed there."""
        self._series.child(TELEMETRY_ERRORS, (where,)).inc()

    def build_info(self, *, version: str, httpx: str, httpx2: str, opentelemetry: str) -> None:
        """The versions at work; of a library that is not installed, the empty string."""
        self._series.child(BUILD_INFO, (version, httpx, httpx2, opentelemetry)).set(1)

    def start_targets(self, targets: Iterable[tuple[str, str]], *, routed: bool = True) -> None:
        """
        Let the series of these targets, each a name and a region, stand at 0 until they first move.

        `zero_series.py` lists the combinations. Counters that moved
        already stay as they are; breakers are closed, for a policy that starts knows of no fault.
        """
        for instrument, values in starts(list(targets), routed=routed):
            child = self._series.child(instrument, values)
            if instrument is BREAKER:
                child.set(0)

    def withdraw(self) -> None:
        """Take the series out of their registry, and their counts with them."""
        forget(self._registry)
