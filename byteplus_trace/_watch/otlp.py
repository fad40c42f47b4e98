"""
Bytes of an OTLP request become spans, or the states of breakers, within bounds.

What is sent is not trusted. A body is refused where it is too large, before and after it
is decompressed, where it is neither protobuf nor JSON, and where it does not parse. Of what
parses, every text, attribute and event counts against the bounds below; what is beyond them
is cut or omitted, and the span counts how often. A span without valid ids, or beyond the most
that one body may have, is rejected and counted, as OTLP's partial success says.

JSON is read by protobuf's own reader, with one difference: OTLP writes ids in hexadecimal
digits, where protobuf would have base64. A hexadecimal id is also valid base64, so what was
read as base64 is written as base64 again, and that is the hexadecimal text.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from .._telemetry import semconv as sc
from .breakers import Reading
from .spans import Event, Span, Status

BODY: Final = 20 * 1024 * 1024
"""Bytes of a body, compressed or not; a Collector's own limit."""
SPANS: Final = 20_000
"""Spans of one body."""
TEXT: Final = 16 * 1024
"""Characters of a text."""
CONTENT: Final = 512 * 1024
"""Characters of a captured conversation; the library itself writes at most half of it."""
SPAN: Final = 1024 * 1024
"""Characters of all texts of a span together."""
ATTRIBUTES: Final = 256
"""Attributes of a span, of an event, and items of a list."""
EVENTS: Final = 200
"""Events of a span."""
NAME: Final = 256
"""Characters of a name."""
DEPTH: Final = 6
"""Lists and maps inside one another."""
POINTS: Final = 10_000
"""Points of the breakers' series in one body."""

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

_CONTENT: Final = frozenset(
    {sc.INPUT_MESSAGES, sc.OUTPUT_MESSAGES, sc.SYSTEM_INSTRUCTIONS, sc.TOOL_DEFINITIONS}
)
_STATUSES: Final[tuple[Status, ...]] = ("unset", "ok", "error")
_BREAKER: Final = "modelark_breaker_state"


class RefusedError(Exception):
    """A body that is not taken: an HTTP status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Decoded:
    """The spans of a body, and how many were rejected."""

    spans: list[Span]
    rejected: int = 0


def media_type(content_type: str) -> str:
    """
    PROTOBUF or JSON, from a Content-Type.

    Raises:
        RefusedError: it is something else.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in {PROTOBUF, JSON}:
        raise RefusedError(
            415, f"OTLP over HTTP is {PROTOBUF} or {JSON}; this body says {kind[:NAME] or 'nothing'!r}."
        )
    return kind


def decompressed(body: bytes, encoding: str, most: int = BODY) -> bytes:
    """
    The body without its Content-Encoding; never more than `most` bytes of it are made.

    Raises:
        RefusedError: it is too large, not what its encoding says, or in an encoding other than gzip and deflate.
    """
    kind = encoding.strip().lower()
    if kind in {"", "identity"}:
        whole = body
    elif kind in {"gzip", "x-gzip", "deflate"}:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # by its header, gzip or zlib
        try:
            whole = inflater.decompress(body, most + 1)
        except zlib.error:
            raise RefusedError(400, f"The body is not {kind}, as its Content-Encoding says.") from None
        if not inflater.eof and len(whole) <= most:
            raise RefusedError(400, f"The body's {kind} ends too early.")
    else:
        raise RefusedError(415, f"The Content-Encoding is gzip, deflate or none, not {kind[:NAME]!r}.")
    if len(whole) > most:
        raise RefusedError(413, f"The body has more than {most:,} bytes: send smaller batches.")
    return whole


def spans_of(body: bytes, kind: str) -> Decoded:
    """
    The spans of a decompressed body of `/v1/traces`.

    Raises:
        RefusedError: it does not parse.
    """
    request = _parsed(body, kind, ExportTraceServiceRequest())
    hexadecimal = _from_json if kind == JSON else bytes.hex
    spans: list[Span] = []
    rejected = 0
    for resource in request.resource_spans:
        service = _service(resource.resource.attributes)
        for scope in resource.scope_spans:
            maker = sys.intern(scope.scope.name[:NAME])
            for at, each in enumerate(scope.spans):
                if len(spans) >= SPANS:
                    rejected += len(scope.spans) - at
                    break
                ids = hexadecimal(each.trace_id), hexadecimal(each.span_id), hexadecimal(each.parent_span_id)
                if _are_valid(*ids):
                    spans.append(_span(each, ids, service, maker))
                else:
                    rejected += 1
    return Decoded(spans, rejected)


def readings_of(body: bytes, kind: str) -> list[Reading]:
    """
    The states of breakers in a decompressed body of `/v1/metrics`, which may have other series too.

    Raises:
        RefusedError: it does not parse.
    """
    request = _parsed(body, kind, ExportMetricsServiceRequest())
    readings: list[Reading] = []
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name.replace(".", "_") != _BREAKER:
                    continue
                for point in metric.gauge.data_points[: POINTS - len(readings)]:
                    reading = _reading(point)
                    if reading is not None:
                        readings.append(reading)
    return readings


_RESPONSES: Final[dict[str, Any]] = {
    "traces": ExportTraceServiceResponse,
    "metrics": ExportMetricsServiceResponse,
    "logs": ExportLogsServiceResponse,
}


