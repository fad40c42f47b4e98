"""
What there is to know about one ModelArk call, as values.

A request becomes a `Call`; each send of it an `Attempt`; what the body holds an
`Answer`; all of it, with its times and its estimated cost, an `Exchange`. They are
frozen, compute nothing and know no library, so every reader, rule and sink can be
tested with literals.

They are msgspec structs because one takes an eighth of the instructions of a frozen dataclass to make and
they are made on every call; `msgspec.structs.asdict` and `msgspec.json.encode` read them.
What may hold content or an echo of it does not show itself in a `repr`.

Times are two kinds: `*_ns` are nanoseconds since the epoch, as spans want them;
`*_seconds` are differences of a monotonic clock, as histograms want them. `None`
means "not known", never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

FailureKind = Literal["connect", "pool", "timeout", "idle", "reset", "deadline", "cancelled", "other"]
"""What an HTTP library's exception means."""
Operation = Literal["chat", "embeddings", "generate_content", "fetch_response", "other"]
Outcome = Literal["ok", "rescued_retry", "rescued_fallback", "error", "deadline", "cancelled", "abandoned"]
Result = Literal["ok", "error", "cancelled"]
Cause = Literal["initial", "retry", "fallback", "probe"]
Reason = Literal[
    "none",
    "connect",
    "timeout",
    "reset",
    "rate_limit",
    "quota",
    "overloaded",
    "server_error",
    "auth",
    "model_unavailable",
    "bad_request",
    "moderation",
    "stream_error",
    "empty",
    "cut",
    "idle",
]
SkipReason = Literal[
    "breaker_open", "cooldown", "dead_credential", "operation", "model", "zone", "encrypted", "signed"
]
Duplicate = Literal["raised", "replayed", "sdk_resend"]


class Content(msgspec.Struct, frozen=True):
    """
    Prompts and answers, in the message schema of the GenAI conventions; only where content capture is on.

    Each field is a JSON-ready list, media replaced by size and hash.
    """

    messages: list[dict[str, Any]] = []
    system_instructions: list[dict[str, Any]] = []
    tool_definitions: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        return "Content(...)"


class Call(msgspec.Struct, frozen=True):
    """What a request turned out to be."""

    operation: Operation
    api: str
    """The row of the API table, such as `chat_completions`: `byteplus.modelark.api`."""
    method: str
    url: str
    """Without query and credentials."""
    host: str
    port: int
    path: str
    """The suffix that chose the API, such as `/chat/completions`, ids included."""
    region: str
    """The region addressed; `unknown` for a place that stands for none."""
    provider: str = "byteplus.modelark"
    model: str | None = None
    """As the caller wrote it."""
    stream: bool = False
    params: Mapping[str, Any] = {}
    """Request parameters that were set, under ModelArk's names; never content."""
    metadata: Mapping[str, str] = {}
    resource_id: str | None = None
    """The response, task or file that the path names."""
    client_request_id: str | None = None
    sdk_retry: int = 0
    """How often the SDK above has already sent this: `x-stainless-retry-count`."""
    content: Content | None = None


class Usage(msgspec.Struct, frozen=True):
    """
    Tokens as counted by the service.

    Input includes cache reads and writes, and output includes reasoning, as the GenAI
    conventions ask; the other fields are subsets and are never added to them.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    reasoning_tokens: int | None = None
    text_input_tokens: int | None = None
    image_input_tokens: int | None = None
    audio_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    """The part of the input that was written to a cache."""


class Images(msgspec.Struct, frozen=True):
    """What an image call made. `output_tokens` is an area measure, not language tokens."""

    generated: int = 0
    failed: int = 0
    output_tokens: int | None = None
    size: str | None = None
    """The size of the first image, as the service wrote it."""


class WireError(msgspec.Struct, frozen=True):
    """An error in ModelArk's envelope, wherever it stood."""

    code: str | None = None
    """Whole, such as `RateLimitExceeded.EndpointRPMExceeded`."""
    type: str | None = None
    request_id: str | None = None
    message: str | None = None
    """May echo what was sent: recorded only where content capture is on. Cut as any text is."""

    def __repr__(self) -> str:
        return f"WireError(code={self.code!r}, type={self.type!r}, request_id={self.request_id!r})"


