"""How a call ended: a table of what its caller could see, and the closed set for it."""

import asyncio
import errno
import socket
import ssl
from itertools import pairwise

import httpx
import pytest

from byteplus_trace import Answer, Attempt, Call, Images, WireError
from byteplus_trace._call_end import Assessment, End, assessment, outcome_of, unreachable

CHAT = Call(
    "chat",
    "chat_completions",
    "POST",
    "https://h/chat/completions",
    "h",
    443,
    "/chat/completions",
    "eu-west-1",
)
IMAGE = Call(
    "generate_content", "images", "POST", "https://h/images", "h", 443, "/images/generations", "eu-west-1"
)
OTHER = Call("other", "other", "GET", "https://h/ping", "h", 443, "/ping", "eu-west-1")

WHOLE = Answer(complete=True)
NOTHING = Answer()


class Body:
    """What an ending asks of a body."""

    def __init__(self, *, streaming=False, begun=False, failed=False, legible=True, chunks=0, ended=False):
        self.streaming = streaming
        self.begun = begun
        self.failed = failed
        self.legible = legible
        self.chunks = chunks
        self.ended = ended
        self.stops_unreadable = False
        self.corrupt = False


DOCUMENT = Body(begun=True)
EMPTY = Body()
STREAM = Body(streaming=True, begun=True)


def error(code=None):
    return Answer(error=WireError(code=code, message="no"))


def images(generated=0, failed=0, complete=False):
    return Answer(images=Images(generated=generated, failed=failed), complete=complete)


CANCELLED = Assessment("cancelled")
OK = Assessment("ok")

