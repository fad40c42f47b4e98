"""
`byteplus-trace config check FILE`: how a file of settings or a policy is understood.

The file is read exactly as `BYTEPLUS_TRACE_CONFIG` reads it, with `${NAME}` from this
environment. A key is reported as set or missing; no part of it is shown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent
from typing import Any

from .._config import PREFIX, Config, configure
from .._errors import SettingError, as_written
from .._policy.policy import Policy
from .._policy.store_address import StoreAddress
from .._policy.targets import Breaker, Deadline, Group, Retry, Target
from .._policy.warnings import warnings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Check a file of settings or a policy: TOML, JSON, or a Portkey gateway config."
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="say how a file is understood, and what in it may surprise",
        description="Exits with 0 where the file can be followed, 1 where it can with warnings and --strict, "
        "2 where it cannot.",
    )
    check.add_argument("file", metavar="FILE", help="TOML or JSON, as for BYTEPLUS_TRACE_CONFIG")
    check.add_argument(
        "--without-secrets",
        action="store_true",
        help="check a file whose ${NAME} are not set here, as in CI: a text stands in for each of them",
    )
    check.add_argument("--strict", action="store_true", help="let a warning fail, for use in CI")


def run(args: argparse.Namespace) -> int:
    return check(args.file, os.environ, strict=args.strict, without_secrets=args.without_secrets)


_STAND_IN = "stand-in"


class _StandIns(dict[str, str]):
    """An environment in which every variable has a value."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name) or (default if name.startswith(("OTEL_", PREFIX)) else _STAND_IN)


def check(
    file: str, environ: Mapping[str, str], *, strict: bool = False, without_secrets: bool = False
) -> int:
    """Show one file; the exit status."""
    # Other BYTEPLUS_TRACE_* settings of this environment are not the file's.
    around = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
    read = _read(file, _StandIns(around) if without_secrets else around)
    if isinstance(read, SettingError):
        print(f"This file cannot be followed:\n{indent(str(read), '  ')}", file=sys.stderr)
        if not without_secrets and str(_read(file, _StandIns(around))) != str(read):
            print("To check the rest without these variables, add --without-secrets.", file=sys.stderr)
        return 2
    config = read
    warnings = [*(warnings_of(config.policy) if config.policy is not None else []), *_store_warnings(config)]
    for line in shown(config, file):
        print(line)
    for warning in warnings:
        print(f"\nwarning: {warning}")
    print(f"\n{file}: valid" + (f", {_counted(len(warnings), 'warning')}" if warnings else ""))
    return 1 if warnings and strict else 0


def _read(file: str, environ: Mapping[str, str]) -> Config | SettingError:
    try:
        return configure({}, environ, file=file)
    except SettingError as error:
        return error


def shown(config: Config, file: str) -> Iterator[str]:
    """The settings of a file, a line each."""
    policy = config.policy
    if config.health_store is not None:
        yield f"health store {_store(StoreAddress.of(config.health_store))}"
    if policy is None:
        yield f"{file} holds no policy: calls are observed and never moved."
        return
    yield from _members(policy, 0)
    yield ""
    yield f"replay       {', '.join(f'{kind}: {replay}' for kind, replay in policy.replay.items())}"
    yield f"retry        {_retry(policy.retry)}"
    yield f"breaker      {_breaker(policy.breaker)}"
    yield f"deadline     {_deadline(policy.deadline)}"
    yield f"attempts     at most {policy.max_attempts} a call"
    yield f"all failed   the caller gets the {'first' if policy.final == 'primary' else 'last'} response"


def _store(address: StoreAddress) -> str:
    from .._edge.health_store import trouble_with

    trouble = trouble_with(address)
    state = "can be read and written" if trouble is None else f"cannot be used now: {trouble}"
    return f"{address.name.rpartition(' ')[0]}, namespace {address.namespace}: {state}"


def _store_warnings(config: Config) -> list[str]:
    if config.health_store is None:
        return []
    unused = ["health_store is not used without a policy: there are no targets to share."]
    return [*StoreAddress.of(config.health_store).warnings, *(unused if config.policy is None else [])]


