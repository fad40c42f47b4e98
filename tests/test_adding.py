"""What is added stands in every place that CONTRIBUTING names for it. A failure names the place that was forgotten."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import byteplus_trace
from byteplus_trace import testing
from byteplus_trace._apis import APIS
from byteplus_trace._facts import Call
from byteplus_trace._fake import handler
from byteplus_trace._instruments import INSTRUMENTS, Instrument
from byteplus_trace._policy.warnings import SERVED
from byteplus_trace._prices import table
from byteplus_trace._regions import MODELARK, REGIONS
from byteplus_trace._telemetry.collectors import GAUGE_MODES
from byteplus_trace._telemetry.zero_series import BEGIN_LATER, Targets, at_start, of_call
from byteplus_trace._wire.families import family_of

ROOT = Path(__file__).parent.parent
PACKAGE = Path(byteplus_trace.__file__).parent
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
# Rows for which the service has no API: an SDK has the method, the service answers 404.
NOT_SERVED = {("GET", "/models/{id}")}


def forgotten(**places: bool) -> list[str]:
    """The places where something does not stand; a path is written with `__` for `/`."""
    return [place.replace("__", "/") for place, stands in places.items() if not stands]


@pytest.mark.parametrize("api", APIS, ids=lambda api: f"{api.method} {api.pattern}")
def test_an_api_stands_everywhere(api):
    served = {(row.method, row.path.pattern.replace("[^/]+", "{id}")) for row in handler.ROUTES}
    asked = (api.method, api.pattern)

    assert not forgotten(
        _wire__families=api.form is None or family_of(api) is not None,
        _fake__handler=(asked in served) != (asked in NOT_SERVED),
        docs__reference=f"| `{api.method} {api.pattern}` | {api.operation} | `{api.name}` |" in REFERENCE,
    )


@pytest.mark.parametrize(
    "region", [row for row in REGIONS if row.provider == MODELARK], ids=lambda row: row.id
)
def test_a_region_stands_everywhere(region):
    assert not forgotten(
        _policy__warnings=region.id in SERVED,
        testing=region.id in testing.REGIONS,
        README=region.id in (ROOT / "README.md").read_text(encoding="utf-8"),
    )


def begun() -> set[Instrument]:
    """The series that stand at 0 from the start, or once such calls were made."""
    targets = Targets((("sg", "ap-southeast-1"), ("eu", "eu-west-1")))
    calls = [
        Call(
            api.operation, api.name, api.method, f"https://ark.example{api.pattern}", "ark.example", 443, api.pattern,
            "ap-southeast-1", MODELARK, model="seed-1-6-250915", stream=api.streams,
        )
        for api in APIS
    ]  # fmt: skip
    return {row for row, _ in at_start(targets)} | {row for one in calls for row, _ in of_call(one, targets)}


BEGUN = begun()


@pytest.mark.parametrize("row", INSTRUMENTS, ids=lambda row: row.name)
def test_a_series_stands_everywhere(row):
    assert not forgotten(
        _telemetry__zero_series=(row in BEGUN) != (row in BEGIN_LATER),
        _telemetry__collectors__GAUGE_MODES=row.kind != "gauge" or row.name in GAUGE_MODES,
        docs__reference=f"| `{row.name}` | {row.kind} | {', '.join(row.labels)}" in REFERENCE,
    )


def attributes() -> set[str]:
    """The names of attributes that are written in the telemetry wing."""
    texts = {
        node.value
        for path in (PACKAGE / "_telemetry").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if re.fullmatch(r"(gen_ai|byteplus)\.[a-z_.]+[a-z]", text)}


@pytest.mark.parametrize("name", sorted(attributes()))
def test_an_attribute_or_a_metric_of_opentelemetry_is_explained(name):
    assert not forgotten(scripts__reference=f"`{name}`" in REFERENCE)


@pytest.mark.parametrize("price", table().rows, ids=lambda price: price.ids[0])
def test_a_price_has_its_source_and_its_day(price):
    assert not forgotten(prices__source=bool(price.source.strip()), prices__read=price.read is not None)
