"""A call as JSON, and as a test that passes."""

import contextlib
import json

import httpx
import pytest

from byteplus_trace import Policy, Retry, Target
from byteplus_trace._watch.export import NotReplayableError, json_text, pytest_text
from byteplus_trace._watch.store import Store

SG, EU = "ap-southeast-1", "eu-west-1"
CHAT = {"model": "seed-2-0-lite-260428", "messages": [{"role": "user", "content": "A secret: hunter2"}]}
STREAM = {**CHAT, "stream": True}
INPUTS = {
    "/chat/completions": CHAT,
    "/responses": {"model": "seed-2-0-lite-260428", "input": "hunter2"},
    "/messages": {"model": "seed-2-0-lite-260428", "max_tokens": 5, "messages": CHAT["messages"]},
    "/embeddings": {"model": "skylark-embedding-vision-251215", "input": ["hunter2"]},
    "/embeddings/multimodal": {
        "model": "skylark-embedding-vision-251215",
        "input": [{"type": "text", "text": "x"}],
    },
    "/images/generations": {"model": "seedream-4-0-250828", "prompt": "hunter2"},
    "/contents/generations/tasks": {
        "model": "seedance-1-0-pro-250528",
        "content": [{"type": "text", "text": "x"}],
    },
}


def policy(ark, **settings):
    places = (("sg", SG), ("eu", EU))
    return Policy(
        targets=[
            Target(name, region=region, base_url=ark.base_url(region), api_key="any")
            for name, region in places
        ],
        retry=Retry(base=0.01),
        **settings,
    )


@pytest.fixture
def seen(ark, instrument, exported):
    """seen(path, body, ...): the call that was made, and the spans around it, as a viewer has them."""

    def make(path="/chat/completions", body=CHAT, *, routed=False, leave=False, timeout=5, **settings):
        instrument(**({"policy": policy(ark)} if routed else {}), **settings)
        with (
            httpx.Client(headers={"authorization": "Bearer any"}, timeout=timeout, trust_env=False) as client,
            contextlib.suppress(httpx.TransportError),
            client.stream("POST", ark.base_url(SG) + path, json=body) as response,
        ):
            for _ in response.iter_lines():
                if leave:
                    break
        store = Store()
        store.add(exported())
        (call,) = store.calls()
        return call, store.family(call.key)

    return make


def run(text, instrument):
    """Run an exported module's test as pytest would."""
    import byteplus_trace

    byteplus_trace.uninstrument()
    namespace = {}
    exec(compile(text, "exported", "exec"), namespace)
    ((name, test),) = [(name, each) for name, each in namespace.items() if name.startswith("test_")]
    assert "hunter2" not in text
    test()
    return name


FAULTS = {
    "nothing": lambda ark: None,
    "refused": lambda ark: ark.region(SG).fails(400, code="InvalidParameter"),
    "overloaded": lambda ark: ark.region(SG).fails(503, code="ServerOverloaded"),
    "no connection": lambda ark: ark.region(SG).refuses(),
    "reset": lambda ark: ark.region(SG).resets(),
    "silent": lambda ark: ark.region(SG).hangs(),
    "empty": lambda ark: ark.region(SG).answers_empty(),
}
STREAM_FAULTS = {
    "cut": lambda ark: ark.region(SG).cuts(after_events=3),
    "reset": lambda ark: ark.region(SG).cuts(after_events=3, reset=True),
    "an error in it": lambda ark: ark.region(SG).errors_in_stream(after_events=2, code="ServerOverloaded"),
}


@pytest.mark.parametrize("path", INPUTS)
@pytest.mark.parametrize("fault", ["nothing", "refused"])
def test_a_call_of_each_api_becomes_a_test_that_passes(ark, instrument, seen, path, fault):
    FAULTS[fault](ark)

    run(pytest_text(*seen(path, INPUTS[path])), instrument)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_becomes_a_test_that_passes(ark, instrument, seen, fault):
    FAULTS[fault](ark)

    run(pytest_text(*seen(timeout=0.3 if fault == "silent" else 5)), instrument)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_whose_span_holds_its_only_attempt_becomes_a_test_that_passes(ark, instrument, seen, fault):
    FAULTS[fault](ark)

    run(pytest_text(*seen(timeout=0.3 if fault == "silent" else 5, attempt_spans="when_retried")), instrument)


@pytest.mark.parametrize("fault", [*STREAM_FAULTS, "nothing", "overloaded"])
def test_a_stream_becomes_a_test_that_passes(ark, instrument, seen, fault):
    {**FAULTS, **STREAM_FAULTS}[fault](ark)

    run(pytest_text(*seen(body=STREAM)), instrument)


