"""
Replies of paths that are not in the table of APIs.

Either the service does not have the path, and something before it answers, or the API is
newer than this version, and nobody here knows what it replies. So everything is an answer
but what no API replies with: nothing, a page for a browser, an error.
"""

from __future__ import annotations

import re

from .._facts import Answer, WireError
from .errors import envelope_in, error_in, gateways_error_in
from .lenient_json import BLANK, object_before
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE
from .sse import DONE

_EMPTY = frozenset({b"", b"null", b'""', b"{}"})
# A page, or an error as storage services write it.
_is_page = re.compile(
    rb"(?:<\?xml[^>]{0,256}>\s*)?<(?:!doctype html|!--|html\b|head\b|body\b|title\b|center\b|h1\b|error\b)",
    re.IGNORECASE,
).match


class UnlistedReader:
    """Reads one reply of an API that is not in the table."""

    __slots__ = ("_complete", "_error", "_output")

    def __init__(self) -> None:
        self._complete = False
        self._output = False
        self._error: WireError | None = None

    def event(self, name: str, data: bytes) -> int:
        if data == DONE:
            self._complete = self._output
            return END
        error = _stated(data)
        if error is not None or name == "error":
            self._error = self._error or error or WireError()
            return FAILED
        if not _holds_something(data):
            return NOTHING
        self._output = True
        return OUTPUT | VISIBLE

    def document(self, body: bytes) -> bool:
        self._error = _stated(body)
        self._complete = _holds_something(body)
        return self._complete

    def answer(self) -> Answer:
        return Answer(error=self._error, complete=self._complete)


def _holds_something(data: bytes) -> bool:
    held = data.strip(BLANK)
    return held not in _EMPTY and _is_page(held) is None


def _stated(data: bytes) -> WireError | None:
    """The error of the call. An object that has a state may have failed long ago: to ask for it went well."""
    content = envelope_in(data)
    if content is None:
        content = envelope_in(object_before(data))
    if not isinstance(content, dict) or (content.get("id") and isinstance(content.get("status"), str)):
        return None
    found = error_in(content) or gateways_error_in(content)
    return found or (WireError() if content.keys() == {"detail"} else None)
