"""
A call as JSON, or as a pytest test that replays its shape on a fake ModelArk.

The shape of a call is its API, its model, whether it streamed, and of every send the
target, the cause and the result. A prompt is no part of it. What a span says comes from
anybody, so it stands in the test only as a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import msgspec

from .._regions import REGIONS
from .._telemetry import semconv as sc
from .calls import Call, holds_attempt
from .spans import SPAN_KINDS, Span

_MESSAGES: Final = [{"role": "user", "content": "Name three rivers."}]
_INPUTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat_completions": ("/chat/completions", {"messages": _MESSAGES}),
    "bot_chat": ("/bots/chat/completions", {"messages": _MESSAGES}),
    "batch_chat": ("/batch/chat/completions", {"messages": _MESSAGES}),
    "responses": ("/responses", {"input": "Name three rivers."}),
    "messages": ("/messages", {"max_tokens": 64, "messages": _MESSAGES}),
    "embeddings": ("/embeddings", {"input": ["Name three rivers."]}),
    "multimodal_embeddings": ("/embeddings/multimodal", {"input": [{"type": "text", "text": "A river"}]}),
    "images": ("/images/generations", {"prompt": "A river between hills"}),
    "video_task_create": ("/contents/generations/tasks", {"content": [{"type": "text", "text": "A river"}]}),
}
"""Of each API that can be replayed, its path and an input."""

_CONNECT: Final = frozenset({"ConnectError", "ConnectTimeout"})
_TIMEOUT: Final = frozenset({"ReadTimeout", "WriteTimeout"})
_RESET: Final = frozenset({"ReadError", "WriteError"})
_PATIENCE: Final = 0.5
"""Seconds that the test's client waits where the recorded one ran out of patience."""


class NotReplayableError(Exception):
    """There is no test of this call; the message says why."""


@dataclass(frozen=True, slots=True)
class _Send:
    target: str
    region: str
    cause: str
    status: int | None
    error_type: str
    code: str


def json_text(call: Call, spans: list[Span]) -> str:
    """A call and the spans around it as one JSON document. Times are nanoseconds since the epoch."""
    document = {
        "call": {
            **{
                name: value for name, value in msgspec.structs.asdict(call).items() if value not in {"", None}
            },
            "metadata": dict(call.metadata),
            "duration_seconds": call.seconds,
        },
        "spans": [_document(span) for span in sorted(spans, key=lambda span: span.start_ns)],
    }
    # ASCII alone: what a terminal shows of the file is no escape sequence of somebody else's.
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    return re.sub(r"[^\x20-\x7e\n]", _escaped, text) + "\n"


def _escaped(found: re.Match[str]) -> str:
    pairs = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pairs[at : at + 4]}" for at in range(0, len(pairs), 4))


def _document(span: Span) -> dict[str, Any]:
    return {
        **{
            name: value
            for name, value in msgspec.structs.asdict(span).items()
            if value not in ("", [], {}, 0)
        },
        "kind": SPAN_KINDS[span.kind],
        "events": [msgspec.structs.asdict(event) for event in span.events],
    }


def pytest_text(call: Call, spans: list[Span]) -> str:
    """
    A module with one test that makes such a call, and asserts that it comes to the same.

    Raises:
        NotReplayableError: the fake cannot make such a call; the message says why.
    """
    span = next((each for each in spans if each.key == call.key), None)
    api = span.text(sc.API) if span is not None else ""
    if span is None or api not in _INPUTS:
        raise NotReplayableError(f"Calls of the API {api or 'of this kind'} have no test: only JSON.")
    if call.outcome not in {"ok", "error", "rescued_retry", "rescued_fallback", "cancelled"}:
        raise NotReplayableError(f"A call whose outcome is {call.outcome} has no test: only JSON.")
    sends = list(_sends(call, spans))
    if not sends:
        raise NotReplayableError("Of this call no attempt is held, so its shape is not known: only JSON.")
    for send, following in pairwise(sends):
        if (
            following.cause == "retry"
            and send.status is None
            and send.error_type not in {*_CONNECT, *_TIMEOUT}
        ):
            # Asked again because the connection was an old one.
            raise NotReplayableError(
                "A connection that was reset after an earlier call has no test: only JSON."
            )
    streams = span.attributes.get(sc.REQUEST_STREAM) is True
    if call.outcome == "cancelled" and not streams:
        raise NotReplayableError("A call that was cancelled before its reply has no test: only JSON.")
    return _module(call, api, streams, sends, span.count(sc.CHUNKS) or 0, span.text(sc.ERROR_TYPE))


def _sends(call: Call, spans: list[Span]) -> Iterator[_Send]:
    """The attempts in their order, in regions that a fake can have."""
    known = [region.id for region in REGIONS]
    attempts = [
        span for span in spans if holds_attempt(span) and call.span_id in {span.parent_id, span.span_id}
    ]
    attempts.sort(key=lambda span: (span.count(sc.HTTP_RESEND_COUNT) or 0, span.start_ns))
    for at, span in enumerate(attempts):
        region = span.text(sc.CLOUD_REGION)
        cause = span.text(sc.ATTEMPT_CAUSE)
        if cause == "probe":
            # In the test no breaker is open before.
            cause = "fallback" if at else "initial"
        yield _Send(
            target=span.text(sc.TARGET),
            region=region if region in known else known[0],
            cause=cause,
            status=span.count(sc.HTTP_STATUS),
            error_type=span.text(sc.ERROR_TYPE),
            code=span.text(sc.ERROR_CODE),
        )


