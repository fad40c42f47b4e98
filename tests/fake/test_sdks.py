"""Each SDK reads what the fake answers."""

import base64
import io
import json

import openai
import pytest
from byteplussdkarkruntime.types.images import SequentialImageGenerationOptions

MODEL = "seed-2-0-lite-260428"
ANSWER = "Hello! How can I help you today?"
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Good morning, all!"}]
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


def test_each_sdk_reads_a_chat_and_its_stream(sdk):
    whole = sdk.chat.completions.create(model=MODEL, messages=MESSAGES)
    chunks = list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))  # fmt: skip

    assert (ANSWER, 22) == (whole.choices[0].message.content, whole.usage.total_tokens)
    assert ANSWER == "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    assert (8, 14) == (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)


def test_each_sdk_reads_a_tool_call_and_its_stream(sdk):
    asked = {"model": MODEL, "messages": MESSAGES, "tools": [{"type": "function", "function": WEATHER}]}
    whole = sdk.chat.completions.create(**asked).choices[0]
    chunks = [chunk.choices[0] for chunk in sdk.chat.completions.create(stream=True, **asked)]
    deltas = [call for choice in chunks for call in choice.delta.tool_calls or ()]

    assert "tool_calls" == whole.finish_reason == chunks[-1].finish_reason
    assert {"city": "text"} == json.loads(whole.message.tool_calls[0].function.arguments)
    assert {"city": "text"} == json.loads("".join(delta.function.arguments for delta in deltas))


def test_each_sdk_reads_a_response_its_stream_and_what_is_stored(sdk):
    whole = sdk.responses.create(model=MODEL, input="Hi", instructions="Be kind.")
    stream = list(sdk.responses.create(model=MODEL, input="More", previous_response_id=whole.id, stream=True))

    assert ["reasoning", "message"] == [item.type for item in whole.output]
    assert (4, 3, 14, 5) == (
        whole.usage.input_tokens,
        whole.usage.input_tokens_details.cached_tokens,
        whole.usage.output_tokens,
        whole.usage.output_tokens_details.reasoning_tokens,
    )
    assert ["response.created", "response.completed"] == [stream[at].type for at in (0, -1)]
    assert list(range(len(stream))) == [event.sequence_number for event in stream]
    assert ANSWER == "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert whole.output[-1].content[0].text == sdk.responses.retrieve(whole.id).output[-1].content[0].text
    sdk.responses.delete(whole.id)
    with pytest.raises(Exception, match="is not found"):
        sdk.responses.retrieve(whole.id)


def test_each_sdk_reads_a_function_call_of_a_response(sdk):
    tools = [{"type": "function", **WEATHER}]
    stream = list(sdk.responses.create(model=MODEL, input="Hi", tools=tools, stream=True))
    (done,) = (event for event in stream if event.type == "response.function_call_arguments.done")

    assert {"city": "text"} == json.loads(done.arguments)
    assert "function_call" == stream[-1].response.output[-1].type


def test_each_sdk_reads_embeddings_as_numbers_and_as_base64(sdk):
    made = [
        sdk.embeddings.create(model="skylark", input=["a", "b c"], encoding_format=form).data
        for form in ("float", "base64")
    ]
    vectors = [[item.embedding for item in data] for data in made]
    decoded = [list(memoryview(base64.b64decode(v)).cast("f")) if isinstance(v, str) else v for v in vectors[1]]  # fmt: skip

    assert vectors[0] == decoded
    assert vectors[0][0] != vectors[0][1]


def test_the_ark_sdk_reads_the_apis_that_are_its_own(byteplus):
    parts = [
        {"type": "text", "text": "A cat"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]
    embedded = byteplus.multimodal_embeddings.create(model="skylark-embedding-vision-251215", input=parts)
    options = SequentialImageGenerationOptions(max_images=2)
    images = byteplus.images.generate(
        model="seedream-5-0-260128",
        prompt="Cats",
        sequential_image_generation="auto",
        sequential_image_generation_options=options,
        stream=True,
    )
    context = byteplus.context.create(model="ep-1", messages=MESSAGES, mode="session")
    chained = byteplus.context.completions.create(context_id=context.id, model="ep-1", messages=MESSAGES[1:])
    task = byteplus.content_generation.tasks.create(
        model="dreamina", content=[{"type": "text", "text": "A cat"}]
    )

    # The SDK types `data` as a list; the service sends an object, and that is what one gets.
    assert 64 == len(embedded.data["embedding"])
    assert {"text_tokens": 2, "image_tokens": 256} == embedded.usage["prompt_tokens_details"]
    assert 2 == list(images)[-1].usage["generated_images"]
    assert (13, 8) == (chained.usage.prompt_tokens, chained.usage.prompt_tokens_details.cached_tokens)
    assert "queued" == byteplus.content_generation.tasks.get(task_id=task.id).status
    assert 22 == byteplus.batch.chat.completions.create(model="ep-bi-1", messages=MESSAGES).usage.total_tokens


def test_each_sdk_uploads_reads_and_deletes_a_file(sdk):
    made = sdk.files.create(file=("a.txt", io.BytesIO(b"one\r\n--two\r\n")), purpose="user_data")

    assert ("active", 12, "a.txt") == (made.status, made.bytes, made.filename)
    assert [made.id] == [file.id for file in sdk.files.list().data]
    assert made.id == sdk.files.retrieve(made.id).id
    sdk.files.delete(made.id)
    assert [] == sdk.files.list().data


def test_the_openai_sdk_lists_the_models_and_reads_an_image(sg):
    with openai.OpenAI(base_url=sg.base_url, api_key="any", max_retries=0) as sdk:
        assert MODEL in {model.id for model in sdk.models.list()}
        assert sdk.images.generate(model="seedream-5-0-260128", prompt="A cat").data[0].url


def test_each_sdk_raises_on_an_error_in_a_chat_stream(sdk, sg):
    sg.errors_in_stream(after_events=2)
    with pytest.raises(Exception, match="unexpected internal error"):
        list(sdk.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_each_sdk_is_handed_a_failed_response(sdk, sg, stream):
    sg.fails_responses(after_events=2)
    made = sdk.responses.create(model=MODEL, input="Hi", stream=stream)
    response = list(made)[-1].response if stream else made

    assert ("failed", "server_error") == (response.status, response.error.code)
