"""An observer finishes once, at the first end; what it records agrees with what was reported."""

import threading

import httpx
import pytest

from byteplus_trace import Call, Skip, _background
from byteplus_trace._call_end import End
from byteplus_trace._facts import Sending
from byteplus_trace._observer import Observer
from byteplus_trace._wire.families import chat

CALL = Call(
    "chat", "chat_completions", "POST", "https://h/chat/completions", "h", 443, "/chat/completions", "eu-west-1",
    model="seed-1-6-250915",
)  # fmt: skip
STREAM = {"content-type": "text/event-stream", "x-request-id": "r-1", "x-envoy-upstream-service-time": "12"}
DOCUMENT = {"content-type": "application/json"}
OUTPUT = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
LAST = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class CallSpan:
    """Keeps what is recorded, in order."""

    def __init__(self):
        self.events = []
        self.exchanges = []

    def __call__(self, call, started_ns):
        self.events.append("begins")
        return self

    def attempt_begins(self, sending, started_ns):
        self.events.append(("attempt", sending.target))
        return self

    def falls_back(self, *known_and_time):
        self.events.append(("fallback", *known_and_time[:-1]))

    def retry_waits(self, seconds, source, at_ns):
        self.events.append(("wait", seconds, source))

    def target_skipped(self, target, reason, at_ns):
        self.events.append(("skip", target, reason))

    def ends(self, ended, ended_ns):
        if hasattr(ended, "attempts"):
            self.exchanges.append(ended)
        self.events.append("ends")


@pytest.fixture
def recorder():
    return CallSpan()


@pytest.fixture
def observer(recorder):
    return Observer(CALL, chat, recorder, capture=False)


def sends(observer, number=1, target="sg", cause="initial"):
    observer.sends(Sending(number, target, "ap-southeast-1", "h", 443, "https://h", cause))


def streamed(observer, *parts):
    sends(observer)
    observer.replied(200, STREAM)
    for part in parts:
        reads(observer, part)


def reads(observer, part):
    """As an observed stream does it."""
    if observer.reads(part):
        observer.finish(End("complete"))


def test_a_stream_from_its_first_event_to_its_last(observer, recorder):
    streamed(observer, OUTPUT, OUTPUT, LAST, DONE)

    (exchange,) = recorder.exchanges
    assert ("ok", 2, "1") == (exchange.outcome, exchange.chunks, exchange.answer.id)
    assert 0 < exchange.first_chunk_seconds <= exchange.last_chunk_seconds <= exchange.duration_seconds
    assert ("r-1", 12, 200) == (exchange.request_id, exchange.upstream_ms, exchange.status)
    assert ["begins", ("attempt", "sg"), "ends", "ends"] == recorder.events


# Every report after which nothing more is to be recorded.
LAST_EVENTS = {
    "fed": lambda observer: reads(observer, OUTPUT),
    "exhausted": lambda observer: observer.exhausted(),
    "closed": lambda observer: observer.finish(End("closed")),
    "forgotten": lambda observer: observer.finish_soon("forgotten"),
    "raised": lambda observer: observer.finish(End("raised", httpx.ReadError("x"), "reset")),
}


@pytest.mark.parametrize("after", LAST_EVENTS)
@pytest.mark.parametrize("first", ["exhausted", "closed", "forgotten", "raised"])
def test_only_the_first_end_counts(observer, recorder, first, after):
    streamed(observer, OUTPUT)
    LAST_EVENTS[first](observer)
    _background.drain()
    (before,) = recorder.exchanges

    LAST_EVENTS[after](observer)
    _background.drain()

    assert [before] == recorder.exchanges


