"""
Embeddings, of text and of mixed media (ModelArk docs 1409291, 2026-11).

The vectors are skipped: decoding them costs more than everything else this library does.
"""

from __future__ import annotations

import re

from .plain import PlainReader

# Searched for as bytes: decoding the vectors would cost more than the rest of the call.
_has_vector = re.compile(rb'"(?:sparse_|multi_)?embedding"\s*+:\s*+(?:\[\s*+[^\]\sn]|"[^"])').search

# An input whose embedding is null. This searches all of the body, so it is only done where there is a null in it.
_has_hole = re.compile(rb'"embedding"\s*+:\s*+null').search


class EmbeddingsReader(PlainReader):
    """Reads one reply of an embeddings call: it has an embedding of each input, dense or sparse."""

    __slots__ = ()

    def _is_answer(self, body: bytes) -> bool:
        if b'"data"' not in body or _has_vector(body) is None:
            return False
        return b"null" not in body or _has_hole(body) is None