# What happened: the call, how it ended, the answer, what else was known; and what that is called.
ENDINGS = {
    "a whole document": (CHAT, "exhausted", WHOLE, {"status": 200, "body": DOCUMENT}, OK),
    "a stream's last event": (CHAT, "complete", WHOLE, {"status": 200, "body": STREAM}, OK),
    "a refusal with a code": (
        CHAT, "exhausted", error("RateLimitExceeded.EndpointRPMExceeded"), {"status": 429, "body": DOCUMENT},
        Assessment("error", "rate_limit", "RateLimitExceeded"),
    ),
    "a refusal without one": (CHAT, "exhausted", NOTHING, {"status": 502, "body": EMPTY}, Assessment("error", "server_error", "502")),
    "a refusal nobody read": (CHAT, "closed", NOTHING, {"status": 503, "body": EMPTY}, Assessment("error", "server_error", "503")),
    "a refusal nobody kept": (CHAT, "forgotten", NOTHING, {"status": 401, "body": EMPTY}, Assessment("error", "auth", "401")),
    "a redirect": (CHAT, "exhausted", NOTHING, {"status": 307, "body": EMPTY}, OK),
    "an empty 200": (CHAT, "exhausted", NOTHING, {"status": 200, "body": EMPTY}, Assessment("error", "empty", "empty")),
    "a page": (CHAT, "exhausted", NOTHING, {"status": 200, "body": DOCUMENT}, Assessment("error", "empty", "empty")),
    "an empty reply of an API that is not known": (OTHER, "exhausted", NOTHING, {"status": 200, "body": EMPTY}, Assessment("error", "empty", "empty")),
    "a body that cannot be read": (CHAT, "exhausted", NOTHING, {"status": 200, "body": Body(begun=True, legible=False)}, OK),
    "a stream that just stops": (CHAT, "exhausted", NOTHING, {"status": 200, "body": STREAM}, Assessment("error", "cut", "cut")),
    "a stream of nothing": (CHAT, "exhausted", NOTHING, {"status": 200, "body": Body(streaming=True)}, Assessment("error", "empty", "empty")),
    "an error in a stream": (
        CHAT, "exhausted", error("InternalServiceError"), {"status": 200, "body": STREAM},
        Assessment("error", "server_error", "InternalServiceError"),
    ),
    "an error without a code in a stream": (
        CHAT, "exhausted", error(), {"status": 200, "body": STREAM}, Assessment("error", "stream_error", "stream_error"),
    ),
    "an error of a new code in a stream": (
        CHAT, "exhausted", error("Brand.New"), {"status": 200, "body": STREAM}, Assessment("error", "stream_error", "Brand"),
    ),
    "an event that failed": (
        CHAT, "exhausted", WHOLE, {"status": 200, "body": Body(streaming=True, begun=True, failed=True)},
        Assessment("error", "stream_error", "stream_error"),
    ),
    "a reader who leaves": (CHAT, "closed", NOTHING, {"status": 200, "body": STREAM}, CANCELLED),
    "a reader who forgets": (CHAT, "forgotten", NOTHING, {"status": 200, "body": STREAM}, CANCELLED),
    "a reader who leaves after the last event": (CHAT, "closed", WHOLE, {"status": 200, "body": STREAM}, OK),
    "a caller who forgets before the reply": (CHAT, "forgotten", NOTHING, {}, CANCELLED),
    "a caller who closes before the reply": (CHAT, "closed", NOTHING, {}, CANCELLED),
    "images": (IMAGE, "exhausted", images(2, complete=True), {"status": 200, "body": DOCUMENT}, OK),
    "images without a last event": (IMAGE, "exhausted", images(1), {"status": 200, "body": STREAM}, OK),
    "some images": (IMAGE, "exhausted", images(1, 1, complete=True), {"status": 200, "body": DOCUMENT}, OK),
    "no image at all": (
        IMAGE, "exhausted", images(0, 2, complete=True), {"status": 200, "body": DOCUMENT},
        Assessment("error", "stream_error", "stream_error"),
    ),
    "an SDK that raises on a failed image": (
        IMAGE, "closed", images(1, 1), {"status": 200, "body": STREAM}, Assessment("error", "stream_error", "stream_error"),
    ),
    "a reader who leaves good images": (IMAGE, "closed", images(1), {"status": 200, "body": STREAM}, CANCELLED),
    "refused": (CHAT, "raised", NOTHING, {"error": httpx.ConnectError("x"), "kind": "connect"}, Assessment("error", "connect", "ConnectError")),
    "silent": (CHAT, "raised", NOTHING, {"error": httpx.ReadTimeout("x"), "kind": "timeout"}, Assessment("error", "timeout", "ReadTimeout")),
    "reset before the reply": (CHAT, "raised", NOTHING, {"error": httpx.ReadError("x"), "kind": "reset"}, Assessment("error", "reset", "ReadError")),
    "reset in the reply": (
        CHAT, "raised", NOTHING, {"error": httpx.ReadError("x"), "kind": "reset", "status": 200, "body": STREAM},
        Assessment("error", "cut", "ReadError"),
    ),
    "idle": (
        CHAT, "raised", NOTHING, {"error": httpx.ReadTimeout("x"), "kind": "idle", "status": 200, "body": STREAM},
        Assessment("error", "idle", "ReadTimeout"),
    ),
    "reset after an error event": (
        CHAT, "raised", error("ServerOverloaded.Now"), {"error": httpx.ReadError("x"), "kind": "reset", "status": 200, "body": STREAM},
        Assessment("error", "cut", "ServerOverloaded"),
    ),
    "cancelled": (CHAT, "raised", NOTHING, {"error": asyncio.CancelledError(), "kind": "cancelled"}, CANCELLED),
    "interrupted": (CHAT, "raised", NOTHING, {"error": KeyboardInterrupt()}, CANCELLED),
    "somebody's own": (CHAT, "raised", NOTHING, {"error": LookupError("x"), "kind": "other"}, Assessment("error", "reset", "LookupError")),
}  # fmt: skip


@pytest.mark.parametrize("what", ENDINGS)
def test_an_ending(what):
    call, how, answer, known, expected = ENDINGS[what]
    known = dict(known)

    end = End(how, known.pop("error", None), known.pop("kind", None))

    assert expected == assessment(call, end, answer, **known)


