"""
Where a call goes: from the caller's URL and a target to the base that it has there.

    caller's URL  =  base + path          the path is what an SDK puts behind its base URL
    what leaves   =  base there + path    the path unchanged

On a public host the base ends with a prefix, which names a billing plan and a form (the
table is in `_regions.py`). At another target's public host the prefix stays, unless that
target names a plan. At a private one the base is what the target says, for each form: nothing
is known of its paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .._facts import Call
from .._regions import (
    PREFIXES,
    BillingPlan,
    Form,
    address_of,
    origin_of,
    prefix_at_end,
    prefix_of,
    region_named,
    region_of,
)

if TYPE_CHECKING:
    from .targets import Target

_ANTHROPIC_APIS = ("messages", "messages_count_tokens")
_VERSION = "/v1"
"""What Anthropic's SDK puts between its base URL and the path of each API."""


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
    if base_url is None:
        return _bases(
            region_named(region).base_for(billing_plan or "metered", "openai"),
            messages_base_url,
            billing_plan,
            True,
        )
    return _bases(address_of(base_url), messages_base_url, billing_plan, False)


@lru_cache(maxsize=1024)
def _bases(
    address: str, messages_base_url: str | None, billing_plan: BillingPlan | None, is_regions_own: bool
) -> Bases:
    path = urlsplit(address).path
    ending = prefix_at_end(path)
    is_public = is_regions_own or (
        region_of(origin_of(address)[1] or "") is not None and ending is not None and ending.path == path
    )
    messages = address_of(messages_base_url) if messages_base_url is not None else None
    forms: dict[str, Form] = {address: ending.form if ending is not None else "openai"}
    if messages is not None:
        forms.setdefault(messages, "anthropic")
    if is_public and ending is not None:
        for (plan, form), prefix in PREFIXES.items():
            if plan == ending.plan and not (form == "anthropic" and messages is not None):
                forms.setdefault(_origin(address) + prefix, form)
    plan_of_base = ending.plan if not is_regions_own and ending is not None else None
    return Bases(address, messages, billing_plan or plan_of_base, is_public, forms)


@dataclass(frozen=True, slots=True)
class Address:
    """A caller's URL, taken apart."""

    base: str
    """In the form in which addresses compare."""
    path: str
    """What follows the base, as it was written."""
    form: Form
    plan: BillingPlan | None
    """None where the base does not name it."""
    target: str | None
    """The first target that is called at this base."""


def address_of_call(call: Call, targets: Iterable[Target]) -> Address:
    """Take apart the URL of a call: by the table on a public host, else by the targets' bases, else by the API's path."""
    address, path = address_of(call.url), urlsplit(call.url).path
    known: dict[str, tuple[Target, Form]] = {}
    for target in targets:
        for base, form in target.bases.forms.items():
            known.setdefault(base, (target, form))
    prefix = prefix_of(path) if region_of(call.host) is not None else None
    if prefix is not None:
        base = _origin(address) + prefix.path
        target_name = known[base][0].name if base in known else None
        return Address(base, _behind(prefix.path, path), prefix.form, prefix.plan, target_name)
    is_anthropic = call.api in _ANTHROPIC_APIS
    for base in sorted(known, key=len, reverse=True):
        if f"{address}/".startswith(f"{base}/"):
            target, of_base = known[base]
            form = "anthropic" if is_anthropic else of_base
            behind = _behind(urlsplit(base).path, path)
            if _is_path_of(call, behind, form):
                return Address(base, behind, form, target.bases.plan, target.name)
    written = path.removesuffix("/").removesuffix(call.path)
    base = _origin(address) + urlsplit(address).path[: len(written)] if written else _origin(address)
    return Address(
        base.rstrip("/"), path[len(written) :], "anthropic" if is_anthropic else "openai", None, None
    )


def base_at(address: Address, target: Target) -> str | None:
    """The base of a call at a target; None where the target has none for the call's form."""
    there = target.bases
    if address.base in there.forms:
        return address.base
    if address.form == "anthropic" and there.messages is not None:
        return there.messages
    if not there.is_public:
        return there.address if there.forms[there.address] == address.form else None
    plan = there.plan or address.plan
    if plan is None and region_of(origin_of(address.base)[1] or "") is not None:
        # Another path of a public host means the same at another public host.
        return _origin(there.address) + urlsplit(address.base).path
    prefix = PREFIXES.get((plan or "metered", address.form))
    return _origin(there.address) + prefix if prefix is not None else None


def _is_path_of(call: Call, behind: str, form: Form) -> bool:
    """Whether this is what an SDK puts behind its base for that API; of an API that is not known, anything may be."""
    if call.api == "other":
        return True
    plain = f"/{behind.strip('/')}"
    return plain == call.path or (form == "anthropic" and plain == _VERSION + call.path)


def _behind(base_path: str, path: str) -> str:
    """What follows a base's path. Segments are counted, because either may be written with other escapes."""
    segments = path.split("/")[base_path.count("/") + 1 :]
    return "".join(f"/{segment}" for segment in segments)


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
