"""None of our own faults reach the call."""

import pytest

from byteplus_trace import Policy, Target
from byteplus_trace._edge import instrumentation as built
from byteplus_trace._edge import router
from byteplus_trace._edge.execution import Executor
from byteplus_trace._edge.passthrough import SingleSend
from byteplus_trace._telemetry import guard
from byteplus_trace._wire.body import Body
from byteplus_trace._wire.chat import ChatReader

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}


def broken(*args, **kwargs):
    raise RuntimeError("a bug")


@pytest.fixture(
    params=[
        (built, "recognise"),
        (SingleSend, "__init__"),
        (Body, "__init__"),
        (ChatReader, "document"),
        (ChatReader, "answer"),
        (built.Recorder, "begin"),
    ],
    ids=lambda place: place[1],
)
def fault(request, monkeypatch):
    place, name = request.param
    monkeypatch.setattr(place, name, broken)
    guard.strict = False


def test_a_fault_of_ours_costs_telemetry_and_never_the_call(fault, http, instrument, recorded, sg, caplog):
    instrument()

    reply = http.post(sg + "/chat/completions", CHAT)

    assert 200 == reply.status_code
    assert reply.json()["choices"]
    assert recorded.series("modelark_telemetry_errors_total") > 0


def test_a_fault_before_a_routed_send_costs_the_policy_and_never_the_call(
    monkeypatch, http, instrument, recorded, sg, ark
):
    monkeypatch.setattr(Executor, "prepare", broken)
    guard.strict = False
    instrument(
        policy=Policy([Target("sg", region="ap-southeast-1", base_url=ark.base_url("ap-southeast-1"))])
    )

    reply = http.post(sg + "/chat/completions", CHAT)

    assert 200 == reply.status_code
    assert reply.json()["choices"]
    assert 1 == recorded.series("modelark_telemetry_errors_total", where="performing a call")


@pytest.mark.parametrize("routed", [True, False])
@pytest.mark.parametrize(
    "place",
    [
        (built, "recognise"),
        (router, "plan"),
        (built, "Observer"),
        (SingleSend, "__init__"),
        (Executor, "prepare"),
    ],
    ids=lambda place: place[1],
)
def test_whatever_fails_before_a_send_portkeys_headers_stay_and_the_gauge_comes_down(
    monkeypatch, http, instrument, recorded, sg, ark, place, routed
):
    monkeypatch.setattr(*place, broken)
    guard.strict = False
    instrument(policy=Policy([Target("sg", region="ap-southeast-1", base_url=sg)]) if routed else None)

    reply = http.post(sg + "/chat/completions", CHAT, headers={"x-portkey-metadata": '{"_user": "u-7"}'})

    assert 200 == reply.status_code
    (received,) = ark.region("ap-southeast-1").requests
    assert not [name for name in received.headers if name.startswith("x-portkey")]
    assert 0 == recorded.series("modelark_operations_in_flight")


def test_a_call_that_could_not_be_planned_is_told_all_the_same(monkeypatch, http, instrument, recorded, sg):
    monkeypatch.setattr(router, "plan", broken)
    guard.strict = False
    instrument(policy=Policy([Target("sg", region="ap-southeast-1", base_url=sg)]))

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code

    assert "ok" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert 1 == recorded.series("modelark_telemetry_errors_total", where="planning a call")


@pytest.mark.parametrize("header", ["[" * 99999, '{"_user": "' + "\\ud83d" + '"}', "{"])
def test_no_header_of_portkeys_is_too_odd_to_stay_here(http, instrument, recorded, sg, ark, header):
    instrument()

    http.post(sg + "/chat/completions", CHAT, headers={"x-portkey-metadata": header[:50_000]})

    (received,) = ark.region("ap-southeast-1").requests
    assert not [name for name in received.headers if name.startswith("x-portkey")]
    assert 1 == len(recorded.logical)


@pytest.mark.parametrize(
    ("reading", "stream"),
    [("event", True), ("document", False), ("answer", False), ("answer", True)],
)
def test_a_reply_that_we_cannot_read_is_not_paid_for_twice(
    monkeypatch, http, instrument, recorded, sg, ark, reading, stream
):
    monkeypatch.setattr(ChatReader, reading, broken)
    guard.strict = False
    targets = [
        Target(region, region=region, base_url=ark.base_url(region), api_key="k")
        for region in ("ap-southeast-1", "eu-west-1")
    ]
    instrument(policy=Policy(targets))

    body = b"".join(http.parts(sg + "/chat/completions", {**CHAT, "stream": stream}))

    assert b"choices" in body
    assert 1 == len(ark.requests)
    assert recorded.series("modelark_telemetry_errors_total") > 0


@pytest.fixture
def logged(caplog):
    """What the log says of faults, and the exceptions that it shows with them."""
    guard._last_logged.clear()
    return lambda: [(each.getMessage(), str(each.exc_info[1])) for each in caplog.records if each.exc_info]


def test_an_on_exchange_that_raises_is_logged_as_the_users_and_swallowed(
    http, instrument, recorded, sg, logged
):
    guard.strict = False
    instrument(on_exchange=broken)

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code

    assert 1 == recorded.series("modelark_operations_total", outcome="ok")
    assert 1 == recorded.series("modelark_telemetry_errors_total", where="on_exchange")
    ((message, error),) = logged()
    assert "the function passed to instrument() as on_exchange= raised" in message
    assert "report" not in message
    assert "a bug" == error


def test_a_redact_that_raises_loses_the_content_and_not_the_span(http, instrument, recorded, sg, logged):
    guard.strict = False
    instrument(capture_content=True, redact=broken)

    assert 200 == http.post(sg + "/chat/completions", CHAT).status_code

    span = recorded.one
    assert "gen_ai.usage.input_tokens" in span.attributes
    assert "Name three rivers" not in span.to_json()
    assert 1 == recorded.series("modelark_telemetry_errors_total", where="redact")
    ((message, error),) = logged()
    assert "the function passed to instrument() as redact= raised" in message
    assert "report" not in message
    assert "a bug" == error
