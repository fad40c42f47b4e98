"""A policy says what is wrong with it, in the user's words, before any call is made."""

import json
import pickle
from dataclasses import FrozenInstanceError

import pytest

import byteplus_trace
from byteplus_trace import Breaker, Deadline, Policy, Retry, SettingError, Target
from byteplus_trace._policy.targets import Condition, Group
from byteplus_trace._policy.warnings import warnings_of

SG, EU = "ap-southeast-1", "eu-west-1"


def sg(**settings):
    return Target("sg", **{"region": SG, **settings})


WRONG = {
    "Region 'eu-wst' is not known (known: ap-southeast-1, eu-west-1, cn-beijing). Did you mean 'eu-west-1'?": lambda: Target("t", region="eu-wst"),
    "only: 'imges' is not known (known: chat, messages, responses, embeddings, images, video, other). Did you mean 'images'?": lambda: sg(only={"imges"}),
    "only='chat' must be a set of kinds, such as {'chat', 'responses'}": lambda: sg(only="chat"),
    "only is empty, so it would serve nothing": lambda: sg(only=set()),
    "plain http, which would show keys and prompts": lambda: sg(base_url="http://ark.example/api/v3"),
    "not a base URL. Write it whole": lambda: sg(base_url="ark.example/api/v3"),
    "base_url ends with one API's path. Write it without '/chat/completions'.": lambda: sg(base_url="https://ark.example/api/v3/chat/completions"),
    "base_url has no path. Write 'https://ark.ap-southeast.bytepluses.com/api/v3'.": lambda: sg(base_url="https://ark.ap-southeast.bytepluses.com/"),
    "base_url is in 'eu-west-1', region is 'ap-southeast-1'. Leave the URL out, or name its region.": lambda: sg(base_url="https://ark.eu-west.bytepluses.com/api/v3"),
    "must not hold a query, a fragment or credentials": lambda: sg(base_url="https://user:pass@ark.example/api/v3"),
    "api_key is empty": lambda: sg(api_key=" "),
    "api_key must be a text, not <bytes>": lambda: sg(api_key=b"k"),
    "api_key stands in quotes. Write the key alone.": lambda: sg(api_key='"k"'),
    "api_key begins with '$': only ${NAME} is filled in, in a file or a mapping. In Python, write os.environ['NAME'].": lambda: sg(api_key="${ARK_SG}"),
    "override_params cannot be written as JSON: Encoding objects of type object is unsupported": lambda: sg(override_params={"user": object()}),
    "api_key holds a character that no header may carry. Copy it anew.": lambda: sg(api_key="k\nk"),
    "weight=-1 must be 0 or more": lambda: sg(weight=-1),
    "request_timeout=0 must be more than 0": lambda: sg(request_timeout=0),
    "override_params cannot hold 'model'; set it by models={'*': ...}": lambda: sg(override_params={"model": "m"}),
    "override_params cannot hold 'stream'": lambda: sg(override_params={"stream": True}),
    "models must map": lambda: sg(models=["m"]),
    "a name has no '/'": lambda: Target("a/b", region=SG),
    "the name must be a text": lambda: Target("", region=SG),
    "retry={...} must be a Retry(...)": lambda: sg(retry={"per_target": 2}),
    "retry=3 must be a Retry(...). Write Retry(per_target=3).": lambda: sg(retry=3),
    "breaker=2 must be a Breaker(...). Write Breaker(consecutive=2).": lambda: Policy(targets=[sg()], breaker=2),
    "deadline=60 must be a Deadline(...). Write Deadline(total=60).": lambda: Policy(targets=[sg()], deadline=60),
    "deadline=0.5 must be a Deadline(...). Write Deadline(total=0.5).": lambda: Policy(targets=[sg()], deadline=0.5),
    "deadline={...} must be a Deadline(...). Write Deadline(**{...})": lambda: Policy(targets=[sg()], deadline={"total": 60}),
    "deadline='60s' must be a Deadline(...). Write Deadline(total=60).": lambda: Policy(targets=[sg()], deadline="60s"),
    "deadline=None must be a Deadline(...). Write Deadline(first_event=None) for none, or leave it out for the default.": lambda: Policy(targets=[sg()], deadline=None),
    "breaker=None must be a Breaker(...). Write Breaker(ratio=None, consecutive=None) for none": lambda: Policy(targets=[sg()], breaker=None),
    "retry=None must be a Retry(...). Write Retry(per_target=0) for none": lambda: Policy(targets=[sg()], retry=None),
    "breaker=False must be a Breaker(...). Write Breaker(ratio=None, consecutive=None) for none": lambda: sg(breaker=False),
    "targets is empty. Name at least one Target": lambda: Policy(targets=[]),
    "targets must be a list of Target": lambda: Policy(targets=sg()),
    "targets may hold Target and Group, not a str; Policy.load() reads plain tables": lambda: Policy(targets=["sg"]),
    "Two targets are named 'sg'": lambda: Policy(targets=[sg(), sg()]),
    "Two targets are named 'x'": lambda: Policy(targets=[Group([sg()], name="x"), Target("x", region=EU)]),
    "One address stands for one region": lambda: Policy(targets=[sg(base_url="https://p.example/v3"), Target("eu", region=EU, base_url="https://P.example:443/v3/")]),
    "mode: 'fallbak' is not known (known: fallback, loadbalance, conditional, single). Did you mean 'fallback'?": lambda: Policy(targets=[sg()], mode="fallbak"),
    "every weight is 0": lambda: Policy(targets=[sg(weight=0)], mode="loadbalance"),
    "mode 'conditional' needs conditions": lambda: Policy(targets=[sg()], mode="conditional"),
    "conditions and default need mode='conditional'": lambda: Policy(targets=[sg()], default="sg"),
    "no target is named 'eu' (known: sg)": lambda: Policy(targets=[sg()], mode="conditional", conditions=[Condition({"metadata.a": 1}, "eu")]),
    "replay: 'image' is not known": lambda: Policy(targets=[sg()], replay={"image": "ambiguous"}),
    "replay['chat']: 'twice' is not known": lambda: Policy(targets=[sg()], replay={"chat": "twice"}),
    "'stateless_only' is for responses alone": lambda: Policy(targets=[sg()], replay={"chat": "stateless_only"}),
    "final: 'first' is not known": lambda: Policy(targets=[sg()], final="first"),
    "max_attempts=0 must be a whole number of 1 or more": lambda: Policy(targets=[sg()], max_attempts=0),
    "'9999' is not an HTTP status": lambda: Policy(targets=[sg()], on_status_codes=["9999"]),
    "must be a list of HTTP statuses": lambda: Policy(targets=[sg()], on_status_codes=429),
    "retry.per_target=True must be a whole number": lambda: Retry(per_target=True),
    "retry.base=0 must be more than 0": lambda: Retry(base=0),
    "retry.cap=0.1 must be at least retry.base": lambda: Retry(cap=0.1),
    "retry.use_retry_after=1 must be true or false": lambda: Retry(use_retry_after=1),
    "breaker.ratio=2 must be 1 or less: it is a share": lambda: Breaker(ratio=2),
    "breaker.open_max=1 must be at least breaker.open": lambda: Breaker(open_max=1),
    "breaker.window='30' must be a number": lambda: Breaker(window="30"),
    "deadline.total=-1 must be more than 0": lambda: Deadline(total=-1),
    "deadline.reserve=1 must be less than 1": lambda: Deadline(reserve=1),
    "deadline.idle=<int> must be a number": lambda: Deadline(idle=10**400),
    "max_attempts=<int> must be a whole number": lambda: Policy(targets=[sg()], max_attempts=-(10**400)),
    "weight=<int> must be a number": lambda: sg(weight=10**400),
    "only: {...} is not known": lambda: sg(only=[{}]),
    "on_status_codes: {...} is not an HTTP status": lambda: Retry(on_status_codes=[{}]),
    "conditions must be a list of Condition": lambda: Policy(targets=[sg()], mode="conditional", conditions=5),
    "default must be a text, not 5": lambda: Policy(targets=[sg()], mode="conditional", conditions=[Condition({"metadata.a": 1}, "sg")], default=5),
    "deadline.idle=nan must be a number": lambda: Deadline(idle=float("nan")),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_is_refused(message):
    with pytest.raises(SettingError) as refused:
        WRONG[message]()

    assert message in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/api/v3", "http://127.0.0.1/api/v3", "http://[::1]:1/v3"]
)
def test_plain_http_is_fine_on_the_loopback(url):
    assert url == sg(base_url=url).address


