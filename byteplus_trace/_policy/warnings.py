"""
What a policy allows that may surprise its author: one sentence each, told at startup and by `config check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from .policy import Policy, groups_of
from .replay import KINDS
from .targets import Group, Target


def warnings_of(policy: Policy) -> list[str]:
    """The sentences, those about one target first."""
    leaves = policy.leaves
    found = [warning for target in leaves for warning in _region_warnings(target)]
    found += [_keyless(target) for target in leaves if target.api_key is None and len(leaves) > 1]
    found += _plan_warnings(leaves)
    found += _idle_warnings(policy)
    found += [crossing for pair in combinations(leaves, 2) if (crossing := _crossing(*pair)) is not None]
    return found


@dataclass(frozen=True, slots=True)
class Served:
    """What a region is known to serve, where that is not everything."""

    models: tuple[str, ...] | None = None
    """How their ids begin; None: any."""
    not_kinds: tuple[str, ...] = ()


# ModelArk docs 1544106, 2026-11. Each region has a row.
SERVED: Mapping[str, Served] = {
    "ap-southeast-1": Served(),
    "eu-west-1": Served(
        models=("seed-2-0", "seedream-5-0-lite", "seedream-5-0-260128"), not_kinds=("embeddings", "video")
    ),
}


def _region_warnings(target: Target) -> Iterator[str]:
    served = SERVED.get(target.region, Served())
    if served.models is not None:
        for model in dict.fromkeys(target.models.values()):
            if not model.startswith(("ep-", *served.models)):
                yield (
                    f"Target {target.name!r} maps to {model!r}, which {target.region} is not known to serve "
                    f"(known: the seed-2-0 family and seedream-5-0-260128)."
                )
    for kind in served.not_kinds:
        if target.only is not None and kind in target.only:
            yield f"Target {target.name!r} is to serve {kind}, which {target.region} is not known to serve."


def _keyless(target: Target) -> str:
    return (
        f"Target {target.name!r} has no api_key: it serves only calls addressed to {target.region}, "
        "with the caller's own key."
    )


def _plan_warnings(leaves: Sequence[Target]) -> Iterator[str]:
    plans = {target.bases.plan for target in leaves}
    for target in leaves:
        plan = target.bases.plan
        if plan is not None and (target.billing_plan is not None or len(plans) > 1):
            yield (
                f"Target {target.name!r} bills on the {plan} plan: a call that was addressed to another plan changes its plan there."
            )


def _idle_warnings(policy: Policy) -> Iterator[str]:
    for group in groups_of(policy):
        unused = [_name(each) for each in group.targets[1:]] if group.mode == "single" else []
        unused += [_name(each) for each in group.targets if group.mode == "loadbalance" and each.weight == 0]
        if unused:
            yield f"Never used, because of the mode {group.mode!r}: {', '.join(map(repr, unused))}."


def _crossing(one: Target, other: Target) -> str | None:
    if one.region == other.region:
        return None
    there, back = _lets(one, other), _lets(other, one)
    if not (there or back):
        return None
    first, arrow, second = (one, "<->" if back else "->", other) if there else (other, "->", one)
    return (
        f"Calls may cross regions: {first.name!r} ({first.region}) {arrow} {second.name!r} ({second.region})."
    )


def _lets(addressed: Target, server: Target) -> bool:
    """Whether a call addressed to one target may be served by another one."""
    in_zone = addressed.zone is None or addressed.zone == server.zone
    kinds = set(KINDS if addressed.only is None else addressed.only)
    return in_zone and server.api_key is not None and bool(kinds & set(server.only or KINDS))


def _name(each: Target | Group) -> str:
    return each.name or "an unnamed group"
