"""
A request becomes a plan: the route table, who may call, and what the reply is.

Pure but for what a region remembers (`Memory`) and its faults (`Script`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from .._regions import prefix_of
from . import chat, embeddings, files, images, messages, plain, responses, tasks
from .faults import Script, instead, spoilt
from .values import Document, Memory, Plan, Received, RefusedError, Reply, Wording, refusal

Answering = Callable[[Received, Memory, Wording], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: re.Pattern[str]
    api: str
    operation: str
    answering: Answering


def _route(method: str, path: str, api: str, operation: str, answering: Answering) -> Route:
    return Route(method, re.compile(path.replace("{id}", "[^/]+")), api, operation, answering)


ROUTES = (
    _route("POST", "/chat/completions", "chat_completions", "chat", chat.chat),
    _route("POST", "/context/chat/completions", "context_chat", "chat", chat.chat),
    _route("POST", "/bots/chat/completions", "bot_chat", "chat", chat.chat),
    _route("POST", "/batch/chat/completions", "batch_chat", "chat", chat.chat),
    _route("POST", "/responses", "responses", "chat", responses.create),
    _route("GET", "/responses/{id}", "responses_get", "fetch_response", responses.get),
    _route("DELETE", "/responses/{id}", "responses_delete", "other", responses.delete),
    _route("GET", "/responses/{id}/input_items", "responses_input_items", "other", responses.input_items),
    _route("POST", "/embeddings", "embeddings", "embeddings", embeddings.embeddings),
    _route("POST", "/batch/embeddings", "batch_embeddings", "embeddings", embeddings.embeddings),
    _route("POST", "/embeddings/multimodal", "multimodal_embeddings", "embeddings", embeddings.multimodal),
    _route(
        "POST",
        "/batch/embeddings/multimodal",
        "batch_multimodal_embeddings",
        "embeddings",
        embeddings.multimodal,
    ),
    _route("POST", "/images/generations", "images", "generate_content", images.images),
    _route("POST", "/contents/generations/tasks", "video_task_create", "generate_content", tasks.create),
    _route("GET", "/contents/generations/tasks", "video_task_list", "other", tasks.list_),
    _route("GET", "/contents/generations/tasks/{id}", "video_task_get", "other", tasks.get),
    _route("DELETE", "/contents/generations/tasks/{id}", "video_task_delete", "other", tasks.delete),
    _route("POST", "/messages", "messages", "chat", messages.messages),
    _route("POST", "/messages/count_tokens", "messages_count_tokens", "other", messages.count_tokens),
    _route("POST", "/context/create", "context_create", "other", chat.create_context),
    _route("POST", "/tokenization", "tokenization", "other", plain.tokenization),
    _route("POST", "/files", "files", "other", files.create),
    _route("GET", "/files", "files", "other", files.list_),
    _route("GET", "/files/{id}", "files", "other", files.get),
    _route("GET", "/files/{id}/content", "files", "other", files.content),
    _route("DELETE", "/files/{id}", "files", "other", files.delete),
    _route("POST", "/classification", "classification", "other", plain.classification),
    _route("POST", "/e2e/get/certificate", "e2e_certificate", "other", plain.certificate),
    _route("GET", "/e2e/get/certificate", "e2e_certificate", "other", plain.certificate),
    _route("GET", "/models", "models", "other", plain.models),
    _route("GET", "/ping", "ping", "other", plain.ping),
)

_UNKNOWN = Route("", re.compile(""), "other", "other", plain.unknown)


@dataclass(slots=True)
class Region:
    """One region as the handler knows it."""

    name: str
    keys: Mapping[str, str] = field(default_factory=dict)
    """Name to secret; with none, every key is accepted."""
    serves: tuple[str, ...] = ("*",)
    """Patterns of the models that are here."""
    vague: bool = False
    """Answer a path that the service does not have with an empty 200."""
    script: Script = field(default_factory=Script)
    memory: Memory = field(default_factory=Memory)


def under_base(path: str) -> str:
    """The path under the base URL; the whole one where it is under none."""
    prefix = prefix_of(path)
    if prefix is None:
        return path
    below = path[len(prefix.path) :]
    # Anthropic's SDK puts its version between the base and the path.
    return below.removeprefix("/v1") if prefix.form == "anthropic" and below.startswith("/v1/") else below


def route_of(method: str, path: str) -> Route:
    """The row of the table for a path under the base URL."""
    for route in ROUTES:
        if route.method == method and route.path.fullmatch(path):
            return route
    return _UNKNOWN


def key_of(authorization: str | None, keys: Mapping[str, str]) -> str | None:
    """Which key was sent: its name, `any` where no keys are set, None where there was none or a wrong one."""
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        return None
    if not keys:
        return "any"
    return next((name for name, known in keys.items() if known == secret.strip()), None)


def plan(request: Received, route: Route, region: Region) -> Plan:
    """What to answer a request, and how to deliver it."""
    ending, delays = region.script.faults(request)
    reply = instead(ending, request) or _reply(request, route, region)
    if request.method == "HEAD" and isinstance(reply, Document):
        reply = replace(reply, body=b"")
    slow = Plan(
        reply,
        delay_headers=sum(d.headers for d in delays),
        delay_first_event=sum(d.first_event for d in delays),
        delay_between=sum(d.between for d in delays),
    )
    return spoilt(slow, ending, request)


def _reply(request: Received, route: Route, region: Region) -> Reply:
    try:
        if route is _UNKNOWN and region.vague:
            return Document(b"")
        _check_key(request)
        _check_model(request, region)
        return route.answering(request, region.memory, region.script.wording(request))
    except RefusedError as refused:
        coded = (("x-error-code", "AuthN_MissOrInvalidAuthorizationHeader"),) if refused.status == 401 else ()
        return refusal(refused, request, coded)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        unread = RefusedError(400, "InvalidParameter", f"The request cannot be read: {error!r}.")
        return refusal(unread, request)


def _check_key(request: Received) -> None:
    if request.key is None:
        message = "the API key or AK/SK in the request is missing or invalid."
        raise RefusedError(401, "AuthenticationError", message)


def _check_model(request: Received, region: Region) -> None:
    model = request.model
    if model is None:
        return
    here = any(fnmatch.fnmatchcase(model, pattern) for pattern in region.serves)
    # Doubao is Volcengine's name for these models; ModelArk does not know it.
    if model.startswith("doubao-") or not here:
        raise RefusedError(
            404,
            "InvalidEndpointOrModel.NotFound",
            f"The model or endpoint {model} does not exist or you do not have access to it.",
        )