def test_of_many_threads_that_finish_one_does(recorder):
    for _ in range(50):
        observer = Observer(CALL, chat, recorder, capture=False)
        streamed(observer, OUTPUT)
        ready = threading.Barrier(4)

        def finish(observer=observer, ready=ready):
            ready.wait(5)
            observer.finish(End("closed"))

        threads = [threading.Thread(target=finish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert 50 == len(recorder.exchanges)


def test_what_is_noticed_in_the_collector_is_recorded_later_with_the_time_of_then(observer, recorder):
    streamed(observer, OUTPUT)
    with _background._working:
        observer.finish_soon("forgotten")
        assert [] == recorder.exchanges
        threading.Event().wait(0.05)

    assert _background.drain(5)
    (exchange,) = recorder.exchanges
    assert "abandoned" == exchange.outcome
    assert exchange.duration_seconds < 0.05


def test_a_call_over_two_targets(observer, recorder):
    observer.skips((Skip("eu-2", "cooldown"),))
    sends(observer)
    observer.attempt_over(End("raised", httpx.ConnectError("x"), "connect"))
    observer.waits(0.5, "backoff")
    sends(observer, 2, "sg", "retry")
    observer.attempt_over(End("raised", httpx.ConnectError("x"), "connect"))
    sends(observer, 3, "eu", "fallback")
    observer.replied(200, STREAM)
    reads(observer, OUTPUT + LAST + DONE)

    (exchange,) = recorder.exchanges
    assert "rescued_fallback" == exchange.outcome
    assert ("sg", "connect", "eu") == (exchange.fallback_from, exchange.fallback_reason, exchange.target)
    assert ["connect", "connect", "none"] == [attempt.reason for attempt in exchange.attempts]
    assert (Skip("eu-2", "cooldown"),) == exchange.skipped
    assert ("skip", "eu-2", "cooldown") in recorder.events
    assert ("wait", 0.5, "backoff") in recorder.events
    assert ("fallback", "sg", "eu", "connect") in recorder.events


def test_all_failed_and_the_first_exception_is_the_callers(observer, recorder):
    first, second = httpx.ReadTimeout("first"), httpx.ConnectError("second")
    sends(observer)
    observer.attempt_over(End("raised", first, "timeout"))
    sends(observer, 2, "eu", "fallback")
    observer.attempt_over(End("raised", second, "connect"))

    observer.finish(End("raised", first, "timeout"))

    (exchange,) = recorder.exchanges
    assert ("error", "ReadTimeout", "timeout") == (exchange.outcome, exchange.error_type, exchange.reason)
    assert ["ReadTimeout", "ConnectError"] == [attempt.error_type for attempt in exchange.attempts]


def test_all_failed_and_the_first_reply_is_the_callers(observer, recorder):
    sends(observer)
    observer.replied(429, DOCUMENT)
    reads(observer, b'{"error":{"code":"RateLimitExceeded.X","message":"no"}}')
    observer.attempt_over(End("exhausted"))
    sends(observer, 2, "eu", "fallback")
    observer.attempt_over(End("raised", httpx.ConnectError("x"), "connect"))

    observer.finish(End("exhausted"), kept=1)

    (exchange,) = recorder.exchanges
    assert ("error", "RateLimitExceeded", "rate_limit", 429) == (
        exchange.outcome,
        exchange.error_type,
        exchange.reason,
        exchange.status,
    )


def test_out_of_time_is_an_outcome_of_its_own(observer, recorder):
    sends(observer)
    observer.attempt_over(End("raised", httpx.ReadTimeout("x"), "timeout"))

    observer.finish(End("raised", httpx.ReadTimeout("the deadline"), "deadline"))

    (exchange,) = recorder.exchanges
    assert ("deadline", "ReadTimeout") == (exchange.outcome, exchange.error_type)


def test_a_call_that_was_never_sent_is_recorded_all_the_same(observer, recorder):
    observer.skips((Skip("sg", "breaker_open"),))

    observer.finish(End("raised", httpx.ReadTimeout("no time"), "deadline"))

    (exchange,) = recorder.exchanges
    assert ((), "deadline", "eu-west-1") == (exchange.attempts, exchange.outcome, exchange.region)


def test_reports_before_anything_was_sent_change_nothing(observer, recorder):
    reads(observer, OUTPUT)
    observer.replied(200, STREAM)
    observer.exhausted()
    observer.attempt_over(End("exhausted"))

    assert ["begins"] == recorder.events


def test_without_a_span_nothing_is_recorded_and_the_exchange_is_still_heard():
    heard = []
    observer = Observer(
        CALL, chat, None, capture=False, heard=lambda exchange, _error: heard.append(exchange)
    )

    streamed(observer, OUTPUT, LAST, DONE)

    (exchange,) = heard
    assert "ok" == exchange.outcome


@pytest.mark.parametrize("upstream", ["", "soon", "-1", "1.5", "9" * 20, "9" * 5000])
def test_a_time_upstream_that_is_no_number_is_not_known(observer, recorder, upstream):
    sends(observer)
    observer.replied(200, {**STREAM, "x-envoy-upstream-service-time": upstream})
    reads(observer, LAST + DONE)

    assert recorder.exchanges[0].upstream_ms is None
