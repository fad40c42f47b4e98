"""
What a policy is made of: targets, groups of targets, and the limits of trying.

Each value is checked when it is made, and its error says what to write instead: nothing
may be raised once calls are under way. `checks.py` and `replay.py` check single fields;
here stands which fields fit together.

Seconds everywhere. A key, what a `${NAME}` was filled with and what `override_params` holds are never in a `repr`, a
message or a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args
from urllib.parse import urlsplit

from .._errors import SettingError, as_written, shown
from .._regions import (
    BILLING_PLANS,
    BillingPlan,
    address_of,
    did_you_mean,
    prefix_at_end,
    region_named,
)
from . import checks
from .bases import Bases, bases
from .conditions import checked_query
from .replay import checked_only

Mode = Literal["fallback", "loadbalance", "conditional", "single"]

MODES: tuple[Mode, ...] = get_args(Mode)

MAX_ATTEMPTS = 6
"""The most sends of one call, where its policy names no other number."""


@dataclass(frozen=True, slots=True)
class Retry:
    """When the same target is asked again, and how long that waits."""

    per_target: int = 1
    base: float = 0.25
    cap: float = 8.0
    retry_after_cap: float = 10.0
    """A `Retry-After` beyond this is not waited for: the next target is asked instead."""
    budget_ratio: float = 0.1
    """How much of a retry each call adds to the budget that all retries draw on."""
    on_status_codes: Collection[int] | None = None
    """The statuses that are asked again; None: as the error codes say."""
    use_retry_after: bool = True

    def __post_init__(self) -> None:
        checks.whole("retry.per_target", self.per_target, least=0)
        checks.positive("retry.base", self.base)
        checks.number("retry.cap", self.cap, least=self.base, because="at least retry.base")
        checks.number("retry.retry_after_cap", self.retry_after_cap, least=0)
        checks.number("retry.budget_ratio", self.budget_ratio, least=0)
        set_fields(self, on_status_codes=checks.statuses("retry.on_status_codes", self.on_status_codes))
        checks.yes_or_no("retry.use_retry_after", self.use_retry_after)


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a target that fails is left alone, for each operation apart."""

    window: float = 30.0
    min_requests: int = 10
    ratio: float | None = 0.5
    """Opens at this share of failures in the window; None: never by share."""
    consecutive: int | None = 5
    """Opens after so many failures in a row; None: never by count."""
    open: float = 15.0
    """The first opening; each one after a failed probe is twice as long, up to `open_max`."""
    open_max: float = 120.0
    on_status_codes: Collection[int] | None = None
    """The statuses that count as failures; None: as the error codes say."""

    def __post_init__(self) -> None:
        checks.positive("breaker.window", self.window)
        checks.whole("breaker.min_requests", self.min_requests, least=1)
        if self.ratio is not None:
            checks.positive("breaker.ratio", self.ratio)
            checks.number("breaker.ratio", self.ratio, most=1, because="1 or less: it is a share")
        if self.consecutive is not None:
            checks.whole("breaker.consecutive", self.consecutive, least=1)
        checks.positive("breaker.open", self.open)
        checks.number("breaker.open_max", self.open_max, least=self.open, because="at least breaker.open")
        set_fields(self, on_status_codes=checks.statuses("breaker.on_status_codes", self.on_status_codes))


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a call may take, over all its attempts."""

    total: float | None = None
    """To the response; of a stream, to its first output. A stream that has begun is never cut."""
    first_event: float | None = 60.0
    """Of a stream: how long one target may take to its first output while another is left."""
    idle: float | None = None
    """Of a stream that has begun: how long it may be silent."""
    min_attempt: float = 1.0
    """A retry that would have less is not made."""
    reserve: float = 0.3
    """The share of what remains that is kept for the next target."""

    def __post_init__(self) -> None:
        for name in ("total", "first_event", "idle"):
            if getattr(self, name) is not None:
                checks.positive(f"deadline.{name}", getattr(self, name))
        checks.number("deadline.min_attempt", self.min_attempt, least=0)
        checks.number("deadline.reserve", self.reserve, least=0)
        if self.reserve >= 1:
            raise SettingError(f"deadline.reserve={self.reserve!r} must be less than 1: it is a share.")


@dataclass(frozen=True, slots=True)
class Target:
    """
    One place that can serve a call: a region, a key, and what differs there.

    Args:
        name: what it is called on spans, in series and in `@name/model`.
        region: the region it is in, or that its `base_url` stands for.
        base_url: where it is, if not at the region's public address.
        messages_base_url: where it is for calls in Anthropic's form, if `base_url` does not say so.
        billing_plan: the plan that its calls are billed under: metered, coding or agent. Without one, calls
            keep the plan that their caller addressed.
        api_key: its own key; without one, only calls addressed to it can use it, with the caller's key.
        models: the caller's model or endpoint id -> the one here; `"*"` for any other.
        only: the kinds of call it serves: chat, responses, embeddings, images, video, other.
        zone: calls addressed to a target with a zone stay within that zone.
        weight: its share where the mode is `loadbalance`; 0 takes it out.
        quota_group: targets of one account, which one rate limit holds back together.
        override_params: top-level body fields that are written over the caller's.
        request_timeout: the most one attempt may take to its response headers.
        allow_http: let it be reached over plain http outside the loopback.
        retry: instead of the policy's.
        breaker: instead of the policy's.
    """

    name: str
    region: str = field(kw_only=True)
    base_url: str | None = field(default=None, kw_only=True)
    messages_base_url: str | None = field(default=None, kw_only=True)
    billing_plan: BillingPlan | None = field(default=None, kw_only=True)
    api_key: str | None = field(default=None, kw_only=True, repr=False)
    models: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    only: Collection[str] | None = field(default=None, kw_only=True)
    zone: str | None = field(default=None, kw_only=True)
    weight: float = field(default=1, kw_only=True)
    quota_group: str | None = field(default=None, kw_only=True)
    override_params: Mapping[str, Any] = field(default_factory=dict, kw_only=True, repr=False)
    request_timeout: float | None = field(default=None, kw_only=True)
    allow_http: bool = field(default=False, kw_only=True)
    retry: Retry | None = field(default=None, kw_only=True)
    breaker: Breaker | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        checks.name("Target", self.name)
        called = f"target {self.name!r}"
        region_named(checks.text(f"{called}: region", self.region))
        checks.yes_or_no(f"{called}: allow_http", self.allow_http)
        for name in ("base_url", "messages_base_url"):
            if getattr(self, name) is not None:
                checks.base_url(f"{called}: {name}", getattr(self, name), allow_http=self.allow_http)
                checks.region_of_base_url(f"{called}: {name}", getattr(self, name), self.region)
        self._check_bases(called)
        for name in ("zone", "quota_group"):
            if getattr(self, name) is not None:
                checks.text(f"{called}: {name}", getattr(self, name))
        checks.number(f"{called}: weight", self.weight, least=0)
        if self.request_timeout is not None:
            checks.positive(f"{called}: request_timeout", self.request_timeout)
        if self.retry is not None:
            checks.instance(f"{called}: retry", self.retry, Retry)
        if self.breaker is not None:
            checks.instance(f"{called}: breaker", self.breaker, Breaker)
        set_fields(
            self,
            api_key=checks.api_key(called, self.api_key),
            models=checks.models(called, self.models),
            only=checked_only(called, self.only),
            override_params=checks.override_params(called, self.override_params),
        )

    def _check_bases(self, called: str) -> None:
        if self.billing_plan is not None:
            checks.choice(f"{called}: billing_plan", self.billing_plan, BILLING_PLANS)
        if self.base_url is None:
            return
        named = prefix_at_end(urlsplit(address_of(self.base_url)).path)
        if named is not None and named.form == "anthropic" and self.messages_base_url is not None:
            raise SettingError(
                f"{called}: base_url is of Anthropic's form already. Leave messages_base_url out."
            )
        if named is not None and self.billing_plan not in {None, named.plan}:
            raise SettingError(
                f"{called}: base_url is of the plan {named.plan!r}, billing_plan is {self.billing_plan!r}. Leave one out."
            )

    @property
    def bases(self) -> Bases:
        """Where it is called."""
        return bases(self.region, self.base_url, self.messages_base_url, self.billing_plan)

    @property
    def address(self) -> str:
        """Where it is: `base_url`, else the region's."""
        return self.bases.address


