"""What calls are estimated to cost."""

import datetime
import decimal
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace import _prices
from byteplus_trace._facts import Images, Usage
from byteplus_trace._prices import estimate, prices_checked, read_table, table

TODAY = datetime.date(2026, 11, 24)


def tokens(model, sent, output, cached=None, *, service_tier=None, batch=False, on=TODAY, audio=None):
    usage = Usage(input_tokens=sent, output_tokens=output, cache_read_tokens=cached, audio_input_tokens=audio)
    return estimate(model, usage, None, on, service_tier=service_tier, batch=batch)


def images(model, generated, failed=0):
    return estimate(model, None, Images(generated=generated, failed=failed, output_tokens=48_960), TODAY)


@pytest.mark.parametrize(
    ("model", "sent", "output", "cached", "dollars"),
    [
        ("dola-seed-2-1-turbo-260628", 1_000_000, 0, 0, "0.50"),
        ("dola-seed-2-1-turbo-260628", 0, 1_000_000, 0, "2.50"),
        ("dola-seed-2-1-turbo-260628", 1_000_000, 0, 1_000_000, "0.10"),
        ("dola-seed-2-1-turbo-260628", 1_000, 100, 400, "0.00059"),  # 600 x .5 + 400 x .1 + 100 x 2.5
        ("dola-seed-2-1-turbo-260628", 1_000, 100, None, "0.00075"),
        ("seed-2-0-pro-260328", 128_000, 1_000, 0, "0.067"),
        ("seed-2-0-pro-260328", 128_001, 1_000, 0, "0.134001"),
        ("seed-2-0-lite-260428", 1_000_000, 0, 0, "0.50"),
        ("seed-1-6-250915", 42, 846, 0, "0.0017025"),
        ("seed-1-6", 42, 846, 0, "0.0017025"),
        ("seed-1-6-flash-250715", 100_000, 0, 0, "0.0075"),
        ("seed-1-8-251228", 200_000, 0, 100_000, "0.055"),
        ("deepseek-v3-2-251201", 32_001, 0, 0, "0.01792056"),
        ("gpt-oss-120b-250805", 1_000_000, 1_000_000, 0, "0.60"),
    ],
)
def test_tokens_are_priced_by_the_table(model, sent, output, cached, dollars):
    assert Decimal(dollars) == tokens(model, sent, output, cached)


@pytest.mark.parametrize(
    ("model", "generated", "dollars"),
    [
        ("seedream-4-5-251128", 1, "0.04"),
        ("seedream-4-0-250828", 3, "0.09"),
        ("seedream-5-0-260128", 3, "0.105"),
        ("seedream-5-0-260128", 0, "0"),
    ],
)
def test_images_are_priced_each_and_never_by_their_area(model, generated, dollars):
    assert Decimal(dollars) == images(model, generated, failed=1)


@pytest.mark.parametrize(
    "model",
    [
        None,
        "",
        "ep-20260101000000-abcde",
        "seed-9-9-270101",
        "seed-1-6-vision-250815",
        "seed-2-0-pro",  # priced by date only: its family was not named by the source
        "seed-2-0-pro-260999",
        "doubao-seed-2-1-turbo-260628",
        "deepseek-v4-1-flash-261017",
        "skylark-embedding-vision-251215",
        "dola-seedream-5-0-pro-260628",
    ],
)
def test_a_price_that_is_not_known_is_none(model):
    assert tokens(model, 10, 10) is None
    assert images(model, 1) is None


def test_flex_is_half_only_where_the_vendor_says_so():
    assert Decimal("0.25") == tokens("dola-seed-2-1-turbo-260628", 1_000_000, 0, service_tier="flex")
    assert tokens("seed-2-0-pro-260328", 10, 10, service_tier="flex") is None


@pytest.mark.parametrize("service_tier", ["fast", "scale", "something-new"])
def test_a_tier_with_a_price_of_its_own_is_not_priced_at_the_plain_one(service_tier):
    assert tokens("dola-seed-2-1-turbo-260628", 10, 10, service_tier=service_tier) is None


def test_a_batch_call_has_no_price_while_no_source_states_one():
    assert tokens("dola-seed-2-1-turbo-260628", 10, 10, batch=True) is None


def test_cache_reads_at_an_unknown_price_leave_the_whole_unknown():
    assert tokens("gpt-oss-120b-250805", 10, 10, 5) is None


def test_audio_is_not_priced_as_text():
    assert tokens("seed-2-0-lite-260428", 10, 10, audio=4) is None


