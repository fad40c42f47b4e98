"""A day on call: what each common trouble looks like to the caller, in the series and in the log."""

import json
import logging
import re
import time

import pytest
from opentelemetry.trace import StatusCode

from byteplus_trace import Breaker, Policy, Retry, Target
from byteplus_trace._edge import router

CHAT = {"model": "seed-2-0-lite-260228", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
IMAGE = {"model": "seedream-5-0-260128", "prompt": "a river"}
EMBEDDING = {"model": "seed-embedding-1", "input": ["a"]}
SG, EU = "ap-southeast-1", "eu-west-1"
QUICK = Retry(per_target=1, base=0.01, cap=0.02)


@pytest.fixture(params=["httpx"])
def library(request):
    """Both libraries are held to the same by the tests of the edge."""
    return pytest.importorskip(request.param)


@pytest.fixture(params=["sync", "asyncio"])
def colour(request):
    return request.param


@pytest.fixture
def sg(ark):
    return ark.region(SG)


@pytest.fixture
def eu(ark):
    return ark.region(EU)


@pytest.fixture
def policy(ark):
    def make(sg=None, eu=None, extra=(), **settings):
        return Policy(
            targets=[
                Target("sg", region=SG, base_url=ark.base_url(SG), api_key="key-sg", **(sg or {})),
                Target("eu", region=EU, base_url=ark.base_url(EU), api_key="key-eu", **(eu or {})),
                *extra,
            ],
            **{"retry": QUICK, **settings},
        )

    return make


@pytest.fixture
def call(http, sg):
    """call(body): a chat that is addressed to Singapore."""

    def post(body=CHAT, path="/chat/completions", **options):
        return http.post(sg.base_url + path, body, **options)

    return post


def path_of(exchange):
    """The way a call took: target, cause and reason of each attempt."""
    return [(attempt.target, attempt.cause, attempt.reason) for attempt in exchange.attempts]


def skips(recorded, **labels):
    return recorded.series("modelark_targets_skipped_total", **labels)


# Rate limits.


def test_a_rate_limit_sends_the_call_elsewhere_and_rests_the_target(
    instrument, recorded, sg, eu, call, policy
):
    sg.throttles(retry_after=30, times=1)
    instrument(policy=policy())

    assert [200, 200, 200] == [call().status_code for _ in range(3)]

    assert [("sg", "initial", "rate_limit"), ("eu", "fallback", "none")] == path_of(recorded.exchanges[0])
    assert [("eu", "initial", "none")] == path_of(recorded.exchanges[1])
    assert (1, 3) == (len(sg.requests), len(eu.requests))
    assert 2 == skips(recorded, target="sg", reason="cooldown")
    assert 1 == recorded.series("modelark_fallbacks_total", reason="rate_limit", result="ok")
    assert 0 == recorded.series("modelark_breaker_state", target="sg")
    (event,) = recorded.logical[1].events
    assert {"target": "sg", "reason": "cooldown"} == dict(event.attributes)


def test_a_rate_limit_with_nowhere_else_to_go_is_waited_out(instrument, recorded, sg, call, ark):
    """The wait is the one the service asked for, and stands on the span."""
    sg.throttles(retry_after=0.2, times=1)
    only = Policy(targets=[Target("sg", region=SG, base_url=ark.base_url(SG), api_key="k")], retry=QUICK)
    instrument(policy=only)

    assert 200 == call().status_code

    (exchange,) = recorded.exchanges
    assert [("sg", "initial", "rate_limit"), ("sg", "retry", "none")] == path_of(exchange)
    assert exchange.attempts[1].waited_seconds >= 0.2
    assert exchange.duration_seconds >= 0.2
    (event,) = recorded.one.events
    assert "retry-after" == event.attributes["source"]
    assert 1 == recorded.series("modelark_retries_total", target="sg", reason="rate_limit")


def test_a_rate_limit_of_an_hour_is_given_to_the_caller_at_once(instrument, recorded, sg, call, ark):
    sg.throttles(retry_after=3600)
    only = Policy(targets=[Target("sg", region=SG, base_url=ark.base_url(SG), api_key="k")])
    instrument(policy=only)

    reply = call()

    assert 429 == reply.status_code
    assert "3600" == reply.headers["retry-after"]
    assert 1 == len(sg.requests)
    assert recorded.exchanges[0].duration_seconds < 1


def test_retry_after_in_milliseconds_and_as_a_date_is_understood(instrument, recorded, sg, eu, call, policy):
    sg.fails(503, retry_after_ms=50, times=1)
    instrument(policy=policy())

    assert 200 == call().status_code

    assert recorded.exchanges[0].attempts[1].waited_seconds == pytest.approx(0.05, abs=0.02)


def test_an_accounts_rate_limit_rests_all_its_targets(instrument, recorded, sg, eu, call, policy, ark):
    """Both regions are one account's: it would be refused there as well."""
    sg.fails(429, code="AccountRateLimitExceeded", retry_after=30, times=1)
    other = Target("eu-2", region=EU, base_url=eu.base_url.replace("127.0.0.1", "localhost"), api_key="k3")
    instrument(
        policy=policy(sg={"quota_group": "acct"}, eu={"quota_group": "acct"}, extra=[other]),
        base_urls={},
    )

    assert [200, 200] == [call().status_code for _ in range(2)]

    assert ["sg", "eu-2"] == [attempt.target for attempt in recorded.exchanges[0].attempts]
    assert ["eu-2"] == [attempt.target for attempt in recorded.exchanges[1].attempts]
    assert skips(recorded, target="eu", reason="cooldown") >= 1


# Quotas.


def test_an_exhausted_quota_is_not_waited_for(instrument, recorded, sg, eu, call, policy):
    sg.fails(429, code="QuotaExceeded")
    instrument(policy=policy())

    assert [200] * 4 == [call().status_code for _ in range(4)]

    assert 1 == len(sg.requests)
    assert 3 == skips(recorded, target="sg", reason="cooldown")
    assert 0 == recorded.series("modelark_retries_total")
    assert 1 == recorded.series("modelark_attempts_total", target="sg", reason="quota")


def test_a_quota_of_all_targets_is_the_callers_to_see(instrument, recorded, sg, eu, call, policy):
    sg.fails(429, code="QuotaExceeded", message="spent")
    instrument(policy=policy(sg={"quota_group": "acct"}, eu={"quota_group": "acct"}))

    reply = call()

    assert 429 == reply.status_code
    assert "false" == reply.headers["x-should-retry"]
    assert "QuotaExceeded" == recorded.one.attributes["error.type"]
    assert [] == eu.requests


# Keys.


def test_a_dead_key_is_left_alone_and_warned_of_once(instrument, recorded, sg, eu, call, policy, caplog):
    sg.keys = {"another": "key"}
    eu.keys = {"the eu key": "key-eu"}
    instrument(policy=policy())
    caplog.clear()

    with caplog.at_level(logging.WARNING, "byteplus_trace"):
        assert [200] * 3 == [call().status_code for _ in range(3)]

    assert 1 == len(sg.requests)
    assert 2 == skips(recorded, target="sg", reason="dead_credential")
    (record,) = [record for record in caplog.records if record.name == "byteplus_trace"]
    assert "'sg'" in record.getMessage()
    assert "api_key" in record.getMessage()
    assert "key-sg" not in caplog.text
    assert 0 == recorded.series("modelark_breaker_state", target="sg")


def test_a_dead_key_takes_its_other_targets_with_it(instrument, recorded, sg, eu, call, policy, ark):
    sg.keys = {"another": "key"}
    same_key = Policy(
        targets=[
            Target("sg", region=SG, base_url=ark.base_url(SG), api_key="shared"),
            Target("eu", region=EU, base_url=ark.base_url(EU), api_key="shared"),
        ],
        retry=QUICK,
    )
    instrument(policy=same_key)

    assert 401 == call().status_code

    assert [] == eu.requests
    assert 1 == skips(recorded, target="eu", reason="dead_credential")
    assert "AuthenticationError" == recorded.one.attributes["error.type"]


# Endpoints and models.


def test_a_closed_endpoint_is_left_for_the_next(instrument, recorded, sg, eu, call, policy):
    sg.fails(400, code="InvalidEndpoint.ClosedEndpoint")
    instrument(policy=policy())

    assert 200 == call().status_code

    assert [("sg", "initial", "model_unavailable"), ("eu", "fallback", "none")] == path_of(
        recorded.exchanges[0]
    )
    assert 0 == recorded.series("modelark_breaker_state", target="sg")


def test_a_model_that_is_not_open_here_rests_for_that_model_only(instrument, recorded, sg, eu, call, policy):
    sg.serves("seed-1-6-*")
    instrument(policy=policy())

    assert [200, 200] == [call().status_code for _ in range(2)]
    assert 200 == call({**CHAT, "model": "seed-1-6-250915"}).status_code

    assert [["sg", "eu"], ["eu"], ["sg"]] == [
        [attempt.target for attempt in exchange.attempts] for exchange in recorded.exchanges
    ]
    assert 1 == skips(recorded, target="sg", reason="cooldown")


def test_an_operation_that_a_target_does_not_serve_passes_it_over(instrument, recorded, sg, eu, call, policy):
    instrument(policy=policy(sg={"only": {"embeddings"}}))

    assert 200 == call().status_code

    assert [] == sg.requests
    assert 1 == skips(recorded, target="sg", reason="operation")


# Overload and outage.


def test_an_overloaded_model_is_asked_again_then_left(instrument, recorded, sg, eu, call, policy):
    sg.fails(429, code="ServerOverloaded")
    instrument(policy=policy())

    assert 200 == call().status_code

    assert [
        ("sg", "initial", "overloaded"),
        ("sg", "retry", "overloaded"),
        ("eu", "fallback", "none"),
    ] == path_of(recorded.exchanges[0])
    assert "rescued_fallback" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert "overloaded" == recorded.one.attributes["byteplus.modelark.fallback.reason"]
    assert 2 == recorded.series("modelark_attempts_total", target="sg", result="error", reason="overloaded")


def test_an_overloaded_image_model_moves_for_it_was_refused(instrument, recorded, sg, eu, call, policy):
    sg.fails(429, code="ServerOverloaded")
    instrument(policy=policy(retry=Retry(per_target=0)))

    assert 200 == call(IMAGE, "/images/generations").status_code

    assert 1 == recorded.series("modelark_images_total", status="generated")


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_image_that_met_a_server_error_may_have_been_made(
    instrument, recorded, sg, eu, call, policy, status
):
    sg.fails(status, code="InternalServiceError")
    instrument(policy=policy())

    reply = call(IMAGE, "/images/generations")

    assert status == reply.status_code
    assert "false" == reply.headers["x-should-retry"]
    assert (1, 0) == (len(sg.requests), len(eu.requests))


def test_both_regions_down_looks_like_the_first_one(instrument, recorded, sg, eu, call, policy):
    sg.fails(503, message="Singapore")
    eu.fails(500, message="Dublin")
    instrument(policy=policy())

    reply = call()

    assert "Singapore" in reply.text
    assert 1 == recorded.series("modelark_operations_total", outcome="error")
    assert 1 == recorded.series("modelark_fallbacks_total", from_target="sg", to_target="eu", result="error")
    assert StatusCode.ERROR is recorded.one.status.status_code


def test_one_poisonous_request_closes_no_region(instrument, recorded, sg, eu, call, policy):
    """It meets a 500 wherever it goes; only the first of them counts against a region."""
    sg.fails(500, on="poison")
    eu.fails(500, on="poison")
    instrument(policy=policy(retry=Retry(per_target=0), breaker=Breaker(consecutive=2)))

    assert 500 == call({**CHAT, "model": "poison"}).status_code
    assert 200 == call().status_code

    assert 0 == recorded.series("modelark_breaker_state")
    assert [("sg", "initial", "none")] == path_of(recorded.exchanges[-1])


def test_a_broken_operation_leaves_the_others_of_its_region(instrument, recorded, sg, eu, call, policy):
    sg.fails(503, on="chat_completions")
    instrument(policy=policy(retry=Retry(per_target=0), breaker=Breaker(consecutive=2, open=60)))

    for _ in range(3):
        call()
    call(EMBEDDING, "/embeddings")

    assert 2 == recorded.series("modelark_breaker_state", target="sg", operation="chat")
    assert 0 == recorded.series("modelark_breaker_state", target="sg", operation="embeddings")
    assert "sg" == recorded.exchanges[-1].target


@pytest.fixture
def at(instrument, recorded, sg, policy, caplog, monkeypatch):
    """
    Singapore fails, and its breaker opens for 15 seconds.

    at(seconds): so much later than now.
    """
    later = 0.0

    def move(seconds):
        nonlocal later
        later = seconds

    monkeypatch.setattr(router, "clock", lambda: time.monotonic() + later)
    sg.fails(503)
    instrument(policy=policy(retry=Retry(per_target=0), breaker=Breaker(consecutive=2, open=15)))
    caplog.clear()
    return move


def test_the_log_says_when_a_region_is_left_alone_and_when_it_is_back(sg, call, caplog, at):
    """Two warnings in all, however many calls were led past it, and however many probes failed."""
    with caplog.at_level(logging.INFO, "byteplus_trace"):
        assert [200] * 6 == [call().status_code for _ in range(6)]
        at(20.0)
        assert [200] * 2 == [call().status_code for _ in range(2)]
        sg.recovers()
        at(60.0)
        assert [200] * 2 == [call().status_code for _ in range(2)]

    opened, probed, closed = [record for record in caplog.records if record.name == "byteplus_trace"]
    assert [logging.WARNING, logging.INFO, logging.WARNING] == [r.levelno for r in (opened, probed, closed)]
    assert re.match(
        r"The breaker of target 'sg' for chat opens for 1[3-7] s: too many calls failed, .*'server_error'",
        opened.message,
    )
    assert re.match(
        r"The breaker of target 'sg' for chat opens for (2[7-9]|3[0-3]) s: a probe failed", probed.message
    )
    assert closed.message.startswith("The breaker of target 'sg' for chat closes")
    assert "key-sg" not in caplog.text
    assert "rivers" not in caplog.text


def test_a_breaker_that_closed_too_soon_is_a_warning_when_it_opens_again(sg, call, caplog, at):
    """A streamed probe is answered, and then its stream breaks: where only warnings are kept, they still alternate."""
    with caplog.at_level(logging.WARNING, "byteplus_trace"):
        for _ in range(3):
            call()
        sg.recovers()
        sg.errors_in_stream(after_events=4, code="InternalServiceError", times=1)
        at(20.0)
        call({**CHAT, "stream": True})
        at(120.0)
        call()

    log = [record.message for record in caplog.records if record.name == "byteplus_trace"]
    assert ["opens", "closes", "opens", "closes"] == [line.split()[7].strip(":") for line in log]


def test_the_log_says_when_no_target_is_left(instrument, recorded, sg, eu, call, policy, caplog):
    sg.fails(503)
    eu.fails(503)
    instrument(policy=policy(retry=Retry(per_target=0), breaker=Breaker(consecutive=2, open=60)))
    caplog.clear()

    # Of one call's server errors only the first counts, so the second target's breaker opens later.
    with caplog.at_level(logging.WARNING, "byteplus_trace"):
        assert [503] * 5 == [call().status_code for _ in range(5)]

    first, second = [record.message for record in caplog.records if record.name == "byteplus_trace"]
    assert first.startswith("The breaker of target 'sg'")
    assert first.endswith("Calls go to other targets meanwhile.")
    assert second.startswith("The breaker of target 'eu'")
    assert "No target is left" in second


# What the service does of its own.


def test_the_services_own_fallback_is_told(instrument, recorded, sg, call):
    sg.answers(fallback_from="seed-2-0-lite-260228")
    instrument()

    call()

    assert recorded.one.attributes["byteplus.modelark.server_fallback"]
    assert 1 == recorded.series("modelark_server_fallbacks_total", model="seed-2-0-lite-260228")


def test_a_page_instead_of_an_answer_is_an_error(instrument, recorded, sg, call):
    sg.answers_html()
    instrument()

    assert 200 == call().status_code

    assert "error" == recorded.one.attributes["byteplus.modelark.outcome"]


def test_a_response_that_failed_inside_a_200_is_an_error(instrument, recorded, sg, call):
    sg.fails_responses()
    instrument()

    assert 200 == call({"model": "seed-1-6-250915", "input": "hi"}, "/responses").status_code

    assert "error" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert StatusCode.ERROR is recorded.one.status.status_code


def test_the_request_id_is_on_success_error_and_stream(instrument, recorded, http, sg, call):
    instrument()

    good = call().headers["x-request-id"]
    sg.fails(500, times=1)
    bad = call().headers["x-request-id"]
    http.parts(sg.base_url + "/chat/completions", STREAMED)

    recorded_ids = [span.attributes["byteplus.modelark.request_id"] for span in recorded.logical]
    assert [good, bad] == recorded_ids[:2]
    assert recorded_ids[2]


# What must never leave.


def test_no_text_of_the_caller_is_told_however_a_call_fails(instrument, recorded, http, sg, call, library):
    """With content off: not in a span, an event, a status, a label or an exchange that is printed."""
    secret = "my-very-own-words"
    body = {**CHAT, "messages": [{"role": "user", "content": secret}]}
    sg.fails(400, code="InvalidParameter", message=f"cannot read {secret}", times=1)
    sg.errors_in_stream(after_events=1, message=f"about {secret}", times=1)
    instrument()

    call(body)
    http.parts(sg.base_url + "/chat/completions", {**body, "stream": True})
    sg.recovers()
    call(body)

    everything = "".join(span.to_json() for span in recorded.spans) + repr(recorded.exchanges)
    everything += json.dumps([sorted(map(str, key)) for key in recorded.moved()])
    assert 3 == len(recorded.exchanges)
    assert secret not in everything
    assert "Bearer" not in everything


def test_no_label_says_none(instrument, recorded, sg, eu, call, policy, library):
    sg.fails(503, times=2)
    sg.resets(times=1)
    instrument(policy=policy())

    for _ in range(3):
        call()

    labels = {
        value
        for family in recorded.registry.collect()
        for sample in family.samples
        for value in sample.labels.values()
    }
    assert "None" not in labels