_ORDERS = {
    "fallback": "tried in this order",
    "loadbalance": "one by weight, then the rest in this order",
    "conditional": "the one that the conditions name",
    "single": "the first alone",
}


def _members(group: Policy | Group, depth: int) -> Iterator[str]:
    margin = "    " * depth
    yield f"{margin}targets, {_ORDERS[group.mode]}{_moving(group.on_status_codes)}:"
    for condition in group.conditions:
        yield f"{margin}  where {dict(condition.query)} -> {as_written(condition.then)}"
    if group.mode == "conditional":
        yield f"{margin}  otherwise -> {as_written(group.default) if group.default else 'as the caller addressed it'}"
    for number, member in enumerate(group.targets, 1):
        share = f", weight {member.weight:g}" if group.mode == "loadbalance" else ""
        if isinstance(member, Group):
            yield f"{margin}  {number}. {as_written(member.name or 'group')}{share}"
            yield from _members(member, depth + 1)
        else:
            yield f"{margin}  {number}. {as_written(member.name)}{share}"
            yield from (f"{margin}     {name:<11}{value}" for name, value in _facts(member))


def _key(api_key: str | None) -> str:
    if api_key is None:
        return "none: the caller's own, for calls addressed to it"
    return "set" if api_key != _STAND_IN else "not checked: its variable is not set here"


def _facts(target: Target) -> Iterator[tuple[str, str]]:
    yield "region", target.region
    base_url = as_written(target.base_url) if target.base_url is not None else None
    yield "base URL", target.address if base_url == target.base_url else str(base_url)
    if target.messages_base_url is not None:
        yield "messages", as_written(target.messages_base_url)
    yield "plan", target.bases.plan or "the caller's"
    yield "key", _key(target.api_key)
    if target.models:
        yield (
            "models",
            ", ".join(f"{model} -> {as_written(mapped)}" for model, mapped in target.models.items()),
        )
    if target.only is not None:
        yield "only", ", ".join(sorted(target.only))
    if target.zone is not None:
        yield "zone", as_written(target.zone)
    if target.quota_group is not None:
        yield "quota", as_written(target.quota_group)
    if target.override_params:
        yield "overrides", ", ".join(target.override_params)
    if target.request_timeout is not None:
        yield "timeout", f"{target.request_timeout:g} s"
    if target.retry is not None:
        yield "retry", _retry(target.retry)
    if target.breaker is not None:
        yield "breaker", _breaker(target.breaker)


def _moving(statuses: object) -> str:
    return f", moving on at {_listed(statuses)} alone" if statuses is not None else ""


def _retry(retry: Retry) -> str:
    if retry.per_target == 0:
        return "never"
    heeded = (
        f", Retry-After up to {retry.retry_after_cap:g} s"
        if retry.use_retry_after
        else ", Retry-After unheeded"
    )
    only = f", at {_listed(retry.on_status_codes)}" if retry.on_status_codes is not None else ""
    return f"{_counted(retry.per_target, 'time')} a target{only}, after {retry.base:g} to {retry.cap:g} s{heeded}"


def _breaker(breaker: Breaker) -> str:
    opens = []
    if breaker.consecutive is not None:
        opens.append(f"after {_counted(breaker.consecutive, 'failure')} in a row")
    if breaker.ratio is not None:
        opens.append(
            f"at {breaker.ratio:.0%} of {breaker.min_requests} calls or more within {breaker.window:g} s"
        )
    only = f", counting {_listed(breaker.on_status_codes)}" if breaker.on_status_codes is not None else ""
    return f"opens {' or '.join(opens) or 'never'}{only}, for {breaker.open:g} to {breaker.open_max:g} s"


def _deadline(deadline: Deadline) -> str:
    limits = (
        ("total", deadline.total, "none in total"),
        ("to a stream's first output", deadline.first_event, "none to a stream's first output"),
        ("of silence in a stream", deadline.idle, "none for a silent stream"),
    )
    return ", ".join(f"{value:g} s {name}" if value is not None else none for name, value, none in limits)


def _listed(statuses: object) -> str:
    found: Sequence[int] = sorted(statuses)  # type: ignore[call-overload]  # a set of statuses
    return ", ".join(map(str, found))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