def attempts(*targets):
    return [
        Attempt(
            number=number,
            target=target,
            region="eu-west-1",
            host="h",
            port=443,
            url="https://h",
            cause="initial",
            started_ns=0,
            duration_seconds=1.0,
            result="ok",
        )
        for number, target in enumerate(targets, 1)
    ]


FAILED = Assessment("error", "server_error", "500")

# The ending of the last attempt, how, the kind of failure, the targets tried; and the outcome.
OUTCOMES = {
    "at once": (OK, "exhausted", None, ["sg"], "ok"),
    "nothing was sent and nothing failed": (OK, "exhausted", None, [], "ok"),
    "again": (OK, "exhausted", None, ["sg", "sg"], "rescued_retry"),
    "elsewhere": (OK, "exhausted", None, ["sg", "sg", "eu"], "rescued_fallback"),
    "failed": (FAILED, "exhausted", None, ["sg"], "error"),
    "failed everywhere": (FAILED, "exhausted", None, ["sg", "eu"], "error"),
    "out of time": (
        Assessment("error", "timeout", "ReadTimeout"),
        "raised",
        "deadline",
        ["sg", "eu"],
        "deadline",
    ),
    "abandoned by its reader": (CANCELLED, "closed", None, ["sg"], "cancelled"),
    "forgotten": (CANCELLED, "forgotten", None, ["sg"], "abandoned"),
    "cancelled": (CANCELLED, "raised", "cancelled", ["sg", "eu"], "cancelled"),
}


@pytest.mark.parametrize("what", OUTCOMES)
def test_an_outcome(what):
    final, how, kind, targets, expected = OUTCOMES[what]

    assert expected == outcome_of(final, End(how, kind=kind), attempts(*targets))


def caused(*errors):
    """A chain of exceptions, the library's own first."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def untrusted():
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed (_ssl.c:1)")
    error.verify_message = "self-signed certificate"
    return error


# What an HTTP library raised, with its causes; and what is recorded of it.
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 443)")
UNREACHABLE = {
    "refused": ((httpx.ConnectError("x"), REFUSED), "Connection refused"),
    "refused, under layers": (
        (httpx.ConnectError("x"), OSError("All connection attempts failed"), REFUSED),
        "Connection refused",
    ),
    "refused at each of its addresses": (
        (httpx.ConnectError("x"), OSError("All failed"), ExceptionGroup("", [REFUSED, REFUSED])),
        "Connection refused",
    ),
    "no such name": (
        (httpx.ConnectError("x"), socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
        "Name or service not known",
    ),
    "a certificate": ((httpx.ConnectError("x"), untrusted()), "self-signed certificate"),
    "no TLS": ((httpx.ConnectError("x"), ssl.SSLError(1, "secret")), None),
    "a library's own message": ((httpx.ProxyError("407 for http://user:secret@proxy"),), None),
    "too slow": ((httpx.ConnectTimeout("x"), TimeoutError()), None),
    "a number that no system has": ((httpx.ConnectError("x"), OSError(2**70, "secret")), None),
    "none": ((None,), None),
}


@pytest.mark.parametrize("what", UNREACHABLE)
def test_why_nothing_was_reached_is_the_systems_message(what):
    """A library's may quote what was sent, and an address has no place in them."""
    errors, expected = UNREACHABLE[what]

    assert expected == unreachable(caused(*errors))


def test_a_chain_of_causes_that_is_a_ring_ends():
    error, cause = httpx.ConnectError("x"), OSError("y")
    error.__cause__, cause.__cause__ = cause, error

    assert unreachable(error) is None


def test_an_end_is_read_off_the_same_clock_as_the_beginning(monkeypatch):
    """freezegun, for one, replaces the functions of `time` when we were imported long ago."""
    monkeypatch.setattr("time.perf_counter", lambda: 42.0)

    assert 42.0 == End("complete").at
