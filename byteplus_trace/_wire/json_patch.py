"""
Replaces some fields of a JSON object and keeps every other byte.

For bodies that msgspec cannot read and `json.loads` can (`lenient_json.py`). All of it is
decoded to find where its fields stand, which is slow. Nothing else is encoded again, so
that half of a character, `NaN` and a byte order mark stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

_decode = json.JSONDecoder().raw_decode
_spaces = re.compile(r"[ \t\n\r]*").match


def spliced(body: bytes, changes: Mapping[str, bytes]) -> bytes:
    """The body of an object that `json.loads` takes, with these values in place of its own, or added to them."""
    encoding = json.detect_encoding(body)
    text = body.decode(encoding, "surrogatepass")
    pieces, at, names = [], 0, set()
    for name, start, end in _values(text):
        names.add(name)
        if name in changes:
            pieces += [text[at:start], changes[name].decode()]
            at = end
    brace = text.rindex("}")
    added = [f"{json.dumps(name)}:{value.decode()}" for name, value in changes.items() if name not in names]
    pieces += [text[at:brace], "," if names and added else "", ",".join(added), text[brace:]]
    return "".join(pieces).encode(encoding, "surrogatepass")


def _values(text: str) -> Iterator[tuple[str, int, int]]:
    """The name of each field, and where its value stands."""
    at = _past_space(text, text.index("{") + 1)
    while text.startswith('"', at):
        name, at = _decode(text, at)
        at = _past_space(text, text.index(":", at) + 1)
        _, end = _decode(text, at)
        yield name, at, end
        at = _past_space(text, _past_space(text, end) + 1)  # past the comma, or the last brace


def _past_space(text: str, at: int) -> int:
    found = _spaces(text, at)
    assert found is not None, "no space at all fits too"
    return found.end()
