"""
What each API of ModelArk is: one table, which every other part reads.

Source: ModelArk's API reference (docs 1494384, 1541595, 1544106, 1521766 and their neighbours, 2026-11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._facts import Operation

Kind = Literal["chat", "messages", "responses", "embeddings", "images", "video", "other"]
"""What a policy's `only` and `replay` name."""

FamilyName = Literal[
    "chat", "responses", "fetched", "messages", "images", "embeddings", "tasks",
    "plain", "lists", "tokens", "labels", "counts", "unlisted",
]  # fmt: skip
"""How the requests and the replies of an API are read."""


@dataclass(frozen=True, slots=True)
class Api:
    """One method and path of ModelArk."""

    method: str
    pattern: str
    """The end of the path; `{id}` stands for one segment."""
    operation: Operation
    name: str
    """The value of `byteplus.modelark.api`. Several rows may share one."""
    kind: Kind
    family: FamilyName | None
    """None for a download, whose bytes are only counted."""
    makes_object: bool = False
    """Its reply names an object that lives where it was made."""
    output_type: str | None = None
    """OpenTelemetry's `gen_ai.output.type`, where the API alone decides it."""
    streams: bool = False
    batch: bool = False
    """Billed at the price of a batch."""
    usage_on_request: bool = False
    """A stream carries its usage only where `stream_options.include_usage` asks for it."""


def _chat(pattern: str, name: str, *, batch: bool = False) -> Api:
    return Api(
        "POST", pattern, "chat", name, "chat", "chat", streams=True, batch=batch, usage_on_request=True
    )


def _embeddings(pattern: str, name: str, *, batch: bool = False) -> Api:
    return Api("POST", pattern, "embeddings", name, "embeddings", "embeddings", batch=batch)


def _other(
    method: str,
    pattern: str,
    name: str,
    kind: Kind = "other",
    family: FamilyName = "plain",
    *,
    makes_object: bool = False,
) -> Api:
    return Api(method, pattern, "other", name, kind, family, makes_object=makes_object)


# A longer pattern stands before its own end.
APIS: tuple[Api, ...] = (
    _chat("/context/chat/completions", "context_chat"),
    _chat("/bots/chat/completions", "bot_chat"),
    _chat("/batch/chat/completions", "batch_chat", batch=True),
    _chat("/chat/completions", "chat_completions"),
    _other("GET", "/responses/{id}/input_items", "responses_input_items", "responses", "lists"),
    Api("GET", "/responses/{id}", "fetch_response", "responses_get", "responses", "fetched"),
    _other("DELETE", "/responses/{id}", "responses_delete", "responses"),
    Api("POST", "/responses", "chat", "responses", "responses", "responses", makes_object=True, streams=True),
    _embeddings("/batch/embeddings/multimodal", "batch_multimodal_embeddings", batch=True),
    _embeddings("/batch/embeddings", "batch_embeddings", batch=True),
    _embeddings("/embeddings/multimodal", "multimodal_embeddings"),
    _embeddings("/embeddings", "embeddings"),
    Api("POST", "/images/generations", "generate_content", "images", "images", "images", output_type="image", streams=True),
    Api(
        "POST", "/contents/generations/tasks", "generate_content", "video_task_create", "video", "tasks",
        makes_object=True, output_type="video",
    ),
    _other("GET", "/contents/generations/tasks", "video_task_list", "video", "lists"),
    Api("GET", "/contents/generations/tasks/{id}", "other", "video_task_get", "video", "tasks"),
    _other("DELETE", "/contents/generations/tasks/{id}", "video_task_delete", "video"),
    _other("POST", "/messages/count_tokens", "messages_count_tokens", "messages", "counts"),
    Api("POST", "/messages", "chat", "messages", "messages", "messages", streams=True),
    _other("POST", "/tokenization", "tokenization", family="tokens"),
    _other("POST", "/classification", "classification", family="labels"),
    # The chats that follow are sent to the target that made the context.
    _other("POST", "/context/create", "context_create", "chat", makes_object=True),
    Api("GET", "/files/{id}/content", "other", "files", "other", None),
    _other("GET", "/files/{id}", "files"),
    _other("DELETE", "/files/{id}", "files"),
    _other("GET", "/files", "files", family="lists"),
    _other("POST", "/files", "files", makes_object=True),
    _other("GET", "/models", "models", family="lists"),
    _other("GET", "/models/{id}", "models"),
    Api("GET", "/e2e/get/certificate", "other", "e2e_certificate", "other", "unlisted"),
    Api("POST", "/e2e/get/certificate", "other", "e2e_certificate", "other", "unlisted"),  # as the SDKs ask for it
    Api("GET", "/ping", "other", "ping", "other", "unlisted"),
)  # fmt: skip

OTHER = Api("*", "", "other", "other", "other", "unlisted")

BY_NAME: dict[str, Api] = {api.name: api for api in (*reversed(APIS), OTHER)}
"""The first row of each name. Operation, kind, output type and batch are the same for all rows of a name."""

MAKE_OBJECTS = frozenset(api.name for api in APIS if api.makes_object)
OBJECT_KINDS: dict[str, Kind] = {
    f"{api.pattern}/": api.kind for api in APIS if api.makes_object and api.pattern != "/context/create"
}
"""The kind of what is asked of an object in a form that is not in the table, by the path above its id."""
