"""
What sharing health does for a fleet, and what it costs the store: a simulation.

    python benchmarks/fleet.py                       1,000 processes, a region that dies, returns, flaps and returns
    python benchmarks/fleet.py --processes 160 --rate 20

The code that is measured is the package's own (`Health`, `Sharing` and what they merge); what is simulated is
time, the calls, the network between the processes and the store, and the store itself. Messages are lost and late.
Nothing here is a measurement of Redis: `tests/fleet` talks to a real one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from byteplus_trace._routing.fleet import BreakerNews, News, PinNews, Subject, encoded, message
from byteplus_trace._routing.sharing import LEASE_SECONDS, Batch, Sharing, Tally, Totals

OPERATION = "chat"


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
        self.commands = self.bytes = 0
        self.publish: Callable[[Sequence[News]], None] = lambda news: None

    def step(self, sharing: Sharing) -> None:
        """One turn of a process's thread: send what was learnt, take leases."""
        while True:
            batch = sharing.collect(self.clock())
            if not any(batch):
                break
            self.send(sharing, batch)
        for lease in sharing.leases_due():
            self.commands += 2
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
            self.bytes += 2 * len(encoded(news))
            if isinstance(news, BreakerNews):
                self.breakers[news.subject] = now + news.remaining_ms / 1_000, news
            else:
                self.barred[news] = now + news.remaining_ms / 1_000  # type: ignore[union-attr]
        self.pins += batch.pins
        published = [*batch.news, *batch.pins]
        if published:
            self.commands += 1
            self.bytes += len(message(published))
            self.publish(published)

    def _count(self, tally: Tally) -> Totals:
        self.commands += 5 + len(tally.earlier)
        self.bytes += 300 + 60 * len(tally.earlier)
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
        self.commands += 4
        for subject in sharing.subjects:
            held = self.breakers.get(subject)
            until, news = held if held is not None else (now, None)
            self.bytes += 150
            sharing.stored(subject, news, until - now)
        for news, until in list(self.barred.items()):
            if until > now:
                self.bytes += len(encoded(news))
                sharing.receive(news, until - now)
        for pin in self.pins:
            sharing.receive(pin)

    def join(self, sharing: Sharing) -> None:
        self.read(sharing)
        sharing.joined()
