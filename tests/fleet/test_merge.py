"""What a fleet knows together is a value that merges; its laws."""

import json

from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace._routing.fleet import (
    BreakerNews,
    Cooling,
    CoolingNews,
    Episode,
    Greatest,
    Home,
    PinNews,
    Refused,
    RefusedNews,
    Shared,
    Subject,
    digest_of,
    encoded,
    message,
    object_digest,
    read_message,
    read_news,
)

MOST = 4
times = st.integers(0, 5).map(float)
names = st.sampled_from(["a", "b", "c"])
subjects = st.builds(Subject, names, names, names)
episodes = st.builds(
    Episode,
    epoch=st.integers(1, 3),
    closed=st.booleans(),
    openings=st.integers(0, 2),
    until=times,
    reason=names,
    who=names,
)
barred = st.one_of(st.builds(Cooling, names, names, names), st.builds(Refused, names))
homes = st.builds(Home, times, names)


@st.composite
def states(draw):
    shared = Shared(MOST)
    for of, pairs in (
        (shared.breakers, st.tuples(subjects, episodes)),
        (shared.barred, st.tuples(barred, times)),
        (shared.pins, st.tuples(names, homes)),
    ):
        for key, value in draw(st.lists(pairs, max_size=8)):
            of.add(key, value)
    return shared


def merged(*parts):
    whole = Shared(MOST)
    for part in parts:
        whole.merge(part)
    return whole


@given(states(), states())
def test_it_does_not_matter_who_is_heard_first(one, other):
    assert merged(one, other) == merged(other, one)


@given(states(), states(), states())
def test_it_does_not_matter_what_was_merged_before(one, two, three):
    assert merged(merged(one, two), three) == merged(one, merged(two, three))


@given(states(), states())
def test_hearing_it_twice_changes_nothing(one, other):
    assert merged(one, other) == merged(one, other, one, other)


@given(st.lists(states(), max_size=5))
def test_it_is_bounded(parts):
    whole = merged(*parts)

    assert max(len(whole.breakers), len(whole.barred), len(whole.pins)) <= MOST


@given(st.lists(st.tuples(names, st.integers(0, 9)), max_size=40))
def test_a_map_keeps_the_greatest_value_of_each_key(pairs):
    kept = Greatest(most=10)
    for key, value in pairs:
        kept.add(key, value)

    assert dict(kept.items()) == {key: max(v for k, v in pairs if k == key) for key, _ in pairs}


def episode(epoch, closed=False, openings=1, until=0.0):
    return Episode(epoch, closed, openings, until, "connect", "host/1")


def test_a_closing_ends_the_opening_that_it_names_and_not_a_newer_one():
    assert episode(1, closed=True) > episode(1, until=1e9)
    assert episode(1, closed=True) < episode(2)


def test_what_is_over_is_forgotten_and_the_number_of_an_opening_an_hour_later():
    shared = Shared()
    shared.breakers.add(Subject("a", "chat", ""), episode(1, until=10.0))
    shared.barred.add(Refused("x"), 10.0)
    shared.pins.add("object", Home(10.0, "home"))

    shared.forget(now=10.0)
    assert [1, 0, 0] == [len(shared.breakers), len(shared.barred), len(shared.pins)]
    shared.forget(now=3_610.0)
    assert 0 == len(shared.breakers)


NEWS = [
    BreakerNews("https://a", "chat", "d", 1, False, 1_500, 1, "connect", "host/1"),
    CoolingNews("https://a", "d", "", 2_000),
    RefusedNews("d", 300_000),
    PinNews("object", "home"),
]


def test_news_survive_the_journey():
    assert [read_news(encoded(news)) for news in NEWS] == NEWS
    assert read_message(message(NEWS)) == NEWS


def test_what_a_newer_version_adds_is_not_read():
    longer = [*json.loads(encoded(NEWS[0])), {"added": "later"}]

    assert NEWS[0] == read_news(json.dumps(longer))
    assert [NEWS[1], None, NEWS[2]] == read_message(
        json.dumps([json.loads(encoded(NEWS[1])), ["a kind of tomorrow", 1], json.loads(encoded(NEWS[2]))])
    )


HOSTILE = [
    b"", b"\xff\xfe", b"null", b"{}", b"[]", b'"breaker"', b"[" * 10_000, b"1e999", None, 7,
    b'["breaker"]',
    b'["breaker","https://a","chat","d",0,false,1,1,"connect","w"]',
    b'["breaker","https://a","chat","d",1e30,false,1,1,"connect","w"]',
    b'["breaker","https://a","chat","d",99999999999999999999,false,1,1,"connect","w"]',
    b'["breaker","https://a","chat","d",1,false,-1,1,"connect","w"]',
    b'["breaker","https://a","chat","d",1,false,NaN,1,"connect","w"]',
    b'["breaker","https://a","chat","d",1,"no",1,1,"connect","w"]',
    b'["cooling","' + b"a" * 1_000 + b'","d","",1]',
    b'["refused",{"$gt":""},1]',
]  # fmt: skip


def test_what_cannot_be_understood_is_skipped():
    for text in HOSTILE:
        assert read_news(text) is None
        assert {None} >= set(read_message(text))


def test_a_key_or_an_id_is_known_by_a_digest_alone():
    import hashlib

    assert digest_of("secret") != hashlib.sha256(b"secret").hexdigest()
    assert 64 == len(digest_of("secret"))
    assert "resp_1" not in object_digest("resp_1")
