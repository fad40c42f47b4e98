"""How embeddings, tasks and plain documents are read."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest

from byteplus_trace._facts import Answer, Usage
from byteplus_trace._wire.body import Body
from byteplus_trace._wire.families import chat, embeddings, lists, plain, tasks, tokens
from byteplus_trace._wire.reader import END, FAILED, OUTPUT, UNREADABLE


def test_recorded_multimodal_embeddings(recorded, answer):
    """Of mixed media `data` is an object."""
    assert Answer(
        id="021752133359863906427fb4b36437c414d645f52206dfc398f85",
        model="skylark-embedding-vision-250615",
        usage=Usage(25),
        complete=True,
    ) == answer(embeddings, recorded("byteplus_doc_multimodal_embedding_excerpt.json"))


def test_embeddings_of_text_and_image(answer):
    usage = {
        "prompt_tokens": 25,
        "total_tokens": 25,
        "prompt_tokens_details": {"text_tokens": 5, "image_tokens": 20},
    }

    assert Usage(25, text_input_tokens=5, image_input_tokens=20) == answer(
        embeddings, {"data": [{"embedding": [0.1], "index": 0}], "usage": usage}
    ).usage  # fmt: skip


def test_vectors_are_not_decoded():
    body = json.dumps(
        {"data": [{"embedding": [0.123456789] * 2048}] * 256, "usage": {"prompt_tokens": 1}}
    ).encode()
    reader = embeddings.reader(False)
    tracemalloc.start()
    reader.document(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert Usage(1) == reader.answer().usage
    assert peak < 100_000


def test_recorded_tokens_and_models(recorded, answer):
    tokenized = answer(tokens, recorded("byteplus_live_tokenization.json"))

    assert "seed-2-0-lite-260228" == tokenized.model
    assert tokenized.complete
    assert Answer(complete=True) == answer(lists, recorded("volc_live_models_excerpt.json"))


def test_a_file_has_its_id(answer):
    assert "file-1" == answer(plain, {"id": "file-1", "object": "file", "status": "active"}).id


def test_a_context_has_its_usage(answer):
    made = answer(plain, {"id": "ctx-1", "model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 0}})

    assert ("ctx-1", Usage(9, 0)) == (made.id, made.usage)


def test_a_task_just_made(answer):
    assert Answer(task_id="cgt-1", complete=True) == answer(tasks, {"id": "cgt-1"})


def test_a_task_that_succeeded(answer):
    assert Answer(
        model="seedance-1-0-pro-250528",
        usage=Usage(None, 108900),
        complete=True,
        service_tier="default",
        task_id="cgt-1",
        status="succeeded",
    ) == answer(
        tasks,
        {
            "id": "cgt-1",
            "model": "seedance-1-0-pro-250528",
            "status": "succeeded",
            "service_tier": "default",
            "content": {"video_url": "https://..."},
            "usage": {"completion_tokens": 108900, "total_tokens": 108900},
            "error": None,
        },
    )


def test_a_task_that_failed(answer):
    failed = answer(tasks, {"id": "cgt-1", "status": "failed", "error": {"code": "C", "message": "m"}})

    # The asking went well: that the task failed is what it answers.
    assert ("cgt-1", "failed", None, True) == (failed.task_id, failed.status, failed.error, failed.complete)
    assert "C" == answer(tasks, {"error": {"code": "C", "message": "m"}}).error.code


@pytest.mark.parametrize("family", [embeddings, tasks, plain])
@pytest.mark.parametrize(
    "document",
    [{"error": {"code": "C"}}, {"id": "x", "error": {"code": "C"}}, {"type": "error", "code": "C"}],
)
def test_an_error_in_a_document_of_a_success(answer, family, document):
    assert "C" == answer(family, document).error.code


@pytest.mark.parametrize("family", [embeddings, tasks, plain])
@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"id"', b"null"])
def test_a_document_that_is_no_object_has_no_answer(answer, family, body):
    assert Answer() == answer(family, body)


@pytest.mark.parametrize("family", [embeddings, tasks, plain])
def test_a_field_of_another_type_costs_only_itself(answer, family):
    odd = {"id": 5, "model": "m", "usage": "?", "status": [], "service_tier": 5}

    assert Answer(model="m") == answer(family, odd)


@pytest.mark.parametrize("family", [embeddings, tasks, plain])
def test_none_of_them_streams_and_an_object_that_comes_all_the_same_is_output(read_events, family):
    kinds, answer = read_events(family, {"id": "x"}, b"", {"error": {"code": "C"}}, b"?", b"[DONE]")

    assert [OUTPUT, UNREADABLE, FAILED, UNREADABLE, END] == kinds
    assert ("C", True) == (answer.error.code, answer.complete)


def test_a_large_document_with_what_is_no_number_is_not_read_by_python(monkeypatch, answer):
    """It takes 20 ms for a megabyte, and an event loop waits for that."""
    monkeypatch.delattr("byteplus_trace._wire.lenient_json.json.loads")
    vector = ",".join(["0.5"] * 400_000)

    for value in ("NaN", "Infinity", "-Infinity", '"a text"'):
        document = f'{{"data":[{{"embedding":[{vector},{value}]}}],"id":7,"usage":{{"prompt_tokens":3}}}}'
        assert Usage(3) == answer(embeddings, document.encode()).usage


def hostile(size=300):
    """A document in which every name is long."""
    name = "n" * size
    choices = [{"index": index, "finish_reason": name} for index in range(500)]
    return {
        "id": name,
        "model": name,
        "choices": choices,
        "service_tier": name,
        "error": {"code": name, "type": name},
    }


@pytest.mark.parametrize("streams", [True, False])
def test_what_is_kept_of_a_reply_is_bounded_however_long_its_names_are(streams):
    content_type = "text/event-stream" if streams else "application/json"
    body = Body(chat, 200, {"content-type": content_type}, False, time.perf_counter)
    document = json.dumps(hostile()).encode()
    body.feed(b"data: " + document + b"\n\n" if streams else document)
    body.end()

    found = body.answer()

    assert 256 == len(found.id) == len(found.model) == len(found.service_tier)
    assert 256 == len(found.error.code) == len(found.error.type)
    assert 128 >= len(found.finish_reasons)
    assert {256} >= {len(reason) for reason in found.finish_reasons if reason != "error"}
