"""
What a dashboard is here, as values: a page of rows of panels, each a question and its queries.

`draw.py` turns a page into Grafana's JSON. A panel's title says what it answers, `reading` says
how to read it, and no panel is without a unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._instruments import ATTEMPTS, BUILD_INFO, OPERATIONS, Instrument
from .promql import Lens

Kind = Literal["lines", "stacked", "figure", "heatmap", "states", "table"]

WIDTH = 24
"""Of Grafana's grid."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and the legend of its series; in a table, the column of its values."""

    expression: str
    legend: str = ""
    exemplars: bool = False
    """Points that link to a trace, from histograms that carry them."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One question, and how its answer is read."""

    title: str
    reading: str
    kind: Kind
    unit: str
    queries: tuple[Query, ...]
    width: int = 8
    at_most: float | None = None
    """The axis ends here: 1 for shares."""
    warn_above: tuple[float, float] | None = None
    """Of a figure: amber from the first, red from the second."""

    @property
    def unfiltered(self) -> tuple[str, ...]:
        """The choices that change nothing here, because the series do not have them all."""
        asked = " ".join(query.expression for query in self.queries)
        return tuple(variable.label for variable in VARIABLES if f"${variable.label}" not in asked)


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A dashboard."""

    uid: str
    title: str
    reading: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of every dashboard: a label, its title, and the series whose values it offers."""

    label: str
    title: str
    source: Instrument


VARIABLES = (
    Variable("cluster", "Cluster", BUILD_INFO),
    Variable("namespace", "Namespace", BUILD_INFO),
    Variable("job", "Service", BUILD_INFO),
    Variable("instance", "Process", BUILD_INFO),
    Variable("operation", "Operation", OPERATIONS),
    Variable("model", "Model", OPERATIONS),
    # Where every call of a region fails and is rescued elsewhere, its attempts alone name it.
    Variable("region", "Region", ATTEMPTS),
)
"""Each offers what there is under the choices before it. A label that is nowhere offers nothing, and filters nothing."""

_FILTERS = tuple((variable.label, f'=~"${variable.label}"') for variable in VARIABLES)

NOW = Lens("$__rate_interval", _FILTERS)
"""At each moment of the chart."""

WHOLE = Lens("$__range", _FILTERS)
"""Over all the time shown: one figure."""


def lines(
    title: str, reading: str, unit: str, *queries: Query, width: int = 8, at_most: float | None = None
) -> Panel:
    return Panel(title, reading, "lines", unit, queries, width, at_most)


def stacked(title: str, reading: str, unit: str, *queries: Query, width: int = 8) -> Panel:
    return Panel(title, reading, "stacked", unit, queries, width)


def figure(
    title: str,
    reading: str,
    unit: str,
    expression: str,
    *,
    warn_above: tuple[float, float] | None = None,
    width: int = 4,
) -> Panel:
    """One number for the time shown, six to a row."""
    return Panel(title, reading, "figure", unit, (Query(expression, title),), width, warn_above=warn_above)
