"""Error codes and events that this version does not know are kept, counted, and change nothing else."""

from __future__ import annotations

import json

import httpx
import pytest
from prometheus_client import CollectorRegistry

RESPONSE = {"id": "resp_1", "status": "completed", "output": [{"type": "message"}]}
CREATED = {"type": "response.created", "response": {"id": "resp_1"}}
TEXT = {"type": "response.output_text.delta", "delta": "Rhine"}
DONE = {"type": "response.completed", "response": RESPONSE}


def refusal(code, status=400):
    return status, "application/json", json.dumps({"error": {"code": code, "message": "m"}}).encode()


def stream(*events):
    return 200, "text/event-stream", b"".join(b"data: %s\n\n" % json.dumps(e).encode() for e in events)


@pytest.mark.parametrize(
    ("code", "name"),
    [("SomethingNew", "SomethingNew"), ("SomethingNew.ep-2026-secret", "SomethingNew"), (1234, "1234")],
)
def test_an_unknown_code_is_kept_up_to_its_first_dot(caller, code, name):
    registry = CollectorRegistry()
    exchange, _ = caller.call("chat", [refusal(code)], registry=registry)

    assert (("error_code", name),) == exchange.unknown
    assert 1 == registry.get_sample_value("modelark_unknown_total", {"what": "error_code", "name": name})


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("AccountQuotaExceeded", 429),
        ("RateLimitExceeded.EndpointRPMExceeded", 429),
        ("ModelAccountTpmRateLimitExceeded", 429),
        ("InvalidEndpoint.NotFound", 404),
        ("InvalidParameter.UnsupportedModel", 400),
        ("InputTextSensitiveContentDetected", 400),
        ("InternalServiceError", 500),
    ],
)
def test_a_known_code_is_not_unknown(make_caller, code, status):
    assert () == make_caller(httpx, "sync").call("chat", [refusal(code, status)])[0].unknown


@pytest.mark.parametrize(
    ("api", "events", "unknown"),
    [
        ("responses", [CREATED, {"type": "response.telepathy.started"}, TEXT, DONE], ["response.telepathy.started"]),
        ("responses", [CREATED, {"type": "response.web_search_call.searching"}, TEXT, DONE], []),
        ("responses", [CREATED, {"type": "response.done"}, TEXT, DONE], []),
        ("responses", [CREATED, {"type": "a sentence, which may be content"}, TEXT, DONE], []),
        ("messages", [{"type": "message_start", "message": {"id": "m"}}, {"type": "message_hint"}, {"type": "ping"}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}], ["message_hint"]),
        ("images", [{"type": "image_generation.partial_succeeded", "url": "u"}, {"type": "image_generation.rated"}, {"type": "image_generation.completed"}], ["image_generation.rated"]),
    ],
)  # fmt: skip
def test_an_unknown_event_is_kept_and_is_no_output(caller, api, events, unknown):
    registry = CollectorRegistry()
    exchange, _ = caller.call(api, [stream(*events)], stream=True, registry=registry)

    assert "ok" == exchange.outcome
    assert tuple(unknown) == exchange.answer.unknown_events
    assert tuple(("event", name) for name in unknown) == exchange.unknown
    for name in unknown:
        assert 1 == registry.get_sample_value("modelark_unknown_total", {"what": "event", "name": name})


def test_no_stream_adds_more_than_64_names(make_caller):
    registry = CollectorRegistry()
    many = [{"type": f"response.new_{number}"} for number in range(100)]
    exchange, _ = make_caller(httpx, "sync").call(
        "responses", [stream(CREATED, *many, TEXT, DONE)], stream=True, registry=registry
    )

    assert 64 == len(exchange.answer.unknown_events)


def test_no_process_counts_more_than_64_names(make_caller):
    registry, caller = CollectorRegistry(), make_caller(httpx, "sync")
    for number in range(70):
        caller.call("chat", [refusal(f"New{number}")], registry=registry)

    names = {
        sample.labels["name"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "modelark_unknown_total"
    }
    assert (65, 6) == (len(names), names["other"])
