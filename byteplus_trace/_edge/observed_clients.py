"""`instrument()` for the clients that are only observed: each is patched where it is imported, and when."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import wrapt

from .._forks import ForkSafeLock
from .instrumentation import Instrumentation

# The module that is patched, its class and method, our module and its wrapper.
POINTS = {
    "aiohttp": ("ClientSession", "_request", "aiohttp_client", "request"),
    "requests": ("adapters.HTTPAdapter", "send", "requests_adapter", "send"),
}

_lock = ForkSafeLock()
"""Held while classes are patched: a library may be imported by one thread while another instruments."""
_loaded: dict[str, ModuleType] = {}
_watched: set[str] = set()


class _Point(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # generic in its stubs only
    """Our wrapper, told from others'."""


def install() -> None:
    """Patch the libraries that are loaded, and each other one when it comes."""
    for name in POINTS.keys() - _watched:
        _watched.add(name)
        wrapt.register_post_import_hook(_came, name)
    with _lock:
        for name in _loaded:
            _patch(name)


def remove() -> None:
    """Take the patches off, where they are still the outermost; elsewhere they stay and pass calls through."""
    with _lock:
        for name in _loaded:
            kind, method = _point(name)
            found = kind.__dict__.get(method)
            if isinstance(found, _Point):
                setattr(kind, method, found.__wrapped__)


def _came(module: ModuleType) -> None:
    _loaded[module.__name__] = module
    if Instrumentation._active is not None:
        with _lock:
            _patch(module.__name__)


def _patch(name: str) -> None:
    kind, method = _point(name)
    _, _, ours, wrapper = POINTS[name]
    found = kind.__dict__.get(method)
    if found is not None and not isinstance(found, _Point):
        setattr(kind, method, _Point(found, getattr(import_module(f".{ours}", __package__), wrapper)))


def _point(name: str) -> tuple[Any, str]:
    kind: Any = _loaded[name]
    path, method, *_ = POINTS[name]
    for part in path.split("."):
        kind = getattr(kind, part)
    return kind, method
