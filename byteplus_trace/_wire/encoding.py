"""
Content codings, undone on the watched copy: gzip, deflate, br and zstd, alone or in a chain.

The caller's bytes are never touched. A body that does not decode makes its decoder
`broken` and silent; it never raises. What one part may expand to is bounded, so that a
bomb costs no memory: the rest of it is not looked at.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

LARGEST_EXPANSION = 64 * 1024 * 1024


class Decoder(Protocol):
    """Feed encoded parts, get decoded ones."""

    @property
    def broken(self) -> bool: ...

    def feed(self, part: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class _Zlib:
    """gzip (of several members too) and deflate, with or without its zlib header."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inner = zlib.decompressobj(bits)
        self._begun = False
        self.broken = False

    def feed(self, part: bytes) -> bytes:
        if self.broken or not part:
            return b""
        try:
            return self._inflate(part)
        except zlib.error:
            self.broken = True
            return b""

    def _inflate(self, part: bytes) -> bytes:
        decoded = []
        room = LARGEST_EXPANSION
        while part and room > 0:
            try:
                piece = self._inner.decompress(part, room)
            except zlib.error:
                if self._begun or self._bits != zlib.MAX_WBITS:
                    raise
                # Some servers send deflate without the zlib header.
                self._bits = -zlib.MAX_WBITS
                self._inner = zlib.decompressobj(self._bits)
                piece = self._inner.decompress(part, room)
            self._begun = True
            decoded.append(piece)
            room -= len(piece)
            part = self._inner.unconsumed_tail
            if self._inner.eof:
                part = self._inner.unused_data
                self._inner = zlib.decompressobj(self._bits)
        self.broken = bool(part)
        return b"".join(decoded)

    def flush(self) -> bytes:
        return b""


class _Optional:
    """br or zstd, by the package that undoes it."""

    def __init__(self, feed: Callable[[bytes], bytes]) -> None:
        self._feed = feed
        self.broken = False

    def feed(self, part: bytes) -> bytes:
        if self.broken or not part:
            return b""
        try:
            return self._feed(part)
        except Exception:  # each package has errors of its own
            self.broken = True
            return b""

    def flush(self) -> bytes:
        return b""


class _Chain:
    """Several codings, undone from the last applied to the first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    @property
    def broken(self) -> bool:
        return any(decoder.broken for decoder in self._decoders)

    def feed(self, part: bytes) -> bytes:
        for decoder in self._decoders:
            part = decoder.feed(part)
        return part

    def flush(self) -> bytes:
        part = b""
        for decoder in self._decoders:
            part = decoder.feed(part) + decoder.flush()
        return part


def _gzip() -> Decoder:
    return _Zlib(zlib.MAX_WBITS | 16)


def _deflate() -> Decoder:
    return _Zlib(zlib.MAX_WBITS)


def _brotli() -> Decoder | None:
    package = _first_of("brotli", "brotlicffi")
    if package is None:
        return None
    inner = package.Decompressor()
    return _Optional(getattr(inner, "process", None) or inner.decompress)


def _zstd() -> Decoder | None:
    package = _first_of("compression.zstd", "zstandard")
    if package is None:
        return None
    inner = package.ZstdDecompressor()
    return _Optional(
        inner.decompress if not hasattr(inner, "decompressobj") else inner.decompressobj().decompress
    )


def _first_of(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


_CODINGS: dict[str, Callable[[], Decoder | None]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}


def decoder_for(content_encoding: str) -> Decoder | None:
    """What undoes a `Content-Encoding`; None where a coding is not known here."""
    decoders: list[Decoder] = []
    for coding in reversed(content_encoding.lower().split(",")):
        if coding.strip() in {"", "identity"}:
            continue
        make = _CODINGS.get(coding.strip())
        decoder = make() if make is not None else None
        if decoder is None:
            return None
        decoders.append(decoder)
    return decoders[0] if len(decoders) == 1 else _Chain(decoders)
