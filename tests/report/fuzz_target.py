"""
What atheris calls: the readers of replies, with any bytes. `python -m tests.report.fuzz_target [libFuzzer's options]`.

The first three bytes choose the API, the kind of reply and where it is cut; a reply that is read in two ways, or a
reader that raises, ends the run.
"""

from __future__ import annotations

import sys
import time

import atheris  # type: ignore[import-not-found, unused-ignore]

with atheris.instrument_imports(include=["byteplus_trace._wire"]):
    from byteplus_trace._wire.body import Body
    from byteplus_trace._wire.families import FAMILIES

READ_AS = tuple(FAMILIES.values())
CODINGS = ("identity", "identity", "identity", "gzip", "deflate", "x-unknown")


def read(data: bytes) -> None:
    if len(data) < 3:
        return
    family, how, place, body = READ_AS[data[0] % len(READ_AS)], data[1], data[2], data[3:]
    headers = {
        "content-type": "text/event-stream" if how & 1 else "application/json",
        "content-encoding": CODINGS[(how >> 2) % len(CODINGS)],
    }
    found = []
    for parts in ((body,), (body[:place], body[place:])):
        reader = Body(family, 400 if how & 128 else 200, headers, True, time.monotonic, bool(how & 2))
        for part in parts:
            reader.feed(part)
        reader.end()
        if reader.fault is not None:
            raise reader.fault
        found.append(repr(reader.answer()))
    if found[0] != found[1]:
        raise AssertionError(f"cut at {place}, {body!r} is read as {found[1]} and not as {found[0]}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
