"""
How an attempt, and with it a call, ended: pure functions of what its caller could see.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from ._classify import is_known, reason_of, reason_of_failure
from ._facts import Answer, Attempt, Call, Images, Outcome, Reason, Result
from ._wire.errors import code_family

if TYPE_CHECKING:
    from ._facts import FailureKind
    from ._wire.body import Body

_MOST_CAUSES = 16

How = Literal["complete", "exhausted", "raised", "closed", "forgotten"]


def _now() -> float:
    # Looked up each time, as wherever else it is read: a test may have put a frozen clock in its place.
    return time.perf_counter()


class End(msgspec.Struct, frozen=True):
    """The end of an attempt, or of its call, as its reader saw it."""

    how: How
    error: BaseException | None = None
    kind: FailureKind | None = None
    """Of the error."""
    at: float = msgspec.field(default_factory=_now)
    """On the clock of `time.perf_counter`; now by default."""


class Assessment(msgspec.Struct, frozen=True):
    """How one attempt ended, and why."""

    result: Result
    reason: Reason = "none"
    error_type: str | None = None


OK = Assessment("ok")
CANCELLED = Assessment("cancelled")
STREAM_ERROR = Assessment("error", "stream_error", "stream_error")


def assessment(
    call: Call,
    end: End,
    answer: Answer,
    *,
    status: int | None = None,
    body: Body | None = None,
) -> Assessment:
    """
    Say how an attempt ended.

    The error type is ModelArk's code up to its first dot, else the HTTP status of a
    refusal, else the exception's class name, else the reason.
    """
    code = answer.error.code if answer.error is not None else None
    how = end.how
    is_abandoned = how in {"closed", "forgotten"}
    if is_abandoned and status is None:
        return CANCELLED  # nobody waited for the reply
    if how == "raised":
        return _raised(end, code, began=status is not None)
    if status is not None and status >= 400:
        return Assessment("error", reason_of(status, code), code_family(code) if code else str(status))
    if status is not None and status >= 300:
        return OK  # a redirect: its reply promises nothing to read
    if answer.error is not None or (body is not None and body.failed):
        reason = reason_of(status, code) if code else "stream_error"
        return Assessment(
            "error",
            "stream_error" if reason == "none" else reason,
            code_family(code) if code else "stream_error",
        )
    if answer.images is not None and _images_failed(answer.images, how, answer.complete):
        return STREAM_ERROR
    if answer.status == "cancelled" and call.operation == "chat":
        return CANCELLED  # somebody cancelled the response while it was made
    if answer.complete or body is None:
        return OK
    if body.corrupt or (is_abandoned and body.stops_unreadable):
        return STREAM_ERROR  # there its reader raises, and closes it
    if not body.legible:
        return OK
    if is_abandoned:
        return CANCELLED
    return _incomplete(call, answer, body, status)


def _raised(end: End, code: str | None, began: bool) -> Assessment:
    error = end.error
    # CancelledError of asyncio and trio, KeyboardInterrupt: somebody stopped, nothing failed.
    if error is not None and not isinstance(error, Exception):
        return CANCELLED
    reason = reason_of_failure(end.kind or "other")
    if began and reason == "reset":
        reason = "cut"
    name = type(error).__name__ if error is not None else reason
    return Assessment("error", reason, code_family(code) if code else name)


def unreachable(error: BaseException | None) -> str | None:
    """Why no connection could be made: the system's message, never a library's, which may quote what was sent."""
    for _ in range(_MOST_CAUSES):
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]  # one for each of a host's addresses
        message = _system_message(error) if isinstance(error, OSError) else None
        if error is None or message is not None:
            return message
        error = error.__cause__ or error.__context__
    return None


def _system_message(error: OSError) -> str | None:
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", None) or getattr(error, "reason", None)
    if isinstance(error, socket.gaierror):
        return error.strerror
    try:
        return os.strerror(error.errno) if isinstance(error.errno, int) else None
    except OverflowError:  # a number that no system has
        return None


def _images_failed(images: Images, how: How, complete: bool) -> bool:
    """Nothing succeeded, or the reader stopped after a failed image, as SDKs do when they raise on it."""
    if images.failed and not images.generated:
        return True
    return bool(images.failed) and how in {"closed", "forgotten"} and not complete


def _incomplete(call: Call, answer: Answer, body: Body, status: int | None) -> Assessment:
    """A body that ended without what a reply of its API must have."""
    if call.method == "HEAD" or status == 204 or call.path.endswith("/content"):
        return OK  # these may be empty, and so may a file that is downloaded
    if call.method == "DELETE" and (not body.begun or body.is_object):
        return OK  # a page is no confirmation, and nothing at all is one
    if call.api == "other" and body.chunks:
        return OK  # nobody here knows which event ends a stream of this API
    if answer.images is not None and answer.images.generated:
        return OK  # a single image's stream may lack its closing event
    if body.streaming and body.begun and (body.chunks or not body.ended):
        return Assessment("error", "cut", "cut")
    return Assessment("error", "empty", "empty")


def unknown_in(
    attempts: Sequence[Attempt], answer: Answer
) -> tuple[tuple[Literal["error_code", "event"], str], ...]:
    """
    The error codes and events of a call that this version does not know.

    Of a code only what stands before its first dot: the rest may name a parameter or an endpoint.
    """
    codes = {a.error_code: None for a in attempts if a.error_code and not is_known(a.error_code)}
    events: tuple[tuple[Literal["error_code", "event"], str], ...] = tuple(
        ("event", name) for name in answer.unknown_events
    )
    return tuple(("error_code", code_family(code)) for code in codes) + events


def outcome_of(final: Assessment, end: End, attempts: Sequence[Attempt]) -> Outcome:
    """How the call ended for its caller; `final` is the assessment of the attempt that its caller got."""
    if final.result == "cancelled":
        return "abandoned" if end.how == "forgotten" else "cancelled"
    if final.result == "error":
        return "deadline" if end.kind == "deadline" else "error"
    if len(attempts) < 2:
        return "ok"
    return "rescued_fallback" if attempts[-1].target != attempts[0].target else "rescued_retry"
