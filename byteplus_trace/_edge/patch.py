"""
`instrument()` and `uninstrument()`: every client of both libraries, existing and to come.

The patch point is `Client._transport_for_url` and its async twin: asked once for each
request, it covers clients built before, mounts, proxies and custom transports, and
keeps our span outermost whatever else patches the transports below. For URLs that are
not ModelArk's what it found is handed back as it is. It is private, so a test holds that
it exists in every supported version, and where it does not there is one ERROR that names
the explicit transport.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import wrapt

from .._forks import ForkSafeLock
from .._log import logger
from .._telemetry.guard import fault
from .hint import hint_at
from .instrumentation import Instrumentation
from .library import MODULES, library_named
from .transport import Transport

POINT = "_transport_for_url"
CLIENTS = (("Client", "transport"), ("AsyncClient", "async_transport"))

_lock = ForkSafeLock()
"""Held while clients are patched: a library may be imported by one thread while another instruments."""
_loaded: dict[str, ModuleType] = {}
_watching: set[str] = set()


def install() -> None:
    """Patch the libraries that are loaded, and each other one when it is imported."""
    for name in MODULES:
        if name in _watching:
            continue
        _watching.add(name)
        wrapt.register_post_import_hook(_imported, name)
    with _lock:
        for module in _loaded.values():
            _patch(module)


def remove() -> None:
    """Take the patches off, where they are still the outermost; elsewhere they stay and do nothing."""
    with _lock:
        for module in _loaded.values():
            for client, _ in CLIENTS:
                kind = getattr(module, client)
                point = kind.__dict__.get(POINT)
                if isinstance(point, _Point):
                    setattr(kind, POINT, point.__wrapped__)


def is_patched(name: str) -> bool:
    """Whether the clients of that library are patched now."""
    module = _loaded.get(name)
    return module is not None and all(
        isinstance(getattr(module, client).__dict__.get(POINT), _Point) for client, _ in CLIENTS
    )


class _Point(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # generic in its stubs only
    """Marks wrappers that are ours."""


def _imported(module: ModuleType) -> None:
    name = module.__name__  # httpx2 may stand in for httpx, by its own alias_httpx()
    with _lock:
        if name not in _loaded:
            _loaded[name] = module
            if Instrumentation._active is not None:
                _patch(module)


def _patch(module: ModuleType) -> None:
    name = module.__name__
    for client, colour in CLIENTS:
        kind = getattr(module, client, None)
        found = getattr(kind, POINT, None)
        if found is None:
            logger.error(
                "byteplus_trace cannot see the calls of %s %s: it has no %s.%s. Give the client a transport instead: %s.%s(transport=%s).",
                name,
                getattr(module, "__version__", ""),
                client,
                POINT,
                name,
                client,
                "byteplus_trace.ModelArkTransport()"
                if name == "httpx"
                else "byteplus_trace.httpx2.ModelArkTransport()",
            )
            return
        if not isinstance(kind.__dict__.get(POINT), _Point):
            setattr(kind, POINT, _Point(kind.__dict__[POINT], _wrapper(name, colour)))


def _wrapper(name: str, colour: str) -> Callable[..., Any]:
    ours: Any = None

    def transport_for_url(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        if client is None and args:
            # Called as it stands in the class, as another patcher may: the client is its first argument.
            client, *args = args
            wrapped = partial(wrapped, client)
        found = wrapped(*args, **kwargs)
        instrumentation = Instrumentation._active
        if instrumentation is None:
            return found
        try:  # not `guard`: every request of every client passes here
            nonlocal ours
            if ours is None:
                # Not when the library is patched: it may be our own module for it that imports it just then.
                ours = getattr(library_named(name), colour)
            url = args[0] if args else kwargs["url"]
            if not instrumentation.places.may_be(url.host):
                hint_at(url.host, url.path)
            elif not isinstance(found, Transport):
                return ours.around(found, instrumentation, wrapped)
        except Exception as error:
            fault("finding the transport", error)
        return found

    return transport_for_url
