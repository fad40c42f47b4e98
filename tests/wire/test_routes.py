"""Method and path choose the API, whatever stands before the path."""

from __future__ import annotations

import pytest

from byteplus_trace._apis import APIS
from byteplus_trace._wire.families import family_of
from byteplus_trace._wire.routes import match


@pytest.mark.parametrize(
    "base", ["/api/v3", "/api/coding/v3", "/api/plan/v3", "/api/coding", "", "/proxy/ark/v1"]
)
@pytest.mark.parametrize("api", APIS, ids=lambda api: f"{api.method} {api.pattern}")
def test_an_api_is_known_under_any_base(api, base):
    path = api.pattern.replace("{id}", "x-021")

    found = match(api.method, base + path)

    assert (api, path) == (found.api, found.suffix)
    assert ("x-021" if "{id}" in api.pattern else None) == found.resource_id


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
    assert ("other", suffix, None) == (match(method, path).api.name, match(method, path).suffix, None)


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
    assert ("other", resource_id) == (match(method, path).api.name, match(method, path).resource_id)


def test_a_trailing_slash_changes_nothing():
    assert match("POST", "/api/v3/responses") == match("POST", "/api/v3/responses/")


def test_an_escape_in_a_path_separates_nothing():
    found = match("GET", "/api/v3/models/a%2Fb%3Fc")

    assert ("models", "/models/a%2Fb%3Fc", "a/b?c") == (found.api.name, found.suffix, found.resource_id)


def test_a_download_is_not_read():
    assert family_of(match("GET", "/api/v3/files/file-1/content").api) is None
