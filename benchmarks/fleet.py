"""
What sharing health does for a fleet, and what it costs the store: a simulation of some minutes.

    python benchmarks/fleet.py                       1,000 processes, a region that dies, returns, flaps and returns
    python benchmarks/fleet.py --processes 160 --rate 20

The code that is measured is the package's own (`Health`, `Sharing` and what they merge); what is simulated is
time, the calls, the network between the processes and the store, and the store itself. Messages are lost and late.
Nothing here is a measurement of Redis: `tests/fleet` talks to a real one.
"""

from __future__ import annotations

import argparse
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Literal

from byteplus_trace import Breaker, Policy, Target
from byteplus_trace._routing.fleet import BreakerNews, News, PinNews, Subject, encoded, message
from byteplus_trace._routing.health import Health
from byteplus_trace._routing.sharing import LEASE_SECONDS, Batch, Sharing, Tally, Totals

OPERATION = "chat"
# Of a command without its key, and of a key, as the client writes them.
COMMAND_BYTES, KEY_BYTES = 60, 150


class MemoryStore:
    """A store in memory, on a clock of its own; `publish` says how a message travels."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.breakers: dict[Subject, tuple[float, BreakerNews]] = {}
        self.barred: dict[News, float] = {}
        self.pins: list[PinNews] = []
        self.counts: dict[tuple[Subject, int, int], list[int]] = defaultdict(lambda: [0, 0])
        self.rows: dict[tuple[Subject, int], int] = defaultdict(int)
        self.leases: dict[str, tuple[str, float]] = {}
        self.commands = self.received = self.sent = 0
        self.publish: Callable[[Sequence[News]], None] = lambda news: None

    def step(self, sharing: Sharing) -> None:
        """One turn of a process's thread: send what was learnt, take leases."""
        while True:
            batch = sharing.collect(self.clock())
            if not any(batch):
                break
            self.send(sharing, batch)
        for lease in sharing.leases_due():
            self.commands += 3
            self.received += 3 * (COMMAND_BYTES + KEY_BYTES)
            who, until = self.leases.get(lease.name, ("", 0.0))
            if until <= self.clock() or who == sharing.who:
                self.leases[lease.name] = sharing.who, self.clock() + LEASE_SECONDS
                sharing.leased(lease, sharing.clock() + LEASE_SECONDS)

    def send(self, sharing: Sharing, batch: Batch) -> None:
        now = self.clock()
        for tally in batch.tallies:
            sharing.counted(tally, self._count(tally))
        for news in batch.news:
            self.commands += 2
            self.received += 2 * (len(encoded(news)) + COMMAND_BYTES)
            if isinstance(news, BreakerNews):
                self.breakers[news.subject] = now + news.remaining_ms / 1_000, news
            else:
                self.barred[news] = now + news.remaining_ms / 1_000  # type: ignore[union-attr]
        self.pins += batch.pins
        published = [*batch.news, *batch.pins]
        if published:
            self.commands += 1
            self.received += len(message(published)) + COMMAND_BYTES
            self.publish(published)

    def _count(self, tally: Tally) -> Totals:
        self.commands += 5 + len(tally.earlier)
        self.received += (5 + len(tally.earlier)) * (COMMAND_BYTES + KEY_BYTES)
        self.sent += 5 * 6 + len(tally.earlier) * 20
        row, key = (tally.subject, tally.epoch), (tally.subject, tally.epoch, tally.bucket)
        self.rows[row] = tally.trailing if tally.answered else self.rows[row] + tally.failed
        self.counts[key][0] += tally.answered
        self.counts[key][1] += tally.failed
        buckets = {
            at: (found[0], found[1])
            for at in (*tally.earlier, tally.bucket)
            if (found := self.counts.get((tally.subject, tally.epoch, at))) is not None
        }
        return Totals(self.rows[row], buckets)

    def read(self, sharing: Sharing) -> None:
        """The full read, on connecting and once a second."""
        now = self.clock()
        self.commands += 5
        self.received += 5 * COMMAND_BYTES + len(sharing.subjects) * KEY_BYTES
        self.sent += 100
        for subject in sharing.subjects:
            held = self.breakers.get(subject)
            until, news = held if held is not None else (now, None)
            self.sent += len(encoded(news)) if news is not None else 5
            sharing.stored(subject, news, until - now)
        for news, until in list(self.barred.items()):
            if until > now:
                self.sent += len(encoded(news))
                sharing.receive(news, until - now)
        for pin in self.pins:
            sharing.receive(pin)

    def join(self, sharing: Sharing) -> None:
        self.read(sharing)
        sharing.joined()


# The fleet


