"""
How long a regular expression may search.

Python's engine tries every way in which the repeats of a pattern can share a text. For `(a+)+$` these
are 2 to the power of the text's length, and the call and its event loop wait meanwhile. So a pattern is
refused where the ways are too many for a text of the length that is searched.
"""

from __future__ import annotations

import re
from typing import Any

LONGEST_SEARCHED = 256
"""Characters of a value that `$regex` looks at."""
MOST_MATCHINGS = (LONGEST_SEARCHED + 1) ** 2
"""As two repeats without an end have; such a pattern takes milliseconds where it fits nowhere."""

_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


def is_costly(pattern: str) -> bool:
    """Whether a pattern that compiles may take long."""
    return _matchings(re._parser.parse(pattern)) > MOST_MATCHINGS  # type: ignore[attr-defined]


def _matchings(parts: Any) -> int:
    """In how many ways a sequence may lie on a text, counted as far as matters."""
    matchings = 1
    for operator, detail in parts:
        kind = str(operator)
        if kind in _REPEATS:
            least, most, body = detail
            most = min(int(most), LONGEST_SEARCHED)
            matchings *= max(most - int(least), 0) + 1
            matchings *= _matchings(body) ** most
        elif kind == "BRANCH":
            matchings *= sum(map(_matchings, detail[1]))
        elif kind in {"SUBPATTERN", "ASSERT", "ASSERT_NOT"}:
            matchings *= _matchings(detail[-1])
        elif kind == "ATOMIC_GROUP":
            matchings *= _matchings(detail)
        elif kind == "GROUPREF_EXISTS":
            matchings *= sum(_matchings(each) for each in detail[1:] if each is not None)
        matchings = min(matchings, MOST_MATCHINGS + 1)
    return matchings
