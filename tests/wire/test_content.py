"""Captured content, in the message schema of the GenAI conventions."""

import base64
import hashlib
import json
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byteplus_trace._facts import Content
from byteplus_trace._wire.content import Collector, of_request

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 5
PNG64 = base64.b64encode(PNG).decode()
FAMILIES = ["chat", "responses", "embeddings", "images", "messages"]


def asked(family, **body):
    return of_request(family, json.dumps(body).encode())


def messages(family, **body):
    return asked(family, **body).messages


def parts(family, **body):
    [message] = messages(family, **body)
    return message["parts"]


def streamed(family, *events, names=True):
    collector = Collector(family)
    for event in events:
        collector.event(event.get("type", "") if names else "", json.dumps(event).encode())
    return collector.content().messages


def replied(family, **body):
    collector = Collector(family)
    collector.document(json.dumps(body).encode())
    return collector.content().messages


def text(content):
    return {"type": "text", "content": content}


def png(**more):
    return {
        "type": "blob",
        "modality": "image",
        "size": len(PNG),
        "sha256": hashlib.sha256(PNG).hexdigest(),
        **more,
    }


def everything(value):
    """All strings of a JSON value, names of entries included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from everything(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from everything(item)


def recorded(content):
    return list(everything([content.messages, content.system_instructions, content.tool_definitions]))


# What was asked


def test_a_conversation_keeps_its_order_and_its_system_message():
    """The conventions: what is part of the chat history stays there."""
    texts = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello", "name": None},
        {"role": "user", "content": "Hi, both", "name": "ann"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "A greeting."},
    ]

    content = asked("chat", model="m", messages=texts, tools=None)

    assert content == Content(
        messages=[
            {"role": "system", "parts": [text("Be brief.")]},
            {"role": "user", "parts": [text("Hello")]},
            {"role": "user", "parts": [text("Hi, both")], "name": "ann"},
            {"role": "assistant", "parts": [{"type": "reasoning", "content": "A greeting."}, text("Hi")]},
        ]
    )


def test_a_tools_round_trip_is_a_call_and_its_response():
    texts = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Paris"}'},
                },
                {"id": "c2", "type": "function", "function": {"name": "broken", "arguments": '{"city":'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]

    assert messages("chat", messages=texts) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}},
                {"type": "tool_call", "id": "c2", "name": "broken", "arguments": '{"city":'},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}]},
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}", "detail": "high"}},
        {"type": "image_url", "image_url": f"DATA:image/png;base64,{PNG64}"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG64}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG64}},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64.rstrip('=')}"}},
    ],
)
def test_inline_images_become_their_size_and_hash(part):
    assert parts("chat", messages=[{"role": "user", "content": [part]}]) == [png(mime_type="image/png")]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://u:p@cdn.example/a/b.png?X-Sig=s3cret&e=1#f"}},
            {"type": "uri", "modality": "image", "uri": "https://cdn.example/a/b.png"},
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://cdn.example/v.mp4", "fps": 1}},
            {"type": "uri", "modality": "video", "uri": "https://cdn.example/v.mp4"},
        ),
        (
            {"type": "image_url", "image_url": {"file_id": "file-1"}},
            {"type": "file", "modality": "image", "file_id": "file-1"},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            {
                "type": "blob",
                "modality": "audio",
                "mime_type": "audio/wav",
                "size": 4,
                "sha256": hashlib.sha256(b"RIFF").hexdigest(),
            },
        ),
        (
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,UklGRg==", "filename": "a.pdf"},
            },
            {
                "type": "blob",
                "modality": "document",
                "mime_type": "application/pdf",
                "size": 4,
                "sha256": hashlib.sha256(b"RIFF").hexdigest(),
                "filename": "a.pdf",
            },
        ),
        (
            {"type": "input_file", "file_id": "file-2"},
            {"type": "file", "modality": "document", "file_id": "file-2"},
        ),
        (
            {
                "type": "hologram",
                "hologram": {"url": "https://h.example/x?sig=s3cret"},
                "signature": "opaque",
            },
            {"type": "hologram", "hologram": {"url": "https://h.example/x"}},
        ),
    ],
)
def test_other_media_keep_what_names_them_and_no_query(part, expected):
    assert parts("chat", messages=[{"role": "user", "content": [part]}]) == [expected]


def test_arguments_keep_their_texts_and_give_up_their_media():
    arguments = {"note": "data: none, sadly", "picture": f"data:image/png;base64,{PNG64}", "raw": PNG64}
    call = {"id": "c1", "function": {"name": "f", "arguments": json.dumps(arguments)}}

    [part] = parts("chat", messages=[{"role": "assistant", "tool_calls": [call]}])

    assert part["arguments"] == {
        "note": "data: none, sadly",
        "picture": png(modality="unknown", mime_type="image/png"),
        "raw": png(modality="unknown"),
    }


def test_base64_that_does_not_decode_has_a_size_and_no_hash():
    url = "data:image/png;base64,****"

    assert parts("images", prompt=None, image=url) == [
        {"type": "blob", "modality": "image", "mime_type": "image/png", "size": 3}
    ]


def test_wrapped_base64_hashes_like_unwrapped():
    wrapped = base64.encodebytes(PNG).decode()

    assert parts("images", image=f"data:image/png;base64,{wrapped}") == [png(mime_type="image/png")]


def test_a_large_image_hashes_in_pieces():
    large = bytes(range(256)) * 3000
    [part] = parts("images", image=base64.b64encode(large).decode())

    assert (len(large), hashlib.sha256(large).hexdigest()) == (part["size"], part["sha256"])


def test_a_responses_instructions_stand_apart_from_its_input():
    content = asked("responses", instructions="Be brief.", input="Hello")

    assert content == Content(
        messages=[{"role": "user", "parts": [text("Hello")]}], system_instructions=[text("Be brief.")]
    )


def test_a_responses_items_become_messages():
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Look."}],
            "encrypted_content": "x",
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Paris"}'},
        {"type": "function_call_output", "call_id": "c1", "output": '{"sky":"grey"}'},
        {"type": "web_search_call", "id": "ws1", "status": "completed", "action": {"query": "rain"}},
    ]

    assert messages("responses", input=items) == [
        {"role": "user", "parts": [text("Weather?")]},
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "Look."}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "name": "weather", "id": "c1", "arguments": {"city": "Paris"}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": '{"sky":"grey"}'}]},
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "server_tool_call",
                    "name": "web_search",
                    "id": "ws1",
                    "server_tool_call": {
                        "type": "web_search",
                        "status": "completed",
                        "action": {"query": "rain"},
                    },
                }
            ],
        },
    ]


def test_a_messages_system_and_blocks_are_read():
    content = asked(
        "messages",
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Look.", "signature": "opaque"},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [{"type": "text", "text": "rain"}],
                    }
                ],
            },
        ],
        tools=[{"name": "weather", "description": "The sky.", "input_schema": {"type": "object"}}],
    )

    assert content == Content(
        messages=[
            {"role": "user", "parts": [text("Weather?")]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "Look."},
                    {"type": "tool_call", "name": "weather", "id": "t1", "arguments": {"city": "Paris"}},
                ],
            },
            {
                "role": "user",
                "parts": [{"type": "tool_call_response", "id": "t1", "response": [text("rain")]}],
            },
        ],
        system_instructions=[text("Be brief.")],
        tool_definitions=[
            {
                "type": "function",
                "name": "weather",
                "description": "The sky.",
                "parameters": {"type": "object"},
            }
        ],
    )


def test_an_image_prompt_comes_with_what_to_avoid_and_what_to_start_from():
    content = asked(
        "images", prompt="a cat", negative_prompt="dogs", image=[f"data:image/png;base64,{PNG64}"]
    )

    assert content.messages == [
        {
            "role": "user",
            "parts": [
                text("a cat"),
                {"type": "negative_prompt", "content": "dogs"},
                png(mime_type="image/png"),
            ],
        }
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a", [[text("a")]]),
        (["a", "b"], [[text("a")], [text("b")]]),
        ([[1, 2, 3], [4]], [[{"type": "tokens", "count": 3}], [{"type": "tokens", "count": 1}]]),
        (
            [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "https://x.example/i?k=1"}},
            ],
            [[text("a"), {"type": "uri", "modality": "image", "uri": "https://x.example/i"}]],
        ),
    ],
)
def test_embeddings_inputs(source, expected):
    assert messages("embeddings", input=source) == [{"role": "user", "parts": parts} for parts in expected]


def test_a_thousand_tokens_to_embed_are_one_input():
    assert parts("embeddings", input=list(range(1000))) == [{"type": "tokens", "count": 1000}]


def test_tools_are_defined_flat_and_never_with_their_credentials():
    tools = [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
        {"type": "function", "name": "g", "parameters": None},
        {
            "type": "mcp",
            "server_label": "s",
            "server_url": "https://m.example/mcp?key=s3cret",
            "headers": {"Authorization": "Bearer s3cret"},
            "authorization": "s3cret",
        },
        {"type": "namespace", "name": "n", "tools": [{"type": "mcp", "headers": {"X-Key": "s3cret"}}]},
        {"type": "web_search", "limit": 3},
    ]

    assert asked("responses", tools=tools).tool_definitions == [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
        {"type": "function", "name": "g"},
        {"type": "mcp", "server_label": "s", "server_url": "https://m.example/mcp", "name": "mcp"},
        {"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]},
        {"type": "web_search", "limit": 3, "name": "web_search"},
    ]


def test_looking_at_a_name_takes_no_longer_than_it_is_long():
    """Four times the name in less than eight times the processor's time, or in no time at all."""
    took = []
    for size in (16_384, 65_536):
        name = "privatekey" * (size // 10) + "\n."
        began = time.process_time()
        of_request("chat", json.dumps({"tools": [{"type": "mcp", name: 1}]}).encode())
        took.append(time.process_time() - began)

    assert took[1] < 8 * took[0] or took[1] < 0.25


SECRETS = ["Authorization", "x-api-key", "apiKey", "ark_api_key", "TOKEN", "access_token", "Set-Cookie", "db-password",
           "client_secret", "secretKey", "aws_secret_access_key", "credentials",
           "private_key\nof.mine"]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_a_field_named_like_a_secret_is_hidden_wherever_a_tool_has_it(name):
    has = {"limit": 3, name: "s3cret", "auth": {name: {"value": "s3cret"}, "kind": "basic"}}
    is_kept = {"limit": 3, "auth": {"kind": "basic"}}
    called = {"id": "c1", "function": {"name": "f", "arguments": json.dumps(has)}}
    texts = [
        {"role": "assistant", "tool_calls": [called]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": has}]},
    ]
    by_service = {"type": "mcp_call", "id": "m1", "name": "f", "arguments": json.dumps(has)}

    assert asked("responses", tools=[{"type": "mcp", "name": "s", **has}]).tool_definitions == [
        {"type": "mcp", "name": "s", **is_kept}
    ]
    (call,), (response,) = (message["parts"] for message in messages("chat", messages=texts))
    assert is_kept == call["arguments"]
    assert is_kept == response["response"]
    [kept] = replied("responses", status="completed", output=[by_service])
    assert is_kept == kept["parts"][0]["server_tool_call"]["arguments"]


def test_headers_of_a_tool_are_hidden_however_they_are_written():
    tool = {"type": "mcp", "name": "s", "HEADERS": {"a": "s3cret"}, "auth": {"Headers": {"a": "s3cret"}}}

    assert asked("responses", tools=[tool]).tool_definitions == [{"type": "mcp", "name": "s", "auth": {}}]


def test_a_secret_parameter_is_defined_and_its_examples_are_hidden():
    properties = {"api_key": {"type": "string"}, "max_tokens": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["api_key"]}
    source = {**schema, "examples": [{"api_key": "s3cret", "max_tokens": 5}]}
    function = {"name": "f", "parameters": source}

    [tool] = asked("chat", messages=[], tools=[{"type": "function", "function": function}]).tool_definitions

    assert {**schema, "examples": [{"max_tokens": 5}]} == tool["parameters"]


# What was answered


def chunk(finish_reason=None, index=0, **delta):
    choice = {"index": index, "delta": {"role": "assistant", **delta}}
    return {"choices": [choice | ({"finish_reason": finish_reason} if finish_reason else {})]}


def test_a_chat_stream_is_put_together():
    texts = streamed(
        "chat",
        chunk(content="", reasoning_content="Let me "),
        chunk(content="", reasoning_content="think."),
        chunk(content="", encrypted_content="opaque"),
        chunk(content="He"),
        chunk(content="llo", finish_reason="stop"),
        {"choices": [], "usage": {"total_tokens": 3}},
    )

    assert texts == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "Let me think."}, text("Hello")],
            "finish_reason": "stop",
        }
    ]


