"""
One process's side of what a fleet knows together.

    Health  --journal-->  Sharing.collect()  -->  the store     a `Batch`: counts, news, objects
    Health  <-----------  Sharing.receive()  <--  the store     what others learnt

Calls only ever write into the journal of their `Health`, which is memory. Everything here is called by the one
thread that speaks with the store (`_edge/health_store.py`), and knows no socket: time is passed in.

Laws:
- What is shared is what somebody saw. An opening of this process alone is shared where the fleet's own counts
  agree: a worker whose own network is broken bars nobody else's targets.
- The fleet's failures in a row and its share of failures are counted in the store, for one opening of a breaker
  each: after it has closed nothing that was before counts again. Whoever adds the failure that is too much opens.
- A closing by a probe holds for all. A failed probe is the fleet's only where it had the fleet's lease.
- A process that was cut off drops its counts, which are old, and sends again only what it saw itself and what
  still holds. What it opened meanwhile stays its own.
- The budget of retries is not shared: it bounds what one process adds to an outage, and a shared one would be
  spent by the busiest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Final, NamedTuple, get_args

from .._facts import Operation, Reason
from .._policy.policy import Policy
from .fleet import (
    LONGEST_BAR_SECONDS,
    MOST,
    PIN_SECONDS,
    REMEMBERED_SECONDS,
    Barred,
    BreakerNews,
    Cooling,
    CoolingNews,
    Episode,
    Home,
    News,
    PinNews,
    Refused,
    RefusedNews,
    Shared,
    Subject,
    digest_of,
    home_of,
    object_digest,
)
from .health import Ask, Buried, Closed, Cooled, Counted, Health, Lesson, Made, Opened

BUCKET_SECONDS: Final = 5
"""How finely the store counts."""
ANSWERED_SECONDS: Final = 1.0
"""How long answered calls may wait to be counted; failures are counted at once."""
SHORTEST_COOLDOWN_SECONDS: Final = 1.0
"""A shorter one is over before it would help, and under a rate limit there are many."""
MET_SECONDS: Final = 2.0
"""Who probes met a call for the target so lately."""
AHEAD_SECONDS: Final = 0.5
"""How long before its time the lease of a probe is taken."""
LEASE_SECONDS: Final = 2.0

OPERATIONS: Final = frozenset((*get_args(Operation), "messages"))
_REASONS: Final[Mapping[str, Reason]] = {reason: reason for reason in get_args(Reason)}


class Tally(NamedTuple):
    """How calls ended, to be added to the fleet's counts."""

    subject: Subject
    epoch: int
    """The number of the breaker's last opening: each is counted for itself."""
    answered: int
    failed: int
    trailing: int
    """The failures since the last that was answered."""
    reason: Reason
    """Of the last failure."""
    bucket: int
    earlier: tuple[int, ...]
    """The buckets of the window that are to be read besides."""


class Totals(NamedTuple):
    """What the store has counted, once a tally is in it."""

    in_a_row: int
    buckets: Mapping[int, tuple[int, int]]
    """Answered and failed, of the tally's bucket and of those read besides."""


class Lease(NamedTuple):
    """The right to the fleet's one probe of a breaker."""

    name: str
    ask: Ask


class Batch(NamedTuple):
    """What is to be sent now."""

    tallies: Sequence[Tally]
    news: Sequence[News]
    pins: Sequence[PinNews]


class _Running:
    """The counts of one target and operation that were not sent yet."""

    __slots__ = ("answered", "failed", "reason", "since", "trailing")

    def __init__(self, since: float) -> None:
        self.since = since
        self.answered = self.failed = self.trailing = 0
        self.reason: Reason = "none"

    def count(self, failure: Reason | None) -> None:
        if failure is None:
            self.answered += 1
            self.trailing = 0
        else:
            self.failed += 1
            self.trailing += 1
            self.reason = failure


