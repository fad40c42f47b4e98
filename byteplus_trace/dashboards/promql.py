"""
Questions to Prometheus, in the names of `_instruments.py`.

An expression is made from an `Instrument` and the names of its labels, never from text,
so a panel or rule that names a series or a label that does not exist, or a value that a
closed label never takes, cannot be built. What they are made of is known to Prometheus
2.42 and 3.x alike: no `histogram_avg`, no native histograms, no `info()`.

The two users differ in their window and in what they filter by: a `Lens` holds both.
Panels look through the dashboard's variables, rules through fixed windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from .. import _facts
from .._instruments import Instrument
from .._telemetry.points import TOKEN_TYPES

# Prometheus adds these to whatever it scrapes.
SCRAPED = frozenset({"job", "instance"})
TEAM = "team"
"""The metadata key that the dashboards split by, where `metadata_labels` allows it."""

VALUES: dict[str, frozenset[str]] = {
    "operation": frozenset(get_args(_facts.Operation)),
    "outcome": frozenset(get_args(_facts.Outcome)),
    "result": frozenset(get_args(_facts.Result)),
    "reason": frozenset(get_args(_facts.Reason)) | frozenset(get_args(_facts.SkipReason)),
    "type": frozenset(TOKEN_TYPES),
    "status": frozenset({"generated", "failed"}),
    "phase": frozenset({"before_output", "after_output"}),
    "action": frozenset(get_args(_facts.Duplicate)),
    "stream": frozenset({"true", "false"}),
}


@dataclass(frozen=True, slots=True)
class Not:
    """Every value but these; each may be a regular expression."""

    values: tuple[str, ...]


Wanted = str | tuple[str, ...] | Not
"""One value of a label, any of several, or any but some."""


@dataclass(frozen=True, slots=True)
class Lens:
    """A window, and the filters that hold for every series that has their labels."""

    window: str
    filters: tuple[tuple[str, str], ...] = ()
    """Label and matcher with its value, such as `("region", '=~"$region"')`."""

    def over(self, window: str) -> Lens:
        """The same filters, through another window."""
        return Lens(window, self.filters)

    def rate(self, counter: Instrument, *by: str, **where: Wanted) -> str:
        """How much a second, summed by these labels."""
        return self._sum("rate", counter, by, where)

    def increase(self, counter: Instrument, *by: str, **where: Wanted) -> str:
        """How much in the window, summed by these labels."""
        return self._sum("increase", counter, by, where)

    def new_too(self, instrument: Instrument, *by: str, **where: Wanted) -> str:
        """How much in the window, summed by these labels, where a series that began in it counts whole."""
        return f"sum{_by(instrument, by)}({self.each_new_too(instrument, **where)})"

    def each(self, counter: Instrument, **where: Wanted) -> str:
        """How much in the window, of each series; for `total`."""
        _expect(counter, "counter")
        return f"increase({self._selector(counter, '', where)}[{self.window}])"

    def each_new_too(self, instrument: Instrument, **where: Wanted) -> str:
        """
        As `each`, of a counter or of a histogram's observations, where a series that began in the window counts whole.

        `increase` sees nothing in the first sample of a series, and that is all of a burst in labels never met before.
        After a scrape that failed every series seems new for a moment: for what has to last, or for shares.
        """
        if instrument.kind == "gauge":
            raise ValueError(f"{instrument.name} is a gauge, which does not count")
        selector = self._selector(instrument, "_count" if instrument.kind == "histogram" else "", where)
        return f"({selector} unless {selector} offset {self.window}) or increase({selector}[{self.window}])"

    def change(self, gauge: Instrument, *by: str, **where: Wanted) -> str:
        """By how much a gauge rose in the window."""
        _expect(gauge, "gauge")
        return f"sum{_by(gauge, by)}(delta({self._selector(gauge, '', where)}[{self.window}]))"

    def seen(self, gauge: Instrument, *by: str) -> str:
        """How many series of a gauge there were at any time in the window."""
        _expect(gauge, "gauge")
        return f"count{_by(gauge, by)}(count_over_time({self._selector(gauge, '', {})}[{self.window}]))"

    def count(self, histogram: Instrument, *by: str, **where: Wanted) -> str:
        """How many observations a second."""
        _expect(histogram, "histogram")
        return f"sum{_by(histogram, by)}(rate({self._selector(histogram, '_count', where)}[{self.window}]))"

    def buckets(self, histogram: Instrument, *by: str, **where: Wanted) -> str:
        """The rate of each bucket: a heat map's rows."""
        _expect(histogram, "histogram")
        return f"sum{_by(histogram, (*by, 'le'))}(rate({self._selector(histogram, '_bucket', where)}[{self.window}]))"

    def quantile(self, share: float, histogram: Instrument, *by: str, **where: Wanted) -> str:
        """The value that this share of the observations stays below, such as 0.95."""
        return f"histogram_quantile({share:g}, {self.buckets(histogram, *by, **where)})"

    def gauge(self, gauge: Instrument, *by: str, reduce: str = "sum", **where: Wanted) -> str:
        """A gauge as it stands."""
        _expect(gauge, "gauge")
        return f"{reduce}{_by(gauge, by)}({self._selector(gauge, '', where)})"

    def _sum(self, function: str, counter: Instrument, by: tuple[str, ...], where: dict[str, Wanted]) -> str:
        _expect(counter, "counter")
        return f"sum{_by(counter, by)}({function}({self._selector(counter, '', where)}[{self.window}]))"

    def _selector(self, instrument: Instrument, suffix: str, where: dict[str, Wanted]) -> str:
        matchers = [
            f"{label}{matcher}"
            for label, matcher in self.filters
            if label in instrument.labels or label in SCRAPED
        ]
        for label, wanted in where.items():
            _known(instrument, label)
            matchers.append(f"{label}{_matcher(label, wanted)}")
        return f"{instrument.name}{suffix}{{{', '.join(matchers)}}}" if matchers else instrument.name + suffix


