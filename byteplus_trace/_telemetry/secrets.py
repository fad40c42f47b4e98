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
_USER_INFO = re.compile(r"(?<=://)[^\s/?#\"'<>]{1,256}(?=@)")
_QUERY = re.compile(r"\?[^\s\"'<>]+")
_SCHEME = re.compile(r"\b(bearer|basic)\s{1,8}[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# The name, and its value: in quotes all that stands between them. JSON inside of a text has a backslash before each.
_NAMED = re.compile(
    rf"((?:{_NAMES})\\?[\"']?\s{{0,8}}[=:]\s{{0,8}}\\?)"
    r"(?:(\")[^\"\n]{4,1024}(?=\")|(')[^'\n]{4,1024}(?=')|([\"']{0,3})[^\s\"',;&)}\]]{4,})",
    re.IGNORECASE,
)
# Searched once for each word: a word of a thousand such beginnings would be read a thousand times.
_JWT = re.compile(
    r"(?<![\w-])(?>([\w-]*?)\beyJ)[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*",
    re.ASCII,
)
_KNOWN = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|A[KS]IA[0-9A-Z]{16}|AKLT[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,})"
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
    text = _JWT.sub(rf"\1{REMOVED}", text)
    return _NAMED.sub(rf"\1\2\3\4{REMOVED}", text)


def _without_signature(query: re.Match[str]) -> str:
    return f"?{REMOVED}" if _SIGNED.search(query[0]) else query[0]
