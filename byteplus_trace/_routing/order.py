"""
Who may serve a call, and in which order.

A tree of targets becomes a list of candidates, the first to be tried first. A candidate knows what
would leave on it: which model, under which credential, to which address. What is passed over
here is passed over for the whole call; what is only barred for the moment (by a
breaker, a cooldown) is the plan's to ask.

Some calls have one candidate only: those that continue an object (it lives where it was made),
those that are encrypted for one place or signed for it, those whose body can be sent once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from random import Random

import msgspec

from .._facts import Call, Skip, SkipReason
from .._forwarding import credential
from .._policy.conditions import Params, fits
from .._policy.policy import Policy, groups_of
from .._policy.replay import EARLIER, kind_of
from .._policy.targets import Group, Retry, Target
from .._regions import REGION_HEADER, origin_of
from .address import Addresses
from .fleet import digest_of
from .health import Health


class Request(msgspec.Struct, frozen=True):
    """What deciding about a call asks of its request."""

    headers: Mapping[str, str]
    """Those that are looked at, with lower-case names."""
    stay_reason: SkipReason | None
    """Why the call may not leave the place that its caller addressed; None where it may."""
    origin: str | None
    """The name of the target that the caller addressed; None where it was only its region."""
    replayable: bool
    """The body can be sent again, and rewritten."""
    body_params: Params
    """The whole body, parsed each time that it is asked for; for conditions."""
    file_ids: Callable[[], Iterable[str]]
    """The uploaded files that the body names, looked for when asked."""


class Candidate(msgspec.Struct, frozen=True):
    """A target, and how this call would travel to it."""

    name: str
    """The target's."""
    target: Target
    groups: tuple[Policy | Group, ...]
    """The groups it stands in, outermost first."""
    retry: Retry
    model: str | None
    """As it would be sent."""
    credential: str | None
    """A digest of the one that would be sent; None where there is none."""
    here: bool
    """It is where the caller addressed the request."""
    base_url: str
    """What stands before the API's path there."""
    path: str
    """What follows it, as the caller wrote it."""

    @property
    def quota_group(self) -> tuple[str, ...]:
        """Who is held back together; a target without a group alone."""
        group = self.target.quota_group
        return ("group", group) if group is not None else ("target", self.target.name)


def shared_group(one: Candidate, other: Candidate) -> Policy | Group:
    """The innermost group that holds both: its rules say whether a call moves between them."""
    *_, shared = (mine for mine, theirs in zip(one.groups, other.groups, strict=False) if mine is theirs)
    return shared


def candidates(
    call: Call,
    policy: Policy,
    addresses: Addresses,
    health: Health,
    request: Request,
) -> tuple[list[Candidate], list[Skip]]:
    """The candidates of a call, the first to be tried first, and the targets that cannot serve it."""
    caller = _Caller(call, policy, addresses, request)
    # With one target there is nothing to choose by what the call continues.
    objects = list(_objects(call, request.file_ids)) if len(addresses.targets) > 1 else []
    # Such a call has one place to go. A mode that draws or leaves targets out could leave out that one.
    bound = caller.stay_reason is not None or bool(objects)
    if bound or caller.named is not None:
        placed = list(_placed(policy, (), _as_written))
    else:
        placed = list(
            _placed(
                policy, (), lambda group: _chosen_by_mode(group, call, request.body_params, health.random)
            )
        )
    if caller.named is not None:
        placed = [(target, groups) for target, groups in placed if caller.names(target, groups)]
    wanted = request.headers.get(REGION_HEADER)
    if wanted is not None:
        # A wish and no condition: the others stay behind it, in their order.
        placed.sort(key=lambda each: each[0].region != wanted)
    found: list[Candidate] = []
    skipped: list[Skip] = []
    for target, groups in placed:
        base = caller.bases[target.name]
        mapped = caller.mapped(target)
        reason = caller.why_not(target, base, mapped)
        if reason is None and base is not None:
            found.append(caller.candidate(target, groups, base, mapped))
        elif reason is not None:
            skipped.append(Skip(str(target.name), reason, target.region))
    # Where its objects are is looked up among the targets that can serve the call.
    if caller.stay_reason is None:
        return (_where_they_are(found, health, objects) if objects else found), skipped
    home = [candidate for candidate in found if candidate.here][:1]
    skipped += [Skip(each.name, caller.stay_reason, each.target.region) for each in found if each not in home]
    return home, skipped


def _where_they_are(found: list[Candidate], health: Health, objects: list[str]) -> list[Candidate]:
    """The one candidate of a call that continues objects: where they are, else the first."""
    home = next((name for name in map(health.pinned, objects) if name is not None), None)
    return found[:1] if home is None else [candidate for candidate in found if candidate.name == home]


_SIGNED = ("AWS4", "HMAC", "SIGNATURE")


def why_it_stays(headers: Mapping[str, str]) -> SkipReason | None:
    """
    Why a call may not leave the place that its caller addressed; None where it may.

    `X-Session-Token` and `X-Encrypt-Info` come with a body that one place alone can read.
    `x-is-encrypted` says nothing by itself: VeADK sends it with plain JSON. A signature
    covers the host, the path or the body, which change elsewhere.
    """
    if "x-session-token" in headers or "x-encrypt-info" in headers:
        return "encrypted"
    written = headers.get("authorization", "").upper()
    # A key may hold these letters by chance: what follows `Bearer` signs nothing.
    signs = not written.startswith("BEARER ") and any(mark in written for mark in _SIGNED)
    if signs or "signature" in "\n".join(headers):
        return "signed"
    return None