def test_plain_http_elsewhere_must_be_meant():
    assert "http://ark.internal/v3" == sg(base_url="http://ark.internal/v3", allow_http=True).address


def test_the_defaults_are_those_of_the_documentation():
    policy = Policy(targets=[sg()])

    assert Retry(per_target=1, base=0.25, cap=8, retry_after_cap=10, budget_ratio=0.1) == policy.retry
    assert (
        Breaker(window=30, min_requests=10, ratio=0.5, consecutive=5, open=15, open_max=120) == policy.breaker
    )
    assert Deadline(total=None, first_event=60, idle=None, min_attempt=1.0, reserve=0.3) == policy.deadline
    assert ("fallback", 6, "primary") == (policy.mode, policy.max_attempts, policy.final)
    assert {
        "chat": "ambiguous",
        "messages": "ambiguous", "embeddings": "ambiguous", "responses": "stateless_only", "images": "unsent_only",
        "video": "unsent_only", "other": "unsent_only",
    } == policy.replay  # fmt: skip


def test_what_replay_does_not_name_keeps_its_default():
    assert "unsent_only" == Policy(targets=[sg()], replay={"chat": "unsent_only"}).replay["images"]


def test_a_policy_is_frozen_and_copies_what_it_was_given():
    models = {"a": "b"}
    target = sg(models=models)
    models["c"] = "d"

    assert {"a": "b"} == target.models
    with pytest.raises(FrozenInstanceError):
        target.name = "other"
    assert target == pickle.loads(pickle.dumps(target))


