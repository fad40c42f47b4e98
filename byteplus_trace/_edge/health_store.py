"""
The thread that speaks with the health store, a Redis or a Valkey.

    calls -> Health -> journal        memory          Sharing -> this thread -> the store
                                                      Sharing <- this thread <- the store

Laws:
- No call waits for it: what calls do ends in memory, and every socket is this thread's.
- One thread a process, for every store that a policy of it names. A forked child has its own, and its own
  connections. It ends with the last policy, and with the process.
- A store that fails costs what it would have known. One line says that it is gone, one that it is back.

Under `byteplus-trace:<namespace>:` it keeps, each with its time to live:

    breaker:*   a string for each breaker that was open lately: the store's time until which, and the news
    barred      a sorted set of cooldowns and refused credentials, by the store's time at which they end
    pins        a stream of where objects were made, the last 10,000
    counts:*    for each five seconds of the store's time a hash of how calls ended
    row:*       failures in a row
    lease:*     whose the probe of a half-open breaker is
    hello       to see that it can be written to
    news        the channel

`redis` is the one client; it is imported when a policy first names a store.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Protocol

from msgspec import structs

from .._forks import ForkSafeLock
from .._log import logger
from .._policy.policy import Policy
from .._policy.store_address import StoreAddress
from .._routing.fleet import (
    MOST,
    PIN_SECONDS,
    REMEMBERED_SECONDS,
    BreakerNews,
    News,
    Subject,
    encoded,
    message,
    read_message,
    read_news,
    read_stored,
    stored,
)
from .._routing.health import Health
from .._routing.sharing import BUCKET_SECONDS, LEASE_SECONDS, Batch, Lease, Sharing, Tally, Totals
from .._telemetry.guard import fault, guard

TICK_SECONDS: Final = 0.02
"""How soon what was learnt is sent."""
QUIET_TICKS: Final = 5
"""So many times as long in a process that has not called lately. What others learnt is heard at once all the same."""
READ_SECONDS: Final = 1.0
"""How often all is read, because messages get lost."""
TIMEOUT_SECONDS: Final = 0.75
"""How long one answer of the store may take."""
AGAIN_SECONDS: Final = (0.2, 2.0)
"""How long it waits before it connects again: at first, and at most."""
STEADY_SECONDS: Final = 2.0
"""How long a store that failed must be well before that is reported."""
PATIENCE_SECONDS: Final = 1.0
"""How long whoever leaves waits for the thread."""
FIRST_READ_SECONDS: Final = 0.3
MESSAGES_A_TURN: Final = 1_000
ROW_SECONDS: Final = 3_600

clock = time.monotonic


class Reporter(Protocol):
    """Where the state of a store is made known."""

    def health_store_up(self, store: str, up: bool) -> None: ...

    def health_store_error(self, store: str, reason: str, amount: int = 1) -> None: ...


class Store:
    """One store, and what of this process shares through it. Only the thread calls it."""

    def __init__(self, address: StoreAddress) -> None:
        self.address = address
        self.members: list[tuple[weakref.ref[Sharing], Reporter]] = []
        self.leaving: list[tuple[Sharing, threading.Event]] = []
        self.joining: list[tuple[Sharing, threading.Event]] = []
        self._prefix = f"byteplus-trace:{address.namespace}:"
        self._channel = self._prefix + "news"
        self._last_error: str | None = None
        """Why it is not well; None where it is, or nobody has tried yet."""
        self._failed_at = 0.0
        self._start()

    def _start(self) -> None:
        self._client: Any = None
        self._subscription: Any = None
        self._me = uuid.uuid4().hex
        self._offset_seconds = 0.0
        """The store's time less ours."""
        self._joined_at: float | None = None
        self._read_at = 0.0
        self._again_at = 0.0
        self._failures = 0
        self._last_pin: bytes | None = None

    def after_fork(self) -> None:
        """The parent's connections are the parent's."""
        self._start()
        self.leaving.clear()
        self.joining.clear()
        for sharing in self.sharings():
            sharing.after_fork(who())

    def sharings(self) -> list[Sharing]:
        return [sharing for member, _ in self.members if (sharing := member()) is not None]

    def turn(self, seconds: float) -> None:
        """Do what is due, and wait for news for so long."""
        now = clock()
        if self._client is None and now >= self._again_at:
            self._try(self._join)
        elif self._client is None:
            time.sleep(min(seconds, self._again_at - now))
        else:
            self._try(partial(self._share, seconds))
        for each in list(self.joining):
            if each[0].is_joined or self._client is None:
                self.joining.remove(each)
                each[1].set()

    def let_go(self) -> list[threading.Event]:
        """Send the last that those have seen who leave. Returns whom to wake once they are gone."""
        leaving, self.leaving = self.leaving, []
        for sharing, _ in leaving:
            if self._client is not None:
                self._try(partial(self._step, sharing))
            sharing.cut_off()
            for ref, reporter in self.members:
                if ref() is sharing:
                    with guard("reporting the health store"):
                        reporter.health_store_up(self.address.name, False)
        gone = [sharing for sharing, _ in leaving]
        self.members = [each for each in self.members if each[0]() is not None and each[0]() not in gone]
        if not self.members:
            self._disconnect()
        return [done for _, done in leaving]

    # How it is.

    def _try(self, work: Callable[[], None]) -> None:
        from redis import RedisError

        try:
            work()
        except (RedisError, OSError) as error:
            self._failed(reason_of(error), message_of(error))
        except Exception as error:
            self._failed("internal", repr(error))
            fault("sharing health", error)

    def _failed(self, reason: str, what: str) -> None:
        self._disconnect()
        first, longest = AGAIN_SECONDS
        # Not all at once: a store that returns is met by every process of the fleet.
        wait = min(first * 2**self._failures, longest) * random.uniform(0.5, 1.0)
        self._failures = min(self._failures + 1, 10)
        self._again_at = clock() + wait
        for sharing in self.sharings():
            sharing.cut_off()
        was_well, self._last_error = self._last_error is None, what
        self._report(lambda reporter: reporter.health_store_error(self.address.name, reason))
        self._report(lambda reporter: reporter.health_store_up(self.address.name, False))
        if was_well:
            self._failed_at = clock()
            with guard("reporting the health store"):
                logger.warning(
                    "The health store at %s cannot be used: %s. Calls go on with what this process knows by itself.",
                    self.address.name,
                    what,
                )

    def _well(self) -> None:
        """It works. Of one that failed that is reported once it is steady: it may be full again at once."""
        now = clock()
        if self._joined_at is None:
            self._joined_at = now
        if self._last_error is not None and now - self._joined_at < STEADY_SECONDS:
            return
        self._failures = 0
        if self._last_error is not None:
            self._last_error = None
            with guard("reporting the health store"):
                logger.warning(
                    "The health store at %s is back after %.0f s.", self.address.name, now - self._failed_at
                )
        self._report(lambda reporter: reporter.health_store_up(self.address.name, True))

    def _report(self, report: Callable[[Reporter], None]) -> None:
        for _, reporter in self.members:
            with guard("reporting the health store"):
                report(reporter)

    def _disconnect(self) -> None:
        subscription, client = self._subscription, self._client
        self._subscription = self._client = self._joined_at = None
        for each in (subscription, client):
            if each is not None:
                with guard("closing the health store"):
                    each.close()
        if client is not None:
            with guard("closing the health store"):
                client.connection_pool.disconnect()

    # What is spoken.

    def _join(self) -> None:
        self._client = connected(self.address)
        self._subscription = self._client.pubsub()
        self._subscription.subscribe(self._channel)
        ends_at = clock() + TIMEOUT_SECONDS
        while True:
            confirmed = self._subscription.get_message(timeout=max(ends_at - clock(), 0.0))
            if confirmed is not None and confirmed["type"] == "subscribe":
                break
            if clock() >= ends_at:
                raise TimeoutError("it does not answer")
        self._last_pin = None
        self._keep_time(self._client.time())
        self._read(self.sharings())
        for sharing in self.sharings():
            sharing.joined()
        self._well()

    def _share(self, seconds: float) -> None:
        self._receive(seconds if any(each.is_busy for each in self.sharings()) else seconds * QUIET_TICKS)
        if clock() - self._read_at >= READ_SECONDS or not all(each.is_joined for each in self.sharings()):
            self._read_anew()
        for sharing in self.sharings():
            self._step(sharing)

    def _read_anew(self) -> None:
        sharings = self.sharings()
        if any(not sharing.is_joined for sharing in sharings):
            self._last_pin = None
        self._read(sharings)
        for sharing in sharings:
            if not sharing.is_joined:
                sharing.joined()
            sharing.forget()
        self._well()

    def _receive(self, seconds: float) -> None:
        """Wait for news for so long, and hear what there is."""
        wait = seconds
        for _ in range(MESSAGES_A_TURN):
            received = self._subscription.get_message(ignore_subscribe_messages=True, timeout=wait)
            if received is None:
                return
            wait = 0.0
            for news in read_message(received["data"]):
                self._hear(news, None)

    def _hear(self, news: News | None, remaining_seconds: float | None) -> None:
        if news is None:
            self._report(lambda reporter: reporter.health_store_error(self.address.name, "content"))
            return
        for sharing in self.sharings():
            sharing.receive(news, remaining_seconds)

    def _server_seconds(self) -> float:
        return clock() + self._offset_seconds

    def _keep_time(self, server: tuple[int, int]) -> None:
        self._offset_seconds = server[0] + server[1] / 1e6 - clock()

    def _read(self, sharings: Sequence[Sharing]) -> None:
        """All that the store knows, and whether it can be written to."""
        subjects = list(dict.fromkeys(subject for sharing in sharings for subject in sharing.subjects))
        pipe = self._client.pipeline(transaction=False)
        pipe.set(self._prefix + "hello", self._me, px=10_000)
        pipe.time()
        pipe.mget([self._breaker(subject) for subject in subjects])
        pipe.zrevrangebyscore(
            self._prefix + "barred", "+inf", f"({int(self._server_seconds() * 1_000)}",
            start=0, num=MOST, withscores=True,
        )  # fmt: skip
        if self._last_pin is None:
            pipe.xrevrange(self._prefix + "pins", count=MOST)
        else:
            pipe.xrange(self._prefix + "pins", min=b"(" + self._last_pin, count=MOST)
        sent_at = clock()
        _, server, breakers, barred, pins = pipe.execute()
        self._keep_time(server)
        now_ms, took = server[0] * 1_000 + server[1] / 1_000, clock() - sent_at
        for subject, value in zip(subjects, breakers, strict=True):
            found = read_stored(value) if value is not None else None
            if value is not None and found is None:
                self._hear(None, None)
            news, until_ms = found if found is not None else (None, 0)
            for sharing in sharings:
                sharing.stored(subject, news, (until_ms - now_ms) / 1_000 - took)
        for member, score in barred:
            self._hear(read_news(member), (score - now_ms) / 1_000 - took)
        for at, fields in pins:
            self._last_pin = max(self._last_pin or b"", at, key=_stream_order)
            self._hear(read_news(fields.get(b"pin", b"")), None)
        self._read_at = clock()

    def _step(self, sharing: Sharing) -> None:
        """Send what one learnt, and take the leases that are due."""
        while sharing.is_joined:
            batch = sharing.collect(self._server_seconds())
            if not any(batch):
                break
            self._send(sharing, batch)
        leases = sharing.leases_due()
        if leases:
            self._take(sharing, leases)

    def _send(self, sharing: Sharing, batch: Batch) -> None:
        pipe = self._client.pipeline(transaction=False)
        now_ms = int(self._server_seconds() * 1_000)
        for news in batch.news:
            until_ms = now_ms + news.remaining_ms  # type: ignore[union-attr]  # pins have a list of their own
            if isinstance(news, BreakerNews):
                lives_ms = news.remaining_ms + int(REMEMBERED_SECONDS * 1_000)
                pipe.set(self._breaker(news.subject), stored(news, until_ms), px=lives_ms)
            else:
                pipe.zadd(self._prefix + "barred", {encoded(_undated(news)): until_ms}, gt=True)
                pipe.zremrangebyscore(self._prefix + "barred", "-inf", now_ms)
                pipe.pexpire(self._prefix + "barred", news.remaining_ms + 600_000)  # type: ignore[union-attr]
        for pin in batch.pins:
            pipe.xadd(self._prefix + "pins", {"pin": encoded(pin)}, maxlen=MOST, approximate=True)
        if batch.pins:
            pipe.expire(self._prefix + "pins", int(PIN_SECONDS))
        published = [*batch.news, *batch.pins]
        if published:
            pipe.publish(self._channel, message(published))
        at = len(pipe)
        for tally in batch.tallies:
            self._count(pipe, tally, int(sharing.longest_window_seconds))
        results = iter(pipe.execute()[at:])
        for tally in batch.tallies:
            sharing.counted(tally, _totals(tally, results))

    def _count(self, pipe: Any, tally: Tally, window_seconds: int) -> None:
        what = f"{tally.epoch} {tally.subject.operation} {tally.subject.credential} {tally.subject.place}"
        row, counts = f"{self._prefix}row:{what}", f"{self._prefix}counts:{tally.bucket}"
        if tally.answered:
            pipe.set(row, tally.trailing, ex=ROW_SECONDS)
        else:
            pipe.incrby(row, tally.failed)
        pipe.expire(row, ROW_SECONDS)
        pipe.hincrby(counts, f"answered {what}", tally.answered)
        pipe.hincrby(counts, f"failed {what}", tally.failed)
        pipe.expire(counts, window_seconds + 3 * BUCKET_SECONDS)
        for bucket in tally.earlier:
            pipe.hmget(f"{self._prefix}counts:{bucket}", f"answered {what}", f"failed {what}")

    def _take(self, sharing: Sharing, leases: Sequence[Lease]) -> None:
        lives_ms, sent_at = int(LEASE_SECONDS * 1_000), clock()
        me = f"{self._me} {id(sharing)}"
        pipe = self._client.pipeline(transaction=False)
        for lease in leases:
            pipe.set(f"{self._prefix}lease:{lease.name}", me, nx=True, px=lives_ms)
            pipe.get(f"{self._prefix}lease:{lease.name}")
        owners = pipe.execute()[1::2]
        mine = [lease for lease, owner in zip(leases, owners, strict=True) if owner == me.encode()]
        if mine:
            pipe = self._client.pipeline(transaction=False)
            for lease in mine:
                pipe.pexpire(f"{self._prefix}lease:{lease.name}", lives_ms)
            for lease, is_there in zip(mine, pipe.execute(), strict=True):
                if is_there:
                    sharing.leased(lease, sent_at + LEASE_SECONDS)

    def _breaker(self, subject: Subject) -> str:
        return f"{self._prefix}breaker:{subject.operation} {subject.credential} {subject.place}"