def test_tool_calls_are_put_together_from_their_deltas():
    texts = streamed(
        "chat",
        chunk(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ""}}]),
        chunk(tool_calls=[{"index": 1, "id": "c2", "function": {"name": "time", "arguments": "{}"}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"city":'}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '"Paris"}'}}]),
        chunk(finish_reason="tool_calls"),
    )

    assert texts == [
        {
            "role": "assistant",
            "parts": [
                {"type": "tool_call", "name": "weather", "id": "c1", "arguments": {"city": "Paris"}},
                {"type": "tool_call", "name": "time", "id": "c2", "arguments": {}},
            ],
            "finish_reason": "tool_calls",
        }
    ]


def test_each_choice_is_a_message_and_a_cut_one_is_marked():
    texts = streamed("chat", chunk(index=1, content="b"), chunk(index=0, content="a", finish_reason="length"))

    assert texts == [
        {"role": "assistant", "parts": [text("a")], "finish_reason": "length"},
        {"role": "assistant", "parts": [text("b")], "finish_reason": "error"},
    ]


def test_a_chat_document_reads_as_its_stream_does():
    message = {
        "role": "assistant",
        "content": "Hello",
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }

    whole = replied("chat", choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    pieces = streamed(
        "chat",
        chunk(reasoning_content="Hm."),
        chunk(content="Hello"),
        chunk(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}]),
        chunk(finish_reason="tool_calls"),
    )

    assert whole == pieces


