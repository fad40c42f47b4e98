"""
Where ModelArk is.

No reply names its region, so the host alone decides (ModelArk docs
1544106, Regions and endpoints, 2026-11). Adding a region is one row.

On a public host the path begins with a prefix, which names the billing plan and the form
of the API. Adding a plan is one row for each form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal, NamedTuple, get_args
from urllib.parse import quote, urlsplit

from ._errors import SettingError, shown

MODELARK = "byteplus.modelark"
ARK = "volcengine.ark"


BillingPlan = Literal["metered", "coding", "agent"]
BILLING_PLANS: tuple[BillingPlan, ...] = get_args(BillingPlan)

Form = Literal["openai", "anthropic"]
"""Whose API the paths and bodies are like."""

# ModelArk documents no prefix of the agent plan in Anthropic's form (2026-11).
PREFIXES: Mapping[tuple[BillingPlan, Form], str] = {
    ("metered", "openai"): "/api/v3",
    ("coding", "openai"): "/api/coding/v3",
    ("agent", "openai"): "/api/plan/v3",
    ("metered", "anthropic"): "/api/compatible",
    ("coding", "anthropic"): "/api/coding",
}


class Prefix(NamedTuple):
    """The beginning of a path on a public host, and what it means."""

    path: str
    plan: BillingPlan
    form: Form


# The longest first: `/api/coding/v3` begins with `/api/coding`.
_PREFIXES = sorted(
    (Prefix(path, plan, form) for (plan, form), path in PREFIXES.items()), key=lambda each: -len(each.path)
)


def prefix_of(path: str) -> Prefix | None:
    """The prefix that a path on a public host begins with; None where it is not known."""
    return next((each for each in _PREFIXES if f"{path}/".startswith(f"{each.path}/")), None)


def prefix_at_end(path: str) -> Prefix | None:
    """The prefix that a base URL's path ends with; None where it is not known."""
    return next((each for each in _PREFIXES if path.endswith(each.path)), None)


@dataclass(frozen=True, slots=True)
class Region:
    id: str
    host: str
    provider: str

    @property
    def base_url(self) -> str:
        """
        Where its API is; under `byteplus-trace simulate -- ...` the fake service.

        Raises:
            SettingError: other regions are simulated, and this one is not.
        """
        simulated = simulated_regions()
        if not simulated:
            return f"https://{self.host}{PREFIXES['metered', 'openai']}"
        try:
            return simulated[self.id]
        except KeyError:
            raise SettingError(
                f"Region {self.id!r} is not simulated (simulated: {', '.join(simulated)}). Add --region {self.id} to the command."
            ) from None


REGIONS = (
    Region("ap-southeast-1", "ark.ap-southeast.bytepluses.com", MODELARK),
    Region("eu-west-1", "ark.eu-west.bytepluses.com", MODELARK),
    Region("cn-beijing", "ark.cn-beijing.volces.com", ARK),
)

DEFAULT_REGION = "ap-southeast-1"
SIMULATED_VARIABLE = "BYTEPLUS_TRACE_SIMULATED_REGIONS"
"""Set by `byteplus-trace simulate -- ...` for the program that it runs: `REGION=BASE_URL`, comma-separated."""
DEFAULT_PORTS = {"http": 80, "https": 443}
REGION_HEADER = "x-portkey-byteplus-region"
"""Portkey's header, by which a request asks for a region."""

