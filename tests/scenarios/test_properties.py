"""
Whatever the policy and whatever goes wrong, the laws of routing hold.

Random policies over two to four targets, random faults for each send to each of them, a
few calls in a row through one transport (so that breakers, cooldowns and dead
credentials take part), on a clock that only waiting moves.
"""

import json
import logging
import random
from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import byteplus_trace
from byteplus_trace import Breaker, Deadline, Policy, Retry, Target
from byteplus_trace._edge import execution, executors, router, timeouts

REGIONS = ("ap-southeast-1", "eu-west-1")
MODEL = "seed-2-0-lite-260228"


class Body(httpx.SyncByteStream):
    """Parts, then perhaps an exception."""

    def __init__(self, parts, error=None):
        self._parts = parts
        self._error = error

    def __iter__(self):
        yield from self._parts
        if self._error is not None:
            raise self._error


def replies(status, parts, error=None, **headers):
    """A reply that nobody has read yet."""
    return httpx.Response(status, headers=headers, stream=Body(parts, error))


def document(status, content, **headers):
    return replies(status, [json.dumps(content).encode()], **headers)


def refused(request, _name):
    raise httpx.ConnectError("refused", request=request)


def timed_out(request, _name):
    raise httpx.ReadTimeout("silent", request=request)


def reset(request, _name):
    raise httpx.ReadError("reset", request=request)


def saturated(request, _name):
    raise httpx.PoolTimeout("no connection is free", request=request)


def says(status, code, **headers):
    body = {"error": {"code": code, "message": "no", "type": "x"}}

    def answer(_request, name):
        return document(status, {**body, "by": name}, **headers)

    return answer


def empty(_request, _name):
    return replies(200, [])


def delta(name, number):
    return {
        "id": name,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": f"{name}-{number} "}}],
    }


def sse(*events):
    return [b"data: " + json.dumps(each).encode() + b"\n\n" for each in events]


ROLE = {"id": "r", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
LAST = {"id": "r", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
BROKEN = {"error": {"code": "InternalServiceError", "message": "no"}}


def streams(parts_of, error=None):
    def answer(_request, name):
        return replies(200, parts_of(name), error, **{"content-type": "text/event-stream"})

    return answer


CUT = httpx.RemoteProtocolError("peer closed connection")


def well(request, name):
    asked = json.loads(request.content)
    if asked.get("stream"):
        return streams(lambda n: [*sse(ROLE, delta(n, 1), delta(n, 2), LAST), b"data: [DONE]\n\n"])(
            request, name
        )
    if request.url.path.endswith("/images/generations"):
        return document(200, {"created": 1, "by": name, "data": [{"url": "http://x/1"}]})
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": name}}
    return document(200, {"id": name, "model": "m", "choices": [choice]})


# Name: how it goes, and whether the work may have been done. Streams' own faults last.
FAULTS = {
    "well": (well, False),
    "refused": (refused, False),
    "timed out": (timed_out, True),
    "reset": (reset, True),
    "saturated": (saturated, False),
    "400": (says(400, "InvalidParameter"), False),
    "moderated": (says(400, "InputTextSensitiveContentDetected"), False),
    "401": (says(401, "AuthenticationError"), False),
    "403": (says(403, "AccessDenied"), False),
    "404": (says(404, "ModelNotOpen"), False),
    "408": (says(408, "RequestTimeout"), False),
    "409": (says(409, "Conflict"), False),
    "rate": (says(429, "RateLimitExceeded.EndpointRPMExceeded"), False),
    "rate, a while": (says(429, "RateLimitExceeded.EndpointRPMExceeded", **{"retry-after": "3"}), False),
    "quota": (says(429, "QuotaExceeded"), False),
    "overloaded": (says(429, "ServerOverloaded"), False),
    "500": (says(500, "InternalServiceError"), True),
    "503": (says(503, "ServiceUnavailable"), False),
    "empty": (empty, True),
}
IN_STREAM = {
    "error first": (streams(lambda _n: sse(ROLE, BROKEN)), True),
    "cut first": (streams(lambda _n: sse(ROLE), CUT), True),
    "error after": (streams(lambda n: sse(ROLE, delta(n, 1), BROKEN)), True),
    "cut after": (streams(lambda n: sse(ROLE, delta(n, 1), delta(n, 2)), CUT), True),
}
AFTER_OUTPUT = {"well", "error after", "cut after"}


@dataclass
class World:
    """Every target in one process: what each was sent, and what it will do next."""

    scripts: dict[str, list[str]]
    sent: list[tuple[str, str, httpx.Request]] = field(default_factory=list)

    def handle(self, request):
        name = request.url.host.split(".")[0]
        script = self.scripts[name]
        fault = script.pop(0) if script else "well"
        streaming = bool(json.loads(request.content).get("stream"))
        if fault in IN_STREAM and not streaming:
            fault = "500"
        self.sent.append((name, fault, request))
        return {**FAULTS, **IN_STREAM}[fault][0](request, name)


class Wire(httpx.BaseTransport):
    def __init__(self, world):
        self._world = world

    def handle_request(self, request):
        request.read()
        return self._world.handle(request)


targets = st.integers(2, 4).flatmap(
    lambda count: st.tuples(
        *[
            st.fixed_dictionaries(
                {
                    "region": st.sampled_from(REGIONS),
                    "mapped": st.booleans(),
                    "overrides": st.booleans(),
                    "keyed": st.booleans(),
                    "weight": st.sampled_from([0, 1, 3]),
                    "quota_group": st.sampled_from([None, "acct"]),
                    "script": st.lists(st.sampled_from([*FAULTS, *IN_STREAM]), max_size=4),
                }
            )
            for _ in range(count)
        ]
    )
)
policies = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["fallback", "fallback", "loadbalance", "single"]),
        "retry": st.builds(Retry, per_target=st.integers(0, 2)),
        "breaker": st.builds(Breaker, consecutive=st.sampled_from([1, 5]), min_requests=st.just(2)),
        "deadline": st.builds(Deadline, total=st.sampled_from([None, 4.0, 30.0])),
        "max_attempts": st.integers(1, 6),
        "final": st.sampled_from(["primary", "last"]),
    }
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["chat", "stream", "image"]),
            "to": st.integers(0, 3),
            "after": st.integers(0, 400),
        }
    ),
    min_size=1,
    max_size=4,
)