@dataclass(frozen=True, slots=True)
class Settings:
    processes: int = 1_000
    rate: float = 2.0
    """Calls a second of each process."""
    lost: float = 0.01
    """The share of messages that never arrive, for each receiver."""
    late: float = 0.01
    """The share that takes two seconds; the others take 1 to 20 ms."""
    seed: int = 7


# When the region is dead, in seconds: an outage of a minute, then a region that flaps.
DEAD = ((10.0, 70.0), (160.0, 165.0), (175.0, 180.0), (190.0, 195.0), (205.0, 210.0))
ENDS = 270.0
TICK_SECONDS = 0.02
READ_SECONDS = 1.0
REFUSED_SECONDS = 0.002
ANSWERED_SECONDS = 0.2


@dataclass(slots=True)
class Outcome:
    """What came of one simulation."""

    into_dead: int = 0
    into_first: int = 0
    probes: int = 0
    passed_over: int = 0
    """Calls that skipped the region although it was well."""
    first_opened_at: float | None = None
    skipping_at: dict[str, float] = field(default_factory=dict)
    """When each process began to skip the region in the first outage."""
    back_at: dict[str, float] = field(default_factory=dict)
    """When each process called it again after the first outage."""
    load: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """For each second: commands, bytes to the store, bytes from it."""


