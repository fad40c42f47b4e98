"""
What a request is: ModelArk's or not, and if so which call.

Pure: strings in, a `Call` out. A place is ModelArk's when its host is a public one, when
`base_urls` or a policy's target names it, or when it is Portkey's gateway and the
request names BytePlus as the provider behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ._apis import Api
from ._facts import Call
from ._regions import (
    ARK,
    DEFAULT_PORTS,
    DEFAULT_REGION,
    MODELARK,
    REGION_HEADER,
    address_of,
    may_be_region,
    origin_of,
    region_of,
    spellings_of,
)
from ._wire.families import Family, family_of
from ._wire.lenient_json import json_in
from ._wire.reader import Asked
from ._wire.routes import match

PORTKEY_HOST = "api.portkey.ai"
PORTKEY_PREFIX = "x-portkey-"
LONGEST_METADATA = 128
LONGEST_NUMBER = 15
"""In digits, in a header: a span carries no more than 18, and `int` raises at 4,300."""

WANTED_HEADERS = frozenset({"x-stainless-retry-count", "x-client-request-id"})
"""The headers that are looked at here, beside Portkey's."""
_METADATA_HEADERS = ("x-portkey-metadata", "x-portkey-trace-id")

_NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Place:
    """A base URL that is ModelArk, and the region it stands for."""

    scheme: str
    host: str
    port: int
    prefix: str
    region: str
    provider: str = MODELARK

    @classmethod
    def at(cls, base_url: str, region: str) -> Place:
        """The place of a base URL that was checked."""
        scheme, host, port = origin_of(base_url)
        return cls(
            scheme=scheme,
            host=host or "",
            port=port or DEFAULT_PORTS[scheme],
            prefix=urlsplit(address_of(base_url)).path + "/",
            region=region,
            provider=ARK if region.startswith("cn-") else MODELARK,
        )


class Addressed(NamedTuple):
    """What follows from a method and a URL alone. The same for every call of one API at one place."""

    api: Api
    family: Family | None
    path: str
    resource_id: str | None
    url: str
    port: int
    region: str
    provider: str


class Places:
    """Every place that is ModelArk's."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._by_host: dict[str, list[Place]] = {}
        for place in places:
            for host in set(spellings_of(place.host)):
                self._by_host.setdefault(host, []).append(place)
        self.may_be = lru_cache(maxsize=1024)(self._may_be)
        """As `_may_be`, remembered: it is asked for every request of every client."""
        self.addressed = lru_cache(maxsize=1024)(self._addressed)
        """As `_addressed`, remembered, which saves 0.5% of a call of the SDK's: an application has few URLs, some of them with ids in."""

    def _may_be(self, host: str) -> bool:
        """Whether a request to this host deserves a closer look."""
        return host in self._by_host or host == PORTKEY_HOST or region_of(host) is not None

    def place_of(self, scheme: str, host: str, port: int, path: str) -> Place | None:
        """The place that this URL is in, the most exact prefix first."""
        inside = [
            place
            for place in self._by_host.get(host, ())
            if place.port == port and place.scheme == scheme and path.startswith(place.prefix)
        ]
        if inside:
            return max(inside, key=lambda place: len(place.prefix))
        region = region_of(host)
        return Place(scheme, host, port, "", region.id, region.provider) if region is not None else None

    def _addressed(
        self, method: str, scheme: str, host: str, port: int | None, path: str
    ) -> Addressed | None:
        """What is addressed; None where it is not ModelArk's."""
        standard = DEFAULT_PORTS.get(scheme, 0)
        port = port or standard
        if host == PORTKEY_HOST:
            place: Place | None = Place(scheme, host, port, "", DEFAULT_REGION)
        else:
            place = self.place_of(scheme, host, port, path)
        if place is None:
            return None
        api, suffix, resource_id = match(method, path, place.prefix)
        named = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{named}{path}" if port == standard else f"{scheme}://{named}:{port}{path}"
        return Addressed(api, family_of(api), suffix, resource_id, url, port, place.region, place.provider)


class Recognised(msgspec.Struct):
    """A call, how its API is read, and whether a gateway stands in front."""

    call: Call
    family: Family | None
    behind_gateway: bool
    cut_metadata: int
    """How many metadata values were too long."""


def recognise(
    places: Places,
    *,
    method: str,
    scheme: str,
    host: str,
    port: int | None,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    capture: bool,
    metadata: Mapping[str, str],
) -> Recognised | None:
    """
    The call that a request makes; None where it is not ModelArk's.

    `headers` have lower-case names; those of `WANTED_HEADERS` and Portkey's are enough.
    `body` is None where it cannot be read without taking it from the caller.
    """
    addressed = places.addressed(method, scheme, host, port, path)
    if addressed is None:
        return None
    api, family, region = addressed.api, addressed.family, addressed.region
    asked = family.asked(body, capture) if body and family is not None else _NOTHING_ASKED
    behind_gateway = host == PORTKEY_HOST
    if behind_gateway:
        if not _is_byteplus(headers.get("x-portkey-provider", ""), asked.model):
            return None
        region = headers.get(REGION_HEADER, region)
        if not may_be_region(region):
            region = "unknown"
    # Nearly no call has any.
    has_metadata = metadata or not headers.keys().isdisjoint(_METADATA_HEADERS)
    values, cut = _metadata(metadata, headers) if has_metadata else ({}, 0)
    retries = headers.get("x-stainless-retry-count", "0")
    call = Call(
        # By position, for a call with more than 15 keywords makes a dict of them first.
        api.operation,
        api.name,
        method,
        addressed.url,
        host,
        addressed.port,
        addressed.path,
        region,
        addressed.provider,
        model=asked.model,
        stream=asked.stream,
        # Stop sequences are content: they quote what a conversation holds.
        params=asked.params if capture or "stop" not in asked.params else _without_stop(asked.params),
        metadata=values,
        resource_id=addressed.resource_id,
        client_request_id=headers.get("x-client-request-id"),
        sdk_retry=int(retries) if retries.isdecimal() and len(retries) <= LONGEST_NUMBER else 0,
        content=asked.content,
    )
    return Recognised(call, family, behind_gateway, cut)


def _is_byteplus(provider: str, model: str | None) -> bool:
    named = provider.removeprefix("@")
    if named == "byteplus" or (provider.startswith("@byteplus-")):
        return True
    return model is not None and model.startswith("@byteplus")


def _metadata(scope: Mapping[str, str], headers: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
    """The scope's key/values, the request's own on top, each at most 128 characters."""
    sent, trace_id = map(headers.get, _METADATA_HEADERS)
    values = dict(scope)
    if sent is not None:
        values.update(_portkey_metadata(sent))
    if trace_id is not None:
        values["trace_id"] = trace_id
    cut = sum(len(value) > LONGEST_METADATA for value in values.values())
    return {key: value[:LONGEST_METADATA] for key, value in values.items()}, cut


def _portkey_metadata(header: str) -> dict[str, str]:
    values = json_in(header.encode())
    if not isinstance(values, dict):
        return {}
    # Portkey's own keys begin with an underscore: `_user` is its user.
    return {str(key).removeprefix("_"): str(value) for key, value in values.items() if value is not None}


def _without_stop(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "stop"}
