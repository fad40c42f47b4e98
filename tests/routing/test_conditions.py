"""Portkey's query language over a call's own facts."""

import pytest

from byteplus_trace import SettingError
from byteplus_trace._policy.conditions import _matches, checked_query, fits

FITS = [
    ({"metadata.plan": "paid"}, True),
    ({"metadata.plan": {"$eq": "paid"}}, True),
    ({"metadata.plan": {"$eq": "free"}}, False),
    ({"metadata.plan": {"$ne": "free"}}, True),
    ({"metadata.absent": {"$eq": None}}, False),
    ({"metadata.absent": {"$ne": "free"}}, False),
    ({"metadata.absent": {"$nin": ["free"]}}, False),
    ({"metadata.plan": {"$in": ["paid", "free"]}}, True),
    ({"metadata.plan": {"$nin": ["paid"]}}, False),
    ({"metadata.plan": {"$regex": "^pa"}}, True),
    ({"metadata.plan": {"$regex": "^PA"}}, False),
    ({"params.max_tokens": {"$gt": 100}}, True),
    ({"params.max_tokens": {"$gte": 200, "$lte": 200}}, True),
    ({"params.max_tokens": {"$lt": "200"}}, False),
    ({"params.model": {"$gt": 1}}, False),
    ({"params.seed": {"$gt": 1.5, "$gte": 10**400}}, True),
    ({"params.seed": {"$lt": "9" * 500}}, True),
    ({"params.stream": True}, True),
    ({"params.stream": 1}, False),
    ({"params.max_tokens": 200.0}, True),
    ({"metadata.age": {"$gt": 30}}, True),
    ({"url.pathname": "/v1/chat/completions"}, True),
    ({"url.pathname": "/api/v3/chat/completions"}, True),
    ({"url.pathname": {"$ne": "/v1/chat/completions"}}, False),
    ({"url.pathname": {"$regex": "embeddings"}}, False),
    ({"metadata.plan": "paid", "params.stream": False}, False),
    ({"$and": [{"metadata.plan": "paid"}, {"params.stream": True}]}, True),
    ({"$or": [{"metadata.plan": "free"}, {"params.stream": True}]}, True),
    ({"$or": [{"metadata.plan": "free"}, {"$and": [{"params.stream": False}]}]}, False),
]


@pytest.mark.parametrize(("query", "holds"), FITS)
def test_a_query_fits(query, holds, call):
    asked = call(metadata={"plan": "paid", "age": "41"})

    assert holds is fits(
        checked_query(query),
        asked,
        lambda: {"max_tokens": 200, "stream": True, "model": "seed", "seed": 10**400},
    )


def test_the_body_is_not_parsed_for_what_does_not_ask_for_it(call):
    def parse():
        raise AssertionError("nobody asked")

    assert not fits({"metadata.plan": "paid", "params.stream": True}, call(), parse)


WRONG = {
    "must be a mapping": {},
    "the operator '$equals' of 'metadata.a' is not known": {"metadata.a": {"$equals": 1}},
    "Did you mean '$regex'?": {"metadata.a": {"$regx": "x"}},
    "the field 'metdata.a' is not known": {"metdata.a": 1},
    "Did you mean 'metadata'?": {"metdata.a": 1},
    "the field 'url.host' is not known": {"url.host": "x"},
    "'$eq' cannot stand here": {"$eq": 1},
    "$and takes a list of queries": {"$and": {"metadata.a": 1}},
    "$in of 'metadata.a' takes a list": {"metadata.a": {"$in": "abc"}},
    "$gt of 'params.n' takes a number": {"params.n": {"$gt": "many"}},
    "$regex of 'metadata.a' is not a regular expression": {"metadata.a": {"$regex": "("}},
    "$regex of 'metadata.a' may search for ever": {"metadata.a": {"$regex": "^(a+)+$"}},
    "compares with nothing": {"metadata.a": {}},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_refused(message):
    with pytest.raises(SettingError) as refused:
        checked_query(WRONG[message])

    assert message in str(refused.value)


@pytest.mark.parametrize(
    "pattern",
    ["(a*)*$", "(a|a)*$", "(?:a|b|ab)+$", "(a?){30}a{30}", "a?" * 30 + "$", ".*.*.*x", "(?=(a+)+$)", "(a{1,9}){1,9}x", "(?:(?:a{2,})+b)*", "(?>(a+)+)x", "(x)?(?(1)(a+)+|b)$"],
)  # fmt: skip
def test_a_regular_expression_that_may_search_for_ever_is_refused(pattern):
    with pytest.raises(SettingError, match="may search for ever"):
        checked_query({"metadata.a": {"$regex": pattern}})


@pytest.mark.parametrize(
    "pattern", ["^pa", "^(pro|max)-v[0-9]+$", "seed-.*-lite", r"^[a-z]+@[a-z.]+$", "a{3}", "colou?r", "(?i)paid", "(ab)+"]
)  # fmt: skip
def test_a_usual_regular_expression_is_taken(pattern):
    assert checked_query({"metadata.a": {"$regex": pattern}})


def test_of_a_long_value_the_beginning_is_searched():
    value = "a" * 256

    assert _matches(value + "b" * 1_000_000, "^a+$")
    assert not _matches(value + "b", "b")
