"""
Maps the method and path of a request to its API.

Paths are matched by their end, because the prefix differs by plan (`/api/v3`,
`/api/coding/v3`, `/api/plan/v3`) and a proxy may have any.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from .._apis import APIS, OTHER, Api


class Match(NamedTuple):
    """The API of a request, the end of its path that chose it, as it was written, and the object that it names."""

    api: Api
    suffix: str
    resource_id: str | None


def _compiled(api: Api) -> re.Pattern[str]:
    pattern = re.escape(api.pattern).replace(re.escape("{id}"), "(?P<id>[^/]+)")
    return re.compile(rf"(?P<suffix>{pattern})/?\Z")


_COMPILED = tuple((api, _compiled(api)) for api in APIS)
# A request for an object that is not in the table, such as `HEAD`, or `POST /responses/{id}/cancel`.
_OBJECT = re.compile(r"/(?:responses|contents/generations/tasks|files)/(?P<id>[^/]+)(?P<below>/[^/]+)?/?\Z")
# The base of a public host's URL; what follows it is the path of an API that is not in the table.
_BASE = re.compile(r"/api(?:/coding|/plan)?(?:/v\d+)?(?=/)")


@lru_cache(maxsize=1024)
def match(method: str, path: str, prefix: str = "") -> Match:
    """The API of a request; `other` for one that is not in the table: what follows the `prefix`, of a public host its base."""
    for api, pattern in _COMPILED:
        if api.method == method:
            found = pattern.search(path)
            if found is not None:
                return Match(api, found["suffix"], _unquoted(found.groupdict().get("id")))
    found = _OBJECT.search(path)
    # The segment right after is an action and no id in a POST, such as `POST /responses/compact`.
    named = found["id"] if found is not None and (found["below"] or method != "POST") else None
    if prefix:
        return Match(OTHER, path.removeprefix(prefix.rstrip("/")), _unquoted(named))
    base = _BASE.match(path)
    return Match(OTHER, path[base.end() :] if base is not None else path, _unquoted(named))


def _unquoted(named: str | None) -> str | None:
    return unquote(named) if named is not None else None
