"""
What the processes of a fleet know together: a value that merges, and the form in which it travels.

Three maps, and in each the greatest value of a key counts:

    breakers   place, operation, credential  -> the newest opening, and whether a probe has closed it
    barred     a cooldown, a refused key     -> until when
    pins       an object                     -> until when it is remembered, and where it lives

Laws:
- Merging is commutative, associative and idempotent. So a message may be lost, late or doubled, and whoever
  has seen the same news knows the same, in whichever order it was received.
- Openings of one breaker are numbered (`epoch`). A closing ends the opening that it names and the ones before
  it, never one that is newer.
- It is bounded: no map holds more than `most` entries (the least are dropped first), and no news is believed
  for longer than its kind allows, whatever it claims.
- Time travels as what remains of it, in milliseconds. No wall clock is compared with another.
- What cannot be read (a newer version's, somebody else's) is skipped, alone.

A key is never in here: credentials are SHA-256 digests, with a prefix of ours, and so are the ids of objects.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

MOST = 10_000
REMEMBERED_SECONDS = 3_600.0
"""How long an opening's number is remembered after its time, and a closing."""
PIN_SECONDS = 7 * 86_400.0
"""ModelArk keeps responses for three days and files for seven."""
LONGEST_BAR_SECONDS = 300.0
"""No cooldown is longer, and no refused key is barred for longer."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class Subject(NamedTuple):
    """What one breaker of the fleet is about."""

    place: str
    """The target's address; of several targets at one address with one key, with `#` and the name."""
    operation: str
    credential: str
    """The digest of the target's own key; empty where it has none."""


class Episode(msgspec.Struct, frozen=True, order=True):
    """One opening of a breaker. A later epoch is greater; within one, closed is, then the longer."""

    epoch: int
    closed: bool
    openings: int
    """How many probes failed in a row, and 1: the next opening is twice as long for each."""
    until: float
    """On the process's own clock."""
    reason: str
    who: str


class Cooling(NamedTuple):
    """A target that is barred for a while; with a model, that model there."""

    place: str
    credential: str
    model: str = ""


class Refused(NamedTuple):
    """A credential that was refused."""

    credential: str


class Home(NamedTuple):
    """Where an object lives."""

    until: float
    home: str


Barred = Cooling | Refused


class Greatest(Generic[_K, _V]):
    """A bounded map that keeps the greatest value of each key."""

    __slots__ = ("_heap", "_most", "_values")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._values: dict[_K, _V] = {}
        # The least first; what was replaced since stays in it until it is met.
        self._heap: list[tuple[_V, _K]] = []

    def add(self, key: _K, value: _V) -> bool:
        """Whether the value is news, and was not the least of too many."""
        known = self._values.get(key)
        if known is not None and not known < value:  # type: ignore[operator]  # a map's values are of one kind
            return False
        self._values[key] = value
        heapq.heappush(self._heap, (value, key))
        while len(self._values) > self._most:
            least, which = heapq.heappop(self._heap)
            if self._values.get(which) == least:
                del self._values[which]
        if len(self._heap) > 2 * len(self._values) + 16:
            self._heap = [(value, key) for key, value in self._values.items()]
            heapq.heapify(self._heap)
        return key in self._values

    def merge(self, other: Greatest[_K, _V]) -> None:
        for key, value in other.items():
            self.add(key, value)

    def forget(self, is_over: Callable[[_V], bool]) -> None:
        over = [key for key, value in self._values.items() if is_over(value)]
        for key in over:
            del self._values[key]

    def get(self, key: _K) -> _V | None:
        return self._values.get(key)

    def items(self) -> Iterator[tuple[_K, _V]]:
        return iter(list(self._values.items()))

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Greatest) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # it changes


