"""`byteplus-trace doctor`."""

import re

import pytest

from byteplus_trace._cli.checks import Surroundings, _key, _multiprocess, _providers, examine


def test_a_bare_environment_has_warnings_and_no_failure(command):
    ended = command("doctor", "--offline")

    assert 0 == ended.returncode, ended.stdout
    assert "httpx calls" in ended.stdout
    assert "a call to the loopback was seen" in ended.stdout
    assert "0 to mend" in ended.stdout


def test_settings_that_instrument_would_refuse_are_a_failure(command, tmp_path):
    config = tmp_path / "policy.toml"
    config.write_text('max_models = "many"\n')
    ended = command("doctor", "--offline", BYTEPLUS_TRACE_CONFIG=str(config))

    assert 1 == ended.returncode
    assert re.search(r"FAIL  settings +max_models='many' must be a whole number", ended.stdout)


def test_a_key_is_found_and_never_shown(command):
    ended = command("doctor", "--offline", ARK_API_KEY="5ecre7-0000", OTEL_EXPORTER_OTLP_HEADERS="a=5ecre7")

    assert re.search(r"ok    ARK_API_KEY +set", ended.stdout)
    assert "5ecre7" not in ended.stdout + ended.stderr
    assert "0000" not in ended.stdout


@pytest.mark.parametrize(
    ("key", "status", "found"),
    [
        ("", "warn", "not set"),
        ("Bearer k", "warn", "set, beginning with 'Bearer '"),
        ("k\n", "warn", "set, with blanks around it"),
        ("k", "ok", "set"),
    ],
)
def test_the_form_of_a_key_is_looked_at(key, status, found):
    (finding,) = _key(Surroundings({"ARK_API_KEY": key}))

    assert (status, found) == (finding.status, finding.found)


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://me:hunter2@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://me:hunter2@127.0.0.1:9/?token=hunter3", "http://127.0.0.1:9/"),
        ("http://127.0.0.1:9/v1#hunter2", "http://127.0.0.1:9/v1"),
        ("http://me:hunter/2@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://me:hunter#2@127.0.0.1:9", "(not shown)"),
        ("http://me:hunter2@[", "http://["),
    ],
)
def test_what_may_be_secret_in_an_endpoint_is_left_out(endpoint, shown):
    variables, spans = _providers(Surroundings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}))

    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={shown}" == variables.found
    assert f"nobody listens at {shown}" == spans.found


def test_a_secret_inside_a_variable_is_not_shown():
    variables, _ = _providers(Surroundings({"OTEL_RESOURCE_ATTRIBUTES": "a=b,api.key=hunter2"}))

    assert "OTEL_RESOURCE_ATTRIBUTES=(set)" == variables.found


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin': no exporter of that name"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "OTEL_BSP_* variables cannot be followed"),
        ({"BYTEPLUS_TRACE_METADATA_LABELS": "model"}, "'model' cannot be a label"),
        ({"BYTEPLUS_TRACE_BASE_URLS": "ark.example=eu-west-1"}, "'ark.example' is not a base URL"),
    ],
)
def test_what_instrument_refuses_is_a_failure(command, variables, reason):
    ended = command("doctor", "--offline", **variables)

    assert 1 == ended.returncode, ended.stdout
    assert reason in " ".join(ended.stdout.split())


def test_an_empty_exporter_is_the_usual_one():
    *_, spans = _providers(
        Surroundings({"OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    )

    assert "nobody listens at http://127.0.0.1:9" == spans.found


def test_a_directory_for_several_processes_has_to_be_there_and_empty(tmp_path):
    def look(directory):
        return next(_multiprocess(Surroundings({"PROMETHEUS_MULTIPROC_DIR": str(directory)}))).status

    assert "ok" == look(tmp_path)
    (tmp_path / "counter_1.db").touch()
    assert "warn" == look(tmp_path)
    assert "fail" == look(tmp_path / "elsewhere")


def test_a_check_that_breaks_is_itself_a_finding(monkeypatch):
    def _broken_check(_around):
        raise OSError("no such luck")

    monkeypatch.setattr("byteplus_trace._cli.checks.CHECKS", (_broken_check,))
    (finding,) = examine(Surroundings({}))

    assert ("warn", "broken check") == (finding.status, finding.subject)
