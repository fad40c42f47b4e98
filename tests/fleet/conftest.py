"""Processes of one fleet, in one process: each a `Health` with a clock of its own, and a store in memory."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from random import Random

import pytest

from byteplus_trace import Breaker, Policy, Target
from byteplus_trace._routing.health import Health
from byteplus_trace._routing.sharing import Sharing

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _benchmark(name):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


simulation = _benchmark("fleet")
processes = _benchmark("fleet_processes")


def pytest_runtest_setup(item):
    if item.get_closest_marker("server") is not None and processes.Redis.program is None:
        pytest.skip("needs the server redis-server: see .ci/install-backends")


@pytest.fixture
def redis_server():
    with processes.Redis() as server:
        yield server


@pytest.fixture(scope="session")
def fleet_of_processes():
    """The benchmark with real processes."""
    return processes


class Clock:
    """Seconds that pass for everybody, read off a clock that began at another time."""

    def __init__(self, time, began):
        self.time = time
        self.began = began

    def __call__(self):
        return self.time[0] + self.began


class Listening:
    def __init__(self):
        self.states = []
        self.openings = []

    def breaker_changed(self, target, operation, state, opening):
        self.states.append((target, state))
        if opening is not None:
            self.openings.append(opening)

    def credential_dead(self, target):
        pass


class Process:
    """One process of a fleet."""

    def __init__(self, fleet, policy, who):
        self.fleet = fleet
        self.clock = Clock(fleet.time, began=1_000.0 * (len(fleet.processes) + 1))
        self.heard = Listening()
        self.health = Health(policy, self.clock, Random(len(fleet.processes)), self.heard)
        self.sharing = Sharing(self.health, policy, self.clock, who)
        self.connected = False

    def join(self):
        self.connected = True
        self.fleet.store.join(self.sharing)

    def leave(self):
        self.connected = False
        self.sharing.cut_off()

    def fail(self, times=1, target="sg", operation="chat", probe=False):
        for _ in range(times):
            self.health.failed(target, operation, "connect", probe=probe)

    def answer(self, times=1, target="sg", operation="chat", probe=False):
        for _ in range(times):
            self.health.succeeded(target, operation, probe=probe)

    def admits(self, target="sg", operation="chat", insist=False):
        return self.health.admit(target, operation, insist=insist)


class Fleet:
    """Processes with one store between them; messages are delivered at once unless they are held up."""

    def __init__(self):
        self.time = [100.0]
        self.store = simulation.MemoryStore(Clock(self.time, began=1e9))
        self.store.publish = self.published
        self.processes = []
        self.loses_messages = False

    def process(self, policy, joins=True):
        process = Process(self, policy, who=f"host/{len(self.processes)}")
        self.processes.append(process)
        if joins:
            process.join()
        return process

    def published(self, news):
        if self.loses_messages:
            return
        for process in self.processes:
            if process.connected:
                for each in news:
                    process.sharing.receive(each)

    def turn(self):
        """Each thread sends what its process learnt."""
        for process in self.processes:
            if process.connected:
                self.store.step(process.sharing)

    def read(self):
        """Each thread makes its full read."""
        for process in self.processes:
            if process.connected:
                self.store.read(process.sharing)

    def pass_time(self, seconds):
        self.time[0] += seconds


@pytest.fixture(scope="session")
def fleet_simulation():
    """The benchmark that simulates a fleet."""
    return simulation


@pytest.fixture
def fleet():
    return Fleet()


def _policy(*names, key="key", **breaker):
    return Policy(
        targets=[
            Target(name, region="eu-west-1" if name.startswith("eu") else "ap-southeast-1", api_key=key)
            for name in names or ("sg", "eu")
        ],
        breaker=Breaker(**{"consecutive": 5, "open": 10.0, **breaker}),
    )


@pytest.fixture
def policy():
    """policy(*names, key=..., **breaker settings)"""
    return _policy