ITEMS = [
    {"type": "reasoning", "id": "rs1", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
    {"type": "web_search_call", "id": "ws1", "action": {"query": "rain"}},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
]
DELTAS = [
    {"type": "response.created", "response": {"id": "resp_1"}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs1"}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm"},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "."},
    {"type": "response.output_item.done", "output_index": 0, "item": ITEMS[0]},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "lo"},
    {"type": "response.output_text.done", "output_index": 1, "text": "Hello"},
    {"type": "response.output_item.done", "output_index": 1, "item": ITEMS[1]},
    {"type": "response.output_item.done", "output_index": 2, "item": ITEMS[2]},
    {"type": "response.output_item.added", "output_index": 3, "item": {**ITEMS[3], "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 3, "delta": '{"a":1}'},
    {"type": "response.output_item.done", "output_index": 3, "item": ITEMS[3]},
]
TEXT = [
    {"type": "reasoning", "content": "Hm."},
    text("Hello"),
    {
        "type": "server_tool_call",
        "name": "web_search",
        "id": "ws1",
        "server_tool_call": {"type": "web_search", "action": {"query": "rain"}},
    },
    {"type": "tool_call", "name": "f", "id": "c1", "arguments": {"a": 1}},
]


@pytest.mark.parametrize("names", [True, False])
def test_a_response_that_is_cut_off_keeps_what_was_received(names):
    assert streamed("responses", *DELTAS, names=names) == [
        {"role": "assistant", "parts": TEXT, "finish_reason": "error"}
    ]


@pytest.mark.parametrize(
    ("response", "finish_reason"),
    [
        ({"status": "completed"}, "tool_calls"),
        ({"status": "incomplete", "incomplete_details": {"reason": "length"}}, "length"),
        ({"status": "failed", "error": {"code": "server_error"}}, "error"),
    ],
)
def test_the_last_event_of_a_response_counts(response, finish_reason):
    whole = {**response, "output": ITEMS}
    last = {"type": f"response.{response['status']}", "response": whole}
    expected = [{"role": "assistant", "parts": TEXT, "finish_reason": finish_reason}]

    assert replied("responses", **whole) == expected
    assert streamed("responses", last) == expected
    assert streamed("responses", *DELTAS, last) == expected


def test_a_last_event_without_output_keeps_earlier_output():
    last = {"type": "response.incomplete", "response": {"status": "incomplete", "output": []}}

    assert streamed("responses", *DELTAS, last) == [
        {"role": "assistant", "parts": TEXT, "finish_reason": "incomplete"}
    ]


def test_a_messages_stream_reads_as_its_document_does():
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "opaque"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ]
    expected = [
        {
            "role": "assistant",
            "parts": [TEXT[0], TEXT[1], TEXT[3] | {"id": "t1"}],
            "finish_reason": "tool_use",
        }
    ]

    assert replied("messages", type="message", content=blocks, stop_reason="tool_use") == expected
    assert expected == streamed(
        "messages",
        {"type": "message_start", "message": {"id": "m1", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "opaque"},
        },
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"a"'},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": ":1}"},
        },
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )


