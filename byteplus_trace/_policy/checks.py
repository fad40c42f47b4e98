"""
Values as users write them, checked in their words: what was written, and what to write instead.

The first argument of each function is the name under which the user knows the value.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import SplitResult, urlsplit

import msgspec

from .._apis import APIS
from .._errors import SettingError, as_written, shown
from .._regions import DEFAULT_PORTS, PREFIXES, REGIONS, did_you_mean, is_loopback, region_of


def base_url(
    name: str, url: object, *, allow_http: bool, unless: str = ", or allow_http=True if that is meant"
) -> None:
    """A whole URL, over https unless it stays on this machine or is meant; `unless` says how to mean it."""
    parts = _parts(text(name, url))
    if parts is None:
        raise SettingError(
            f"{name} is not a base URL. Write it whole, such as 'https://ark.private.example/api/v3'."
        )
    if parts.query or parts.fragment or parts.username is not None:
        raise SettingError(f"{name} must not hold a query, a fragment or credentials.")
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname or ""):
        raise SettingError(
            f"{name} is plain http, which would show keys and prompts to the network. Write https{unless}."
        )
    path = parts.path.rstrip("/")
    end = next((each for each in _API_PATHS if path.endswith(each)), None)
    if end is not None:
        raise SettingError(f"{name} ends with one API's path. Write it without {end!r}.")
    public = region_of(parts.hostname or "")
    if not path and public is not None:
        raise SettingError(
            f"{name} has no path. Write 'https://{public.host}{PREFIXES['metered', 'openai']}'."
        )


# One segment alone may as well be the name of a gateway's route.
_API_PATHS = tuple(api.pattern for api in APIS if api.pattern.count("/") > 1 and "{" not in api.pattern)


def region_of_base_url(name: str, url: str, region: str) -> None:
    """A public address is in its own region, whatever is written beside it. One that we do not know yet may be in any."""
    public = public_region(url)
    if public not in {None, region}:
        raise SettingError(
            f"{name} is in {public!r}, region is {shown(region)}. Leave the URL out, or name its region."
        )


def public_region(url: str | None) -> str | None:
    """The known region whose public address this is."""
    found = region_of(urlsplit(url).hostname or "") if url is not None else None
    return found.id if found in REGIONS else None


def _parts(url: str) -> SplitResult | None:
    """A URL's parts; None where it is not one of HTTP's."""
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if is_one else None


def name(what: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{what}: the name must be a text, not {shown(value)}.")
    if "/" in value or value.startswith("@"):
        raise SettingError(
            f"{what} {shown(value)}: a name has no '/' and no leading '@', so that '@name/model' can be read."
        )


def api_key(called: str, value: object) -> str | None:
    """A key without what surrounds it, such as the last line's end of a file that holds it."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise SettingError(f"{called}: api_key must be a text, not {shown(value)}.")
    key = value.strip()
    if not key:
        raise SettingError(f"{called}: api_key is empty. Leave it out to use the caller's own key.")
    if key.lower().startswith("bearer "):
        raise SettingError(f"{called}: api_key begins with 'Bearer '. Write the key alone.")
    if key[0] == key[-1] and key[0] in "'\"":
        raise SettingError(f"{called}: api_key stands in quotes. Write the key alone.")
    if key.startswith("$"):
        raise SettingError(
            f"{called}: api_key begins with '$': only ${{NAME}} is filled in, in a file or a mapping. In Python, write os.environ['NAME']."
        )
    if not key.isascii() or not key.isprintable():
        raise SettingError(f"{called}: api_key holds a character that no header may carry. Copy it anew.")
    return key