class Process:
    """One process of the simulation; a listener of its own health."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet = fleet
        self.who = f"host-{number // 8}/{number}"
        self.random = Random(fleet.settings.seed * 100_003 + number)
        self.health = Health(fleet.policy, fleet.clock, self.random, self)
        self.sharing = Sharing(self.health, fleet.policy, fleet.clock, self.who) if fleet.shares else None
        self.wakes_at = 0.0
        self.phase = self.random.random()

    def breaker_changed(self, target: str, operation: str, state: int, opening: object) -> None:
        fleet, now = self.fleet, self.fleet.now
        first, last = DEAD[0]
        if opening is not None and first <= now < last:
            fleet.outcome.first_opened_at = fleet.outcome.first_opened_at or now
            fleet.outcome.skipping_at.setdefault(self.who, now)
        if state == 0 and last <= now < DEAD[1][0]:
            fleet.outcome.back_at.setdefault(self.who, now)

    def credential_dead(self, target: str) -> None:
        """No key is refused here."""

    def call(self) -> None:
        """One call: to the region, where health lets it, else to the other one, which is always well."""
        fleet = self.fleet
        fleet.later(self.random.expovariate(fleet.settings.rate), self.call)
        admission = self.health.admit("sg", OPERATION)
        if admission == "no":
            fleet.outcome.passed_over += not fleet.is_dead
            self.wake()
            return
        probe, dead = admission == "probe", fleet.is_dead
        fleet.outcome.probes += probe
        fleet.outcome.into_dead += dead
        fleet.outcome.into_first += dead and fleet.now < DEAD[0][1]
        if dead:
            fleet.later(REFUSED_SECONDS, lambda: self.ended("connect", probe))
        else:
            fleet.later(ANSWERED_SECONDS, lambda: self.ended(None, probe))

    def ended(self, failure: Literal["connect"] | None, probe: bool) -> None:
        if failure is None:
            self.health.succeeded("sg", OPERATION, probe=probe)
        else:
            self.health.failed("sg", OPERATION, failure, probe=probe)
        self.wake()

    def wake(self) -> None:
        """The thread sees at its next tick what was learnt, or that a call was turned away."""
        if self.sharing is not None and self.wakes_at <= self.fleet.now:
            ticks = int((self.fleet.now + self.phase * TICK_SECONDS) / TICK_SECONDS) + 1
            self.wakes_at = max(ticks * TICK_SECONDS - self.phase * TICK_SECONDS, self.fleet.now + 1e-6)
            self.fleet.later(self.wakes_at - self.fleet.now, self.turn)

    def turn(self) -> None:
        assert self.sharing is not None
        self.fleet.store.step(self.sharing)

    def read(self) -> None:
        """Once a second, whatever happens: the full read, and the answers that waited to be counted."""
        assert self.sharing is not None
        self.fleet.later(READ_SECONDS, self.read)
        self.fleet.store.read(self.sharing)
        self.fleet.store.step(self.sharing)


class Fleet:
    """Processes, a region that dies and returns, and a store; a list of what happens when."""

    def __init__(self, settings: Settings, *, shares: bool) -> None:
        self.settings = settings
        self.shares = shares
        self.now = 0.0
        self.outcome = Outcome()
        self.policy = Policy(
            targets=[
                Target("sg", region="ap-southeast-1", api_key="a"),
                Target("eu", region="eu-west-1", api_key="b"),
            ],
            breaker=Breaker(),
        )
        self.random = Random(settings.seed)
        self.store = MemoryStore(self.clock)
        self.store.publish = self.published
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.processes = [Process(self, number) for number in range(settings.processes)]

    def clock(self) -> float:
        return self.now

    @property
    def is_dead(self) -> bool:
        return any(begins <= self.now < ends for begins, ends in DEAD)

    def later(self, seconds: float, happens: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, happens))

    def published(self, news: Sequence[News]) -> None:
        """A message goes to everybody, and each may miss it or hear it late."""
        self.store.sent += len(message(news)) * len(self.processes)
        for process in self.processes:
            chance = self.random.random()
            if chance >= self.settings.lost:
                is_late = chance < self.settings.lost + self.settings.late
                self.later(
                    2.0 if is_late else self.random.uniform(0.001, 0.02), partial(self._hear, process, news)
                )

    def _hear(self, process: Process, news: Sequence[News]) -> None:
        assert process.sharing is not None
        for each in news:
            process.sharing.receive(each)

    def run(self) -> Outcome:
        for process in self.processes:
            self.later(process.random.expovariate(self.settings.rate), process.call)
            if process.sharing is not None:
                self.store.join(process.sharing)
                self.later(process.phase * READ_SECONDS, process.read)
        second, before = 0, (0, 0, 0)
        while self._events and self._events[0][0] < ENDS:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
            if int(self.now) > second:
                spent = self.store.commands, self.store.received, self.store.sent
                self.outcome.load[second] = tuple(a - b for a, b in zip(spent, before, strict=True))  # type: ignore[assignment]
                second, before = int(self.now), spent
        return self.outcome


def table(settings: Settings) -> Iterator[str]:
    """What sharing changes, a line each."""
    found = {shares: Fleet(settings, shares=shares).run() for shares in (False, True)}
    alone, shared = found[False], found[True]
    yield f"{settings.processes:,} processes at {settings.rate:g} calls a second each; {settings.lost:.0%} of messages lost, {settings.late:.0%} two seconds late"
    yield "the region is dead " + ", ".join(f"{begins:g}-{ends:g} s" for begins, ends in DEAD)
    yield ""
    yield f"{'':<52}{'without':>12}{'shared':>12}"
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("sends into the dead region, first outage", lambda o: f"{o.into_first:,}"),
        ("sends into the dead region, all", lambda o: f"{o.into_dead:,}"),
        ("probes", lambda o: f"{o.probes:,}"),
        ("from its death to the first opening, s", lambda o: f"{_or(o.first_opened_at, DEAD[0][0]) - DEAD[0][0]:.2f}"),
        ("until half of the processes skip it, s", lambda o: _quantile(o.skipping_at, settings, 0.5, DEAD[0][0])),
        ("until all of them do, s", lambda o: _quantile(o.skipping_at, settings, 1.0, DEAD[0][0])),
        ("from its return until half of them call it again, s", lambda o: _quantile(o.back_at, settings, 0.5, DEAD[0][1])),
        ("until all of them do, s", lambda o: _quantile(o.back_at, settings, 1.0, DEAD[0][1])),
        ("calls that passed it over while it was well", lambda o: f"{o.passed_over:,}"),
    ]  # fmt: skip
    for name, value in rows:
        yield f"{name:<52}{value(alone):>12}{value(shared):>12}"
    yield ""
    yield f"{'the store, a second':<52}{'usual':>12}{'most':>12}"
    for at, name in enumerate(("commands", "kB to the store", "kB from the store")):
        scale = 1 if at == 0 else 1_000
        values = sorted(load[at] / scale for load in shared.load.values())
        yield f"{name:<52}{values[len(values) // 2]:>12,.0f}{values[-1]:>12,.0f}"


def _or(value: float | None, otherwise: float) -> float:
    return value if value is not None else otherwise


def _quantile(when: dict[str, float], settings: Settings, share: float, since: float) -> str:
    times = sorted(when.values())
    at = max(int(settings.processes * share) - 1, 0)
    return f"{times[at] - since:.2f}" if at < len(times) else "never"


def main() -> None:
    usual = Settings()
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--processes", type=int, default=usual.processes)
    parser.add_argument("--rate", type=float, default=usual.rate, help="calls a second of each process")
    parser.add_argument("--lost", type=float, default=usual.lost, help="share of messages that get lost")
    parser.add_argument(
        "--late", type=float, default=usual.late, help="share of messages that take two seconds"
    )
    options = parser.parse_args()
    for line in table(Settings(options.processes, options.rate, options.lost, options.late)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