def test_images_are_recorded_by_address_or_by_hash():
    data = [
        {"url": "https://ark.example/i.jpeg?X-Tos-Signature=s3cret", "size": "2K"},
        {"b64_json": PNG64, "output_format": "png"},
        {"error": {"code": "OutputImageSensitiveContentDetected", "message": "no"}},
    ]
    expected = [
        {
            "role": "assistant",
            "parts": [
                {"type": "uri", "modality": "image", "uri": "https://ark.example/i.jpeg"},
                png(mime_type="image/png"),
                {"type": "error", "code": "OutputImageSensitiveContentDetected", "message": "no"},
            ],
            "finish_reason": "stop",
        }
    ]
    kinds = ["succeeded", "succeeded", "failed"]

    assert replied("images", data=data) == expected
    assert expected == streamed(
        "images",
        *[
            {"type": f"image_generation.partial_{kind}", **item}
            for kind, item in zip(kinds, data, strict=True)
        ],
        {"type": "image_generation.completed", "usage": {"generated_images": 2}},
    )


def test_embeddings_have_no_readable_content():
    assert replied("embeddings", data=[{"embedding": [0.1, 0.2]}]) == []


# How much is kept


def test_a_long_text_is_cut_and_marked():
    [part] = parts("chat", messages=[{"role": "user", "content": "x" * 20_000}])

    assert part == text("x" * 16_384 + " [... 3616 characters cut]")


