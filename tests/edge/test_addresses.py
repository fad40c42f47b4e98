"""Over real sockets, with the vendors' own SDKs: the URL that leaves for a target is the one that the SDK builds for its base."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
import pytest
from byteplussdkarkruntime import Ark

from byteplus_trace import Policy, Retry, Target

SG, EU = "ap-southeast-1", "eu-west-1"
HOSTS = {SG: "ark.ap-southeast.bytepluses.com", EU: "ark.eu-west.bytepluses.com"}
MESSAGES = [{"role": "user", "content": "Name three rivers."}]
CHAT = {
    "id": "1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Rhine"}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None,
    "content": [{"type": "text", "text": "Rhine"}], "usage": {"input_tokens": 7, "output_tokens": 2},
}  # fmt: skip
TASKS = {"items": [], "total": 0}


class Listener(ThreadingHTTPServer):
    """A region: what it is asked, and an answer; one that is `down` has none."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.down = False

    def at(self, region):
        """The region's public host, on this port."""
        return f"http://{HOSTS[region]}:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["content-length"]))
        self.answer(MESSAGE if "messages" in self.path else CHAT, sent)

    def do_GET(self):
        self.answer(TASKS, b"")

    def answer(self, document, sent):
        self.server.asked.append((f"http://{self.headers['host']}{self.path}", dict(self.headers), sent))
        body = b'{"error":{"code":"ServerOverloaded"}}' if self.server.down else json.dumps(document).encode()
        self.send_response(503 if self.server.down else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def listening():
    with Listener() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def home(monkeypatch):
    """Where callers call; every host name leads to this machine."""
    found = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **kwargs: found(
            "127.0.0.1" if str(host).endswith(("bytepluses.com", ".example")) else host, *args, **kwargs
        ),
    )
    with listening() as server:
        yield server


@pytest.fixture
def away(home):
    """Where they are moved to."""
    with listening() as server:
        yield server


def with_openai(base):
    with openai.OpenAI(base_url=base, api_key="callers", max_retries=0) as client:
        client.chat.completions.create(model="m", messages=MESSAGES)


def with_ark(base):
    with Ark(base_url=base, api_key="callers", max_retries=0) as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
        client.content_generation.tasks.list(page_num=1, page_size=5, status="queued")


def with_anthropic(base):
    with anthropic.Anthropic(base_url=base, api_key="callers", max_retries=0) as client:
        client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        client.beta.messages.create(model="m", max_tokens=9, messages=MESSAGES)


SDKS = {"openai": with_openai, "ark": with_ark, "anthropic": with_anthropic}
BASES = {
    "openai": ["/api/v3", "/api/coding/v3", "/api/plan/v3"],
    "ark": ["/api/v3", "/api/coding/v3"],
    "anthropic": ["/api/compatible", "/api/coding"],
}
CALLS = [(sdk, base) for sdk, bases in BASES.items() for base in bases]


@pytest.mark.parametrize(("sdk", "base"), CALLS)
@pytest.mark.parametrize("private", [False, True])
def test_a_call_that_moves_leaves_as_its_sdk_would_send_it_there(instrument, home, away, sdk, base, private):
    SDKS[sdk](away.at(EU) + base)
    built = [url for url, *_ in away.asked]
    asked = [sent for *_, sent in away.asked]
    there = {"base_url": f"{away.at(EU)}/api/v3"}
    if base in {"/api/coding/v3", "/api/coding"}:
        there["base_url"] = f"{away.at(EU)}/api/coding/v3"
    elif base == "/api/plan/v3":
        there["base_url"] = f"{away.at(EU)}/api/plan/v3"
    if private:
        SDKS[sdk](f"http://ark.example:{away.server_port}/ark")
        built = [url for url, *_ in away.asked[len(built) :]]
        there = {"base_url": f"http://ark.example:{away.server_port}/ark"}
        if sdk == "anthropic":
            there = {"messages_base_url": there["base_url"]}
    away.asked.clear()
    home.down = True
    instrument(
        policy=Policy(
            targets=[
                Target("sg", region=SG, base_url=home.at(SG) + base, allow_http=True),
                Target("eu", region=EU, api_key="key-eu", allow_http=True, **there),
            ],
            retry=Retry(per_target=0),
            replay={"video": "ambiguous"},
        )
    )

    SDKS[sdk](home.at(SG) + base)

    assert built == [url for url, *_ in away.asked]
    assert asked == [sent for *_, sent in away.asked]
    assert {"Bearer key-eu"} == {headers.get("Authorization") for _, headers, _ in away.asked}
    assert not [headers for _, headers, _ in away.asked if "callers" in str(headers)]


@pytest.mark.parametrize(("sdk", "base"), CALLS)
@pytest.mark.parametrize("key", [None, "callers"])
def test_the_first_send_to_the_callers_own_base_is_what_leaves_without_a_policy(
    instrument, home, sdk, base, key
):
    SDKS[sdk](home.at(SG) + base)
    plain, home.asked = home.asked, []
    instrument(
        policy=Policy(
            targets=[
                Target("sg", region=SG, base_url=home.at(SG) + base, api_key=key, allow_http=True),
                Target("eu", region=EU, api_key="key-eu"),
            ]
        )
    )

    SDKS[sdk](home.at(SG) + base)

    assert [_steady(*each) for each in plain] == [_steady(*each) for each in home.asked]


def _steady(url, headers, sent):
    """A request without what its SDK makes anew for each."""
    return (
        url,
        {name: value for name, value in headers.items() if name.lower() != "x-client-request-id"},
        sent,
    )
