"""
With and without us, the same.

Hypothesis makes cases: requests, replies, encodings, chunkings, truncations. Each is called bare, then watched, in
both libraries and both colours, and all that a caller or a server can see is compared.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import brotli
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from byteplus_trace._wire.body import Body
from byteplus_trace._wire.families import FAMILIES
from byteplus_trace.testing import capture

from .calls import CLIENTS, READINGS, Case, as_for_users, make
from .figures import Figures, bytes_that_differ

CASES, CASES_THOROUGH = 600, 10_000
BODIES, BODIES_THOROUGH = 5_000, 200_000

TESTS = Path(__file__).resolve().parents[1]
RECORDED = tuple(
    path.read_bytes()
    for folder in (TESTS / "wire" / "recorded", TESTS / "reports")
    for path in sorted(folder.iterdir())
    if path.suffix in {".sse", ".json"} and path.name != "index.json"
)
PATHS = (
    "/api/v3/chat/completions",
    "/api/v3/responses",
    "/api/v3/embeddings",
    "/api/v3/embeddings/multimodal",
    "/api/v3/images/generations",
    "/api/v3/contents/generations/tasks",
    "/api/v3/bots/chat/completions",
    "/api/v3/tokenization",
    "/api/compatible/v1/messages",
    "/api/v3/nowhere",
)
CODINGS = {
    "identity": lambda body: body,
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "gzip twice": lambda body: gzip.compress(body[: len(body) // 2], mtime=0) + gzip.compress(body[len(body) // 2 :], mtime=0),
    "deflate": zlib.compress,
    "raw deflate": lambda body: zlib.compress(body)[2:-4],
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}  # fmt: skip
LABELS = {"gzip twice": "gzip", "raw deflate": "deflate"}
TYPES = ("application/json", "application/json; charset=utf-8", "text/event-stream", "text/event-stream; charset=utf-8", "text/html", "", "application/octet-stream")  # fmt: skip
ERRORS = ("ReadError", "RemoteProtocolError", "ReadTimeout")

leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("id", "model", "choices", "delta", "message", "content", "usage", "error", "data", "output", "type", "finish_reason", "index", "tool_calls", "prompt_tokens", "stream", "messages", "input", "stream_options", "max_tokens")  # fmt: skip
shaped = st.dictionaries(st.sampled_from(NAMES), anything, max_size=6)


@st.composite
def requests(draw: Any) -> bytes:
    kind = draw(st.sampled_from(("chat", "chat", "shaped", "bytes")))
    if kind == "bytes":
        found: bytes = draw(st.binary(max_size=200))
        return found
    body = {"model": "seed-1-6-250915", "messages": [{"role": "user", "content": draw(st.text(max_size=40))}]}
    if draw(st.booleans()):
        body["stream"] = draw(st.sampled_from((True, False, None, "yes")))
    return json.dumps(body if kind == "chat" else {**body, **draw(shaped)}).encode()


def events(documents: list[Any], end: str) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + end.encode() * 2 for each in documents)


plainly_bodies = (
    st.sampled_from(RECORDED)
    | st.builds(lambda content: json.dumps(content).encode(), shaped)
    | st.builds(events, st.lists(shaped, max_size=4), st.sampled_from(("\n", "\r\n", "\r")))
    | st.binary(max_size=300)
)


@st.composite
def bodies(draw: Any) -> bytes:
    """A recorded reply, one of its shape, or anything; perhaps with some bytes changed."""
    body = bytearray(draw(plainly_bodies))
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 3)))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body)


def cut(body: bytes, places: list[int]) -> tuple[bytes, ...]:
    """The body in parts that end at these places; a place twice is an empty part."""
    ends = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return tuple(body[start:end] for start, end in pairwise(ends))


@st.composite
def cases(draw: Any) -> Case:
    coding = draw(st.sampled_from(tuple(CODINGS)))
    label = draw(st.sampled_from((LABELS.get(coding, coding),) * 6 + ("gzip", "br", "x-unknown", "gzip, br")))
    body = CODINGS[coding](draw(bodies()))
    error = draw(st.sampled_from((None, None, None, *ERRORS)))
    if draw(st.sampled_from((False, False, True))):
        body = body[: draw(st.integers(0, len(body)))]
    reply_headers = [
        ("content-type", draw(st.sampled_from(TYPES))),
        ("x-request-id", "r-1"),
        ("x-own", "kept"),
    ]
    if label != "identity":
        reply_headers.append(("content-encoding", label))
    if draw(st.booleans()):
        reply_headers.append(
            ("retry-after", draw(st.sampled_from(("1", "-1", "soon", "99999999999999999999"))))
        )
    return Case(
        path=draw(st.sampled_from(PATHS)) + draw(st.sampled_from(("", "", "?a=1&a=2", "?q=%2F"))),
        request=draw(requests()),
        request_headers=(("authorization", "Bearer key"), ("content-type", "application/json"), ("x-a", "1"), ("x-a", "2")),
        status=draw(st.sampled_from((200, 200, 200, 200, 201, 204, 400, 401, 404, 429, 500, 503, 529))),
        reply_headers=tuple(reply_headers),
        parts=cut(body, draw(st.lists(st.integers(0, 4_000), max_size=6))),
        error=error,
        reading=draw(st.sampled_from(READINGS)),
    )  # fmt: skip


def drawn(strategy: Any, count: int) -> list[Any]:
    """So many different examples, the same ones in every run."""
    found: list[Any] = []

    @settings(max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


def run(thorough: bool) -> Iterator[Figures]:
    inputs = drawn(cases(), CASES_THOROUGH if thorough else CASES)
    for library, colour in CLIENTS:
        yield compared(inputs, library, colour)
    yield read_apart(BODIES_THOROUGH if thorough else BODIES)


def compared(inputs: list[Case], library: Any, colour: str) -> Figures:
    """Each case bare, then watched."""
    figures = Figures(f"bare and watched, {library.__name__}, {colour}", inputs=len(inputs))
    bare = [make(case, library, colour) for case in inputs]
    with as_for_users(), capture(base_urls={}) as seen:
        watched = [make(case, library, colour) for case in inputs]
        recorded = {span.context.trace_id for span in seen.spans}
        ours = seen.sample("modelark_telemetry_errors_total")
    figures.calls = len(bare) + len(watched)
    figures.spans_lost = len(inputs) - len(recorded)
    for case, one, other in zip(inputs, bare, watched, strict=True):
        figures.bytes_changed += bytes_that_differ(one.sent, other.sent) + bytes_that_differ(
            one.body, other.body
        )
        figures.require(one == other, f"{case} is seen as {one} without us and as {other} with us"[:2_000])
    figures.require(not ours, f"{ours:.0f} faults of our own were swallowed")
    figures.notes.append(f"{sum(each.raised is not None for each in bare)} calls raise with and without us")
    return figures


def read_apart(count: int) -> Figures:
    """The readers alone: no bytes make them raise, and how the bytes are cut changes nothing that they find."""
    figures = Figures("the readers of replies, whole and cut")
    strategy = st.tuples(
        bodies(),
        st.sampled_from(tuple(FAMILIES.values())),
        st.booleans(),
        st.lists(st.integers(0, 4_000), min_size=1, max_size=6),
    )
    for body, family, streaming, places in drawn(strategy, count):
        found = []
        for parts in ((body,), cut(body, places)):
            headers = {"content-type": "text/event-stream" if streaming else "application/json"}
            reader = Body(family, 200, headers, True, time.monotonic, streaming)
            try:
                for part in parts:
                    reader.feed(part)
                reader.end()
                found.append(reader.answer())
                figures.require(reader.fault is None, f"{family} reads {body!r}: {reader.fault!r}"[:2_000])
            except Exception as error:
                figures.failures.append(f"{family} raises {error!r} at {body!r}"[:2_000])
        figures.inputs += 1
        figures.require(
            len(set(map(repr, found))) <= 1, f"{family} reads {body!r} in two ways: {found}"[:2_000]
        )
    return figures
