"""A message received in pieces. Keeps at most as much as is exported."""

from __future__ import annotations

from collections.abc import Hashable
from io import StringIO
from typing import Any, Literal

from ..text_budget import LONGEST_TEXT, TextBudget, cut
from .media import Part
from .parts import tool_call

Kind = Literal["text", "reasoning", "tool_call"]


class _Block:
    """One part of a message, built from its deltas or received whole."""

    __slots__ = ("_kept", "_length", "_text", "identity", "kind", "name", "whole")

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.identity: Any = None
        self.name: Any = None
        self.whole: list[Part] | None = None
        self._text = StringIO()
        self._kept = 0
        self._length = 0

    def add(self, piece: str, budget: TextBudget) -> None:
        self._length += len(piece)
        kept = max(0, min(len(piece), LONGEST_TEXT - self._kept, budget.remaining))
        self._text.write(piece[:kept])
        self._kept += kept
        budget.remaining -= kept

    @property
    def is_empty(self) -> bool:
        return not self._length

    def parts(self) -> list[Part]:
        if self.whole is not None:
            return self.whole
        lost = self._length - self._kept
        text = self._text.getvalue() + (cut(lost) if lost else "")
        if self.kind == "tool_call":
            return [tool_call(self.identity, self.name, text or None, TextBudget())]
        return [{"type": self.kind, "content": text}] if text else []


class Accumulator:
    """A message received in pieces. Its blocks are in the order in which they began."""

    __slots__ = ("_blocks", "_current", "_lost", "finish_reason")

    def __init__(self) -> None:
        self._blocks: dict[Hashable, _Block] = {}
        self._current: dict[Hashable, Hashable] = {}
        """Where several calls share a key: the one that its next pieces belong to."""
        self._lost = 0
        self.finish_reason: Any = None

    def block(self, key: Hashable, kind: Kind, budget: TextBudget) -> _Block | None:
        """The block of that key, begun if need be; None where the budget has no room for one more."""
        block = self._blocks.get(key)
        if block is None:
            if not budget.takes():
                self._lost += 1
                return None
            block = self._blocks[key] = _Block(kind)
        return block

    def grow(self, key: Hashable, kind: Kind, piece: Any, budget: TextBudget) -> None:
        """Add a piece of text to a block."""
        if isinstance(piece, str) and piece:
            block = self.block(key, kind, budget)
            if block is not None:
                block.add(piece, budget)

    def call(self, key: Hashable, identity: Any, name: Any, arguments: Any, budget: TextBudget) -> None:
        """
        Add a piece of a tool call: its id and name arrive once, its arguments in pieces.

        Some servers put parallel calls on one index, or on none. Another id, or another
        name where there are no ids, is another call.
        """
        block = self.block(self._key_of_call(key, identity, name), "tool_call", budget)
        if block is not None:
            block.identity = block.identity or _named(identity, budget)
            block.name = block.name or _named(name, budget)
            if isinstance(arguments, str):
                block.add(arguments, budget)

    def has_arguments(self, key: Hashable) -> bool:
        """Whether any arguments of this call have arrived."""
        block = self._blocks.get(self._current.get(key, key))
        return block is not None and not block.is_empty

    @property
    def has_calls(self) -> bool:
        return any(block.kind == "tool_call" for block in self._blocks.values())

    def _key_of_call(self, key: Hashable, identity: Any, name: Any) -> Hashable:
        current = self._current.get(key, key)
        block = self._blocks.get(current)
        if block is None:
            return current
        another = bool(identity and block.identity and identity != block.identity)
        unnamed = not identity and not block.identity
        another = another or bool(unnamed and name and block.name and name != block.name)
        if another:
            current = self._current[key] = (key, identity or name)
        return current

    def parts(self) -> list[Part]:
        parts = [part for block in self._blocks.values() for part in block.parts()]
        return [*parts, {"type": "cut", "pieces": self._lost}] if self._lost else parts


def _named(value: Any, budget: TextBudget) -> str | None:
    return budget.text(value) if isinstance(value, str) and value else None
