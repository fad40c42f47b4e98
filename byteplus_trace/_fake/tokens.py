"""Tokens that a test can count by eye: each word and each punctuation mark is one."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\w+|[^\w\s]")
_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])(?:\s+\Z)?")


def tokens(text: str) -> int:
    """How many tokens the fake ModelArk counts in a text."""
    return len(_TOKEN.findall(text))


def pieces(text: str) -> list[str]:
    """The text cut before each token; joined, they are the text again."""
    return _PIECE.findall(text) or ([text] if text else [])


def spans(text: str) -> list[tuple[int, int]]:
    """Where each token begins and ends."""
    return [found.span() for found in _TOKEN.finditer(text)]


def cut(text: str, limit: int | None) -> str:
    """At most so many tokens of a text."""
    return text if limit is None else "".join(pieces(text)[: max(limit, 0)])