class _Caller:
    """What the caller asked for: where, under which key, for which model."""

    def __init__(
        self,
        call: Call,
        policy: Policy,
        addresses: Addresses,
        request: Request,
    ) -> None:
        self.call = call
        self.kind = kind_of(call)
        self.retry = policy.retry
        self.origin = origin = request.origin
        self.place = origin_of(call.url)
        self.address, self.bases = addresses.of(call)
        self.stay_reason = request.stay_reason
        sent = credential(request.headers)
        self.credential = digest_of(sent) if sent else None
        self.named, self.model = unprefixed(call.model, policy)
        addressed = [target for target in addresses.targets if target.name == origin]
        self.region = addressed[0].region if addressed else call.region
        # A call stays in the zones of the target that it addresses: by name, by URL, or by a region that the target is in.
        addressed = addressed or [target for target in addresses.targets if self.is_here(target)]
        addressed = addressed or [target for target in addresses.targets if target.region == self.region]
        self.zones = {target.zone for target in addressed} - {None}

    def names(self, target: Target, groups: tuple[Policy | Group, ...]) -> bool:
        """Whether the prefix of the model names the target, or a group that it stands in."""
        return self.named in {target.name, *(group.name for group in groups if isinstance(group, Group))}

    def is_here(self, target: Target) -> bool:
        """Whether the caller addressed this target."""
        return target.name == self.origin or self.bases[target.name] == self.address.base

    def why_not(self, target: Target, base: str | None, mapped: str | None) -> SkipReason | None:
        """Why a target, where such a call has this base and this model, cannot serve it at all; None where it can."""
        if base is None or (target.only is not None and self.kind not in target.only):
            return "operation"
        if self.zones and target.zone not in self.zones:
            return "zone"
        # An endpoint `ep-...` exists in one region, unless the policy says what it is called in another.
        if mapped is not None and mapped.startswith("ep-") and self._is_foreign(target, mapped):
            return "model"
        # A key belongs to the origin that it was given for: elsewhere the call would arrive without one.
        if target.api_key is None and not (target.region == self.region and origin_of(base) == self.place):
            return "dead_credential"
        return None

    def candidate(
        self, target: Target, groups: tuple[Policy | Group, ...], base: str, mapped: str | None
    ) -> Candidate:
        return Candidate(
            name=str(target.name),
            target=target,
            groups=groups,
            retry=target.retry or self.retry,
            model=mapped,
            credential=_digest_of_own(target.api_key) if target.api_key is not None else self.credential,
            here=base == self.address.base,
            base_url=base,
            path=self.address.path,
        )

    def mapped(self, target: Target) -> str | None:
        """What the model of the call is called at a target."""
        if self.model is None:
            return None
        return str(target.models.get(self.model) or target.models.get("*") or self.model)

    def _is_foreign(self, target: Target, endpoint: str) -> bool:
        return endpoint == self.model and endpoint not in target.models and target.region != self.region


_Members = Callable[[Policy | Group], Sequence[Target | Group]]


def _placed(
    group: Policy | Group, outer: tuple[Policy | Group, ...], members: _Members
) -> Iterator[tuple[Target, tuple[Policy | Group, ...]]]:
    """The targets that `members` gives of a group and of those in it, each with the groups that it stands in."""
    for member in members(group):
        if isinstance(member, Group):
            yield from _placed(member, (*outer, group), members)
        else:
            yield member, (*outer, group)


def _as_written(group: Policy | Group) -> Sequence[Target | Group]:
    """All of them, whatever the mode would choose."""
    return group.targets


def _chosen_by_mode(
    group: Policy | Group, call: Call, body_params: Params, random: Random
) -> list[Target | Group]:
    """Those that the mode chooses, in the order in which they are tried."""
    members = list(group.targets)
    match group.mode:
        case "single":
            return members[:1]
        case "loadbalance":
            # Only the first is drawn. The others follow as written, for a fallback has an order.
            members = [member for member in members if member.weight > 0]
            first = random.choices(range(len(members)), [member.weight for member in members])[0]
            return [members[first], *members[:first], *members[first + 1 :]]
        case "conditional":
            chosen = _chosen(group, call, body_params)
            return [member for member in members if chosen is not None and member.name == chosen]
        case _:
            return members


def _chosen(group: Policy | Group, call: Call, body_params: Params) -> str | None:
    body_params = cache(body_params)
    for condition in group.conditions:
        if fits(condition.query, call, body_params):
            return condition.then
    return group.default


def _objects(call: Call, file_ids: Callable[[], Iterable[str]]) -> Iterator[str]:
    """The objects of earlier calls that this one continues or asks for."""
    if call.resource_id is not None and call.api != "models":
        yield call.resource_id
    for name in EARLIER:
        if isinstance(call.params.get(name), str):
            yield call.params[name]
    yield from file_ids()


def unprefixed(model: str | None, policy: Policy) -> tuple[str | None, str | None]:
    """`@name/model` as the name and the model; without a name that is known, the model as it is."""
    if model is None or not model.startswith("@") or "/" not in model:
        return None, model
    name, _, plain = model[1:].partition("/")
    if any(name == each.name for group in groups_of(policy) for each in group.targets):
        return name, plain
    if name == "byteplus" or name.startswith("byteplus-"):
        return None, plain
    return None, model


# Of the keys that a policy holds anyway; a caller's own is not kept. It saves 0.2% of a call of the SDK's for each target.
_digest_of_own = lru_cache(maxsize=1024)(digest_of)
