"""`byteplus-trace config check FILE`: how a file is understood, and never a part of a key."""

import json
import pickle

import msgspec
import pytest

from byteplus_trace import Policy, SettingError
from byteplus_trace._cli import main
from byteplus_trace._cli.config import check
from byteplus_trace._policy.warnings import warnings_of

SECRET = "sk-a-very-secret-key"
TABLE = {
    "targets": [
        {"name": "sg", "region": "ap-southeast-1", "api_key": "${KEY}", "quota_group": "acct"},
        {"name": "eu", "region": "eu-west-1", "api_key": "${KEY}", "only": ["chat"], "models": {"a": "ep-b"},
         "retry": {"per_target": 0}, "override_params": {"thinking": {"type": "disabled"}}, "zone": "eu"},
    ],
    "deadline": {"total": 30},
}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """A file of that content."""

    def write(content):
        path = tmp_path / "policy.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_it_tells_the_policy_as_it_is_understood(written, capsys):
    status = check(written(TABLE), {"KEY": SECRET})

    output = capsys.readouterr().out
    assert 0 == status
    for part in (
        "targets, tried in this order:", "1. sg", "https://ark.eu-west.bytepluses.com/api/v3", "set\n", "a -> ep-b",
        "acct", "thinking", "30 s total", "at most 6 a call", "images: unsent_only", "retry      never",
        "warning: Calls may cross regions: 'sg' (ap-southeast-1) -> 'eu' (eu-west-1).", "valid, 1 warning",
    ):  # fmt: skip
        assert part in output
    assert not any(SECRET[at : at + 4] in output for at in range(len(SECRET) - 3))


def test_a_file_that_cannot_be_followed_says_what_to_write(written, capsys):
    assert 2 == check(written(TABLE), {})

    assert "the environment variable KEY is not set" in capsys.readouterr().err


def test_settings_that_cannot_both_be_followed_say_what_to_write(written, capsys):
    assert 2 == check(written({"attempt_spans": "when_retried", "propagate": True}), {})

    output = capsys.readouterr().err
    assert "attempt_spans='when_retried' cannot be used with propagate=True" in output
    assert "write propagate=False, or leave attempt_spans out" in output


@pytest.mark.parametrize("content", [None, "not = [toml", "[1, 2]", "{", '{"metrics_prt": 9464}'])
def test_what_is_wrong_with_the_file_is_told_of_the_file_and_of_no_variable(written, content, capsys):
    file = written(content) if content is not None else "nowhere/policy.toml"

    assert 2 == check(file, {"BYTEPLUS_TRACE_CONFIG": "another.toml"})

    output = capsys.readouterr().err
    assert f"The file {file!r}" in output
    assert "BYTEPLUS_TRACE_CONFIG" not in output


def test_a_file_without_a_name_is_not_valid(capsys):
    """As a script gives it whose variable is empty."""
    assert 2 == check("", {})

    assert "the path of a file" in capsys.readouterr().err


def test_without_secrets_only_what_they_hold_is_not_checked(written, capsys):
    """As in CI, where no key is set."""
    file = written(TABLE)

    assert 0 == main(["config", "check", file, "--without-secrets"])
    assert "key        not checked: its variable is not set here" in capsys.readouterr().out
    assert 0 == check(file, {"KEY": SECRET}, without_secrets=True)
    assert "key        set" in capsys.readouterr().out
    assert 2 == check(written({**TABLE, "deadline": 30}), {}, without_secrets=True)
    assert "Write deadline.total = 30" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "environ", "offers"),
    [
        (TABLE, {}, True),
        ({**TABLE, "deadline": 30}, {}, True),
        ({**TABLE, "deadline": 30}, {"KEY": SECRET}, False),
        ({"deadline": 30}, {}, False),
    ],
)
def test_only_missing_variables_are_answered_with_without_secrets(written, capsys, table, environ, offers):
    assert 2 == check(written(table), environ)

    assert offers is ("add --without-secrets" in capsys.readouterr().err)


def test_warnings_fail_where_that_is_asked_for(written):
    assert 1 == check(written(TABLE), {"KEY": SECRET}, strict=True)


def test_settings_without_a_policy_are_valid_too(written, capsys):
    assert 0 == check(written({"service_name": "shop"}), {})

    assert "holds no policy" in capsys.readouterr().out


