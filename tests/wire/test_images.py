"""How an image call's reply is read, streamed or whole."""

from __future__ import annotations

import json

import pytest

from byteplus_trace._facts import Answer, Images, WireError
from byteplus_trace._wire.families import images
from byteplus_trace._wire.reader import END, FAILED, NOTHING, OUTPUT, UNREADABLE, VISIBLE

SUCCEEDED = {"type": "image_generation.partial_succeeded", "model": "m", "url": "https://...", "size": "2K"}
REFUSED = {"code": "OutputImageSensitiveContentDetected", "message": "m"}
FAILED_ITEM = {"type": "image_generation.partial_failed", "error": REFUSED}
COMPLETED = {"type": "image_generation.completed", "usage": {"generated_images": 1, "output_tokens": 4096}}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (SUCCEEDED, OUTPUT | VISIBLE),
        (FAILED_ITEM, OUTPUT),
        (COMPLETED, END),
        (("image_generation.completed", {}), END),
        ({"error": REFUSED}, FAILED),
        (("error", {"code": "C", "message": "m"}), FAILED),
        ({"type": "error", "code": "C"}, FAILED),
        ({"type": "image_generation.new"}, NOTHING),
        ({}, NOTHING),
        (b"?", UNREADABLE),
        (b"", UNREADABLE),
        (b"[DONE]", END),
    ],
)
def test_what_an_event_is(read_events, event, kind):
    assert [kind] == read_events(images, event).kinds


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "byteplus_doc_images_sync_pro.json",
            Answer(
                model="dola-seedream-5-0-pro-260628", images=Images(1, 0, 18000, "2048x2048"), complete=True
            ),
        ),
        (
            "byteplus_doc_images_group_lite.json",
            Answer(model="seedream-5-0-260128", images=Images(3, 0, 48960, "2720x1536"), complete=True),
        ),
        (
            "byteplus_doc_images_layers_usage.json",
            Answer(images=Images(8, 0, 23107, "2048x2048"), complete=True),
        ),
    ],
)
def test_recorded_documents(recorded, answer, name, expected):
    assert expected == answer(images, recorded(name))


def test_images_that_failed_beside_good_ones_are_counted_and_are_no_error(answer):
    reply = answer(images, {"data": [{"url": "u", "size": "2K"}, {"error": REFUSED}, {"error": "?"}]})

    assert Images(1, 2, None, "2K") == reply.images
    assert reply.error is None


def test_a_reply_in_which_nothing_succeeded_is_an_error(read_events, answer):
    error = WireError(code="OutputImageSensitiveContentDetected", message="m")

    assert error == answer(images, {"data": [{"error": REFUSED}, {"error": {"code": "D"}}]}).error
    assert error == read_events(images, FAILED_ITEM).answer.error
    assert read_events(images, FAILED_ITEM, SUCCEEDED).answer.error is None


def test_a_stream_counts_what_was_received(read_events):
    answer = read_events(images, SUCCEEDED, FAILED_ITEM).answer

    assert Answer(model="m", images=Images(1, 1, None, "2K")) == answer


def test_a_stream_to_its_end(read_events):
    assert Answer(model="m", images=Images(1, 0, 4096, "2K"), complete=True) == read_events(images, SUCCEEDED, COMPLETED).answer  # fmt: skip


def test_an_image_in_base64_is_a_success(answer):
    assert Images(1) == answer(images, {"data": [{"b64_json": "AAAA"}]}).images


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"code": "C"}},
        {"data": [], "error": {"code": "C"}},
        {"data": [{"url": "u"}], "error": {"code": "C"}},
        {"type": "error", "code": "C"},
    ],
)
def test_an_error_in_a_document_of_a_success(answer, document):
    assert "C" == answer(images, document).error.code


def test_a_document_without_images_has_none(answer):
    assert Answer() == answer(images, {"data": []})
    assert Answer() == answer(images, b"") == answer(images, b"[]")


def test_a_field_of_another_type_costs_only_itself(answer, read_events):
    odd = {"model": 5, "data": [5, {"size": 5, "url": "u"}, {"error": REFUSED}], "usage": "?"}

    assert Answer(images=Images(1, 1), complete=True) == answer(images, odd)
    assert Images(1) == read_events(images, json.dumps({**SUCCEEDED, "size": 5}).encode()).answer.images
