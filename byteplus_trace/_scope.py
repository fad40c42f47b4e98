"""Key/values that belong to every call made in this context."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from contextvars import ContextVar
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar


class _Entered(NamedTuple):
    """A block that this context is in; the outermost is no block."""

    values: Mapping[str, str]
    block: metadata | None = None
    outer: _Entered | None = None


_NOWHERE = _Entered(MappingProxyType({}))
_scope: ContextVar[_Entered] = ContextVar("byteplus_trace_metadata", default=_NOWHERE)

F = TypeVar("F", bound=Callable[..., Any])


def current_metadata() -> Mapping[str, str]:
    """What the enclosing `metadata(...)` blocks say, inner ones winning."""
    return _scope.get().values


class metadata:  # noqa: N801 - it reads as a function at every place of use
    """
    Put key/values on every ModelArk call made inside.

    A context manager and a decorator, of plain, async and generator functions and of
    objects that are called like one (it is around each step of a generator, not around
    what happens between them, and around a coroutine that is returned); nests, inner
    values winning; follows the context, so tasks do not see each other's. `user=` also
    sets `user.id`, `session=` the conversation id. Values are written as strings of at
    most 128 characters; longer ones are cut.

        with byteplus_trace.metadata(user="u-7", team="search"):
            client.chat.completions.create(...)

    A mapping does the same: `metadata({"team": "search"})`.
    """

    def __init__(self, mapping: Mapping[str, object] | None = None, /, **values: object) -> None:
        if mapping is not None and not isinstance(mapping, Mapping):
            raise TypeError(
                f"metadata takes key/values, such as metadata(team='search'), not a {type(mapping).__name__}."
            )
        values = {**(mapping or {}), **values}
        self._values = {str(key): str(value) for key, value in values.items() if value is not None}

    # What was entered is known by the context alone: one block may be in use in many tasks, and left in
    # another context than it was entered in, where a token could not be given back.

    def __enter__(self) -> None:
        outer = _scope.get()
        _scope.set(_Entered({**outer.values, **self._values}, self, outer))

    def __exit__(self, *exc: object) -> None:
        entered = _scope.get()
        if entered.block is self and entered.outer is not None:
            _scope.set(entered.outer)

    def __call__(self, function: F) -> F:
        if not callable(function):
            raise TypeError(f"metadata(...) decorates functions, not {function!r}.")
        called = type(function).__call__  # of an object that can be called, what that does
        for is_such, around in _DECORATIONS:
            if is_such(function) or is_such(called):
                return around(self, function)  # type: ignore[return-value]  # of the same kind and signature
        return _around_function(self, function)  # type: ignore[return-value]  # as above


def _around_async_generator(block: metadata, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        generator = function(*args, **kwargs)
        step = generator.__anext__
        while True:
            try:
                with block:
                    item = await step()
            except StopAsyncIteration:
                return
            try:
                step = partial(generator.asend, (yield item))
            except GeneratorExit:
                with block:
                    await generator.aclose()
                raise
            except BaseException as error:
                step = partial(generator.athrow, error)

    return inner


def _around_coroutine(block: metadata, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        with block:
            return await function(*args, **kwargs)

    return inner


def _around_generator(block: metadata, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        step = partial(next, generator)
        while True:
            try:
                with block:
                    item = step()
            except StopIteration as stop:
                return stop.value
            try:
                step = partial(generator.send, (yield item))
            except GeneratorExit:
                with block:
                    generator.close()
                raise
            except BaseException as error:
                step = partial(generator.throw, error)

    return inner


def _around_function(block: metadata, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        with block:
            returned = function(*args, **kwargs)
        return _within(block, returned) if inspect.iscoroutine(returned) else returned

    return inner


async def _within(block: metadata, coroutine: Coroutine[Any, Any, Any]) -> Any:
    with block:
        return await coroutine


_DECORATIONS = (
    (inspect.isasyncgenfunction, _around_async_generator),
    (inspect.iscoroutinefunction, _around_coroutine),
    (inspect.isgeneratorfunction, _around_generator),
)