def test_other_settings_of_the_environment_are_not_the_files(written):
    assert 0 == check(written({"service_name": "shop"}), {"BYTEPLUS_TRACE_METRICS_PORT": "no number"})


def test_groups_conditions_and_weights_are_told(written, capsys):
    check(
        written(
            {
                "strategy": {"mode": "conditional", "default": "rest", "conditions": [{"query": {"metadata.a": 1}, "then": "one"}]},
                "targets": [
                    {"provider": "byteplus", "name": "one", "cb_config": {"failure_threshold": 2}},
                    {"name": "rest", "strategy": {"mode": "loadbalance", "on_status_codes": [503]}, "retry": {"attempts": 2, "on_status_codes": [429]},
                     "targets": [{"provider": "byteplus", "weight": 2, "request_timeout": 500}]},
                ],
            }
        ),
        {},
    )  # fmt: skip

    output = capsys.readouterr().out
    for part in (
        "where {'metadata.a': 1} -> one", "otherwise -> rest", "weight 2", "moving on at 503 alone", "2 times a target, at 429",
        "opens after 2 failures in a row, for", "0.5 s", "none: the caller's own",
    ):  # fmt: skip
        assert part in output


def test_it_is_a_command(written, capsys, monkeypatch):
    monkeypatch.setenv("KEY", SECRET)

    assert 0 == main(["config", "check", written(TABLE)])
    assert "valid" in capsys.readouterr().out


FILLED = {
    "targets": [
        {
            "name": "${V}-name", "region": "ap-southeast-1", "api_key": "${V}", "base_url": "https://${V}.example/v3",
            "messages_base_url": "https://${V}.example/m", "models": {"a": "${V}", "b": "${V}/b"}, "zone": "${V}",
            "quota_group": "${V}", "override_params": {"user": "${V}", "tags": ["${V}"], "plain": "very-secret"},
        },
        {"name": "g", "targets": [{"name": "eu", "region": "eu-west-1", "models": {"*": "${V}"}}]},
    ],
    "mode": "conditional", "default": "${V}-name",
    "conditions": [{"query": {"metadata.plan": {"$in": ["${V}"]}}, "then": "${V}-name"}],
}  # fmt: skip


def test_what_a_variable_holds_and_what_is_overridden_are_not_shown(written, capsys):
    policy = Policy.load(FILLED, {"V": "very-secret"})

    assert 0 == check(written(FILLED), {"V": "very-secret"})

    shown = [capsys.readouterr().out, repr(policy), str(policy), *warnings_of(policy), repr(policy.leaves)]
    assert not [each for each in shown if "secret" in each]
    assert "https://${V}.example/v3" in shown[0]


BROKEN = [
    {"region": "${V}"},
    {"base_url": "${V}"},
    {"base_url": "http://${V}.example"},
    {"messages_base_url": "https://u:${V}@p.example"},
    {"billing_plan": "${V}"},
    {"models": {"a": {"b": "${V}"}}},
    {"only": ["${V}"]},
    {"weight": "${V}"},
    {"retry": {"base": "${V}"}},
    {"override_params": {"model": "${V}"}},
    {"override_params": ["${V}"]},
    {"name": "a/${V}"},
    {"base_url": "https://${V}.example/v3", "name": "one"},
]


@pytest.mark.parametrize("wrong", BROKEN)
@pytest.mark.parametrize("value", ["very-secret", "very-secret-" + "and-as-long-as-a-key-" * 3])
def test_no_refusal_shows_what_a_variable_holds(wrong, value, messages):
    table = {
        "targets": [
            {"name": "t", "region": "eu-west-1", **wrong},
            {"name": "u", "region": "ap-southeast-1", "base_url": "https://${V}.example/v3"},
            {"name": "t", "region": "eu-west-1"},
        ]
    }

    with pytest.raises(SettingError) as refused:
        Policy.load(table, {"V": value})

    assert "secret" not in messages(refused.value)


def test_what_was_filled_in_leaves_as_any_other_text(world, call):
    policy = Policy.load(FILLED, {"V": "very-secret"})
    assert policy == pickle.loads(pickle.dumps(policy))

    (send,) = world(policy).play(call(model="a")).sends

    assert (
        '["very-secret-name","very-secret",["very-secret"]]'
        == msgspec.json.encode([send.target, send.model, send.override_params["tags"]]).decode()
    )
