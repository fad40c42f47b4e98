"""
Image generations (ModelArk image docs, revision 265, 2026-11).

A 200 may hold failed images beside good ones, in a document's `data[].error` and in a
stream's `partial_failed` events. Neither is a failure of the call while an image
succeeds; SDKs raise on the event all the same, which the observer reads from how the
stream was left. Base64 images are never decoded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .chat import with_content
from .errors import error_in
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, Asked
from .request import asked as _asked
from .usage import images_of


class _Image(msgspec.Struct):
    size: Any = None
    error: Any = None


class _Images(msgspec.Struct):
    model: Any = None
    data: list[_Image] | None = None
    usage: Any = None
    error: Any = None


class _Event(msgspec.Struct):
    type: Any = None
    model: Any = None
    size: Any = None
    usage: Any = None
    error: Any = None


_images = msgspec.json.Decoder(_Images).decode
_event = msgspec.json.Decoder(_Event).decode


def asked(body: bytes, capture: bool) -> Asked:
    """What an image request asks for."""
    found = _asked(body)
    return with_content(found, "images", body) if capture else found


class ImagesReader:
    """Reads one reply of an image call."""

    __slots__ = (
        "_complete",
        "_content",
        "_error",
        "_failed",
        "_generated",
        "_item_error",
        "_model",
        "_size",
        "_usage",
    )

    def __init__(self, capture: bool = False) -> None:
        self._model: str | None = None
        self._usage: Any = None
        self._error: WireError | None = None
        self._item_error: WireError | None = None
        self._generated = 0
        self._failed = 0
        self._size: str | None = None
        self._complete = False
        self._content: Any = None
        if capture:
            from .content import Collector

            self._content = Collector("images")

    def event(self, name: str, data: bytes) -> int:
        if data == b"[DONE]":
            self._complete = True
            return END
        if self._content is not None:
            self._content.event(name, data)
        try:
            event = _event(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return OUTPUT
        if isinstance(event.model, str):
            self._model = event.model
        if event.usage is not None:
            self._usage = event.usage
        kind = name or event.type
        if kind == "image_generation.partial_succeeded":
            self._succeeded(event.size)
            return OUTPUT | VISIBLE
        if kind == "image_generation.partial_failed":
            self._item_failed(event.error)
            return OUTPUT
        if kind == "image_generation.completed":
            self._complete = True
            return END
        if event.error or kind == "error":
            self._error = error_in(msgspec.json.decode(data)) or WireError()
            return FAILED
        return OUTPUT if kind else NOTHING

    def document(self, body: bytes) -> None:
        if self._content is not None:
            self._content.document(body)
        try:
            given = _images(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        self._complete = True
        self._model = given.model if isinstance(given.model, str) else None
        self._usage = given.usage
        for image in given.data or ():
            if image.error:
                self._item_failed(image.error)
            else:
                self._succeeded(image.size)
        if given.error:
            self._error = error_in({"error": given.error}) or WireError()

    def _succeeded(self, size: Any) -> None:
        self._generated += 1
        if self._size is None and isinstance(size, str):
            self._size = size

    def _item_failed(self, error: Any) -> None:
        self._failed += 1
        self._item_error = self._item_error or error_in({"error": error})

    def answer(self) -> Answer:
        nothing_succeeded = self._failed and not self._generated
        return Answer(
            model=self._model,
            images=images_of(self._usage, generated=self._generated, failed=self._failed, size=self._size),
            error=self._error or (self._item_error if nothing_succeeded else None),
            complete=self._complete,
            content=self._content.content() if self._content is not None else None,
        )


reader = ImagesReader
