"""A Portkey gateway config is followed where it can be, and refused by name where it cannot."""

import pytest

from byteplus_trace import Breaker, Policy, Retry, SettingError
from byteplus_trace._policy.gatewayconfig import REFUSED, is_gateway_config

SG, EU = "ap-southeast-1", "eu-west-1"
BYTEPLUS = {"provider": "byteplus", "api_key": "key"}


def load(config):
    return Policy.load(config, {"KEY": "from the environment"})


@pytest.mark.parametrize(
    ("table", "is_one"),
    [
        ({"strategy": {"mode": "single"}, "targets": []}, True),
        ({"provider": "byteplus"}, True),
        ({"virtual_key": "x"}, True),
        ({"targets": [{"provider": "byteplus"}]}, True),
        ({"targets": [{"targets": [{"provider": "byteplus"}]}]}, True),
        ({"targets": [{"name": "sg", "region": SG}]}, False),
        ({"mode": "fallback", "targets": [{"name": "sg"}]}, False),
    ],
)
def test_it_is_known_by_its_words(table, is_one):
    assert is_one is is_gateway_config(table)


def test_one_provider_is_a_policy_of_one_target():
    (target,) = load({"provider": "byteplus", "api_key": "${KEY}"}).leaves

    assert ("targets[0]", SG, "from the environment") == (target.name, target.region, target.api_key)


def test_unnamed_targets_are_named_after_their_place():
    policy = load({"strategy": {"mode": "fallback"}, "targets": [{"targets": [BYTEPLUS, {**BYTEPLUS, "name": "b"}]}, BYTEPLUS]})  # fmt: skip

    assert ["targets[0].targets[0]", "b", "targets[1]"] == [target.name for target in policy.leaves]
    assert "targets[0]" == policy.targets[0].name


def test_a_target_says_where_and_what_it_is():
    (target,) = load(
        {
            "provider": "@byteplus-team", "api_key": "k", "byteplus_region": EU, "request_timeout": 2500,
            "override_params": {"model": "seed-2-0-lite", "temperature": 0}, "custom_host": "https://ark.example/v3",
            "strict_open_ai_compliance": False,
        }
    ).leaves  # fmt: skip

    assert (EU, "https://ark.example/v3", 2.5) == (target.region, target.address, target.request_timeout)
    assert ({"*": "seed-2-0-lite"}, {"temperature": 0}) == (target.models, target.override_params)


def test_a_provider_may_name_the_model():
    assert {"*": "seed-2-0-lite"} == load({"provider": "@byteplus/seed-2-0-lite"}).leaves[0].models


def test_params_are_merged_downwards_and_the_rest_replaced_whole():
    first, second = load(
        {
            "override_params": {"temperature": 0, "top_p": 1},
            "retry": {"attempts": 4, "on_status_codes": [429]},
            "request_timeout": 1000,
            "strategy": {"mode": "fallback"},
            "targets": [BYTEPLUS, {**BYTEPLUS, "override_params": {"top_p": 0.5}, "retry": {"attempts": 2}, "request_timeout": 9000}],
        }
    ).leaves  # fmt: skip

    assert [{"temperature": 0, "top_p": 1}, {"temperature": 0, "top_p": 0.5}] == [first.override_params, second.override_params]  # fmt: skip
    assert [Retry(per_target=4, on_status_codes={429}), Retry(per_target=2)] == [first.retry, second.retry]
    assert [1.0, 9.0] == [first.request_timeout, second.request_timeout]


@pytest.mark.parametrize("spelling", ["use_retry_after_header", "use_retry_after_headers"])
def test_both_spellings_of_the_retry_header_are_understood(spelling):
    (target,) = load({**BYTEPLUS, "retry": {"attempts": 1, spelling: False}}).leaves

    assert not target.retry.use_retry_after


def test_a_breaker_opens_on_what_is_given_and_always_as_long():
    (counted,) = load({**BYTEPLUS, "cb_config": {"failure_threshold": 3, "cooldown_interval": 30000}}).leaves
    (shared,) = load({**BYTEPLUS, "strategy": {"mode": "single"}, "cb_config": {"failure_threshold_percentage": 20, "minimum_requests": 4, "failure_status_codes": [500]}}).leaves  # fmt: skip

    assert Breaker(consecutive=3, ratio=None, open=30, open_max=30) == counted.breaker
    assert Breaker(consecutive=None, ratio=0.2, min_requests=4, on_status_codes={500}) == shared.breaker


def test_a_strategys_breaker_is_for_all_its_targets():
    policy = load({"strategy": {"mode": "fallback", "cb_config": {"failure_threshold": 2}}, "targets": [BYTEPLUS, BYTEPLUS]})  # fmt: skip

    assert [2, 2] == [target.breaker.consecutive for target in policy.leaves]


def test_listed_statuses_alone_move_on_but_network_failures_always_do(world, call):
    from byteplus_trace._routing.steps import Failure, Reply

    policy = load({"strategy": {"mode": "fallback", "on_status_codes": [503]}, "retry": {"attempts": 0}, "targets": [BYTEPLUS, BYTEPLUS]})  # fmt: skip

    def hops(outcome):
        return world(policy).play(call(), outcome).targets

    assert ["targets[0]", "targets[1]"] == hops(Reply(503))
    assert ["targets[0]"] == hops(Reply(502))
    assert ["targets[0]", "targets[1]"] == hops(Failure("connect", reached=False))


def test_conditions_choose_a_target_by_name():
    policy = load(
        {
            "strategy": {"mode": "conditional", "default": "b", "conditions": [{"query": {"metadata.plan": {"$in": ["paid"]}}, "then": "a"}]},
            "targets": [{**BYTEPLUS, "name": "a"}, {**BYTEPLUS, "name": "b"}],
        }
    )  # fmt: skip

    assert ("conditional", "b", "a") == (policy.mode, policy.default, policy.conditions[0].then)


