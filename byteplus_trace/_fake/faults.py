"""
The faults of a region: what goes wrong, and for which requests.

A script is a list. Of the entries that fit a request (by API, operation or model, and by
whether a stream was asked for), the first that decides how it ends is used, and every
`Delays` that fits as well. An entry with `times` is gone once used so often; one
without stays until the region recovers, and hides later ones of its scope.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import assert_never

from .odd_replies import ODD_REPLIES, OF_STREAMS
from .templates import document
from .values import (
    Document,
    FakeReply,
    PlannedReply,
    Received,
    RefusedError,
    Stream,
    Wording,
    error_event,
    refusal,
)

DEFAULT_CODES = {
    400: "InvalidParameter",
    401: "AuthenticationError",
    403: "AccessDenied",
    404: "InvalidEndpointOrModel.NotFound",
    429: "RateLimitExceeded.EndpointRPMExceeded",
    500: "InternalServiceError",
    502: "FailToConnect",
    503: "ServiceUnavailableTemp",
    504: "InternalServiceTimeout",
}


@dataclass(frozen=True, slots=True)
class Fails:
    """Answer with a status and the error envelope."""

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Replays:
    """Answer with these bytes instead; a stream is cut into its events."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Garbage:
    """Answer with bytes that are not HTTP."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Hangs:
    """Send nothing until the region recovers: before the headers, or after some events."""

    after_events: int | None = None


@dataclass(frozen=True, slots=True)
class Leaves:
    """End the connection instead of answering: by a reset, or as one that is done."""

    reset: bool


@dataclass(frozen=True, slots=True)
class Cuts:
    """End the connection in the body: in the middle of a chunk, or by a reset."""

    after_events: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class ErrorInStream:
    """An error event in place of the rest of a stream."""

    after_events: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Odd:
    """Answer with one of `ODD_REPLIES`."""

    name: str
    after_events: int


@dataclass(frozen=True, slots=True)
class ResponseFailed:
    """`/responses` answers 200 with a response whose status is `failed`."""

    after_events: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Delays:
    """Take so many seconds; ended early when the region recovers."""

    headers: float = 0.0
    first_event: float = 0.0
    between: float = 0.0


Ending = Fails | Replays | Garbage | Hangs | Leaves | Cuts | ErrorInStream | Odd | ResponseFailed
Fault = Ending | Delays | Wording


@dataclass(slots=True)
class _Entry:
    fault: Fault
    remaining: int | None
    only: str | None

    def fits(self, request: Received) -> bool:
        scopes = {None, request.api, request.operation, request.model}
        if self.remaining == 0 or self.only not in scopes:
            return False
        match self.fault:
            case ErrorInStream():
                return request.streams
            case Odd(name=name) if name in OF_STREAMS:
                return request.streams
            case Hangs(after_events=int()):
                return request.streams
            case ResponseFailed():
                return request.api == "responses"
        return True

    def used(self) -> Fault:
        if self.remaining is not None:
            self.remaining -= 1
        return self.fault


class Script:
    """The faults of one region. A test's thread adds them, the server's thread uses them."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault, times: int | None, only: str | None) -> None:
        if times is not None and times < 1:
            raise ValueError(f"times={times}: write how often, from 1, or None for until recovers()")
        with self._lock:
            self._entries.append(_Entry(fault, times, only))

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def wording(self, request: Received) -> Wording:
        """What this request is answered with."""
        with self._lock:
            for entry in self._entries:
                if isinstance(entry.fault, Wording) and entry.fits(request):
                    entry.used()
                    return entry.fault
        return Wording()

    def faults(self, request: Received) -> tuple[Ending | None, list[Delays]]:
        """What goes wrong with this request, and what is slow about it."""
        ending: Ending | None = None
        delays: list[Delays] = []
        with self._lock:
            for entry in self._entries:
                if isinstance(entry.fault, Wording) or not entry.fits(request):
                    continue
                if isinstance(entry.fault, Delays):
                    entry.used()
                    delays.append(entry.fault)
                elif ending is None:
                    entry.used()
                    ending = entry.fault
            self._entries = [entry for entry in self._entries if entry.remaining != 0]
        return ending, delays


def instead(ending: Ending | None, request: Received) -> FakeReply | None:
    """The reply in place of the usual one, which then is never made: it costs no answer and stores nothing."""
    match ending:
        case Fails():
            refused = RefusedError(ending.status, ending.code, ending.message)
            return refusal(refused, request, ending.headers)
        case Replays():
            return _replayed(ending)
        case Garbage() | Leaves():
            return Document(b"")
    return None


def spoilt(plan: PlannedReply, ending: Ending | None, request: Received) -> PlannedReply:
    """The plan as the fault has it."""
    match ending:
        case None | Fails() | Replays():
            return plan
        case Garbage():
            return replace(plan, raw=ending.raw)
        case Hangs(after_events=None):
            return replace(plan, hang=True)
        case Hangs():
            return replace(plan, stop_after=ending.after_events, stop="hang")
        case Leaves():
            return replace(plan, leave="rst" if ending.reset else "fin")
        case Cuts():
            return replace(plan, stop_after=ending.after_events, stop="rst" if ending.reset else "fin")
        case Odd():
            odd = ODD_REPLIES[ending.name](plan.reply, request, ending.after_events)
            return replace(plan, reply=odd)
        case ErrorInStream():
            event = error_event(ending.code, ending.message, ending.after_events, request)
            return replace(plan, reply=_broken(plan.reply, event, ending.after_events))
        case ResponseFailed():
            return replace(plan, reply=_failed(plan.reply, ending, request))
        case _:
            assert_never(ending)


def _replayed(replays: Replays) -> FakeReply:
    if replays.content_type.startswith("text/event-stream") and replays.status == 200:
        whole = replays.body.replace(b"\r\n", b"\n")
        return Stream(tuple(event + b"\n\n" for event in whole.split(b"\n\n") if event.strip()))
    return Document(replays.body, replays.status, replays.headers, replays.content_type)


def _broken(reply: FakeReply, tail: bytes, after: int) -> FakeReply:
    return Stream((*reply.events[:after], tail)) if isinstance(reply, Stream) else reply


def _failed(reply: FakeReply, failed: ResponseFailed, request: Received) -> FakeReply:
    body = request.json if isinstance(request.json, dict) else {}
    response = document(
        "response_failed.json",
        id=f"resp_{request.id}",
        created=request.created,
        model=body.get("model"),
        code=failed.code,
        message=failed.message,
    )
    if not isinstance(reply, Stream):
        return Document(response)
    tail = b'event: response.failed\ndata: {"type":"response.failed","response":%s,"sequence_number":%d}\n\n'
    kept = reply.events[: failed.after_events]
    return Stream((*kept, tail % (response, len(kept)), b"data: [DONE]\n\n"))
