"""
The error envelope and its variants (ModelArk docs 1299023, error codes, 2026-11).

    {"error": {"code", "message", "param", "type"}}         the data plane
    {"type": "error", "error": {...}}                        /messages
    {"type": "error", "code", "message"}                     an event of a response's stream
    {"error_code", "error_msg"}                              a gateway's 403
    {"ResponseMetadata": {"Error": {"Code", "Message"}}}     the control plane
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .._facts import WireError

_REQUEST_ID = re.compile(r"[Rr]equest [Ii]d:?\s*([0-9A-Za-z_-]{8,})")


def code_family(code: str) -> str:
    """A code up to its first dot: what follows may name a parameter or an endpoint."""
    return code.partition(".")[0]


def read_error(body: bytes) -> WireError | None:
    """The error that a body holds, in whichever envelope; None where it holds none."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return error_in(content)


def error_in(content: Any) -> WireError | None:
    """The error in a decoded document or event."""
    if not isinstance(content, dict):
        return None
    inner = content.get("error")
    if isinstance(inner, dict):
        return _error(inner.get("code") or inner.get("type"), inner.get("type"), inner.get("message"))
    if isinstance(inner, str) and inner:
        return _error(content.get("code"), None, content.get("message") or inner)
    if content.get("type") == "error":
        return _error(content.get("code"), "error", content.get("message"))
    if "error_code" in content:
        return _error(content["error_code"], None, content.get("error_msg"))
    metadata = content.get("ResponseMetadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("Error"), dict):
        error = metadata["Error"]
        return _error(error.get("Code"), None, error.get("Message"))
    return None


def _error(code: Any, kind: Any, message: Any) -> WireError:
    text = message if isinstance(message, str) else None
    found = _REQUEST_ID.search(text) if text is not None else None
    return WireError(
        code=str(code) if isinstance(code, str | int) and code != "" else None,
        type=kind if isinstance(kind, str) else None,
        request_id=found.group(1) if found is not None else None,
        message=text,
    )
