"""
A Portkey gateway config, read as a policy, so that one file serves both.

After Portkey's own schema (Portkey-AI/gateway 1.15.2, `requestValidator/schema/config.ts`)
and the pages of its documentation on configs, load balancing and circuit breakers, read
in 2026-11. What is handed down from a config to its targets is what is handed down there:
`override_params` merged, the rest replaced whole.

What makes no sense without a gateway is refused by name with the reason, never ignored:
a guardrail that silently does nothing is worse than an error at startup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .._errors import LONGEST_SHOWN, Filled, SettingError, shown
from .._regions import DEFAULT_REGION, did_you_mean
from . import checks
from .targets import MAX_ATTEMPTS, MODES, Breaker, Condition, Group, Retry, Target, leaves_of

_T = TypeVar("_T")
_MARKS = ("strategy", "provider", "virtual_key")

_NO_GATEWAY = "there is no gateway between the call and ModelArk"
_UNALTERED = "a body leaves as it was written, but for the model and override_params"
REFUSED: Mapping[str, str] = {
    "cache": f"{_NO_GATEWAY}, so nothing is cached",
    "virtual_key": "virtual keys live in Portkey's vault; write the key as api_key, such as \"${ARK_API_KEY}\"",
    "prompt_id": "prompts live in Portkey; send the messages in the call",
    "input_guardrails": f"{_NO_GATEWAY}, so no guardrail would run",
    "output_guardrails": f"{_NO_GATEWAY}, so no guardrail would run",
    "before_request_hooks": f"{_NO_GATEWAY}, so no hook would run",
    "after_request_hooks": f"{_NO_GATEWAY}, so no hook would run",
    "default_params": _UNALTERED,
    "drop_params": _UNALTERED,
    "forward_headers": "every header of the call reaches ModelArk already, but for x-portkey-*",
    "passthrough": "each target needs a place of its own; write provider: byteplus and byteplus_region",
    "sticky": "it needs the gateway's shared memory; use conditions over metadata instead",
}  # fmt: skip

_BESIDE_TARGETS = ("strategy", "targets")
_INHERITED = ("provider", "api_key", "byteplus_region", "custom_host", "override_params", "request_timeout", "retry", "cb_config", "strict_open_ai_compliance")  # fmt: skip
KNOWN = ("name", "weight", *_BESIDE_TARGETS, *_INHERITED)
_STRATEGY = ("mode", "on_status_codes", "conditions", "default", "cb_config")
_RETRY = ("attempts", "on_status_codes", "use_retry_after_header", "use_retry_after_headers")
_BREAKER = ("failure_threshold", "failure_threshold_percentage", "minimum_requests", "cooldown_interval", "failure_status_codes")  # fmt: skip


def is_gateway_config(table: Mapping[str, Any]) -> bool:
    """Whether a mapping is Portkey's rather than ours."""
    members = table.get("targets")
    return any(mark in table for mark in _MARKS) or (
        isinstance(members, Sequence)
        and any(isinstance(each, Mapping) and is_gateway_config(each) for each in members)
    )


