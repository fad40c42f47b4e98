"""
What leaves us is OpenTelemetry's conventions to the letter: names, types, values and units of a day of real calls.

`schemas/conventions.toml` holds the conventions. What of ours is not in them is in a namespace of our own, or in one of the
tables below, with its reason. OpenTelemetry's Weaver, which checks the same, is in no package registry.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind

import byteplus_trace
from byteplus_trace import Policy, Retry, Target
from byteplus_trace.testing import ModelArk

from .conftest import Recorded

CONVENTIONS = tomllib.loads((Path(__file__).parent / "schemas" / "conventions.toml").read_text())

OWN_ATTRIBUTES = "byteplus.modelark."
OWN_METRICS = "modelark."

ADDED: Mapping[str, str] = {
    "cloud.region": "the general conventions: of a call to a cloud's API, where the called destination is",
    "user.id": "the general conventions: the user that `metadata(user=...)` names",
}
"""Of the conventions, on spans whose kind does not list them."""

ADDED_TO: Mapping[str, Mapping[str, str]] = {
    "embeddings": {
        "gen_ai.usage.text.input_tokens": "ModelArk's multimodal embeddings say how their input splits",
        "gen_ai.usage.image.input_tokens": "likewise",
        "gen_ai.input.messages": "with `capture_content=True`: no other attribute is for what is embedded",
        "gen_ai.response.id": "ModelArk's embeddings have an id, by which its support finds them",
    },
}
"""The same, on spans of one kind alone."""

OWN_VALUES: Mapping[str, Mapping[str, str]] = {
    "gen_ai.provider.name": {
        "byteplus.modelark": "no predefined one is ModelArk",
    },
    "gen_ai.output.type": {
        "video": "no predefined one is a video",
    },
}
"""Values that the conventions do not predefine, where none of theirs applies."""

TYPES = {"string": str, "int": int, "double": float, "boolean": bool}

MODEL = "seed-1-6-250915"
ASKED = [{"role": "user", "content": "Name three rivers."}]
TOOLS = [
    {"type": "function", "function": {"name": "rivers", "parameters": {"type": "object", "properties": {}}}}
]
CHAT = {
    "model": MODEL,
    "messages": [{"role": "system", "content": "Be brief."}, *ASKED],
    "temperature": 1,
    "top_p": 0.5,
    "frequency_penalty": 1,
    "presence_penalty": 0.5,
    "max_tokens": 99,
    "seed": 7,
    "stop": ["sea"],
    "n": 2,
    "tools": TOOLS,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
}
EMBEDDING = {"model": "skylark-embedding-vision-251215", "dimensions": 1024, "encoding_format": "float"}
VIDEO = {"model": "seedance-1-0-pro-250528", "content": [{"type": "text", "text": "a river"}]}
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def a_day(ark: ModelArk) -> None:
    """A call of every kind, and of every way to end."""
    sg = ark.region("ap-southeast-1")
    with httpx.Client(headers={"Authorization": "Bearer key"}, timeout=30) as client:

        def post(path, **body):
            return client.post(sg.base_url + path, json=body)

        split = {"text_tokens": 1, "image_tokens": 1, "audio_tokens": 1, "cached_tokens": 1}
        sg.answers("Rhine", usage={"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": split}, times=1)  # fmt: skip
        post("/chat/completions", **CHAT)
        post("/chat/completions", **CHAT, **STREAMED)
        with client.stream("POST", sg.base_url + "/chat/completions", json=CHAT | STREAMED) as reply:
            next(reply.iter_bytes(16))
        response = post("/responses", model=MODEL, input="Name three rivers.", instructions="Be brief.")
        made = response.json()["id"]
        post(
            "/responses",
            model=MODEL,
            input="And two more?",
            previous_response_id=made,
            conversation="c-1",
            **STREAMED,
        )
        client.get(f"{sg.base_url}/responses/{made}")
        client.get(f"{sg.base_url}/responses/resp_none")
        with byteplus_trace.metadata(user="u-7", session="s-1", team="search"):
            sg.answers("Rhine", usage={"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 1}, times=1)  # fmt: skip
            post("/messages", model=MODEL, max_tokens=64, top_k=40, messages=ASKED)
        post("/messages", model=MODEL, max_tokens=64, messages=ASKED, stream=True)
        post("/embeddings", **EMBEDDING, input=["one river"])
        post("/embeddings/multimodal", **EMBEDDING, input=[{"type": "text", "text": "one river"}])
        post(
            "/images/generations",
            model="seedream-4-0-250828",
            prompt="a river",
            size="2K",
            seed=3,
            watermark=True,
        )
        task = post("/contents/generations/tasks", **VIDEO).json()["id"]
        client.get(f"{sg.base_url}/contents/generations/tasks/{task}")
        client.get(f"{sg.base_url}/models")
        client.request("BREW", f"{sg.base_url}/models")
        sg.fails(429, code="RateLimitExceeded.EndpointRPMExceeded", times=1)
        post("/embeddings", **EMBEDDING, input=["one river"])
        sg.fails(503, code="ServerOverloaded")
        post("/chat/completions", model=MODEL, messages=ASKED)
        sg.recovers()
        ark.region("eu-west-1").refuses()
        sg.resets()
        with pytest.raises(httpx.TransportError):
            post("/chat/completions", model=MODEL, messages=ASKED)


@pytest.fixture(scope="module")
def day():
    """The spans and the metrics of that day."""
    recorded, reader = Recorded(), InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    with ModelArk() as ark:
        targets = [Target(each.name, region=each.name, base_url=each.base_url, messages_base_url=each.base_url, api_key="key") for each in ark.regions]  # fmt: skip
        byteplus_trace.instrument(
            tracer_provider=recorded.provider,
            registry=recorded.registry,
            meter_provider=meters,
            metrics="both",
            base_urls=ark.base_urls,
            policy=Policy(targets, retry=Retry(per_target=0)),
            capture_content=True,
            token_histograms=True,
        )
        try:
            a_day(ark)
            spans = recorded.spans
            scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
        finally:
            byteplus_trace.uninstrument()
            meters.shutdown()
    return spans, [(scope, metric) for scope in scopes for metric in scope.metrics]


@pytest.fixture
def spans(day):
    return day[0]


@pytest.fixture
def metrics(day):
    return [metric for _, metric in day[1]]


def kind_of(span):
    """The name of its kind in the conventions; None of a span that is none of theirs."""
    operation = span.attributes.get("gen_ai.operation.name")
    if operation is None:
        return "http" if "http.request.method" in span.attributes else None
    return next(name for name, kind in CONVENTIONS["spans"].items() if operation in kind["operations"])


def fits(value, kind):
    if kind == "any":
        return isinstance(value, str)  # JSON, which the conventions allow on spans
    if kind == "string[]":
        return isinstance(value, tuple) and all(type(each) is str for each in value)
    return type(value) is TYPES[kind]


def own_values(attributes):
    """(attribute, value) of an attribute with predefined values, where the value is none of them."""
    predefined = CONVENTIONS["values"]
    return {(name, value) for name, value in attributes.items() if name in predefined and value not in predefined[name]}  # fmt: skip


def test_the_day_has_every_kind_of_span_and_every_attribute_that_we_document(spans):
    """Otherwise the tests below would check less than what leaves us."""
    from scripts.reference import ATTRIBUTES

    emitted = {name for span in spans for name in span.attributes}
    documented = {each.name for each in ATTRIBUTES if not each.name.startswith(OWN_ATTRIBUTES)}

    assert set(CONVENTIONS["spans"]) == {kind_of(span) for span in spans}
    assert set() == documented - emitted


def test_every_attribute_is_in_the_conventions_of_its_kind_of_span_or_is_ours(spans):
    strange = set()
    for span in spans:
        name = kind_of(span)
        kind = CONVENTIONS["spans"][name]
        listed = {*kind["required"], *kind["other"], *ADDED, *ADDED_TO.get(name, ())}
        strange |= {
            (name, attribute)
            for attribute in span.attributes
            if not attribute.startswith(OWN_ATTRIBUTES) and attribute not in listed
        }

    assert set() == strange


def test_every_kind_of_span_has_what_the_conventions_require(spans):
    missing = {
        (kind_of(span), required)
        for span in spans
        for required in CONVENTIONS["spans"][kind_of(span)]["required"]
        if required not in span.attributes
    }

    assert set() == missing


def test_every_attribute_has_its_type(spans):
    wrong = {
        (name, type(value).__name__)
        for span in spans
        for name, value in span.attributes.items()
        if not name.startswith(OWN_ATTRIBUTES) and not fits(value, CONVENTIONS["attributes"][name])
    }

    assert set() == wrong


def test_every_value_is_predefined_or_one_of_ours_with_a_reason(spans, metrics):
    emitted = [span.attributes for span in spans]
    emitted += [point.attributes for metric in metrics for point in metric.data.data_points]

    found = set().union(*map(own_values, emitted))

    assert {(name, value) for name, values in OWN_VALUES.items() for value in values} == found


def test_a_span_has_the_name_and_the_kind_of_the_conventions(spans):
    for span in spans:
        attributes = span.attributes
        if kind_of(span) == "http":
            method = attributes["http.request.method"]
            assert ("HTTP" if method == "_OTHER" else method) == span.name
        else:
            named = [attributes["gen_ai.operation.name"], attributes.get("gen_ai.request.model")]
            assert " ".join(each for each in named if each) == span.name
        assert SpanKind.CLIENT is span.kind


def test_every_exception_is_still_one(spans):
    """An exception goes when the conventions have it, or when it no longer leaves us."""
    emitted = {(kind_of(span), name) for span in spans for name in span.attributes}
    for name in ADDED:
        assert name in {attribute for _, attribute in emitted}
    for kind, names in ADDED_TO.items():
        listed = CONVENTIONS["spans"][kind]
        for name in names:
            assert (kind, name) in emitted
            assert name not in {*listed["required"], *listed["other"]}


def test_every_metric_has_the_kind_unit_and_attributes_of_the_conventions_or_is_ours(metrics):
    common = CONVENTIONS["metric_attributes"]
    wrong = []
    for metric in metrics:
        if metric.name.startswith(OWN_METRICS):
            continue
        convention = CONVENTIONS["metrics"][metric.name]
        listed = {*common["required"], *common["other"], *convention["also"], *ADDED}
        if (convention["kind"], convention["unit"]) != (type(metric.data).__name__, metric.unit):
            wrong.append((metric.name, type(metric.data).__name__, metric.unit))
        for point in metric.data.data_points:
            wrong += [(metric.name, name) for name in point.attributes if name not in listed]
            wrong += [(metric.name, name) for name in common["required"] if name not in point.attributes]

    assert [] == wrong
    assert {*CONVENTIONS["metrics"]} - {metric.name for metric in metrics} == {
        # One observation a gap would cost a fifth of reading a chunk: see _telemetry/meter.py.
        "gen_ai.client.inference.time_per_output_chunk"
    }


def test_a_duration_is_what_its_span_lasted(spans, metrics):
    lasted = sum((span.end_time - span.start_time) / 1e9 for span in spans if kind_of(span) == "inference")
    (metric,) = [each for each in metrics if each.name == "gen_ai.client.inference.duration"]

    assert sum(point.sum for point in metric.data.data_points) == pytest.approx(lasted, rel=1e-6)


def test_the_schema_is_one_that_opentelemetry_has(day):
    spans, metrics = day
    known = {schema.value for schema in Schemas}

    assert {span.instrumentation_scope.schema_url for span in spans} <= known
    assert {scope.scope.schema_url for scope, _ in metrics} <= known


@pytest.mark.parametrize("name", [n for n in CONVENTIONS["attributes"] if not n.startswith("gen_ai.")])
def test_what_is_no_genai_attribute_is_in_opentelemetrys_own_list(name):
    """Of the package `opentelemetry-semantic-conventions`; the GenAI names have left it."""
    first = name.split(".", maxsplit=1)[0]
    constants = importlib.import_module(f"opentelemetry.semconv._incubating.attributes.{first}_attributes")

    assert name in {value for value in vars(constants).values() if isinstance(value, str)}
