"""Whatever the policy and whatever fails: the laws of routing, over random worlds."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from byteplus_trace import Breaker, Deadline, Policy, Retry, Target
from byteplus_trace._policy.replay import may_run_twice
from byteplus_trace._policy.targets import Group
from byteplus_trace._routing.steps import Failure, Peek, Peeked, Reply, Send, Wait

SG, EU = "ap-southeast-1", "eu-west-1"
NAMES = ("a", "b", "c", "d")
SLACK = 0.01

CODES = (
    None, "RateLimitExceeded.EndpointRPMExceeded", "AccountRateLimitExceeded", "QuotaExceeded", "ServerOverloaded",
    "AuthenticationError", "AccountOverdueError", "ModelNotOpen", "InvalidEndpoint.ClosedEndpoint",
    "InputTextSensitiveContentDetected", "InternalServiceError", "SomethingNew",
)  # fmt: skip
STATUSES = (200, 200, 200, 307, 400, 401, 403, 404, 408, 409, 418, 422, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Weather:
    """What one send meets, and how long it would take if nobody stopped it."""

    seconds: float
    outcome: object
    seen: object = field(default=Peeked(output=True))
    may_have_run: bool = True


def seconds(most=30.0):
    return st.floats(0, most, allow_nan=False)


failures = st.builds(
    Failure, st.sampled_from(["connect", "timeout", "reset", "pool", "other"]), st.booleans(), st.booleans()
).map(
    lambda failure: Failure(
        failure.kind,
        failure.reached and failure.kind not in {"connect", "pool"},
        failure.stale_connection and failure.kind == "reset",
    )
)
replies = st.builds(
    Reply, st.sampled_from(STATUSES), st.sampled_from(CODES), st.none() | seconds(60), st.booleans()
)
peeked = st.one_of(
    st.just(Peeked(output=True)),
    st.just(Peeked(empty=True)),
    st.builds(Peeked, failed=st.just(True), code=st.sampled_from(CODES)),
    failures.filter(lambda failure: failure.kind in {"timeout", "reset"} and failure.reached),
)
weathers = st.builds(Weather, seconds(), failures | replies, peeked)

targets = st.builds(
    dict,
    region=st.sampled_from([SG, EU]),
    api_key=st.none() | st.sampled_from(["key-1", "key-2", "key-3"]),
    quota_group=st.none() | st.sampled_from(["g", "h"]),
    zone=st.none() | st.sampled_from(["z"]),
    weight=st.sampled_from([1, 2]),
    request_timeout=st.none() | st.floats(0.1, 5),
    models=st.sampled_from([{}, {"*": "mapped"}]),
    retry=st.none() | st.builds(Retry, per_target=st.integers(0, 2), on_status_codes=st.none() | st.just({500, 429})),
)  # fmt: skip


@st.composite
def policies(draw):
    count = draw(st.integers(1, 4))
    leaves = [Target(name, **draw(targets)) for name in NAMES[:count]]
    if count > 2 and draw(st.booleans()):
        leaves = [
            Group(leaves[:2], mode=draw(st.sampled_from(["fallback", "loadbalance"])), name="g"),
            *leaves[2:],
        ]
    return Policy(
        targets=leaves,
        mode=draw(st.sampled_from(["fallback", "loadbalance", "single"])),
        retry=draw(st.builds(Retry, per_target=st.integers(0, 3), retry_after_cap=st.floats(0, 20))),
        breaker=Breaker(consecutive=draw(st.integers(1, 4)), open=5, open_max=20),
        deadline=draw(
            st.builds(
                Deadline,
                total=st.none() | st.floats(0.5, 40),
                first_event=st.none() | st.floats(0.5, 10),
                min_attempt=st.floats(0, 3),
                reserve=st.floats(0, 0.9),
            )
        ),
        max_attempts=draw(st.integers(1, 6)),
        final=draw(st.sampled_from(["primary", "last"])),
        on_status_codes=draw(st.none() | st.just({429, 500, 503})),
    )


APIS = st.sampled_from(
    ["chat_completions", "images", "responses", "embeddings", "files", "video_task_create"]
)


def bounded(clock, seconds, limit, outcome):
    """Let a step take its time, cut where its limit cuts."""
    if limit is not None and seconds > limit:
        clock.now += limit
        return Failure("timeout", reached=True)
    clock.now += seconds
    return outcome


def travel(here, call, weathers, **asked):
    """Drive one call through the weather and check each step against the laws as it is made."""
    policy, clock = here.policy, here.clock
    began, total = clock.now, policy.deadline.total
    leaves = {target.name: target for target in policy.leaves}
    twice = may_run_twice(call, policy.replay)
    sends, running, output, routed, steps = 0, False, False, True, 0
    current = None
    deciding = here.plan(call, **asked)
    try:
        step = next(deciding)
        while True:
            steps += 1
            assert steps < 60, "the plan ends"
            received = None
            match step:
                case Send():
                    sends += 1
                    assert not output, "nothing is sent after the first output"
                    assert not (running and not twice), "what may have run is not sent again"
                    assert sends == step.number <= policy.max_attempts
                    assert step.timeout_seconds is None or step.timeout_seconds > 0
                    if total is not None:
                        assert clock.now <= began + total + SLACK, "nothing is sent after the deadline"
                        assert step.target not in leaves or step.timeout_seconds <= total + SLACK
                    _check_key(step, leaves, call)
                    routed = routed and step.target in leaves
                    current = weathers[(sends - 1) % len(weathers)]
                    received = bounded(clock, current.seconds, step.timeout_seconds, current.outcome)
                    running = running or _may_be_running(received)
                case Peek():
                    seen = bounded(clock, 1.0, step.timeout_seconds, current.seen)
                    received = seen
                    output = isinstance(received, Peeked) and received.output
                    running = running or _may_have_run_in_there(received)
                case Wait():
                    retry = leaves[step.target].retry or policy.retry
                    assert 0 < step.seconds <= max(retry.cap, retry.retry_after_cap)
                    clock.now += step.seconds
            step = deciding.send(received)
    except StopIteration as end:
        delivered = end.value
    if total is not None and routed:
        assert clock.now <= began + total + SLACK, "every step is cut at the deadline"
    return delivered, sends


def _check_key(send, leaves, call):
    """A key goes to its own target's address, and the caller's own to where the caller sent it."""
    if send.target not in leaves:
        assert (None, None) == (send.api_key, send.base_url)
        return
    target = leaves[send.target]
    assert send.api_key == target.api_key
    assert send.base_url in {None, target.address}
    if send.base_url is None:
        assert call.url.startswith(target.address)
    if target.api_key is None:
        assert target.region == call.region
        assert call.url.startswith(target.address)


def _may_be_running(received):
    if isinstance(received, Failure):
        return received.reached and received.kind in {"timeout", "reset"}
    return received.status >= 500 and received.status != 503 and received.code not in KNOWN_REFUSALS


def _may_have_run_in_there(received):
    if isinstance(received, Failure):
        return True
    return received.empty or (received.failed and received.code not in KNOWN_REFUSALS)


# Codes by which the service says that it did not do the work.
KNOWN_REFUSALS = set(CODES) - {None, "InternalServiceError", "SomethingNew"}


@settings(max_examples=100)
@given(
    policy=policies(),
    calls=st.lists(st.tuples(APIS, st.booleans(), seconds(10)), min_size=1, max_size=5),
    weather=st.lists(weathers, min_size=1, max_size=8),
    addressed=st.sampled_from([SG, EU]),
    replayable=st.booleans(),
)
def test_the_laws_hold_in_any_weather(world, call, policy, calls, weather, addressed, replayable):
    here = world(policy)
    for at, (api, stream, pause) in enumerate(calls):
        sent = call(api, region=addressed, stream=stream)
        blows = weather[at % len(weather) :] + weather

        delivered, sends = travel(here, sent, blows, replayable=replayable)

        assert sends >= 1, "every call is tried"
        assert replayable or sends == 1
        assert not (delivered.kept and delivered.failure)
        assert delivered.attempts == sends
        _check_slots(here)
        here.clock.now += pause


def _check_slots(here):
    """No probe is under way when no call is."""
    later = here.clock.now + 1_000
    before, here.clock.now = here.clock.now, later
    for target in here.policy.leaves:
        for operation in ("chat", "embeddings", "generate_content", "other"):
            assert here.health.would_admit(target.name, operation)
    here.clock.now = before


@settings(max_examples=50)
@given(policy=policies(), weather=st.lists(weathers, min_size=1, max_size=6), steps=st.integers(1, 8))
def test_a_call_dropped_at_any_step_leaves_no_slot_taken(world, call, policy, weather, steps):
    here = world(policy)
    for target in policy.leaves:
        for _ in range(5):
            here.health.failed(target.name, "chat", "connect")
    here.clock.now += 60
    deciding = here.plan(call("chat_completions"))
    try:
        step = next(deciding)
        for at in range(steps):
            blow = weather[at % len(weather)]
            received = {Send: blow.outcome, Peek: blow.seen}.get(type(step))
            step = deciding.send(received)
    except StopIteration:
        pass
    deciding.close()

    _check_slots(here)
