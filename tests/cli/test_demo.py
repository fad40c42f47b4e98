"""`byteplus-trace demo`, both scenes of it."""

import gzip
import os
import re
import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

SECOND_SCENE = "A region goes down"


@pytest.fixture(scope="module")
def demo(command):
    """demo(*arguments, **environ): what it prints."""

    def run(*arguments, **environ):
        ended = command("demo", *arguments, **environ)
        assert (0, "") == (ended.returncode, ended.stderr)
        return ended.stdout

    return run


@pytest.fixture(scope="module")
def shown(demo):
    """All of both scenes, with a setting of this environment that must not matter."""
    return demo("--all", BYTEPLUS_TRACE_METRICS_PORT="no port")


@pytest.fixture(scope="module")
def screen(demo):
    """What it prints without options."""
    return demo()


@pytest.fixture
def calls(shown):
    return shown.partition(SECOND_SCENE)[0]


@pytest.fixture
def outage(shown):
    return shown.partition(SECOND_SCENE)[2]


def on_a_terminal(bare, columns, *arguments):
    """What a command writes to a terminal that is so wide, its colours taken out."""
    import termios  # of POSIX only

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    written = bytearray()
    with subprocess.Popen(
        [sys.executable, "-m", "byteplus_trace", *arguments],
        env={**bare, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        # Linux says EIO where the other side has closed, others that there is no more.
        with suppress(OSError):
            while piece := os.read(ours, 65536):
                written += piece
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).replace("\r\n", "\n")


def rows(shown):
    """The lines of the tables and trees, numbers and gaps evened out."""
    found = re.findall(r"^(?:  an? |[│ ]*[├└]─ ).+$", shown, re.MULTILINE)
    assert len(found) > 20
    return [re.sub(r"[\d.,]+", "0", re.sub(" +", " ", line)) for line in found]


def test_every_kind_of_call_is_a_span_with_its_attempt(calls):
    spans = re.findall(r"^[├└]─ (\w+) ([\w-]+) +[\d,]+ ms  (\w+)$", calls, re.MULTILINE)

    assert [
        ("chat", "seed-2-0-pro-260328", "ok"),
        ("chat", "seed-1-8-251228", "ok"),
        ("embeddings", "skylark-embedding-vision-251215", "ok"),
        ("embeddings", "skylark-embedding-vision-251215", "ok"),
        ("generate_content", "seedream-4-0-250828", "ok"),
        ("chat", "seed-2-0-pro-260328", "ok"),
        ("chat", "seed-2-0-pro-260328", "ok"),
        ("chat", "seed-9-9-pro", "error"),
    ] == spans
    attempts = re.findall(r"└─ POST, initial, 200 +[\d,]+ ms  ap-southeast-1$", calls, re.MULTILINE)
    assert 7 == len(attempts)


def test_it_shows_tokens_first_chunk_images_cost_and_errors(calls):
    assert re.search(r"tokens: \d+ in \(\d+ cached\), \d+ out \(\d+ reasoning\) · about \$", calls)
    assert re.search(r"└─ chat seed-1-8-251228 .*\n.* first chunk after [\d,]+ ms", calls)
    assert "1 image generated" in calls
    assert re.search(r" error ModelNotOpen\n.* request 02", calls)


def test_the_series_agree_with_the_spans(calls):
    assert "chat error 1   chat ok 4   embeddings ok 2   generate_content ok 1" in calls
    assert "sum by (type) (modelark_tokens_total)" in calls
    assert "demo 8" in calls


def test_the_first_screen_is_one_screen_and_ends_with_its_sum(screen):
    assert len(screen.splitlines()) < 40
    last = screen.splitlines()[-1]
    assert re.fullmatch(r"17 calls: 4 rescued, 1 refused to be sent twice, about \$0\.\d\d in all\.", last)


def test_it_says_what_to_type_next_and_watch_before_docker(screen):
    assert "byteplus_trace.instrument(console=True)" in screen
    assert screen.index("byteplus-trace watch") < screen.index("docker compose")
    (directory,) = re.findall(r"byteplus-trace dashboards (\w+)", screen)
    assert f"docker compose -f {directory}/compose.yaml up" in screen


def test_what_is_not_on_the_first_screen_is_offered(screen, shown):
    assert "byteplus-trace demo --all" in screen
    assert 80 >= max(map(len, screen.splitlines()))
    assert "byteplus-trace demo --all" not in shown


def test_it_is_plain_and_at_most_80_columns_wide(shown):
    assert "\x1b" not in shown
    assert 80 >= max(map(len, shown.splitlines()))


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal_no_row_is_broken(bare, columns, outage):
    """The same rows as in a pipe, but for the numbers in them."""
    assert rows(outage) == rows(on_a_terminal(bare, columns, "demo", "--all", "--only", "outage"))


def test_without_an_sdk_for_spans_it_says_why_there_is_nothing_to_show(command):
    ended = command("demo", OTEL_SDK_DISABLED="true")

    assert 1 == ended.returncode
    assert "OTEL_SDK_DISABLED" in ended.stdout


def test_where_somebody_takes_spans_they_go_there_and_each_trace_is_named(demo):
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        Thread(target=receiver.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{receiver.server_port}"
        shown = demo("--all", "--only", "calls", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        screen = demo("--only", "calls", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        receiver.shutdown()

    (trace_id,) = re.findall(r"a streamed response .*([0-9a-f]{32})$", shown, re.MULTILINE)
    assert any(bytes.fromhex(trace_id) in each for each in map(plain, received))
    assert "byteplus-trace demo --all" in screen


@pytest.mark.parametrize(
    "line",
    [
        r"a streamed chat +rescued_fallback +sg timeout, eu 200 +closed",
        r"a chat, answered 503 +rescued_fallback +sg 503, sg 503, eu 200 +closed",
        r"a chat, refused +rescued_fallback +sg connect, eu 200 +open",
        r"a chat +ok +\(sg breaker_open\), eu 200 +open",
        r"an image, refused +rescued_fallback +sg connect, eu 200 +closed",
        r"an image, cut off +APIConnectionError +sg ReadError +closed",
        r"the first chat +ok +sg probe 200 +closed",
        r"the next chat +ok +sg 200 +closed",
    ],
)
def test_each_act_ends_as_the_policy_promises(line, outage):
    assert re.search(line, outage), outage


def test_an_image_that_may_have_been_made_is_not_sent_twice(outage):
    assert "Images that reached sg: 1." in outage
    assert "generate_content raised 1" in outage
    assert "generate_content error 1" in outage


def plain(body):
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
