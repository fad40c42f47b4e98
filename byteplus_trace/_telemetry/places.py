"""The same series in several places at once, or in none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._instruments import INSTRUMENTS, Instrument
from .bounds import Bound
from .collectors import Series


class Each:
    """A counter, a gauge, a histogram or the calls under way, in each place."""

    __slots__ = ("_places",)

    def __init__(self, *places: Any) -> None:
        self._places = places

    def inc(self, amount: float = 1) -> None:
        for each in self._places:
            each.inc(amount)

    def set(self, value: float) -> None:
        for each in self._places:
            each.set(value)

    def observe(self, seconds: float, exemplar: Mapping[str, str] | None = None) -> None:
        for each in self._places:
            each.observe(seconds, exemplar)

    def begins(self, key: object, started_ns: int) -> None:
        for each in self._places:
            each.begins(key, started_ns)

    def ends(self, key: object) -> None:
        for each in self._places:
            each.ends(key)


class _EachOf(dict[str, Each]):
    """The calls under way by operation, made when they are asked for."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places

    def __missing__(self, operation: str) -> Each:
        return self._places.in_flight_of(operation)


class Places:
    """As `Series`; each place bounds its labels for itself."""

    __slots__ = ("children", "exemplars", "in_flight", "metadata_labels", "models", "places")

    def __init__(self, *places: Series) -> None:
        self.places = places
        self.metadata_labels = places[0].metadata_labels if places else ()
        self.models = places[0].models if places else Bound(0)
        self.exemplars = any(each.exemplars for each in places)
        self.children: dict[Instrument, dict[tuple[str, ...], Each]] = {row: {} for row in INSTRUMENTS}
        self.in_flight: dict[str, Each] = _EachOf(self)

    def child(self, instrument: Instrument, values: tuple[str, ...]) -> Each:
        found = self.children[instrument].get(values)
        if found is None:
            found = Each(*(each.child(instrument, values) for each in self.places))
            # Only what is admitted is kept, not what counts as `other`; in no place, nothing.
            if self.places and all(values in each.children[instrument] for each in self.places):
                self.children[instrument][values] = found
        return found

    def start_gauges(self) -> None:
        for each in self.places:
            each.start_gauges()

    def in_flight_of(self, operation: str) -> Each:
        if operation not in self.in_flight:
            self.in_flight[operation] = Each(*(each.in_flight_of(operation) for each in self.places))
        return self.in_flight[operation]

    def idle(self) -> None:
        for each in self.places:
            each.idle()
