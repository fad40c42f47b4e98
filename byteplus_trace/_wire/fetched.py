"""
A stored response, fetched whole or as its stream once more.

Its status and its tokens are those of the call that made it. If it says `failed`, fetching
it still went well. Only the fetch itself can fail here.
"""

from __future__ import annotations

from msgspec.structs import replace

from .._facts import Answer
from .reader import END, FAILED
from .responses import ResponsesReader


class FetchedReader(ResponsesReader):
    """Reads one response that was made before."""

    __slots__ = ()

    def event(self, name: str, data: bytes) -> int:
        kind = super().event(name, data)
        return END if kind == END | FAILED else kind

    def answer(self) -> Answer:
        answer = super().answer()
        return replace(answer, error=None) if answer.status == "failed" else answer
