"""
Decodes content codings on the watched copy: gzip, deflate, br and zstd, alone or in a chain.

The caller's bytes are never touched. A decoder never raises. On a body that does
not decode it becomes `broken` and returns nothing more. The output of each part is bounded,
so that a decompression bomb costs no memory: the rest of it is not read. The caller bounds
the whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol

LARGEST_EXPANSION = 64 * 1024 * 1024
"""Of one part."""
MOST_CODINGS = 4

_STEP = 1024 * 1024
# For decoders without a limit of their own: so little input at a time bounds the output too.
_CAREFUL_STEP = 256


class Decoder(Protocol):
    """Feed encoded parts, get decoded ones."""

    @property
    def broken(self) -> bool:
        """The bytes are not in this coding, or expand to too many: there is no more output."""

    @property
    def corrupt(self) -> bool:
        """The bytes are not in this coding: whoever decodes them fails there."""

    def feed(self, part: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class _Coding(Protocol):
    """One coding, decoded in steps of bounded size. May raise anything."""

    def expand(self, part: bytes) -> Iterator[bytes]: ...
    def rest(self) -> bytes: ...


class _Zlib:
    """gzip, of several members too, and deflate, with or without its zlib header."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inner: Any = None
        self._held = b""

    def expand(self, part: bytes) -> Iterator[bytes]:
        part = self._held + part
        self._held = b""
        if self._inner is None:
            if len(part) < 2:
                self._held = part
                return
            if self._bits == zlib.MAX_WBITS and not _has_zlib_header(part):
                self._bits = -zlib.MAX_WBITS
            self._inner = zlib.decompressobj(self._bits)
        while part:
            if self._inner.eof:
                # Padding after the last member is no error.
                if not part.startswith(b"\x1f"):
                    return
                self._inner = zlib.decompressobj(self._bits)
            yield self._inner.decompress(part, _STEP)
            part = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail

    def rest(self) -> bytes:
        return self._inner.flush(_STEP) if self._inner is not None else b""


def _has_zlib_header(part: bytes) -> bool:
    return part[0] & 0x0F == 8 and int.from_bytes(part[:2], "big") % 31 == 0


class _Brotli:
    def __init__(self, decompressor: Any) -> None:
        self._inner = decompressor
        self._bounded = hasattr(decompressor, "can_accept_more_data")  # since brotli 1.2

    def expand(self, part: bytes) -> Iterator[bytes]:
        if not self._bounded:
            yield from map(self._inner.process, _sliced(part))
            return
        # `can_accept_more_data` does not show whether output remains. Only an empty result does.
        while piece := self._inner.process(part, output_buffer_limit=_STEP):
            yield piece
            part = b""

    def rest(self) -> bytes:
        return b""


class _Zstandard:
    """zstd by the package zstandard, which takes no bound."""

    def __init__(self, package: Any) -> None:
        self._inner = package.ZstdDecompressor().decompressobj(read_across_frames=True)

    def expand(self, part: bytes) -> Iterator[bytes]:
        yield from map(self._inner.decompress, _sliced(part))

    def rest(self) -> bytes:
        return b""


class _Standard:
    """zstd by the standard library (3.14), or any class with the interface of `bz2` and `lzma`."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._inner = make()

    def expand(self, part: bytes) -> Iterator[bytes]:
        while part:
            yield self._inner.decompress(part, _STEP)
            while not self._inner.needs_input and not self._inner.eof:
                yield self._inner.decompress(b"", _STEP)
            part = b""
            if self._inner.eof:
                part = self._inner.unused_data
                self._inner = self._make()

    def rest(self) -> bytes:
        return b""


def _sliced(part: bytes) -> Iterator[bytes]:
    return (part[start : start + _CAREFUL_STEP] for start in range(0, len(part), _CAREFUL_STEP))


class _Bounded:
    """A coding that returns nothing more where it would raise or expand too far."""

    def __init__(self, coding: _Coding, largest: int) -> None:
        self._coding = coding
        self._largest = largest
        self.broken = False
        self.corrupt = False

    def feed(self, part: bytes) -> bytes:
        if self.broken or not part:
            return b""
        return self._joined(self._coding.expand(part))

    def flush(self) -> bytes:
        return b"" if self.broken else self._joined(self._coding.rest() for _ in range(1))

    def _joined(self, pieces: Iterator[bytes]) -> bytes:
        decoded = []
        size = 0
        try:
            for piece in pieces:
                decoded.append(piece[: self._largest - size])
                size += len(piece)
                if size > self._largest:
                    self.broken = True
                    break
        except Exception:  # each package has errors of its own
            self.broken = self.corrupt = True
        return b"".join(decoded)


class _Chain:
    """Several codings, decoded from the last applied to the first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    @property
    def broken(self) -> bool:
        return any(decoder.broken for decoder in self._decoders)

    @property
    def corrupt(self) -> bool:
        return any(decoder.corrupt for decoder in self._decoders)

    def feed(self, part: bytes) -> bytes:
        for decoder in self._decoders:
            part = decoder.feed(part)
        return part

    def flush(self) -> bytes:
        part = b""
        for decoder in self._decoders:
            part = decoder.feed(part) + decoder.flush()
        return part


def _gzip() -> _Coding:
    return _Zlib(zlib.MAX_WBITS | 16)


def _deflate() -> _Coding:
    return _Zlib(zlib.MAX_WBITS)


def _brotli() -> _Coding | None:
    package = _first_of("brotli", "brotlicffi")
    return _Brotli(package.Decompressor()) if package is not None else None


def _zstd() -> _Coding | None:
    package = _first_of("compression.zstd")
    if package is not None:
        return _Standard(package.ZstdDecompressor)
    package = _first_of("zstandard")
    return _Zstandard(package) if package is not None else None


def _first_of(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


_CODINGS: dict[str, Callable[[], _Coding | None]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}


def decoder_for(content_encoding: str, largest: int | None = None) -> Decoder | None:
    """The decoder of a `Content-Encoding`; None where a coding is not known here. `largest` is in bytes, of one part."""
    codings = [name.strip() for name in content_encoding.lower().split(",")]
    codings = [name for name in codings if name not in {"", "identity"}]
    if len(codings) > MOST_CODINGS:
        return None
    decoders: list[Decoder] = []
    for name in reversed(codings):
        make = _CODINGS.get(name)
        coding = make() if make is not None else None
        if coding is None:
            return None
        decoders.append(_Bounded(coding, largest or LARGEST_EXPANSION))
    return decoders[0] if len(decoders) == 1 else _Chain(decoders)
