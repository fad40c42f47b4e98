"""`byteplus-trace simulate`, alone and with a program."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from byteplus_trace import SettingError, _regions, base_url
from byteplus_trace._cli import main
from byteplus_trace._regions import SIMULATED_VARIABLE

README = Path(__file__).parent.parent.parent / "README.md"
PRINTED = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def simulate(command, tmp_path):
    """simulate(code, *options, **environ): what a program of this code did against the fake service."""

    def run(code, *options, **environ):
        program = tmp_path / "app.py"
        program.write_text(textwrap.dedent(code))
        return command("simulate", *options, "--", sys.executable, str(program), **environ)

    return run


@pytest.fixture
def simulated(monkeypatch):
    """simulated(text): this process with that variable set."""

    def put(text):
        monkeypatch.setenv(SIMULATED_VARIABLE, text)
        _regions.simulated_regions.cache_clear()

    yield put
    monkeypatch.undo()
    _regions.simulated_regions.cache_clear()


CHAT = """
    import os, byteplus_trace
    byteplus_trace.instrument(on_exchange=lambda e: print(e.outcome, e.region, e.host))
    with byteplus_trace.client() as client:
        reply = client.post("/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    print(reply.status_code, os.environ["ARK_API_KEY"])
    byteplus_trace.flush()
"""


def test_a_programs_calls_go_to_the_fake_and_are_observed(simulate):
    ended = simulate(CHAT)

    assert 0 == ended.returncode, ended.stderr
    assert ["200 simulated", "ok ap-southeast-1 127.0.0.1"] == sorted(ended.stdout.splitlines())
    assert 1 == ended.stderr.count("ModelArk is simulated on this machine")


def test_a_real_key_and_a_proxy_stay_out_of_it(simulate):
    nowhere = "http://127.0.0.1:9"
    ended = simulate(
        CHAT, ARK_API_KEY="5ecret", ARK_API_KEY_ME="5ecret", HTTP_PROXY=nowhere, ALL_PROXY=nowhere
    )

    assert 0 == ended.returncode, ended.stderr
    assert "200 simulated" in ended.stdout
    assert "5ecret" not in ended.stdout + ended.stderr


def test_a_policy_moves_between_the_fakes_regions(simulate):
    ended = simulate(
        """
        import byteplus_trace
        from byteplus_trace import Policy, Target
        policy = Policy([Target("sg", region="ap-southeast-1", api_key="k"), Target("eu", region="eu-west-1", api_key="k")])
        byteplus_trace.instrument(policy=policy, on_exchange=lambda e: print(e.outcome, e.target))
        with byteplus_trace.client() as client:
            client.post("/chat/completions", json={"model": "m", "messages": []})
        byteplus_trace.flush()
        """,
        "--fault",
        "ap-southeast-1:refuse",
    )

    assert "rescued_fallback eu\n" == ended.stdout, ended.stderr


def test_a_region_that_is_not_simulated_is_refused_and_not_called(simulate):
    ended = simulate("import byteplus_trace; byteplus_trace.base_url('cn-beijing')")

    assert "Add --region cn-beijing" in ended.stderr


def test_it_says_so_in_one_line(simulate):
    ended = simulate("import sys\n" * 100)

    (line,) = ended.stderr.splitlines()
    assert line.startswith("byteplus-trace: ModelArk is simulated on this machine for: ")
    assert len(line) < 160


def test_the_programs_exit_status_is_the_commands(simulate):
    assert 7 == simulate("import sys; sys.exit(7)").returncode


# Each block in a process of its own, forked so that what all of them import is imported once.
EACH = """
import openai, os, sys, traceback
for block in {blocks!r}:
    child = os.fork()
    if not child:
        try:
            exec(compile(block, "README.md", "exec"), {{"__name__": "__main__"}})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(block)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork of POSIX")
def test_what_the_readme_prints_runs(simulate):
    """The other pages run within the tests, in the same environment (test_docs.py)."""
    assert len(PRINTED) > 5

    ended = simulate(EACH.format(blocks=PRINTED), OTEL_TRACES_EXPORTER="none")

    assert 0 == ended.returncode, ended.stderr
    assert "└─ POST, initial, 200" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["simulate", "--", "no-such-program"], "no-such-program cannot be run"),
        (["simulate", "--for", "1", "--", "true"], "--for stops the service"),
        (["simulate", "--region", "ap-southeast1", "--", "true"], "Did you mean 'ap-southeast-1'?"),
        (["simulate", "--region", "ap-southeast-1", "--fault", "eu-west-1:503", "--", "true"], "no region 'eu-west-1'"),
        (["demo", "--", "true"], "can run a program"),
        (["simulate", "python", "my app.py"], "follows '--': byteplus-trace simulate -- python 'my app.py'"),
        (["watch", "--simulate", "python", "app.py"], "follows '--': byteplus-trace watch --simulate -- python app.py"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_a_sentence(arguments, reason, capfd):
    assert 2 == main(arguments)
    assert reason in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows runs scripts by their names")
@pytest.mark.parametrize("script", ["app.py", "./app.py", "src/my app.py"])
@pytest.mark.parametrize("command", [["simulate"], ["watch"], ["watch", "--simulate"]])
def test_a_script_in_the_place_of_a_program_is_answered_with_python(
    command, script, capfd, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", {"python": "/usr/bin/python"}.get)
    (tmp_path / "src").mkdir()
    (tmp_path / script).touch()

    assert 2 == main([*command, "--", script, "--fast"])

    meant = shlex.join(["byteplus-trace", *command, "--", "python", script, "--fast"])
    assert f"cannot be run without Python. Try: {meant}\n" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_program_and_then_the_command(bare, tmp_path, number):
    """Ctrl-C reaches both from the terminal; other signals are passed on."""
    program = tmp_path / "app.py"
    program.write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "byteplus_trace", "simulate", "--", sys.executable, str(program)],
        env=bare,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as command:
        assert "ready\n" == command.stdout.readline()
        if number == signal.SIGINT:
            os.killpg(command.pid, number)
        else:
            command.send_signal(number)
        command.communicate(timeout=60)

    assert 128 + number == command.returncode


@pytest.mark.parametrize("url", ["https://ark.example/api/v3", "http://10.0.0.1:80", "", "http://["])
def test_a_simulation_never_leads_off_this_machine(simulated, url):
    simulated(f"ap-southeast-1={url}")

    with pytest.raises(SettingError, match="on this machine"):
        base_url("ap-southeast-1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_simulated_region_is_at_its_fake(simulated, host):
    simulated(f"ap-southeast-1=http://{host}:8501/api/v3")

    assert f"http://{host}:8501/api/v3" == base_url("ap-southeast-1")


@pytest.mark.parametrize("command", ["simulate", "watch"])
def test_a_program_that_is_missing_after_the_dashes_is_asked_for(capsys, command):
    assert 2 == main([command, "--"])
    assert f"No program follows '--': byteplus-trace {command} -- python app.py" in capsys.readouterr().err
