"""One call is one logical span with one attempt, and the series move by exactly what the reply said."""

import json

import anyio
import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

import byteplus_trace
from byteplus_trace import SettingError

CHAT = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": "Name three rivers."}]}
STREAMED_CHAT = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}


def usage_of(stream):
    """The usage that a chat stream's last chunk says."""
    events = b"".join(stream).decode().split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    return next(chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage"))


def test_a_chat_is_one_span_with_one_attempt(http, instrument, recorded, sg):
    instrument()

    reply = http.post(sg + "/chat/completions", CHAT)

    printed = reply.json()
    span = recorded.one
    assert "chat seed-1-6-250915" == span.name
    assert SpanKind.CLIENT is span.kind
    assert StatusCode.UNSET is span.status.status_code
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "byteplus.modelark",
        "gen_ai.request.model": "seed-1-6-250915",
        "gen_ai.response.model": printed["model"],
        "gen_ai.response.id": printed["id"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": printed["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": printed["usage"]["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": printed["usage"]["prompt_tokens_details"]["cached_tokens"],
        "gen_ai.usage.reasoning.output_tokens": printed["usage"]["completion_tokens_details"][
            "reasoning_tokens"
        ],
        "cloud.region": "ap-southeast-1",
        "server.address": "127.0.0.1",
        "byteplus.modelark.api": "chat_completions",
        "byteplus.modelark.outcome": "ok",
        "byteplus.modelark.attempts": 1,
        "byteplus.modelark.request_id": reply.headers["x-request-id"],
    }
    assert expected == {name: span.attributes.get(name) for name in expected}
    (attempt,) = recorded.attempts
    assert attempt.parent.span_id == span.context.span_id
    assert "POST" == attempt.name
    assert 200 == attempt.attributes["http.response.status_code"]
    assert "initial" == attempt.attributes["byteplus.modelark.attempt.cause"]
    assert not [name for name in attempt.attributes if name.startswith("gen_ai.")]


def test_what_a_request_asks_for_has_the_names_of_the_conventions(http, instrument, recorded, sg):
    asked = {"temperature": 1, "top_p": 0.5, "top_k": 40, "max_tokens": 99, "seed": 7, "n": 2}
    instrument()

    http.post(sg + "/messages", {**CHAT, **asked})

    expected = {
        "temperature": 1.0,
        "top_p": 0.5,
        "top_k": 40,
        "max_tokens": 99,
        "seed": 7,
        "choice.count": 2,
    }
    assert expected == {name: recorded.one.attributes.get(f"gen_ai.request.{name}") for name in expected}


def test_a_streamed_chat_counts_what_its_last_chunk_says(http, instrument, recorded, sg):
    instrument()

    usage = usage_of(http.parts(sg + "/chat/completions", STREAMED_CHAT))

    span = recorded.one
    assert span.attributes["gen_ai.request.stream"] is True
    assert usage["prompt_tokens"] == span.attributes["gen_ai.usage.input_tokens"]
    assert usage["completion_tokens"] == span.attributes["gen_ai.usage.output_tokens"]
    assert span.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert usage["completion_tokens"] == recorded.series("modelark_tokens_total", type="output")
    assert usage["prompt_tokens"] == recorded.series("modelark_tokens_total", type="input")
    assert 1 == recorded.series("modelark_operations_total", outcome="ok", api="chat_completions")
    assert 1 == recorded.series("modelark_attempts_total", result="ok", target="ap-southeast-1")
    assert 1 == recorded.series("modelark_time_to_first_chunk_seconds_count")
    assert 0 == recorded.series("modelark_operations_in_flight")


def test_the_caller_gets_the_same_bytes_and_headers_watched_or_not(http, instrument, recorded, sg, ark):
    bare = b"".join(http.parts(sg + "/chat/completions", STREAMED_CHAT))
    instrument()

    watched = b"".join(http.parts(sg + "/chat/completions", STREAMED_CHAT))

    assert len(bare) == len(watched)
    sent = ark.region("ap-southeast-1").requests
    assert sent[0].body == sent[1].body
    assert set(sent[0].headers) == set(sent[1].headers)


def test_another_host_is_never_touched(http, recorded, library, ark, sg):
    byteplus_trace.instrument(tracer_provider=recorded.provider, registry=recorded.registry)
    try:
        reply = http.post(sg + "/chat/completions", CHAT)
    finally:
        byteplus_trace.uninstrument()

    assert 200 == reply.status_code
    assert () == recorded.spans


def test_a_refusal_is_an_error_with_modelarks_code(http, instrument, recorded, sg, ark):
    instrument()
    ark.region("ap-southeast-1").fails(429, code="RateLimitExceeded.EndpointRPMExceeded")

    reply = http.post(sg + "/chat/completions", CHAT)

    assert 429 == reply.status_code
    span = recorded.one
    assert StatusCode.ERROR is span.status.status_code
    assert "RateLimitExceeded" == span.attributes["error.type"]
    assert "RateLimitExceeded.EndpointRPMExceeded" == span.attributes["byteplus.modelark.error.code"]
    assert "Name three rivers" not in str(span.to_json())
    assert 1 == recorded.series("modelark_operations_total", outcome="error", error_type="RateLimitExceeded")
    assert 1 == recorded.series("modelark_attempts_total", reason="rate_limit")


def test_a_refused_connection_is_the_librarys_own_error(http, instrument, recorded, sg, ark, library):
    instrument()
    ark.region("ap-southeast-1").refuses()

    with pytest.raises(library.ConnectError):
        http.post(sg + "/chat/completions", CHAT)

    assert "ConnectError" == recorded.one.attributes["error.type"]
    assert "ConnectError; Connection refused" == recorded.one.status.description
    assert ["Connection refused"] == [attempt.status.description for attempt in recorded.attempts]
    assert ["Connection refused"] == [attempt.unreachable for attempt in recorded.exchanges[0].attempts]
    assert 1 == recorded.series("modelark_attempts_total", reason="connect", result="error")


def test_a_stream_cut_in_the_middle_is_an_error(http, instrument, recorded, sg, ark, library):
    instrument()
    ark.region("ap-southeast-1").cuts(after_events=3)

    with pytest.raises(library.RemoteProtocolError):
        http.parts(sg + "/chat/completions", STREAMED_CHAT)

    assert StatusCode.ERROR is recorded.one.status.status_code
    assert 1 == recorded.series("modelark_stream_breaks_total", phase="after_output", reason="cut")


def test_an_error_inside_a_stream_is_an_error(http, instrument, recorded, sg, ark):
    instrument()
    ark.region("ap-southeast-1").errors_in_stream(after_events=2, code="InternalServiceError")

    http.parts(sg + "/chat/completions", STREAMED_CHAT)

    assert "InternalServiceError" == recorded.one.attributes["error.type"]
    assert 1 == recorded.series("modelark_operations_total", outcome="error")


def test_an_empty_200_is_an_error(http, instrument, recorded, sg, ark):
    instrument()
    ark.region("ap-southeast-1").answers_empty()

    assert b"" == http.post(sg + "/chat/completions", CHAT).content

    assert "empty" == recorded.one.attributes["error.type"]
    assert 1 == recorded.series("modelark_attempts_total", reason="empty")


@pytest.mark.parametrize(
    "colour", ["sync", "asyncio"]
)  # under trio httpx's own generators warn of being left
def test_a_reader_who_leaves_is_no_error(http, instrument, recorded, sg):
    instrument()

    http.parts(sg + "/chat/completions", STREAMED_CHAT, most=1)

    span = recorded.one
    assert StatusCode.UNSET is span.status.status_code
    assert "cancelled" == span.attributes["byteplus.modelark.outcome"]
    assert ("error",) == span.attributes["gen_ai.response.finish_reasons"]


@pytest.mark.parametrize("colour", ["asyncio", "trio"])
def test_a_cancelled_call_is_no_error(http, instrument, recorded, sg, ark):
    instrument()
    ark.region("ap-southeast-1").hangs()

    async def work(client):
        with anyio.move_on_after(0.2) as scope:
            await client.post(sg + "/chat/completions", json=CHAT)
        assert scope.cancelled_caught

    http.run(work)

    assert "cancelled" == recorded.one.attributes["byteplus.modelark.outcome"]
    assert StatusCode.UNSET is recorded.one.status.status_code
    assert 1 == recorded.series("modelark_attempts_total", result="cancelled")


def test_metadata_reaches_the_span_and_the_allowed_labels(http, instrument, recorded, sg, ark):
    instrument(metadata_labels=("team",))

    with byteplus_trace.metadata(user="u-7", team="search", session="s-1"):
        http.post(
            sg + "/chat/completions", CHAT, headers={"x-portkey-metadata": '{"_user": "u-8", "env": "prod"}'}
        )

    span = recorded.one
    assert "u-8" == span.attributes["user.id"]
    assert "search" == span.attributes["byteplus.modelark.metadata.team"]
    assert "prod" == span.attributes["byteplus.modelark.metadata.env"]
    assert "s-1" == span.attributes["gen_ai.conversation.id"]
    assert 1 == recorded.series("modelark_operations_total", team="search")
    (request,) = ark.region("ap-southeast-1").requests
    assert not [name for name in request.headers if name.startswith("x-portkey")]


def test_max_models_bounds_the_metrics_of_opentelemetry_too(http, instrument, recorded, sg):
    reader = InMemoryMetricReader()
    instrument(meter_provider=MeterProvider([reader], shutdown_on_exit=False), max_models=1)

    for model in ("seed-1-6-250915", "seed-2-0-lite-260428"):
        http.post(sg + "/chat/completions", {**CHAT, "model": model})

    byteplus_trace.flush()
    (metrics,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
    durations = next(each for each in metrics.metrics if each.name == "gen_ai.client.inference.duration")
    models = {point.attributes["gen_ai.request.model"] for point in durations.data.data_points}
    assert {"seed-1-6-250915", "other"} == models


def test_a_session_is_the_conversation_where_the_request_names_none(http, instrument, recorded, sg):
    instrument()

    with byteplus_trace.metadata(session="s-1"):
        http.post(sg + "/responses", {"model": "seed-1-6-250915", "input": "hi", "conversation": "conv-1"})

    assert "conv-1" == recorded.one.attributes["gen_ai.conversation.id"]


@pytest.mark.parametrize(("path", "kept"), [
    ("/chat/completions", {"gen_ai.operation.name", "cloud.region", "byteplus.modelark.api", "byteplus.modelark.outcome"}),
    ("/tokenization", {"cloud.region", "url.full", "byteplus.modelark.api", "http.response.status_code"}),
])  # fmt: skip
def test_of_too_much_metadata_for_a_span_the_metadata_is_lost(http, instrument, recorded, sg, path, kept):
    """A span has room for 128 attributes, and drops the first."""
    instrument()

    with byteplus_trace.metadata(**{f"key{number}": number for number in range(200)}):
        http.post(sg + path, CHAT)

    span = min(recorded.spans, key=lambda span: span.start_time)
    assert kept <= span.attributes.keys()
    assert "byteplus.modelark.metadata.key199" in span.attributes


def test_a_span_of_the_callers_own_is_the_parent_and_stays_as_it_is(http, instrument, recorded, sg):
    instrument()
    tracer = recorded.provider.get_tracer("app")

    with tracer.start_as_current_span("checkout") as outer:
        http.post(sg + "/chat/completions", CHAT)

    assert recorded.one.parent.span_id == outer.get_span_context().span_id
    assert {} == dict(outer.attributes)


def test_suppressed_calls_are_not_told(http, instrument, recorded, sg):
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    instrument()

    with suppress_instrumentation():
        http.post(sg + "/chat/completions", CHAT)

    assert () == recorded.spans
    assert 0 == recorded.series("modelark_operations_total")


def exemplars(recorded):
    """By series, the spans that its exemplars lead to."""
    byteplus_trace.flush()
    return {
        sample.name: (sample.exemplar.labels["trace_id"], sample.exemplar.labels["span_id"])
        for family in recorded.registry.collect()
        for sample in family.samples
        if sample.exemplar
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [("/chat/completions", CHAT), ("/tokenization", {"model": "seed-1-6-250915", "text": ["Three rivers."]})],
)
def test_a_duration_leads_to_its_own_span(http, instrument, recorded, sg, path, body):
    """What makes no GenAI claim has no span but its attempt's."""
    instrument()

    http.post(sg + path, body)

    spans = sorted(recorded.spans, key=lambda span: span.start_time)
    call, attempt = (
        (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") for span in (spans[0], spans[-1])
    )
    assert {
        "modelark_operation_duration_seconds_bucket": call,
        "modelark_attempt_duration_seconds_bucket": attempt,
    } == exemplars(recorded)


def test_nothing_leads_to_a_trace_that_was_not_kept(http, instrument, recorded, sg):
    instrument(tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))

    http.post(sg + "/chat/completions", CHAT)
    http.post(sg + "/tokenization", {"model": "seed-1-6-250915", "text": ["Three rivers."]})

    assert {} == exemplars(recorded)
    assert 2 == recorded.series("modelark_operations_total", outcome="ok")


class Never(Sampler):
    """Keeps nothing, and remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def should_sample(self, parent_context, trace_id, name, *_, **__):
        self.asked.append(name)
        return SamplingResult(Decision.DROP)

    def get_description(self):
        return "never"


def test_the_attempts_of_a_call_that_is_not_recorded_have_no_spans(http, instrument, recorded, sg):
    sampler = Never()
    instrument(tracer_provider=TracerProvider(sampler=sampler, shutdown_on_exit=False))

    http.post(sg + "/chat/completions", CHAT)

    assert ["chat seed-1-6-250915"] == sampler.asked
    assert 1 == recorded.series("modelark_attempts_total", result="ok")


def test_an_exchange_reaches_on_exchange_whole(http, instrument, recorded, sg):
    instrument()

    http.post(sg + "/chat/completions", CHAT)

    (exchange,) = recorded.exchanges
    assert "ok" == exchange.outcome
    assert exchange.answer.usage.output_tokens > 0
    assert [1] == [attempt.number for attempt in exchange.attempts]


def test_no_key_and_no_content_leaves(http, instrument, recorded, sg):
    instrument()

    http.post(sg + "/chat/completions?secret=token", CHAT, headers={"Authorization": "Bearer sk-verysecret"})

    written = "".join(span.to_json() for span in recorded.spans) + repr(recorded.exchanges)
    for secret in ("sk-verysecret", "Name three rivers", "secret=token"):
        assert secret not in written


def test_content_is_captured_where_it_is_asked_for_and_redacted(http, instrument, recorded, sg):
    instrument(capture_content=True, redact=lambda text: text.replace("rivers", "***"))

    http.post(sg + "/chat/completions", CHAT)

    asked = json.loads(recorded.one.attributes["gen_ai.input.messages"])
    assert "user" == asked[0]["role"]
    assert "Name three ***." == asked[0]["parts"][0]["content"]
    assert "assistant" == json.loads(recorded.one.attributes["gen_ai.output.messages"])[0]["role"]


TOOLED_CHAT = {
    "model": "seed-1-6-250915",
    "messages": [
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"rivers": 3, "lakes": [1]}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "three rivers"},
        {"role": "user", "content": [{"type": "map of rivers", "rivers": {"of rivers": True}}]},
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"properties": {"rivers": {"type": "integer"}}}},
        }
    ],
}  # fmt: skip


def test_names_of_what_was_said_are_redacted_like_its_texts(http, instrument, recorded, sg):
    """Of arguments, of schemas, of parts that nobody knows."""
    instrument(capture_content=True, redact=lambda text: text.replace("rivers", "***"))

    http.post(sg + "/chat/completions", TOOLED_CHAT)

    assert "rivers" not in recorded.one.to_json()
    called, _, unknown = json.loads(recorded.one.attributes["gen_ai.input.messages"])
    assert {"***": 3, "lakes": [1]} == called["parts"][0]["arguments"]
    assert [{"type": "map of ***", "***": {"of ***": True}}] == unknown["parts"]
    (tool,) = json.loads(recorded.one.attributes["gen_ai.tool.definitions"])
    assert {"properties": {"***": {"type": "integer"}}} == tool["parameters"]


def test_what_is_redacted_whole_keeps_its_form(http, instrument, recorded, sg):
    instrument(capture_content=True, redact=lambda text: "***")

    http.post(sg + "/chat/completions", TOOLED_CHAT)

    printed = json.loads(recorded.one.attributes["gen_ai.input.messages"])
    call = {"type": "***", "name": "***", "id": "***", "arguments": {"***": 3, "*** (2)": [1]}}
    assert {"role": "***", "parts": [call]} == printed[0]
    assert {"role": "***", "parts": [{"type": "***", "id": "***", "response": "***"}]} == printed[1]


def test_an_error_message_is_told_with_content_redacted_and_cut_like_any_text(
    http, instrument, recorded, sg, ark
):
    instrument(capture_content=True, redact=lambda text: text.replace("rivers", "***"))
    ark.region("ap-southeast-1").fails(
        400, code="InvalidParameter." + "y" * 9_000, message="No rivers. " * 50_000
    )

    http.post(sg + "/chat/completions", CHAT)

    printed = recorded.one.status.description
    assert "No ***. " in printed
    assert "rivers" not in printed
    assert len(printed) < 17_000


def test_usage_is_asked_for_and_taken_out_again(http, instrument, recorded, sg, ark):
    instrument(include_usage=True)
    plain = {**CHAT, "stream": True}

    received = b"".join(http.parts(sg + "/chat/completions", plain))

    assert recorded.one.attributes["gen_ai.usage.output_tokens"] > 0
    assert b'"choices":[]' not in received.replace(b" ", b"")
    assert received.endswith(b"data: [DONE]\n\n")
    (request,) = ark.region("ap-southeast-1").requests
    assert {"include_usage": True} == request.json["stream_options"]


def test_the_trace_context_is_sent_where_it_is_asked_for_and_the_applications_baggage_never(
    http, instrument, recorded, sg, ark
):
    instrument(propagate=True)

    token = context.attach(baggage.set_baggage("customer", "nobody-7"))
    try:
        http.post(sg + "/chat/completions", CHAT)
    finally:
        context.detach(token)

    (request,) = ark.region("ap-southeast-1").requests
    (attempt,) = recorded.attempts
    trace_id, span_id = attempt.context.trace_id, attempt.context.span_id
    assert request.headers["traceparent"].startswith(f"00-{trace_id:032x}-{span_id:016x}-")
    assert "nobody-7" not in str(request.headers)


def test_an_explicit_transport_and_the_patch_tell_a_call_once(instrument, recorded, sg, library):
    instrument()
    module = byteplus_trace if library.__name__ == "httpx" else byteplus_trace.httpx2
    with library.Client(
        transport=module.ModelArkTransport(library.HTTPTransport()), headers={"Authorization": "Bearer k"}
    ) as client:
        client.post(sg + "/chat/completions", json=CHAT)

    assert 1 == len(recorded.logical)
    assert 1 == len(recorded.attempts)


@pytest.mark.parametrize("kind", ["", "Async"])
@pytest.mark.parametrize("wrong", ["a client", "a class", "a text", "the other colour"])
def test_what_is_no_transport_is_refused_before_any_call(library, kind, wrong):
    module = byteplus_trace if library.__name__ == "httpx" else byteplus_trace.httpx2
    other = "" if kind else "Async"
    transport = {
        "a client": getattr(library, f"{kind}Client")(),
        "a class": getattr(library, f"{kind}HTTPTransport"),
        "a text": "https://ark.private.example/api/v3",
        "the other colour": getattr(library, f"{other}HTTPTransport")(),
    }[wrong]

    with pytest.raises(
        SettingError,
        match=rf"^{kind}ModelArkTransport\(\) wraps a transport, such as {library.__name__}\.{kind}HTTPTransport\(\), not ",
    ):
        getattr(module, f"{kind}ModelArkTransport")(transport)


def test_uninstrument_puts_everything_back(recorded, ark, sg, library):
    before = library.Client.__dict__["_transport_for_url"]
    byteplus_trace.instrument(
        tracer_provider=recorded.provider, registry=recorded.registry, base_urls=ark.base_urls
    )
    assert before is not library.Client.__dict__["_transport_for_url"]

    byteplus_trace.uninstrument()

    assert before is library.Client.__dict__["_transport_for_url"]
    with library.Client(headers={"Authorization": "Bearer k"}) as client:
        client.post(sg + "/chat/completions", json=CHAT)
    assert () == recorded.spans


def test_every_supported_library_has_the_patch_point(library):
    assert callable(library.Client._transport_for_url)
    assert callable(library.AsyncClient._transport_for_url)


def test_without_a_redact_common_secrets_are_removed_from_content(http, instrument, recorded, sg):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"passwd": "hunter2"}'}}
    messages = [
        {"role": "user", "content": "Open postgres://me:hunter2@db and name three rivers."},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": '{"private_key_pem": "hunter2", "auth": "hunter2"}'},
    ]
    instrument(capture_content=True)

    http.post(sg + "/chat/completions", {**CHAT, "messages": messages, "stop": ["Bearer hunter2hunter2"]})

    assert "hunter2" not in recorded.one.to_json()
    assert "name three rivers" in recorded.one.attributes["gen_ai.input.messages"]
    assert ("Bearer [removed]",) == recorded.one.attributes["gen_ai.request.stop_sequences"]


def test_stop_sequences_are_content(http, instrument, recorded, sg):
    instrument()

    http.post(sg + "/chat/completions", {**CHAT, "stop": ["canary"]})

    assert "canary" not in recorded.one.to_json()
    assert "canary" not in repr(recorded.exchanges) + str(recorded.exchanges[0].call.params)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_that_repeats_the_key_records_no_key(http, instrument, recorded, sg, ark, status):
    """Content is captured, and the message is content; the key in it has no form by which to find it."""
    ark.region("ap-southeast-1").fails(
        status, code="AuthenticationError", message="no such key: 0f1e2d3c4b5a"
    )
    instrument(capture_content=True)

    http.post(sg + "/chat/completions", CHAT, headers={"Authorization": "Bearer 0f1e2d3c4b5a"})

    assert "AuthenticationError" in recorded.one.status.description
    assert "0f1e2d3c4b5a" not in "".join(span.to_json() for span in recorded.spans)
