"""
The words that a plan and the edge speak.

A plan yields a step and is sent its result. The edge performs steps and knows no
rule; the plan knows rules and neither a clock, a socket nor a library.

    Send     ->  Reply | Failure        one request to one target, up to its response headers
    Peek     ->  Peeked | Failure       more of the reply just received, before any of it is handed on
    Wait     ->  None                   sleep
    Keep     ->  None                   read the reply just received to its end and set it aside: it may be the last word
    Discard  ->  None                   close the reply just received, unread

A plan returns `Deliver`: hand on the reply in hand (what was peeked first, then the
rest), or an earlier one that was kept, or raise.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from .._facts import Cause, FailureKind, Reason, Skip


class Send(msgspec.Struct, frozen=True):
    """Send the call to a target."""

    target: str
    region: str
    base_url: str | None
    """Where the target is; None: where the caller addressed the request."""
    cause: Cause
    number: int
    """From 1, over the whole call."""
    path: str = ""
    """What follows `base_url`."""
    model: str | None = None
    """The model to write into the body; None: the caller's own."""
    override_params: Mapping[str, Any] = msgspec.field(default_factory=dict)
    api_key: str | None = None
    """The credential to send; None: the caller's own."""
    timeout_seconds: float | None = None
    """The most that this attempt may take to its response headers; None: only the caller's timeouts."""
    share_seconds: float | None = None
    """The most that it may take to the end of a refusal's body too."""
    waited_seconds: float = 0.0
    skipped: tuple[Skip, ...] = ()
    """Targets passed over since the last send."""
    replays: bool = False
    """The copy before this one may have run: a second charge is risked."""
    idle_seconds: float | None = None
    """The longest silence of a stream; None: as the caller's own timeouts say."""

    def __repr__(self) -> str:
        """Without the credential: reports of crashes show what a frame held."""
        return f"Send(target={self.target!r}, cause={self.cause!r}, number={self.number})"


class Peek(msgspec.Struct, frozen=True):
    """
    Look at the body before anything is handed on.

    Of a stream: read until its first output, an error, its end, 64 events or 256 KiB.
    Of a document: read it whole, up to 32 MiB. What was read is kept and delivered
    byte for byte.
    """

    timeout_seconds: float | None = None


class Wait(msgspec.Struct, frozen=True):
    seconds: float
    source: Literal["backoff", "retry-after"]
    target: str
    reason: Reason


class Discard(msgspec.Struct, frozen=True):
    """Close the reply in hand; another send follows."""


class Keep(msgspec.Struct, frozen=True):
    """Set the reply in hand aside, read whole and closed, as the one to deliver if all else fails."""


Step = Send | Peek | Wait | Discard | Keep


class Reply(msgspec.Struct, frozen=True):
    """Response headers, and of a status of 400 or more the error too."""

    status: int
    code: str | None = None
    """ModelArk's `error.code`, whole; only for a status of 400 or more."""
    retry_after_seconds: float | None = None
    """`retry-after-ms`, or `retry-after` in seconds or as a date, already a wait from now."""
    streaming: bool = False
    """It is a `text/event-stream`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The HTTP library raised. `reached`: the server may have seen the request."""

    kind: FailureKind
    reached: bool
    stale_connection: bool = False
    """A reused idle connection died with no byte of a reply: the server closed it before it saw us."""
    error: BaseException | None = field(default=None, compare=False, repr=False)
    is_counted: bool = False
    """Another call on the same connection has reported its loss: the target failed once."""


class Peeked(msgspec.Struct, frozen=True):
    """What the held part of a body showed."""

    output: bool = False
    """Output began (or the limits of holding were met): from here on nothing may be switched."""
    failed: bool = False
    """An error stood in it; `code` is its code, if it had one."""
    code: str | None = None
    empty: bool = False
    """It ended, and nothing was in it."""


Result = Reply | Failure | Peeked | None


class Deliver(msgspec.Struct, frozen=True):
    """
    How the call ends for the caller.

    `kept` hands on the reply that a `Keep` set aside instead of the one in hand;
    `failure` raises its error instead (of kind `deadline`: the HTTP library's own
    `ReadTimeout`, chained to it).
    """

    served: bool = False
    """The target counts as one that answered. What its reply turns out to be may still take that back."""
    kept: bool = False
    failure: Failure | None = None
    skipped: tuple[Skip, ...] = ()
    spared: bool = False
    """The call ends here although another target remained, because the last copy may have run: a second charge is avoided."""
    final: bool = False
    """The plan has nothing left to try: SDKs above are asked not to try again (`x-should-retry: false`)."""
    attempts: int = 0
    """Sends of this call, those before an SDK's resend included."""
    deadline_at: float | None = None
    """On the plan's clock."""


Plan = Generator[Step, Result, Deliver]
