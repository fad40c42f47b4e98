"""
FakeReply bodies as files with holes.

A file is JSON or, for a stream, events as they stand on the wire. In it

    "$name"           is replaced by the JSON of that value
    ,"...":"$name"    is replaced by the members of that mapping, or by nothing
    : if name         (a line before an event) keeps the event only if the value is true
    : each name       repeats the event for each item, `"$name"` being the item, or,
                      of a mapping, each of its keys a hole of its own
    "$n"              is the number of the event in its stream, from 0

Files are cut at their holes once, so that filling one is a join.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "replies"
_HOLE = re.compile(r'(,"\.\.\.":"\$\w+"|"\$\w+")')
_NAME = re.compile(r"\$(\w+)")

dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class _Block:
    """A document, or one event of a stream: literal, hole, literal, hole, … literal."""

    rule: str
    subject: str
    parts: tuple[str, ...]
    holes: tuple[tuple[str, bool], ...]
    """Name, and whether it is spread."""

    def filled(self, texts: _Texts) -> bytes:
        out = [self.parts[0]]
        for (name, spread), literal in zip(self.holes, self.parts[1:], strict=True):
            out.append(texts.members(name) if spread else texts[name])
            out.append(literal)
        return "".join(out).encode()


class _Texts(dict[str, str]):
    """The JSON of each value, made when first asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def __missing__(self, name: str) -> str:
        text = self[name] = dumps(self._values[name])
        return text

    def members(self, name: str) -> str:
        inner = self[name][1:-1]
        return f",{inner}" if inner else ""


def document(name: str, **values: Any) -> bytes:
    """The JSON body of that file, its holes filled."""
    (block,) = _blocks(name)
    return block.filled(_Texts(values))


def events(name: str, **values: Any) -> tuple[bytes, ...]:
    """The events of that file in order, each with the blank line that ends it."""
    texts = _Texts(values)
    out: list[bytes] = []
    for block in _blocks(name):
        if block.rule == "if" and not values[block.subject]:
            continue
        items: Iterable[Any] = values[block.subject] if block.rule == "each" else (None,)
        for item in items:
            if isinstance(item, Mapping):
                texts.update((key, dumps(value)) for key, value in item.items())
            elif block.rule == "each":
                texts[block.subject] = dumps(item)
            texts["n"] = str(len(out))
            out.append(block.filled(texts))
        if block.rule == "each":
            texts.pop(block.subject, None)
    return tuple(out)


@cache
def _blocks(name: str) -> tuple[_Block, ...]:
    text = (_FOLDER / name).read_text("utf-8")
    if name.endswith(".json"):
        return (_block("", "", dumps(json.loads(text))),)
    blocks = []
    for event in text.split("\n\n"):
        lines = event.strip().splitlines()
        if not lines:
            continue
        rule = subject = ""
        if lines[0].startswith(": "):
            _, rule, subject = lines.pop(0).split()
        blocks.append(_block(rule, subject, "\n".join(lines) + "\n\n"))
    return tuple(blocks)


def _block(rule: str, subject: str, text: str) -> _Block:
    cut = _HOLE.split(text)
    holes = tuple((_NAME.findall(hole)[0], hole.startswith(",")) for hole in cut[1::2])
    return _Block(rule, subject, tuple(cut[::2]), holes)
