"""What calls are estimated to cost."""

import datetime
import decimal
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace import SettingError
from byteplus_trace._facts import Images, Usage
from byteplus_trace._pricefile import load
from byteplus_trace._prices import read_table, table

TODAY = datetime.date(2026, 11, 24)


def tokens(model, sent, output, cached=None, *, service_tier=None, batch=False, on=TODAY, audio=None):
    usage = Usage(input_tokens=sent, output_tokens=output, cache_read_tokens=cached, audio_input_tokens=audio)
    return table().estimate(model, usage, None, on, service_tier=service_tier, batch=batch)


def images(model, generated, failed=0):
    return table().estimate(
        model, None, Images(generated=generated, failed=failed, output_tokens=48_960), TODAY
    )


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
    assert table().estimate("seed-1-6", Usage(input_tokens=10), None, TODAY) is None
    assert table().estimate("seed-1-6", Usage(), None, TODAY) is None
    assert table().estimate("seed-1-6", None, None, TODAY) is None


def test_images_are_priced_though_the_tokens_beside_them_are_not():
    made = Images(generated=2)

    assert Decimal("0.08") == table().estimate("seedream-4-5", Usage(output_tokens=9), made, TODAY)


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
def painter():
    return read_table(BOTH)


def test_tokens_and_images_of_one_call_add_up(painter):
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)

    assert Decimal("3.5") == painter.estimate("painter", usage, Images(generated=1), TODAY)
    assert Decimal("1.5") == painter.estimate("painter", usage, None, TODAY, batch=True)


def test_a_new_price_holds_from_its_day_on(painter):
    def on(day):
        return painter.estimate("painter", None, Images(generated=1), day)

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
    assert datetime.date(2026, 1, 1) <= row.read <= table().checked
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
    cost = table().estimate(model, usage, made, on, service_tier=service_tier, batch=batch)

    assert cost is None or (cost.is_finite() and cost >= 0)


few = st.integers(0, 10**6)


@given(model=models, sent=few, output=few, cached=few, more_sent=few, more_output=few)
def test_more_tokens_never_cost_less(model, sent, output, cached, more_sent, more_output):
    cached = min(cached, sent)
    less = tokens(model, sent, output, cached)
    more = tokens(model, sent + more_sent, output + more_output, cached)

    assert less is more is None or less <= more


ROW = {"ids": ["my-model-260101"], "tokens": {"input": 1, "output": 2.5}}
MILLION = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


def own(**content):
    """What a million tokens in and out cost by a user's table, by model."""
    prices = load(content)
    return lambda model: prices.estimate(model, MILLION, None, TODAY)


def test_a_users_table_prices_models_that_ours_lacks_and_ours_prices_the_rest():
    cost = own(price=[ROW])

    assert Decimal("3.5") == cost("my-model-260101")
    assert table().estimate("seed-1-6-250915", MILLION, None, TODAY) == cost("seed-1-6-250915")


def test_a_contract_stands_before_our_price_also_where_it_names_the_family_alone():
    cost = own(price=[{**ROW, "ids": ["seed-1-6"], "any_date": True}])

    assert Decimal("3.5") == cost("seed-1-6-250915") == cost("seed-1-6")


def test_a_contract_that_has_not_started_leaves_our_price():
    cost = own(price=[{**ROW, "ids": ["seed-1-6-250915"], "starts": datetime.date(2030, 1, 1)}])

    assert table().estimate("seed-1-6-250915", MILLION, None, TODAY) == cost("seed-1-6-250915")


def test_a_discount_is_taken_off_our_prices_and_not_off_the_files_own():
    plain = table().estimate("seed-1-6-250915", MILLION, None, TODAY)
    cost = own(price=[ROW], discount=[{"off": 0.15}])

    assert plain * Decimal("0.85") == cost("seed-1-6-250915")
    assert Decimal("3.5") == cost("my-model-260101")


def test_a_discount_may_be_for_some_models():
    plain = table().estimate("seed-1-6-250915", MILLION, None, TODAY)
    other = table().estimate("seed-2-0-lite-260428", MILLION, None, TODAY)
    cost = own(discount=[{"ids": ["seed-1-6*"], "off": 0.5}])

    assert plain / 2 == cost("seed-1-6-250915")
    assert other == cost("seed-2-0-lite-260428")


def test_a_discount_is_off_images_too():
    assert Decimal("0.02") == load({"discount": [{"off": 0.5}]}).estimate("seedream-4-5-251128", None, Images(generated=1), TODAY)  # fmt: skip


def test_a_file_may_be_toml_or_json(tmp_path):
    (tmp_path / "prices.toml").write_text('[[price]]\nids = ["m"]\nimage = 0.1\nread = 2026-01-02\n')
    (tmp_path / "prices.json").write_text('{"price": [{"ids": ["m"], "image": 0.1, "read": "2026-01-02"}]}')

    for name in ("prices.toml", "prices.json"):
        (row,) = load(tmp_path / name).rows
        assert (Decimal("0.1"), datetime.date(2026, 1, 2)) == (row.image, row.read)
        assert str(tmp_path / name) == row.source


