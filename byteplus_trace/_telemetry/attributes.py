"""
Facts become span attributes: pure functions from a call, an attempt or an exchange.

What is known at the start is set at the start, for samplers; what the reply holds is
set at the end. `None` is left out; every string is bounded. Metadata stands first, for
a span that has no room for all its attributes drops the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import astuple

from .. import _facts as facts
from .._apis import BY_NAME
from . import semconv as sc
from .semconv import OWN

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]

LONGEST = 256
MOST_CHOICES = 128
"""As many as any service makes of one request; a span is not the place for a billion."""

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""Those that the HTTP conventions know; every other one is `_OTHER`."""

_Params = tuple[tuple[str, str, type[float] | type[int] | type[str] | type[bool]], ...]

# ModelArk's name of a request parameter, the attribute, and the type that it must have.
_PARAMS: _Params = (
    ("temperature", "gen_ai.request.temperature", float),
    ("top_p", "gen_ai.request.top_p", float),
    ("top_k", "gen_ai.request.top_k", int),
    ("frequency_penalty", "gen_ai.request.frequency_penalty", float),
    ("presence_penalty", "gen_ai.request.presence_penalty", float),
    ("max_tokens", "gen_ai.request.max_tokens", int),
    ("max_completion_tokens", "gen_ai.request.max_tokens", int),
    ("max_output_tokens", "gen_ai.request.max_tokens", int),
    ("seed", "gen_ai.request.seed", int),
    ("reasoning_effort", "gen_ai.request.reasoning.level", str),
    ("previous_response_id", "gen_ai.request.previous_response.id", str),
    ("dimensions", "gen_ai.embeddings.dimension.count", int),
    ("conversation", sc.CONVERSATION_ID, str),
    ("thinking", OWN + "thinking", str),
    ("service_tier", OWN + "service_tier", str),
    ("inputs", OWN + "embedding.inputs", int),
)
_IMAGE_PARAMS: _Params = (
    ("size", OWN + "image.size", str),
    ("width", OWN + "image.width", int),
    ("height", OWN + "image.height", int),
    ("seed", OWN + "image.seed", int),
    ("guidance_scale", OWN + "image.guidance_scale", float),
    ("watermark", OWN + "image.watermark", bool),
    ("has_negative_prompt", OWN + "image.has_negative_prompt", bool),
)
_OUTPUT_TYPES = {"text": "text", "json_object": "json", "json_schema": "json"}

# The attribute of each count of `Usage`, in its order.
_USAGE = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.text.input_tokens",
    "gen_ai.usage.image.input_tokens",
    "gen_ai.usage.audio.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
)


def span_name(call: facts.Call) -> str:
    """`{operation} {model}`, or the operation alone."""
    return f"{call.operation} {call.model[:LONGEST]}" if call.model else call.operation


def start_attributes(call: facts.Call) -> Attributes:
    """What is known when the call starts."""
    attributes: Attributes = {
        **(_metadata(call.metadata) if call.metadata else {}),
        sc.OPERATION_NAME: call.operation,
        sc.PROVIDER_NAME: call.provider,
        sc.SERVER_ADDRESS: call.host,
        sc.SERVER_PORT: call.port,
        sc.CLOUD_REGION: call.region,
        sc.API: call.api,
    }
    if call.model is not None:
        attributes[sc.REQUEST_MODEL] = call.model[:LONGEST]
        if call.model.startswith("ep-"):
            attributes[sc.ENDPOINT_ID] = call.model[:LONGEST]
    if call.stream:
        attributes[sc.REQUEST_STREAM] = True
    if call.params:
        _put_params(attributes, _PARAMS, call.params)
        _put_special_params(attributes, call.params)
        if call.api == "images":
            _put_params(attributes, _IMAGE_PARAMS, call.params)
    if call.api == "images":
        attributes[sc.IMAGE_REQUESTED] = _images_requested(call.params)
    output_type = BY_NAME[call.api].output_type
    if output_type is not None:
        attributes[sc.OUTPUT_TYPE] = output_type
    if call.client_request_id is not None:
        attributes[sc.CLIENT_REQUEST_ID] = call.client_request_id[:LONGEST]
    if call.sdk_retry:
        attributes[sc.SDK_RETRY] = call.sdk_retry
    return attributes


def _put_params(attributes: Attributes, table: _Params, params: Mapping[str, Any]) -> None:
    for name, attribute, kind in table:
        value = params.get(name)
        if value is None:
            continue
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            attributes[attribute] = value[:LONGEST] if isinstance(value, str) else value
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            attributes[attribute] = float(value)


def _put_special_params(attributes: Attributes, params: Mapping[str, Any]) -> None:
    choices = params.get("n")
    if isinstance(choices, int) and choices != 1:
        attributes["gen_ai.request.choice.count"] = choices
    encoding = params.get("encoding_format")
    if isinstance(encoding, str):
        attributes["gen_ai.request.encoding_formats"] = [encoding]
    output_type = _OUTPUT_TYPES.get(params.get("response_format") or "")
    if output_type is not None:
        attributes[sc.OUTPUT_TYPE] = output_type


