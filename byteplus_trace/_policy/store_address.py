"""Where the health store is, as a user writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from .._errors import SettingError, shown, shown_url
from .._regions import did_you_mean, is_loopback

EXTRA: Final = "redis"
SCHEMES: Final = ("redis", "rediss", "unix")
OPTIONS: Final = (
    "namespace",
    "db",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
_EXAMPLE: Final = "Write it as 'redis://host:6379/0', or 'rediss://user:password@host:6379/0' for TLS, a password with its special characters escaped (%23 is #)."


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """One store: a server and a namespace in it."""

    url: str = field(repr=False)
    """For the client: without the namespace, and perhaps with a password."""
    namespace: str
    name: str
    """For people: without credentials and options."""

    @classmethod
    def of(cls, written: object) -> StoreAddress:
        """
        Read a `health_store`.

        Raises:
            SettingError: it names no store that can be used; the message holds no password.
        """
        if not isinstance(written, str) or not written.strip():
            raise SettingError(f"health_store={shown(written)} must be a URL. {_EXAMPLE}")
        called = f"health_store {shown_url(written.strip())!r}"
        if "," in written.partition("?")[0].rpartition("@")[2]:
            raise SettingError(f"{called} names several hosts. {_NO_CLUSTER}")
        try:
            parts = urlsplit(written.strip())
            port = parts.port
        except ValueError:
            raise SettingError(f"{called} is not a URL. {_EXAMPLE}") from None
        wrong = _wrong_in(parts, port)
        if wrong is not None:
            raise SettingError(f"{called}{wrong}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        for option in options:
            if option not in OPTIONS:
                raise SettingError(
                    f"{called}: {shown(option)} is not an option (known: {', '.join(OPTIONS)}).{did_you_mean(option, OPTIONS)}"
                )
        if not re.fullmatch(r"\d*", options.get("db", "")):
            raise SettingError(f"{called}: db must be the number of a database.")
        namespace = options.pop("namespace", "default")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", namespace):
            raise SettingError(
                f"{called}: a namespace has 1 to 64 letters, digits, '_', '.' or '-', such as ?namespace=prod."
            )
        if find_spec(EXTRA) is None:
            raise SettingError(
                f"health_store needs the extra {EXTRA!r}: pip install 'byteplus-trace[{EXTRA}]', or leave health_store out."
            )
        where = (
            unquote(parts.path) if parts.scheme == "unix" else parts.netloc.rpartition("@")[2] + parts.path
        )
        url = written.strip().partition("?")[0] + (f"?{urlencode(options)}" if options else "")
        return cls(url, namespace, f"{where} {namespace}")

    @property
    def warnings(self) -> list[str]:
        """What is allowed, and may surprise."""
        parts = urlsplit(self.url)
        if parts.scheme == "redis" and parts.password and not is_loopback(parts.hostname or ""):
            return [
                "The health store's password travels in the clear: write rediss:// where the server has TLS."
            ]
        return []


def _wrong_in(parts: SplitResult, port: int | None) -> str | None:
    """What cannot be followed in the URL, with what to write instead."""
    if parts.scheme not in SCHEMES:
        return f": {_other_scheme(parts.scheme)}"
    if parts.scheme == "unix":
        return (
            None if parts.path.strip("/") else " names no socket. Write it as 'unix:///run/redis.sock?db=0'."
        )
    if not parts.hostname:
        return f" names no host. {_EXAMPLE}"
    if parts.fragment or port == 0 or not re.fullmatch(r"/?|/\d+", parts.path):
        return f": what follows the host is a port and the number of a database. {_EXAMPLE}"
    return None


_NO_CLUSTER: Final = (
    "Redis Cluster and Sentinel are not supported: name one server, which may be a proxy in front of them."
)


def _other_scheme(scheme: str) -> str:
    if scheme in {"valkey", "valkeys"}:
        return "write redis:// or rediss://, which Valkey speaks too."
    if "sentinel" in scheme or "cluster" in scheme:
        return _NO_CLUSTER
    return f"its scheme must be one of {', '.join(SCHEMES)}. {_EXAMPLE}"
