"""
A response that is asked after, whole or as its stream once more.

That it has failed is what it says, as are its tokens what it once took: asking for it
went well. What fails here is the asking.
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