def connected(address: StoreAddress) -> Any:
    """A client for a store; it connects when it is first used."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        address.url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        client_name="byteplus-trace",
    )


def trouble_with(address: StoreAddress) -> str | None:
    """Try a store once. Returns why it cannot be used, or None where it can be read and written."""
    from redis import RedisError

    client = connected(address)
    try:
        client.set(f"byteplus-trace:{address.namespace}:hello", "look", px=10_000)
        client.time()
    except (RedisError, OSError) as error:
        return message_of(error)
    finally:
        client.close()
        client.connection_pool.disconnect()
    return None


def _undated(news: Any) -> Any:
    """What stands in the sorted set, where the score says until when."""
    return structs.replace(news, remaining_ms=0)


def _stream_order(at: bytes) -> tuple[int, int]:
    milliseconds, _, number = at.partition(b"-")
    return int(milliseconds or 0), int(number or 0)


def _totals(tally: Tally, results: Iterator[Any]) -> Totals:
    in_a_row, _, answered, failed, _ = (next(results) for _ in range(5))
    buckets = {tally.bucket: (int(answered), int(failed))}
    for bucket in tally.earlier:
        found = next(results)
        buckets[bucket] = int(found[0] or 0), int(found[1] or 0)
    return Totals(tally.trailing if tally.answered else int(in_a_row), buckets)


def who() -> str:
    """By what name others see this process."""
    return f"{socket.gethostname()[:100]}/{os.getpid()}"


def reason_of(error: Exception) -> str:
    """Why the store failed, one of a closed set."""
    from redis import exceptions

    for kind, reason in (
        (exceptions.AuthenticationError, "refused"),
        (exceptions.AuthorizationError, "refused"),
        (exceptions.NoPermissionError, "refused"),
        (exceptions.ReadOnlyError, "read_only"),
        (exceptions.TimeoutError, "timeout"),
        (TimeoutError, "timeout"),
        (exceptions.AskError, "cluster"),
        (exceptions.ClusterError, "cluster"),
        (exceptions.ConnectionError, "connection"),
        (OSError, "connection"),
    ):
        if isinstance(error, kind):
            return reason
    text = message_of(error)
    return next((reason for prefix, reason in _ANSWERS if text.startswith(prefix)), "answer")


# How Redis and Valkey begin what the client has no class for.
_ANSWERS: Final = (
    ("OOM", "full"),
    ("command not allowed when used memory", "full"),
    ("WRONGTYPE", "content"),
    ("value is not an integer", "content"),
    ("hash value is not an integer", "content"),
    ("NOAUTH", "refused"),
    ("WRONGPASS", "refused"),
    ("NOPERM", "refused"),
    ("READONLY", "read_only"),
    ("MOVED", "cluster"),
    ("CLUSTERDOWN", "cluster"),
)
REASONS: Final = (
    "answer", "cluster", "connection", "content", "full", "internal", "read_only", "refused", "timeout",
)  # fmt: skip


def message_of(error: Exception) -> str:
    """What went wrong, as the store or the system puts it, and without the command."""
    text = str(error)
    return (text.partition(" caused error: ")[2] or text or type(error).__name__)[:200]


# The one thread.

_lock = ForkSafeLock()
_stores: dict[tuple[str, str], Store] = {}
_thread: threading.Thread | None = None


def share(health: Health, policy: Policy, address: StoreAddress, reporter: Reporter) -> Sharing:
    """
    Share what a `Health` learns through a store, from now on.

    Waits for the first read, a third of a second at most, so that a process that starts in
    the middle of an outage knows of it. `leave` ends it.
    """
    import redis  # noqa: F401  here, and not in the thread while calls are made

    for reason in REASONS:
        reporter.health_store_error(address.name, reason, 0)
    reporter.health_store_up(address.name, False)
    sharing = Sharing(health, policy, clock, who())
    first_read = threading.Event()
    with _lock:
        store = _stores.setdefault((address.url, address.namespace), Store(address))
        store.members = [*store.members, (weakref.ref(sharing), reporter)]
        store.joining.append((sharing, first_read))
        _start()
    first_read.wait(FIRST_READ_SECONDS)
    return sharing


def leave(*sharings: Sharing) -> None:
    """Share no more. Waits for the thread, a second at most."""
    thread, waiting = _thread, []
    with _lock:
        for store in _stores.values():
            for member, _ in store.members:
                sharing = member()
                if sharing is not None and sharing in sharings:
                    waiting.append(threading.Event())
                    store.leaving.append((sharing, waiting[-1]))
    ends_at = clock() + PATIENCE_SECONDS
    for each in waiting:
        each.wait(max(ends_at - clock(), 0.0))
    if thread is not None and not _stores:
        thread.join(max(ends_at - clock(), 0.0))


def leave_all() -> None:
    """At the end of the process."""
    leave(*(sharing for store in list(_stores.values()) for sharing in store.sharings()))


def _start() -> None:
    global _thread  # noqa: PLW0603 - one thread a process
    if _thread is None:
        thread = threading.Thread(target=_run, name="byteplus-trace-health-store", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # then each process knows its own health alone
            fault("sharing health", error)
        else:
            _thread = thread


def _run() -> None:
    global _thread  # noqa: PLW0603 - as above
    while True:
        stores = list(_stores.values())
        for store in stores:
            store.turn(TICK_SECONDS / len(stores))
        with _lock:
            gone = [each for store in stores for each in store.let_go()]
            for key, store in list(_stores.items()):
                if not store.members:
                    del _stores[key]
            if not _stores:
                _thread = None
        for each in gone:
            each.set()
        if _thread is None:
            return


def _restart_in_child() -> None:
    global _thread  # noqa: PLW0603 - the parent's thread did not come along
    _thread = None
    for store in _stores.values():
        store.after_fork()
    if _stores:
        _start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