def url_of(name):
    return f"https://{name}.ark.example/api/v3"


def target_of(at, drawn_target):
    name = f"t{at}"
    return Target(
        name,
        region=drawn_target["region"],
        base_url=url_of(name),
        api_key=f"key-{name}" if drawn_target["keyed"] else None,
        models={MODEL: f"{MODEL}-at-{name}"} if drawn_target["mapped"] else {},
        override_params={"thinking": {"type": "disabled"}} if drawn_target["overrides"] else {},
        weight=drawn_target["weight"],
        quota_group=drawn_target["quota_group"],
    )


class Clock:
    """Time that passes where somebody waits, and nowhere else."""

    def __init__(self):
        self.now = 1_000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch, caplog):
    caplog.set_level(logging.ERROR, "byteplus_trace")
    clock = Clock()
    monkeypatch.setattr(router, "clock", clock.monotonic)
    for edge in (timeouts, execution, executors):
        passing = SimpleNamespace(sleep=clock.sleep, monotonic=clock.monotonic, time=clock.monotonic)
        monkeypatch.setattr(edge, "time", passing)
    return clock


def body_of(kind):
    """A body with a field that nobody here knows."""
    own = {"future": {"kept": [1, {"two": None}], "text": "ü \u2028"}}
    if kind == "image":
        return {"model": MODEL, "prompt": "a river", **own}
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        **({"stream": True} if kind == "stream" else {}),
        **own,
    }


@dataclass
class Seen:
    """What the caller of one call saw."""

    status: int | None = None
    parts: bytes = b""
    error: Exception | None = None


def ask(client, at, kind):
    path = "/images/generations" if kind == "image" else "/chat/completions"
    seen = Seen()
    try:
        with client.stream("POST", url_of(f"t{at}") + path, json=body_of(kind)) as response:
            seen.status = response.status_code
            for part in response.iter_raw():
                seen.parts += part
    except httpx.TransportError as error:
        seen.error = error
    return seen


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(drawn_targets=targets, drawn_policy=policies, drawn_calls=calls, seed=st.integers(0, 1_000))
def test_the_laws_hold(clock, drawn_targets, drawn_policy, drawn_calls, seed):
    if drawn_policy["mode"] == "loadbalance" and not any(each["weight"] for each in drawn_targets):
        drawn_targets[0]["weight"] = 1
    policy = Policy(targets=[target_of(at, each) for at, each in enumerate(drawn_targets)], **drawn_policy)
    world = World({f"t{at}": list(each["script"]) for at, each in enumerate(drawn_targets)})
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    registry = CollectorRegistry()
    exchanges = []
    ours = byteplus_trace.ModelArkTransport(
        Wire(world),
        policy=policy,
        registry=registry,
        tracer_provider=provider,
        on_exchange=exchanges.append,
    )
    ours._own.router.health.random.seed(seed)
    random.seed(seed)

    with httpx.Client(transport=ours, headers={"Authorization": "Bearer callers"}) as client:
        for call in drawn_calls:
            before = len(world.sent)
            began = clock.now
            addressed = call["to"] % len(drawn_targets)
            seen = ask(client, addressed, call["kind"])
            ours._own.flush(5)
            sends = world.sent[before:]
            exchange = exchanges[-1]
            event(exchange.outcome)

            assert len(sends) <= policy.max_attempts
            no_work_is_done_twice(call["kind"], sends)
            nothing_follows_the_first_output(sends)
            the_reply_is_one_targets(call["kind"], seen, sends)
            each_target_is_sent_its_own(policy, call["kind"], addressed, sends)
            each_send_is_recorded(exchange, sends)
            the_outcome_is_what_the_caller_saw(exchange, seen, sends)
            if policy.deadline.total is not None:
                assert clock.now - began <= policy.deadline.total
            clock.now += call["after"]

    everything_is_counted_once(exporter.get_finished_spans(), registry, exchanges, world)


