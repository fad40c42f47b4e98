"""
What a request's body asked for: the few fields that are told, the rest skipped unread.

Each field is taken raw and read alone, so that one of an unexpected type costs only
itself. An explicit null is not set (the Ark SDKs send every unset parameter so).
Prompts, `user` and whatever else is content are never looked at here.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from .reader import Asked

Field = Raw | UnsetType


class _Fields(msgspec.Struct):
    model: Field = UNSET
    stream: Field = UNSET
    temperature: Field = UNSET
    top_p: Field = UNSET
    max_tokens: Field = UNSET
    max_completion_tokens: Field = UNSET
    max_output_tokens: Field = UNSET
    seed: Field = UNSET
    frequency_penalty: Field = UNSET
    presence_penalty: Field = UNSET
    repetition_penalty: Field = UNSET
    stop: Field = UNSET
    stop_sequences: Field = UNSET
    n: Field = UNSET
    reasoning_effort: Field = UNSET
    reasoning: Field = UNSET
    thinking: Field = UNSET
    service_tier: Field = UNSET
    previous_response_id: Field = UNSET
    store: Field = UNSET
    response_format: Field = UNSET
    text: Field = UNSET
    conversation: Field = UNSET
    session: Field = UNSET
    context_id: Field = UNSET
    stream_options: Field = UNSET
    encoding_format: Field = UNSET
    dimensions: Field = UNSET
    size: Field = UNSET
    width: Field = UNSET
    height: Field = UNSET
    guidance_scale: Field = UNSET
    watermark: Field = UNSET
    output_format: Field = UNSET
    negative_prompt: Field = UNSET
    sequential_image_generation_options: Field = UNSET


class _Counted(msgspec.Struct):
    input: Field = UNSET


class _Inner(msgspec.Struct):
    """The part of an object-valued field that is told."""

    type: Any = None
    effort: Any = None
    id: Any = None
    format: Any = None
    include_usage: Any = None
    max_images: Any = None


_fields = msgspec.json.Decoder(_Fields).decode
_counted = msgspec.json.Decoder(_Counted).decode
_inner = msgspec.json.Decoder(_Inner).decode
_any = msgspec.json.Decoder().decode
_list = msgspec.json.Decoder(list[Raw]).decode

_SCALARS = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens", "seed", "frequency_penalty",
    "presence_penalty", "repetition_penalty", "n", "reasoning_effort", "service_tier", "previous_response_id", "store",
    "encoding_format", "dimensions", "size", "width", "height", "guidance_scale", "watermark", "output_format", "context_id",
)  # fmt: skip
# A field that is an object (or, for some, may be a plain word), what of it is told, and under which name.
_OBJECTS = (
    ("thinking", "type", "thinking"),
    ("reasoning", "effort", "reasoning_effort"),
    ("response_format", "type", "response_format"),
    ("conversation", "id", "conversation"),
    ("session", "id", "session_id"),
    ("stream_options", "include_usage", "include_usage"),
    ("sequential_image_generation_options", "max_images", "max_images"),
)
_LONGEST_LIST = 16


def asked(body: bytes) -> Asked:
    """Read a request's body; one that is no JSON object asks for nothing known."""
    try:
        fields = _fields(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Asked()
    params: dict[str, Any] = {}
    for name in _SCALARS:
        field = getattr(fields, name)
        if field is not UNSET:
            _put(params, name, _any(field))
    for name, part, told in _OBJECTS:
        field = getattr(fields, name)
        if field is not UNSET:
            _put(params, told, _part(field, part))
    if fields.stop is not UNSET or fields.stop_sequences is not UNSET:
        _put_stop(params, _any(fields.stop if fields.stop is not UNSET else fields.stop_sequences))
    if fields.text is not UNSET:
        written = _part(fields.text, "format")
        _put(params, "response_format", written.get("type") if isinstance(written, dict) else None)
    if fields.negative_prompt is not UNSET:
        params["has_negative_prompt"] = bool(_any(fields.negative_prompt))
    model = _any(fields.model) if fields.model is not UNSET else None
    stream = fields.stream is not UNSET and _any(fields.stream) is True
    return Asked(model if isinstance(model, str) else None, stream, params)


def inputs_of(body: bytes) -> int | None:
    """How many inputs an embeddings request has."""
    try:
        given = _counted(body).input
        if isinstance(given, UnsetType) or bytes(given) == b"null":
            return None
        return len(_list(given))
    except msgspec.ValidationError:
        return 1  # a plain text
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _put(params: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, str | int | float):
        params[name] = value


def _put_stop(params: dict[str, Any], value: Any) -> None:
    if isinstance(value, str):
        params["stop"] = [value]
    elif isinstance(value, list):
        params["stop"] = [word for word in value[:_LONGEST_LIST] if isinstance(word, str)]


def _part(field: Raw, part: str) -> Any:
    try:
        return getattr(_inner(field), part)
    except msgspec.DecodeError:
        return _any(field)  # a plain word stands for the object
