"""What a request asks for: its parameters by ModelArk's names, and never content."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from byteplus_trace._edge.rewrite import rewritten_body
from byteplus_trace._wire.families import chat, embeddings, images, messages, plain, responses, tasks
from byteplus_trace._wire.reader import Asked
from byteplus_trace._wire.request import file_ids

FAMILIES = [chat, responses, embeddings, images, messages, tasks, plain]


def ask(family, **fields):
    return family.asked(json.dumps(fields).encode(), False)


def test_a_chat():
    asked = ask(
        chat,
        model="seed-1-6-250915",
        messages=[{"role": "user", "content": "secret"}],
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.3,
        top_p=1,
        max_tokens=512,
        stop=["END", "STOP"],
        seed=7,
        n=2,
        frequency_penalty=0.1,
        presence_penalty=-0.1,
        repetition_penalty=1.1,
        thinking={"type": "enabled"},
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": {"name": "secret"}},
        service_tier="flex",
        user="secret",
        tools=[{"type": "function", "function": {"name": "secret"}}],
    )

    assert "seed-1-6-250915" == asked.model
    assert asked.stream
    assert {
        "include_usage": True,
        "temperature": 0.3,
        "top_p": 1,
        "max_tokens": 512,
        "stop": ["END", "STOP"],
        "seed": 7,
        "n": 2,
        "frequency_penalty": 0.1,
        "presence_penalty": -0.1,
        "repetition_penalty": 1.1,
        "thinking": "enabled",
        "reasoning_effort": "low",
        "response_format": "json_schema",
        "service_tier": "flex",
    } == asked.params


def test_a_response(params):
    assert {
        "max_output_tokens": 99,
        "previous_response_id": "resp_1",
        "store": False,
        "reasoning_effort": "high",
        "response_format": "json_object",
        "conversation": "conv_1",
        "session_id": "s-1",
    } == params(
        responses,
        input="secret",
        instructions="secret",
        max_output_tokens=99,
        previous_response_id="resp_1",
        store=False,
        reasoning={"effort": "high", "summary": "auto"},
        text={"format": {"type": "json_object"}},
        conversation={"id": "conv_1"},
        session={"id": "s-1"},
    )


def test_a_message(params):
    assert {"max_tokens": 10, "top_k": 40, "stop": ["END"], "thinking": "enabled"} == params(
        messages,
        max_tokens=10,
        top_k=40,
        stop_sequences=["END"],
        thinking={"type": "enabled", "budget_tokens": 5},
        metadata={"user_id": "secret"},
    )


def test_an_image(params):
    assert {
        "size": "2K",
        "width": 512,
        "height": 512,
        "seed": 3,
        "guidance_scale": 2.5,
        "watermark": False,
        "response_format": "b64_json",
        "output_format": "png",
        "max_images": 4,
        "has_negative_prompt": True,
    } == params(
        images,
        prompt="secret",
        negative_prompt="secret",
        image="data:image/png;base64,secret",
        size="2K",
        width=512,
        height=512,
        seed=3,
        guidance_scale=2.5,
        watermark=False,
        response_format="b64_json",
        output_format="png",
        sequential_image_generation="auto",
        sequential_image_generation_options={"max_images": 4},
    )


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        ("secret", 1),
        (["a", "b", "c"], 3),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}], 2),
        ([], 0),
        ([17, 4, 99], 1),
        ([[17, 4], [99]], 2),
    ],
)
def test_an_embedding_records_how_many_inputs_it_has(params, sent, count):
    assert {"inputs": count, "dimensions": 1024, "encoding_format": "float"} == params(
        embeddings, input=sent, dimensions=1024, encoding_format="float"
    )


@pytest.mark.parametrize("sent", [None, 5, {"text": "a"}])
def test_inputs_of_no_known_form_are_not_counted(params, sent):
    assert {} == params(embeddings, input=sent)


@pytest.mark.parametrize(
    ("fields", "recorded"),
    [
        ({"sequential_image_generation": "auto"}, {"max_images": 4}),
        ({"sequential_image_generation": "disabled"}, {}),
        ({"sequential_image_generation": None}, {}),
        ({}, {}),
    ],
)
def test_a_bound_on_a_group_of_images_counts_where_a_group_is_made(params, fields, recorded):
    assert recorded == params(images, sequential_image_generation_options={"max_images": 4}, **fields)


def test_only_an_embedding_counts_its_inputs(params):
    assert {} == params(responses, input=["a", "b"])


def test_a_legacy_context(params):
    assert {"context_id": "ctx-1"} == params(chat, context_id="ctx-1")


def test_null_is_not_set():
    """The Ark SDKs send every parameter that was not sent as null."""
    fields = [
        "stream",
        "temperature",
        "stop",
        "thinking",
        "reasoning",
        "text",
        "stream_options",
        "response_format",
        "n",
        "negative_prompt",
    ]

    assert Asked(model="m") == ask(chat, model="m", **dict.fromkeys(fields))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_field_of_another_type_costs_only_itself(family):
    asked = ask(
        family, model="m", temperature=[], n={"a": 1}, thinking=True, reasoning=[], text="x", stop={}, conversation=[], seed=7
    )  # fmt: skip

    assert ("m", {"seed": 7}) == (asked.model, asked.params)


@pytest.mark.parametrize(
    ("field", "value", "recorded"),
    [
        ("thinking", "enabled", "enabled"),
        ("response_format", "url", "url"),
        ("conversation", "conv_1", "conv_1"),
    ],
)
def test_a_plain_string_stands_for_its_object(params, field, value, recorded):
    assert {field: recorded} == params(chat, **{field: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": "END"},
        {"stop": ["END", None, 5, "x" * 1000]},
    ],
)
def test_stop_sequences_are_a_list_of_texts(params, fields):
    assert {"stop": ["END"]} == params(chat, **fields)


def test_a_long_list_of_stop_sequences_is_cut(params):
    assert [str(i) for i in range(16)] == params(chat, stop=[str(i) for i in range(100)])["stop"]


@pytest.mark.parametrize("fields", [{"stop": []}, {"service_tier": "x" * 1000}, {"seed": 10**30}])
def test_values_that_no_parameter_has_are_dropped(params, fields):
    assert {} == params(chat, **fields)


@pytest.mark.parametrize("stream", ["true", 1, None, {}, False])
def test_only_true_streams(stream):
    assert not ask(chat, stream=stream).stream


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"--boundary\r\nContent-Disposition: form-data", b"\xff", b"[" * 99999])  # fmt: skip
def test_a_body_that_is_no_object_asks_for_nothing(family, body):
    assert Asked() == family.asked(body, False)


def test_a_field_that_is_no_text_costs_only_itself():
    assert Asked(params={"n": 2}) == chat.asked(b'{"model": "\xff", "n": 2, "service_tier": "\xff"}', False)


def test_a_request_of_eight_megabytes_is_not_decoded():
    image = "data:image/png;base64," + "A" * 8_000_000
    body = json.dumps({"model": "m", "messages": [{"content": [{"image_url": {"url": image}}]}]}).encode()
    tracemalloc.start()
    asked = chat.asked(body, False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "m" == asked.model
    assert peak < 100_000


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "prompt": "an emoji cut: \\ud83d", "n": 2}',
        b'{"model": "m", "prompt": "\\\\ud83d \\udc00\\ud83d x", "n": 2}',
        b'\xef\xbb\xbf{"model": "m", "n": 2}',
        b'{"model": "m", "temperature": NaN, "n": 2, "top_p": -Infinity}',
    ],
)
def test_what_json_loads_takes_is_read(family, body):
    assert Asked(model="m", params={"n": 2}) == family.asked(body, False)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b"{ }", b'{"model":"n"}'),
        (b'{"a":1, "model":null}', b'{"a":1,"model":"n"}'),
        (b'\xef\xbb\xbf{ }\n', b'\xef\xbb\xbf{ "model":"n"}\n'),
        (b'{"\\ud83d": NaN}', b'{"\\ud83d": NaN,"model":"n"}'),
        (b'{"model":NaN , "x":{"model":"\\ud83d"}}', b'{"model":"n" , "x":{"model":"\\ud83d"}}'),
        (b'{"model":"a","x":NaN,"model":"b"}', b'{"model":"n","x":NaN,"model":"n"}'),
        ('{"é":NaN}'.encode("utf-16-le"), '{"é":NaN,"model":"n"}'.encode("utf-16-le")),
        (b"[NaN]", b"[NaN]"),
        (b'{"x":NaN', b'{"x":NaN'),
    ],
)  # fmt: skip
def test_only_the_fields_that_change_are_written_anew(body, changed):
    assert changed == rewritten_body(body, {"model": "n"}, include_usage=False)


def test_usage_is_asked_for_beside_the_callers_own_options():
    strict, lenient = b'{"stream_options":{"a":1}}', b'{"stream_options":{"a":1},"x":NaN}'

    assert b'{"stream_options":{"a":1,"include_usage":true}}' == rewritten_body(
        strict, {}, include_usage=True
    )
    assert b'{"stream_options":{"a":1,"include_usage":true},"x":NaN}' == rewritten_body(
        lenient, {}, include_usage=True
    )


PARTS = [
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
    {"messages": [{"content": [{"type": "image_url", "image_url": {"file_id": "file-1"}}]}]},
    {"messages": [{"content": [{"type": "video_url", "video_url": {"file_id": "file-1"}}]}]},
    {"messages": [{"content": [{"type": "input_audio", "input_audio": {"file_id": "file-1"}}]}]},
    {"messages": [{"content": [{"type": "document", "source": {"type": "file", "file_id": "file-1"}}]}]},
    {"messages": [{"content": [{"type": "tool_result", "content": [{"source": {"file_id": "file-1"}}]}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    {"input": [{"content": [{"type": "input_image", "image_url": {"file_id": "file-1"}}]}]},
    {"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_id": "file-1"}]}]},
]


@pytest.mark.parametrize("fields", PARTS)
def test_the_files_that_a_request_names(fields):
    assert ["file-1"] == file_ids(json.dumps(fields).encode())


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": '{"file_id": "file-1"}'}]},
        {"messages": [{"content": [{"type": "tool_use", "input": {"file_id": "file-1"}}]}]},
        {"tools": [{"function": {"parameters": {"properties": {"file_id": {"type": "string"}}}}}]},
        {"messages": {"file_id": 5}, "input": [None, {"file_id": 5, "file": "file-1"}], "x": "\ud83d"},
    ],
)
def test_what_only_speaks_of_files_names_none(fields):
    assert [] == file_ids(json.dumps(fields).encode())


@pytest.mark.parametrize("body", [b"", b'{"file_id"', b'["file_id"]', b'{"file_id":' + b"[" * 9999])
def test_a_body_that_is_no_object_names_no_files(body):
    assert [] == file_ids(body)