def no_work_is_done_twice(kind, sends):
    """An image whose first copy may have been made, and charged, is not sent again."""
    if kind == "image":
        for _, fault, _ in sends[:-1]:
            assert not FAULTS.get(fault, IN_STREAM.get("error first"))[1], (fault, sends)


def nothing_follows_the_first_output(sends):
    for _, fault, _ in sends[:-1]:
        assert fault not in AFTER_OUTPUT, sends


def the_reply_is_one_targets(kind, seen, sends):
    """What the caller got is what one send gave, whole and in order."""
    if seen.status is None:
        assert b"" == seen.parts
        return
    replies = [parts_sent(request, name, fault) for name, fault, request in sends]
    assert seen.parts in replies
    if seen.status == 200 and seen.error is None and kind != "stream" and seen.parts:
        assert seen.parts == replies[-1]


def parts_sent(request, name, fault):
    try:
        response = {**FAULTS, **IN_STREAM}[fault][0](request, name)
    except httpx.TransportError:
        return None
    parts = b""
    try:
        for part in response.stream:
            parts += part
    except httpx.TransportError:
        pass
    return parts


def each_target_is_sent_its_own(policy, kind, addressed, sends):
    """Model, parameters and key are the target's; everything else is the caller's; a key goes nowhere else."""
    by_name = {target.name: target for target in policy.leaves}
    home = policy.leaves[addressed]
    for name, _, request in sends:
        target = by_name[name]
        own = {**body_of(kind), **target.override_params, "model": target.models.get(MODEL, MODEL)}
        received, key = json.loads(request.content), request.headers.get("authorization")
        assert str(len(request.content)) == request.headers["content-length"]
        assert f"{name}.ark.example" == request.headers["host"] == request.url.host
        if key == "Bearer callers":
            assert name == home.name
            # Where no target can serve a call it travels as it was addressed.
            assert received == own or (received == body_of(kind) and len(sends) == 1)
        else:
            assert f"Bearer {target.api_key}" == key
            assert own == received


def each_send_is_recorded(exchange, sends):
    assert [name for name, _, _ in sends] == [attempt.target for attempt in exchange.attempts]
    assert list(range(1, len(sends) + 1)) == [attempt.number for attempt in exchange.attempts]
    if sends:
        assert exchange.attempts[0].cause in {"initial", "probe"}


def the_outcome_is_what_the_caller_saw(exchange, seen, sends):
    if seen.error is not None:
        assert exchange.outcome in {"error", "deadline"}
        assert type(seen.error).__name__ == exchange.error_type
    elif seen.status >= 400:
        assert "error" == exchange.outcome
        assert seen.status == exchange.status
    elif sends[-1][1] == "well":
        names = {name for name, _, _ in sends}
        rescued = "ok" if len(sends) == 1 else "rescued_fallback" if len(names) > 1 else "rescued_retry"
        if len(sends) > 1 and sends[0][0] == sends[-1][0]:
            rescued = "rescued_retry"
        assert rescued == exchange.outcome
    else:
        assert "error" == exchange.outcome
    if exchange.outcome == "deadline":
        assert isinstance(seen.error, httpx.ReadTimeout)


def everything_is_counted_once(spans, registry, exchanges, world):
    attempts = [span for span in spans if "byteplus.modelark.attempt.cause" in span.attributes]
    logical = [span for span in spans if "gen_ai.operation.name" in span.attributes]
    assert len(world.sent) == len(attempts)
    assert len(exchanges) == len(logical)
    parents = {span.context.span_id for span in logical}
    assert all(span.parent.span_id in parents for span in attempts)
    counted = defaultdict(float)
    for family in registry.collect():
        for sample in family.samples:
            counted[sample.name] += sample.value
            assert "None" not in sample.labels.values()
    assert len(world.sent) == counted["modelark_attempts_total"]
    assert len(exchanges) == counted["modelark_operations_total"]
    assert len(exchanges) == counted["modelark_operation_duration_seconds_count"]
    assert 0 == counted["modelark_operations_in_flight"]
    assert 0 == counted["modelark_telemetry_errors_total"]
