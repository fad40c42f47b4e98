"""`byteplus-trace traffic`."""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from byteplus_trace._cli import main
from byteplus_trace._cli.calls import BY_NAME
from byteplus_trace._cli.chaos import CYCLE, PHASES, phase_at


def metrics(url):
    with urllib.request.urlopen(url, timeout=5) as reply:
        return reply.read().decode()


class Traffic:
    """`traffic` in a process of its own, from when its series can be read."""

    def __init__(self, bare, *arguments):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "byteplus_trace",
                "traffic",
                "--metrics-port",
                "0",
                *arguments,
            ],
            env={**bare, "OTEL_TRACES_EXPORTER": "none"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        for line in self.process.stdout:
            if line.startswith("Series: "):
                self.url = line.split()[1]
                return self
        raise AssertionError(self.process.communicate())

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def until(self, pattern):
        for _ in range(1_000):
            text = metrics(self.url)
            if re.search(pattern, text, re.MULTILINE):
                return text
            time.sleep(0.05)
        raise AssertionError(text)


def test_it_moves_the_series_while_it_runs(bare):
    with Traffic(bare, "--rate", "20") as traffic:
        text = traffic.until(r'^modelark_operations_total\{.*operation="chat".*team=".*\} [1-9]')

    assert "modelark_tokens_total" in text
    assert "modelark_breaker_state" in text


def test_a_duration_ends_it_with_the_sum_of_its_calls(command):
    ended = command(
        "traffic", "--duration", "1", "--rate", "20", "--metrics-port", "0", OTEL_TRACES_EXPORTER="none"
    )

    assert 0 == ended.returncode, ended.stderr
    assert "Traceback" not in ended.stderr
    assert re.search(r"^\d+ calls: .*ok \d+", ended.stdout, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_is_its_ordinary_end(bare):
    with Traffic(bare) as traffic:
        traffic.until(r"^modelark_operations_total\{.*\} [1-9]")
        traffic.process.send_signal(signal.SIGINT)
        out, err = traffic.process.communicate(timeout=60)

    assert 0 == traffic.process.returncode, err
    assert "Traceback" not in err
    assert " calls: " in out


def test_a_busy_port_is_one_sentence(command):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        ended = command("traffic", "--duration", "1", "--metrics-port", str(holder.getsockname()[1]))

    assert 1 == ended.returncode
    assert "Metrics are not served" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--duration", "-1"], ["--rate", "many"]])
def test_a_rate_and_a_duration_are_above_0(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["traffic", *arguments])

    assert 2 == ended.value.code
    assert arguments[0] in capsys.readouterr().err


def test_the_phases_come_round():
    assert PHASES[0] is phase_at(0)
    assert PHASES[-1] is phase_at(CYCLE - 0.01)
    assert PHASES[0] is phase_at(CYCLE)
    assert CYCLE <= 30


def test_every_kind_of_call_that_a_phase_asks_for_exists():
    assert [] == [name for phase in PHASES for name in phase.more_of if name not in BY_NAME]
