"""
A user's own prices: contracts, discounts, and models that our table lacks.

The file has the form of `prices.toml`. Everything in it is checked when it is read, in the
user's words, and nothing in it is guessed.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from ._errors import SettingError, shown
from ._policy.policyfile import read_file
from ._prices import EXACT, Price, Table, Tier, table, tier_of
from ._regions import did_you_mean


def load(source: str | os.PathLike[str] | Mapping[str, Any]) -> Table:
    """
    A user's table before ours: a TOML or JSON file, or the same as a mapping.

    `[[price]]` has the keys of `prices.toml`, `source`, `read` and `official` being optional.
    `[[discount]]` takes a share (`off = 0.15`) off our prices of the models in `ids`,
    patterns such as `seed-2-*` allowed, or of all models; it leaves the file's own prices alone.

    Raises:
        SettingError: it cannot be read or followed; the message says what to write instead.
    """
    if isinstance(source, Mapping):
        called, content = "prices", source
    elif not isinstance(source, (str, os.PathLike)):
        raise SettingError(
            f"prices={shown(source)} must be the path of a TOML or JSON file, such as 'prices.toml'."
        )
    else:
        called = os.fspath(source)
        content = read_file("The price file", called, "prices.toml")  # type: ignore[assignment]  # checked below
    return _Written(called).table(content)


_ROW = ("ids", "tokens", "image", "flex", "batch", "any_date", "starts", "source", "read", "official")
_TIER = ("input", "output", "cached", "up_to")


class _Written:
    """A table as a user writes it, checked in the user's words."""

    def __init__(self, called: str) -> None:
        self._called = called

    def table(self, content: object) -> Table:
        top = self._keys("", content, ("price", "discount", "checked"))
        rows = [
            self._row(f"price[{at}]", row) for at, row in enumerate(self._list("price", top.get("price", [])))
        ]
        base = table()
        for at, discount in enumerate(self._list("discount", top.get("discount", []))):
            base = self._discounted(f"discount[{at}]", discount, base)
        checked = self._date("checked", top["checked"]) if "checked" in top else None
        return Table(rows, checked, base)

    def _row(self, where: str, row: object) -> Price:
        written = self._keys(where, row, _ROW)
        if "ids" not in written:
            raise self._wrong(where, "name the models, such as ids = ['seed-2-0-pro-260328']")
        if "tokens" not in written and "image" not in written:
            raise self._wrong(
                where, "give a price: tokens = [{ input = 0.50, output = 3.00 }] or image = 0.03"
            )
        found: dict[str, Any] = {"ids": self._ids(where, written["ids"])}
        if "tokens" in written:
            found["tokens"] = self._tiers(f"{where}.tokens", written["tokens"])
        for name in ("image", "flex", "batch"):
            if name in written:
                found[name] = self._number(f"{where}.{name}", written[name])
        for name in ("any_date", "official"):
            if name in written:
                if not isinstance(written[name], bool):
                    raise self._wrong(f"{where}.{name}", f"must be true or false, not {shown(written[name])}")
                found[name] = written[name]
        source = written.get("source", self._called)
        if not isinstance(source, str):
            raise self._wrong(f"{where}.source", f"must be a text, not {shown(source)}")
        if "starts" in written:
            found["starts"] = self._date(f"{where}.starts", written["starts"])
        read = self._date(f"{where}.read", written["read"]) if "read" in written else None
        return Price(source=source, read=read, **found)

    def _tiers(self, where: str, tiers: object) -> tuple[Tier, ...]:
        found: list[Tier] = []
        for at, each in enumerate([tiers] if isinstance(tiers, Mapping) else self._list(where, tiers)):
            here = f"{where}[{at}]"
            written = self._keys(here, each, _TIER)
            for name in ("input", "output"):
                if name not in written:
                    raise self._wrong(here, f"{name!r} is missing: dollars for a million tokens")
            numbers = {
                name: self._number(f"{here}.{name}", written[name]) for name in written if name != "up_to"
            }
            up_to = written.get("up_to")
            if up_to is not None and (not isinstance(up_to, int) or isinstance(up_to, bool) or up_to < 1):
                raise self._wrong(f"{here}.up_to", f"must be a number of tokens, not {shown(up_to)}")
            if found and found[-1].up_to is None:
                raise self._wrong(here, "the one before it has no 'up_to', so it is never reached")
            if found and up_to is not None and up_to <= (found[-1].up_to or 0):
                raise self._wrong(f"{here}.up_to", "must be more than that of the one before it")
            found.append(tier_of(**numbers, up_to=up_to))
        if not found or found[-1].up_to is not None:
            raise self._wrong(where, "the last one must have no 'up_to', so that longer prompts have a price")
        return tuple(found)

    def _discounted(self, where: str, discount: object, base: Table) -> Table:
        written = self._keys(where, discount, ("ids", "off"))
        if "off" not in written:
            raise self._wrong(where, "'off' is missing: a share, such as 0.15 for 15%")
        off = self._number(f"{where}.off", written["off"])
        if off > 1:
            raise self._wrong(
                f"{where}.off", f"is a share, such as 0.15 for 15%, not {shown(written['off'])}"
            )
        ids = self._ids(where, written["ids"]) if "ids" in written else ("*",)
        rows: list[Price] = []
        matched = False
        for row in base.rows:
            cheaper = tuple(model for model in row.ids if any(fnmatchcase(model, each) for each in ids))
            same = tuple(model for model in row.ids if model not in cheaper)
            if same:
                rows.append(replace(row, ids=same))
            if cheaper:
                matched = True
                rows.append(_less(replace(row, ids=cheaper), off))
        if not matched:
            raise self._wrong(f"{where}.ids", f"no model of our table fits {', '.join(map(shown, ids))}")
        return Table(rows, base.checked)

    def _ids(self, where: str, ids: object) -> tuple[str, ...]:
        found = self._list(f"{where}.ids", ids)
        if not found or not all(isinstance(each, str) and each.strip() for each in found):
            raise self._wrong(f"{where}.ids", "must be a list of models, such as ['seed-2-0-pro-260328']")
        return tuple(found)

    def _keys(self, where: str, table: object, known: tuple[str, ...]) -> Mapping[str, Any]:
        if not isinstance(table, Mapping):
            raise self._wrong(where, f"must be a table, not {type(table).__name__}")
        for key in table:
            if key not in known:
                raise self._wrong(
                    where,
                    f"{shown(key)} is not known (known: {', '.join(known)})",
                    did_you_mean(key, known),
                )
        return table

    def _list(self, where: str, items: object) -> list[Any]:
        if not isinstance(items, (list, tuple)):
            hint = f"; write [[{where}]] above each" if where in {"price", "discount"} else ""
            raise self._wrong(where, f"must be a list, not {type(items).__name__}{hint}")
        return list(items)

    def _number(self, where: str, value: object) -> Decimal:
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            number = Decimal(str(value))
            if number.is_finite() and 0 <= number < 10**9:
                return number
        raise self._wrong(where, f"must be a number of 0 or more, not {shown(value)}")

    def _date(self, where: str, value: object) -> datetime.date:
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            return value
        with suppress(TypeError, ValueError):
            return datetime.date.fromisoformat(value)  # type: ignore[arg-type]  # JSON has no dates
        raise self._wrong(where, f"must be a day, such as 2026-11-24, not {shown(value)}")

    def _wrong(self, where: str, why: str, hint: str = "") -> SettingError:
        return SettingError(f"{self._called}: {where}{': ' if where else ''}{why}.{hint}")


def _less(row: Price, off: Decimal) -> Price:
    """The row at a discount."""
    factor = EXACT.subtract(Decimal(1), off)
    return replace(
        row,
        tokens=tuple(tier.times(factor) for tier in row.tokens),
        image=None if row.image is None else EXACT.multiply(row.image, factor),
        source=f"{row.source}, {off:.0%} off",
    )