class Answer(msgspec.Struct, frozen=True):
    """What the body holds, as far as it was read."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    """Of each choice; `error` where it was begun and never got one."""
    usage: Usage | None = None
    images: Images | None = None
    error: WireError | None = None
    complete: bool = False
    """The body showed that it was whole: a terminal event, a finish reason, or a document that parsed."""
    service_tier: str | None = None
    server_fallback: str | None = None
    """The model asked for, where the service itself answered with another: `service_status.model_fallback`."""
    task_id: str | None = None
    status: str | None = None
    """Of a response or a task: `completed`, `succeeded`, `failed`."""
    content: Content | None = None
    unknown_events: tuple[str, ...] = ()
    """The types of the events in a stream that this version does not know; at most 64."""


class Sending(msgspec.Struct, frozen=True):
    """An attempt as it begins: the fields of `Attempt` that are known by then."""

    number: int
    target: str
    region: str
    host: str
    port: int
    url: str
    cause: Cause = "initial"
    waited_seconds: float = 0.0


class Attempt(msgspec.Struct, frozen=True):
    """One send to one target."""

    number: int
    """From 1; `http.request.resend_count` is one less."""
    target: str
    """The policy's name for it; without a policy the region."""
    region: str
    host: str
    port: int
    url: str
    cause: Cause
    started_ns: int
    duration_seconds: float
    result: Result
    reason: Reason = "none"
    status: int | None = None
    error_type: str | None = None
    error_code: str | None = None
    request_id: str | None = None
    upstream_ms: int | None = None
    waited_seconds: float = 0.0
    """How long the plan waited before this send."""
    unreachable: str | None = None
    """Why no connection could be made, as the system reports it, such as `Connection refused`."""


class Skip(msgspec.Struct, frozen=True):
    """A target that was passed over, and why."""

    target: str
    reason: SkipReason
    region: str = ""
    """The target's."""


class Exchange(msgspec.Struct, frozen=True):
    """One call, its attempts and its result. Complete before any sink sees it."""

    call: Call
    """What was asked."""
    attempts: tuple[Attempt, ...]
    """Every send, in order; empty where nothing could be sent."""
    answer: Answer
    """What the body holds that the caller got."""
    outcome: Outcome
    """How the call ended for its caller, one of a closed set."""
    started_ns: int
    """When the call was made, in nanoseconds since the epoch."""
    duration_seconds: float
    """To the end of the body, waits and every attempt included."""
    status: int | None = None
    """Of the response that the caller got; None where there was an exception instead."""
    error_type: str | None = None
    """ModelArk's code up to its first dot, else the status, else the exception's class name."""
    reason: Reason = "none"
    """Why it failed, one of a closed set."""
    first_chunk_seconds: float | None = None
    """To the first event that carries output, reasoning included."""
    first_answer_seconds: float | None = None
    """To the first visible text, after any reasoning."""
    last_chunk_seconds: float | None = None
    """To the last event that carries output."""
    chunks: int = 0
    """Events that carried output."""
    target: str = ""
    """The target that served, else the last one tried; without a policy the region."""
    region: str = ""
    """Its region."""
    host: str = ""
    """Its host."""
    port: int = 0
    """Its port."""
    request_id: str | None = None
    """The service's `x-request-id`, which its support asks for."""
    upstream_ms: int | None = None
    """The service's own share of the time, where it says so."""
    skipped: tuple[Skip, ...] = ()
    """The targets that were passed over, and why."""
    fallback_from: str | None = None
    """Of a call that moved, the first target that did not serve it."""
    fallback_reason: Reason | None = None
    """Why it moved from there."""
    duplicate: Duplicate | None = None
    """A second charge avoided (`raised`), risked (`replayed`), or likely made by the SDK above (`sdk_resend`)."""
    cost_usd: Decimal | None = None
    """An estimate from the dated price table."""
    task_ended: str | None = None
    """How a generation task ended (`succeeded`, `failed`, `expired`, `cancelled`), on the first call that sees it."""
    unknown: tuple[tuple[Literal["error_code", "event"], str], ...] = ()
    """The error codes and stream events that this version does not know. Please report them."""

    def __repr__(self) -> str:
        name = self.call.operation if self.call.model is None else f"{self.call.operation} {self.call.model}"
        count = len(self.attempts)
        # What cannot be printed, or is longer than a name is, is the caller's: escaped and cut.
        return (
            f"<Exchange {repr(name[:80])[1:-1]}: {self.outcome} after {self.duration_seconds * 1000:,.0f} ms, "
            f"{count} attempt{'' if count == 1 else 's'}, {self.target[:80]!r}>"
        )

    def _repr_html_(self) -> str:
        """The tree of the call, for a notebook; without content."""
        from ._telemetry.console import html

        return html(self)
