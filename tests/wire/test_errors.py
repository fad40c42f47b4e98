"""An error is read from any envelope."""

from __future__ import annotations

import json

import pytest

from byteplus_trace._facts import WireError
from byteplus_trace._wire.errors import code_family, read_error


def read(content):
    return read_error(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("name", "code", "type_", "request_id"),
    [
        ("401_byteplus_bad_key", "AuthenticationError", "Unauthorized", None),
        ("404_byteplus_model_not_open", "ModelNotOpen", "Not Found", "0217856889436799"),
        (
            "400_responses_unknown_field",
            "InvalidParameter",
            "BadRequest",
            "021789705923845cb4471f0f910e4739f2e6b993dd0a535411e1c",
        ),
        (
            "403_volc_account_overdue",
            "AccountOverdueError",
            "Forbidden",
            "021772595465799ac0bcbc752110fbf2c27fa1f8ec822a9614647",
        ),
    ],
)
def test_recorded_errors(recorded, name, code, type_, request_id):
    body = json.loads(recorded("error_bodies.json"))[name]["body"]

    error = read(body)

    assert (code, type_, request_id) == (error.code, error.type, error.request_id)
    assert body["error"]["message"] == error.message


@pytest.mark.parametrize(
    ("content", "code", "type_", "message"),
    [
        ({"error": {"code": "ServerOverloaded", "message": "m"}}, "ServerOverloaded", None, "m"),
        ({"error": {"type": "TooManyRequests"}}, "TooManyRequests", "TooManyRequests", None),
        ({"error": {"code": 100018, "message": "m"}}, "100018", None, "m"),
        ({"error": "no such thing"}, None, None, "no such thing"),
        ({"error": "Forbidden", "code": "C", "message": "m"}, "C", None, "m"),
        ({"error": ["what"]}, None, None, None),
        ({"error": True}, None, None, None),
        ({"type": "error", "code": "InvalidParameter", "message": "m"}, "InvalidParameter", "error", "m"),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
            "overloaded_error",
            "overloaded_error",
            "m",
        ),
        ({"error_code": "100013", "error_msg": "m"}, "100013", None, "m"),
        ({"error_code": 100013, "error_msg": "m"}, "100013", None, "m"),
        ({"ResponseMetadata": {"Error": {"Code": "SignatureDoesNotMatch", "Message": "m"}}}, "SignatureDoesNotMatch", None, "m"),
        ({"ResponseMetadata": {"Error": "?"}}, None, None, None),
        ({"code": "NotFound", "message": "m"}, "NotFound", None, "m"),
        ({"error": {"code": "", "message": None}}, None, None, None),
        ({"error": {"code": {"a": 1}, "type": 5, "message": 7}}, None, None, None),
        ({"error": {"code": True}}, None, None, None),
    ],
)  # fmt: skip
def test_every_envelope_is_understood(content, code, type_, message):
    assert WireError(code=code, type=type_, message=message) == read(content)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"error": None},
        {"error": {}},
        {"error_code": 0},
        {"id": "x"},
        {"message": "m"},
        {"ResponseMetadata": {"RequestId": "1"}},
        {"ResponseMetadata": None},
        [],
        "error",
        None,
    ],
)
def test_a_body_without_an_error_has_none(content):
    assert read(content) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff", b"[" * 100_000, b'{"error": "\xff"}'])
def test_a_body_that_is_no_json_has_none(body):
    assert read_error(body) is None


@pytest.mark.parametrize(
    ("content", "request_id"),
    [
        ({"error": {"message": "Too fast. Request id: 0217856889436799"}}, "0217856889436799"),
        ({"error": {"message": "bad key. request id: 0217856889436799."}}, "0217856889436799"),
        ({"error": {"message": "RequestId: 0217856889436799"}}, "0217856889436799"),
        ({"type": "error", "error": {"message": "m"}, "request_id": "req_011"}, "req_011"),
        ({"ResponseMetadata": {"RequestId": "2026", "Error": {"Code": "C"}}}, "2026"),
        ({"error": {"message": "Request id: "}}, None),
        ({"error": {"message": "m"}, "request_id": 5}, None),
    ],
)
def test_the_request_id_is_found_in_the_message_or_beside_it(content, request_id):
    assert request_id == read(content).request_id


def test_a_family_ends_at_the_first_dot():
    assert "RateLimitExceeded" == code_family("RateLimitExceeded.EndpointRPMExceeded")
    assert "ServerOverloaded" == code_family("ServerOverloaded")


def test_a_message_is_not_shown_in_passing():
    """It may echo what was sent."""
    assert "secret" not in repr(read({"error": {"code": "C", "message": "secret"}}))


def test_a_message_is_kept_as_far_as_any_text_is_and_its_request_id_is_still_found():
    error = read({"error": {"code": "C", "message": "x" * 500_000 + " Request id: 0217856889436799"}})

    assert error.message == "x" * 16_384 + f" [... {500_029 - 16_384} characters cut]"
    assert "0217856889436799" == error.request_id
