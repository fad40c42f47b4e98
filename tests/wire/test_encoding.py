"""Content codings come undone however they were cut, and what is no such coding does no harm."""

from __future__ import annotations

import gzip
import lzma
import sys
import time
import tracemalloc
import zlib
from functools import partial

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace._wire import body as reply
from byteplus_trace._wire import encoding
from byteplus_trace._wire.body import Body
from byteplus_trace._wire.encoding import decoder_for
from byteplus_trace._wire.families import chat

TEXT = b'{"choices": [{"finish_reason": "stop"}], "text": "' + b"lorem ipsum " * 40 + b'"}'


def raw_deflate(text):
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(text) + compressor.flush()


def undone(coding, *parts):
    decoder = decoder_for(coding)
    return b"".join(decoder.feed(part) for part in parts) + decoder.flush()


CODED = [
    ("gzip", gzip.compress(TEXT, mtime=0)),
    ("x-gzip", gzip.compress(TEXT, mtime=0)),
    ("GZIP", gzip.compress(TEXT, mtime=0)),
    ("gzip", gzip.compress(TEXT[:50], mtime=0) + gzip.compress(TEXT[50:], mtime=0)),
    ("gzip", gzip.compress(TEXT, mtime=0) + b"\0" * 512),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", raw_deflate(TEXT)),
    ("br", brotli.compress(TEXT)),
    ("zstd", zstandard.compress(TEXT)),
    ("zstd", zstandard.compress(TEXT[:50]) + zstandard.compress(TEXT[50:])),
    ("gzip, br", brotli.compress(gzip.compress(TEXT, mtime=0))),
    ("identity, gzip", gzip.compress(TEXT, mtime=0)),
    ("identity", TEXT),
    ("", TEXT),
]


@pytest.mark.parametrize(("coding", "coded"), CODED)
def test_a_coding_comes_undone_whole_and_byte_by_byte(coding, coded):
    assert TEXT == undone(coding, coded)
    assert TEXT == undone(coding, *(coded[i : i + 1] for i in range(len(coded))))
    assert TEXT == undone(coding, coded[:1], b"", coded[1:])


@pytest.mark.parametrize("coding", ["compress", "gzip, aes128gcm", "gzip, " * 5, "\x00"])
def test_an_unknown_coding_has_no_decoder(coding):
    assert decoder_for(coding) is None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
def test_what_is_not_so_coded_breaks_the_decoder_and_nothing_else(coding):
    decoder = decoder_for(coding)

    for _ in range(3):
        decoder.feed(b"<html>not so coded at all</html>")

    assert decoder.broken
    assert b"" == decoder.feed(gzip.compress(TEXT, mtime=0)) == decoder.flush()


def test_what_was_undone_before_the_damage_is_kept():
    decoder = decoder_for("gzip")

    assert TEXT == decoder.feed(gzip.compress(TEXT, mtime=0) + b"\x1fgarbage")
    assert decoder.broken


