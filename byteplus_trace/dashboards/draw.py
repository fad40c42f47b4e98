"""
A page becomes Grafana's JSON, through Grafana's own builders.

The builders keep to the schema that the file is later checked against; what is decided here
is how things look: one palette for how calls end, legends as tables sorted by what is
largest, no lines across gaps in the data, thresholds only where somebody would act.

Classic dashboards (schema 42), not the newer `dashboardv2` that the SDK recommends with a
warning: only the classic ones are provisioned from files by every Grafana from 10 on.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from itertools import takewhile
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import common as common_builders
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common, dashboard
    from grafana_foundation_sdk.models import heatmap as heatmap_models
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from .panels import VARIABLES, Page, Panel, Query, Variable
from .promql import PROCESS

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "modelark"

# Series of these names have the same colour wherever they appear; the rest take the palette's next.
COLOURS = {
    "ok": "green",
    "rescued by a retry": "blue",
    "rescued by a fallback": "purple",
    "sent elsewhere at once": "light-blue",
    "failed": "red",
    "failed all the same": "red",
    "out of time": "orange",
    "cancelled by the caller": "#8e8e8e",
    "first": "blue",
    "repeats": "orange",
    "avoided": "green",
    "risked": "red",
    "before first output": "yellow",
    "after first output": "red",
    "generated": "green",
}

BREAKER_STATES = {"0": ("closed", "green"), "1": ("half-open", "yellow"), "2": ("open", "red")}


def drawn(page: Page) -> str:
    """The page as a file for Grafana, ending in a newline."""
    value = json.loads(json.dumps(_dashboard(page).build(), cls=JSONEncoder))
    _number(value["panels"])
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _dashboard(page: Page) -> builders.Dashboard:
    board = (
        builders.Dashboard(page.title)
        .uid(page.uid)
        .description(page.reading)
        .tags([TAG])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(_siblings())
        .with_variable(_source_variable())
    )
    for variable in VARIABLES:
        board = board.with_variable(_variable(variable))
    for row in page.rows:
        board = board.with_row(builders.Row(row.title))
        for panel in row.panels:
            board = board.with_panel(_panel(panel))
    return board


def _siblings() -> builders.DashboardLink:
    return (
        builders.DashboardLink("ModelArk dashboards")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )


def _source_variable() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _variable(variable: Variable) -> builders.QueryVariable:
    before = takewhile(lambda other: other is not variable, VARIABLES)
    chosen = ", ".join(f'{other.label}=~"${other.label}"' for other in before if other.label in PROCESS)
    query = f"label_values({variable.source.name}{{{chosen}}}, {variable.label})"
    return (
        builders.QueryVariable(variable.label)
        .label(variable.title)
        .datasource(SOURCE)
        .query(query)
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all"))
    )


def _number(panels: list[dict[str, Any]]) -> None:
    """Give the panels the ids that links to them need; the builders give none."""
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number


def _panel(panel: Panel) -> Any:
    built = _KINDS[panel.kind](panel)
    built = (
        built.title(panel.title)
        .description(_reading(panel))
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(4 if panel.kind == "figure" else 9)
    )
    for number, query in enumerate(panel.queries):
        built = built.with_target(_target(panel, query, "ABCDEFGH"[number]))
    return built


def _reading(panel: Panel) -> str:
    unfiltered = [label for label in panel.unfiltered if label not in PROCESS]
    return f"{panel.reading} Not filtered by {' or '.join(unfiltered)}." if unfiltered else panel.reading


def _target(panel: Panel, query: Query, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expression).ref_id(ref).datasource(SOURCE)
    if query.legend:
        target = target.legend_format(query.legend)
    if query.exemplars:
        target = target.exemplar(True)
    match panel.kind:
        case "figure":
            return target.instant()
        case "table":
            return target.instant().format(PromQueryFormat.TABLE)
        case "heatmap":
            return target.range().format(PromQueryFormat.HEATMAP)
    return target.range()


def _lines(panel: Panel) -> Any:
    built = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .min(0)
        .legend(_legend())
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .no_value("none in this time")
    )
    if panel.at_most is not None:
        built = built.max(panel.at_most)
    for query in panel.queries:
        if query.legend in COLOURS:
            built = built.override_by_name(query.legend, [_fixed(COLOURS[query.legend])])
    return built


def _stacked(panel: Panel) -> Any:
    return (
        _lines(panel)
        .fill_opacity(60)
        .line_width(0)
        .stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    )


def _figure(panel: Panel) -> Any:
    steps = [dashboard.Threshold(value=None, color="green" if panel.warn_above else "blue")]
    if panel.warn_above:
        amber, red = panel.warn_above
        steps += [
            dashboard.Threshold(value=amber, color="orange"),
            dashboard.Threshold(value=red, color="red"),
        ]
    return (
        stat.Panel()
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .thresholds(builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .no_value("none")
    )


def _heatmap(panel: Panel) -> Any:
    return (
        heatmap.Panel()
        .calculate(False)
        .cell_gap(1)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .reverse(False)
        )
        .y_axis(heatmap.YAxisConfig().unit(panel.unit).axis_placement(common.AxisPlacement.LEFT))
        .tooltip(heatmap.HeatmapTooltip().mode(common.TooltipDisplayMode.SINGLE).y_histogram(True))
        .exemplars_color("rgba(255, 0, 255, 0.7)")
        .show_legend()
    )


def _states(panel: Panel) -> Any:
    states = {
        value: dashboard.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(BREAKER_STATES.items())
    }
    return (
        statetimeline.Panel()
        .mappings([dashboard.ValueMap(options=states)])
        .color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(85)
        .line_width(0)
        .legend(_legend(table=False))
        .no_value("no policy, so no breakers")
    )


def _table(panel: Panel) -> Any:
    (query,) = panel.queries
    columns = {"excludeByName": {"Time": True}, "renameByName": {"Value": query.legend}}
    return (
        table.Panel()
        .with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=columns))
        .sort_by([common_builders.TableSortByFieldState().display_name(query.legend).desc(True)])
        .show_header(True)
        .no_value("none in this time")
    )


_KINDS: dict[str, Callable[[Panel], Any]] = {
    "lines": _lines,
    "stacked": _stacked,
    "figure": _figure,
    "heatmap": _heatmap,
    "states": _states,
    "table": _table,
}


def _legend(*, table: bool = True) -> common_builders.VizLegendOptions:
    legend = common_builders.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    if not table:
        return legend.display_mode(common.LegendDisplayMode.LIST)
    return (
        legend.display_mode(common.LegendDisplayMode.TABLE)
        .calcs(["lastNotNull", "max"])
        .sort_by("Max")
        .sort_desc(True)
    )


def _fixed(colour: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