def test_a_long_stream_is_cut_as_a_long_document_is():
    pieces = streamed("chat", *[chunk(content="x" * 100)] * 200, chunk(finish_reason="stop"))
    whole = replied("chat", choices=[{"message": {"content": "x" * 20_000}, "finish_reason": "stop"}])

    assert whole == pieces


def test_of_a_long_conversation_the_newest_is_kept():
    texts = [{"role": "user", "content": f"{turn} " + "x" * 10_000} for turn in range(40)]
    texts.append({"role": "user", "content": "and now?"})

    kept = messages("chat", messages=texts)

    assert kept[-1] == {"role": "user", "parts": [text("and now?")]}
    assert kept[0]["role"] == "cut"
    assert kept[0]["parts"] == [{"type": "cut", "messages": 41 - len(kept[1:])}]
    assert 25 <= len(kept[1:]) <= 28


@pytest.mark.parametrize(
    ("family", "body"),
    [
        ("chat", {"messages": [{"role": "user", "content": "x"}] * 100_000}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 100_000}]}),
        ("chat", {"messages": [{"role": "x" * 9_000_000, "content": "y"}]}),
        ("chat", {"messages": [{"content": [{"type": "odd", "more": {str(n): n for n in range(100_000)}}]}]}),
        ("chat", {"messages": [], "tools": [{"type": "function", "function": {"name": "f" * 100}}] * 10_000}),
        (
            "chat",
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}] * 100_000}]},
        ),
        ("embeddings", {"input": ["x" * 100] * 100_000}),
        ("embeddings", {"input": [[1]] * 100_000}),
        ("images", {"prompt": "x" * 10**6, "image": ["https://x.example/" + "y" * 5_000] * 1_000}),
    ],
)
def test_whatever_is_asked_what_is_kept_is_bounded(family, body):
    content = of_request(family, json.dumps(body).encode())
    kept = recorded(content)

    assert sum(map(len, kept)) < 1.5 * 256 * 1024
    assert any("cut" in name for name in kept) or family == "images"