def models(called: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise SettingError(
            f"{called}: models must map the caller's model to the one here, not {shown(value)}."
        )
    for model, mapped in value.items():
        text(f"{called}: a key of models", model)
        text(f"{called}: models[{shown(model)}]", mapped)
    return dict(value)


# Fields that decide how a call is read or routed, and where they are set instead.
_NOT_OVERRIDDEN = {
    "model": "models={'*': ...}",
    "stream": "the call itself: it decides how the caller reads the reply",
}


def override_params(called: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise SettingError(f"{called}: override_params must map body fields to values.")
    for field, instead in _NOT_OVERRIDDEN.items():
        if field in value:
            raise SettingError(f"{called}: override_params cannot hold {shown(field)}; set it by {instead}.")
    plain = {key: _plain(each) for key, each in value.items()}
    try:
        msgspec.json.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        why = f": {error}" if type(error) is TypeError else ""  # others may repeat a value
        raise SettingError(f"{called}: override_params cannot be written as JSON{why}.") from None
    return plain


def _plain(value: object) -> object:
    """As a body can be written with it: a text that was filled in is a text like any other there."""
    match value:
        case str():
            return str(value)
        case Mapping():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value


def statuses(name: str, value: object) -> frozenset[int] | None:
    if value is None:
        return None
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise SettingError(f"{name}={shown(value)} must be a list of HTTP statuses, such as [429, 503].")
    found = tuple(value)
    for status in found:
        if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
            raise SettingError(
                f"{name}: {shown(status)} is not an HTTP status. Write whole numbers, such as [429, 503]."
            )
    return frozenset(found)


# RFC 9110, 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A target has its own, and a cookie belongs to the host that set it.
_NEVER_FORWARDED = frozenset({"authorization", "x-api-key", "proxy-authorization", "cookie"})


def header_names(name: str, value: object) -> frozenset[str]:
    """Names of headers, in lower case."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise SettingError(f"{name}={shown(value)} must be a list of header names, such as ['x-tenant'].")
    found = tuple(value)
    for header in found:
        if not isinstance(header, str) or _TOKEN.fullmatch(header) is None:
            raise SettingError(f"{name}: {shown(header)} is not the name of a header.")
        if header.lower() in _NEVER_FORWARDED:
            raise SettingError(f"{name} cannot hold {header!r}: a credential goes to its own origin alone.")
    return frozenset(header.lower() for header in found)


def choice(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise SettingError(
            f"{name}: {shown(value)} is not known (known: {', '.join(map(as_written, known))}).{did_you_mean(value, known)}"
        )


def text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{name} must be a text, not {shown(value)}.")
    return value


def yes_or_no(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise SettingError(f"{name}={shown(value)} must be true or false.")


def instance(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise SettingError(
            f"{name}={shown(value)} must be a {kind.__name__}(...).{instead(name, value, '=', kind.__name__)}"
        )


# What a bare number for one of these most likely means, a usual one, and how to write that there is to be none.
_PARTS: Mapping[str, tuple[str, float, str]] = {
    "retry": ("per_target", 1, "per_target=0"),
    "breaker": ("consecutive", 5, "ratio=None, consecutive=None"),
    "deadline": ("total", 60, "first_event=None"),
}


def instead(name: str, value: object, sign: str, kind: str | None = None) -> str:
    """` Write deadline.total = 60.` where something else stands for a part of a policy; for anything else, nothing."""
    part = _PARTS.get(name.rpartition(".")[2].rpartition(" ")[2])
    if part is None:
        return ""
    if kind is not None and isinstance(value, Mapping):
        return f" Write {kind}(**{{...}}), or read all of it with Policy.load()."
    field, usual, none = part
    if value is None or value is False:
        # TOML and JSON cannot say each of these.
        return f"{f' Write {kind}({none}) for none, or leave' if kind is not None else ' Leave'} it out for the default."
    written = f"{field}{sign}{value if is_number(value) else usual:g}"
    return f" Write {kind}({written})." if kind is not None else f" Write {name}.{written}."


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float can hold."""
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    )


def number(
    name: str, value: object, *, least: float = -math.inf, most: float = math.inf, because: str | None = None
) -> None:
    if not is_number(value):
        raise SettingError(f"{name}={shown(value)} must be a number.")
    if not least <= value <= most:
        bound = because or (f"{least:g} or more" if value < least else f"{most:g} or less")
        raise SettingError(f"{name}={shown(value)} must be {bound}.")


def positive(name: str, value: object) -> None:
    number(name, value)
    if value <= 0:  # type: ignore[operator]  # a number: checked in the line above
        raise SettingError(f"{name}={shown(value)} must be more than 0.")


def whole(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingError(f"{name}={shown(value)} must be a whole number of {least} or more.")
