"""What every command shares: help, exit statuses, faults that are sentences."""

import os
import subprocess
import sys

import pytest

from byteplus_trace import SettingError, _cli
from byteplus_trace._cli import COMMANDS, main


def test_without_a_command_it_prints_help(capsys):
    assert 0 == main([])
    assert "usage: byteplus-trace" in capsys.readouterr().out


def test_a_command_that_is_nearly_one_is_named(capsys):
    assert 2 == main(["doctr"])
    assert "'doctr' is no command" in (err := capsys.readouterr().err)
    assert "Did you mean 'doctor'?" in err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["config", "chek", "policy.toml"], "check"), (["demo", "--only", "outge"], "outage")],
)
def test_a_choice_that_is_nearly_one_is_named(arguments, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert 2 == ended.value.code
    assert f"Did you mean '{meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["watch", "--port", "70000"], "'70000': a port is a number from 0 to 65535"),
        (["simulate", "--port", "-1"], "'-1': a port is a number from 0 to 65535"),
        (["simulate", "--port", "http"], "'http': a port is a number from 0 to 65535"),
        (["traffic", "--metrics-port", "80000"], "'80000': a port is a number from 0 to 65535"),
        (["simulate", "--for", "inf"], "'inf': write seconds, such as 0.5"),
        (["simulate", "--delay", "-1"], "'-1': write seconds, such as 0.5"),
        (["simulate", "--between", "1s"], "'1s': write seconds, such as 0.5"),
        (["simulate", "--outage", "eu-west-1@0-inf"], "write REGION@FROM-TO in seconds"),
        (["doctor", "--timeout", "nan"], "'nan': write seconds, such as 0.5"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(arguments, reason, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert 2 == ended.value.code
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "usage", "meant"),
    [
        (["doctor", "--ofline"], "usage: byteplus-trace doctor", " Did you mean '--offline'?"),
        (["simulate", "--outages", "x", "--", "python"], "usage: byteplus-trace simulate", " Did you mean '--outage'?"),
        (["config", "check", "--strct", "FILE"], "usage: byteplus-trace config", ""),
        (["demo", "-x"], "usage: byteplus-trace demo", ""),
        (["--wtach"], "usage: byteplus-trace [-h]", ""),
    ],
)  # fmt: skip
def test_an_option_that_is_not_known_is_answered_by_its_command(arguments, usage, meant, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert 2 == ended.value.code
    err = capsys.readouterr().err
    assert err.startswith(usage)
    assert err.endswith(f".{meant}\n")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize(
    ("command", "written", "shown"),
    [
        (["config", "check"], '[[targets]]\nname = "東京"\nregion = "eu-west-1"', "1. ??"),
        (["prices", "--file"], '[[price]]\nids = ["東京"]\nimage = 1', "\n??"),
    ],
)
def test_a_name_that_the_console_cannot_write_is_no_traceback(tmp_path, encoding, command, written, shown):
    file = tmp_path / "file.toml"
    file.write_text(written, encoding="utf-8")

    ended = subprocess.run(
        [sys.executable, "-m", "byteplus_trace", *command, str(file)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (ended.returncode, ended.stderr)
    assert shown in ended.stdout


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert 0 == ended.value.code
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    assert 0 == ended.value.code
    assert f"usage: byteplus-trace {name}" in capsys.readouterr().out


def test_help_loads_no_command():
    loads = "import sys; from byteplus_trace._cli import main\ntry: main(['--help'])\nexcept SystemExit: print([m for m in ('openai', 'rich', 'httpx', 'opentelemetry.sdk') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)

    assert found.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (ModuleNotFoundError("", name="openai"), 1, "pip install 'byteplus-trace[demo]'"),
        (ModuleNotFoundError("", name="rich.table"), 1, "pip install 'byteplus-trace[demo]'"),
        (ModuleNotFoundError("", name="grafana_foundation_sdk"), 1, "pip install 'byteplus-trace[dashboards]'"),
        (SettingError("Region 'eu-wst' is not known."), 2, "byteplus-trace: Region 'eu-wst' is not known."),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["openai", "rich", "grafana", "setting", "ctrl-c"],
)  # fmt: skip
def test_a_foreseeable_fault_is_a_sentence_and_a_status(raised, status, message, monkeypatch, capsys):
    class Failing:
        @staticmethod
        def add_arguments(parser):
            pass

        @staticmethod
        def run(args):
            raise raised

    monkeypatch.setattr(_cli, "import_module", lambda name: Failing)

    assert status == main(["demo"])
    assert message in capsys.readouterr().err


def test_another_missing_module_is_a_bug_and_not_hidden(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere")

    monkeypatch.setattr(_cli, "import_module", missing)

    with pytest.raises(ModuleNotFoundError):
        main(["demo"])
