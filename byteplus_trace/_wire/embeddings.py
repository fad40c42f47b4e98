"""
Embeddings, of text and of mixed media (ModelArk docs 1409291, 2026-11).

The vectors are skipped: decoding them costs more than everything else this library does.
"""

from __future__ import annotations

import re

from .plain import PlainReader

# Searched for as bytes: decoding the vectors would cost more than the rest of the call.
_has_vector = re.compile(rb'"(?:sparse_)?embedding"\s*+:\s*+(?:\[\s*+[^\]\sn]|"[^"])').search


class EmbeddingsReader(PlainReader):
    """Reads one reply of an embeddings call: it has an embedding, dense or sparse."""

    __slots__ = ()

    def _is_answer(self, body: bytes) -> bool:
        return b'"data"' in body and _has_vector(body) is not None
