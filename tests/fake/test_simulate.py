"""`byteplus-trace simulate` serves the fake."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from byteplus_trace._cli import main

SG = "ap-southeast-1"
EU = "eu-west-1"


SIMULATE = """
import sys
from byteplus_trace._cli import main
sys.exit(main(["simulate", *sys.argv[1:]]))
"""


@contextmanager
def simulating(*arguments):
    """`simulate` in a process of its own, which does not outlive the block."""
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SIMULATE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


def test_simulate_serves_with_its_faults_until_it_is_interrupted():
    arguments = ("--port", "0", "--fault", f"{SG}:429:ServerOverloaded", "--outage", f"{EU}@0-600")
    with simulating(*arguments) as program:
        lines = []
        for line in program.stdout:
            lines.append(line)
            if "refuses connections" in line:
                break
        sg, eu = (next(line.split()[1] for line in lines if line.startswith(name)) for name in (SG, EU))
        reply = httpx.get(f"{sg}/models", headers={"Authorization": "Bearer any"})
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{eu}/models")
        program.send_signal(signal.SIGINT)
        rest, errors = program.communicate(timeout=20)

    assert (429, "ServerOverloaded") == (reply.status_code, reply.json()["error"]["code"])
    assert any(line.lstrip().startswith(f"curl {sg}/chat/completions") for line in lines)
    assert (0, "Stopped.", "") == (program.returncode, rest.strip(), errors)


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--fault", f"{SG}:200"], "a status from 400 to 599"),
        (["--outage", f"{SG}@30-10"], "write REGION@FROM-TO in seconds"),
        (["--fault", "us-east-1:503"], "There is no region 'us-east-1' here"),
    ],
)
def test_simulate_explains_a_wrong_argument(arguments, advice, capsys):
    with pytest.raises(SystemExit) as end:
        sys.exit(main(["simulate", "--port", "0", *arguments]))
    assert 2 == end.value.code
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize("port", ["taken", "65535"])
def test_simulate_explains_a_port_that_cannot_be_had(ark, port, capsys):
    """65535 is one port; the second region's would be the next."""
    taken = str(ark.region(SG).port)

    assert 1 == main(["simulate", f"--port={taken if port == 'taken' else port}", "--for", "0"])
    assert "Choose another --port" in capsys.readouterr().err
