"""
Text that is safe to write to a terminal.

What a span says comes from anybody. An escape sequence could move the cursor, change the
clipboard or hide a line, and a bidirectional override could reorder one. So whatever does
not print (controls, formats, surrogates, unassigned) is shown as its escape, such as
`\\x1b`. Markup is nobody's business here: the screens never parse text as markup.
"""

from __future__ import annotations

from .._telemetry.tree import clean

LONGEST = 2000


def plain(text: str, longest: int = LONGEST) -> str:
    """One line, at most so long, of characters that print."""
    cut = clean(text[:longest])[:longest]
    return cut if len(text) <= longest else cut[: longest - 1] + "…"


def plain_lines(text: str, most: int = 2000, longest: int = LONGEST) -> list[str]:
    """The lines of a text, each of them plain; tabs become blanks."""
    lines = text.replace("\r\n", "\n").expandtabs(4).split("\n", most)
    shown = [plain(line, longest) for line in lines[:most]]
    return [*shown, "…"] if len(lines) > most else shown
