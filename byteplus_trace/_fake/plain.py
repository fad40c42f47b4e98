"""The small APIs: tokenization, the model list, ping, and unknown paths."""

from __future__ import annotations

import zlib

from .templates import document
from .tokens import pieces, spans, tokens
from .values import (
    Document,
    FakeReply,
    Memory,
    Received,
    RefusedError,
    Wording,
    asked,
    json_document,
    model_of,
    required,
)


def tokenization(request: Received, memory: Memory, wording: Wording) -> FakeReply:
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


def models(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    return Document(document("models.json"))


def classification(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    """The first label, as Volcengine's SDK types it."""
    body = asked(request)
    required(body, "model")
    query, labels = required(body, "query"), required(body, "labels")
    made = {label: {"tokens": pieces(label), "token_logprobs": [-0.5] * tokens(label)} for label in labels}
    prompt, completion = tokens(query), tokens(labels[0])
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return json_document({"label": labels[0], "label_logprobos": made, "usage": wording.usage or usage})


def certificate(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    """In the SDK's form; no client can encrypt with it."""
    return json_document(
        {"Certificate": "-----BEGIN CERTIFICATE-----\n(a fake one)\n-----END CERTIFICATE-----\n"}
    )


def ping(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    return Document(b'{"message":"pong"}')


def unknown(request: Received, memory: Memory, wording: Wording) -> FakeReply:
    """A path that the service does not have, answered as Volcengine does."""
    raise RefusedError(404, "InvalidAction", f"The action is not valid: {request.path}")
