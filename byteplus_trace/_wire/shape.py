"""
JSON read into a struct that names the few fields wanted; all others are skipped undecoded.

msgspec refuses a whole document for one field of another type than asked. Here such a
field is taken as absent and everything else is still known: the document is decoded
once more, whole, and fitted field by field. That is slower, and rare.
"""

from __future__ import annotations

from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON, or none that anyone should send."""

_ABSENT: Any = object()


class Shape(Generic[T]):
    """The fields wanted of a JSON object. Each has a default, for where it is absent or of another type."""

    __slots__ = ("_decode", "_struct")

    def __init__(self, struct: type[T]) -> None:
        self._decode = msgspec.json.Decoder(struct).decode
        self._struct = struct

    def read(self, data: bytes) -> T | None:
        """The fields of an object; None where the bytes are not one."""
        try:
            return self._decode(data)
        except msgspec.ValidationError:
            return self._piecewise(data)
        except UNREADABLE:
            return None

    def _piecewise(self, data: bytes) -> T | None:
        content = json_in(data)
        return _fields(content, self._struct) if isinstance(content, dict) else None


def take_over(known: T, said: T) -> None:
    """What is said anew stands in for what was known; what is not said changes nothing."""
    for field in said.__struct_fields__:
        value = getattr(said, field)
        if value is not None:
            setattr(known, field, value)


def json_in(data: bytes) -> Any:
    """The whole of a JSON document; None where there is none."""
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        return None


def _fields(content: dict[str, Any], struct: type[T]) -> T:
    kinds = get_type_hints(struct, include_extras=True)
    fitted = {name: _fitted(content[name], kind) for name, kind in kinds.items() if name in content}
    return struct(**{name: value for name, value in fitted.items() if value is not _ABSENT})


def _fitted(value: Any, kind: Any) -> Any:
    """The value as that kind, in part where only a part of it fits."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        pass
    for option in get_args(kind) if isinstance(kind, UnionType) else (kind,):
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, msgspec.Struct):
            return _fields(value, option)
        if isinstance(value, list) and get_origin(option) is list:
            items = [_fitted(item, get_args(option)[0]) for item in value]
            return [item for item in items if item is not _ABSENT]
    return _ABSENT
