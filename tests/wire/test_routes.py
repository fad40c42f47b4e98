"""Method and path choose the API, whatever stands before the path."""

from __future__ import annotations

import pytest

from byteplus_trace._wire.routes import ROUTES, match


@pytest.mark.parametrize(
    "base", ["/api/v3", "/api/coding/v3", "/api/plan/v3", "/api/coding", "", "/proxy/ark/v1"]
)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.pattern}")
def test_an_api_is_known_under_any_base(route, base):
    path = route.pattern.replace("{id}", "x-021")

    found = match(route.method, base + path)

    assert (route, path) == (found.route, found.suffix)
    assert ("x-021" if "{id}" in route.pattern else None) == found.resource_id


@pytest.mark.parametrize(
    ("method", "path", "operation", "api"),
    [
        ("POST", "/api/v3/chat/completions", "chat", "chat_completions"),
        ("POST", "/api/v3/context/chat/completions", "chat", "context_chat"),
        ("POST", "/api/v3/bots/chat/completions", "chat", "bot_chat"),
        ("POST", "/api/v3/batch/chat/completions", "chat", "batch_chat"),
        ("POST", "/api/v3/responses", "chat", "responses"),
        ("GET", "/api/v3/responses/resp_1", "fetch_response", "responses_get"),
        ("DELETE", "/api/v3/responses/resp_1", "other", "responses_delete"),
        ("GET", "/api/v3/responses/resp_1/input_items", "other", "responses_input_items"),
        ("POST", "/api/v3/embeddings", "embeddings", "embeddings"),
        ("POST", "/api/v3/embeddings/multimodal", "embeddings", "multimodal_embeddings"),
        ("POST", "/api/v3/batch/embeddings", "embeddings", "batch_embeddings"),
        ("POST", "/api/v3/batch/embeddings/multimodal", "embeddings", "batch_multimodal_embeddings"),
        ("POST", "/api/v3/images/generations", "generate_content", "images"),
        ("POST", "/api/v3/contents/generations/tasks", "generate_content", "video_task_create"),
        ("GET", "/api/v3/contents/generations/tasks/cgt-1", "other", "video_task_get"),
        ("GET", "/api/v3/contents/generations/tasks", "other", "video_task_list"),
        ("DELETE", "/api/v3/contents/generations/tasks/cgt-1", "other", "video_task_delete"),
        ("POST", "/api/coding/messages", "chat", "messages"),
        ("POST", "/api/coding/messages/count_tokens", "other", "messages_count_tokens"),
        ("POST", "/api/v3/tokenization", "other", "tokenization"),
        ("POST", "/api/v3/classification", "other", "classification"),
        ("POST", "/api/v3/context/create", "other", "context_create"),
        ("POST", "/api/v3/files", "other", "files"),
        ("GET", "/api/v3/files/file-1/content", "other", "files"),
        ("GET", "/api/v3/models", "other", "models"),
        ("GET", "/ping", "other", "ping"),
    ],
)
def test_each_api_has_its_operation(method, path, operation, api):
    route = match(method, path).route

    assert (operation, api) == (route.operation, route.api)


@pytest.mark.parametrize(
    ("method", "path", "suffix"),
    [
        ("POST", "/api/v3/images/edits", "/images/edits"),
        ("GET", "/api/v3/chat/completions", "/chat/completions"),
        ("POST", "/api/coding/v3/audio/speech", "/audio/speech"),
        ("PATCH", "/somewhere/else", "/somewhere/else"),
        ("POST", "/api/v3/chat/completions\n", "/chat/completions\n"),
        ("POST", "/api/v3/my-chat/completions", "/my-chat/completions"),
        ("GET", "", ""),
    ],
)
def test_what_is_not_in_the_table_is_other(method, path, suffix):
    assert ("other", suffix, None) == (match(method, path).route.api, match(method, path).suffix, None)


@pytest.mark.parametrize(
    ("method", "path", "resource_id"),
    [
        ("HEAD", "/api/v3/responses/resp_1", "resp_1"),
        ("POST", "/api/v3/responses/resp_1/cancel", "resp_1"),
        ("POST", "/api/v3/responses/resp%2F1/cancel/", "resp/1"),
        ("HEAD", "/api/v3/contents/generations/tasks/cgt-1", "cgt-1"),
        ("HEAD", "/api/v3/files/file-1/content", "file-1"),
        ("POST", "/api/v3/responses/compact", None),
        ("HEAD", "/api/v3/responses", None),
    ],
)
def test_what_is_other_may_be_asked_of_an_object_too(method, path, resource_id):
    assert ("other", resource_id) == (match(method, path).route.api, match(method, path).resource_id)


def test_a_trailing_slash_changes_nothing():
    assert match("POST", "/api/v3/responses") == match("POST", "/api/v3/responses/")


def test_an_escape_in_a_path_separates_nothing():
    found = match("GET", "/api/v3/models/a%2Fb%3Fc")

    assert ("models", "/models/a%2Fb%3Fc", "a/b?c") == (found.route.api, found.suffix, found.resource_id)


def test_a_download_is_not_read():
    assert match("GET", "/api/v3/files/file-1/content").route.family is None
