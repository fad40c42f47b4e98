"""Settings: arguments over environment over file; a wrong one says what to write instead."""

import asyncio
import json
import logging
import socket

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace import Policy, SettingError, Target
from byteplus_trace._config import configure

PRIVATE = {"https://ark.private.example/api/v3": "ap-southeast-1"}
POLICY = {"targets": [{"name": "sg", "region": "ap-southeast-1", "api_key": "${KEY_SG}"}]}


@pytest.fixture
def file(tmp_path):
    """file(content): the environment that names a TOML or JSON file with that content."""

    def write(content):
        path = tmp_path / ("settings.toml" if isinstance(content, str) else "settings.json")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return {"BYTEPLUS_TRACE_CONFIG": str(path)}

    return write


def test_without_anything_the_defaults_stand():
    config = configure({}, {})

    assert config.policy is None
    assert (False, False, False) == (config.capture_content, config.propagate, config.include_usage)
    assert ("own", "always", 100, "127.0.0.1", None) == (
        config.http_spans,
        config.attempt_spans,
        config.max_models,
        config.metrics_addr,
        config.metrics_port,
    )
    assert ((), {}) == (config.metadata_labels, config.base_urls)


# As an environment variable and as an argument, and what both mean.
WRITTEN = {
    "service_name": ("shop", "shop"),
    "metrics_port": ("9464", 9464),
    "metrics_addr": ("0.0.0.0", "0.0.0.0"),
    "metadata_labels": ("team, env", ("team", "env")),
    "max_models": ("7", 7),
    "base_urls": ("https://ark.private.example/api/v3=ap-southeast-1", PRIVATE),
    "capture_content": ("span_only", True),
    "http_spans": ("otel", "otel"),
    "attempt_spans": ("when_retried", "when_retried"),
    "propagate": ("yes", True),
    "include_usage": ("1", True),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_setting_can_be_written_in_the_environment(name):
    text, value = WRITTEN[name]

    assert value == getattr(configure({}, {f"BYTEPLUS_TRACE_{name.upper()}": f" {text} "}), name)
    assert value == getattr(configure({name: value}, {}), name)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_empty_variable_is_not_set(name):
    assert configure({}, {}) == configure({}, {f"BYTEPLUS_TRACE_{name.upper()}": " "})


def test_a_variable_that_is_misspelt_is_told_with_the_one_that_was_meant(caplog):
    configure({}, {"BYTEPLUS_TRACE_METADATALABELS": "team", "BYTEPLUS_TRACE_METRICS_PORT": "0"})

    assert [
        "BYTEPLUS_TRACE_METADATALABELS is not a setting, and is not followed. "
        "Did you mean 'BYTEPLUS_TRACE_METADATA_LABELS'?"
    ] == caplog.messages


def test_a_variable_of_what_no_text_can_be_is_answered_with_the_argument(caplog):
    configure({}, {"BYTEPLUS_TRACE_ON_EXCHANGE": "print"})

    assert [
        "BYTEPLUS_TRACE_ON_EXCHANGE is not followed: only the program can set it, as instrument(on_exchange=...)."
    ] == caplog.messages


@pytest.mark.parametrize(("text", "warns"), [("maybe", True), ("Yes", False), ("off", False), ("", False)])
def test_a_kill_switch_that_is_neither_on_nor_off_says_so(caplog, text, warns):
    configure({}, {"BYTEPLUS_TRACE_DISABLED": text})

    line = f"BYTEPLUS_TRACE_DISABLED={text!r} is not followed: it must be true or false."
    assert ([line] if warns else []) == caplog.messages


def test_an_argument_wins_over_the_environment_and_that_over_the_file(file):
    environ = {
        **file("max_models = 1\nmetrics_port = 2\nservice_name = 'file'\n"),
        "BYTEPLUS_TRACE_METRICS_PORT": "3",
        "BYTEPLUS_TRACE_SERVICE_NAME": "environment",
    }

    config = configure({"service_name": "argument"}, environ)

    assert (1, 3, "argument") == (config.max_models, config.metrics_port, config.service_name)


def test_an_argument_of_none_is_not_set():
    assert 3 == configure({"metrics_port": None}, {"BYTEPLUS_TRACE_METRICS_PORT": "3"}).metrics_port


@pytest.mark.parametrize("inside", [True, False])
def test_a_file_holds_settings_and_a_policy(file, inside):
    """The policy in a table of its own, or its keys at the top."""
    content = {"max_models": 5, **({"policy": POLICY} if inside else POLICY)}

    config = configure({}, {**file(content), "KEY_SG": "secret"})

    assert 5 == config.max_models
    assert ["sg"] == [target.name for target in config.policy.leaves]
    assert "secret" == config.policy.leaves[0].api_key
    assert "secret" not in repr(config)


def test_a_file_in_toml(file):
    text = """
max_models = 5
metadata_labels = ["team"]
[base_urls]
"https://ark.private.example/api/v3" = "ap-southeast-1"
[policy]
max_attempts = 2
[[policy.targets]]
name = "sg"
region = "ap-southeast-1"
api_key = "${KEY_SG}"
"""

    config = configure({}, {**file(text), "KEY_SG": "secret"})

    assert (5, ("team",), PRIVATE) == (config.max_models, config.metadata_labels, config.base_urls)
    assert 2 == config.policy.max_attempts


@pytest.mark.parametrize(
    "written", [json.dumps(POLICY), 'max_models = 5\n[[targets]]\nname = "sg"\nregion = "eu-west-1"']
)
def test_a_file_is_read_by_what_it_holds_where_its_name_says_nothing(tmp_path, written):
    (tmp_path / "settings").write_text(written)

    config = configure({}, {"BYTEPLUS_TRACE_CONFIG": str(tmp_path / "settings"), "KEY_SG": "secret"})

    assert ["sg"] == [target.name for target in config.policy.leaves]


def test_a_policy_can_be_a_path_or_a_mapping_or_itself(tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    ready = Policy(targets=[Target("sg", region="ap-southeast-1", api_key="k")])
    environ = {"KEY_SG": "k"}

    assert ready == configure({"policy": ready}, environ).policy
    for source in (POLICY, path, str(path)):
        assert ["sg"] == [target.name for target in configure({"policy": source}, environ).policy.leaves]
    by_variable = configure({}, {**environ, "BYTEPLUS_TRACE_POLICY": str(path)}).policy
    assert ["sg"] == [target.name for target in by_variable.leaves]


CAPTURE_VALUES = {
    "SPAN_ONLY": True,
    "SPAN_AND_EVENT": True,
    "EVENT_ONLY": False,
    "NO_CONTENT": False,
    "true": True,
    "True": True,
    "false": False,
    "": False,
}


@pytest.mark.parametrize("value", CAPTURE_VALUES)
def test_content_capture_follows_opentelemetrys_words(value):
    environ = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": value}

    assert CAPTURE_VALUES[value] is configure({}, environ).capture_content
    assert False is configure({"capture_content": False}, environ).capture_content
    ours = {**environ, "BYTEPLUS_TRACE_CAPTURE_CONTENT": "NO_CONTENT"}
    assert False is configure({}, ours).capture_content


def test_an_empty_capture_variable_leaves_it_to_the_file(file):
    environ = {**file("capture_content = true"), "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": " "}

    assert configure({}, environ).capture_content


# A wrong setting, and words that its message must have.
WRONG = {
    "a slip of the pen": (
        {"metadata_label": ("a",)},
        ["'metadata_label'", "Did you mean 'metadata_labels'?"],
    ),
    "nothing like it": ({"colour": "red"}, ["'colour' is not a setting"]),
    "a word for a number": ({"metrics_port": "9464"}, ["metrics_port='9464'", "whole number"]),
    "no port": ({"metrics_port": 70_000}, ["70000", "0 to 65535"]),
    "no models": ({"max_models": 0}, ["max_models=0", "1 to"]),
    "truth for a number": ({"max_models": True}, ["max_models=True"]),
    "one label without its comma": ({"metadata_labels": "team"}, ["('team',)"]),
    "a label that is none": (
        {"metadata_labels": ("my team",)},
        ["'my team'", "letters, digits and underscores"],
    ),
    "a label with two underscores": ({"metadata_labels": ("__x",)}, ["'__x'"]),
    "labels that are no list": ({"metadata_labels": 5}, ["metadata_labels=5"]),
    "another kind of span": ({"http_spans": "otl"}, ["'otl'", "own, otel", "Did you mean 'otel'?"]),
    "another choice of attempt spans": (
        {"attempt_spans": "when_retry"},
        ["'when_retry'", "always, when_retried", "Did you mean 'when_retried'?"],
    ),
    "truth for attempt spans": ({"attempt_spans": True}, ["attempt_spans=True", "always, when_retried"]),
    "fewer spans than ids that are sent": (
        {"attempt_spans": "when_retried", "propagate": True},
        [
            "attempt_spans='when_retried'",
            "propagate=True",
            "write propagate=False, or leave attempt_spans out",
        ],
    ),
    "fewer spans than OpenTelemetry makes": (
        {"attempt_spans": "when_retried", "http_spans": "otel"},
        [
            "attempt_spans='when_retried'",
            "http_spans='otel'",
            "write http_spans='own', or leave attempt_spans out",
        ],
    ),
    "a word in capitals": ({"metrics": "OTLP"}, ["metrics='OTLP'", "Did you mean 'otlp'?"]),
    "a number for a word": ({"http_spans": 5}, ["http_spans=5", "own, otel"]),
    "a capture word": ({"capture_content": "some"}, ["'some'", "SPAN_ONLY"]),
    "a number to capture": ({"capture_content": 5}, ["capture_content=5"]),
    "a word for truth": ({"propagate": "maybe"}, ["propagate='maybe'", "True or False"]),
    "a word for usage": ({"include_usage": "false"}, ["include_usage='false'", "True or False"]),
    "a word for histograms": ({"token_histograms": "maybe"}, ["token_histograms='maybe'", "True or False"]),
    "an exporter for a provider": (
        {"tracer_provider": "otlp"},
        ["tracer_provider='otlp'", "TracerProvider", "OTEL_TRACES_EXPORTER"],
    ),
    "a class for its provider": (
        {"tracer_provider": TracerProvider},
        ["tracer_provider", "TracerProvider()"],
    ),
    "a tracer for its provider": ({"tracer_provider": NoOpTracer()}, ["tracer_provider=<NoOpTracer>"]),
    "a word for a meter provider": ({"meter_provider": "x"}, ["meter_provider='x'", "MeterProvider"]),
    "a tracer provider for a meter provider": (
        {"meter_provider": TracerProvider()},
        ["meter_provider=<TracerProvider>"],
    ),
    "a word for a registry": ({"registry": "x"}, ["registry='x'", "prometheus_client.CollectorRegistry()"]),
    "a label of ours": ({"metadata_labels": ("model",)}, ["'model' cannot be a label"]),
    "a label that Prometheus does not know": ({"metadata_labels": ("té",)}, ["'té'", "letters, digits"]),
    "a number for a label": ({"metadata_labels": (1,)}, ["1 cannot be", "letters, digits"]),
    "not a function": ({"redact": "stars"}, ["redact", "function"]),
    "an async function that redacts": ({"redact": asyncio.sleep}, ["redact must be a plain function"]),
    "an async sink": (
        {"on_exchange": asyncio.sleep},
        ["on_exchange must be a plain function: an async one would never be awaited"],
    ),
    "no sink": ({"on_exchange": []}, ["on_exchange", "function"]),
    "one base URL alone": ({"base_urls": "https://x/api/v3"}, ["base_urls", "ap-southeast-1"]),
    "a region of a base URL": (
        {"base_urls": {"https://x/api/v3": "ap-southeast"}},
        ["'ap-southeast' is not known", "Did you mean 'ap-southeast-1'?"],
    ),
    "one API's URL for the base": (
        {"base_urls": {"https://x/api/v3/images/generations": "eu-west-1"}},
        ["https://x/api/v3/images/generations", "Write it without '/images/generations'"],
    ),
    "another region's base URL": (
        {"base_urls": {"https://ark.eu-west.bytepluses.com/api/v3": "ap-southeast-1"}},
        ["is in 'eu-west-1', region is 'ap-southeast-1'"],
    ),
    "a policy that is no policy": ({"policy": 5}, ["policy"]),
    "a name that is no text": ({"service_name": 5}, ["service_name=5"]),
    "an address that is no text": ({"metrics_addr": 5}, ["metrics_addr=5"]),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_argument_says_what_to_write(mistake):
    arguments, parts = WRONG[mistake]

    with pytest.raises(SettingError) as caught:
        configure(arguments, {})

    for part in parts:
        assert part in str(caught.value)


WRONG_VARIABLES = {
    "METRICS_PORT": ("nine", "whole number"),
    "MAX_MODELS": ("-", "whole number"),
    "PROPAGATE": ("perhaps", "true or false"),
    "CAPTURE_CONTENT": ("all of it", "SPAN_ONLY"),
    "BASE_URLS": ("https://x/api/v3", "URL=REGION"),
    "HTTP_SPANS": ("mine", "own, otel"),
    "ATTEMPT_SPANS": ("never", "always, when_retried"),
}


@pytest.mark.parametrize("name", WRONG_VARIABLES)
def test_a_wrong_variable_is_named_and_says_what_to_write(name):
    text, value = WRONG_VARIABLES[name]

    with pytest.raises(SettingError, match=value) as caught:
        configure({}, {f"BYTEPLUS_TRACE_{name}": text})

    assert name in str(caught.value).upper()


# Two settings that cannot both be followed, each written as an argument, a variable, or in the file.
APART = {"propagate": True, "http_spans": "otel"}
PLACES = ("argument", "variable", "file")


@pytest.mark.parametrize("other", APART)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("others_place", PLACES)
def test_attempt_spans_are_refused_beside_what_needs_each_of_them_wherever_they_are_written(
    tmp_path, other, place, others_place
):
    arguments, variables, lines = {}, {}, []
    for name, value, where in (("attempt_spans", "when_retried", place), (other, APART[other], others_place)):
        if where == "argument":
            arguments[name] = value
        elif where == "variable":
            variables[f"BYTEPLUS_TRACE_{name.upper()}"] = str(value).lower()
        else:
            lines.append(f"{name} = {json.dumps(value)}\n")
    file = tmp_path / "settings.toml"
    file.write_text("".join(lines))

    with pytest.raises(SettingError, match="attempt_spans='when_retried' cannot be used with"):
        configure(arguments, {**variables, "BYTEPLUS_TRACE_CONFIG": str(file)})


@pytest.mark.parametrize("text", ["--9464", "9" * 5000, "²", "9464.0"])
def test_a_variable_that_is_no_whole_number_says_so(text):
    with pytest.raises(SettingError, match=r"METRICS_PORT=.* must be a whole number"):
        configure({}, {"BYTEPLUS_TRACE_METRICS_PORT": text})


@pytest.mark.parametrize(
    "url", ["ark.private.example/api/v3", "ftp://x/api", "https://", "https://x:port/api", "https://[x"]
)
def test_what_is_no_base_url_is_refused(url):
    with pytest.raises(SettingError, match="is not a base URL"):
        configure({"base_urls": {url: "eu-west-1"}}, {})


def test_a_base_url_has_neither_query_nor_credentials():
    for url in ("https://x/api?a=1", "https://me:word@x/api", "https://x/api#a"):
        with pytest.raises(
            SettingError, match="'https://x/api' must not hold a query, a fragment or credent"
        ):
            configure({"base_urls": {url: "eu-west-1"}}, {})


A_KEY = "very-secret-4000-8000-as-long-as-a-key"


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ({"base_urls": {"https://me:very-secret@h:port/api": "eu-west-1"}}, {}),
        ({"base_urls": {"https://me:very-secret/@h/api": "eu-west-1"}}, {}),
        ({"base_urls": {"https://h/api?key=very-secret": "eu-west-1"}}, {}),
        ({"base_urls": ["https://me:very-secret@h/api"]}, {}),
        ({"base_urls": {"https://h/api": A_KEY}}, {}),
        ({"metrics_port": A_KEY}, {}),
        ({"redact": {"key": "very-secret"}}, {}),
        ({}, {"BASE_URLS": "https://me:very-secret@h/api"}),
        ({}, {"BASE_URLS": "https://h/api?key=very-secret"}),
        ({}, {"POLICY": '[[targets]]\napi_key="very-secret"'}),
        ({}, {"CONFIG": '[[targets]]\napi_key="very-secret"'}),
        ({}, {"CONFIG": '{"targets": [{"api_key": "very-secret"}]}'}),
        ({}, {"CONFIG": "very-secret\0"}),
        ({}, {"PROPAGATE": A_KEY}),
    ],
)
def test_a_key_is_in_no_message(arguments, variables, messages):
    with pytest.raises(SettingError) as refused:
        configure(arguments, {f"BYTEPLUS_TRACE_{name}": text for name, text in variables.items()})

    assert "very-secret" not in messages(refused.value)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("not = [toml", "not valid TOML"),
        ("deep = " + "[" * 5000, "not valid TOML"),
        ('{"deep":' * 5000, "not valid JSON"),
        ([1, 2], "table of settings"),
        ({"policy": POLICY, "max_modles": 3}, "'max_modles'"),
        ({"include_usage": "no"}, "include_usage='no'"),
        ({"max_modles": 3}, "'max_modles' is neither a setting nor a policy's. Did you mean 'max_models'?"),
        ({**POLICY, "metrics_prot": 3}, "'metrics_prot' is neither .* Did you mean 'metrics_port'?"),
        ({**POLICY, "max_atempts": 3}, "'max_atempts' is neither .* Did you mean 'max_attempts'?"),
        ({**POLICY, "strategy": {}, "retri": {}}, "'retri' is neither .* Did you mean 'retry'?"),
        ({"provider": "byteplus", "cache": {}}, "cache cannot be followed here"),
        ({"tracer_provider": "otlp"}, "tracer_provider='otlp'"),
    ],
)
def test_a_wrong_file_is_named_and_says_what_to_write(file, content, value):
    with pytest.raises(SettingError, match=value.replace("[", r"\[")):
        configure({}, {**file(content), "KEY_SG": "k"})


