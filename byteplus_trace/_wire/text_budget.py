"""How much of what was said is kept."""

from __future__ import annotations

LONGEST_TEXT = 16 * 1024
"""Characters kept of one text."""
LONGEST_CONTENT = 256 * 1024
"""Characters kept of one request's or one reply's texts."""

_STRUCTURE = 32  # what a part or an entry costs besides its text, so that many empty ones are bounded too


class Room:
    """How many characters may still be kept."""

    __slots__ = ("left",)

    def __init__(self, left: int = LONGEST_CONTENT) -> None:
        self.left = left

    def takes(self, cost: int = _STRUCTURE) -> bool:
        """Whether there is room for one thing more; its cost is taken."""
        if self.left <= 0:
            return False
        self.left -= cost
        return True

    def text(self, text: str) -> str:
        """As much of the text as there is room for."""
        kept = max(0, min(len(text), LONGEST_TEXT, self.left))
        self.left -= kept
        return text if kept == len(text) else text[:kept] + cut(len(text) - kept)


def cut(characters: int) -> str:
    """What stands where characters were cut."""
    return f" [... {characters} characters cut]"