def _module(call: Call, api: str, streams: bool, sends: list[_Send], chunks: int, error_type: str) -> str:
    path, example = _INPUTS[api]
    body = {
        "model": call.model or "seed-2-0-lite-260428",
        **example,
        **({"stream": True} if streams else {}),
    }
    if streams and api == "chat_completions" and call.tokens_out is not None:
        body["stream_options"] = {"include_usage": True}
    regions = list(dict.fromkeys(send.region for send in sends))
    has_policy = len(sends) > 1 or (sends[0].target not in {"", sends[0].region})
    faults = [line for each in _faults(sends, streams, chunks) for line in each.splitlines()]
    patient = not any(send.error_type in _TIMEOUT for send in sends)
    asserted = [(send.target, send.cause, send.status) for send in sends] if has_policy else None
    lines = [
        '"""A call that was seen once, with the same shape, on a fake ModelArk."""',
        "",
        "import contextlib",
        "",
        "import httpx",
        *(["from byteplus_trace import Policy, Retry, Target"] if has_policy else []),
        "from byteplus_trace.testing import ModelArk, capture",
        "",
        f"BODY = {body!r}",
        "",
        "",
        f"def test_{_identifier(call.operation)}_{_identifier(call.outcome)}():",
        f"    with ModelArk({tuple(regions)!r}) as ark:",
        *(f"        {line}" for line in faults),
        *(f"        {line}" for line in (_policy(sends) if has_policy else ())),
        "        with (",
        f"            capture(base_urls=ark.base_urls{', policy=policy' if has_policy else ''}) as seen,",
        f'            httpx.Client(headers={{"authorization": "Bearer any"}}, timeout={5 if patient else _PATIENCE}, trust_env=False) as client,',
        "            contextlib.suppress(httpx.TransportError),",
        "        ):",
        *(f"            {line}" for line in _sending(regions[0], path, streams, call.outcome)),
        "        (exchange,) = seen.exchanges",
        "",
        f"    assert exchange.outcome == {call.outcome!r}",
        *([f"    assert exchange.error_type == {error_type!r}"] if call.outcome == "error" else []),
        *(
            [
                f"    assert [(each.target, each.cause, each.status) for each in exchange.attempts] == {asserted!r}"
            ]
            if asserted
            else [f"    assert [each.status for each in exchange.attempts] == {[sends[0].status]!r}"]
        ),
    ]
    return "\n".join(lines) + "\n"


def _identifier(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()[:40] or "call"


def _policy(sends: list[_Send]) -> Iterator[str]:
    per_target = {
        target: sum(send.target == target for send in sends) for target in (send.target for send in sends)
    }
    places = {send.target: send.region for send in sends}
    yield "policy = Policy("
    yield "    targets=["
    for number, (target, region) in enumerate(places.items(), 1):
        # A key each: one that is refused is left alone at every target that has it.
        yield f"        Target({target!r}, region={region!r}, base_url=ark.base_url({region!r}), api_key='any-{number}'),"
    yield "    ],"
    yield f"    retry=Retry(per_target={max(per_target.values()) - 1}, base=0.01, budget_ratio=1),"
    yield f"    max_attempts={len(sends)},"
    yield ")"


def _sending(region: str, path: str, streams: bool, outcome: str) -> Iterator[str]:
    url = f"ark.base_url({region!r}) + {path!r}"
    if not streams:
        yield f"client.post({url}, json=BODY)"
        return
    yield f'with client.stream("POST", {url}, json=BODY) as response:'
    if outcome == "cancelled":
        yield "    next(response.iter_lines())"
    else:
        yield "    for _ in response.iter_lines():"
        yield "        pass"


def _faults(sends: list[_Send], streams: bool, chunks: int) -> Iterator[str]:
    for send in sends:
        region = f"ark.region({send.region!r})"
        # A chunk is an event with output; the stream's first event has none. A stream with output never moves, so
        # only the last one had any.
        events = max(1, chunks) if send is sends[-1] else 0
        match send:
            case _Send(status=int(status), code=code) if status >= 400:
                yield f"{region}.fails({status}, {f'code={code!r}, ' if code else ''}times=1)"
            case _Send(error_type=""):
                pass
            case _Send(error_type=error, status=None) if error in _CONNECT:
                if any(each.region == send.region and each.error_type not in _CONNECT for each in sends):
                    raise NotReplayableError(
                        "A region that refused a connection answered in the same call: only JSON."
                    )
                yield f"{region}.refuses()"
            case _Send(error_type=error, status=None) if error in _TIMEOUT:
                yield f"{region}.hangs(times=1)"
            case _Send(status=None):
                yield f"{region}.resets(times=1)"
            case _Send(error_type="empty"):
                yield f"{region}.answers_empty(times=1)"
            case _Send(code=code) if code and streams:
                yield f"{region}.errors_in_stream(after_events={events}, code={code!r}, times=1)"
            case _Send(error_type=error) if streams and error in _TIMEOUT:
                yield f"{region}.hangs(after_events={events}, times=1)"
            case _Send(error_type=error) if streams:
                reset = "reset=True, " if error in _RESET else ""
                yield f"{region}.cuts(after_events={events}, {reset}times=1)"
            case _:
                raise NotReplayableError(
                    f"A reply that failed with {send.error_type} has no test: only JSON."
                )
