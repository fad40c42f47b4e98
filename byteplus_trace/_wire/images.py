"""
Image generations (ModelArk image docs, revision 265, 2026-11).

A 200 may hold failed images beside good ones, in a document's `data[].error` and in a
stream's `partial_failed` events. Neither is a failure of the call while an image
succeeds; SDKs raise on the event even then; the observer sees that from how the
stream was closed. Base64 images are never decoded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .errors import error_of, is_error_event, read_error, says_error
from .lenient_json import NULL, Shape, holds, take_over
from .reader import END, FAILED, NOTHING, OUTPUT, VISIBLE, EventReader, note_unknown
from .usage import Counts, images_of


class _Image(msgspec.Struct, gc=False):
    size: str | None = None
    url: msgspec.Raw = NULL
    b64_json: msgspec.Raw = NULL
    error: Any = None

    @property
    def is_there(self) -> bool:
        """It has an address or the picture itself."""
        return holds(self.url) or holds(self.b64_json)


class _Images(msgspec.Struct, gc=False):
    model: str | None = None
    data: list[_Image] | None = None
    usage: Counts | None = None
    error: Any = None


class _Event(_Image, gc=False):
    type: str = ""
    model: str | None = None
    usage: Counts | None = None


_images = Shape(_Images)
_event = Shape(_Event)


class ImagesReader(EventReader[_Event]):
    """Reads one reply of an image call."""

    __slots__ = (
        "_error",
        "_failed",
        "_generated",
        "_item_error",
        "_missing",
        "_model",
        "_size",
        "_unknown",
        "_usage",
    )

    _shape = _event

    def __init__(self) -> None:
        super().__init__()
        self._model: str | None = None
        self._usage = Counts()
        self._error: WireError | None = None
        self._item_error: WireError | None = None
        self._generated = 0
        self._failed = 0
        self._missing = 0
        self._unknown: dict[str, None] = {}
        self._size: str | None = None

    def _event(self, name: str, event: _Event, data: bytes) -> int:
        self._model = event.model or self._model
        if event.usage is not None:
            take_over(self._usage, event.usage)
        match event.type or name:
            case "image_generation.partial_succeeded":
                if not event.is_there:
                    self._missing += 1
                    return NOTHING
                self._succeeded(event.size)
                return OUTPUT | VISIBLE
            case "image_generation.partial_failed":
                self._item_failed(event.error)
                return OUTPUT
            case "image_generation.completed":
                if event.is_there:
                    self._succeeded(event.size)
                self._complete = True
                return END
            case kind:
                if says_error(event.error) or is_error_event(kind):
                    self._error = read_error(data) or WireError()
                    return FAILED
                if not kind:
                    self._error = read_error(data) or self._error
                    return NOTHING if self._error is None else FAILED
                if kind.endswith(".partial_image"):
                    return OUTPUT
                note_unknown(self._unknown, kind)
                return NOTHING

    def document(self, body: bytes) -> bool:
        whole = _images.read(body)
        if whole is None:
            return False
        self._complete = True
        self._model = whole.model
        self._usage = whole.usage or self._usage
        for image in whole.data or ():
            if says_error(image.error):
                self._item_failed(image.error)
            elif image.is_there:
                self._succeeded(image.size)
            else:
                self._missing += 1
        if says_error(whole.error):
            self._error = read_error(body) or error_of(whole.error)
        elif not whole.data:
            self._error = read_error(body)
        return True

    def _succeeded(self, size: str | None) -> None:
        self._generated += 1
        self._size = self._size or size

    def _item_failed(self, error: Any) -> None:
        self._failed += 1
        if self._item_error is None:
            self._item_error = error_of(error)

    def answer(self) -> Answer:
        images = images_of(
            self._usage,
            generated=self._generated,
            failed=self._failed,
            missing=self._missing,
            size=self._size,
        )
        nothing_succeeded = images is not None and images.failed and not images.generated
        return Answer(
            model=self._model,
            images=images,
            error=self._error or (self._item_error if nothing_succeeded else None),
            complete=self._complete and bool(self._generated or self._failed),
            unknown_events=tuple(self._unknown),
        )
