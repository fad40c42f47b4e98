"""`byteplus-trace prices`: what calls are estimated with, and how old it is."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase

from .._config import configure
from .._pricefile import load
from .._prices import Price, Table, Tier, table, undated

HEAD = ("model", "input", "cached", "output", "image", "from")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The prices that costs are estimated with: US dollars for a million tokens, and for an image. A model that "
        "is not listed has no cost. Your own prices, if settings name a file of them, come first."
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="only these; * stands for any letters")
    parser.add_argument(
        "--file", help="your own prices, as for instrument(prices=...); else the settings' own"
    )


def run(args: argparse.Namespace) -> int:
    found = load(args.file) if args.file else configure({}, os.environ).prices or table()
    today = datetime.datetime.now(datetime.UTC).date()
    sources: dict[str, str] = {}
    rows = list(_rows(found, args.models, sources, today))
    if not rows:
        print(f"No price is known for {', '.join(args.models)}: such a call has no cost.", file=sys.stderr)
        return 1
    print("US dollars for a million tokens, and for an image:\n")
    widths = [max(len(row[at]) for row in (HEAD, *rows)) for at in range(len(HEAD) - 1)]
    for row in (HEAD, *rows):
        cells = [
            f"{cell:<{width}}" if at == 0 else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        print("  ".join([*cells, row[-1]]).rstrip())
    print()
    for source, mark in sources.items():
        print(f"{mark} {source}")
    while found.base is not None:
        found = found.base
    if found.checked is not None:
        print(
            f"\nThe package's own table was last checked on {found.checked} ({_age(found.checked, today)} ago)."
        )
    return 0


def _rows(
    found: Table | None, models: list[str], sources: dict[str, str], today: datetime.date
) -> Iterator[tuple[str, ...]]:
    """The lines of the table. Where their prices are from is added to `sources`, with the mark that stands for it."""
    while found is not None:
        for price in found.rows:
            for model in price.ids:
                if not models or any(_means(each, model, price) for each in models):
                    source = _source(price, today)
                    yield from _row(model, price, sources.setdefault(source, f"[{len(sources) + 1}]"))
        found = found.base


def _means(asked: str, model: str, price: Price) -> bool:
    """Whether a row is of the models asked for; one for every date is, whatever the date."""
    return fnmatchcase(model, asked) or (price.any_date and fnmatchcase(model, undated(asked)))


def _row(model: str, price: Price, mark: str) -> Iterator[tuple[str, ...]]:
    """A line for each tier of a model."""
    image = f"{price.image:f}" if price.image is not None else ""
    tiers: tuple[Tier | None, ...] = price.tokens or (None,)
    for tier in tiers:
        name = model
        if tier is not None and len(tiers) > 1:
            name += f" (to {tier.up_to:,} in)" if tier.up_to is not None else " (beyond)"
        amounts = (
            ("", "", "") if tier is None else tuple(map(_a_million, (tier.input, tier.cached, tier.output)))
        )
        yield (name, *amounts, image, mark)


def _source(price: Price, today: datetime.date) -> str:
    read = f"read {price.read} ({_age(price.read, today)} ago): " if price.read is not None else ""
    starts = f", from {price.starts}" if price.starts > datetime.date.min else ""
    return f"{read}{price.source}{starts}"


def _a_million(a_token: Decimal | None) -> str:
    return "" if a_token is None else f"{a_token.scaleb(6).normalize():f}"


def _age(day: datetime.date, today: datetime.date) -> str:
    days = (today - day).days
    return f"{days} day{'' if days == 1 else 's'}"
