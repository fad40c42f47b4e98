"""Key/values that belong to every call made in this context."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar

_scope: ContextVar[Mapping[str, str]] = ContextVar("byteplus_trace_metadata", default=MappingProxyType({}))

F = TypeVar("F", bound=Callable[..., Any])


def current_metadata() -> Mapping[str, str]:
    """What the enclosing `metadata(...)` blocks say, inner ones winning."""
    return _scope.get()


class metadata:  # noqa: N801 - it reads as a function at every place of use
    """
    Put key/values on every ModelArk call made inside.

    A context manager and a decorator, of plain, async and generator functions;
    nests, inner values winning; follows the context, so tasks do not see each
    other's. `user=` also sets `user.id`, `session=` the conversation id. Values are
    written as strings of at most 128 characters; longer ones are cut.

        with byteplus_trace.metadata(user="u-7", team="search"):
            client.chat.completions.create(...)
    """

    def __init__(self, **values: object) -> None:
        self._values = {key: str(value) for key, value in values.items() if value is not None}
        self._tokens: list[Token[Mapping[str, str]]] = []

    def __enter__(self) -> None:
        self._tokens.append(_scope.set({**_scope.get(), **self._values}))

    def __exit__(self, *exc: object) -> None:
        _scope.reset(self._tokens.pop())

    def __call__(self, function: F) -> F:
        # A fresh block for each call: one object shared by tasks would mix their tokens.
        values = self._values
        if inspect.isasyncgenfunction(function):

            @wraps(function)
            async def inner(*args: Any, **kwargs: Any) -> Any:
                with metadata(**values):
                    async for item in function(*args, **kwargs):
                        yield item

        elif inspect.iscoroutinefunction(function):

            @wraps(function)
            async def inner(*args: Any, **kwargs: Any) -> Any:
                with metadata(**values):
                    return await function(*args, **kwargs)

        elif inspect.isgeneratorfunction(function):

            @wraps(function)
            def inner(*args: Any, **kwargs: Any) -> Any:
                with metadata(**values):
                    return (yield from function(*args, **kwargs))

        else:

            @wraps(function)
            def inner(*args: Any, **kwargs: Any) -> Any:
                with metadata(**values):
                    return function(*args, **kwargs)

        return inner  # type: ignore[return-value]
