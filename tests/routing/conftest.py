"""
A world without sockets: a clock that only tests move, and a plan driven by what they script.

An outcome of a script is what came of one send: a `Reply`, a `Failure`, a `Peeked` (a 200
whose body shows that), `("200", Failure)` (a 200 whose body breaks while it is looked at),
or `(seconds, outcome)` for one that takes its time. What is not scripted goes well.
"""

from __future__ import annotations

from random import Random

import pytest

from byteplus_trace import Policy, Target
from byteplus_trace._facts import Call
from byteplus_trace._routing.address import Addresses
from byteplus_trace._routing.health import Health
from byteplus_trace._routing.order import Request, why_it_stays
from byteplus_trace._routing.plan import plan
from byteplus_trace._routing.steps import Discard, Keep, Peek, Peeked, Reply, Send, Wait

SG, EU = "ap-southeast-1", "eu-west-1"
HOSTS = {SG: "ark.ap-southeast.bytepluses.com", EU: "ark.eu-west.bytepluses.com"}
OPERATIONS = {
    "chat_completions": ("chat", "/chat/completions"),
    "responses": ("chat", "/responses"),
    "responses_get": ("fetch_response", "/responses/resp_1"),
    "embeddings": ("embeddings", "/embeddings"),
    "images": ("generate_content", "/images/generations"),
    "video_task_create": ("generate_content", "/contents/generations/tasks"),
    "video_task_get": ("other", "/contents/generations/tasks/cgt-1"),
    "files": ("other", "/files"),
}


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


class Listening:
    """What was said of breakers and credentials."""

    def __init__(self):
        self.states = []
        self.openings = []
        self.dead = []

    def breaker_changed(self, target, operation, state, opening):
        self.states.append((target, operation, state))
        if opening is not None:
            self.openings.append(opening)

    def credential_dead(self, target):
        self.dead.append(target)


class Trip:
    """What a plan did for one call."""

    def __init__(self):
        self.steps = []
        self.delivered = None

    @property
    def sends(self):
        return [step for step in self.steps if isinstance(step, Send)]

    @property
    def hops(self):
        return [(send.target, send.cause) for send in self.sends]

    @property
    def targets(self):
        return [send.target for send in self.sends]

    @property
    def waits(self):
        return [step for step in self.steps if isinstance(step, Wait)]

    @property
    def peeks(self):
        return [step for step in self.steps if isinstance(step, Peek)]

    @property
    def step_names(self):
        return [type(step).__name__ for step in self.steps]

    @property
    def skips(self):
        skips = [skip for send in self.sends for skip in send.skipped] + list(self.delivered.skipped)
        return [(skip.target, skip.reason) for skip in skips]


class World:
    """A policy, what is known of its targets, and a clock."""

    def __init__(self, policy, seed=7):
        self.policy = policy
        self.clock = Clock()
        self.random = Random(seed)
        self.heard = Listening()
        self.health = Health(policy, self.clock, self.random, self.heard)

    def plan(self, call, *, origin=None, prior=None, headers=None, body=None, files=(), replayable=True):
        sent = {"authorization": "Bearer the-callers", **(headers or {})}
        return plan(
            call,
            self.policy,
            Addresses(self.policy.leaves),
            self.health,
            Request(
                sent,
                why_it_stays(sent),
                origin,
                replayable=replayable,
                body_params=body if callable(body) else lambda: body or {},
                file_ids=lambda: files,
            ),
            prior,
        )

    def play(self, call, *outcomes, **settings):
        """Drive one call to its end."""
        trip, script, seen = Trip(), list(outcomes), None
        steps = self.plan(call, **settings)
        try:
            step = next(steps)
            while True:
                trip.steps.append(step)
                assert len(trip.steps) < 100, "the plan does not end"
                match step:
                    case Send():
                        received, seen = self._sent(call, script.pop(0) if script else Reply(200))
                    case Peek():
                        received = self._after(seen)
                    case Wait():
                        self.clock.now += step.seconds
                        received = None
                    case Keep() | Discard():
                        received = None
                step = steps.send(received)
        except StopIteration as end:
            trip.delivered = end.value
        assert [] == script, "the script was not played to its end"
        return trip

    def _sent(self, call, outcome):
        outcome = self._after(outcome)
        if isinstance(outcome, Peeked):
            return Reply(200, streaming=call.stream), outcome
        if isinstance(outcome, tuple):
            return Reply(200, streaming=call.stream), outcome[1]
        if isinstance(outcome, Reply) and outcome.status < 300:
            return Reply(outcome.status, streaming=call.stream), Peeked(output=True)
        return outcome, None

    def _after(self, outcome):
        """An outcome, once its time has passed."""
        if isinstance(outcome, tuple) and isinstance(outcome[0], (int, float)):
            seconds, outcome = outcome
            self.clock.now += seconds
        return outcome


@pytest.fixture(scope="session")
def world():
    """world(policy)"""
    return World


def _call(api="chat_completions", region=SG, **facts):
    operation, path = OPERATIONS[api]
    return Call(
        **{
            "operation": operation,
            "api": api,
            "method": "GET" if api.endswith("get") else "POST",
            "url": f"https://{HOSTS[region]}/api/v3{path}",
            "host": HOSTS[region],
            "port": 443,
            "path": path,
            "region": region,
            "model": "seed-2-0-lite-260228",
            **facts,
        }
    )


@pytest.fixture(scope="session")
def call():
    """call(api, ...facts): addressed to the public host of ap-southeast-1, unless said otherwise."""
    return _call


def _target(name, region=None, **settings):
    region = region or (EU if name.startswith("eu") else SG)
    return Target(name, region=region, **{"api_key": f"key-of-{name}", **settings})


@pytest.fixture(scope="session")
def target():
    """target(name, ...): with a key of its own, in eu-west-1 where the name begins with eu."""
    return _target


@pytest.fixture(scope="session")
def two():
    """two(sg={...}, eu={...}, ...): a policy of sg, then eu."""

    def make(sg=None, eu=None, **settings):
        return Policy(targets=[_target("sg", **(sg or {})), _target("eu", **(eu or {}))], **settings)

    return make