class Sharing:
    """
    What one `Health` shares.

    Args:
        health: whose journal is read; it is switched on here.
        policy: its policy, whose targets are what is shared.
        clock: the one that `health` has.
        who: by what name others may know this process.
    """

    def __init__(self, health: Health, policy: Policy, clock: Callable[[], float], who: str) -> None:
        self._health = health
        self.clock = clock
        self.who = who
        self._places = _places(policy)
        self._names = {place: name for name, place in reversed(self._places.items())}
        self._homes = {home_of(*place): name for place, name in self._names.items()}
        self._groups: dict[str, list[str]] = {}
        for target in policy.leaves:
            if target.quota_group is not None:
                self._groups.setdefault(target.quota_group, []).append(target.name)
        self._journal: deque[Lesson] = deque(maxlen=MOST)
        self.shared = Shared()
        self._start()
        health.journal = self._journal
        health.home_elsewhere = self._home_elsewhere

    def _start(self) -> None:
        self._learnt_at = self.clock()
        self._own = Shared()
        """What this process saw itself: sent again where the store has lost it."""
        self._running: dict[tuple[str, str], _Running] = {}
        self._counted: dict[tuple[Subject, int], dict[int, tuple[int, int]]] = {}
        self._breakers: dict[Subject, None] = {}
        self._barred: dict[Barred, None] = {}
        self._pins: deque[PinNews] = deque(maxlen=MOST)
        self._leases: dict[Lease, float] = {}

    def after_fork(self, who: str) -> None:
        """What the parent saw is the parent's to send."""
        self.who = who
        self._start()

    @property
    def subjects(self) -> list[Subject]:
        """The breakers that this process can hear of."""
        return [
            Subject(place, op, credential) for place, credential in self._names for op in sorted(OPERATIONS)
        ]

    @property
    def longest_window_seconds(self) -> float:
        return max(self._health.limits(name).window for name in self._places)

    @property
    def is_joined(self) -> bool:
        """Others can be heard."""
        return self._health.in_fleet

    @property
    def is_busy(self) -> bool:
        """Something was learnt lately, so more may come soon."""
        return bool(self._journal) or self.clock() - self._learnt_at < MET_SECONDS

    # To the store.

    def joined(self) -> None:
        """The store is there, and was read: what was seen here and still holds is to be sent."""
        self._read_journal()
        self._running.clear()
        self._own.forget(self.clock())
        self._breakers.update(dict.fromkeys(subject for subject, _ in self._own.breakers.items()))
        self._barred.update(dict.fromkeys(barred for barred, _ in self._own.barred.items()))
        self._health.in_fleet = True

    def cut_off(self) -> None:
        """The store is gone: this process goes on alone."""
        self._health.in_fleet = False
        self._read_journal()
        self._running.clear()
        self._counted.clear()
        self._leases.clear()

    def collect(self, server_seconds: float) -> Batch:
        """What is to be sent now; `server_seconds` is the store's own time."""
        self._read_journal()
        now = self.clock()
        bucket = int(server_seconds // BUCKET_SECONDS)
        tallies = []
        for (target, operation), running in list(self._running.items()):
            if running.failed or now - running.since >= ANSWERED_SECONDS:
                del self._running[target, operation]
                tallies.append(self._tally(target, operation, running, bucket))
        news = [*self._breaker_news(now), *self._barred_news(now)]
        pins = list(self._pins)
        self._pins.clear()
        return Batch(tallies, news, pins)

    def _tally(self, target: str, operation: str, running: _Running, bucket: int) -> Tally:
        subject = self._subject(target, operation)
        epoch = self._epoch(subject)
        counted = self._counted.setdefault((subject, epoch), {})
        oldest = bucket - ceil(self._health.limits(target).window / BUCKET_SECONDS)
        for old in [at for at in counted if at < oldest]:
            del counted[old]
        earlier: tuple[int, ...] = ()
        if running.failed:
            # The last one may have grown since.
            earlier = tuple(at for at in range(oldest, bucket) if at not in counted or at == bucket - 1)
        return Tally(
            subject,
            epoch,
            running.answered,
            running.failed,
            running.trailing,
            running.reason,
            bucket,
            earlier,
        )

    def counted(self, tally: Tally, totals: Totals) -> None:
        """The result of a tally: where that is too much, the breaker is opened for the fleet."""
        subject = tally.subject
        counted = self._counted.setdefault((subject, tally.epoch), {})
        for bucket, (answered, failed) in totals.buckets.items():
            before = counted.get(bucket, (0, 0))
            counted[bucket] = (max(before[0], answered), max(before[1], failed))
        if not tally.failed or self._epoch(subject) != tally.epoch:
            return
        target = self._names[subject.place, subject.credential]
        if self._is_too_much(target, totals.in_a_row, counted):
            self._open(target, subject, tally.reason, again=False)

    def _is_too_much(self, target: str, in_a_row: int, counted: Mapping[int, tuple[int, int]]) -> bool:
        limits = self._health.limits(target)
        if limits.consecutive is not None and in_a_row >= limits.consecutive:
            return True
        failed = sum(failed for _, failed in counted.values())
        total = failed + sum(answered for answered, _ in counted.values())
        return limits.ratio is not None and total >= limits.min_requests and failed >= limits.ratio * total

    def _open(self, target: str, subject: Subject, reason: Reason, *, again: bool) -> None:
        epoch = self._epoch(subject) + 1
        opened = self._health.open_for_fleet(
            target, subject.operation, epoch=epoch, reason=reason, again=again
        )
        if opened is not None:
            until, openings = opened
            self._saw(subject, Episode(epoch, False, openings, until, reason, self.who))

    def _saw(self, subject: Subject, episode: Episode) -> None:
        self.shared.breakers.add(subject, episode)
        self._own.breakers.add(subject, episode)
        self._breakers[subject] = None

    def _epoch(self, subject: Subject) -> int:
        known = self.shared.breakers.get(subject)
        return known.epoch if known is not None else 0

    def _breaker_news(self, now: float) -> list[News]:
        news: list[News] = []
        for subject in self._breakers:
            episode = self._own.breakers.get(subject)
            if episode is not None:
                news.append(
                    BreakerNews(
                        *subject,
                        epoch=episode.epoch,
                        closed=episode.closed,
                        remaining_ms=_remaining_ms(episode.until, now),
                        openings=episode.openings,
                        reason=episode.reason,
                        who=episode.who,
                    )
                )
        self._breakers.clear()
        return news

    def _barred_news(self, now: float) -> list[News]:
        news: list[News] = []
        for barred in self._barred:
            remaining_ms = _remaining_ms(self._own.barred.get(barred) or now, now)
            match barred:
                case Cooling(place, credential, model):
                    news.append(CoolingNews(place, credential, model, remaining_ms))
                case Refused(credential):
                    news.append(RefusedNews(credential, remaining_ms))
        self._barred.clear()
        return news

    def _read_journal(self) -> None:
        journal = self._journal
        if journal:
            self._learnt_at = self.clock()
        while journal:
            match journal.popleft():
                case Cooled(key, until):
                    if until - self.clock() >= SHORTEST_COOLDOWN_SECONDS:
                        for cooling in self._coolings(key):
                            self._bars(cooling, until)
                case Buried(credential, until):
                    self._bars(Refused(credential), until)
                # A call that no target could serve has its region for a target, and teaches nothing.
                case lesson if lesson.target in self._places:
                    self._learn(lesson)

    def _learn(self, lesson: Counted | Opened | Closed | Made) -> None:
        match lesson:
            case Counted(target, operation, failure):
                key = target, operation
                if key not in self._running:
                    self._running[key] = _Running(self.clock())
                self._running[key].count(failure)
            case Opened(target, operation, reason, leased):
                if leased:
                    self._open(target, self._subject(target, operation), reason, again=True)
            case Closed(target, operation, epoch):
                closed = Episode(epoch, True, 0, self.clock(), "none", self.who)
                self._saw(self._subject(target, operation), closed)
            case Made(object_id, target):
                self._pins.append(PinNews(object_digest(object_id), home_of(*self._places[target])))

    def _bars(self, barred: Barred, until: float) -> None:
        known = self.shared.barred.get(barred)
        if known is not None and until - known < SHORTEST_COOLDOWN_SECONDS:
            return
        self.shared.barred.add(barred, until)
        self._own.barred.add(barred, until)
        self._barred[barred] = None

    def _coolings(self, key: tuple[str, ...]) -> list[Cooling]:
        """A quota group is its targets, each for itself: another policy may group them otherwise."""
        match key:
            case ("group", group):
                return [Cooling(*self._places[name]) for name in self._groups.get(group, ())]
            case ("model", name, model):
                return [Cooling(*self._places[name], model)]
            case ("target", name):
                return [Cooling(*self._places[name])]
        return []

    def _subject(self, target: str, operation: str) -> Subject:
        place, credential = self._places[target]
        return Subject(place, operation, credential)

    # Leases of probes.

    def leases_due(self) -> list[Lease]:
        """Leases to be taken, or taken again, now."""
        now = self.clock()
        self._leases = {lease: until for lease, until in self._leases.items() if until > now}
        due = []
        for ask in self._health.probes_wanted(now - MET_SECONDS, now + AHEAD_SECONDS):
            subject = self._subject(ask.target, ask.operation)
            lease = Lease(f"{ask.epoch} {ask.operation} {subject.credential} {subject.place}", ask)
            if self._leases.get(lease, now) - now < LEASE_SECONDS / 2:
                due.append(lease)
        return due

    def leased(self, lease: Lease, until: float) -> None:
        """It is this process's for so long."""
        self._leases[lease] = until
        self._health.lease(lease.ask, until)

    # From the store.

    def receive(self, news: News, remaining_seconds: float | None = None) -> None:
        """
        Learn what another process saw, or hear again what this one did.

        Args:
            remaining_seconds: where the store knows it better than the news.
        """
        now = self.clock()
        match news:
            case BreakerNews():
                self._receive_breaker(news, _seconds(news.remaining_ms, remaining_seconds), now)
            case CoolingNews(place, credential, model):
                name = self._names.get((place, credential))
                seconds = min(_seconds(news.remaining_ms, remaining_seconds), LONGEST_BAR_SECONDS)
                key = ("model", name or "", model) if model else ("target", name or "")
                if (
                    name
                    and seconds > 0
                    and self.shared.barred.add(Cooling(place, credential, model), now + seconds)
                ):
                    self._health.cooled_elsewhere(key, now + seconds)
            case RefusedNews(credential):
                seconds = min(_seconds(news.remaining_ms, remaining_seconds), LONGEST_BAR_SECONDS)
                if seconds > 0 and self.shared.barred.add(Refused(credential), now + seconds):
                    self._health.buried_elsewhere(credential, now + seconds)
            case PinNews(object_, home):
                if home in self._homes:
                    self.shared.pins.add(object_, Home(now + PIN_SECONDS, home))

    def _receive_breaker(self, news: BreakerNews, seconds: float, now: float) -> None:
        name = self._names.get((news.place, news.credential))
        if name is None or news.operation not in OPERATIONS:
            return
        longest = self._health.limits(name).open_max
        until = now + min(seconds, longest)
        reason = _REASONS.get(news.reason, "none")
        episode = Episode(news.epoch, news.closed, news.openings, until, reason, news.who)
        if not self.shared.breakers.add(news.subject, episode):
            return
        if news.closed:
            self._health.closed_elsewhere(name, news.operation, news.epoch)
        else:
            self._health.opened_elsewhere(
                name,
                news.operation,
                epoch=news.epoch,
                until=until,
                openings=news.openings,
                reason=reason,
                who=news.who,
            )

    def stored(self, subject: Subject, news: BreakerNews | None, remaining_seconds: float) -> None:
        """What the store holds of a breaker. Where that is older than what this process saw, it is sent again."""
        if news is not None and news.subject == subject:
            self.receive(news, remaining_seconds)
        own = self._own.breakers.get(subject)
        if own is not None and own.until + REMEMBERED_SECONDS > self.clock():
            held = (news.epoch, news.closed, news.openings) if news is not None else (0, False, 0)
            if (own.epoch, own.closed, own.openings) > held:
                self._breakers[subject] = None

    def forget(self) -> None:
        """Drop what is over."""
        now = self.clock()
        self.shared.forget(now)
        self._own.forget(now)
        for subject, epoch in list(self._counted):
            if epoch != self._epoch(subject):
                del self._counted[subject, epoch]

    def _home_elsewhere(self, object_id: str) -> str | None:
        known = self.shared.pins.get(object_digest(object_id)) if len(self.shared.pins) else None
        return self._homes.get(known.home) if known is not None else None


def _places(policy: Policy) -> dict[str, tuple[str, str]]:
    """Each target's place and credential, by its name; several at one place under one key are known by their names too."""
    found = {
        target.name: (target.address, digest_of(target.api_key) if target.api_key is not None else "")
        for target in policy.leaves
    }
    places = list(found.values())
    return {
        name: (f"{address}#{name}" if places.count((address, credential)) > 1 else address, credential)
        for name, (address, credential) in found.items()
    }


def _remaining_ms(until: float, now: float) -> int:
    return max(int((until - now) * 1_000), 0)


def _seconds(remaining_ms: int, known: float | None) -> float:
    return max(known if known is not None else remaining_ms / 1_000, 0.0)