class Shared:
    """What is known of a fleet."""

    __slots__ = ("barred", "breakers", "pins")

    def __init__(self, most: int = MOST) -> None:
        self.breakers: Greatest[Subject, Episode] = Greatest(most)
        self.barred: Greatest[Barred, float] = Greatest(most)
        self.pins: Greatest[str, Home] = Greatest(most)

    def merge(self, other: Shared) -> None:
        """Know what the other knows too."""
        self.breakers.merge(other.breakers)
        self.barred.merge(other.barred)
        self.pins.merge(other.pins)

    def forget(self, now: float) -> None:
        """Drop what is over."""
        self.breakers.forget(lambda episode: episode.until + REMEMBERED_SECONDS <= now)
        self.barred.forget(lambda until: until <= now)
        self.pins.forget(lambda home: home.until <= now)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Shared)
            and self.breakers == other.breakers
            and self.barred == other.barred
            and self.pins == other.pins
        )

    __hash__ = None  # type: ignore[assignment]  # it changes


# How it travels: arrays of JSON that begin with their kind. What a later version adds at their end is not read.

_Text = Annotated[str, Meta(max_length=512)]
_Short = Annotated[str, Meta(max_length=128)]
_Remaining = Annotated[int, Meta(ge=0, le=2**53)]


class BreakerNews(msgspec.Struct, frozen=True, array_like=True, tag="breaker"):
    """A breaker opened, or a probe closed it."""

    place: _Text
    operation: _Short
    credential: _Short
    epoch: Annotated[int, Meta(ge=1, le=2**40)]
    closed: bool
    remaining_ms: _Remaining
    openings: Annotated[int, Meta(ge=0, le=1_000)]
    reason: _Short
    who: _Short

    @property
    def subject(self) -> Subject:
        return Subject(self.place, self.operation, self.credential)


class CoolingNews(msgspec.Struct, frozen=True, array_like=True, tag="cooling"):
    """A target, or one model there, is barred for a while."""

    place: _Text
    credential: _Short
    model: _Text
    remaining_ms: _Remaining


class RefusedNews(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """A credential was refused."""

    credential: _Short
    remaining_ms: _Remaining


class PinNews(msgspec.Struct, frozen=True, array_like=True, tag="pin"):
    """An object was made."""

    object: _Short
    home: _Short


News = BreakerNews | CoolingNews | RefusedNews | PinNews

_one = msgspec.json.Decoder(News)
_many = msgspec.json.Decoder(list[msgspec.Raw])
_encoder = msgspec.json.Encoder()


def encoded(news: News) -> bytes:
    return _encoder.encode(news)


def message(news: Iterable[News]) -> bytes:
    """Several in one."""
    return _encoder.encode(list(news))


def read_news(text: object) -> News | None:
    """One piece of news; None for what is not understood."""
    try:
        return _one.decode(text)  # type: ignore[arg-type]  # what is no text is not understood either
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return None


def read_message(text: object) -> list[News | None]:
    """The news of a message, and None for each that is not understood."""
    try:
        parts: list[Any] = _many.decode(text)  # type: ignore[arg-type]
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return [None]
    return [read_news(part) for part in parts[:MOST]]


_stored = msgspec.json.Decoder(tuple[Annotated[int, Meta(ge=0, le=2**53)], msgspec.Raw])


def stored(news: BreakerNews, until_ms: int) -> bytes:
    """A breaker as the store keeps it, with the end of its bar on the store's own clock."""
    return _encoder.encode((until_ms, news))


def read_stored(text: object) -> tuple[BreakerNews, int] | None:
    """Such a value; None for what is not understood."""
    try:
        until_ms, raw = _stored.decode(text)  # type: ignore[arg-type]
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return None
    news = read_news(raw)
    return (news, until_ms) if isinstance(news, BreakerNews) else None


def digest_of(credential: str) -> str:
    """By what a credential is known: here and in the store."""
    return hashlib.sha256(b"byteplus-trace credential " + credential.encode()).hexdigest()


def object_digest(object_id: str) -> str:
    """By what an object is known in the store."""
    return hashlib.sha256(b"byteplus-trace object " + object_id.encode()).hexdigest()[:32]


def home_of(place: str, credential: str) -> str:
    """By what a target is known in a pin."""
    return hashlib.sha256(f"{place} {credential}".encode()).hexdigest()[:16]
