"""
What of a request travels to another origin, and what stays at the one it was written for.

Credentials are an open set: an `httpx.Auth` may write any header, and a proxy may want a
token in the query. So nothing travels but what is listed here, and the headers that
a policy's `forward_headers` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

_HEADERS = frozenset({
    # of HTTP: what the message is, and what its client can read
    "accept", "accept-charset", "accept-encoding", "accept-language", "connection", "content-encoding",
    "content-language", "content-length", "content-type", "host", "transfer-encoding", "user-agent",
    # of a trace; not `baggage`, which holds what applications put in
    "traceparent", "tracestate",
    # of ModelArk's and of the SDKs', but for those that name an account
    "x-client-request-id", "x-is-encrypted", "anthropic-version", "anthropic-beta",
    "anthropic-dangerous-direct-browser-access", "openai-beta", "idempotency-key",
})  # fmt: skip
_FAMILIES = ("x-stainless-", "ark-beta-", "veadk-", "x-portkey-")
# A family is open: one of its names may be a credential's.
_names_credential = re.compile(r"key|token|secret|auth|passw|sign|session|cookie|credential").search

_DECIDING = frozenset({"authorization", "x-api-key", "x-session-token", "x-encrypt-info"})

# Of the lists of tasks, files, models and input items, and of what a response is to include (ModelArk's API
# reference, 2026-11); `beta=true` is what Anthropic's SDK writes for its beta messages.
_QUERY = frozenset({
    "page_num", "page_size", "filter.status", "filter.model", "filter.task_ids", "filter.service_tier",
    "after", "before", "limit", "order", "purpose", "include", "after_id", "before_id", "beta",
})  # fmt: skip


@lru_cache(maxsize=1024)
def travels(header: str, forwarded: frozenset[str]) -> bool:
    """Whether a header travels to another origin; `forwarded` are the names that a policy adds, in lower case."""
    name = header.lower()
    if name in _HEADERS or name in forwarded:
        return True
    return any(name.startswith(family) and not _names_credential(name, len(family)) for family in _FAMILIES)


def decides_where(header: str) -> bool:
    """Whether a header, in lower case, says where a call may go: it authorizes, encrypts or signs."""
    return header in _DECIDING or "signature" in header


def credential(headers: Mapping[str, str]) -> str | None:
    """The key that a request carries, in whichever header."""
    written = headers.get("authorization")
    return written.removeprefix("Bearer ").strip() if written is not None else headers.get("x-api-key")


def travelling_query(query: str) -> str:
    """What of a query travels: the parameters that ModelArk's API defines, as they were written."""
    return "&".join(part for part in query.split("&") if _is_defined(part))


def _is_defined(part: str) -> bool:
    name = unquote_plus(part.partition("=")[0])
    return name.removesuffix("[]") in _QUERY