def test_a_stream_that_its_reader_left_becomes_a_test_that_passes(instrument, seen):
    assert "test_chat_cancelled" == run(pytest_text(*seen(body=STREAM, leave=True)), instrument)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (lambda ark: ark.region(SG).fails(503, code="ServerOverloaded", times=1), "test_chat_rescued_retry"),
        (lambda ark: ark.region(SG).fails(503, code="ServerOverloaded"), "test_chat_rescued_fallback"),
        (lambda ark: ark.region(SG).refuses(), "test_chat_rescued_fallback"),
        (
            lambda ark: [ark.region(each).fails(503, code="ServerOverloaded") for each in (SG, EU)],
            "test_chat_error",
        ),
        (
            lambda ark: [
                ark.region(SG).fails(503, code="ServerOverloaded"),
                ark.region(EU).fails(500, code="InternalServiceError"),
            ],
            "test_chat_error",
        ),
    ],
    ids=["a retry", "a fallback", "no connection", "both fail", "both fail, each in its way"],
)
def test_a_rescue_becomes_a_test_that_passes(ark, instrument, seen, fault, name):
    fault(ark)

    assert name == run(pytest_text(*seen(routed=True)), instrument)


def test_a_stream_that_failed_before_its_first_output_becomes_a_test_that_passes(ark, instrument, seen):
    ark.region(SG).errors_in_stream(after_events=0, code="InternalServiceError")

    assert "test_chat_rescued_fallback" == run(pytest_text(*seen(body=STREAM, routed=True)), instrument)


def held(*spans):
    """A call and its spans, as a viewer has them."""
    store = Store()
    store.add(spans)
    return store.calls()[0], list(spans)


def test_a_call_that_probed_a_target_becomes_a_test_that_passes(make, instrument):
    """No breaker is open when the test begins, so its first send is the initial one."""
    spans = make.spans(
        make.attempt(2, 1, cause="probe", status=503, error="ServerOverloaded"),
        make.attempt(3, 1, at=0.1, cause="probe", target="eu", region=EU),
        make.call(1, outcome="rescued_fallback", target="eu", region=EU),
    )

    assert "test_chat_rescued_fallback" == run(pytest_text(*held(*spans)), instrument)


def test_a_call_past_a_key_that_was_refused_becomes_a_test_that_passes(make, instrument):
    """Each target has its own key, though they are in one region."""
    spans = make.spans(
        make.attempt(2, 1, target="old", status=401, error="AuthenticationError"),
        make.attempt(3, 1, at=0.1, cause="fallback", target="new"),
        make.call(1, outcome="rescued_fallback", target="new"),
    )

    assert "test_chat_rescued_fallback" == run(pytest_text(*held(*spans)), instrument)


def test_a_reset_of_an_old_connection_cannot_be_replayed(make):
    spans = make.spans(
        make.attempt(2, 1, status=None, error="ReadError"),
        make.attempt(3, 1, at=0.1, cause="retry"),
        make.call(1, outcome="rescued_retry"),
    )

    with pytest.raises(NotReplayableError, match="reset after an earlier call"):
        pytest_text(*held(*spans))


def test_what_a_span_says_is_only_a_literal_in_the_test(make):
    evil = 'x\'"\n\\\x1b[2J"""); import os; os.system(\'id\') #'
    spans = make.spans(
        make.attempt(2, 1, target=evil, error=evil, status=503),
        make.call(1, model=evil, outcome="error", operation=evil, target=evil, code=evil),
    )
    store = Store()
    store.add(spans)
    (call,) = store.calls()

    text = pytest_text(call, spans)

    compile(text, "exported", "exec")
    assert text.replace("\n", "").isprintable()
    names = {}
    exec(compile(text, "exported", "exec"), names)
    assert evil == names["BODY"]["model"]


@pytest.mark.parametrize(
    "changed",
    [{"api": "video_task_get"}, {"outcome": "deadline"}, {"outcome": "abandoned"}, {"outcome": "cancelled"}],
)
def test_a_call_that_cannot_be_replayed_says_why(make, changed):
    spans = make.spans(make.attempt(2, 1), make.call(1, **changed))
    store = Store()
    store.add(spans)

    with pytest.raises(NotReplayableError, match="only JSON"):
        pytest_text(store.calls()[0], spans)


def test_json_has_the_call_and_the_spans_around_it(make):
    spans = make.spans(
        make.attempt(2, 1, at=0.1),
        make.call(1, user="Zoë \x1b[2J \U0001f600", cost=0.25, events=[("retry", {"wait": 0.5})]),
    )
    store = Store()
    store.add(spans)

    text = json_text(store.calls()[0], spans)

    document = json.loads(text)
    assert text.isascii()
    assert "\x1b" not in text
    assert ("Zoë \x1b[2J \U0001f600", 0.25, 0.25) == tuple(
        document["call"][name] for name in ("user", "cost", "duration_seconds")
    )
    assert ["chat " + make.model, "POST"] == [span["name"] for span in document["spans"]]
    assert [{"name": "retry", "at_ns": make.noon, "attributes": {"wait": 0.5}}] == document["spans"][0][
        "events"
    ]
