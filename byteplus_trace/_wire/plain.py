"""
Documents of which little is recorded: objects, lists of them, tokens, labels, counts.

The id, the model, the usage and the error, if there is one; all the rest is skipped. Each
API has a reader, which says what its answer must have.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .._facts import Answer, WireError
from .errors import error_of, read_error, says_error
from .lenient_json import NULL, Shape
from .reader import FAILED, OUTPUT, EventReader
from .usage import Counts, usage_of


class _Plain(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    usage: Counts | None = None
    error: Any = None
    object: str | None = None
    label: str | None = None
    input_tokens: int | None = None
    total: int | None = None
    choices: msgspec.Raw = NULL
    output: msgspec.Raw = NULL
    stop_reason: msgspec.Raw = NULL
    status: str | None = None
    service_tier: str | None = None


_plain = Shape(_Plain)
# Searched for as bytes: a field of the struct would be copied, however large it is.
_has_list = re.compile(rb'"(?:data|items)"\s*+:\s*+\[').search
_has_item = re.compile(rb'"data"\s*+:\s*+\[\s*+\{').search


class PlainReader(EventReader[_Plain]):
    """Reads one object, such as a file or a context: it has an id."""

    __slots__ = ("_error", "_known")
    _shape = _plain

    def __init__(self) -> None:
        super().__init__()
        self._known = _Plain()
        self._error: WireError | None = None

    def _is_answer(self, body: bytes) -> bool:
        """Whether a document has what this API's must have."""
        return bool(self._known.id)

    @property
    def _is_of_another(self) -> bool:
        """Whether it is a chat's, a response's or a message's."""
        known = self._known
        return any(value is not NULL for value in (known.choices, known.output, known.stop_reason))

    def _event(self, name: str, event: _Plain, data: bytes) -> int:
        """None of these APIs streams. If events arrive all the same, they are output."""
        error = read_error(data)
        self._error = error or self._error
        return OUTPUT if error is None and name != "error" else FAILED

    def document(self, body: bytes) -> bool:
        whole = _plain.read(body)
        if whole is None:
            return False
        self._known = whole
        self._complete = self._is_answer(body) and not self._is_of_another
        if says_error(whole.error):
            # An object that has a state may have failed long ago. To ask for it went well.
            is_its_own = self._complete and bool(whole.id and whole.status)
            self._error = None if is_its_own else read_error(body) or error_of(whole.error)
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


class ListReader(PlainReader):
    """Reads one page of a list. It may be empty; some services then write null."""

    __slots__ = ()

    def _is_answer(self, body: bytes) -> bool:
        known = self._known
        return known.object == "list" or known.total == 0 or _has_list(body) is not None


class TokensReader(PlainReader):
    """Reads one tokenization: a list with an item for each text, and there is one at least."""

    __slots__ = ()

    def _is_answer(self, body: bytes) -> bool:
        return _has_item(body) is not None


class LabelReader(PlainReader):
    """Reads one classification: it has a label."""

    __slots__ = ()

    def _is_answer(self, body: bytes) -> bool:
        return bool(self._known.label)


class CountReader(PlainReader):
    """Reads one count of tokens, which may be 0."""

    __slots__ = ()

    def _is_answer(self, body: bytes) -> bool:
        return self._known.input_tokens is not None
