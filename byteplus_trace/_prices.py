"""
What a call is estimated to have cost, from a dated table.

The table is `prices.toml`: each row with its source and the day on which it was read. A
price that is not known is None, never a guess and never another model's: a model's own
id counts first, then its family, where the row's source named the family. A user's own
table may stand before it (`_pricefile.py`).

Output includes reasoning and input includes cache reads, as in `Usage`; a cache's storage
is charged by the hour and cannot be seen in a call. Tokens and images fail independently.
"""

from __future__ import annotations

import datetime
import pkgutil
import re
import tomllib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

from ._apis import BY_NAME
from ._facts import Answer, Call, Images, Usage

_DATED = re.compile(r"-\d{6}$")

# Tiers that are billed at the plain price. `fast` and `scale` (provisioned throughput) are not.
_PLAIN_TIERS = frozenset({None, "", "auto", "default"})

# Our own, for the application's context may round to four digits, or raise on rounding.
EXACT = Context(prec=50, traps=[])


@dataclass(frozen=True, slots=True)
class Tier:
    """Dollars a token, for prompts of at most `up_to` tokens."""

    up_to: int | None
    input: Decimal
    cached: Decimal | None
    output: Decimal

    def times(self, factor: Decimal) -> Tier:
        """The same at a part of the price."""
        cached = None if self.cached is None else EXACT.multiply(self.cached, factor)
        return Tier(
            self.up_to, EXACT.multiply(self.input, factor), cached, EXACT.multiply(self.output, factor)
        )


@dataclass(frozen=True, slots=True)
class Price:
    """One row of the table."""

    ids: tuple[str, ...]
    source: str
    read: datetime.date | None
    """The day on which the price was read there; None where a user's table does not say."""
    official: bool = True
    any_date: bool = False
    tokens: tuple[Tier, ...] = ()
    image: Decimal | None = None
    flex: Decimal | None = None
    batch: Decimal | None = None
    starts: datetime.date = datetime.date.min