def _images_requested(params: Mapping[str, Any]) -> int:
    for name in ("max_images", "n"):
        value = params.get(name)
        if isinstance(value, int):
            return value
    return 1


def _metadata(metadata: Mapping[str, str]) -> Attributes:
    """The metadata; what the request itself holds is set after it and wins."""
    attributes: Attributes = {sc.METADATA + key: value for key, value in metadata.items()}
    if "user" in metadata:
        attributes[sc.USER_ID] = metadata["user"]
    if "session" in metadata:
        attributes[sc.CONVERSATION_ID] = metadata["session"]
    return attributes


def end_attributes(exchange: facts.Exchange, *, holds_attempt: bool = False) -> Attributes:
    """
    What is known when the call has ended, under the conventions' names and our own.

    Args:
        holds_attempt: its only attempt has no span, so what that span would have is here.
    """
    attributes: Attributes = _of_only_attempt(exchange) if holds_attempt else {}
    answer = exchange.answer
    if answer.id is not None:
        attributes[sc.RESPONSE_ID] = answer.id[:LONGEST]
    if answer.model is not None:
        attributes[sc.RESPONSE_MODEL] = answer.model[:LONGEST]
    reasons = finish_reasons(exchange)
    if reasons:
        attributes[sc.FINISH_REASONS] = reasons
    if exchange.first_chunk_seconds is not None:
        attributes[sc.TIME_TO_FIRST_CHUNK] = exchange.first_chunk_seconds
    if exchange.call.operation == "fetch_response":
        _put_fetched(attributes, exchange)
    elif answer.usage is not None:
        for attribute, count in zip(_USAGE, astuple(answer.usage), strict=True):
            if count is not None:
                attributes[attribute] = count
    _put_own(attributes, exchange)
    # The span has the place that was addressed since its start, and a span's attribute costs half a microsecond to set.
    call = exchange.call
    if exchange.host != call.host or exchange.port != call.port or exchange.region != call.region:
        _put_place(attributes, exchange)
    return attributes


def _put_fetched(attributes: Attributes, exchange: facts.Exchange) -> None:
    """What a response is that is asked after; its tokens were counted when it was made."""
    if exchange.call.resource_id is not None:
        attributes.setdefault(sc.RESPONSE_ID, exchange.call.resource_id[:LONGEST])
    if exchange.answer.task_id is not None and exchange.answer.status is not None:
        attributes[sc.TASK_STATUS] = exchange.answer.status[:LONGEST]
    elif exchange.answer.status is not None:
        attributes[sc.RESPONSE_STATUS] = exchange.answer.status[:LONGEST]


def finish_reasons(exchange: facts.Exchange) -> list[str]:
    """As the service sent them; `error` for each choice that never got one."""
    reasons = list(exchange.answer.finish_reasons)
    if exchange.call.operation != "chat":
        return reasons
    stopped_early = exchange.outcome in {"cancelled", "abandoned"} or (
        exchange.call.stream and exchange.outcome in {"error", "deadline"} and exchange.status == 200
    )
    if stopped_early:
        choices = exchange.call.params.get("n")
        expected = min(choices, MOST_CHOICES) if isinstance(choices, int) else 1
        reasons += ["error"] * (max(expected, 1) - len(reasons))
    return reasons


def own_attributes(exchange: facts.Exchange, *, holds_attempt: bool = False) -> Attributes:
    """
    Ours alone, of the call's start and of its end: what is added to another instrumentation's GenAI span.

    Args:
        holds_attempt: as for `end_attributes`.
    """
    started = start_attributes(exchange.call).items()
    attributes = {name: value for name, value in started if name.startswith(OWN) or name == sc.USER_ID}
    if holds_attempt:
        attributes.update(_of_only_attempt(exchange))
    _put_own(attributes, exchange)
    _put_place(attributes, exchange)
    return attributes


def _put_place(attributes: Attributes, exchange: facts.Exchange) -> None:
    attributes[sc.SERVER_ADDRESS] = exchange.host
    attributes[sc.SERVER_PORT] = exchange.port
    attributes[sc.CLOUD_REGION] = exchange.region


