"""The language of the filter, as it is typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace._watch.calls import call_of
from byteplus_trace._watch.filtering import filter_of, not_followed, unknown_fields


@pytest.fixture
def calls(make):
    """Three calls: a good one, a slow one of another team, and one that failed."""
    spans = make.spans(
        make.call(1, team="search", user="u-7", tokens_in=2000, cost=0.02, first=0.1),
        make.call(
            2, team="a b", model="skylark-embedding", operation="embeddings", lasts=3.0, region="eu-west-1"
        ),
        make.call(
            3,
            team="search",
            outcome="error",
            code="ServerOverloaded",
            **{"byteplus.modelark.metadata.plan": "Paid"},
        ),
    )
    return [call_of(span) for span in spans]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", [1, 2, 3]),
        ("   ", [1, 2, 3]),
        ("seed", [1, 3]),
        ("SEED", [1, 3]),
        ("model:seed team:search error", [3]),
        ("error", [3]),
        ("-error", [1, 2]),
        ("error:overloaded", [3]),
        ("outcome:ok", [1, 2]),
        ("region:eu", [2]),
        ("-region:eu", [1, 3]),
        ('team:"a b"', [2]),
        ('team:"a b', [2]),
        ('"a b"', [2]),
        ("plan:paid", [3]),
        ("paid", [3]),
        ("nothing:seed", []),
        ("duration>1", [2]),
        ("duration<1", [1, 3]),
        ("cost>0.01", [1]),
        ("cost>0.02", []),
        ("cost>=0.02", [1]),
        ("in<=2000", [1]),
        ("cost>=", [1, 2, 3]),
        ("in>1000", [1]),
        ("first<0.2", [1]),
        ("user:u-7", [1]),
        # Not complete yet, so it leaves nothing out.
        ("model:", [1, 2, 3]),
        ("cost>", [1, 2, 3]),
        ("cost>x", [1, 2, 3]),
        ("size>3", [1, 2, 3]),
        ("-", [1, 2, 3]),
        ('"', [1, 2, 3]),
        (":", [1, 2, 3]),
    ],
)
def test_the_filter_keeps(calls, text, kept):
    keeps = filter_of(text)

    assert kept == [at for at, call in enumerate(calls, 1) if keeps is None or keeps(call)]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("size>3", ["size>3"]),
        ("duration>2s -cost<=x seed", ["duration>2s", "-cost<=x"]),
        ("model>seed", ["model>seed"]),
        # Not complete yet, or followed.
        ("cost> duration>2 model:seed", []),
        ('-"a b" x:y', []),
    ],
)
def test_a_term_that_cannot_be_followed_is_known(text, terms):
    assert terms == not_followed(text)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("modle:seed", ["modle"]),
        ("duration:2 -tier:gold model:seed", ["duration", "tier"]),
        ("plan:paid PLAN:x team:search seed modle:", []),
    ],
)
def test_a_field_that_no_call_has_is_known(calls, text, fields):
    assert fields == unknown_fields(text, calls)


@given(text=st.text(alphabet='ab :<>"-5.\x1b[]', max_size=30))
def test_nothing_that_is_typed_is_a_mistake(text):
    from byteplus_trace._watch.calls import Call

    keeps = filter_of(text)
    blank = Call(
        "a",
        "b",
        0,
        1,
        "",
        "",
        "",
        "",
        "",
        None,
        None,
        None,
        None,
        None,
        None,
        "",
        "",
        "",
        "",
        "",
        "",
        None,
        (),
    )

    assert keeps is None or keeps(blank) in {True, False}