@pytest.mark.parametrize(
    ("family", "events"),
    [
        ("chat", [chunk(content="x" * 1_000)] * 5_000),
        ("chat", [chunk(index=n % 100, content="x" * 5_000) for n in range(300)]),
        ("chat", [chunk(index=n, content="x") for n in range(20_000)]),
        ("chat", [chunk(tool_calls=[{"index": n, "function": {"name": "f" * 50}}]) for n in range(20_000)]),
        (
            "responses",
            [{"type": "response.output_text.delta", "output_index": n, "delta": "x"} for n in range(20_000)],
        ),
        (
            "images",
            [{"type": "image_generation.partial_succeeded", "url": "https://x.example/" + "y" * 99}] * 20_000,
        ),
    ],
)
def test_whatever_is_streamed_what_is_kept_is_bounded(family, events):
    assert sum(map(len, everything(streamed(family, *events)))) < 1.5 * 256 * 1024


def test_deep_values_are_cut_and_not_climbed():
    deep = "1"
    for _ in range(200):
        deep = f'{{"a":{deep}}}'
    body = f'{{"messages":[{{"content":[{{"type":"odd","value":{deep}}}]}}]}}'

    assert "[... deeper levels cut]" in recorded(of_request("chat", body.encode()))


# Whatever comes

NAMES = [
    "type", "role", "content", "text", "image_url", "input_audio", "file", "source", "url", "data", "file_id", "format",
    "tool_calls", "function", "name", "arguments", "id", "index", "choices", "delta", "message", "finish_reason", "output",
    "item", "output_index", "response", "status", "messages", "input", "instructions", "system", "prompt", "image", "tools",
    "summary", "content_block", "partial_json", "thinking", "reasoning_content", "b64_json", "error", "parameters",
]  # fmt: skip
KINDS = [
    "text", "image_url", "input_image", "image", "input_audio", "file", "tool_use", "tool_result", "server_tool_use",
    "web_search_tool_result", "function", "function_call", "function_call_output", "reasoning", "message", "x_call",
    "response.output_text.delta", "response.output_item.added", "response.output_item.done", "response.completed",
    "response.function_call_arguments.delta", "content_block_start", "content_block_delta", "message_delta",
    "image_generation.partial_succeeded", "data:;base64,QQ==", "data:", "https://u@h/p?q", "a" * 300,
]  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(KINDS)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6)
    ),
    max_leaves=25,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=8)


@settings(max_examples=25)
@given(family=st.sampled_from(FAMILIES), body=objects, events=st.lists(objects, max_size=4))
def test_any_json_is_read_without_raising_into_plain_values(family, body, events):
    collector = Collector(family)
    for event in events:
        collector.event("", msgspec.json.encode(event))
    streamed_content = collector.content()
    collector.document(msgspec.json.encode(body))

    for content in (of_request(family, msgspec.json.encode(body)), streamed_content, collector.content()):
        for texts in (content.messages, content.system_instructions, content.tool_definitions):
            assert json.loads(msgspec.json.encode(texts)) == texts
            assert all(isinstance(one, dict) for one in texts)
        assert all({"role", "parts"} <= message.keys() for message in content.messages)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"messages":',
        b"[" * 100_000,
        b'"\\ud800"',
        b"[DONE]",
        b"1e999",
    ],
)
@pytest.mark.parametrize("family", [*FAMILIES, "another"])
def test_what_is_no_json_object_has_no_content(family, body):
    collector = Collector(family)
    collector.event("x", body)
    collector.document(body)

    assert of_request(family, body) == collector.content() == Content()
