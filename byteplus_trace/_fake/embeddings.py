"""`/embeddings` and `/embeddings/multimodal`: vectors that follow from the text alone."""

from __future__ import annotations

import base64
import hashlib
import random
import struct
from typing import Any

from .chat import IMAGE_TOKENS
from .templates import document
from .tokens import tokens
from .values import Document, FakeReply, Memory, Received, Wording, asked, model_of, required

_DIMENSIONS = 64
"""Fewer than any real model has, to keep replies small; `dimensions` gives as many as asked."""


def embeddings(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    body = asked(request)
    inputs = required(body, "input")
    texts = [inputs] if isinstance(inputs, str) else inputs
    data = [
        {"embedding": _vector(text, body), "index": index, "object": "embedding"}
        for index, text in enumerate(texts)
    ]
    count = sum(tokens(text) for text in texts)
    return _reply(request, body, data, {"prompt_tokens": count, "total_tokens": count}, wording)


def multimodal(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    """All parts together make one vector, so `data` is an object."""
    body = asked(request)
    parts = required(body, "input")
    text = sum(tokens(part.get("text", "")) for part in parts)
    images = IMAGE_TOKENS * sum(part.get("type") in {"image_url", "video_url"} for part in parts)
    data: dict[str, Any] = {"embedding": _vector(str(parts), body), "object": "embedding"}
    if (body.get("sparse_embedding") or {}).get("type") == "enabled":
        data["sparse_embedding"] = [{"index": 1, "value": 0.0887451171875}, {"index": 13, "value": 0.03125}]
    usage = {
        "prompt_tokens": text + images,
        "total_tokens": text + images,
        "prompt_tokens_details": {"text_tokens": text, "image_tokens": images},
    }
    return _reply(request, body, data, usage, wording)


def _reply(request: Received, body: dict[str, Any], data: Any, usage: dict[str, Any], wording: Wording) -> FakeReply:  # fmt: skip
    return Document(
        document(
            "embeddings.json",
            id=request.id,
            created=request.created,
            model=model_of(body, wording),
            data=data,
            usage=wording.usage if wording.usage is not None else usage,
        )
    )


def _vector(text: Any, body: dict[str, Any]) -> list[float] | str:
    numbers = random.Random(hashlib.sha256(str(text).encode()).digest())
    # Multiples of 1/1024 are the same in JSON and as 32-bit floats.
    vector = [numbers.randint(-1023, 1023) / 1024 for _ in range(body.get("dimensions", _DIMENSIONS))]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector
