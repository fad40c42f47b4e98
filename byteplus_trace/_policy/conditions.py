"""
Which calls a condition fits: Portkey's query language over a call's own facts.

A query is checked when it is written (`checked_query`) and answered for each call
(`fits`). A field that a call does not have fits nothing, not even `$ne`. Numbers are
compared as numbers, also where they are text. `url.pathname` is compared in every
spelling that the two worlds give it: `/api/v3/chat/completions`, as it is;
`/v1/chat/completions`, as Portkey's gateway sees it; `/chat/completions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .._errors import SettingError, shown
from .._facts import Call
from .._regions import did_you_mean
from .regex_cost import LONGEST_SEARCHED, is_costly

Params = Callable[[], Mapping[str, Any]]
"""The whole body of the request, parsed when first asked for."""


def fits(query: Mapping[str, Any], call: Call, params: Params) -> bool:
    """Whether every part of a checked query holds for a call."""
    return all(_holds(key, wanted, call, params) for key, wanted in query.items())


def _holds(key: str, wanted: Any, call: Call, params: Params) -> bool:
    if key == "$and":
        return all(fits(each, call, params) for each in wanted)
    if key == "$or":
        return any(fits(each, call, params) for each in wanted)
    values = _values(key, call, params)
    operators = wanted if isinstance(wanted, Mapping) else {"$eq": wanted}
    return bool(values) and all(_compares(op, values, operand) for op, operand in operators.items())


def _values(key: str, call: Call, params: Params) -> Sequence[Any]:
    """What a call has under a key, in each of its spellings; nothing where it has none."""
    space, _, name = key.partition(".")
    if space == "url":
        return (urlsplit(call.url).path, f"/v1{call.path}", call.path)
    found = (call.metadata if space == "metadata" else params()).get(name)
    return () if found is None else (found,)


def _compares(operator: str, values: Sequence[Any], operand: Any) -> bool:
    opposite = _NEGATIVE.get(operator)
    if opposite is not None:
        return not _compares(opposite, values, operand)
    return any(_OPERATORS[operator](value, operand) for value in values)


def _equal(value: Any, operand: Any) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool):
        return value is operand
    return bool(value == operand)


def _matches(value: Any, pattern: str) -> bool:
    return (
        isinstance(value, (str, int, float)) and re.search(pattern, str(value)[:LONGEST_SEARCHED]) is not None
    )


def _by_size(holds: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, operand: Any) -> bool:
        try:
            return holds(_number(value), _number(operand))
        except (TypeError, ValueError):
            return False

    return compare


def _number(value: Any) -> float:
    """A number as it is, for a whole one may be larger than any float, or read from a text."""
    return value if isinstance(value, (int, float)) else float(value)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$in": lambda value, operand: any(_equal(value, each) for each in operand),
    "$regex": _matches,
    "$gt": _by_size(lambda a, b: a > b),
    "$gte": _by_size(lambda a, b: a >= b),
    "$lt": _by_size(lambda a, b: a < b),
    "$lte": _by_size(lambda a, b: a <= b),
}
_NEGATIVE = {"$ne": "$eq", "$nin": "$in"}
_KNOWN = (*_OPERATORS, *_NEGATIVE)
_SPACES = ("metadata", "params", "url")


def checked_query(query: object) -> dict[str, Any]:
    """
    A query that can be answered.

    Raises:
        SettingError: it names an operator or a field that does not exist.
    """
    if not isinstance(query, Mapping) or not query:
        raise SettingError(
            f"condition: the query {shown(query)} must be a mapping, such as {{'metadata.plan': 'paid'}}."
        )
    return {key: _checked_part(str(key), wanted) for key, wanted in query.items()}


def _checked_part(key: str, wanted: Any) -> Any:
    if key in {"$and", "$or"}:
        if isinstance(wanted, (str, Mapping)) or not isinstance(wanted, Sequence) or not wanted:
            raise SettingError(f"condition: {key} takes a list of queries, not {shown(wanted)}.")
        return [checked_query(each) for each in wanted]
    if key.startswith("$"):
        raise SettingError(f"condition: {key!r} cannot stand here; write the field first, such as {{'metadata.plan': {{{key!r}: ...}}}}.")  # fmt: skip
    space, _, name = key.partition(".")
    if space not in _SPACES or not name or (space == "url" and name != "pathname"):
        raise SettingError(
            f"condition: the field {shown(key)} is not known (known: metadata.<key>, params.<field>, url.pathname)."
            f"{did_you_mean(space, _SPACES)}"
        )
    if isinstance(wanted, Mapping):
        if not wanted:
            raise SettingError(f"condition: {key!r} compares with nothing; write such as {{'$eq': 'paid'}}.")
        for operator, operand in wanted.items():
            _check_operand(key, str(operator), operand)
        return dict(wanted)
    return wanted


def _check_operand(key: str, operator: str, operand: Any) -> None:
    if operator not in _KNOWN:
        raise SettingError(
            f"condition: the operator {shown(operator)} of {shown(key)} is not known (known: {', '.join(_KNOWN)}, $and, $or)."
            f"{did_you_mean(operator, _KNOWN)}"
        )
    if operator in {"$in", "$nin"} and (isinstance(operand, str) or not isinstance(operand, Sequence)):
        raise SettingError(f"condition: {operator} of {key!r} takes a list, not {shown(operand)}.")
    if operator in {"$gt", "$gte", "$lt", "$lte"}:
        try:
            _number(operand)
        except (TypeError, ValueError):
            raise SettingError(
                f"condition: {operator} of {key!r} takes a number, not {shown(operand)}."
            ) from None
    if operator == "$regex":
        try:
            re.compile(operand)
        except (re.error, TypeError) as error:
            raise SettingError(
                f"condition: $regex of {key!r} is not a regular expression: {error}."
            ) from None
        if is_costly(operand):
            raise SettingError(
                f"condition: $regex of {key!r} may search for ever. Write no repeat inside another and at most two "
                "of '*' and '+'; '.*' is not needed at the ends."
            )
