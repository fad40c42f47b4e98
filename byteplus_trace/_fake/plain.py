"""The small APIs: tokenization, the model list, ping, and unknown paths."""

from __future__ import annotations

import zlib

from .templates import document
from .tokens import spans
from .values import Document, Memory, Received, Reply, Wording, asked, model_of, required


def tokenization(request: Received, memory: Memory, wording: Wording) -> Reply:
    body = asked(request)
    texts = required(body, "text")
    data = []
    for index, text in enumerate([texts] if isinstance(texts, str) else texts):
        places = spans(text)
        data.append(
            {
                "index": index,
                "object": "tokenization",
                "total_tokens": len(places),
                "token_ids": [zlib.crc32(text[start:end].encode()) % 100_000 for start, end in places],
                "offset_mapping": places,
            }
        )
    model = model_of(body, wording)
    return Document(
        document("tokenization.json", id=request.id, model=model, created=request.created, data=data)
    )


def models(request: Received, memory: Memory, wording: Wording) -> Reply:
    return Document(document("models.json"))


def ping(request: Received, memory: Memory, wording: Wording) -> Reply:
    return Document(b'{"message":"pong"}')


def nothing(request: Received, memory: Memory, wording: Wording) -> Reply:
    """BytePlus answers a route that it does not know with 200 and no body at all."""
    return Document(b"")
