"""The clients that people use, over real sockets: each API that each of them can call is seen, exactly once."""

import gc

import anyio
import httpx
import openai
import pytest
from byteplussdkarkruntime import Ark, AsyncArk

from byteplus_trace import Policy, Retry, Target

MESSAGES = [{"role": "user", "content": "Name three rivers of Asia."}]
CHAT = "seed-1-6-250915"
EMBEDDING = "skylark-embedding-vision-251215"
IMAGE = "seedream-4-5-251128"
WITH_USAGE = {"include_usage": True}


def openai_client(base_url, **options):
    return openai.OpenAI(base_url=base_url, api_key="key", max_retries=0, **options)


def openai_on_httpx(base_url):
    """As openai 2.x makes its calls: on httpx."""
    return openai_client(base_url, http_client=httpx.Client(timeout=10))


def ark_client(base_url):
    return Ark(base_url=base_url, api_key="key", max_retries=0)


def finished(stream):
    return list(stream)


# What a client of either SDK does, and what one of them alone does.
CALLS = {
    "chat": lambda c: c.chat.completions.create(model=CHAT, messages=MESSAGES),
    "streamed chat": lambda c: finished(
        c.chat.completions.create(model=CHAT, messages=MESSAGES, stream=True, stream_options=WITH_USAGE)
    ),
    "response": lambda c: c.responses.create(model=CHAT, input="Name three rivers."),
    "streamed response": lambda c: finished(
        c.responses.create(model=CHAT, input="Name three rivers.", stream=True)
    ),
    "embedding": lambda c: c.embeddings.create(model=EMBEDDING, input=["one", "two words"]),
    "image": lambda c: c.images.generate(model=IMAGE, prompt="a river", size="2K"),
}
OPENAI_CALLS = {
    **CALLS,
    "multimodal embedding": lambda c: c.post(
        "/embeddings/multimodal",
        body={"model": EMBEDDING, "input": [{"type": "text", "text": "one river"}]},
        cast_to=object,
    ),
}
ARK_CALLS = {
    **CALLS,
    "multimodal embedding": lambda c: c.multimodal_embeddings.create(
        model=EMBEDDING, input=[{"type": "text", "text": "one river"}]
    ),
    "streamed image": lambda c: finished(
        c.images.generate(model="seedream-4-0-250828", prompt="a river", size="2K", stream=True)
    ),
    "video": lambda c: c.content_generation.tasks.create(
        model="seedance-1-0-pro-250528", content=[{"type": "text", "text": "a river"}]
    ),
}
EXPECTED = {
    "chat": ("chat", "chat_completions"),
    "streamed chat": ("chat", "chat_completions"),
    "response": ("chat", "responses"),
    "streamed response": ("chat", "responses"),
    "embedding": ("embeddings", "embeddings"),
    "multimodal embedding": ("embeddings", "multimodal_embeddings"),
    "image": ("generate_content", "images"),
    "streamed image": ("generate_content", "images"),
    "video": ("generate_content", "video_task_create"),
}
CASES = [
    *(("openai on httpx2", openai_client, name, call) for name, call in OPENAI_CALLS.items()),
    *(("openai on httpx", openai_on_httpx, name, call) for name, call in OPENAI_CALLS.items()),
    *(("Ark SDK", ark_client, name, call) for name, call in ARK_CALLS.items()),
]


def expect_one_call(recorded, name):
    operation, api = EXPECTED[name]
    span = recorded.one
    assert operation == span.attributes["gen_ai.operation.name"]
    assert api == span.attributes["byteplus.modelark.api"]
    assert "ok" == span.attributes["byteplus.modelark.outcome"]
    assert "ap-southeast-1" == span.attributes["cloud.region"]
    (attempt,) = recorded.attempts
    assert attempt.parent.span_id == span.context.span_id
    streamed = name.startswith("streamed")
    assert streamed == ("gen_ai.response.time_to_first_chunk" in span.attributes)
    assert 1 == recorded.series("modelark_operations_total", operation=operation, api=api, outcome="ok")
    assert 1 == recorded.series(
        "modelark_operation_duration_seconds_count", stream=str(streamed).lower(), result="ok"
    )
    assert 1 == recorded.series("modelark_attempts_total", result="ok", reason="none")
    (exchange,) = recorded.exchanges
    usage = exchange.answer.usage
    if operation in {"chat", "embeddings"}:
        assert usage.input_tokens == span.attributes["gen_ai.usage.input_tokens"]
        assert usage.input_tokens == recorded.series("modelark_tokens_total", type="input") > 0
    if operation == "chat":
        assert ("stop",) == span.attributes["gen_ai.response.finish_reasons"]
        assert exchange.answer.id == span.attributes["gen_ai.response.id"]
        assert usage.output_tokens == recorded.series("modelark_tokens_total", type="output") > 0
        assert usage.reasoning_tokens == recorded.series("modelark_tokens_total", type="reasoning")
    if "image" in name:
        assert (
            exchange.answer.images.generated
            == recorded.series("modelark_images_total", status="generated")
            > 0
        )


@pytest.mark.parametrize(
    ("make", "name", "call"), [case[1:] for case in CASES], ids=[f"{c[0]}: {c[2]}" for c in CASES]
)
def test_a_call_of_a_client_is_seen_once(instrument, recorded, sg, make, name, call):
    instrument()

    with make(sg) as client:
        call(client)

    expect_one_call(recorded, name)


