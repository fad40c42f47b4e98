"""
Who may ask a server on the loopback: programs of this machine, and pages of that server itself.

A browser on this machine reaches the loopback too, for any page that it shows. A page that
had its own name point here (DNS rebinding) is seen by its `Host`, another page by its `Origin`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from .._regions import is_loopback


def why_not(host: str | None, origin: str | None) -> str | None:
    """Why a request is refused, by its headers; None where it may pass."""
    name = _name(host or "")
    if name is None or not is_loopback(name):
        return "Ask for localhost or 127.0.0.1: this server is for this machine alone."
    if origin is not None and origin.lower() not in {f"http://{host}".lower(), f"https://{host}".lower()}:
        return "A page of another origin may not ask this server."
    return None


def _name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    return name if port != 0 and parts.netloc == host and "@" not in host else None


@web.middleware
async def loopback_alone(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what comes from elsewhere, before anything of it is read."""
    hosts = request.headers.getall("Host", [])
    origins = request.headers.getall("Origin", [])
    reason = why_not(hosts[0] if len(hosts) == 1 else None, origins[0] if len(origins) == 1 else None)
    if reason is None and len(origins) > 1:
        reason = "A request has one Origin at most."
    if reason is not None:
        return web.Response(status=403, text=reason + "\n")
    return await handler(request)