def test_a_key_is_never_shown():
    policy = Policy(targets=[sg(api_key="very-secret")])

    assert "very-secret" not in repr(policy) + str(policy)
    with pytest.raises(SettingError) as refused:
        Target("t", region="nowhere", api_key="very-secret")
    assert "very-secret" not in str(refused.value)


def test_a_key_is_taken_without_the_end_of_its_line():
    assert "key" == sg(api_key="key\n").api_key


SECRET = {"name": "sg", "region": SG, "provider": "byteplus", "api_key": "very-secret"}
A_KEY = "very-secret-4000-8000-as-long-as-a-key"
"""Where a text is expected, and long enough to be a key."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: Policy(targets=[SECRET]),
        lambda: Policy(targets=SECRET),
        lambda: Policy.load({"targets": SECRET}),
        lambda: Policy.load({"targets": [{**SECRET, "targets": []}]}),
        lambda: Policy.load({"strategy": {"mode": "single"}, "targets": SECRET}),
        lambda: Policy.load({**SECRET, "wieght": 1}),
        lambda: sg(api_key=["very-secret"]),
        lambda: sg(api_key="very-secret\x00"),
        lambda: sg(models={"a": SECRET}),
        lambda: sg(models=[SECRET]),
        lambda: sg(models={"a": SECRET.items()}),
        lambda: sg(only={A_KEY}),
        lambda: sg(base_url=SECRET),
        lambda: sg(base_url="https://me:very-secret@[h/api/v3"),
        lambda: sg(retry=SECRET),
        lambda: sg(weight=[SECRET]),
        lambda: sg(zone=SECRET),
        lambda: Target("t", region=A_KEY),
        lambda: Target(SECRET, region=SG),
        lambda: Policy(targets=[sg()], replay=[SECRET]),
        lambda: Policy(targets=[sg()], mode=SECRET),
        lambda: Policy(targets=[sg()], max_attempts=SECRET),
        lambda: Policy(targets=[sg()], on_status_codes=SECRET),
        lambda: Policy(targets=[sg()], on_status_codes=[A_KEY]),
        lambda: Policy(targets=[sg()], mode="conditional", conditions=[SECRET]),
        lambda: Policy(targets=[sg()], retry=SECRET),
        lambda: Policy.load({"targets": [{"name": SECRET}]}),
        lambda: Policy.load({"provider": SECRET}),
        lambda: Policy.load({"provider": "byteplus", "request_timeout": SECRET}),
        lambda: Policy.load({"strategy": {"mode": SECRET}, "targets": [{}]}),
        lambda: Condition({"metadata.a": {"$in": SECRET}}, "sg"),
        lambda: Condition({"metadata.a": {"$gt": SECRET}}, "sg"),
        lambda: Condition([SECRET], "sg"),
        lambda: Condition({"metadata.a": 1}, SECRET),
    ],
)
def test_a_key_is_not_in_any_refusal(make, messages):
    with pytest.raises(SettingError) as refused:
        make()

    assert "very-secret" not in messages(refused.value)


@pytest.mark.parametrize("fields", [{"region": "${KEY}"}, {"only": ["${KEY}"]}, {"weight": "${KEY}"}, {"models": {"a": ["${KEY}"]}}, {"zone": "", "quota_group": "${KEY}"}])  # fmt: skip
def test_what_came_from_the_environment_is_told_as_it_was_written(fields, messages):
    """However short it is, for in a wrong place it may be a key."""
    with pytest.raises(SettingError) as refused:
        Policy.load({"targets": [{"name": "sg", "region": SG, **fields}]}, {"KEY": "hush"})

    assert "hush" not in messages(refused.value)


def test_a_region_from_the_environment_is_named_by_its_variable():
    with pytest.raises(SettingError, match=r"Region '\$\{WHERE\}' is not known \(known: .* Did you mean"):
        Policy.load({"targets": [{"name": "sg", "region": "${WHERE}"}]}, {"WHERE": "eu-wst-1"})


@pytest.mark.parametrize(
    "text",
    [
        '[[targets]]\nname = "sg"\napi_key = "very-secret"\n',
        'targets = [{name = "sg", api_key = "very-secret"}]',
        '[{"name": "sg", "api_key": "very-secret"}]',
        '{"targets": [{"name": "sg" "api_key": "very-secret"}]}',
        "very-secret",
        "very-secret\0",
        "very-secret" * 1000,
    ],
)
def test_a_text_in_the_place_of_a_path_is_not_repeated(text, messages):
    with pytest.raises(SettingError) as refused:
        Policy.load(text, {})

    assert "very-secret" not in messages(refused.value)


def test_a_text_in_the_place_of_a_path_is_told_what_to_write():
    with pytest.raises(SettingError, match=r"neither JSON nor the path of a file.*such as 'policy\.toml'"):
        Policy.load('[[targets]]\nname = "sg"\n', {})


def test_the_leaves_are_the_targets_of_all_groups_in_order():
    policy = Policy(targets=[Group([sg(), Target("eu", region=EU)]), Target("last", region=SG)])

    assert ["sg", "eu", "last"] == [target.name for target in policy.leaves]


# Reading.

TABLE = {
    "targets": [
        {"name": "sg", "region": SG, "api_key": "${ARK_SG}"},
        {"name": "eu", "region": EU, "api_key": "${ARK_EU}", "only": ["chat"], "retry": {"per_target": 2}},
    ],
    "retry": {"per_target": 0},
    "deadline": {"total": 30},
}
TOML = """
[[targets]]
name = "sg"
region = "ap-southeast-1"
api_key = "${ARK_SG}"

