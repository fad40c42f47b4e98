"""Embeddings, of text and of mixed media: `data` is a list or, of mixed media, an object; vectors are never decoded."""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .chat import with_content
from .errors import error_in
from .reader import END, FAILED, OUTPUT, Asked
from .request import asked as _asked
from .request import inputs_of
from .usage import usage_of


class _Embeddings(msgspec.Struct):
    id: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None


_embeddings = msgspec.json.Decoder(_Embeddings).decode


def asked(body: bytes, capture: bool) -> Asked:
    """What an embeddings request asks for."""
    found = _asked(body)
    count = inputs_of(body)
    if count is not None:
        found = Asked(found.model, found.stream, {**found.params, "inputs": count})
    return with_content(found, "embeddings", body) if capture else found


class EmbeddingsReader:
    """Reads one embeddings reply."""

    __slots__ = ("_complete", "_error", "_given")

    def __init__(self, capture: bool = False) -> None:
        self._given = _Embeddings()
        self._error: WireError | None = None
        self._complete = False

    def event(self, name: str, data: bytes) -> int:
        """Embeddings do not stream; whatever comes all the same is output."""
        if data == b"[DONE]":
            self._complete = True
            return END
        self._error = error_in(_decoded(data))
        return FAILED if self._error is not None else OUTPUT

    def document(self, body: bytes) -> None:
        try:
            self._given = _embeddings(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        self._complete = True
        if self._given.error:
            self._error = error_in({"error": self._given.error}) or WireError()

    def answer(self) -> Answer:
        given = self._given
        return Answer(
            id=given.id if isinstance(given.id, str) else None,
            model=given.model if isinstance(given.model, str) else None,
            usage=usage_of(given.usage),
            error=self._error,
            complete=self._complete,
        )


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


reader = EmbeddingsReader
