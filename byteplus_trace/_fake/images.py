"""
`/images/generations`, one or a group, whole or streamed.

A prompt with `[moderated]` in it loses its last image to moderation. Output tokens are
the area of the images that were made, over 256.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .templates import document, events
from .values import (
    Document,
    FakeReply,
    Memory,
    Received,
    RefusedError,
    Stream,
    Wording,
    asked,
    model_of,
    required,
)

MODERATED = "[moderated]"
_SIDES = {"1K": 1024, "1.5K": 1536, "2K": 2048, "3K": 3072, "4K": 4096, "auto": 2048, "adaptive": 2048}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGMwTpsJAAICATNWh+JUAAAAAElFTkSuQmCC"
_REFUSED = {
    "code": "OutputImageSensitiveContentDetected",
    "message": "The request failed because the output image may contain sensitive information.",
}


def images(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    body = asked(request)
    prompt = required(body, "prompt")
    width, height = _size(body.get("size", "2K"))
    size = f"{width}x{height}"
    form = "b64_json" if body.get("response_format") == "b64_json" else "url"
    count = _count(body)
    made = [
        {"index": at, "form": form, "picture": _picture(form, request, at), "size": size}
        for at in range(count - (MODERATED in prompt))
    ]
    refused = [{"index": at, "error": _REFUSED} for at in range(len(made), count)]
    usage = wording.usage
    if usage is None:
        area = len(made) * (width * height // 256)
        usage = {**_inputs(body), "generated_images": len(made), "output_tokens": area, "total_tokens": area}
    shared = {"model": model_of(body, wording), "created": request.created, "usage": usage}
    if body.get("stream"):
        return Stream(events("images_stream.sse", made=made, refused=refused, **shared))
    data: list[dict[str, Any]] = [{form: item["picture"], "size": size} for item in made]
    data += [{"error": item["error"]} for item in refused]
    return Document(document("images.json", data=data, **shared))


def _count(body: Mapping[str, Any]) -> int:
    if body.get("sequential_image_generation", "disabled") == "disabled":
        return 1
    count = (body.get("sequential_image_generation_options") or {}).get("max_images", 15)
    if not 1 <= count <= 15:
        raise RefusedError(400, "InvalidParameter", "max_images must be between 1 and 15.", "max_images")
    return int(count)


def _size(size: str) -> tuple[int, int]:
    if size in _SIDES:
        return _SIDES[size], _SIDES[size]
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise RefusedError(400, "InvalidParameter", f"The size {size} is not valid.", "size")
    return int(width), int(height)


def _picture(form: str, request: Received, index: int) -> str:
    return _PIXEL if form == "b64_json" else f"https://modelark.example/{request.id}/{index}.jpeg"


def _inputs(body: Mapping[str, Any]) -> dict[str, int]:
    image = body.get("image")
    if image is None:
        return {}
    return {"input_images": len(image) if isinstance(image, list) else 1}
