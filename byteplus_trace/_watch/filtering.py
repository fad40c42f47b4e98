"""
The language of the filter, which is read anew with every key: `model:seed team:search error`.

Terms stand side by side and all of them must hold. Case does not count.

    seed            somewhere in the row: its model, region, outcome, error, user, ids, metadata
    error           the call failed
    model:seed      the field has this text in it; also a metadata key
    team:"a b"      with blanks
    duration>2      a number is above, or with < below; also >= and <=
    -error          the term does not hold

Nothing that can be typed is a mistake: a term that is not complete yet, such as `model:` or
`cost>`, holds for every call, and so does a comparison that cannot be made, which the view names.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Final

from .calls import Call

Filter = Callable[[Call], bool]

TEXTS: Final[dict[str, Callable[[Call], str]]] = {
    "operation": lambda call: call.operation,
    "model": lambda call: call.model,
    "region": lambda call: call.region,
    "outcome": lambda call: call.outcome,
    "error": lambda call: call.error,
    "user": lambda call: call.user,
    "team": lambda call: call.team,
    "session": lambda call: call.session,
    "target": lambda call: call.target,
    "service": lambda call: call.service,
    "request": lambda call: call.request_id,
    "trace": lambda call: call.trace_id,
}
NUMBERS: Final[dict[str, Callable[[Call], float | None]]] = {
    "duration": lambda call: call.seconds,
    "first": lambda call: call.first_chunk,
    "in": lambda call: call.tokens_in,
    "out": lambda call: call.tokens_out,
    "cached": lambda call: call.cached,
    "reasoning": lambda call: call.reasoning,
    "cost": lambda call: call.cost,
    "attempts": lambda call: call.attempts,
}

_TERM: Final = re.compile(
    r"""(?P<no>-?)(?:(?P<name>[^\s:<>"]+)(?P<how>:|[<>]=?))?(?:"(?P<quoted>[^"]*)"?|(?P<bare>\S*))"""
)


_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


def filter_of(text: str) -> Filter | None:
    """The filter that a text asks for; None where it asks for nothing."""
    terms = [term for found in _TERM.finditer(text) if (term := _term(found)) is not None]
    if not terms:
        return None
    if len(terms) == 1:
        return terms[0]
    return lambda call: all(term(call) for term in terms)


def not_followed(text: str) -> list[str]:
    """The comparisons in it that are complete and cannot be made, such as `size>3` or `duration>2s`."""
    return [
        found[0]
        for found in _TERM.finditer(text)
        if found["how"] in _COMPARE and _sought(found) and _term(found) is None
    ]


def unknown_fields(text: str, calls: Sequence[Call]) -> list[str]:
    """The fields that it asks for and none of these calls has, metadata included."""
    asked = (
        found["name"].lower() for found in _TERM.finditer(text) if found["how"] == ":" and _sought(found)
    )
    unknown = [name for name in asked if name not in TEXTS]
    if not unknown:
        return []
    metadata = {key.lower() for call in calls for key, _ in call.metadata}
    return [name for name in unknown if name not in metadata]


def _sought(found: re.Match[str]) -> str:
    """What a term looks for; nothing while it is not complete."""
    sought = (found["quoted"] if found["quoted"] is not None else found["bare"]).lower()
    return sought if sought.strip(":<>=") else ""


def _term(found: re.Match[str]) -> Filter | None:
    name, how, sought = (found["name"] or "").lower(), found["how"], _sought(found)
    if not sought:
        return None
    holds = (
        _anywhere(sought)
        if how is None
        else _named(name, sought)
        if how == ":"
        else _compared(name, how, sought)
    )
    if holds is None or not found["no"]:
        return holds
    return lambda call: not holds(call)


def _anywhere(sought: str) -> Filter:
    if sought == "error":
        return lambda call: call.failed
    return lambda call: (
        any(sought in read(call).lower() for read in TEXTS.values())
        or any(sought in value.lower() for _, value in call.metadata)
    )


def _named(name: str, sought: str) -> Filter:
    read = TEXTS.get(name)
    if read is not None:
        return lambda call: sought in read(call).lower()
    return lambda call: any(key.lower() == name and sought in value.lower() for key, value in call.metadata)


def _compared(name: str, how: str, sought: str) -> Filter | None:
    read = NUMBERS.get(name)
    try:
        bound = float(sought)
    except ValueError:
        return None
    if read is None:
        return None
    compare = _COMPARE[how]

    def holds(call: Call) -> bool:
        value = read(call)
        return value is not None and compare(value, bound)

    return holds