@pytest.mark.parametrize("name", ["settings.toml", "settings.json"])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path, name):
    content = "service_name = 'shop'" if name.endswith("toml") else '{"service_name": "shop"}'
    (tmp_path / name).write_text(content, encoding="utf-8-sig")

    assert "shop" == configure({}, {"BYTEPLUS_TRACE_CONFIG": str(tmp_path / name)}).service_name


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(
        SettingError, match=r"The BYTEPLUS_TRACE_CONFIG file '/nowhere/x\.toml' cannot be read"
    ):
        configure({}, {"BYTEPLUS_TRACE_CONFIG": "/nowhere/x.toml"})


# What instrument() does with them.


def test_a_wrong_setting_leaves_everything_as_it_was():
    before = httpx.Client._transport_for_url

    with pytest.raises(SettingError):
        byteplus_trace.instrument(http_spans="mine")
    with pytest.raises(SettingError, match="not a base URL"):
        byteplus_trace.instrument(
            base_urls={"ark.private.example": "eu-west-1"}, registry=CollectorRegistry()
        )

    assert before is httpx.Client._transport_for_url


@pytest.mark.parametrize("label", ["model", "operation", "type", "outcome"])
def test_a_metadata_label_may_not_take_the_place_of_one_of_ours(label):
    with pytest.raises(SettingError, match=label):
        byteplus_trace.instrument(metadata_labels=(label,), registry=CollectorRegistry())


