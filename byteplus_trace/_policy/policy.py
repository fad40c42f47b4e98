"""
What the user wants done about failure: targets, and how hard to try.

A policy is a tree of targets, most often a flat one. It stands above what it is made of
(`targets.py`) and above those who read it from a file (`policyfile.py`, `gatewayconfig.py`).
What is allowed but may surprise its user is in `warnings.py`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from .._errors import SettingError
from . import checks
from .gatewayconfig import KNOWN, REFUSED
from .policyfile import load
from .replay import Replay, checked_replay
from .targets import (
    MAX_ATTEMPTS,
    Breaker,
    Condition,
    Deadline,
    Group,
    Mode,
    Retry,
    Target,
    leaves_of,
    set_fields,
    settle_tree,
)

Final = Literal["primary", "last"]

FINALS: tuple[Final, ...] = get_args(Final)


@dataclass(frozen=True, slots=True)
class Policy:
    """
    Which targets may serve a call, in which order, and how hard to try.

    Args:
        targets: in the order in which they are tried; a `Group` stands for one with a mode of its own.
        mode: `fallback`; `loadbalance`: a first one by weight, then the rest in order; `conditional`:
            the one that `conditions` name, else `default`; `single`: the first alone.
        retry: when the same target is asked again.
        breaker: when a failing target is left alone.
        deadline: how long a call may take.
        replay: for each kind of call, whether it may be sent again when the first copy may have run.
            What is not named keeps its default.
        max_attempts: the most sends of one call, retries and fallbacks together.
        final: of several failures, whose response the caller gets: the `primary` or the `last`.
        forward_headers: the caller's own headers that travel to another origin too. What describes the
            message, traces and the SDKs' own always do; any other may be a credential.

    Raises:
        SettingError: a value cannot be followed; the message says what to write instead.
    """

    targets: Sequence[Target | Group]
    mode: Mode = field(default="fallback", kw_only=True)
    retry: Retry = field(default_factory=Retry, kw_only=True)
    breaker: Breaker = field(default_factory=Breaker, kw_only=True)
    deadline: Deadline = field(default_factory=Deadline, kw_only=True)
    replay: Mapping[str, Replay] = field(default_factory=dict, kw_only=True)
    max_attempts: int = field(default=MAX_ATTEMPTS, kw_only=True)
    final: Final = field(default="primary", kw_only=True)
    conditions: Sequence[Condition] = field(default=(), kw_only=True)
    default: str | None = field(default=None, kw_only=True)
    on_status_codes: Collection[int] | None = field(default=None, kw_only=True)
    forward_headers: Collection[str] = field(default=frozenset(), kw_only=True)

    def __post_init__(self) -> None:
        settle_tree("Policy", self)
        checks.instance("retry", self.retry, Retry)
        checks.instance("breaker", self.breaker, Breaker)
        checks.instance("deadline", self.deadline, Deadline)
        checks.whole("max_attempts", self.max_attempts, least=1)
        checks.choice("final", self.final, FINALS)
        set_fields(
            self,
            replay=checked_replay(self.replay),
            forward_headers=checks.header_names("forward_headers", self.forward_headers),
        )
        _check_names(self)
        _check_addresses(self.leaves)

    @property
    def leaves(self) -> tuple[Target, ...]:
        """Every target, those of groups included, in the order written."""
        return tuple(leaves_of(self.targets))

    @classmethod
    def load(
        cls,
        source: Policy | Mapping[str, Any] | str | os.PathLike[str],
        environ: Mapping[str, str] = os.environ,
    ) -> Policy:
        """
        Read a policy: itself, a mapping, or the path of a TOML or JSON file.

        `${NAME}` in a text stands for that environment variable. A mapping in the shape of
        a Portkey gateway config is read as one.

        Raises:
            SettingError: it cannot be read or followed; the message says what to write instead.
        """
        return source if isinstance(source, Policy) else load(cls, source, environ)


def groups_of(root: Policy | Group) -> Iterator[Policy | Group]:
    """A policy and every group in it, the outer ones first."""
    yield root
    for each in root.targets:
        if isinstance(each, Group):
            yield from groups_of(each)


def _check_names(policy: Policy) -> None:
    seen: set[str] = set()
    for group in groups_of(policy):
        for each in group.targets:
            if each.name in seen:
                raise SettingError(f"Two targets are named {each.name!r}. Give each a name of its own.")
            if each.name is not None:
                seen.add(each.name)


def _check_addresses(leaves: Sequence[Target]) -> None:
    regions: dict[str, Target] = {}
    for target in leaves:
        for base in target.bases.forms:
            other = regions.setdefault(base, target)
            if other.region != target.region:
                raise SettingError(
                    f"Targets {other.name!r} and {target.name!r} are at one address but name the regions "
                    f"{other.region!r} and {target.region!r}. One address stands for one region."
                )


KEYS = (*(each.name for each in fields(Policy)), *KNOWN, *REFUSED)
"""What may stand at the top of a policy, ours or Portkey's."""
