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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .._facts import Call
from .._policy.bases import root_of
from .._policy.replay import kind_of
from .._policy.targets import Target
from .._regions import PREFIXES, BillingPlan, Form, address_of, prefix_of, region_of

_MOST_KNOWN = 1024
_VERSION = "/v1"
"""What Anthropic's SDK puts between its base URL and the path of each API."""


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
    is_public: bool
    """It is at a public host."""


class Addresses:
    """
    The addresses of the calls that a policy may move.

    Each is taken apart once, for an application has few URLs: it saves 3% of a call of the SDK's.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = targets
        self._known: dict[tuple[str, str, str, str], tuple[Address, Mapping[str, str | None]]] = {}

    def of(self, call: Call) -> tuple[Address, Mapping[str, str | None]]:
        """The address of a call, and by the name of each target `base_at` of the two."""
        key = call.url, call.host, call.path, call.api
        known = self._known.get(key)
        if known is None:
            address = address_of_call(call, self.targets)
            known = address, {str(target.name): base_at(address, target) for target in self.targets}
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = known
        return known


def address_of_call(call: Call, targets: Iterable[Target]) -> Address:
    """Take apart the URL of a call: by the table on a public host, else by the targets' bases, else by the API's path."""
    address, path = address_of(call.url), urlsplit(call.url).path
    origin = root_of(address)
    is_public = region_of(call.host) is not None
    known: dict[str, tuple[Target, Form]] = {}
    for target in targets:
        there = target.bases
        is_public = is_public or (there.is_public and root_of(there.address) == origin)
        for base, form in there.forms.items():
            known.setdefault(base, (target, form))
    prefix = prefix_of(path) if is_public else None
    if prefix is not None:
        base = origin + prefix.path
        name = str(known[base][0].name) if base in known else None
        return Address(base, _behind(prefix.path, path), prefix.form, prefix.plan, name, is_public)
    is_anthropic = kind_of(call) == "messages"
    for base in sorted(known, key=len, reverse=True):
        if f"{address}/".startswith(f"{base}/"):
            target, of_base = known[base]
            form = "anthropic" if is_anthropic else of_base
            behind = _behind(urlsplit(base).path, path)
            if _is_path_of(call, behind, form):
                return Address(base, behind, form, target.bases.plan, str(target.name), is_public)
    written = path.removesuffix("/").removesuffix(call.path)
    base = address_of(origin + written)
    return Address(
        base, path[len(written) :], "anthropic" if is_anthropic else "openai", None, None, is_public
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
    if plan is None and address.is_public and address.target is None:
        # Another path of a public host means the same at another public host.
        return root_of(there.address) + urlsplit(address.base).path
    prefix = PREFIXES.get((plan or "metered", address.form))
    return root_of(there.address) + prefix if prefix is not None else None


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
