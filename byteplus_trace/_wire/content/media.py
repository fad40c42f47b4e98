"""Images, videos, sounds and files: by the size and hash of their bytes, their address, or their id."""

from __future__ import annotations

import hashlib
import re
from binascii import a2b_base64
from typing import Any
from urllib.parse import unquote_to_bytes

from ..text_budget import TextBudget

Part = dict[str, Any]

_LARGEST_HASHED = 64 * 1024 * 1024
_HASHED_AT_ONCE = 256 * 1024  # a multiple of four: base64 decodes in fours
_LONGEST_ADDRESS = 8 * 1024

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
_DATA_URL = re.compile(r"data:[^,\s]{0,128},", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{256,}={0,2}")


def text_or_medium(text: str, budget: TextBudget) -> Any:
    """A text of which it is not known what it is: a medium where it looks like one."""
    if _DATA_URL.match(text) or _BASE64.fullmatch(text):
        return medium(text, "unknown", budget)
    return budget.text(address(text) if _ADDRESS.fullmatch(text) else text)


def address(url: str) -> str:
    """An address without query, fragment and credentials."""
    url = url.partition("?")[0].partition("#")[0]
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def medium(source: str, modality: str, budget: TextBudget, mime_type: str | None = None) -> Part:
    """An image, a video, a sound or a file: a data URL or base64 becomes a blob, anything else an address."""
    source = source.strip()
    if source[:5].lower() == "data:":
        head, _, data = source[5:].partition(",")
        mime, *options = head.split(";")
        if "base64" in options:
            return blob(data, modality, budget, mime or mime_type)
        raw = unquote_to_bytes(data)
        return _blob(len(raw), hashlib.sha256(raw).hexdigest(), modality, budget, mime or mime_type)
    if len(source) > _LONGEST_ADDRESS or _BASE64.fullmatch(source):
        return blob(source, modality, budget, mime_type)
    return _typed("uri", modality, budget, mime_type) | {"uri": budget.text(address(source))}


def blob(data: str, modality: str, budget: TextBudget, mime_type: str | None = None) -> Part:
    """Base64, by the size and the hash of what it encodes; no hash where it does not decode, or is very large."""
    if any(space in data for space in "\r\n "):
        data = "".join(data.split())
    data = data.rstrip("=")
    return _blob(len(data) * 3 // 4, _hash(data), modality, budget, mime_type)


def _hash(data: str) -> str | None:
    if len(data) > _LARGEST_HASHED:
        return None
    digest = hashlib.sha256()
    try:
        for start in range(0, len(data), _HASHED_AT_ONCE):
            piece = data[start : start + _HASHED_AT_ONCE]
            digest.update(a2b_base64(piece + "=" * (-len(piece) % 4), strict_mode=True))
    except ValueError:
        return None
    return digest.hexdigest()


def _blob(size: int, sha256: str | None, modality: str, budget: TextBudget, mime_type: str | None) -> Part:
    part = _typed("blob", modality, budget, mime_type) | {"size": size}
    return part if sha256 is None else part | {"sha256": sha256}


def _typed(kind: str, modality: str, budget: TextBudget, mime_type: str | None) -> Part:
    part: Part = {"type": kind, "modality": modality}
    return part | {"mime_type": budget.text(mime_type)} if mime_type else part


_ADDRESSES = ("url", "image_url", "video_url", "audio_url", "file_url")
_INLINE = ("data", "file_data")


def medium_of(holder: Part, budget: TextBudget, modality: str) -> Part | None:
    """
    A part that holds a medium in any of the APIs' forms, None where it is in none of them.

    Its source stands below the part's own type, below `source`, or beside the type.
    """
    source = holder.get(holder["type"]) or holder.get("source") or holder
    if isinstance(source, str):
        return medium(source, modality, budget)
    if not isinstance(source, dict):
        return None
    part = _sourced(source, modality, budget)
    filename = source.get("filename")
    if part is not None and isinstance(filename, str):
        part["filename"] = budget.text(filename)
    return part


def _sourced(source: Part, modality: str, budget: TextBudget) -> Part | None:
    for name in _ADDRESSES:
        value = source.get(name)
        url = value.get("url") if isinstance(value, dict) else value
        if isinstance(url, str):
            return medium(url, modality, budget)
    for name in _INLINE:
        data = source.get(name)
        if isinstance(data, str):
            return _inline(data, source, modality, budget)
    identity = source.get("file_id")
    if isinstance(identity, str):
        return {"type": "file", "modality": modality, "file_id": budget.text(identity)}
    return None


def _inline(data: str, source: Part, modality: str, budget: TextBudget) -> Part:
    if source.get("type") == "text":
        return {"type": "text", "content": budget.text(data)}
    if data[:5].lower() == "data:":
        return medium(data, modality, budget)
    return blob(data, modality, budget, _mime(source, modality))


def _mime(source: Part, modality: str) -> str | None:
    mime, form = source.get("media_type"), source.get("format")
    if isinstance(mime, str):
        return mime
    return f"{modality}/{form}" if isinstance(form, str) else None