def ratio(part: str, whole: str) -> str:
    """Nothing where the whole is 0: a share of no calls is not 0."""
    return f"{part} / ({whole} > 0)"


def share(part: str, whole: str) -> str:
    """
    The part's share for every label set of the whole, 0 where there is no such part.

    Without that 0 the error ratio of a region that never failed would be unknown.
    """
    return ratio(or_none_of(part, whole), whole)


def total(by: tuple[str, ...], *expressions: str) -> str:
    """The sum of series of different kinds; no two of them may have the same labels."""
    return f"sum by ({', '.join(by)}) ({' or '.join(expressions)})"


def renamed(expression: str, label: str, wanted: str) -> str:
    """The same values, with what `label` says also in `wanted`."""
    return f'label_replace({expression}, "{wanted}", "$1", "{label}", "(.+)")'


def or_zero(expression: str) -> str:
    """0 where there is no such series yet."""
    return f"({expression} or vector(0))"


def or_none_of(part: str, whole: str) -> str:
    """`part`, and 0 for every label set of `whole` that has no part."""
    return f"({part} or 0 * {whole})"


def named(expression: str, label: str, missing: str) -> str:
    """`label` reads `missing` where it is empty."""
    return f'label_replace({expression}, "{label}", "{missing}", "{label}", "^$")'


def _by(instrument: Instrument, by: tuple[str, ...]) -> str:
    for label in by:
        _known(instrument, label)
    return f" by ({', '.join(by)}) " if by else ""


def _expect(instrument: Instrument, kind: str) -> None:
    if instrument.kind != kind:
        raise ValueError(f"{instrument.name} is a {instrument.kind}, not a {kind}")


def _known(instrument: Instrument, label: str) -> None:
    if label in instrument.labels or label in SCRAPED:
        return
    if label == "le" and instrument.kind == "histogram":
        return
    if label == TEAM and instrument.metadata:
        return
    raise ValueError(f"{instrument.name} has no label {label!r} (it has: {', '.join(instrument.labels)})")


def _matcher(label: str, wanted: Wanted) -> str:
    match wanted:
        case Not(values):
            return f'!~"{"|".join(values)}"'
        case str():
            values = (wanted,)
        case _:
            values = wanted
    never = set(values) - VALUES.get(label, frozenset(values))
    if never:
        raise ValueError(f"the label {label!r} is never {', '.join(sorted(never))}")
    return f'="{wanted}"' if isinstance(wanted, str) else f'=~"{"|".join(values)}"'