async def everything(made):
    """Await it; where it is a stream, read it to its end."""
    stream = await made
    if hasattr(stream, "__aiter__"):
        async for _ in stream:
            pass


ASYNC_OPENAI = {
    "chat": lambda c: c.chat.completions.create(model=CHAT, messages=MESSAGES),
    "streamed chat": lambda c: c.chat.completions.create(
        model=CHAT, messages=MESSAGES, stream=True, stream_options=WITH_USAGE
    ),
    "response": lambda c: c.responses.create(model=CHAT, input="Name three rivers."),
    "streamed response": lambda c: c.responses.create(model=CHAT, input="Name three rivers.", stream=True),
    "embedding": lambda c: c.embeddings.create(model=EMBEDDING, input=["one", "two words"]),
    "image": lambda c: c.images.generate(model=IMAGE, prompt="a river", size="2K"),
}
ASYNC_ARK = {
    **ASYNC_OPENAI,
    "multimodal embedding": lambda c: c.multimodal_embeddings.create(
        model=EMBEDDING, input=[{"type": "text", "text": "one river"}]
    ),
    "streamed image": lambda c: c.images.generate(
        model="seedream-4-0-250828", prompt="a river", size="2K", stream=True
    ),
}
ASYNC_CASES = [
    *(("openai", openai.AsyncOpenAI, name, call) for name, call in ASYNC_OPENAI.items()),
    *(("Ark SDK", AsyncArk, name, call) for name, call in ASYNC_ARK.items()),
]


@pytest.mark.parametrize(
    ("kind", "name", "call"), [case[1:] for case in ASYNC_CASES], ids=[f"{c[0]}: {c[2]}" for c in ASYNC_CASES]
)
def test_a_call_of_an_async_client_is_seen_once(instrument, recorded, sg, kind, name, call):
    instrument()

    async def main():
        client = kind(base_url=sg, api_key="key", max_retries=0)
        await everything(call(client))
        await client.close()

    anyio.run(main)

    expect_one_call(recorded, name)


def test_a_client_made_before_is_seen_too(instrument, recorded, sg):
    with openai_client(sg) as client:
        instrument()

        OPENAI_CALLS["chat"](client)

    assert 1 == len(recorded.logical)


def test_openais_async_stream_stops_at_done_and_iterates_again(instrument, recorded, sg):
    """Its second pass over the stream, after `[DONE]`, changes nothing."""
    instrument()

    async def main():
        async with openai.AsyncOpenAI(base_url=sg, api_key="key") as client:
            stream = await ASYNC_OPENAI["streamed chat"](client)
            return [chunk async for chunk in stream]

    chunks = anyio.run(main)

    assert chunks[-1].usage.completion_tokens == recorded.one.attributes["gen_ai.usage.output_tokens"]


def test_an_ark_stream_left_without_closing_is_abandoned(instrument, recorded, sg):
    """Nobody ever closes it: only the collector notices."""
    instrument()
    client = ark_client(sg)
    for _ in client.chat.completions.create(model=CHAT, messages=MESSAGES, stream=True):
        break
    gc.collect()

    assert "abandoned" == recorded.one.attributes["byteplus.modelark.outcome"]
    client.close()


def test_a_failed_image_in_a_stream_makes_the_sdk_raise_and_the_call_an_error(instrument, recorded, sg):
    instrument()
    group = {"sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 2}}

    client = ark_client(sg)
    with pytest.raises(Exception, match="sensitive"):
        finished(
            client.images.generate(
                model="seedream-4-0-250828", prompt="a river [moderated]", stream=True, extra_body=group
            )
        )
    client.close()
    gc.collect()

    assert "error" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert 1 == recorded.series("modelark_images_total", status="failed")
    assert 1 == recorded.series("modelark_images_total", status="generated")


def test_an_sdks_retries_are_calls_of_their_own(instrument, recorded, sg, ark):
    instrument()
    ark.region("ap-southeast-1").fails(503, times=1, retry_after=0)

    with openai.OpenAI(base_url=sg, api_key="key", max_retries=1) as client:
        OPENAI_CALLS["chat"](client)

    outcomes = [span.attributes["byteplus.modelark.outcome"] for span in recorded.logical]
    assert ["error", "ok"] == outcomes
    assert 1 == recorded.logical[1].attributes["byteplus.modelark.sdk_retry"]


@pytest.mark.parametrize("keyed", [True, False])
def test_under_a_policy_with_one_target_an_sdk_survives_what_it_survives_alone(
    instrument, ark, keyed, monkeypatch
):
    """Two failures in a row, with a key that is made anew for each send."""
    monkeypatch.setattr(openai.OpenAI, "_calculate_retry_timeout", lambda *_: 0)
    region, keys = ark.region("ap-southeast-1"), []
    region.fails(503, times=3 if keyed else 2)
    key = {"api_key": "the-targets"} if keyed else {}
    instrument(
        policy=Policy(
            targets=[Target("sg", region="ap-southeast-1", base_url=region.base_url, **key)],
            retry=Retry(base=0.001, cap=0.002, per_target=1 if keyed else 0),
        )
    )

    def api_key():
        keys.append(f"key-{len(keys)}")
        return keys[-1]

    with openai.OpenAI(base_url=region.base_url, api_key=api_key) as client:
        client.chat.completions.create(
            model="seed-1-6-250915", messages=[{"role": "user", "content": "Hello"}]
        )

    assert (4 if keyed else 3) == len(region.requests)
    assert ["key-0", "key-1", "key-2"] == keys
