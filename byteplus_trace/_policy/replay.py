"""
The kinds of call, which `only` and `replay` name, and what of each may be sent again.

`replay` is asked when nobody knows whether the first copy ran. Generation is paid for: what
is cheap may run twice, an image may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from .._apis import BY_NAME, OBJECT_KINDS, Kind
from .._errors import SettingError, shown
from .._facts import Call
from . import checks

Replay = Literal["ambiguous", "unsent_only", "stateless_only"]
REPLAYS: tuple[Replay, ...] = get_args(Replay)

KINDS: tuple[Kind, ...] = get_args(Kind)

DEFAULT_REPLAY: Mapping[Kind, Replay] = {
    "chat": "ambiguous",
    "messages": "ambiguous",
    "embeddings": "ambiguous",
    "responses": "stateless_only",
    "images": "unsent_only",
    "video": "unsent_only",
    "other": "unsent_only",
}

EARLIER = ("previous_response_id", "context_id", "conversation")
"""Parameters that name an object, made by an earlier call and kept where that call was served."""


def kind_of(call: Call) -> Kind:
    """The key of `only` and `replay` that a call falls under."""
    if call.api == "other" and call.resource_id is not None:
        return next((kind for part, kind in OBJECT_KINDS.items() if part in call.path), "other")
    return BY_NAME[call.api].kind


def breaker_operation(call: Call) -> str:
    """
    The operation whose breaker a call counts at.

    `messages` has one of its own: Anthropic's form is another service, which fails alone.
    """
    return "messages" if call.api == "messages" else call.operation


def only_reads(call: Call) -> bool:
    """Whether a call asks for what is there, and has nothing made: a second one is no second charge (RFC 9110, 9.2.1)."""
    return call.method in {"GET", "HEAD"}


def may_run_twice(call: Call, replay: Mapping[str, Replay]) -> bool:
    """Whether a call may be sent again when nobody knows whether its first copy ran."""
    if only_reads(call):
        return True
    allowed = replay[kind_of(call)]
    if allowed == "stateless_only":
        return call.params.get("store") is False and not any(name in call.params for name in EARLIER)
    return allowed == "ambiguous"


def checked_only(called: str, only: object) -> frozenset[str] | None:
    """A target's `only` as its user wrote it."""
    if only is None:
        return None
    if isinstance(only, str) or not isinstance(only, Iterable):
        raise SettingError(
            f"{called}: only={shown(only)} must be a set of kinds, such as {{'chat', 'responses'}}."
        )
    kinds = tuple(only)
    if not kinds:
        raise SettingError(
            f"{called}: only is empty, so it would serve nothing. Leave it out to serve everything."
        )
    for kind in kinds:
        checks.choice(f"{called}: only", kind, KINDS)
    # Who names only `chat` means a chat in Anthropic's form too.
    return frozenset((*kinds, "messages")) if "chat" in kinds else frozenset(kinds)


def checked_replay(value: object) -> dict[str, Replay]:
    """A policy's `replay` as its user wrote it, what is not named as by default."""
    if not isinstance(value, Mapping):
        raise SettingError(f"replay={shown(value)} must map kinds of call to one of {', '.join(REPLAYS)}.")
    for kind, rule in value.items():
        checks.choice("replay", kind, KINDS)
        checks.choice(f"replay[{kind!r}]", rule, REPLAYS)
        if rule == "stateless_only" and kind != "responses":
            raise SettingError(
                f"replay[{kind!r}]='stateless_only' is for responses alone; write 'ambiguous' or 'unsent_only'."
            )
    # Where `chat` is named and `messages` is not, `chat` covers it.
    covered = {"messages": value["chat"]} if "chat" in value else {}
    return {**DEFAULT_REPLAY, **covered, **value}
