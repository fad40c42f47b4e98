"""Spans, as programs send them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from byteplus_trace._watch import otlp

SECOND = 1_000_000_000
NOON = 1_790_000_000 * SECOND
MODEL = "seed-2-0-lite-260428"


def any_value(value):
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case str():
            return AnyValue(string_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[any_value(each) for each in value]))
        case dict():
            return AnyValue(kvlist_value=KeyValueList(values=key_values(value)))
    return AnyValue()


def key_values(attributes):
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def request_of(*spans, service="shop"):
    """A request of OTLP. A span is a dict of the proto's fields; attributes are plain, events are (name, attributes)."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(key_values({"service.name": service}))
    scope = resource.scope_spans.add()
    scope.scope.name = "byteplus_trace"
    for number, each in enumerate(spans, 1):
        fields = {
            "trace": 1,
            "id": number,
            "parent": 0,
            "at": 0.0,
            "lasts": 0.25,
            "attributes": {},
            "events": (),
            "error": False,
            **each,
        }
        span = scope.spans.add()
        span.trace_id = fields["trace"].to_bytes(16, "big")
        span.span_id = fields["id"].to_bytes(8, "big")
        if fields["parent"]:
            span.parent_span_id = fields["parent"].to_bytes(8, "big")
        span.name = fields.get("name", "chat")
        span.kind = 3
        span.start_time_unix_nano = NOON + int(fields["at"] * SECOND)
        span.end_time_unix_nano = NOON + int((fields["at"] + fields["lasts"]) * SECOND)
        span.attributes.extend(key_values(fields["attributes"]))
        if fields["error"]:
            span.status.code = 2
        for name, attributes in fields["events"]:
            span.events.add(
                name=name, time_unix_nano=span.start_time_unix_nano, attributes=key_values(attributes)
            )
    return request


def spans_of(*spans, **options):
    return otlp.spans_of(request_of(*spans, **options).SerializeToString(), otlp.PROTOBUF).spans


def a_call(
    number=1, *, trace=None, at=0.0, lasts=0.25, events=(), error=False, parent=0, name=None, **attributes
):
    """The fields of a call's span; attributes by their short names."""
    names = {
        "model": "gen_ai.request.model",
        "operation": "gen_ai.operation.name",
        "region": "cloud.region",
        "outcome": "byteplus.modelark.outcome",
        "code": "byteplus.modelark.error.code",
        "first": "gen_ai.response.time_to_first_chunk",
        "tokens_in": "gen_ai.usage.input_tokens",
        "tokens_out": "gen_ai.usage.output_tokens",
        "cost": "byteplus.modelark.cost_usd",
        "team": "byteplus.modelark.metadata.team",
        "user": "user.id",
        "session": "gen_ai.conversation.id",
        "request_id": "byteplus.modelark.request_id",
        "target": "byteplus.modelark.target",
        "api": "byteplus.modelark.api",
    }
    usual = {
        "model": MODEL,
        "operation": "chat",
        "region": "ap-southeast-1",
        "outcome": "ok",
        "api": "chat_completions",
    }
    found = {names.get(key, key): value for key, value in {**usual, **attributes}.items()}
    return {
        "trace": trace or number,
        "id": number,
        "parent": parent,
        "name": name or f"{found['gen_ai.operation.name']} {found['gen_ai.request.model']}",
        "at": at,
        "lasts": lasts,
        "attributes": found,
        "events": events,
        "error": error or found["byteplus.modelark.outcome"] == "error",
    }


def an_attempt(
    number,
    parent,
    *,
    trace=1,
    cause="initial",
    target="sg",
    region="ap-southeast-1",
    status=200,
    error="",
    at=0.0,
    lasts=0.1,
):
    attributes = {
        "http.request.method": "POST",
        "cloud.region": region,
        "byteplus.modelark.target": target,
        "byteplus.modelark.attempt.cause": cause,
        "http.response.status_code": status,
        **({"error.type": error} if error else {}),
    }
    return {
        "trace": trace,
        "id": number,
        "parent": parent,
        "name": "POST",
        "at": at,
        "lasts": lasts,
        "attributes": attributes,
        "error": bool(error),
    }


@pytest.fixture
def make():
    """make.call(), make.attempt(), make.request(...), make.spans(...): see the functions above."""
    return SimpleNamespace(
        call=a_call, attempt=an_attempt, request=request_of, spans=spans_of, noon=NOON, model=MODEL
    )


@pytest.fixture
def exported(recorded):
    """exported(): the spans of the calls that were made, as a receiver has them."""

    def now():
        body = encode_spans(recorded.spans).SerializeToString()
        return otlp.spans_of(body, otlp.PROTOBUF).spans

    return now
