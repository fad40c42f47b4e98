"""Each spelling of usage becomes the same facts."""

from __future__ import annotations

import json

import msgspec
import pytest

from byteplus_trace._facts import Images, Usage
from byteplus_trace._wire import usage
from byteplus_trace._wire.lenient_json import Shape


class _Document(msgspec.Struct):
    usage: usage.Counts | None = None
    bot_usage: usage.BotCounts | None = None


def read(counts, bot_usage=None):
    document = Shape(_Document).read(json.dumps({"usage": counts, "bot_usage": bot_usage}).encode())
    return document.usage, document.bot_usage


def usage_of(counts, bot_usage=None):
    return usage.usage_of(*read(counts, bot_usage))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"prompt_tokens": 19, "completion_tokens": 9, "total_tokens": 28}, Usage(19, 9)),
        (
            {
                "prompt_tokens": 55,
                "completion_tokens": 242,
                "prompt_tokens_details": {"cached_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 189},
            },
            Usage(55, 242, cache_read_tokens=10, reasoning_tokens=189),
        ),
        (
            {
                "input_tokens": 22596,
                "output_tokens": 218,
                "input_tokens_details": {"cached_tokens": 22328, "audio_tokens": 3},
                "output_tokens_details": {"reasoning_tokens": 18},
            },
            Usage(22596, 218, cache_read_tokens=22328, reasoning_tokens=18, audio_input_tokens=3),
        ),
        (
            {"prompt_tokens": 25, "prompt_tokens_details": {"text_tokens": 5, "image_tokens": 20}},
            Usage(25, None, text_input_tokens=5, image_input_tokens=20),
        ),
        ({"completion_tokens": 108900, "total_tokens": 108900}, Usage(None, 108900)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": 1, "prompt_tokens_details": None, "completion_tokens_details": []}, Usage(1)),
        ({"prompt_tokens": 1, "completion_tokens": "9"}, Usage(1)),
        ({"prompt_tokens": True, "completion_tokens": -1}, None),
        ({"prompt_tokens": 10**19, "completion_tokens": 2**63}, None),
        ({"total_tokens": 5}, None),
        ({}, None),
        (None, None),
        ("usage", None),
    ],
)
def test_chat_and_responses(counts, expected):
    assert expected == usage_of(counts)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 0},
            Usage(100, 5, cache_read_tokens=90, cache_write_tokens=0),
        ),
        ({"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 7}, Usage(17, 5, cache_write_tokens=7)),
        ({"input_tokens": 10, "cache_read_input_tokens": None, "output_tokens": 5}, Usage(10, 5)),
        ({"cache_read_input_tokens": 4}, Usage(4, None, cache_read_tokens=4)),
    ],
)  # fmt: skip
def test_messages_count_their_cache_beside_the_input(counts, expected):
    assert expected == usage_of(counts)


def test_recorded_cache_usage(recorded):
    first, second = json.loads(recorded("byteplus_doc_responses_cache_usage.json"))

    assert Usage(2535, 0, cache_read_tokens=0, reasoning_tokens=0) == usage_of(first)
    assert Usage(2551, 133, cache_read_tokens=2535, reasoning_tokens=0) == usage_of(second)


@pytest.mark.parametrize(
    ("bot_usage", "expected"),
    [
        (
            {"model_usage": [{"prompt_tokens": 5, "completion_tokens": 1}, {"prompt_tokens": 20, "completion_tokens": 9}]},
            Usage(25, 10),
        ),
        ({"model_usage": [{"prompt_tokens": 1, "completion_tokens": None}]}, Usage(7, 2)),
        ({"model_usage": []}, Usage(7, 2)),
        ({"model_usage": [None, "x"]}, Usage(7, 2)),
        ({"model_usage": {}}, Usage(7, 2)),
        ({"action_usage": []}, Usage(7, 2)),
        ([], Usage(7, 2)),
    ],
)  # fmt: skip
def test_a_bot_has_the_usage_of_every_model_it_called(bot_usage, expected):
    assert expected == usage_of({"prompt_tokens": 7, "completion_tokens": 2}, bot_usage)


def test_a_bot_without_usage_of_its_own():
    assert Usage(5, 1) == usage_of(None, {"model_usage": [{"prompt_tokens": 5, "completion_tokens": 1}]})


@pytest.mark.parametrize(
    ("counts", "generated", "expected"),
    [
        ({"generated_images": 3, "output_tokens": 48960}, 2, Images(3, 1, 48960, "2K")),
        ({"output_tokens": 5}, 2, Images(2, 1, 5, "2K")),
        ({"generated_images": "3"}, 2, Images(2, 1, None, "2K")),
        (None, 2, Images(2, 1, None, "2K")),
    ],
)
def test_images_are_counted_as_the_service_counts_them(counts, generated, expected):
    assert expected == usage.images_of(read(counts)[0], generated=generated, failed=1, size="2K")


def test_no_images_where_nothing_is_known_of_them():
    assert usage.images_of(None, generated=0, failed=0, size=None) is None
