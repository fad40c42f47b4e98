"""Every row of the API table, called by plain httpx and httpx2 clients: what is recorded of each."""

import pytest
from opentelemetry.trace import StatusCode

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
MESSAGE = {**CHAT, "max_tokens": 100}
RESPONSE = {"model": "seed-1-6-250915", "input": "Name three rivers."}
EMBEDDING = {"model": "skylark-embedding-vision-251215", "input": ["one river"]}
MULTIMODAL = {"model": "skylark-embedding-vision-251215", "input": [{"type": "text", "text": "one river"}]}
IMAGE = {"model": "seedream-4-0-250828", "prompt": "a river"}
VIDEO = {"model": "seedance-1-0-pro-250528", "content": [{"type": "text", "text": "a river"}]}
CONTEXT = {"model": "seed-1-6-250915", "messages": CHAT["messages"], "mode": "session"}

# Path, body, operation and API; whether tokens are recorded.
GENERATING = [
    ("/chat/completions", CHAT, "chat", "chat_completions", True),
    ("/chat/completions", STREAMED, "chat", "chat_completions", True),
    ("/bots/chat/completions", CHAT, "chat", "bot_chat", True),
    ("/bots/chat/completions", STREAMED, "chat", "bot_chat", True),
    ("/batch/chat/completions", CHAT, "chat", "batch_chat", True),
    ("/responses", RESPONSE, "chat", "responses", True),
    ("/responses", {**RESPONSE, "stream": True}, "chat", "responses", True),
    ("/messages", MESSAGE, "chat", "messages", True),
    ("/messages", {**MESSAGE, "stream": True}, "chat", "messages", True),
    ("/embeddings", EMBEDDING, "embeddings", "embeddings", True),
    ("/embeddings/multimodal", MULTIMODAL, "embeddings", "multimodal_embeddings", True),
    ("/batch/embeddings", EMBEDDING, "embeddings", "batch_embeddings", True),
    ("/batch/embeddings/multimodal", MULTIMODAL, "embeddings", "batch_multimodal_embeddings", True),
    ("/images/generations", IMAGE, "generate_content", "images", False),
    ("/images/generations", {**IMAGE, "stream": True}, "generate_content", "images", False),
    ("/contents/generations/tasks", VIDEO, "generate_content", "video_task_create", False),
]


@pytest.mark.parametrize("colour", ["sync"])
@pytest.mark.parametrize(
    ("path", "body", "operation", "api", "tokens"),
    GENERATING,
    ids=[f"{row[3]}{' streamed' if row[1].get('stream') else ''}" for row in GENERATING],
)
def test_a_generating_call_is_one_span_and_one_attempt(
    http, instrument, recorded, sg, path, body, operation, api, tokens
):
    instrument()

    reply = http.post(sg + path, body)

    assert 200 == reply.status_code
    span = recorded.one
    assert operation == span.attributes["gen_ai.operation.name"]
    assert api == span.attributes["byteplus.modelark.api"]
    assert body["model"] == span.attributes["gen_ai.request.model"]
    assert "ok" == span.attributes["byteplus.modelark.outcome"]
    assert [span.context.span_id] == [attempt.parent.span_id for attempt in recorded.attempts]
    assert tokens == (recorded.series("modelark_tokens_total", type="input", operation=operation) > 0)
    assert tokens == ("gen_ai.usage.input_tokens" in span.attributes)
    assert 1 == recorded.series("modelark_operations_total", operation=operation, api=api, outcome="ok")


@pytest.mark.parametrize("colour", ["sync"])
def test_a_context_is_made_and_talked_in(http, instrument, recorded, sg):
    instrument()

    made = http.post(sg + "/context/create", CONTEXT).json()["id"]
    http.post(sg + "/context/chat/completions", {**CHAT, "context_id": made})

    assert ["context_create", "context_chat"] == [exchange.call.api for exchange in recorded.exchanges]
    assert "context_chat" == recorded.one.attributes["byteplus.modelark.api"]


@pytest.mark.parametrize("colour", ["sync"])
def test_a_fetched_response_makes_no_claim_of_tokens(http, instrument, recorded, sg):
    """They were counted when it was made."""
    instrument()
    made = http.post(sg + "/responses", RESPONSE).json()["id"]
    before = recorded.series("modelark_tokens_total")

    http.run(lambda client: client.get(f"{sg}/responses/{made}"))
    http.run(lambda client: client.get(f"{sg}/responses/{made}/input_items"))
    http.run(lambda client: client.delete(f"{sg}/responses/{made}"))

    fetched = recorded.logical[-1]
    assert "fetch_response" == fetched.attributes["gen_ai.operation.name"]
    assert made == fetched.attributes["gen_ai.response.id"]
    assert not [name for name in fetched.attributes if name.startswith("gen_ai.usage")]
    assert before == recorded.series("modelark_tokens_total")
    assert ["responses", "responses_get", "responses_input_items", "responses_delete"] == [
        exchange.call.api for exchange in recorded.exchanges
    ]
    assert 4 == len(recorded.attempts)
    assert 2 == len(recorded.logical)


@pytest.mark.parametrize("colour", ["sync"])
def test_a_fetch_names_the_response_and_says_how_it_stands(http, instrument, recorded, ark, sg):
    """One that has failed was fetched all the same; one that is not there was not."""
    ark.region("ap-southeast-1").replays(
        b'{"id":"resp_1","status":"failed","error":{"code":"server_error"}}', times=1
    )
    instrument()

    for _ in range(2):
        http.run(lambda client: client.get(f"{sg}/responses/resp_1"))

    failed, missing = recorded.logical
    assert ("resp_1", "resp_1") == tuple(span.attributes["gen_ai.response.id"] for span in recorded.logical)
    assert "failed" == failed.attributes["gen_ai.response.status"]
    assert ("error",) == failed.attributes["gen_ai.response.finish_reasons"]
    assert StatusCode.UNSET is failed.status.status_code
    assert StatusCode.ERROR is missing.status.status_code
    assert "gen_ai.response.status" not in missing.attributes
    assert ["ok", "error"] == [exchange.outcome for exchange in recorded.exchanges]


@pytest.mark.parametrize("colour", ["sync"])
def test_a_polled_video_counts_its_usage_once(http, instrument, recorded, sg):
    instrument()
    made = http.post(sg + "/contents/generations/tasks", VIDEO).json()["id"]

    for _ in range(6):
        http.run(lambda client: client.get(f"{sg}/contents/generations/tasks/{made}"))
    http.run(lambda client: client.get(f"{sg}/contents/generations/tasks"))

    finished = [each for each in recorded.exchanges if each.answer.status == "succeeded"]
    assert len(finished) > 1
    assert finished[0].answer.usage.output_tokens == recorded.series("modelark_tokens_total", type="output")
    assert 1 == len(recorded.logical)


@pytest.mark.parametrize("colour", ["sync"])
@pytest.mark.parametrize(
    ("path", "body", "api"),
    [
        ("/tokenization", {"model": "seed-1-6-250915", "text": "one river"}, "tokenization"),
        ("/no/such/api", {"model": "seed-1-6-250915"}, "other"),
    ],
)
def test_what_no_model_answers_is_an_attempt_and_a_count_without_genai_claims(
    http, instrument, recorded, sg, path, body, api
):
    instrument()

    http.post(sg + path, body)

    assert [] == recorded.logical
    (attempt,) = recorded.attempts
    assert attempt.parent is None
    assert not [name for name in attempt.attributes if name.startswith("gen_ai.")]
    assert 1 == recorded.series("modelark_operations_total", operation="other", api=api)
