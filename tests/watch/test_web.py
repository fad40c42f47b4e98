"""The view in a browser: who may ask for it, and Chromium really showing it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

pytest.importorskip("textual_serve", reason="the extra 'watch' is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BARE = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}


class Served:
    """`byteplus-trace watch --web`, in a process of its own."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "byteplus_trace",
                "watch",
                "--web",
                "--port",
                "0",
                "--web-port",
                "0",
                *options,
            ],
            env=BARE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = [self.process.stdout.readline() for _ in range(3)]
        self.web_port = int(re.search(r"http://localhost:(\d+)", lines[0])[1])
        self.port = int(re.search(r"http://127.0.0.1:(\d+)", lines[1])[1])

    def send(self, request):
        sent = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/traces",
            request.SerializeToString(),
            {"Content-Type": "application/x-protobuf"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent, timeout=30) as response:
            assert 200 == response.status

    def close(self):
        self.process.send_signal(signal.SIGINT)
        try:
            assert 0 == self.process.wait(30)
        finally:
            self.process.kill()
            self.process.stdout.close()


@pytest.fixture(scope="module")
def served():
    server = Served()
    yield server
    server.close()


def ask(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
PATHS = ["/", "/ws", "/static/js/textual.js", "/download/x", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_a_name_that_points_here_from_elsewhere_is_refused(served, path, host):
    headers = WEBSOCKET if path == "/ws" else {}

    assert 403 == ask(served.web_port, path, Host=host, **headers)[0]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1"])
def test_a_page_of_another_origin_is_refused(served, path, origin):
    headers = WEBSOCKET if path == "/ws" else {}

    assert 403 == ask(served.web_port, path, Origin=origin, **headers)[0]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_page_is_served_and_loads_nothing_from_elsewhere(served, name):
    status, headers, page = ask(served.web_port, "/", Host=f"{name}:{served.web_port}")

    assert (200, b"byteplus-trace watch") == (status, re.search(rb"byteplus-trace watch", page)[0])
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_it_listens_on_the_loopback_alone(served):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no other address")
        address = probe.getsockname()[0]
    for port in (served.web_port, served.port):
        with pytest.raises(OSError):  # noqa: PT011 - refused, or no route, as the system has it
            socket.create_connection((address, port), 2)


def test_a_web_port_in_use_is_said(served):
    ended = subprocess.run(
        [sys.executable, "-m", "byteplus_trace", "watch", "--web", "--port", "0", "--web-port", str(served.web_port)],
        env=BARE, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert 1 == ended.returncode
    assert f"port {served.web_port} is in use" in ended.stderr
    assert "Choose another --web-port" in ended.stderr


@pytest.fixture
def page(served):
    """A page of Chromium."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(viewport={"width": 1400, "height": 700}).new_page()
        browser.close()


class Screen:
    """What a terminal shows that was sent these bytes: as much of one as Textual needs."""

    def __init__(self):
        self.cells = {}
        self.frames = []

    def take(self, frame):
        if isinstance(frame, bytes):
            self.frames.append(frame)

    @property
    def text(self):
        row = column = 0
        cells = {}
        for move, _, written in re.findall(
            r"\x1b\[([0-9;]*)H|(\x1b\[[0-9;?]*[a-zA-GI-Z])|([^\x1b]+|\x1b)",
            b"".join(self.frames).decode("utf-8", "replace"),
        ):
            if move:
                row, column = (int(each) - 1 for each in move.split(";"))
            for character in written:
                if character == "\n":
                    row += 1
                elif character == "\r":
                    column = 0
                else:
                    cells[row, column] = character
                    column += 1
        return "\n".join("".join(cells.get((y, x), " ") for x in range(250)) for y in range(60))

    def shows(self, page, text):
        """Wait until it shows this."""
        until = time.monotonic() + 60
        while text not in self.text:
            assert time.monotonic() < until, "\n".join(
                line.rstrip() for line in self.text.splitlines() if line.strip()
            )
            page.wait_for_timeout(50)


def open_view(page, served):
    """Open the page; what its terminal shows."""
    screen = Screen()
    page.on("websocket", lambda socket: socket.on("framereceived", screen.take))
    page.goto(f"http://localhost:{served.web_port}/")
    return screen


def test_a_browser_filters_and_opens_a_call(served, make, page):
    served.send(make.request(*(make.call(number, at=number, team="shop") for number in range(1, 6))))
    served.send(
        make.request(make.call(9, at=9, team="search", model="the-sought-one", request_id="req-0217"))
    )
    answered = []
    page.on("response", lambda response: answered.append(response.url))

    screen = open_view(page, served)
    screen.shows(page, "the-sought-one")
    page.keyboard.type("/team:search")
    screen.shows(page, "1 for team:search")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    screen.shows(page, "request id req-0217")

    served.send(make.request(make.call(10, at=10, model="a-live-one")))
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    screen.shows(page, "a-live-one")
    assert "byteplus-trace watch" == page.title()
    assert {f"localhost:{served.web_port}"} == {
        urlsplit(url).netloc for url in answered if url.startswith("http")
    }


def test_a_call_is_exported_as_a_download(served, make, page, tmp_path):
    served.send(
        make.request(make.attempt(51, 50, trace=50, at=50), make.call(50, at=50, model="to-be-exported"))
    )
    screen = open_view(page, served)
    screen.shows(page, "to-be-exported")

    page.keyboard.press("e")
    screen.shows(page, "Export this call as")
    with page.expect_download() as download:
        page.keyboard.press("j")

    assert "modelark-call-0000000000000032.json" == download.value.suggested_filename
    assert "to-be-exported" == json.loads(download.value.path().read_text())["call"]["model"]


def test_two_views_read_from_one_receiver(served, make, page):
    served.send(make.request(make.call(30, at=130, model="for-both")))
    pages = [page, page.context.new_page()]

    screens = [open_view(each, served) for each in pages]
    for each, screen in zip(pages, screens, strict=True):
        screen.shows(each, "for-both")
    served.send(make.request(make.call(31, at=131, model="a-later-one")))

    for each, screen in zip(pages, screens, strict=True):
        screen.shows(each, "a-later-one")
