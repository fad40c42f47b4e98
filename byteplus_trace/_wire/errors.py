"""
The error envelope and its variants (ModelArk docs 1299023, error codes, 2026-11).

    {"error": {"code", "message", "param", "type"}}         the data plane
    {"error": "...", "code", "message"}                      something before it
    {"type": "error", "error": {...}}                        /messages
    {"type": "error", "code", "message"}                     an event of a response's stream
    {"error_code", "error_msg"}                              a gateway's 403
    {"ResponseMetadata": {"Error": {"Code", "Message"}}}     the control plane, and gateways without the outer object
    {"code", "message" or "msg"}, {"success": false},        found in place of a reply: looked for only in
    {"status": "error"}, {"errors": [...]}, {"detail"}       a refusal, or where a reply has no answer
"""

from __future__ import annotations

import re
from typing import Any

from .._facts import WireError
from .lenient_json import json_in
from .text_budget import LONGEST_NAME, TextBudget

_REQUEST_ID = re.compile(r"request[ _]?id:?\s*([0-9A-Za-z_-]{8,128})", re.IGNORECASE)


def code_family(code: str) -> str:
    """A code up to its first dot: what follows may name a parameter or an endpoint."""
    return code.partition(".")[0]


def read_error(body: bytes) -> WireError | None:
    """The error that the body of a refusal holds, in whichever envelope; None where it holds none."""
    content = envelope_in(body)
    error = error_in(content)
    if error is not None or not isinstance(content, dict):
        return error
    return gateways_error_in(content) or (
        _error(None, None, content["detail"]) if "detail" in content else None
    )


def envelope_in(body: bytes) -> Any:
    """The JSON of a body that may hold an error; of a list the first, for one service's errors come as a list of one."""
    content = json_in(body)
    return content[0] if isinstance(content, list) and content else content


_CODES = ("code", "errcode", "retcode", "statusCode", "status_code")
_MESSAGES = ("message", "msg", "errmsg")
_SUCCESSES = frozenset({"none", "success", "succeeded", "ok"})
_is_code = re.compile(r"[\w.-]{1,64}").fullmatch


def gateways_error_in(content: dict[str, Any]) -> WireError | None:
    """The error in the envelope of a gateway, which has a code or a flag beside what it hands on."""
    code = next((content[name] for name in _CODES if content.get(name)), None)
    message = next((content[name] for name in _MESSAGES if content.get(name)), None)
    status, errors = content.get("status"), content.get("errors")
    if isinstance(status, int) and status >= 400:
        return _error(code or status, None, message or content.get("title"))
    if errors and isinstance(errors, list | dict):
        return error_of(errors[0] if isinstance(errors, list) else errors)
    if _means_failure(code) and any(name in content for name in _MESSAGES):
        return _error(code, None, message)
    if content.get("success") is False or content.get("ok") is False or status in ("error", "fail"):
        return _error(code, None, message)
    return None


def _means_failure(code: Any) -> bool:
    """Whether a gateway's code means a failure. Many also have one for success."""
    text = str(code).lower()
    if not _is_code(text) or text in _SUCCESSES:
        return False
    return not text.isdecimal() or not (int(text) == 0 or 200 <= int(text) < 300)


def error_in(content: Any) -> WireError | None:
    """The error in a decoded document or event."""
    if not isinstance(content, dict):
        return None
    if content.get("error"):
        return error_of(content["error"], content)
    if content.get("type") == "error":
        return _error(content.get("code"), "error", content.get("message"))
    if content.get("error_code"):
        return _error(content["error_code"], None, content.get("error_msg"))
    metadata = content.get("ResponseMetadata", content)
    if isinstance(metadata, dict) and metadata.get("Error"):
        error = metadata["Error"] if isinstance(metadata["Error"], dict) else {}
        request_id = metadata.get("RequestId")
        return _error(error.get("Code"), None, error.get("Message"), request_id)
    return None


_ERROR_REASONS = frozenset({"error", "failed", "failure", "insufficient_system_resource"})
_NO_REASON = frozenset({"", "null", "none"})


def is_reason(reason: str) -> bool:
    """Whether it is a reason why a choice or a message ended. Some services write "null" where there is none."""
    return reason.lower() not in _NO_REASON


def is_error_reason(reason: str) -> bool:
    """Whether a reason to end is that something failed: `error`, `network_error` and the like."""
    lower = reason.lower()
    return lower in _ERROR_REASONS or lower.endswith("_error")


def is_error_event(name: str) -> bool:
    """Whether an event of this name is an error: `error`, `response.error`."""
    return name == "error" or name.endswith(".error")


def says_error(value: Any) -> bool:
    """Whether a field `error` says anything: an object of nothing but empty values does not."""
    return any(value.values()) if isinstance(value, dict) else bool(value)


def error_of(value: Any, beside: dict[str, Any] | None = None) -> WireError:
    """The error in a field `error`, of any type. If it is a plain text, its code may stand beside it."""
    beside = beside or {}
    if isinstance(value, dict):
        kind = value.get("type")
        return _error(value.get("code") or kind, kind, value.get("message"), beside.get("request_id"))
    return _error(beside.get("code"), None, beside.get("message") or value, beside.get("request_id"))


def _error(code: Any, kind: Any, message: Any, request_id: Any = None) -> WireError:
    text = message if isinstance(message, str) else None
    found = _REQUEST_ID.search(text) if text is not None else None
    if found is not None:
        request_id = found[1]
    return WireError(
        code=_code(code),
        type=kind[:LONGEST_NAME] if isinstance(kind, str) else None,
        request_id=request_id[:LONGEST_NAME] if isinstance(request_id, str) else None,
        message=TextBudget().text(text) if text is not None else None,
    )


def _code(code: Any) -> str | None:
    """A code as text. Gateways use numbers."""
    if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**63:
        return str(code)
    return code[:LONGEST_NAME] if isinstance(code, str) and code else None
