"""The store holds the newest spans within its bounds, and knows what became of each."""

import httpx

import byteplus_trace
from byteplus_trace._watch.store import Store


def test_what_was_received_is_held_or_dropped(make):
    store = Store(spans=10)

    for number in range(1, 36):
        store.add(make.spans(make.call(number)))

    counts = store.counts()
    assert (35, 10, 25) == (counts.received, counts.held, counts.dropped)
    assert [f"{number:016x}" for number in range(26, 36)] == [call.span_id for call in store.calls()]


def test_an_attempt_is_forgotten_with_its_span(make):
    store = Store(spans=4)

    for number in range(1, 20):
        store.add(make.spans(make.attempt(100 + number, number, trace=number), make.call(number)))
    store.add(make.spans(make.attempt(119, 19, trace=19)))

    assert [18, 19] == [int(attempt.call[1], 16) for attempt in store.attempts()]


def test_the_bytes_are_bounded_too(make):
    store = Store(bytes_=200_000)

    for number in range(1, 50):
        store.add(make.spans(make.call(number, user="x" * 10_000)))

    counts = store.counts()
    assert counts.bytes <= 200_000
    assert 49 == counts.held + counts.dropped
    assert 15 < counts.held < 20


def test_a_span_that_is_sent_again_is_held_once(make):
    store = Store()

    store.add(make.spans(make.call(1)))
    store.add(make.spans(make.call(1, model="another")))

    assert ["another"] == [call.model for call in store.calls()]
    assert (1, 1, 0) == (store.counts().received, store.counts().held, store.counts().dropped)


def test_the_spans_around_a_call_are_found(make):
    store = Store()
    store.add(
        make.spans(
            make.attempt(3, 2),
            make.call(2, trace=1, parent=1),
            make.call(5, trace=1, parent=1),
            {"id": 1, "name": "checkout"},
            make.call(9, trace=9),
        )
    )

    family = store.family((f"{1:032x}", f"{2:016x}"))

    assert ["0002", "0001", "0003", "0005"] == [span.span_id[-4:] for span in family]


def test_of_a_huge_trace_the_nearest_spans_are_found(make):
    store = Store()
    store.add(make.spans(make.attempt(3, 2), make.call(2, trace=1, parent=1)))
    store.add(
        make.spans(*({"id": number, "parent": 1} for number in range(10, 3000)), {"id": 1, "name": "root"})
    )

    family = store.family((f"{1:032x}", f"{2:016x}"), most=50)

    assert 50 == len(family)
    assert ["0002", "0001", "0003"] == [span.span_id[-4:] for span in family[:3]]


def test_parents_in_a_circle_do_no_harm(make):
    store = Store()
    store.add(
        make.spans(
            make.call(1, trace=1, parent=2), make.call(2, trace=1, parent=1), make.call(3, trace=1, parent=3)
        )
    )

    assert 3 == len(store.family((f"{1:032x}", f"{1:016x}")))


def test_a_reader_gets_what_is_new_in_pieces(make):
    store = Store()
    for number in range(1, 31):
        store.add(make.spans(make.call(number, user="x" * 1000)))

    number, seen = 0, []
    while True:
        number, pieces = store.since(number, most_bytes=5000)
        if not pieces:
            break
        assert len(pieces) < 10
        seen += pieces

    assert 30 == len(set(seen)) == len(seen)


def test_attributes_of_the_wrong_type_count_as_missing(make):
    store = Store()
    attributes = {
        "gen_ai.usage.input_tokens": "many",
        "gen_ai.usage.output_tokens": -3,
        "byteplus.modelark.cost_usd": float("nan"),
    }
    store.add(
        make.spans(
            make.call(model=5, region=["x"], team={"a": 1}, first=float("inf"), user=True, **attributes)
        )
    )

    (call,) = store.calls()

    assert ("", "", "", None, "") == (call.model, call.region, call.team, call.first_chunk, call.user)
    assert (None, None, None) == (call.tokens_in, call.tokens_out, call.cost)


def test_a_call_of_the_library_has_all_its_columns(ark, instrument, exported, http):
    """From a real call over real sockets."""
    instrument()
    with byteplus_trace.metadata(user="u-7", team="search", session="s-1"):
        body = {"model": "seed-1-8-251228", "messages": [{"role": "user", "content": "Hello"}], "stream": True,
                "thinking": {"type": "enabled"}, "stream_options": {"include_usage": True}}  # fmt: skip
        http.parts(ark.base_url("ap-southeast-1") + "/chat/completions", body)
    store = Store()
    store.add(exported())

    (call,) = store.calls()

    assert ("chat", "seed-1-8-251228", "ap-southeast-1", "ok", "") == (
        call.operation,
        call.model,
        call.region,
        call.outcome,
        call.error,
    )
    assert ("u-7", "search", "s-1", 1) == (call.user, call.team, call.session, call.attempts)
    assert None not in (call.first_chunk, call.tokens_in, call.tokens_out, call.reasoning, call.cost)
    assert call.request_id
    assert call.seconds > 0


def test_a_request_that_is_no_genai_call_is_a_row_too(ark, instrument, exported):
    instrument()
    httpx.get(
        ark.base_url("ap-southeast-1") + "/models", headers={"authorization": "Bearer any"}, trust_env=False
    )
    store = Store()
    store.add(exported())

    assert [("other", "ok")] == [(call.operation, call.outcome) for call in store.calls()]


def test_only_spans_of_calls_are_rows(make):
    store = Store()
    store.add(
        make.spans(
            {"id": 1, "name": "checkout"},
            make.attempt(3, 2),
            {"id": 4, "attributes": {"gen_ai.operation.name": "chat"}},
        )
    )

    assert [] == store.calls()
