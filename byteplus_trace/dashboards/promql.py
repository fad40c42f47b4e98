"""
Questions to Prometheus, in the names of `_instruments.py`.

An expression is made from an `Instrument` and the names of its labels, never from text,
so a panel or rule that names a series or a label that does not exist, or a value that a
closed label never takes, cannot be built. What they are made of is known to Prometheus
2.42 and 3.x alike: no `histogram_avg`, no native histograms, no `info()`.

The two users differ in their window and in what they filter by: a `Lens` holds both.
Panels look through the dashboard's variables, rules through fixed windows.

**How things are counted.** `rate` and `increase` compare samples, so they never see what a
series shows in its first one: an error type that is met once adds nothing to them, ever.
They also guess beyond the first and the last sample. `Lens.each` is what is used instead, by
everything that counts. Of each series it takes the first of these that there is:

1. where the counter was reset in the window (a restart at the same address): `increase`;
2. where the series was there when the window began: the difference to its value then;
3. where its process was there before it, or began in the window: all of it;
4. else the difference to its lowest sample. That is a series whose history nobody saw: a new
   or emptied Prometheus, or a scrape that failed when the window began.

A process that has gone keeps its samples in the window, and so its counts. It was there
before a series where `modelark_build_info`, or another series of the same metric, was there
when the window began, or has more samples in it: a scrape that fails takes one from each.
So what is counted in windows that follow one another adds up to what happened.

What cannot be seen: a process that restarts at the same address, where a series shows at
least as much at first sight as it last did before. Created timestamps (Prometheus 3) can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

from .. import _facts
from .._instruments import BUILD_INFO, START_TIME, Instrument
from .._telemetry.points import TOKEN_TYPES

PROCESS = ("cluster", "namespace", "job", "instance")
"""What tells processes apart. Prometheus adds the last two to what it scrapes, and an operator's set-up the others."""

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
    "repeat": frozenset({"true", "false"}),
    "what": frozenset({"usage", "price"}),
    "by": frozenset({"retry", "fallback", "breaker"}),
}

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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
    """Such as `5m`, or a variable of Grafana's."""
    filters: tuple[tuple[str, str], ...] = ()
    """Label and matcher with its value, such as `("region", '=~"$region"')`."""

    def over(self, window: str) -> Lens:
        """The same filters, through another window."""
        return replace(self, window=window)

    def common(self, *instruments: Instrument) -> Lens:
        """With those filters alone that all the instruments have: series that are added or divided are chosen alike."""
        return replace(
            self,
            filters=tuple(
                (label, matcher)
                for label, matcher in self.filters
                if all(label in (*PROCESS, *instrument.labels) for instrument in instruments)
            ),
        )

    def without(self, *labels: str) -> Lens:
        """Unfiltered by these labels, which are there and mean something else in each of the series."""
        return replace(
            self, filters=tuple((label, matcher) for label, matcher in self.filters if label not in labels)
        )

    def rate(self, counter: Instrument, *by: str, **where: Wanted) -> str:
        """How much a second, summed by these labels; of a histogram, how many observations."""
        return f"{self.increase(counter, *by, **where)} / {self._seconds}"

    def increase(self, counter: Instrument, *by: str, **where: Wanted) -> str:
        """How much in the window, summed by these labels; of a histogram, how many observations."""
        return f"sum{_by(counter, by)}({self.each(counter, **where)})"

    def each(self, counter: Instrument, **where: Wanted) -> str:
        """How much in the window, of each series, its first sample included."""
        if counter.kind == "gauge":
            raise ValueError(f"{counter.name} is a gauge, which does not count")
        return self._counted(counter, "_count" if counter.kind == "histogram" else "", where)

    def seen(self, gauge: Instrument, *by: str) -> str:
        """How many series of a gauge there were at any time in the window."""
        _expect(gauge, "gauge")
        return f"count{_by(gauge, by)}(count_over_time({self._selector(gauge, '', {})}[{self.window}]))"

    def buckets(self, histogram: Instrument, *by: str, **where: Wanted) -> str:
        """How many observations in the window lie below each bound: a heat map's rows."""
        _expect(histogram, "histogram")
        return f"sum{_by(histogram, (*by, 'le'))}({self._counted(histogram, '_bucket', where)})"

    def quantile(self, share: float, histogram: Instrument, *by: str, **where: Wanted) -> str:
        """The value that this share of the observations stays below, such as 0.95; nothing where there are none."""
        return f"histogram_quantile({share:g}, {self.buckets(histogram, *by, **where)}) >= 0"

    def gauge(self, gauge: Instrument, *by: str, reduce: str = "sum", **where: Wanted) -> str:
        """A gauge as it stands."""
        _expect(gauge, "gauge")
        return f"{reduce}{_by(gauge, by)}({self._selector(gauge, '', where)})"

    @property
    def began(self) -> str:
        """When the window began, in Unix time."""
        if self.window.startswith("$"):
            # Grafana's windows are durations, which no version turns into a number: the clock is asked what it showed.
            return f"scalar(last_over_time(vector(time())[1ms:1ms] offset {self.window}))"
        return f"(time() - {self._seconds})"

    @property
    def _seconds(self) -> str:
        if self.window.startswith("$"):
            return f"(time() - {self.began})"
        return str(int(self.window[:-1]) * _UNITS[self.window[-1]])

    def _counted(self, counter: Instrument, suffix: str, where: dict[str, Wanted]) -> str:
        series = self._selector(counter, suffix, where)
        samples, process = f"{series}[{self.window}]", ", ".join(PROCESS)
        lifetime = " or ".join(
            f"1e9 * ({other} offset {self.window} >= bool 0) or count_over_time({other}[{self.window}])"
            for other in (
                self._selector(BUILD_INFO, "", {}),
                self._selector(counter, "_count" if suffix else "", {}),
            )
        )
        began = f"last_over_time({self._selector(START_TIME, '', {})}[{self.window}])"
        lifetime = f"max by ({process}) ({lifetime} or 1e9 * ({began} >= bool {self.began}))"
        return (
            f"increase({samples}) and resets({samples}) > 0"
            f" or max_over_time({samples}) - {series} offset {self.window}"
            f" or max_over_time({samples}) and count_over_time({samples}) < on ({process}) group_left () {lifetime}"
            f" or max_over_time({samples}) - min_over_time({samples})"
        )

    def _selector(self, instrument: Instrument, suffix: str, where: dict[str, Wanted]) -> str:
        matchers = [
            f"{label}{matcher}"
            for label, matcher in self.filters
            if label in instrument.labels or label in PROCESS
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
    """The sum of series of different kinds, each summed by the same labels."""
    kinds = " or ".join(
        f'label_replace({expression}, "kind", "{number}", "", "")'
        for number, expression in enumerate(expressions)
    )
    return f"sum by ({', '.join(by)}) ({kinds})"


def less(whole: str, part: str) -> str:
    """The whole without a part, which may not be there."""
    return f"(({whole}) - ({part}) or {whole})"


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
    if label in instrument.labels or label in PROCESS:
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