def response(signal: str, kind: str, rejected: int = 0) -> bytes:
    """The body of the answer 200, in the request's own media type."""
    message = _RESPONSES[signal]()
    if rejected:
        message.partial_success.rejected_spans = rejected
        message.partial_success.error_message = (
            f"Rejected: spans without valid ids, or beyond {SPANS:,} in one request."
        )
    return _written(message, kind)


def refusal(reason: str, kind: str) -> bytes:
    """The body of an answer that refuses: a `google.rpc.Status` with this message, in the request's own media type."""
    if kind == JSON:
        return json.dumps({"message": reason}).encode()
    text = reason.encode()[:8192]
    # Field 2, `message`, of a length that is written as a varint.
    size = bytearray()
    length = len(text)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return b"\x12" + bytes([*size, length]) + text


def _written(message: Any, kind: str) -> bytes:
    if kind == JSON:
        return str(json_format.MessageToJson(message, indent=None)).encode()
    return bytes(message.SerializeToString())


def _parsed(body: bytes, kind: str, message: Any) -> Any:
    try:
        if kind == JSON:
            json_format.Parse(body, message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError):
        # What a parser says of a body may echo it.
        raise RefusedError(400, f"The body is not the {kind} of an OTLP request.") from None
    return message


def _from_json(read_as_base64: bytes) -> str:
    return base64.b64encode(read_as_base64).decode("ascii").lower()


def _are_valid(trace_id: str, span_id: str, parent_id: str) -> bool:
    return (
        _is_id(trace_id, 32) and _is_id(span_id, 16) and (not parent_id or _is_id(parent_id, 16, zero=True))
    )


def _is_id(text: str, length: int, *, zero: bool = False) -> bool:
    if len(text) != length or not set(text) <= set("0123456789abcdef"):
        return False
    return zero or text.strip("0") != ""


class _Budget:
    """What of a span's texts there is still room for, and how often there was not enough."""

    __slots__ = ("room", "shortened")

    def __init__(self) -> None:
        self.room = SPAN
        self.shortened = 0

    def text(self, text: str, longest: int) -> str:
        longest = min(longest, self.room)
        if len(text) > longest:
            self.shortened += 1
            text = text[:longest] + "…"
        self.room = max(0, self.room - len(text))
        return text

    def first(self, items: Any, most: int) -> Iterable[Any]:
        if len(items) > most:
            self.shortened += len(items) - most
            return list(items[:most])
        return list(items)


def _span(sent: Any, ids: tuple[str, str, str], service: str, scope: str) -> Span:
    budget = _Budget()
    trace_id, span_id, parent_id = ids
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id="" if parent_id.strip("0") == "" else parent_id,
        name=budget.text(sent.name, NAME),
        kind=sent.kind if 0 <= sent.kind <= 5 else 0,
        start_ns=sent.start_time_unix_nano,
        end_ns=max(sent.end_time_unix_nano, sent.start_time_unix_nano),
        attributes=_attributes(sent.attributes, budget),
        events=[
            Event(budget.text(each.name, NAME), each.time_unix_nano, _attributes(each.attributes, budget))
            for each in budget.first(sent.events, EVENTS)
        ],
        status=_STATUSES[sent.status.code] if 0 <= sent.status.code < 3 else "unset",
        message=budget.text(sent.status.message, TEXT),
        service=service,
        scope=scope,
        shortened=budget.shortened + sent.dropped_attributes_count + sent.dropped_events_count,
    )


def _attributes(sent: Any, budget: _Budget) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in budget.first(sent, ATTRIBUTES):
        longest = CONTENT if each.key in _CONTENT else TEXT
        found[budget.text(each.key, NAME)] = _value(each.value, budget, longest, DEPTH)
    return found


def _value(sent: Any, budget: _Budget, longest: int, depth: int) -> Any:
    match sent.WhichOneof("value"):
        case "string_value":
            return budget.text(sent.string_value, longest)
        case "int_value":
            return sent.int_value
        case "double_value":
            return sent.double_value
        case "bool_value":
            return sent.bool_value
        case "bytes_value":
            return f"({len(sent.bytes_value)} bytes)"
        case "array_value" if depth:
            return [
                _value(each, budget, longest, depth - 1) for each in _within(sent.array_value.values, budget)
            ]
        case "kvlist_value" if depth:
            return {
                budget.text(each.key, NAME): _value(each.value, budget, longest, depth - 1)
                for each in _within(sent.kvlist_value.values, budget)
            }
        case "array_value" | "kvlist_value":
            budget.shortened += 1
            return "…"
    return None


def _within(items: Any, budget: _Budget) -> Iterator[Any]:
    """Items of a list, each of which takes some room, so that lists of lists do not grow without end."""
    for each in budget.first(items, ATTRIBUTES):
        if budget.room <= 0:
            budget.shortened += 1
            return
        budget.room -= 8
        yield each


def _service(attributes: Any) -> str:
    for each in attributes[:ATTRIBUTES]:
        if each.key == "service.name" and each.value.WhichOneof("value") == "string_value":
            return sys.intern(each.value.string_value[:NAME])
    return ""


def _reading(point: Any) -> Reading | None:
    labels = {each.key: each.value.string_value[:NAME] for each in point.attributes[:ATTRIBUTES]}
    value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
    if value not in {0, 1, 2} or not labels.get("target"):
        return None
    return Reading(labels["target"], labels.get("operation", ""), int(value), point.time_unix_nano)