class Table:
    """
    Prices by model.

    `rows` are in the order in which they count: of one model the first that has started.
    `base` is asked where they have none.
    """

    def __init__(
        self, rows: Iterable[Price], checked: datetime.date | None, base: Table | None = None
    ) -> None:
        self.rows = tuple(sorted(rows, key=lambda row: row.starts, reverse=True))
        self.checked = checked
        """The day on which the table was last held against its sources."""
        self.base = base
        self._exact: dict[str, tuple[Price, ...]] = {}
        self._families: dict[str, tuple[Price, ...]] = {}
        for row in self.rows:
            for model in row.ids:
                self._exact[model] = (*self._exact.get(model, ()), row)
                if row.any_date:
                    self._families[model] = (*self._families.get(model, ()), row)
        self._price_on = lru_cache(maxsize=1024)(self._find)
        self._tiers_on = lru_cache(maxsize=1024)(self._tiers)

    def prices(self, model: str) -> tuple[Price, ...]:
        """The rows for this model, in the order in which they count."""
        own = self._exact.get(model) or self._families.get(undated(model), ())
        return (*own, *self.base.prices(model)) if self.base is not None else own

    def _find(self, model: str, on: datetime.date) -> Price | None:
        return next((price for price in self.prices(model) if price.starts <= on), None)

    def _tiers(
        self, model: str, on: datetime.date, service_tier: str | None, batch: bool
    ) -> tuple[Tier, ...]:
        """The prices of a token of this model that day and in that tier; empty where no source has them."""
        price = self._price_on(model, on)
        if price is None:
            return ()
        if batch:
            factor = price.batch
        elif service_tier == "flex":
            factor = price.flex
        else:
            factor = Decimal(1) if service_tier in _PLAIN_TIERS else None
        return () if factor is None else tuple(tier.times(factor) for tier in price.tokens)

    def estimate(
        self,
        model: str | None,
        usage: Usage | None,
        images: Images | None,
        on: datetime.date,
        *,
        service_tier: str | None = None,
        batch: bool = False,
    ) -> Decimal | None:
        """The estimated cost in US dollars of a call made that day, None where no price is known."""
        if model is None:
            return None
        of_tokens = of_images = None
        if usage is not None:
            of_tokens = _of_tokens(self._tiers_on(model, on, service_tier, batch), usage)
        if images is not None:
            of_images = _of_images(self._price_on(model, on), images)
        if of_tokens is None or of_images is None:
            return of_images if of_tokens is None else of_tokens
        return EXACT.add(of_tokens, of_images)

    def cost(self, call: Call, answer: Answer, started_ns: int) -> Decimal | None:
        """The estimated cost in US dollars. None if no price is known, and for a response that is only fetched."""
        if call.operation == "fetch_response" or (answer.usage is None and answer.images is None):
            return None
        return self.estimate(
            answer.model or call.model,
            answer.usage,
            answer.images,
            _day(started_ns // _NANOSECONDS_A_DAY),
            service_tier=answer.service_tier,
            batch=BY_NAME[call.api].batch,
        )


def undated(model: str) -> str:
    """A model's id without its date, by which a row for every date is found."""
    return _DATED.sub("", model)


def read_table(text: str) -> Table:
    """Read our own table; an unknown key in a row is an error."""
    raw = tomllib.loads(text, parse_float=Decimal)
    return Table((_price(**row) for row in raw["price"]), raw["checked"])


def _price(*, ids: list[str], tokens: list[dict[str, Any]] | None = None, **rest: Any) -> Price:
    return Price(ids=tuple(ids), tokens=tuple(tier_of(**tier) for tier in tokens or ()), **rest)


def tier_of(
    *,
    input: Decimal,  # noqa: A002 - the table's own key
    output: Decimal,
    cached: Decimal | None = None,
    up_to: int | None = None,
) -> Tier:
    return Tier(up_to, _a_token(input), None if cached is None else _a_token(cached), _a_token(output))


def _a_token(a_million: Decimal) -> Decimal:
    return Decimal(a_million).scaleb(-6)


@lru_cache(maxsize=1)
def table() -> Table:
    """The table that the package carries, read when it is first asked for."""
    return read_table((pkgutil.get_data(__package__, "prices.toml") or b"").decode())


def _of_tokens(tiers: tuple[Tier, ...], usage: Usage) -> Decimal | None:
    sent, output = usage.input_tokens, usage.output_tokens
    if sent is None or output is None or usage.audio_input_tokens:
        return None
    sent, output = max(sent, 0), max(output, 0)
    for tier in tiers:
        if tier.up_to is None or sent <= tier.up_to:
            break
    else:
        return None
    cost = EXACT.multiply(tier.output, output)
    cached = min(max(usage.cache_read_tokens or 0, 0), sent)
    if cached:
        if tier.cached is None:
            return None
        cost = EXACT.fma(tier.cached, cached, cost)
    return EXACT.fma(tier.input, sent - cached, cost)


def _of_images(price: Price | None, images: Images) -> Decimal | None:
    if price is None or price.image is None:
        return None
    return EXACT.multiply(price.image, max(images.generated, 0))


def cost(call: Call, answer: Answer, started_ns: int) -> Decimal | None:
    """`Table.cost` of the table that the package carries."""
    return table().cost(call, answer, started_ns)


_NANOSECONDS_A_DAY = 24 * 60 * 60 * 10**9


@lru_cache(maxsize=2)
def _day(number: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=number)


# A poller reads the usage of a finished task again and again. It was spent once.
_recorded_tasks: OrderedDict[str, None] = OrderedDict()
_REMEMBERED_TASKS = 10_000


def is_first_reading(task_id: str) -> bool:
    """Whether the usage of this task is read for the first time."""
    first = task_id not in _recorded_tasks
    _recorded_tasks[task_id] = None
    while len(_recorded_tasks) > _REMEMBERED_TASKS:
        _recorded_tasks.popitem(last=False)
    return first
