"""
The way to content capture, taken only where capture is on: its module is not even imported otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from .reader import Asked

if TYPE_CHECKING:
    from .content import Collector


def with_content(found: Asked, family: str, body: bytes, capture: bool) -> Asked:
    """What a request asked for, and where capture is on its content too."""
    if not capture:
        return found
    from .content import of_request

    return replace(found, content=of_request(family, body))


def collector(family: str, capture: bool) -> Collector | None:
    """What gathers a reply's content; None where capture is off."""
    if not capture:
        return None
    from .content import Collector

    return Collector(family)
