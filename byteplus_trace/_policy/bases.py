"""
The bases at which a target is called.

What a target names counts: its `base_url`, its `messages_base_url`, its `billing_plan`. The rest
follows from the table of prefixes in `_regions.py`, at public hosts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from .._regions import (
    PREFIXES,
    BillingPlan,
    Form,
    address_of,
    origin_of,
    prefix_at_end,
    region_named,
    region_of,
)


@dataclass(frozen=True, slots=True)
class Bases:
    """Where a target is called, every base in the form in which addresses compare."""

    address: str
    """Its `base_url`, else the region's."""
    messages: str | None
    """Its `messages_base_url`."""
    plan: BillingPlan | None
    """The plan that the policy names; None where calls keep their caller's."""
    is_public: bool
    """It is under a prefix of a public host, so that its other prefixes are known."""
    forms: Mapping[str, Form]
    """Every base at which calls are addressed to it, and their form there."""


def bases(
    region: str, base_url: str | None, messages_base_url: str | None, billing_plan: BillingPlan | None
) -> Bases:
    """The bases of a target with these fields."""
    return _bases(
        base_url or region_named(region).base_url, base_url is None, messages_base_url, billing_plan
    )


@lru_cache(maxsize=1024)
def _bases(
    base_url: str, is_regions: bool, messages_base_url: str | None, billing_plan: BillingPlan | None
) -> Bases:
    address = address_of(base_url)
    if is_regions and billing_plan is not None:
        address = root_of(address) + PREFIXES[billing_plan, "openai"]
    path = urlsplit(address).path
    ending = prefix_at_end(path)
    is_known_host = is_regions or region_of(origin_of(address)[1] or "") is not None
    is_public = is_known_host and ending is not None and ending.path == path
    messages = address_of(messages_base_url) if messages_base_url is not None else None
    forms: dict[str, Form] = {address: ending.form if ending is not None else "openai"}
    if messages is not None:
        forms.setdefault(messages, "anthropic")
    if is_public and ending is not None:
        for (plan, form), prefix in PREFIXES.items():
            if plan == ending.plan and not (form == "anthropic" and messages is not None):
                forms.setdefault(root_of(address) + prefix, form)
    plan_of_base = ending.plan if not is_regions and ending is not None else None
    return Bases(address, messages, billing_plan or plan_of_base, is_public, forms)


def root_of(address: str) -> str:
    """A URL up to its path."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
