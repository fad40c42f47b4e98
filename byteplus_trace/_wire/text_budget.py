"""How much text is kept."""

from __future__ import annotations

LONGEST_TEXT = 16 * 1024
"""Characters kept of one text."""
LONGEST_NAME = 256
"""Characters kept of an id, a code, a model's name: of a text that is no content."""
LONGEST_CONTENT = 256 * 1024
"""Characters kept of one request's or one reply's texts."""

_STRUCTURE = 32  # what a part or an entry costs besides its text, so that many empty ones are bounded too


class TextBudget:
    """Counts how many characters may still be kept."""

    __slots__ = ("remaining",)

    def __init__(self, remaining: int = LONGEST_CONTENT) -> None:
        self.remaining = remaining

    def takes(self, cost: int = _STRUCTURE) -> bool:
        """Whether there is room for one more entry. If so, its cost is subtracted."""
        if self.remaining <= 0:
            return False
        self.remaining -= cost
        return True

    def text(self, text: str) -> str:
        """As much of the text as there is room for."""
        kept = max(0, min(len(text), LONGEST_TEXT, self.remaining))
        self.remaining -= kept
        return text if kept == len(text) else text[:kept] + cut(len(text) - kept)


def cut(characters: int) -> str:
    """The mark in place of characters that were cut."""
    return f" [... {characters} characters cut]"
