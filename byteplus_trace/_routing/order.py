"""
In which order a call tries its targets: the mode of each group, flattened.

A leaf remembers the groups that it stands in, outermost first: a move between two leaves
follows the rules of the innermost group that holds both.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from .._facts import Call
from .conditions import Params, fits
from .policy import Group, Policy, Target


class Leaf(NamedTuple):
    """A target in its place."""

    target: Target
    groups: tuple[Policy | Group, ...]


def order(
    group: Policy | Group, call: Call, params: Params, random: Random, outer: tuple[Policy | Group, ...] = ()
) -> list[Leaf]:
    """The targets of a call, the first to be tried first."""
    groups = (*outer, group)
    found: list[Leaf] = []
    for target in _members(group, call, params, random):
        if isinstance(target, Group):
            found += order(target, call, params, random, groups)
        else:
            found.append(Leaf(target, groups))
    return found


def shared_group(one: Leaf, other: Leaf) -> Policy | Group:
    """The innermost group that holds both."""
    shared = one.groups[0]
    for mine, theirs in zip(one.groups, other.groups, strict=False):
        if mine is not theirs:
            break
        shared = mine
    return shared


def _members(group: Policy | Group, call: Call, params: Params, random: Random) -> list[Target | Group]:
    members = list(group.targets)
    if group.mode == "single":
        return members[:1]
    if group.mode == "loadbalance":
        members = [member for member in members if member.weight > 0] or members
        first = random.choices(range(len(members)), [member.weight or 1 for member in members])[0]
        return [members[first], *members[:first], *members[first + 1 :]]
    if group.mode == "conditional":
        chosen = _chosen(group, call, params)
        return [member for member in members if member.name == chosen] or members[:1]
    return members


def _chosen(group: Policy | Group, call: Call, params: Params) -> str | None:
    for condition in group.conditions:
        if fits(condition.query, call, params):
            return condition.then
    return group.default
