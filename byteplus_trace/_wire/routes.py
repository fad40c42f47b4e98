"""
One table that maps method and path to an API.

Paths are matched by their end, because the prefix differs by plan (`/api/v3`,
`/api/coding/v3`, `/api/plan/v3`) and a proxy may have any. Adding an API is one row here
and, where no reader fits, one reader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import unquote

from .._facts import Operation
from .families import Family, chat, embeddings, fetched, images, messages, plain, responses, tasks


@dataclass(frozen=True, slots=True)
class Route:
    """One API. `family` is None for a download, which is only counted."""

    method: str
    pattern: str
    """Of the path's end; `{id}` stands for one segment."""
    operation: Operation
    api: str
    family: Family | None


def _row(method: str, pattern: str, operation: str, api: str, family: Family | None) -> Route:
    return Route(method, pattern, cast(Operation, operation), api, family)


# A longer pattern stands before its own end.
ROUTES = (
    _row("POST", "/context/chat/completions", "chat", "context_chat", chat),
    _row("POST", "/bots/chat/completions", "chat", "bot_chat", chat),
    _row("POST", "/batch/chat/completions", "chat", "batch_chat", chat),
    _row("POST", "/chat/completions", "chat", "chat_completions", chat),
    _row("GET", "/responses/{id}/input_items", "other", "responses_input_items", plain),
    _row("GET", "/responses/{id}", "fetch_response", "responses_get", fetched),
    _row("DELETE", "/responses/{id}", "other", "responses_delete", plain),
    _row("POST", "/responses", "chat", "responses", responses),
    _row("POST", "/batch/embeddings/multimodal", "embeddings", "batch_multimodal_embeddings", embeddings),
    _row("POST", "/batch/embeddings", "embeddings", "batch_embeddings", embeddings),
    _row("POST", "/embeddings/multimodal", "embeddings", "multimodal_embeddings", embeddings),
    _row("POST", "/embeddings", "embeddings", "embeddings", embeddings),
    _row("POST", "/images/generations", "generate_content", "images", images),
    _row("POST", "/contents/generations/tasks", "generate_content", "video_task_create", tasks),
    _row("GET", "/contents/generations/tasks", "other", "video_task_list", plain),
    _row("GET", "/contents/generations/tasks/{id}", "other", "video_task_get", tasks),
    _row("DELETE", "/contents/generations/tasks/{id}", "other", "video_task_delete", plain),
    _row("POST", "/messages/count_tokens", "other", "messages_count_tokens", plain),
    _row("POST", "/messages", "chat", "messages", messages),
    _row("POST", "/tokenization", "other", "tokenization", plain),
    _row("POST", "/classification", "other", "classification", plain),
    _row("POST", "/context/create", "other", "context_create", plain),
    _row("GET", "/files/{id}/content", "other", "files", None),  # a download
    _row("GET", "/files/{id}", "other", "files", plain),
    _row("DELETE", "/files/{id}", "other", "files", plain),
    _row("GET", "/files", "other", "files", plain),
    _row("POST", "/files", "other", "files", plain),
    _row("GET", "/models", "other", "models", plain),
    _row("GET", "/models/{id}", "other", "models", plain),
    _row("GET", "/e2e/get/certificate", "other", "e2e_certificate", None),
    _row("POST", "/e2e/get/certificate", "other", "e2e_certificate", None),  # as the SDKs ask for it
    _row("GET", "/ping", "other", "ping", None),
)

# BytePlus answers a path that it does not know with an empty 200, so nothing is made of its body.
OTHER = Route("*", "", "other", "other", None)


class Match(NamedTuple):
    """The route of a request, the end of its path that chose it, as it was written, and the object that it names."""

    route: Route
    suffix: str
    resource_id: str | None


def _compiled(route: Route) -> re.Pattern[str]:
    pattern = re.escape(route.pattern).replace(re.escape("{id}"), "(?P<id>[^/]+)")
    return re.compile(rf"(?P<suffix>{pattern})/?\Z")


_COMPILED = tuple((route, _compiled(route)) for route in ROUTES)
# A request for an object that is not in the table, such as `HEAD`, or `POST /responses/{id}/cancel`.
_OBJECT = re.compile(r"/(?:responses|contents/generations/tasks|files)/(?P<id>[^/]+)(?P<below>/[^/]+)?/?\Z")
# The base of a public host's URL; what follows it is the path of an API that is not in the table.
_BASE = re.compile(r"/api(?:/coding|/plan)?(?:/v\d+)?(?=/)")


@lru_cache(maxsize=1024)
def match(method: str, path: str, prefix: str = "") -> Match:
    """The API of a request; `other` for one that is not in the table: what follows the `prefix`, of a public host its base."""
    for route, pattern in _COMPILED:
        if route.method == method:
            found = pattern.search(path)
            if found is not None:
                return Match(route, found["suffix"], _unquoted(found.groupdict().get("id")))
    found = _OBJECT.search(path)
    # The segment right after is an action and no id in a POST, such as `POST /responses/compact`.
    named = found["id"] if found is not None and (found["below"] or method != "POST") else None
    if prefix:
        return Match(OTHER, path.removeprefix(prefix.rstrip("/")), _unquoted(named))
    base = _BASE.match(path)
    return Match(OTHER, path[base.end() :] if base is not None else path, _unquoted(named))


def _unquoted(named: str | None) -> str | None:
    return unquote(named) if named is not None else None