def test_a_second_instrument_warns_only_where_it_says_something_else(instrument, caplog):
    registry = CollectorRegistry()
    byteplus_trace.instrument(registry=registry, max_models=3)
    try:
        with caplog.at_level(logging.WARNING, "byteplus_trace"):
            byteplus_trace.instrument(registry=registry, max_models=3)
            assert [] == caplog.records
            byteplus_trace.instrument(registry=registry, max_models=4)
        (record,) = caplog.records
        assert "uninstrument()" in record.getMessage()
    finally:
        byteplus_trace.uninstrument()


def test_a_busy_port_is_one_line_and_no_exception(instrument, caplog):
    with socket.socket() as taken, caplog.at_level(logging.WARNING, "byteplus_trace"):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        instrument(metrics_port=port)

    (record,) = caplog.records
    assert str(port) in record.getMessage()


def test_without_a_port_nothing_listens(instrument):
    from byteplus_trace._edge.instrumentation import Instrumentation

    instrument()

    assert Instrumentation.current().server is None


def test_the_environment_is_read_by_instrument(monkeypatch, recorded, ark, sg):
    pairs = ",".join(f"{url}={region}" for url, region in ark.base_urls.items())
    monkeypatch.setenv("BYTEPLUS_TRACE_BASE_URLS", pairs)
    byteplus_trace.instrument(registry=recorded.registry, tracer_provider=recorded.provider)
    try:
        with httpx.Client(headers={"Authorization": "Bearer k"}) as client:
            client.get(sg + "/models")
    finally:
        byteplus_trace.uninstrument()

    assert 1 == len(recorded.attempts)
