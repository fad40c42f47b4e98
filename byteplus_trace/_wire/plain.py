"""Whatever else there is: tokenization, contexts, files, models. An id, a model and an error, if any."""

from __future__ import annotations

from .embeddings import EmbeddingsReader
from .tasks import asked

__all__ = ["asked", "reader"]

reader = EmbeddingsReader