def from_gateway_config(kind: Callable[..., _T], table: Mapping[str, Any]) -> _T:
    """
    The policy that a gateway config describes, made as a `kind`.

    Raises:
        SettingError: a key cannot be followed here; the message names it and says why.
    """
    if "targets" not in table and ("provider" in table or "strategy" not in table):
        table = {"strategy": {"mode": "single"}, "targets": [table]}
    members = _members(table, "", _Inherited())
    # Portkey gives every target all its retries; the cap must let the last target be reached.
    most = sum(1 + (target.retry or Retry()).per_target for target in leaves_of(members["targets"]))
    return kind(**members, max_attempts=max(MAX_ATTEMPTS, most))


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a config hands down to its targets."""

    provider: str = "byteplus"
    api_key: str | None = field(default=None, repr=False)
    region: str | None = None
    custom_host: str | None = None
    override_params: Mapping[str, Any] = field(default_factory=dict)
    request_timeout: float | None = None
    retry: Retry | None = None
    breaker: Breaker | None = None

    def under(self, table: Mapping[str, Any], where: str) -> _Inherited:
        """With what one level says on top."""
        breaker = table.get("cb_config", table.get("strategy", {}).get("cb_config"))
        return _Inherited(
            provider=table.get("provider", self.provider),
            api_key=table.get("api_key", self.api_key),
            region=checks.text(f"{where}byteplus_region", table["byteplus_region"])
            if "byteplus_region" in table
            else self.region,
            custom_host=table.get("custom_host", self.custom_host),
            override_params={**self.override_params, **_object(table, "override_params", where)},
            request_timeout=_seconds(table, "request_timeout", where, self.request_timeout),
            retry=_retry(table["retry"], f"{where}retry") if "retry" in table else self.retry,
            breaker=_breaker(breaker, f"{where}cb_config") if breaker is not None else self.breaker,
        )


def _members(table: Mapping[str, Any], path: str, above: _Inherited) -> dict[str, Any]:
    """What a policy and a group have in common."""
    where = f"{path}." if path else ""
    _check_keys(table, KNOWN, where)
    strategy = _object(table, "strategy", where)
    _check_keys(strategy, _STRATEGY, f"{where}strategy.")
    mode, default = strategy.get("mode", "fallback"), strategy.get("default")
    checks.choice(f"{where}strategy.mode", mode, MODES)
    if default is not None:
        checks.text(f"{where}strategy.default", default)
    here = above.under(table, where)
    return {
        "targets": [
            _member(each, f"{where}targets[{at}]", here)
            for at, each in enumerate(_objects(table, "targets", where))
        ],
        "mode": mode,
        "conditions": [
            _condition(each, f"{where}strategy.conditions[{at}]")
            for at, each in enumerate(_objects(strategy, "conditions", f"{where}strategy."))
        ],
        "default": default,
        "on_status_codes": checks.statuses(
            f"{where}strategy.on_status_codes", strategy.get("on_status_codes")
        ),
    }


def _member(table: Mapping[str, Any], path: str, above: _Inherited) -> Target | Group:
    if "targets" in table:
        members = _members(table, path, above)
        return Group(**members, name=table.get("name") or path, weight=table.get("weight", 1))
    where = f"{path}."
    _check_keys(table, KNOWN, where)
    if "strategy" in table:
        strategy = _checked(table["strategy"], ("mode",), f"{where}strategy")
        checks.choice(f"{where}strategy.mode", strategy.get("mode", "single"), MODES)
    here = above.under(table, where)
    provided = _model_of_provider(here.provider, where)
    params = dict(here.override_params)
    model = params.pop("model", provided)
    if model is not None:
        checks.text(f"{where}override_params.model", model)
    if here.custom_host is not None:
        checks.base_url(
            f"{where}custom_host",
            here.custom_host,
            allow_http=False,
            unless="; a gateway config cannot allow it",
        )
    return Target(
        table.get("name") or path,
        region=here.region or checks.public_region(here.custom_host) or DEFAULT_REGION,
        base_url=here.custom_host,
        api_key=here.api_key,
        models={"*": model} if model is not None else {},
        weight=table.get("weight", 1),
        override_params=params,
        request_timeout=here.request_timeout,
        retry=here.retry,
        breaker=here.breaker,
    )


def _model_of_provider(provider: object, where: str) -> str | None:
    """`byteplus`, `@byteplus`, `@byteplus-team` or `@byteplus/model`: the model, if it names one."""
    slug, _, model = str(provider).removeprefix("@").partition("/")
    if isinstance(provider, Filled):
        model = Filled(model, provider.written) if model else model
    if slug != "byteplus" and not slug.startswith("byteplus-"):
        raise SettingError(
            f"{where}provider: {shown(provider)} cannot be called from here, only byteplus: {_NO_GATEWAY}, so no other "
            "provider's format is translated."
        )
    return model or None


def _retry(value: object, where: str) -> Retry:
    table = _checked(value, _RETRY, where)
    usual = Retry()
    attempts = table.get("attempts", usual.per_target)
    checks.whole(f"{where}.attempts", attempts, least=0)
    obeys = usual.use_retry_after
    for name in ("use_retry_after_headers", "use_retry_after_header"):
        if name in table:
            obeys = table[name]
            checks.yes_or_no(f"{where}.{name}", obeys)
    return Retry(
        per_target=attempts,
        on_status_codes=checks.statuses(f"{where}.on_status_codes", table.get("on_status_codes")),
        use_retry_after=obeys,
    )


def _breaker(value: object, where: str) -> Breaker:
    """Portkey's opens on either threshold that is set, and always for the same time."""
    table = _checked(value, _BREAKER, where)
    usual = Breaker()
    count, percentage = table.get("failure_threshold"), table.get("failure_threshold_percentage")
    unset = count is None and percentage is None
    if count is not None:
        checks.whole(f"{where}.failure_threshold", count, least=1)
    requests = table.get("minimum_requests", usual.min_requests)
    checks.whole(f"{where}.minimum_requests", requests, least=1)
    cooldown = _seconds(table, "cooldown_interval", f"{where}.", usual.open) or usual.open
    return Breaker(
        consecutive=usual.consecutive if unset else count,
        ratio=usual.ratio if unset else _share(percentage, f"{where}.failure_threshold_percentage"),
        min_requests=requests,
        open=cooldown,
        open_max=cooldown if "cooldown_interval" in table else usual.open_max,
        on_status_codes=checks.statuses(f"{where}.failure_status_codes", table.get("failure_status_codes")),
    )


def _share(percentage: object, where: str) -> float | None:
    if percentage is None:
        return None
    if not checks.is_number(percentage) or not 0 < percentage <= 100:
        raise SettingError(f"{where}={shown(percentage)} must be a number more than 0 and at most 100.")
    return percentage / 100


def _condition(value: Mapping[str, Any], where: str) -> Condition:
    table = _checked(value, ("query", "then"), where)
    for name in ("query", "then"):
        if name not in table:
            raise SettingError(f"{where}: {name!r} is missing.")
    return Condition(table["query"], table["then"])


def _seconds(table: Mapping[str, Any], name: str, where: str, otherwise: float | None) -> float | None:
    """A duration that is written in milliseconds."""
    if name not in table:
        return otherwise
    value = table[name]
    if not checks.is_number(value) or value <= 0:
        raise SettingError(f"{where}{name}={shown(value)} must be a number of milliseconds, more than 0.")
    return value / 1000


def _object(table: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    return _checked(table.get(name, {}), None, f"{where}{name}")


def _objects(table: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    value = table.get(name, [])
    if not isinstance(value, (list, tuple)):
        raise SettingError(f"{where}{name} must be a list of objects, not a {type(value).__name__}.")
    return [_checked(each, None, f"{where}{name}[{at}]") for at, each in enumerate(value)]


def _checked(value: object, known: Sequence[str] | None, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(f"{where} must be an object, not a {type(value).__name__}.")
    if known is not None:
        _check_keys(value, known, f"{where}.")
    return value


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key in REFUSED:
            raise SettingError(f"{where}{key} cannot be followed here: {REFUSED[key]}.")
        if key not in known:
            name = key if len(key) <= LONGEST_SHOWN else shown(key)
            raise SettingError(
                f"{where}{name} is not known (known: {', '.join(known)}).{did_you_mean(key, known)}"
            )
