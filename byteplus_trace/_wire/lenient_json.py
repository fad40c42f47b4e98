"""
JSON read into a struct that names the few fields wanted; all others are skipped undecoded.

msgspec refuses a whole document for one field of another type than asked. Here such a
field is taken as absent and everything else is still known: the document is decoded
once more, whole, and fitted field by field. That is slower, and rare.

msgspec also refuses documents that `json.loads`, and so every SDK, takes: with a byte
order mark, with `NaN`, with half of a character (`\\ud83d`, an emoji cut by `max_tokens`).
Such a document is first rewritten as strict JSON. That is slow, and rarer still.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
D = TypeVar("D")

UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""What is raised for bytes that are no JSON, or not of the type asked for."""

# In whichever encoding `json.loads` would find it.
_OBJECT_BEGINS = re.compile(rb"[\xef\xbb\xbf\xfe\xff\x00\s]*\{").match

LARGEST_FOR_PYTHON = 1024 * 1024
"""Bytes of a document that Python's `json` is asked to read: it takes 20 ms for a megabyte."""
_BOM = b"\xef\xbb\xbf"
BLANK = _BOM + b" \t\r\n"
"""Before the first byte that means something: a byte order mark, or white space."""

_any = msgspec.json.Decoder().decode
_scan = json.JSONDecoder().raw_decode
_ABSENT: Any = object()
NULL = msgspec.Raw(b"null")
"""What a raw field is where it is absent. Its type is `Raw` alone: of `Raw | None` msgspec takes nothing but null."""
_NOTHING = frozenset({b"null", b'""', b"{}", b"[]"})


class Shape(Generic[T]):
    """The fields wanted of a JSON object. Each has a default, for where it is absent or of another type."""

    __slots__ = ("_struct", "decode")

    def __init__(self, struct: type[T]) -> None:
        self.decode = msgspec.json.Decoder(struct).decode
        """As `read`, for a document in which every field has its type; raises one of `UNREADABLE` for any other."""
        self._struct = struct

    def read(self, data: bytes) -> T | None:
        """The fields of an object; None where the bytes are not one."""
        try:
            return self.decode(data)
        except UNREADABLE:
            return self._fitted(data) if len(data) <= LARGEST_FOR_PYTHON else self._large(data)

    def _fitted(self, data: bytes) -> T | None:
        content = json_in(data)
        return _fields(content, self._struct) if isinstance(content, dict) else None

    def _large(self, data: bytes) -> T | None:
        """As `_fitted`, for a document that an event loop waits for: it is decoded whole only where a field is of another type."""
        data = _without_constants(data)
        try:
            return self.decode(data)
        except msgspec.ValidationError:
            return self._fitted(data)
        except UNREADABLE:
            return None


def holds(value: msgspec.Raw) -> bool:
    """Whether a raw value is something: not null, an empty text, object or list. It is never decoded or copied."""
    return len(memoryview(value)) > 4 or bytes(value) not in _NOTHING


def take_over(known: T, update: T) -> None:
    """Copy the fields of `update` onto `known`. None, an empty text or list, and 0 replace nothing that is known."""
    for field in update.__struct_fields__:
        value, before = getattr(update, field), getattr(known, field)
        if isinstance(value, msgspec.Struct) and type(before) is type(value):
            take_over(before, value)
        elif value or (value is not None and before is None):
            setattr(known, field, value)


def json_in(data: bytes) -> Any:
    """The whole of a JSON document; None where there is none."""
    try:
        return decoded(_any, data)
    except UNREADABLE:
        return None


def decoded(decode: Callable[[bytes], D], data: bytes) -> D:
    """
    What a decoder of msgspec makes of a document, or of what `json.loads` makes of it.

    Raises:
        UNREADABLE: neither of them can read it, or it is of another type.
    """
    try:
        return decode(data)
    except UNREADABLE:
        return decode(_written_anew(data))


def begins_object(data: bytes) -> bool:
    """Whether this begins as a JSON object does, readable or not."""
    return _OBJECT_BEGINS(data) is not None


def object_before(data: bytes) -> bytes:
    """The JSON object that these bytes, or a list, begin with, whatever follows it; empty where they begin with none."""
    if len(data) > LARGEST_FOR_PYTHON:
        return b""
    text = data.decode("utf-8-sig", "replace").lstrip(" \t\r\n[")
    if not text.startswith("{"):
        return b""
    try:
        return text[: _scan(text, 0)[1]].encode()
    except UNREADABLE:
        return b""


def _written_anew(data: bytes) -> bytes:
    """An object that `json.loads` reads, as strict JSON: without what is no valid text or number."""
    if not begins_object(data):
        raise ValueError("no object")
    if len(data) > LARGEST_FOR_PYTHON:
        return _without_constants(data)
    content = json.loads(data, parse_constant=_no_number, parse_float=_number)
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def _without_constants(data: bytes) -> bytes:
    """A large document in which no number is spelled as a name. In texts that hold one it is replaced too."""
    for name in (b"-Infinity", b"Infinity", b"NaN"):
        data = data.replace(name, b"null")
    return data.removeprefix(_BOM)


def _no_number(_literal: str) -> None:
    return None


def _number(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _fields(content: dict[str, Any], struct: type[T]) -> T:
    kinds = get_type_hints(struct, include_extras=True)
    fitted = {name: _fitted(content[name], kind) for name, kind in kinds.items() if name in content}
    return struct(**{name: value for name, value in fitted.items() if value is not _ABSENT})


def _fitted(value: Any, kind: Any) -> Any:
    """The value as that type; where only a part of it fits, that part."""
    if kind is msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(value))
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        pass
    if isinstance(value, float) and value.is_integer():
        return _fitted(int(value), kind)  # some gateways write a count as 12.0
    for option in get_args(kind) if isinstance(kind, UnionType) else (kind,):
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, msgspec.Struct):
            return _fields(value, option)
        if isinstance(value, list) and get_origin(option) is list:
            items = [_fitted(item, get_args(option)[0]) for item in value]
            return [item for item in items if item is not _ABSENT]
    return _ABSENT
