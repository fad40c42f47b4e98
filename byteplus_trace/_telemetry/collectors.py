"""
The collectors of a registry: made once, used again.

Collectors belong to their registry and outlive the sink that asked for them: a process
that instruments, uninstruments and instruments again goes on counting where it was, with
the label values that it had admitted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakKeyDictionary

from .. import _forks
from .._errors import SettingError, shown
from .._forks import ForkSafeLock
from .._instruments import (
    BREAKER,
    BUILD_INFO,
    HEALTH_STORE_UP,
    IN_FLIGHT,
    INSTRUMENTED,
    INSTRUMENTS,
    OLDEST,
    SECONDS,
    START_TIME,
    Instrument,
)
from .bounds import Bound
from .in_flight import IDLE, InFlight, InFlightInFiles
from .multiprocess import multiprocess_directory, reserve
from .zero_series import EVERY_OPERATION

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# How many values a label may take before `other`; `model` has its own setting. Regions and targets
# are configuration, but a gateway's header can name any region.
LIMITS: Final = {"error_type": 64, "region": 64, "target": 64, "name": 64}
METADATA_VALUES: Final = 100
SHARED: Final = {"from_target": "target", "to_target": "target"}

# Over processes, calls in flight add up, the oldest call, the worst breaker and the worst store count, and only living processes report versions.
GAUGE_MODES: Final[dict[str, Literal["livesum", "livemax", "livemin"]]] = {
    IN_FLIGHT.name: "livesum",
    OLDEST.name: "livemin",
    BREAKER.name: "livemax",
    START_TIME.name: "livemin",
    BUILD_INFO.name: "livemax",
    HEALTH_STORE_UP.name: "livemin",
    INSTRUMENTED.name: "livemax",
}


class Series:
    """
    The series of one place, the label values admitted and the children in use.

    Args:
        family: what makes the children of a row with these labels, by their values: `family(row, labels).labels(*values)`.
        exemplars: whether observations take one.
    """

    __slots__ = (
        "_bounds",
        "_families",
        "_forks",
        "_idling",
        "_in_files",
        "children",
        "exemplars",
        "in_flight",
        "metadata_labels",
        "models",
    )

    def __init__(
        self,
        family: Callable[[Instrument, tuple[str, ...]], Any],
        metadata_labels: tuple[str, ...],
        max_models: int,
        *,
        exemplars: bool = True,
        in_files: bool = False,
    ) -> None:
        self.metadata_labels = metadata_labels
        self.exemplars = exemplars
        self._in_files = in_files
        self._idling = ForkSafeLock()
        self._forks = _forks.count
        self.in_flight: dict[str, InFlight | InFlightInFiles] = {}
        """The calls under way, by operation."""
        self.models = Bound(max_models)
        bounds = {label: Bound(most) for label, most in LIMITS.items()}
        bounds |= {label: bounds[other] for label, other in SHARED.items()}
        bounds |= {key: Bound(METADATA_VALUES) for key in metadata_labels}
        bounds["model"] = self.models
        self._families: dict[Instrument, Any] = {}
        self._bounds: dict[Instrument, tuple[Bound | None, ...]] = {}
        self.children: dict[Instrument, dict[tuple[str, ...], Any]] = {row: {} for row in INSTRUMENTS}
        """Those in use, by their label values; `child` makes the others."""
        for row in INSTRUMENTS:
            labels = row.labels + (metadata_labels if row.metadata else ())
            self._families[row] = family(row, labels)
            self._bounds[row] = tuple(bounds.get(label) for label in labels)

    @property
    def families(self) -> Iterable[Any]:
        return self._families.values()

    def child(self, instrument: Instrument, values: tuple[str, ...]) -> Any:
        """The counter, gauge or histogram with these label values, bounded."""
        children = self.children[instrument]
        found = children.get(values)
        if found is None:
            bounds = self._bounds[instrument]
            values = tuple(bound(v) if bound else v for bound, v in zip(bounds, values, strict=True))
            found = children.get(values)
        if found is None:
            family = self._families[instrument]
            # A row without labels is its own child.
            found = children[values] = family.labels(*values) if values else family
        return found

    def start_gauges(self) -> None:
        """Let the gauges of calls under way stand, at none."""
        if not self._in_files:
            for operation in EVERY_OPERATION:
                self.in_flight_of(operation)

    def in_flight_of(self, operation: str) -> InFlight | InFlightInFiles:
        """The calls of an operation that are under way."""
        found = self.in_flight.get(operation)
        if found is None:
            count, oldest = self.child(IN_FLIGHT, (operation,)), self.child(OLDEST, (operation,))
            if self._in_files:
                oldest.set(IDLE)
                found = InFlightInFiles(count.inc, oldest.set)
            else:
                found = InFlight()
                count.set_function(found.count)
                oldest.set_function(found.oldest)
            self.in_flight[operation] = found
        return found

    def idle(self) -> None:
        """
        After a fork, no call is under way: the parent's are not the child's.

        Once, for who else counts in these series may have begun a call since.
        """
        with self._idling:
            if self._forks == _forks.count:
                return
            self._forks = _forks.count
            for operation in self.in_flight if self._in_files else ():
                self.child(IN_FLIGHT, (operation,)).set(0)
                self.child(OLDEST, (operation,)).set(IDLE)


_by_registry: WeakKeyDictionary[CollectorRegistry, Series] = WeakKeyDictionary()
_by_registry_lock = ForkSafeLock()


def series_of(registry: CollectorRegistry | None, metadata_labels: Sequence[str], max_models: int) -> Series:
    """
    The series of a registry, made if it has none.

    Raises:
        SettingError: a metadata key cannot be a label, the registry was set up with other
            ones, or the directory for several processes is missing.
    """
    registry = registry or default_registry()
    metadata_labels = checked_labels(metadata_labels)
    with _by_registry_lock:
        series = _by_registry.get(registry)
        if series is None:
            several = multiprocess_directory() is not None
            if several:
                reserve()
            # Of several processes, the gauges of calls under way wait for the first call: those that a parent has,
            # `prometheus_client` sets to 0 in each child, and a call that began at 0 would have hung since 1970.
            series = Series(_collector, metadata_labels, max_models, exemplars=not several, in_files=several)
            _register(registry, series.families)
            _by_registry[registry] = series
        elif sorted(series.metadata_labels) != sorted(metadata_labels):
            raise SettingError(
                f"This registry's series have the metadata labels {list(series.metadata_labels)}, and labels cannot change: "
                f"write metadata_labels={series.metadata_labels!r}, or give another registry=CollectorRegistry()."
            )
        series.models.most = max_models
        return series


def forget(registry: CollectorRegistry | None) -> None:
    """Take the series out of a registry: the next that asks for them makes them anew, with its own labels."""
    registry = registry or default_registry()
    with _by_registry_lock:
        for collector in _by_registry.pop(registry).families:
            registry.unregister(collector)


def default_registry() -> CollectorRegistry:
    from prometheus_client import REGISTRY

    return REGISTRY


def checked_labels(metadata_labels: object) -> tuple[str, ...]:
    """
    Metadata keys that can be labels, each once.

    Raises:
        SettingError: one cannot be; the message says what to write instead.
    """
    if isinstance(metadata_labels, str) or not isinstance(metadata_labels, Iterable):
        raise SettingError(
            f"metadata_labels={shown(metadata_labels)} must be a sequence of keys, such as ('team',)."
        )
    keys = tuple(metadata_labels)
    taken = {label for row in INSTRUMENTS if row.metadata for label in row.labels}
    for key in keys:
        if not isinstance(key, str) or not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*", key):
            raise SettingError(
                f"Metadata key {shown(key)} cannot be a Prometheus label: use letters, digits and underscores, such as 'team'."
            )
        if key in taken:
            raise SettingError(
                f"Metadata key {key!r} cannot be a label, the series have one of that name: rename it."
            )
    return tuple(dict.fromkeys(keys))


def _collector(row: Instrument, labels: tuple[str, ...]) -> Any:
    from prometheus_client import Counter, Gauge, Histogram

    match row.kind:
        case "counter":
            return Counter(row.name, row.help, labels, registry=None)
        case "histogram":
            return Histogram(row.name, row.help, labels, registry=None, buckets=SECONDS)
        case "gauge":
            return Gauge(row.name, row.help, labels, registry=None, multiprocess_mode=GAUGE_MODES[row.name])


def _register(registry: CollectorRegistry, collectors: Iterable[Any]) -> None:
    """All of them or none."""
    registered: list[Any] = []
    try:
        for collector in collectors:
            registry.register(collector)
            registered.append(collector)
    except ValueError as error:
        for collector in registered:
            registry.unregister(collector)
        raise SettingError(
            f"This registry has series of these names that are not ours ({error}): give another registry=CollectorRegistry(). "
            "Where byteplus_trace was taken out of sys.modules and imported again, its first copy is still at work: "
            "restart the process, or the notebook's kernel."
        ) from error
