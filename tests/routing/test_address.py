"""Where a call goes: the URL that leaves is the one that its SDK would build for the target's base."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus_trace import Policy, SettingError, Target
from byteplus_trace._facts import Call
from byteplus_trace._policy.warnings import warnings_of
from byteplus_trace._regions import PREFIXES
from byteplus_trace._routing.address import address_of_call, base_at
from byteplus_trace._wire.routes import match

SG, EU = "ap-southeast-1", "eu-west-1"
HOSTS = {SG: "https://ark.ap-southeast.bytepluses.com", EU: "https://ark.eu-west.bytepluses.com"}
PATHS = {
    "openai": [
        ("POST", "/chat/completions"),
        ("POST", "/chat/completions/"),
        ("POST", "/bots/chat/completions"),
        ("POST", "/embeddings/multimodal"),
        ("GET", "/responses/resp_1"),
        ("GET", "/contents/generations/tasks/cgt%2F1"),
        ("GET", "/models/a%2Fb"),
        ("POST", "/some/future/api"),
    ],
    "anthropic": [
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/models"),
        ("POST", "/v1/messages/batches"),
    ],
}
PRIVATE = {
    "openai": ["https://ark.private.example/api/v3", "https://p.example", "http://127.0.0.1:8080/é (1)/v1"],
    "anthropic": ["https://ark.private.example/messages", "https://p.example/api/compatible"],
}
PLANS = {form: sorted({plan for plan, of_form in PREFIXES if of_form == form}) for form in PATHS}


def call_to(url, method="POST"):
    path = "/" + url.split("/", 3)[3] if url.count("/") > 2 else ""
    api, suffix, resource_id = match(method, path)
    host = re.split(r"[:/]", url.split("://")[1])[0]
    return Call(
        api.operation, api.name, method, url, host, 443, suffix, SG, "byteplus.modelark",
        resource_id=resource_id,
    )  # fmt: skip


def url_at(url, target, *others, method="POST"):
    """The URL that leaves for a target; None where it cannot serve the call."""
    address = address_of_call(call_to(url, method), [target, *others])
    base = base_at(address, target)
    return base + address.path if base is not None else None


@given(data=st.data(), form=st.sampled_from(sorted(PATHS)))
def test_what_leaves_is_what_the_sdk_would_build_for_that_base(data, form):
    method, path = data.draw(st.sampled_from(PATHS[form]))
    plan = data.draw(st.sampled_from(PLANS[form]))
    # The caller's base: a region's, or the private one of a target.
    home = Target("home", region=SG)
    base = HOSTS[SG] + PREFIXES[plan, form]
    if data.draw(st.booleans()):
        base = data.draw(st.sampled_from(PRIVATE[form]))
        named = {"messages_base_url": base} if form == "anthropic" else {"base_url": base}
        home, plan = Target("home", region=SG, **named), None
    # Where it moves to: a region, with a plan or without one, or a private endpoint.
    asked = data.draw(st.sampled_from([None, *PLANS[form]]))
    there = Target("there", region=EU, billing_plan=asked)
    expected = HOSTS[EU] + PREFIXES[asked or plan or "metered", form]
    if data.draw(st.booleans()):
        expected = "https://two.example/eu"
        there = Target(
            "there", region=EU, **{"base_url" if form == "openai" else "messages_base_url": expected}
        )

    assert base_at(address_of_call(call_to(base + path, method), [home, there]), home) + path == url_at(
        base + path, home, method=method
    )
    assert expected + path == url_at(base + path, there, home, method=method)


@pytest.mark.parametrize(
    ("url", "target", "expected"),
    [
        ("/api/coding/v3/chat/completions", {"billing_plan": "metered"}, "/api/v3/chat/completions"),
        ("/api/v3/chat/completions", {"billing_plan": "agent"}, "/api/plan/v3/chat/completions"),
        ("/api/compatible/v1/messages", {"billing_plan": "coding"}, "/api/coding/v1/messages"),
        ("/api/coding/v1/messages", {"billing_plan": "metered"}, "/api/compatible/v1/messages"),
        ("/api/coding/messages", {}, "/api/coding/messages"),
        ("/api/coding/v1/messages", {"billing_plan": "agent"}, None),
        ("/api/coding/v3/chat/completions", {"base_url": HOSTS[EU] + "/api/v3"}, "/api/v3/chat/completions"),
        ("/api/v3/chat/completions", {"base_url": HOSTS[EU] + "/api/coding"}, "/api/coding/v3/chat/completions"),
        ("/api/compatible/v1/messages", {"base_url": HOSTS[EU] + "/api/coding/v3"}, "/api/coding/v1/messages"),
        ("/api/v9/chat/completions", {}, "/api/v9/chat/completions"),
        ("/api/plan/v1/messages", {}, "/api/plan/v1/messages"),
    ],
)  # fmt: skip
def test_a_plan_and_a_form_are_kept_unless_the_policy_names_another(url, target, expected):
    moved = url_at(HOSTS[SG] + url, Target("eu", region=EU, **target))

    assert (HOSTS[EU] + expected if expected is not None else None) == moved


def test_a_private_base_serves_calls_of_its_own_form_alone():
    messages, chat = HOSTS[SG] + "/api/compatible/v1/messages", HOSTS[SG] + "/api/v3/chat/completions"
    of_chats = Target("p", region=EU, base_url="https://p.example/v3")
    of_messages = Target("p", region=EU, base_url="https://p.example/api/compatible")
    of_both = Target("p", region=EU, base_url="https://p.example/v3", messages_base_url="https://p.example/m")

    assert [None, "https://p.example/v3/chat/completions"] == [
        url_at(url, of_chats) for url in (messages, chat)
    ]
    assert ["https://p.example/api/compatible/v1/messages", None] == [url_at(url, of_messages) for url in (messages, chat)]  # fmt: skip
    assert ["https://p.example/m/v1/messages", "https://p.example/v3/chat/completions"] == [url_at(url, of_both) for url in (messages, chat)]  # fmt: skip


def test_a_call_of_the_other_form_is_skipped_for_its_operation(world):
    policy = Policy(
        targets=[
            Target("p", region=EU, base_url="https://p.example/v3", api_key="k"),
            Target("sg", region=SG, api_key="k"),
        ]
    )
    messages = call_to(HOSTS[SG] + "/api/compatible/v1/messages")

    trip = world(policy).play(messages)

    assert (["sg"], [("p", "operation")]) == (trip.targets, trip.skips)


def test_a_call_to_a_targets_own_base_stays_there_whatever_its_form():
    url = "https://p.example/v3/v1/messages"

    assert url == url_at(url, Target("p", region=EU, base_url="https://p.example/v3"))


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"billing_plan": "codng"}, "billing_plan: 'codng' is not known.*Did you mean 'coding'"),
        ({"billing_plan": "coding", "base_url": HOSTS[EU] + "/api/v3"}, "base_url is of the plan 'metered'"),
        ({"messages_base_url": "p.example"}, "messages_base_url is not a base URL"),
        (
            {"base_url": "https://p.example/api/coding", "messages_base_url": "https://p.example"},
            "Leave messages_base_url out",
        ),
        ({"api_key": "ark\n-secret"}, "a character that no header may carry"),
    ],
)
def test_what_cannot_be_followed_is_refused(fields, refusal):
    with pytest.raises(SettingError, match=refusal) as refused:
        Target("eu", region=EU, **fields)

    assert "secret" not in str(refused.value)


def test_a_key_is_used_without_the_end_of_the_line_it_was_read_from():
    assert "ark-1" == Target("eu", region=EU, api_key="ark-1\n").api_key


@pytest.mark.parametrize(
    "eu", [{"billing_plan": "metered"}, {"base_url": HOSTS[EU] + "/api/v3"}, {"billing_plan": "coding"}]
)
def test_a_target_that_may_change_the_plan_is_warned_of(eu):
    (warning,) = [
        each
        for each in warnings_of(Policy(targets=[Target("sg", region=SG), Target("eu", region=EU, **eu)]))
        if "plan" in each
    ]

    assert "Target 'eu' bills on the " in warning


def test_targets_that_keep_the_plan_are_not_warned_of():
    policy = Policy(targets=[Target("sg", region=SG), Target("eu", region=EU)])

    assert not [each for each in warnings_of(policy) if "plan" in each]