def test_tokens_that_were_not_counted_have_no_price():
    assert estimate("seed-1-6", Usage(input_tokens=10), None, TODAY) is None
    assert estimate("seed-1-6", Usage(), None, TODAY) is None
    assert estimate("seed-1-6", None, None, TODAY) is None


def test_images_are_priced_though_the_tokens_beside_them_are_not():
    made = Images(generated=2)

    assert Decimal("0.08") == estimate("seedream-4-5", Usage(output_tokens=9), made, TODAY)


BOTH = """
checked = 2027-02-01
[[price]]
ids = ["painter"]
tokens = [{ input = 1, output = 2 }]
image = 0.5
batch = 0.5
official = true
source = "here"
read = 2026-01-01
[[price]]
ids = ["painter"]
image = 0.25
official = true
source = "here"
read = 2027-02-01
starts = 2027-02-01
"""


@pytest.fixture
def painter(monkeypatch):
    monkeypatch.setattr(_prices, "table", lambda: read_table(BOTH))
    remembered = (_prices._price_on, _prices._tiers_on)
    for each in remembered:
        each.cache_clear()
    yield
    for each in remembered:
        each.cache_clear()


@pytest.mark.usefixtures("painter")
def test_tokens_and_images_of_one_call_add_up():
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)

    assert Decimal("3.5") == estimate("painter", usage, Images(generated=1), TODAY)
    assert Decimal("1.5") == estimate("painter", usage, None, TODAY, batch=True)


@pytest.mark.usefixtures("painter")
def test_a_new_price_holds_from_its_day_on():
    def on(day):
        return estimate("painter", None, Images(generated=1), day)

    assert Decimal("0.5") == on(datetime.date(2027, 1, 31))
    assert Decimal("0.25") == on(datetime.date(2027, 2, 1))


def test_the_applications_decimal_context_changes_nothing():
    with decimal.localcontext() as context:
        context.prec = 2
        context.traps[decimal.Inexact] = True

        assert Decimal("0.0017025") == tokens("seed-1-6-250915", 42, 846)


@pytest.mark.parametrize("row", table().rows, ids=lambda row: row.ids[0])
def test_every_row_says_where_and_when_it_was_read(row):
    assert row.ids
    assert row.source.strip()
    assert type(row.read) is datetime.date
    assert datetime.date(2026, 1, 1) <= row.read <= prices_checked()
    assert type(row.official) is bool
    assert row.tokens or row.image is not None


@pytest.mark.parametrize("row", table().rows, ids=lambda row: row.ids[0])
def test_every_row_is_ordered_and_ends_with_a_price_for_all_longer_prompts(row):
    bounds = [tier.up_to for tier in row.tokens]

    assert bounds[:-1] == sorted(bound for bound in bounds if bound is not None)
    assert not bounds or bounds[-1] is None
    for tier in row.tokens:
        assert 0 < (tier.cached or Decimal("1e-9")) <= tier.input < tier.output


def test_no_model_stands_in_two_rows_of_the_same_day():
    seen = [(model, row.starts) for row in table().rows for model in row.ids]

    assert len(seen) == len(set(seen))


def test_a_word_that_the_table_does_not_know_is_an_error():
    with pytest.raises(TypeError, match="cache_hit"):
        read_table(BOTH.replace("output = 2", "output = 2, cache_hit = 1"))


counts = st.none() | st.integers(-10, 10**12)
models = st.sampled_from([model for row in table().rows for model in row.ids]) | st.text()


@given(
    model=st.none() | models,
    usage=st.none() | st.builds(Usage, counts, counts, counts, counts, counts, counts, counts),
    made=st.none() | st.builds(Images, st.integers(-5, 10**6), st.integers(-5, 5)),
    on=st.dates(),
    service_tier=st.none() | st.sampled_from(["default", "flex", "fast"]) | st.text(),
    batch=st.booleans(),
)
def test_an_estimate_never_raises_and_is_never_negative(model, usage, made, on, service_tier, batch):
    cost = estimate(model, usage, made, on, service_tier=service_tier, batch=batch)

    assert cost is None or (cost.is_finite() and cost >= 0)


few = st.integers(0, 10**6)


@given(model=models, sent=few, output=few, cached=few, more_sent=few, more_output=few)
def test_more_tokens_never_cost_less(model, sent, output, cached, more_sent, more_output):
    cached = min(cached, sent)
    less = tokens(model, sent, output, cached)
    more = tokens(model, sent + more_sent, output + more_output, cached)

    assert less is more is None or less <= more