@pytest.mark.parametrize(("coding", "coded"), CODED)
def test_a_body_cut_short_gives_what_was_received(coding, coded):
    decoder = decoder_for(coding)

    assert TEXT.startswith(decoder.feed(coded[: len(coded) // 2]) + decoder.flush())


BOMBS = [
    ("gzip", partial(gzip.compress, mtime=0)),
    ("deflate", zlib.compress),
    ("br", lambda text: brotli.compress(text, quality=3)),
    ("zstd", zstandard.compress),
]


@pytest.mark.parametrize(("coding", "compress"), BOMBS)
def test_what_expands_much_comes_out_whole(coding, compress):
    text = bytes(5_000_000)

    assert text == undone(coding, compress(text))


@pytest.mark.parametrize(("coding", "compress"), BOMBS)
def test_a_bomb_is_cut_at_what_one_part_may_become(coding, compress, monkeypatch):
    monkeypatch.setattr(encoding, "LARGEST_EXPANSION", 100_000)
    decoder = decoder_for(coding)

    assert 100_000 == len(decoder.feed(compress(bytes(5_000_000))))
    assert decoder.broken


def document(coding, *parts):
    body = Body(chat, 200, {"content-encoding": coding}, capture=False, clock=time.monotonic)
    for part in parts:
        body.feed(part)
    body.end()
    return body


@pytest.mark.parametrize(("coding", "compress"), BOMBS)
def test_a_document_beyond_its_limit_is_not_kept_however_it_is_cut(coding, compress, monkeypatch):
    monkeypatch.setattr(reply, "LARGEST_DOCUMENT", 1_500_000)
    coded = compress(bytes(3_000_000))

    body = document(coding, *(coded[i : i + 64] for i in range(0, len(coded), 64)))

    assert not body.legible
    assert not body.begins_document
    assert not body.answer().complete


@pytest.mark.parametrize("limit", [len(TEXT) - 1, len(TEXT)])
def test_a_document_of_exactly_its_limit_is_whole(limit, monkeypatch):
    monkeypatch.setattr(reply, "LARGEST_DOCUMENT", limit)

    body = document("gzip", gzip.compress(TEXT, mtime=0))

    assert (limit == len(TEXT)) == body.legible == body.answer().complete


def test_a_coding_whose_package_is_missing_is_unknown(monkeypatch):
    for package in ("brotli", "brotlicffi", "zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, package, None)

    assert decoder_for("br") is None
    assert decoder_for("zstd") is None


def test_a_brotli_that_takes_no_bound_is_fed_little_by_little(monkeypatch):
    new_brotli = brotli.Decompressor

    class OldBrotli:
        def __init__(self):
            self.process = new_brotli().process

    monkeypatch.setattr(brotli, "Decompressor", OldBrotli)

    assert TEXT == undone("br", brotli.compress(TEXT))


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_the_interface_of_the_standard_library_s_decompressors_is_understood(cut, monkeypatch):
    """`compression.zstd` speaks as `lzma` does, which every Python has."""

    class Zstd:
        ZstdDecompressor = lzma.LZMADecompressor

    monkeypatch.setitem(sys.modules, "compression.zstd", Zstd)
    monkeypatch.setattr(encoding, "_STEP", 100)
    coded = lzma.compress(TEXT) + lzma.compress(TEXT)

    assert TEXT + TEXT == undone("zstd", *(coded[i : i + cut] for i in range(0, len(coded), cut)))


@given(
    st.sampled_from(["gzip", "deflate", "br", "zstd", "br, gzip"]),
    st.lists(st.binary(max_size=50), max_size=5),
)
def test_no_bytes_make_a_decoder_raise(coding, parts):
    undone(coding, *parts)


@given(st.sampled_from([gzip.compress, zlib.compress]), st.integers(0, 200), st.integers(0, 255))
def test_no_damage_makes_a_decoder_raise(compress, place, byte):
    coded = bytearray(compress(TEXT))
    coded[place % len(coded)] = byte

    undone("gzip" if compress is gzip.compress else "deflate", bytes(coded))


@pytest.mark.parametrize("unit", [b"\n", b"\r\n", b":\n", b"data: {}\n\n", b"data: x\n", b"event: a\n"])
def test_a_small_part_that_holds_a_flood_of_lines_is_not_read(unit):
    """65 KB of gzip may hold 64 MB of blank lines, and an event loop waits for whoever reads them."""
    bomb = gzip.compress(unit * (64 * 1024 * 1024 // len(unit)))
    body = Body(
        chat, 200, {"content-type": "text/event-stream", "content-encoding": "gzip"}, True, time.perf_counter
    )
    tracemalloc.start()
    try:
        for start in range(0, len(bomb), 65536):
            body.feed(bomb[start : start + 65536])
        body.end()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert most < 32 * 1024 * 1024
    assert 0 == body.events
    assert not body.legible
