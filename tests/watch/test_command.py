"""`byteplus-trace watch`, as a person starts it, on a real terminal."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

pytest.importorskip("textual", reason="the extra 'watch' is not installed")

from byteplus_trace._cli import main
from byteplus_trace._watch.keep import Keep

BARE = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
PROGRAM = """
import httpx, byteplus_trace
byteplus_trace.instrument()
with byteplus_trace.metadata(team="search"):
    url = byteplus_trace.base_url("ap-southeast-1") + "/chat/completions"
    body = {"model": "seed-2-0-lite-260428", "messages": [{"role": "user", "content": "Name three rivers."}]}
    print(httpx.post(url, json=body, headers={"authorization": "Bearer any"}).status_code, flush=True)
import time
time.sleep(600)
"""


class Terminal:
    """The command on a terminal of its own, and all that it wrote there."""

    def __init__(self, *arguments, size=(24, 100), streams=None, **environ):
        import termios

        self._ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, size)
        self.written = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "byteplus_trace", "watch", *arguments],
            env={**BARE, "TERM": "xterm-256color", **environ},
            **{"stdin": theirs, "stdout": theirs, "stderr": theirs, **(streams or {})},
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while True:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:  # Linux says so where the other side has closed
                return
            if not piece:
                return
            self.written += piece

    @property
    def text(self):
        return re.sub(r"\x1b\[[0-9;?<>=]*[a-zA-Z]", "", self.written.decode("utf-8", "replace"))

    def shows(self, text):
        until = time.monotonic() + 60
        while text not in self.text:
            assert time.monotonic() < until, self.text[-3000:]
            time.sleep(0.02)

    def press(self, keys):
        os.write(self._ours, keys.encode())

    def close(self):
        try:
            with suppress(OSError):  # it has ended, and its terminal with it
                self.press("q")
            return self.process.wait(60)
        finally:
            self.process.kill()
            self._reader.join(10)
            os.close(self._ours)


@pytest.fixture
def on_a_terminal():
    if os.name != "posix":
        pytest.skip("terminals of POSIX only")
    return Terminal


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_simulated_program_is_on_the_screen_while_it_stays_alive(on_a_terminal):
    terminal = on_a_terminal("--simulate", "--port", "0", "--", sys.executable, "-c", PROGRAM)
    try:
        terminal.shows("seed-2-0-lite")
        terminal.shows("1 call")
        terminal.shows("ModelArk is simulated")
        terminal.press("3")
        terminal.shows("200")
    finally:
        assert 0 == terminal.close()


@pytest.mark.parametrize("ending", ["q", "SIGTERM", "SIGHUP"])
def test_a_program_that_still_runs_ends_with_the_view(on_a_terminal, ending):
    source = "import os, time; print(f'process {os.getpid()}.', flush=True); time.sleep(600)"
    terminal = on_a_terminal("--port", "0", "--", sys.executable, "-c", source)
    try:
        terminal.shows("Waiting for spans")
        terminal.press("3")
        terminal.shows("process ")
        terminal.shows(".")
        process = int(re.search(r"process (\d+)", terminal.text)[1])
        os.kill(process, 0)
        if ending != "q":
            terminal.process.send_signal(getattr(signal, ending))
            assert 0 == terminal.process.wait(60)
    finally:
        terminal.close()

    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_program_that_fails_is_said_at_the_end(on_a_terminal):
    terminal = on_a_terminal(
        "--port", "0", "--", sys.executable, "-c", "print('out of rivers'); raise SystemExit(3)"
    )
    try:
        terminal.shows("ended with 3")
        terminal.shows("No call of it was seen")
    finally:
        status = terminal.close()

    assert 1 == status
    assert "out of rivers" in terminal.text


def test_a_program_that_ends_well_changes_nothing(on_a_terminal):
    terminal = on_a_terminal("--port", "0", "--", sys.executable, "-c", "")
    try:
        terminal.shows("ended with 0")
    finally:
        assert 0 == terminal.close()


def test_what_was_kept_is_opened_again(on_a_terminal, make, tmp_path):
    from byteplus_trace._watch.store import Store

    keep = Keep(tmp_path / "calls.db")
    spans = make.spans(make.call(model="a-kept-one"))
    keep.add(spans, Store().add(spans))
    keep.close()

    terminal = on_a_terminal("--open", str(tmp_path / "calls.db"))
    try:
        terminal.shows("a-kept-one")
    finally:
        assert 0 == terminal.close()


def test_a_port_in_use_is_said_with_what_to_do(on_a_terminal):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        terminal = on_a_terminal("--port", str(port))
        try:
            terminal.shows(f"port {port} is in use, probably by")
            terminal.shows(f"--port {port + 1} --forward http://localhost:{port}")
        finally:
            assert 1 == terminal.process.wait(30)
            terminal.process.kill()


def test_ctrl_c_is_a_key_and_the_terminal_is_given_back(on_a_terminal):
    terminal = on_a_terminal("--port", "0")
    try:
        terminal.shows("Waiting for spans")
    finally:
        assert 0 == terminal.close()
    assert terminal.written.rindex(b"\x1b[?1049l") > terminal.written.rindex(b"\x1b[?1049h")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--simulate"], "--simulate needs a program"),
        (["--open", "x.db", "--keep", "y.db"], "leave out --keep"),
        (["--open", "no-such-file.db"], "--open no-such-file.db: cannot be read: No such file or directory."),
        (["--open", "."], "--open .: cannot be read: Is a directory."),
        (["--web", "--web-port", "4318"], "--port and --web-port are both 4318"),
        (["--keep", "/no/such/folder/x.db", "--web"], "--keep /no/such/folder/x.db: cannot be written"),
        (["--forward", "localhost", "--web"], "--forward"),
        (["--forward", "http://localhost:4318", "--web"], "is this receiver itself"),
        (["--web", "--port", "0", "--", "/no/such/program"], "/no/such/program cannot be run: No such file"),
        (
            [],
            "needs a terminal as its standard input, output, error. --web shows it in a browser",
        ),
        (["--view-of-a-receiver"], "'byteplus-trace watch --web', which starts it itself"),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_fix(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)

    assert 2 == main(["watch", *arguments])

    assert message in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("stream", "name"), [("stdin", "input"), ("stdout", "output"), ("stderr", "error")])
def test_a_stream_that_is_no_terminal_is_named(on_a_terminal, tmp_path, stream, name):
    """Without the error stream nothing was drawn, and without the input no key was answered."""
    with (tmp_path / "other").open("w+") as other:
        terminal = on_a_terminal("--port", "0", streams={stream: other})
        assert 2 == terminal.close()

    written = (tmp_path / "other").read_text() + terminal.text
    assert f"watch needs a terminal as its standard {name}." in written


@pytest.mark.parametrize("port", ["-1", "70000", "x", "1.5"])
def test_a_port_is_a_number(capsys, port):
    with pytest.raises(SystemExit):
        main(["watch", "--port", port])

    assert "a port is a number from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["textual", "aiohttp"])
def test_without_the_extra_it_says_what_to_install(package):
    source = f"import sys; sys.modules[{package!r}] = None; from byteplus_trace._cli import main; sys.exit(main(['watch', '--web', '--port', '0']))"

    ended = subprocess.run(
        [sys.executable, "-c", source], env=BARE, capture_output=True, text=True, check=False
    )

    assert 1 == ended.returncode
    assert (
        f"'watch' needs {package}, which is not installed: pip install 'byteplus-trace[watch]'"
        in ended.stderr
    )


def test_the_readmes_commands_need_nothing_of_the_extra():
    """`--help` and other commands do not load textual."""
    source = "import sys; from byteplus_trace._cli import main\ntry: main(['watch', '--help'])\nexcept SystemExit: pass\nassert not {'textual', 'aiohttp'} & set(sys.modules)"

    assert (
        0
        == subprocess.run(
            [sys.executable, "-c", source], env=BARE, capture_output=True, check=False
        ).returncode
    )
