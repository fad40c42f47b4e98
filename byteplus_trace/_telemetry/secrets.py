"""
Common secrets in captured text, found by their form: the default for `redact=`.

A secret in prose has no form, and is for an application's own `redact=` to find. Each
pattern takes a time that is linear in the text.
"""

from __future__ import annotations

import re

REMOVED = "[removed]"

_NAMES = (
    "passw(?:or)?d|passphrase|pwd|secret|token|auth|authorization|jwt|credentials?"
    "|(?:api|access|secret|account|client|session)[-_ ]?(?:key|token|secret)(?:[-_ ]?id)?|private[-_ ]?key\\w{0,16}"
)

_SIGNED = re.compile(
    r"[?&](?:x-(?:amz|tos|goog|oss|ms)-(?:signature|credential|security-token)|signature|sig|token|access_token"
    r"|auth|auth_key|api_?key|key)=",
    re.IGNORECASE,
)

_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)
_USER_INFO = re.compile(r"(?<=://)[^\s/?#@\"'<>]{1,256}(?=@)")
_QUERY = re.compile(r"(https?://[^\s?\"'<>]{1,2048})(\?[^\s\"'<>]+)", re.IGNORECASE)
_SCHEME = re.compile(r"\b(bearer|basic)\s{1,8}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_NAMED = re.compile(rf"((?:{_NAMES})[\"']?\s{{0,8}}[=:]\s{{0,8}}[\"']?)[^\s\"',;&)}}\]]{{4,}}", re.IGNORECASE)
_KNOWN = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|A[KS]IA[0-9A-Z]{16}|AKLT[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
)


def without_secrets(text: str) -> str:
    """The text, with `[removed]` in place of each secret of a common form."""
    if "://" in text:
        text = _USER_INFO.sub(REMOVED, text)
        text = _QUERY.sub(_without_signature, text)
    if "-----BEGIN" in text:
        text = _KEY_BLOCK.sub(REMOVED, text)
    text = _SCHEME.sub(rf"\1 {REMOVED}", text)
    text = _KNOWN.sub(REMOVED, text)
    return _NAMED.sub(rf"\1{REMOVED}", text)


def _without_signature(url: re.Match[str]) -> str:
    address, query = url.groups()
    return f"{address}?{REMOVED}" if _SIGNED.search(query) else url[0]
