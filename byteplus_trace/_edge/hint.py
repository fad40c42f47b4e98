"""One hint in the log for calls that look like ModelArk's and go to a host that nobody named."""

from __future__ import annotations

import logging
import re

from .._apis import APIS
from .._regions import PREFIXES

logger = logging.getLogger("byteplus_trace")

_APIS = "|".join(re.escape(api.pattern).replace(re.escape("{id}"), "[^/]+") for api in APIS)
_LIKE_MODELARK = re.compile(rf"(?:{'|'.join(map(re.escape, PREFIXES.values()))})(?:/v1)?(?:{_APIS})/?\Z")

_hinted: list[str] = []
"""The host, once there was one."""


def hint_at(host: str, path: str) -> None:
    """Log once that calls to a host are not observed, where a path there is a prefix and an API of ModelArk's."""
    if _hinted or "/api/" not in path or _LIKE_MODELARK.search(path) is None:
        return
    _hinted.append(host)
    logger.info(
        "A call to %s looks like ModelArk's and is not observed. If it is, name its base URL: "
        "instrument(base_urls={'https://%s/...': 'ap-southeast-1'}), or as a target's base_url.",
        host,
        host,
    )
