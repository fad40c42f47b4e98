"""
Documents of which little is recorded: tokenization, contexts, files, models, deletions.

The id, the model, the usage and the error, if there is one; all the rest is skipped.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .._facts import Answer, WireError
from .errors import error_of, read_error, says_error
from .lenient_json import NULL, Shape
from .reader import FAILED, EventReader, unread
from .usage import Counts, usage_of


class _Plain(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    usage: Counts | None = None
    error: Any = None
    label: str | None = None
    input_tokens: int | None = None
    choices: msgspec.Raw = NULL
    output: msgspec.Raw = NULL
    stop_reason: msgspec.Raw = NULL
    status: str | None = None
    service_tier: str | None = None


_plain = Shape(_Plain)
# Searched for as bytes: a field of the struct would be copied, however large it is.
_has_list = re.compile(rb'"(?:data|items)"\s*+:\s*+\[').search


class PlainReader(EventReader[_Plain]):
    """Reads one document."""

    __slots__ = ("_error", "_known")
    _shape = _plain

    def __init__(self) -> None:
        super().__init__()
        self._known = _Plain()
        self._error: WireError | None = None

    def _is_answer(self, body: bytes) -> bool:
        """Whether a document has what this API's must have: an id, a list, a label or a count. An empty list is one."""
        known = self._known
        has_any = known.id or known.label or known.input_tokens is not None or _has_list(body) is not None
        return bool(has_any) and not self._is_of_another(known)

    @staticmethod
    def _is_of_another(known: _Plain) -> bool:
        """Whether it is a chat's, a response's or a message's."""
        return any(value is not NULL for value in (known.choices, known.output, known.stop_reason))

    def _event(self, name: str, event: _Plain, data: bytes) -> int:
        """None of these APIs streams. If events arrive all the same, they are output."""
        error = read_error(data)
        if error is None:
            return unread(name, data)
        self._error = error
        return FAILED

    def document(self, body: bytes) -> bool:
        whole = _plain.read(body)
        if whole is None:
            return False
        self._known = whole
        self._complete = self._is_answer(body)
        if says_error(whole.error):
            self._error = error_of(whole.error)
        elif whole.type == "error" or not self._complete:
            self._error = read_error(body)
        return True

    def answer(self) -> Answer:
        known = self._known
        return Answer(
            id=known.id,
            model=known.model,
            usage=usage_of(known.usage),
            error=self._error,
            complete=self._complete,
            service_tier=known.service_tier,
        )
