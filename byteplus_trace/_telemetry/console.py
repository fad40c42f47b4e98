"""
The tree of a call where a person looks: a terminal (`instrument(console=True)`), and a notebook's cell.

Colours are those that a colour-blind person can tell apart (blue, orange and bold, never red
against green), and the words say the same without them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from html import escape
from typing import TextIO

from .._facts import Exchange
from .tree import Kind, Line, lines, node_of, plain

# SGR parameters of a terminal, and CSS of a web page.
_STYLES: Mapping[Kind, tuple[str, str]] = {
    "ok": ("1", "font-weight:bold"),
    "rescued": ("1;36", "font-weight:bold;color:#0072b2"),
    "failed": ("1;33", "font-weight:bold;color:#d55e00"),
    "stopped": ("1", "font-weight:bold"),
    "detail": ("2", "opacity:.7"),
    "event": ("36", "color:#0072b2"),
    "attempt": ("", ""),
    "failed attempt": ("33", "color:#d55e00"),
}


def show(exchange: Exchange) -> None:
    """Print a finished call's tree to standard output, at once and in one piece."""
    out = sys.stdout
    if out is None:  # a program without a console, such as one under pythonw
        return
    coloured = takes_colours(out)
    write(
        "".join(f"{_coloured(line) if coloured else plain(line)}\n" for line in lines(node_of(exchange))), out
    )


def write(text: str, out: TextIO) -> None:
    """Write at once, with question marks for what the output's encoding lacks."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(text.encode(encoding, "replace").decode(encoding))
    out.flush()


def takes_colours(out: TextIO) -> bool:
    """Whether it is a terminal that knows colours, and that they are not unwanted (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(line: Line) -> str:
    style = _STYLES[line.kind][0]
    return f"\033[{style}m{plain(line)}\033[0m" if style else plain(line)


def html(exchange: Exchange) -> str:
    """A finished call's tree as HTML, for a notebook; everything in it is escaped."""
    rows = (
        f'<span style="{_STYLES[line.kind][1]}">{escape(plain(line))}</span>'
        for line in lines(node_of(exchange))
    )
    return '<pre style="line-height:1.25">' + "\n".join(rows) + "</pre>"