def _put_own(attributes: Attributes, exchange: facts.Exchange) -> None:
    answer = exchange.answer
    attributes[sc.OUTCOME] = exchange.outcome
    attributes[sc.ATTEMPTS] = len(exchange.attempts)
    attributes[sc.TARGET] = exchange.target
    if exchange.error_type is not None:
        attributes[sc.ERROR_TYPE] = exchange.error_type[:LONGEST]
    if answer.error is not None and answer.error.code is not None:
        attributes[sc.ERROR_CODE] = answer.error.code[:LONGEST]
    if exchange.request_id is not None:
        attributes[sc.REQUEST_ID] = exchange.request_id[:LONGEST]
    if exchange.upstream_ms is not None:
        attributes[sc.UPSTREAM_MS] = exchange.upstream_ms
    if answer.service_tier is not None:
        attributes[sc.SERVICE_TIER] = answer.service_tier[:LONGEST]
    if exchange.fallback_from is not None:
        attributes[sc.FALLBACK_FROM] = exchange.fallback_from[:LONGEST]
    if exchange.fallback_reason is not None:
        attributes[sc.FALLBACK_REASON] = exchange.fallback_reason
    if answer.server_fallback is not None:
        attributes[sc.SERVER_FALLBACK] = answer.server_fallback[:LONGEST]
    if exchange.first_answer_seconds is not None:
        attributes[sc.TIME_TO_FIRST_ANSWER] = exchange.first_answer_seconds
    if exchange.cost_usd is not None:
        attributes[sc.COST_USD] = float(exchange.cost_usd)
    if exchange.call.stream:
        attributes[sc.CHUNKS] = exchange.chunks
    if answer.images is not None:
        _put_images(attributes, answer.images)


def _put_images(attributes: Attributes, images: facts.Images) -> None:
    attributes[sc.IMAGE_GENERATED] = images.generated
    attributes[sc.IMAGE_FAILED] = images.failed
    if images.output_tokens is not None:
        attributes[sc.IMAGE_OUTPUT_TOKENS] = images.output_tokens
    if images.size is not None:
        attributes[sc.IMAGE_SIZE] = images.size[:LONGEST]


def content_attributes(
    asked: facts.Content | None, answered: facts.Content | None, write: Callable[[Any], str]
) -> Attributes:
    """Captured content, each kind as one JSON string."""
    attributes: Attributes = {}
    if asked is not None:
        if asked.messages:
            attributes[sc.INPUT_MESSAGES] = write(asked.messages)
        if asked.system_instructions:
            attributes[sc.SYSTEM_INSTRUCTIONS] = write(asked.system_instructions)
        if asked.tool_definitions:
            attributes[sc.TOOL_DEFINITIONS] = write(asked.tool_definitions)
    if answered is not None and answered.messages:
        attributes[sc.OUTPUT_MESSAGES] = write(answered.messages)
    return attributes


def attempt_span_name(call: facts.Call) -> str:
    """The method, or `HTTP` for one that the conventions do not know."""
    return call.method if call.method in METHODS else "HTTP"


def attempt_start_attributes(call: facts.Call, sending: facts.Sending | facts.Attempt) -> Attributes:
    """What is known when a send begins; of a call that makes no GenAI claim also what its logical span would hold."""
    attributes: Attributes = {
        **(_in_place_of_logical(call) if call.operation == "other" else {}),
        sc.HTTP_METHOD: call.method if call.method in METHODS else "_OTHER",
        sc.SERVER_ADDRESS: sending.host,
        sc.SERVER_PORT: sending.port,
        sc.URL_FULL: sending.url,
        sc.CLOUD_REGION: sending.region,
        sc.TARGET: sending.target,
        sc.ATTEMPT_CAUSE: sending.cause,
    }
    if call.method not in METHODS:
        attributes[sc.HTTP_METHOD_ORIGINAL] = call.method[:LONGEST]
    if sending.number > 1:
        attributes[sc.HTTP_RESEND_COUNT] = sending.number - 1
    return attributes


def _in_place_of_logical(call: facts.Call) -> Attributes:
    return {**{sc.METADATA + key: value for key, value in call.metadata.items()}, sc.API: call.api}


def _of_only_attempt(exchange: facts.Exchange) -> Attributes:
    """What the span of a call's only attempt would have, except what the call's span has had since its start."""
    (attempt,) = exchange.attempts
    attributes = attempt_end_attributes(attempt)
    # The call says whether it failed. One that was cancelled before it was sent again did not, though its attempt did.
    attributes.pop(sc.ERROR_TYPE, None)
    # One that the conventions know: each call with a span of its own is in the table of APIs.
    attributes[sc.HTTP_METHOD] = exchange.call.method
    attributes[sc.URL_FULL] = attempt.url
    attributes[sc.ATTEMPT_CAUSE] = attempt.cause
    return attributes


def attempt_end_attributes(attempt: facts.Attempt) -> Attributes:
    """How one send ended."""
    attributes: Attributes = {}
    if attempt.status is not None:
        attributes[sc.HTTP_STATUS] = attempt.status
    if attempt.error_type is not None:
        attributes[sc.ERROR_TYPE] = attempt.error_type[:LONGEST]
    if attempt.error_code is not None:
        attributes[sc.ERROR_CODE] = attempt.error_code[:LONGEST]
    if attempt.request_id is not None:
        attributes[sc.REQUEST_ID] = attempt.request_id[:LONGEST]
    return attributes