# What may stand in a path as it is; `%` is an escape already.
_SAFE = "/%:@!$&'()*+,;="
_PORT = re.compile(r"(?<=.):([0-9]{1,9})\Z")
_SHAPE = re.compile(r"[a-z]{2}(-[a-z]{2,12}){1,2}(-\d)?")
# What people call a region, for the sentence that names its id.
_NICKNAMES = {
    "ap-southeast-1": ("ap", "ap-southeast", "apac", "asia", "johor", "sea", "sg", "singapore"),
    "eu-west-1": ("eu", "eu-west", "europe"),
    "cn-beijing": ("beijing", "china", "cn"),
}  # fmt: skip
_BY_NICKNAME = {nickname: region for region, nicknames in _NICKNAMES.items() for nickname in nicknames}
_BY_ID = {region.id: region for region in REGIONS}
_BY_HOST = {region.host: region for region in REGIONS}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's loopback, by its name or its address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_url(url: str) -> bool:
    """Whether a URL leads to this machine's loopback; one that cannot be read does not."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def region_named(name: str) -> Region:
    """The region of that id; a `SettingError` that lists the known ones otherwise."""
    if not isinstance(name, str):
        raise SettingError(f"A region is a text, such as {DEFAULT_REGION!r}, not {shown(name)}.")
    try:
        return _BY_ID[name]
    except KeyError:
        spelled = name.strip().lower().replace("_", "-").replace(" ", "-")
        meant = _BY_NICKNAME.get(spelled, spelled)
        # 'us-east-1' and 'us-west-1' look much like regions that are far from there.
        near = [region for region in _BY_ID if region[0] == meant[:1]]
        hint = " Write the region's name, not its URL." if "://" in name else did_you_mean(meant, near, 0.8)
        raise SettingError(f"Region {shown(name)} is not known (known: {', '.join(_BY_ID)}).{hint}") from None


@lru_cache(maxsize=1)
def simulated_regions() -> Mapping[str, str]:
    """
    The base URLs of a fake service that stand in for the regions of this process; empty outside a simulation.

    Raises:
        SettingError: the variable is not understood, or leads away from this machine.
    """
    text = os.environ.get(SIMULATED_VARIABLE, "").strip()
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    simulated = {region: url for region, _, url in pairs}
    for region, url in simulated.items():
        if not is_loopback_url(url):
            raise SettingError(
                f"{SIMULATED_VARIABLE}: {shown(region)} must have a base URL on this machine. The variable is for "
                "`byteplus-trace simulate -- ...` to set: unset it."
            )
    return simulated


def may_be_region(name: str) -> bool:
    """Whether this is the name of a region, or looks like one that was opened after this release."""
    return name in _BY_ID or _SHAPE.fullmatch(name) is not None


def region_of(host: str) -> Region | None:
    """
    The region whose public host this is.

    A region opened after this release is read off its host: `ark.<r>.bytepluses.com`
    is `<r>-1`, `ark.<r>.volces.com` is `<r>`.
    """
    known = _BY_HOST.get(host)
    if known is not None or not host.startswith("ark."):
        return known
    for suffix, tail, provider in ((".bytepluses.com", "-1", MODELARK), (".volces.com", "", ARK)):
        name = host.removeprefix("ark.").removesuffix(suffix)
        if host == f"ark.{name}{suffix}" and name and "." not in name:
            return Region(name + tail, host, provider)
    return None


@lru_cache(maxsize=1024)
def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """
    The origin of a URL, in the sense of the web: scheme, host and port, in the one form in which they compare.

    A port above 65535 is kept: a caller may write it, and what becomes of it is the HTTP library's to say.
    """
    parts = urlsplit(url)
    host = spellings_of(parts.hostname)[0] if parts.hostname is not None else None
    written = _PORT.search(parts.netloc)
    port = int(written[1]) if written is not None else None
    return parts.scheme, host, port or DEFAULT_PORTS.get(parts.scheme)


def spellings_of(host: str) -> tuple[str, str]:
    """A host in Unicode, the form in which hosts compare, and in ASCII (RFC 3492). httpx uses either of them."""
    labels = [_in_letters(label) for label in host.split(".")]
    in_ascii = [
        label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}" for label in labels
    ]
    return ".".join(labels), ".".join(in_ascii)


def _in_letters(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        letters = label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    # `xn--a-` is not another spelling of `a`. It is no valid name, and a key for `a` must not be sent there.
    return label if letters.isascii() else letters


@lru_cache(maxsize=1024)
def address_of(url: str) -> str:
    """Normalise a URL for comparison: lower case before the path, Unicode host, no default port, escaped path, no trailing slash."""
    scheme, host, port = origin_of(url)
    named = f"[{host}]" if host is not None and ":" in host else host
    at = named if port == DEFAULT_PORTS.get(scheme) else f"{named}:{port}"
    return f"{scheme}://{at}{quote(urlsplit(url).path.rstrip('/'), safe=_SAFE)}"


def base_url(region: str) -> str:
    """
    The base URL of a region, for any SDK's `base_url=`.

    Raises:
        SettingError: the region is not known; the message lists those that are.
    """
    return region_named(region).base_url


def did_you_mean(name: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` Did you mean 'x'?` where something close is known, whatever the case, else nothing."""
    if not isinstance(name, str):
        return ""
    by_lower = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), by_lower, 1, cutoff)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""