[[targets]]
name = "eu"
region = "eu-west-1"
api_key = "${ARK_EU}"
only = ["chat"]
retry = {per_target = 2}

[retry]
per_target = 0

[deadline]
total = 30
"""
ENVIRON = {"ARK_SG": "one", "ARK_EU": "two"}


@pytest.mark.parametrize("written", ["mapping", "toml", "json", "inline json"])
def test_it_reads_the_same_however_it_is_written(written, tmp_path):
    path = tmp_path / f"policy.{written}"
    path.write_text(TOML if written == "toml" else json.dumps(TABLE))
    source = {"mapping": TABLE, "inline json": json.dumps(TABLE)}.get(written, path)

    policy = Policy.load(source, ENVIRON)

    assert (
        Policy(
            targets=[
                sg(api_key="one"),
                Target("eu", region=EU, api_key="two", only={"chat"}, retry=Retry(per_target=2)),
            ],
            retry=Retry(per_target=0),
            deadline=Deadline(total=30),
        )
        == policy
    )
    assert policy is Policy.load(policy)


def test_groups_and_conditions_are_written_as_tables():
    policy = Policy.load(
        {
            "mode": "conditional",
            "conditions": [{"query": {"metadata.plan": "paid"}, "then": "both"}],
            "default": "cheap",
            "targets": [
                {"name": "both", "mode": "loadbalance", "targets": [
                    {"name": "sg", "region": SG, "weight": 3}, {"name": "eu", "region": EU},
                ]},
                {"name": "cheap", "region": SG},
            ],
        },
        {},
    )  # fmt: skip

    assert ["sg", "eu", "cheap"] == [target.name for target in policy.leaves]
    assert "loadbalance" == policy.targets[0].mode


UNREADABLE = {
    "policy.targets[0].api_key: the environment variable ARK_SG is not set. Set it": (TABLE, {"ARK_EU": "x"}),
    "the environment variable ARK_SG is empty": (TABLE, {"ARK_SG": "", "ARK_EU": "x"}),
    "policy: 'target' is not known": ({"target": []}, {}),
    "Did you mean 'targets'?": ({"target": []}, {}),
    "policy: 'targets' is missing": ({"mode": "fallback"}, {}),
    "policy.targets[0]: 'regin' is not known": ({"targets": [{"name": "a", "region": SG, "regin": SG}]}, {}),
    "target 'a' needs a region, such as": ({"targets": [{"name": "a"}]}, {}),
    "policy.targets[0]: 'name' is missing": ({"targets": [{"region": SG}]}, {}),
    "policy.targets must be a list of tables, not str": ({"targets": "sg"}, {}),
    "policy.targets must be a list of tables, not dict. In TOML, write [[targets]] above each.": ({"targets": {"sg": {"region": SG}}}, {}),
    "policy.targets[0] must be a table, not str. Write { name = ..., region = ... }.": ({"targets": ["sg"]}, {}),
    "deadline must be a table, not str. Write deadline.total = 60.": ({"targets": [], "deadline": "60s"}, {}),
    "deadline must be a table, not NoneType. Leave it out for the default.": ({"targets": [], "deadline": None}, {}),
    "api_key begins with '$': only ${NAME} is filled in": ({"targets": [{"name": "a", "region": SG, "api_key": "${ARK_SG:-x}"}]}, {"ARK_SG": "x"}),
    "retry: 'per_targt' is not known": ({"targets": [], "retry": {"per_targt": 1}}, {}),
    "deadline must be a table, not int. Write deadline.total = 60.": ({"targets": [], "deadline": 60}, {}),
    "retry must be a table, not int. Write policy.targets[0].retry.per_target = 2.": ({"targets": [{"name": "a", "region": SG, "retry": 2}]}, {}),
    "breaker must be a table, not int. Write breaker.consecutive = 3.": ({"targets": [], "breaker": 3}, {}),
    "policy.conditions[0]: 'then' is missing": ({"targets": [{"name": "a", "region": SG}], "conditions": [{"query": {}}]}, {}),
    "cannot be read: No such file": ("/nowhere/policy.toml", {}),
    "is not valid JSON": ("{not json", {}),
    "A policy is a table with targets, not list. Write Policy(targets=[...]).": ([], {}),
    "A policy is a table with targets, not Target. Write Policy(targets=[...]).": (sg(), {}),
}  # fmt: skip


def test_all_variables_that_are_missing_are_named_at_once():
    with pytest.raises(SettingError) as refused:
        Policy.load(TABLE, {"ARK_EU": ""})

    assert ["ARK_SG is not set", "ARK_EU is empty"] == [
        line.partition("variable ")[2].partition(".")[0] for line in str(refused.value).splitlines()
    ]


@pytest.mark.parametrize("name", ["policy.yaml", "policy.yml"])
def test_yaml_is_refused_with_what_makes_json_of_it(tmp_path, name):
    (tmp_path / name).write_text("targets:\n- name: sg\n  region: ap-southeast-1\n")

    with pytest.raises(SettingError, match=r"is YAML, .* > policy\.json"):
        Policy.load(tmp_path / name)


@pytest.mark.parametrize("message", UNREADABLE)
def test_what_cannot_be_read(message):
    source, environ = UNREADABLE[message]

    with pytest.raises(SettingError) as refused:
        Policy.load(source, environ)

    assert message in str(refused.value)


def test_a_toml_file_with_a_mistake_says_where(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("targets = [")

    with pytest.raises(SettingError, match=r"policy\.toml' is not valid TOML"):
        Policy.load(path, {})


def test_the_public_names_are_these_classes():
    assert byteplus_trace.Policy is Policy


# Warnings.


def test_an_ordinary_pair_is_told_of_once():
    policy = Policy(targets=[sg(api_key="a"), Target("eu", region=EU, api_key="b")])

    assert [f"Calls may cross regions: 'sg' ({SG}) <-> 'eu' ({EU})."] == warnings_of(policy)


def test_a_zone_keeps_its_calls_and_takes_in_others():
    policy = Policy(targets=[sg(api_key="a"), Target("eu", region=EU, api_key="b", zone="eu")])

    assert [f"Calls may cross regions: 'sg' ({SG}) -> 'eu' ({EU})."] == warnings_of(policy)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ({"zone": "a"}, {"zone": "b"}),
        ({"only": {"chat"}}, {"only": {"images"}}),
        ({"zone": "a"}, {"api_key": None}),
    ],
)
def test_targets_that_no_call_crosses_between_are_not_told_of(here, there):
    policy = Policy(
        targets=[
            sg(**{"api_key": "a", **here}),
            Target("eu", region=EU, **{"api_key": "b", "zone": "e", **there}),
        ]
    )

    assert [] == [warning for warning in warnings_of(policy) if "cross" in warning]


def test_what_a_region_is_not_known_to_serve_is_told_of():
    eu = Target(
        "eu", region=EU, models={"a": "seed-1-8", "b": "seed-2-0-lite-260428", "c": "ep-1", "d": "seedream-5-0-260128"},
        only={"chat", "embeddings"},
    )  # fmt: skip

    first, second = warnings_of(Policy(targets=[eu]))

    assert first.startswith("Target 'eu' maps to 'seed-1-8', which eu-west-1 is not known to serve")
    assert "Target 'eu' is to serve embeddings, which eu-west-1 is not known to serve." == second


def test_a_target_without_a_key_among_others_is_told_of():
    first, *_ = warnings_of(Policy(targets=[sg(), Target("sg2", region=SG, api_key="a")]))

    assert "Target 'sg' has no api_key: it serves only calls addressed to ap-southeast-1, with the caller's own key." == first  # fmt: skip
    assert [] == warnings_of(Policy(targets=[sg()]))


def test_targets_that_the_mode_never_uses_are_told_of():
    policy = Policy(targets=[sg(api_key="a"), Target("b", region=SG, api_key="b")], mode="single")

    assert ["Never used, because of the mode 'single': 'b'."] == warnings_of(policy)


def test_chat_covers_messages_where_a_policy_names_chat_alone():
    targets = [Target("sg", region="ap-southeast-1", only={"chat"})]

    assert {"chat", "messages"} == Policy(targets=targets).targets[0].only
    assert "unsent_only" == Policy(targets=targets, replay={"chat": "unsent_only"}).replay["messages"]
    assert {"messages"} == Target("sg", region="ap-southeast-1", only={"messages"}).only
    replay = Policy(targets=targets, replay={"chat": "unsent_only", "messages": "ambiguous"}).replay
    assert ("unsent_only", "ambiguous") == (replay["chat"], replay["messages"])


@pytest.mark.parametrize(
    "table",
    [
        {"sk-a-key-in-the-place-of-a-name-0123456789": 1},
        {"targets": [{"region": "eu-west-1", "sk-a-key-in-the-place-of-a-name-0123456789": 1}]},
        {"strategy": {"mode": "fallback"}, "targets": [{"sk-a-key-in-the-place-of-a-name-0123456789": 1}]},
    ],
)
def test_a_long_name_that_is_not_known_is_not_shown(table):
    """It may be a key that was written in the wrong place."""
    with pytest.raises(SettingError) as refused:
        Policy.load(table)

    assert "is not known" in str(refused.value)
    assert "sk-a-key" not in str(refused.value)


@pytest.mark.parametrize("key", ["Bearer sk-hush", " bearer sk-hush\n"])
def test_a_key_with_the_scheme_before_it_is_refused_and_not_shown(key):
    with pytest.raises(SettingError, match="Write the key alone") as refused:
        Target("sg", region=SG, api_key=key)

    assert "hush" not in str(refused.value)