WRONG = {
    "prices: 'prices' is not known (known: price, discount, checked). Did you mean 'price'?": {"prices": []},
    "price: must be a list, not dict; write [[price]] above each": {"price": ROW},
    "price[0]: must be a table, not str": {"price": ["m"]},
    "price[0]: name the models, such as ids": {"price": [{"image": 1}]},
    "price[0].ids: must be a list, not str": {"price": [{**ROW, "ids": "m"}]},
    "price[0].ids: must be a list of models": {"price": [{**ROW, "ids": []}]},
    "price[0]: give a price": {"price": [{"ids": ["m"]}]},
    "price[0]: 'imgae' is not known": {"price": [{"ids": ["m"], "imgae": 1}]},
    "Did you mean 'image'?": {"price": [{"ids": ["m"], "imgae": 1}]},
    "price[0].image: must be a number of 0 or more, not '0.03'": {"price": [{"ids": ["m"], "image": "0.03"}]},
    "price[0].image: must be a number of 0 or more, not -1": {"price": [{"ids": ["m"], "image": -1}]},
    "price[0].image: must be a number of 0 or more, not nan": {"price": [{"ids": ["m"], "image": float("nan")}]},
    "price[0].flex: must be a number": {"price": [{**ROW, "flex": True}]},
    "price[0].tokens[0]: 'output' is missing: dollars for a million tokens": {"price": [{**ROW, "tokens": [{"input": 1}]}]},
    "price[0].tokens[0]: 'cache' is not known": {"price": [{**ROW, "tokens": {"input": 1, "output": 1, "cache": 1}}]},
    "price[0].tokens: the last one must have no 'up_to'": {"price": [{**ROW, "tokens": [{"input": 1, "output": 1, "up_to": 9}]}]},
    "price[0].tokens: the last one": {"price": [{**ROW, "tokens": []}]},
    "price[0].tokens[0].up_to: must be a number of tokens": {"price": [{**ROW, "tokens": [{"input": 1, "output": 1, "up_to": "9"}]}]},
    "price[0].tokens[1]: the one before it has no 'up_to'": {"price": [{**ROW, "tokens": [ROW["tokens"], ROW["tokens"]]}]},
    "price[0].tokens[1].up_to: must be more than": {"price": [{**ROW, "tokens": [{**ROW["tokens"], "up_to": 9}, {**ROW["tokens"], "up_to": 8}]}]},
    "price[0].starts: must be a day, such as 2026-11-24, not 'soon'": {"price": [{**ROW, "starts": "soon"}]},
    "price[0].read: must be a day": {"price": [{**ROW, "read": 2026}]},
    "price[0].source: must be a text": {"price": [{**ROW, "source": 7}]},
    "price[0].official: must be true or false": {"price": [{**ROW, "official": "no"}]},
    "discount[0]: 'off' is missing: a share, such as 0.15 for 15%.": {"discount": [{}]},
    "discount[0].off: must be a number of 0 or more, not 'x'": {"discount": [{"off": "x"}]},
    "discount[0].off: is a share, such as 0.15 for 15%, not 15": {"discount": [{"off": 15}]},
    "discount[0].ids: no model of our table fits 'sead-*'": {"discount": [{"off": 0.1, "ids": ["sead-*"]}]},
    "discount: must be a list, not float; write [[discount]] above each": {"discount": 0.1},
    "prices=7 must be the path of a TOML or JSON file": 7,
}  # fmt: skip


@pytest.mark.parametrize("reason", WRONG)
def test_a_wrong_table_is_answered_in_the_users_words(reason):
    with pytest.raises(SettingError) as refused:
        load(WRONG[reason])

    assert reason in str(refused.value)


def test_a_text_that_is_no_path_is_answered_with_a_price_files_name():
    with pytest.raises(SettingError, match=r"The price file .* give its path, such as 'prices\.toml'"):
        load("")


@pytest.mark.parametrize("reason", [reason for reason in WRONG if "Did you mean" in reason])
def test_what_was_meant_ends_the_sentence(reason):
    with pytest.raises(SettingError, match=r"\)\. Did you mean '\w+'\?$"):
        load(WRONG[reason])


def test_a_price_file_that_is_not_there_is_named():
    with pytest.raises(SettingError, match=r"The price file 'nowhere\.toml' cannot be read"):
        load("nowhere.toml")


def test_calls_cost_what_the_users_table_says(instrument, recorded, library, sg):
    instrument(
        prices={"price": [{"ids": ["seed-2-0-lite-260428"], "tokens": {"input": 0, "output": 1_000_000}}]}
    )

    with library.Client(headers={"Authorization": "Bearer k"}) as client:
        client.post(sg + "/chat/completions", json={"model": "seed-2-0-lite-260428", "messages": [{"role": "user", "content": "hi"}]})  # fmt: skip

    tokens = recorded.series("modelark_tokens_total", type="output")
    assert tokens == recorded.series("modelark_cost_usd_total") == float(recorded.exchanges[0].cost_usd)
