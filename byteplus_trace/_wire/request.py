"""
What a request's body asked for: the few fields that are recorded. The rest is not decoded.

Each field is decoded alone, so that a field of an unexpected type loses only itself. An explicit null is not set (the Ark SDKs send every unset parameter so).
Prompts, `user` and other content are never read here, except for the ids of uploaded
files: they decide where a call can be served.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from .lenient_json import UNREADABLE, decoded, json_in
from .reader import Asked

_PLAIN = (
    "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "max_output_tokens", "seed", "frequency_penalty",
    "presence_penalty", "repetition_penalty", "n", "reasoning_effort", "service_tier", "previous_response_id", "store",
    "encoding_format", "dimensions", "size", "width", "height", "guidance_scale", "watermark", "output_format", "context_id",
)  # fmt: skip
# Fields that are objects: which member is recorded, and under which name. A plain string is accepted too.
_OBJECTS = {
    "thinking": ("type", "thinking"),
    "reasoning": ("effort", "reasoning_effort"),
    "response_format": ("type", "response_format"),
    "conversation": ("id", "conversation"),
    "session": ("id", "session_id"),
    "stream_options": ("include_usage", "include_usage"),
    "sequential_image_generation_options": ("max_images", "max_images"),
}
_OTHERS = ("stop", "stop_sequences", "text", "input", "negative_prompt")
# Recorded in this order: where two fields mean the same, the later one counts.
_RANKS = {name: rank for rank, name in enumerate((*_PLAIN, *_OBJECTS, *_OTHERS))}

_LONGEST_TEXT = 256
_LONGEST_LIST = 16
_LARGEST_NUMBER = 2**63

_any = msgspec.json.Decoder().decode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode


def asked(body: bytes, *, counted: bool = False) -> Asked:
    """Read a request's body; one that is no JSON object asks for nothing known. `counted`: record the number of inputs."""
    try:
        fields = decoded(_object, body)
    except UNREADABLE:
        return Asked()
    model, stream = _value(fields.get("model")), fields.get("stream")
    # Few of a body's fields are recorded, and only they are looked at.
    wanted = _RANKS.keys() & fields.keys()
    return Asked(
        model if isinstance(model, str) else None,
        stream is not None and _value(stream) is True,
        _params(fields, wanted, counted) if wanted else {},
    )


# Fields that hold parts, and fields of a part that may name a file, of chats, responses and /messages.
_PARTS = ("messages", "input", "content", "output")
_MEDIA = ("file", "image_url", "video_url", "input_audio", "source")


def file_ids(body: bytes) -> list[str]:
    """The ids of the uploaded files that a request refers to."""
    # Most name none, and then a body with its images in it is not decoded.
    return list(_files([json_in(body)])) if b'"file_id"' in body else []


def _files(parts: Any) -> Iterator[str]:
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue
        for medium in (part, *[part.get(name) for name in _MEDIA]):
            if isinstance(medium, dict) and isinstance(medium.get("file_id"), str):
                yield medium["file_id"]
        for name in _PARTS:
            yield from _files(part.get(name))


def _params(fields: dict[str, Raw], wanted: set[str], counted: bool) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name in sorted(wanted, key=_RANKS.__getitem__):
        field = fields[name]
        if name == "sequential_image_generation_options" and not _is_sequence(fields):
            continue  # one image is made, whatever the options are
        if name in _OBJECTS:
            part, recorded_as = _OBJECTS[name]
            _put(params, recorded_as, _part(field, part))
        elif name == "text":
            _put(params, "response_format", _written(field))
        elif name == "stop" or (name == "stop_sequences" and "stop" not in fields):
            _put_stop(params, _value(field))
        elif name == "negative_prompt":
            prompt = _value(field)
            if prompt is not None:
                params["has_negative_prompt"] = bool(prompt)
        elif name == "input":
            if counted:
                _put(params, "inputs", _length(field))
        elif name != "stop_sequences":
            _put(params, name, _value(field))
    return params


def _value(field: Raw | None) -> Any:
    if field is None:
        return None
    try:
        return _any(field)
    except UNREADABLE:
        return None


def _part(field: Raw, part: str) -> Any:
    """One member of an object; a plain string stands for it."""
    try:
        return _value(_object(field).get(part))
    except UNREADABLE:
        text = _value(field)
        return text if isinstance(text, str) else None


def _written(text: Raw) -> Any:
    """The type in `text.format`, where /responses has its format."""
    try:
        return _part(_object(text).get("format", Raw(b"null")), "type")
    except UNREADABLE:
        return None


def _is_sequence(fields: dict[str, Raw]) -> bool:
    return bool(_value(fields.get("sequential_image_generation")) == "auto")


def _length(inputs: Raw) -> int | None:
    """How many inputs there are: the items of a list, or one for a plain text, which may be a list of its tokens."""
    try:
        items = _list(inputs)
    except UNREADABLE:
        return 1 if isinstance(_value(inputs), str) else None
    return 1 if items and isinstance(_value(items[0]), int) else len(items)


def _put(params: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, str):
        if len(value) <= _LONGEST_TEXT:
            params[name] = value
    elif isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER:
        params[name] = value


def _put_stop(params: dict[str, Any], value: Any) -> None:
    stops = value[:_LONGEST_LIST] if isinstance(value, list) else [value]
    stops = [text for text in stops if isinstance(text, str) and len(text) <= _LONGEST_TEXT]
    if stops:
        params["stop"] = stops