def test_weights_may_be_nought():
    policy = load({"strategy": {"mode": "loadbalance"}, "targets": [{**BYTEPLUS, "weight": 0}, {**BYTEPLUS, "weight": 0.7}]})  # fmt: skip

    assert [0, 0.7] == [target.weight for target in policy.targets]


def test_all_the_retries_of_all_targets_fit_under_the_cap():
    policy = load(
        {"strategy": {"mode": "fallback"}, "retry": {"attempts": 5}, "targets": [BYTEPLUS, BYTEPLUS]}
    )

    assert 12 == policy.max_attempts


@pytest.mark.parametrize("key", [key for key in REFUSED if key != "sticky"])
def test_what_makes_no_sense_without_a_gateway_is_refused_by_name(key):
    with pytest.raises(SettingError, match=f"^targets\\[0\\]\\.{key} cannot be followed here: "):
        load({"strategy": {"mode": "single"}, "targets": [{**BYTEPLUS, key: {}}]})


WRONG = {
    "strategy.sticky cannot be followed here": {"strategy": {"mode": "loadbalance", "sticky": {}}, "targets": [BYTEPLUS]},
    "targets[0].provider: 'openai' cannot be called from here": {"targets": [{"provider": "openai"}]},
    "strategy.mode: 'fallbck' is not known": {"strategy": {"mode": "fallbck"}, "targets": [BYTEPLUS]},
    "targets[0].retr is not known": {"targets": [{**BYTEPLUS, "retr": {}}]},
    "Did you mean 'retry'?": {"targets": [{**BYTEPLUS, "retr": {}}]},
    "retry.attempt is not known": {**BYTEPLUS, "retry": {"attempt": 3}},
    "retry must be an object": {**BYTEPLUS, "retry": 3},
    "request_timeout='2s' must be a number of milliseconds": {**BYTEPLUS, "request_timeout": "2s"},
    "failure_threshold_percentage=0 must be": {**BYTEPLUS, "cb_config": {"failure_threshold_percentage": 0}},
    "targets[0].custom_host is plain http, which would show keys and prompts to the network. Write https; a gateway config cannot allow it": {**BYTEPLUS, "custom_host": "http://ark.example/v3"},
    "targets[0].custom_host is not a base URL": {**BYTEPLUS, "custom_host": "ark.example/v3"},
    "targets[0].custom_host must be a text, not ''": {**BYTEPLUS, "custom_host": ""},
    "retry.attempts='3' must be a whole number": {"strategy": {"mode": "single"}, "retry": {"attempts": "3"}, "targets": [BYTEPLUS]},
    "retry.on_status_codes: {...} is not an HTTP status": {**BYTEPLUS, "retry": {"attempts": 1, "on_status_codes": [{}]}},
    "targets[0].retry.use_retry_after_headers=1 must be true or false": {**BYTEPLUS, "retry": {"use_retry_after_headers": 1}},
    "targets[0].cb_config.failure_threshold=0 must be a whole number of 1 or more": {**BYTEPLUS, "cb_config": {"failure_threshold": 0}},
    "targets[0].cb_config.minimum_requests='1' must be": {**BYTEPLUS, "cb_config": {"minimum_requests": "1"}},
    "targets[0].cb_config.failure_status_codes=500 must be a list": {**BYTEPLUS, "cb_config": {"failure_status_codes": 500}},
    "targets[0].cb_config.cooldown_interval=<int> must be a number of milliseconds": {**BYTEPLUS, "cb_config": {"cooldown_interval": 10**400}},
    "targets[0].request_timeout=inf must be a number of milliseconds": {**BYTEPLUS, "request_timeout": float("inf")},
    "targets[0].override_params.model must be a text, not 5": {**BYTEPLUS, "override_params": {"model": 5}},
    "targets[0].byteplus_region must be a text, not 5": {**BYTEPLUS, "byteplus_region": 5},
    "strategy.on_status_codes='429' must be a list": {"strategy": {"mode": "fallback", "on_status_codes": "429"}, "targets": [BYTEPLUS]},
    "strategy.default must be a text, not 5": {"strategy": {"mode": "conditional", "default": 5, "conditions": [{"query": {"metadata.a": 1}, "then": "a"}]}, "targets": [{**BYTEPLUS, "name": "a"}]},
    "Policy: every weight is 0": {"strategy": {"mode": "loadbalance"}, "targets": [{**BYTEPLUS, "weight": 0}]},
    "Region 'us-east-1' is not known": {**BYTEPLUS, "byteplus_region": "us-east-1"},
    "strategy.conditions[0]: 'then' is missing": {"strategy": {"mode": "conditional", "conditions": [{"query": {"metadata.a": 1}}]}, "targets": [BYTEPLUS]},
    "targets is empty": {"strategy": {"mode": "fallback"}, "api_key": "k"},
    "targets[0].strategy.mode: 'sngle' is not known": {"strategy": {"mode": "sngle"}, **BYTEPLUS},
    "targets must be a list of objects": {"strategy": {"mode": "single"}, "targets": "byteplus"},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_else_is_refused(message):
    with pytest.raises(SettingError) as refused:
        load(WRONG[message])

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("https://ark.eu-west.bytepluses.com/api/v3", "eu-west-1"),
        ("https://ark.private.example/api/v3", "ap-southeast-1"),
    ],
)
def test_a_public_host_says_its_region(host, region):
    policy = Policy.load(
        {"strategy": {"mode": "fallback"}, "targets": [{"provider": "byteplus", "custom_host": host}]}
    )

    assert [region] == [target.region for target in policy.leaves]
