"""What an outcome means, by its code and its status, and never by its message."""

import subprocess
import sys

import pytest

from byteplus_trace._classify import (
    CREDENTIAL,
    MODERATION,
    STREAM_ERROR,
    UNAVAILABLE,
    classify_failure,
    classify_peeked,
    classify_reply,
    reason_of,
    reason_of_failure,
)
from byteplus_trace._routing.steps import Failure, Peeked

REASONS = {
    (400, "InvalidParameter"): "bad_request",
    (400, None): "bad_request",
    (413, None): "bad_request",
    (400, "InputImageSensitiveContentDetected.PrivacyInformation"): "moderation",
    (400, "SensitiveContentDetected.Violence"): "moderation",
    (400, "OutputTextRiskDetection"): "moderation",
    (400, "ContentFilterError.IntentDetected.PolicyViolation"): "moderation",
    (400, "InvalidEndpoint.ClosedEndpoint"): "model_unavailable",
    (401, "AuthenticationError"): "auth",
    (401, None): "auth",
    (403, "AccountOverdueError"): "auth",
    (403, "OperationDenied.ServiceOverdue"): "auth",
    (404, "InvalidEndpointOrModel.ModelIDAccessDisabled"): "model_unavailable",
    (404, "ModelNotOpen"): "model_unavailable",
    (200, "InvalidEndpoint.NotFound"): "model_unavailable",
    (200, "Gateway.EndpointNotFound"): "model_unavailable",
    (200, "InvalidParameter.UnsupportedModel"): "model_unavailable",
    (400, "Account.InvalidSubscription"): "auth",
    (429, "ModelAccountTpdRateLimitExceeded"): "quota",
    (429, "RateLimitExceeded.TPD"): "quota",
    (429, "RPDLimitExceeded"): "quota",
    (429, "quota_exceeded"): "quota",
    (404, "NotFound.Task"): "bad_request",
    (408, None): "timeout",
    (429, "RateLimitExceeded.EndpointTPMExceeded"): "rate_limit",
    (429, "ModelAccountIpmRateLimitExceeded"): "rate_limit",
    (429, "APIAccountRpmRateLimitExceeded"): "rate_limit",
    (429, "InflightBatchsizeExceeded"): "rate_limit",
    (429, "100018"): "rate_limit",
    (429, "QuotaExceeded.AgentPlanQuotaExceeded"): "quota",
    (429, "SetLimitExceeded"): "quota",
    (429, "ServerOverloaded"): "overloaded",
    (500, "InternalServiceError"): "server_error",
    (503, None): "server_error",
    (529, None): "server_error",
    (200, "ServerOverloaded"): "overloaded",
    (200, "SomethingNew"): "stream_error",
    (200, None): "none",
    (None, None): "none",
    (None, "InternalServiceError"): "server_error",
    (307, None): "none",
}


@pytest.mark.parametrize(("status", "code"), REASONS)
def test_the_reason_for(status, code):
    assert REASONS[status, code] == reason_of(status, code)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("connect", "connect"), ("pool", "timeout"), ("timeout", "timeout"), ("idle", "idle"), ("reset", "reset"),
        ("deadline", "timeout"), ("cancelled", "none"), ("other", "reset"),
    ],
)  # fmt: skip
def test_the_reason_for_a_failure(kind, reason):
    assert reason == reason_of_failure(kind)


def test_a_limit_is_known_by_its_code_alone():
    """The messages of both name TPM and RPM."""
    account, endpoint = (
        classify_reply(429, code)
        for code in ("ModelAccountRpmRateLimitExceeded", "RateLimitExceeded.EndpointRPM")
    )

    assert ("group", "target") == (account.cools, endpoint.cools)


def test_a_dotted_code_is_matched_by_its_beginning_and_a_longer_word_is_not():
    assert classify_reply(403, "AuthenticationError.X") is CREDENTIAL
    assert classify_reply(400, "AuthenticationErrorOfAnotherKind") is not CREDENTIAL


@pytest.mark.parametrize(
    ("status", "code", "may_have_run"),
    [
        (500, None, True), (500, "InternalServiceError", True), (502, None, True), (504, None, True),
        (503, None, False), (503, "InternalServiceError", False), (500, "ServerOverloaded", False), (429, None, False),
    ],
)  # fmt: skip
def test_whether_a_refusal_may_have_run(status, code, may_have_run):
    assert may_have_run == classify_reply(status, code).may_have_run


def test_what_never_left_did_not_run():
    assert not classify_failure(Failure("reset", reached=False)).may_have_run
    assert classify_failure(Failure("reset", reached=True)).may_have_run


def test_an_error_inside_a_200_counts_unless_the_caller_made_it():
    assert classify_peeked(Peeked(failed=True, code="RateLimitExceeded")).breaker
    assert classify_peeked(Peeked(failed=True, code="SomethingNew")) is STREAM_ERROR
    assert classify_peeked(Peeked(failed=True, code="InvalidEndpoint.NotFound")) is UNAVAILABLE
    assert classify_peeked(Peeked(failed=True, code="InputTextSensitiveContentDetected")) is MODERATION


def test_naming_reasons_imports_nothing_of_the_rest():
    """The observer uses it without a policy."""
    script = (
        "import sys, byteplus_trace._classify\n"
        "print(*sorted(name for name in sys.modules if name.startswith('byteplus_trace._routing')))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
