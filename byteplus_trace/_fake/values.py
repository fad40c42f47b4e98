"""The values that the fake's modules exchange: a request, a reply, how it is delivered, what is remembered."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from .templates import document, dumps

ANSWER = "Hello! How can I help you today?"
REASONING = "The user greets me."

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    408: "RequestTimeout",
    409: "Conflict",
    413: "RequestEntityTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
"""The `type` of an error: the HTTP reason in camel case."""


@dataclass(frozen=True)
class Received:
    """A request as it arrived. The key itself is not kept, only which one it was."""

    method: str
    path: str
    """Under the base URL, such as `/chat/completions`; the whole path where it is not under one."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case; `authorization` is replaced by the name of the key."""
    body: bytes = field(repr=False)
    connection: int
    """From 1 in each region: the same number means the same connection."""
    region: str
    api: str
    """The row of the API table, such as `chat_completions`; `other` for none."""
    operation: str
    key: str | None
    """The name of the key, `any` where no keys are set, None where there was none or a wrong one."""
    id: str
    """The `x-request-id` it was answered with."""
    at_ms: int

    @cached_property
    def json(self) -> Any:
        """The body as JSON, None where it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def model(self) -> str | None:
        """The model it asks for, where it names one."""
        model = self.json.get("model") if isinstance(self.json, dict) else None
        return model if isinstance(model, str) else None

    @property
    def streams(self) -> bool:
        """Whether it asks for a stream."""
        return isinstance(self.json, dict) and bool(self.json.get("stream"))

    @property
    def created(self) -> int:
        """When it arrived, in seconds since the epoch, as replies state it."""
        return self.at_ms // 1000


@dataclass(frozen=True, slots=True)
class Document:
    """A body sent at once."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Stream:
    """A body sent event by event."""

    events: tuple[bytes, ...]
    content_type: str = "text/event-stream"


FakeReply = Document | Stream


@dataclass(frozen=True, slots=True)
class PlannedReply:
    """A reply and how to deliver it. Delays end early when the region recovers."""

    reply: FakeReply
    delay_headers: float = 0.0
    delay_first_event: float = 0.0
    delay_between: float = 0.0
    hang: bool = False
    """Wait before the headers until the region recovers."""
    leave: Literal["", "fin", "rst"] = ""
    """End the connection instead of answering."""
    raw: bytes | None = None
    """Bytes to send instead of any HTTP, and then close."""
    stop_after: int | None = None
    """Stop in the body after so many events (of a document: after half of it). `stop` names how."""
    stop: Literal["fin", "rst", "hang"] = "fin"


@dataclass(frozen=True, slots=True)
class Wording:
    """The values of the next replies; None means the usual one."""

    text: str | None = None
    reasoning: str | None = None
    usage: Mapping[str, Any] | None = None
    """As it stands on the wire, instead of the counted one."""
    finish_reason: str | None = None
    model: str | None = None
    fallback_from: str | None = None
    """The reply states that the service answered in place of this model."""
    arguments: str | None = None
    """Of a tool call, as JSON."""


@dataclass(slots=True)
class Memory:
    """What a region keeps between requests."""

    responses: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: dict[str, int] = field(default_factory=dict)
    """Tokens up to and with each stored response."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    contexts: dict[str, int] = field(default_factory=dict)
    """Tokens of each context."""
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))


class RefusedError(Exception):
    """The service answers with an error envelope."""

    def __init__(self, status: int, code: str, message: str, param: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param


def refusal(refused: RefusedError, request: Received, headers: tuple[tuple[str, str], ...] = ()) -> Document:
    """The error envelope, in the form of the API that was called."""
    body = document(
        "error.json",
        code=refused.code,
        message=f"{refused.message} Request id: {request.id}",
        param=refused.param,
        type=REASONS.get(refused.status, "Error"),
    )
    if request.api.startswith("messages"):
        body = b'{"type":"error",' + body[1:]
    return Document(body, refused.status, headers)


def error_event(code: str, message: str, number: int, request: Received) -> bytes:
    """An error as an event. Chat and images nest it; responses spread it over a numbered event."""
    short = {"code": code, "message": message}
    match request.api:
        case "responses":
            flat = {"type": "error", **short, "param": None, "sequence_number": number}
            return f"event: error\ndata: {dumps(flat)}\n\n".encode()
        case "images":
            return f"event: error\ndata: {dumps({'error': short})}\n\n".encode()
        case "messages":
            whole = {"type": "error", "error": {**short, "param": "", "type": "InternalServerError"}}
            return f"event: error\ndata: {dumps(whole)}\n\n".encode()
    whole = {"error": {**short, "param": "", "type": "InternalServerError"}}
    return f"data: {dumps(whole)}\n\n".encode()


def asked(request: Received) -> dict[str, Any]:
    """The request's JSON object without its nulls: the Ark SDKs send unset parameters as null."""
    body = request.json
    if not isinstance(body, dict):
        raise RefusedError(400, "InvalidParameter", "The request body is not a JSON object.")
    return {name: value for name, value in body.items() if value is not None}


def required(body: Mapping[str, Any], name: str) -> Any:
    """A parameter that has to be there."""
    if name not in body:
        raise RefusedError(
            400, f"MissingParameter.{name}", f"The required parameter {name} is missing.", name
        )
    return body[name]


def model_of(body: Mapping[str, Any], wording: Wording) -> str:
    """The model that answers: an endpoint's own model, else the one asked for."""
    model = wording.model or required(body, "model")
    return "seed-2-0-lite-260428" if model.startswith(("ep-", "bot-")) else str(model)


def service_status(wording: Wording) -> dict[str, Any]:
    """The field that names the model in whose place the service answered; empty where it answered with the one asked for."""
    if wording.fallback_from is None:
        return {}
    fallback = {"fallback_triggered": True, "original_model": wording.fallback_from}
    return {"service_status": {"model_fallback": fallback}}


def json_document(value: Any) -> Document:
    """A whole JSON body."""
    return Document(dumps(value).encode())