@dataclass(frozen=True, slots=True)
class Condition:
    """
    Send calls that a query fits to one of the group's targets.

    `query` is Portkey's: `{"metadata.plan": {"$eq": "paid"}}`, with `$eq $ne $in $nin $regex $gt $gte
    $lt $lte`, `$and` and `$or`, over `metadata.*`, `params.*` and `url.pathname`.
    """

    query: Mapping[str, Any]
    then: str

    def __post_init__(self) -> None:
        checks.text("condition: then", self.then)
        set_fields(self, query=checked_query(self.query))


@dataclass(frozen=True, slots=True)
class Group:
    """Targets that stand in the place of one, with a mode of their own."""

    targets: Sequence[Target | Group]
    mode: Mode = field(default="fallback", kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    weight: float = field(default=1, kw_only=True)
    conditions: Sequence[Condition] = field(default=(), kw_only=True)
    default: str | None = field(default=None, kw_only=True)
    """Where the mode is `conditional`: who serves what no condition fits."""
    on_status_codes: Collection[int] | None = field(default=None, kw_only=True)
    """The statuses that move a call on to the next of these targets; None: as the error codes say."""

    def __post_init__(self) -> None:
        called = "Group" if self.name is None else f"Group {self.name!r}"
        if self.name is not None:
            checks.name("Group", self.name)
        checks.number(f"{called}: weight", self.weight, least=0)
        settle_tree(called, self)


class Tree(Protocol):
    """What policies and groups share."""

    @property
    def targets(self) -> Sequence[Target | Group]: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def conditions(self) -> Sequence[Condition]: ...
    @property
    def default(self) -> str | None: ...
    @property
    def on_status_codes(self) -> Collection[int] | None: ...


def leaves_of(targets: Iterable[Target | Group]) -> Iterator[Target]:
    """Every target, those of groups included, in the order written."""
    for each in targets:
        if isinstance(each, Group):
            yield from leaves_of(each.targets)
        else:
            yield each


def settle_tree(called: str, group: Tree) -> None:
    """Check what policies and groups share, and make their sequences tuples."""
    if isinstance(group.targets, (Target, Group, str)) or not isinstance(group.targets, Iterable):
        raise SettingError(
            f"{called}: targets must be a list of Target, not a {type(group.targets).__name__}."
        )
    targets = tuple(group.targets)
    if not targets:
        raise SettingError(f"{called}: targets is empty. Name at least one Target.")
    for each in targets:
        if not isinstance(each, (Target, Group)):
            raise SettingError(
                f"{called}: targets may hold Target and Group, not a {type(each).__name__}; Policy.load() reads plain tables."
            )
    checks.choice(f"{called}: mode", group.mode, MODES)
    if group.mode == "loadbalance" and not any(each.weight for each in targets):
        raise SettingError(f"{called}: every weight is 0, so nothing could serve a call. Give one a weight.")
    if isinstance(group.conditions, (str, Mapping)) or not isinstance(group.conditions, Iterable):
        raise SettingError(
            f"{called}: conditions must be a list of Condition, not {shown(group.conditions)}."
        )
    conditions = tuple(group.conditions)
    if (conditions or group.default is not None) and group.mode != "conditional":
        raise SettingError(f"{called}: conditions and default need mode='conditional', not {group.mode!r}.")
    if group.mode == "conditional" and not conditions:
        raise SettingError(f"{called}: mode 'conditional' needs conditions.")
    if group.default is not None:
        checks.text(f"{called}: default", group.default)
    names = [each.name for each in targets if each.name is not None]
    for name in (*(_instance_of_condition(called, each).then for each in conditions), group.default):
        if name is not None and name not in names:
            raise SettingError(
                f"{called}: no target is named {shown(name)} (known: {', '.join(map(as_written, names))}).{did_you_mean(name, names)}"
            )
    statuses = checks.statuses(f"{called}: on_status_codes", group.on_status_codes)
    set_fields(group, targets=targets, conditions=conditions, on_status_codes=statuses)


def _instance_of_condition(called: str, each: object) -> Condition:
    if not isinstance(each, Condition):
        raise SettingError(f"{called}: conditions may hold Condition, not {shown(each)}.")
    return each


def set_fields(value: object, **values: object) -> None:
    """Settle fields of a frozen value while it is being made."""
    for name, field_value in values.items():
        object.__setattr__(value, name, field_value)
