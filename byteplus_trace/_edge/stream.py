"""
Observed streams: the caller's bytes, untouched, with a copy to the observer.

Laws:
- Nothing is read that the caller did not ask for, and nothing is changed.
- What is known of the stream lives on the observer, not in an iterator: openai's async
  client iterates a second time after `[DONE]`, and both passes must be harmless.
- Close, and being forgotten, may happen inside the garbage collector: they only queue.
- GeneratorExit is let through: whoever stops a generator closes the stream next, or
  forgets it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from .._call_end import End
from .._telemetry.guard import guard
from .library import failure_of

if TYPE_CHECKING:
    from .._observer import Observer


class Filter(Protocol):
    """Takes something out of a body that we ourselves had put in."""

    def feed(self, part: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class _Observed:
    """What both colours share."""

    def __init__(
        self,
        inner: Any,
        observer: Observer,
        held: Sequence[bytes] = (),
        rest: Any = None,
        whole: bool = False,
        usage_filter: Filter | None = None,
    ) -> None:
        self._inner = inner
        self._observer = observer
        self._held = held
        self._rest = rest
        self._reading = rest
        """What `aclose` closes: an async generator does not close what it iterates over."""
        self._whole = whole
        self._usage_filter = usage_filter

    def _take_held(self) -> Sequence[bytes]:
        held, self._held = self._held, ()
        if self._usage_filter is not None:
            return [self._usage_filter.feed(part) for part in held]
        return held

    def _broke(self, error: BaseException) -> None:
        with guard("finishing"):
            kind = failure_of(error)[0]
            idle = kind == "timeout" and self._observer.idle_seconds is not None
            self._observer.finish(End("raised", error, "idle" if idle else kind))

    def __del__(self) -> None:
        self._observer.finish_soon("forgotten")


class ObservedStream(_Observed):
    """A sync body, observed."""

    def __iter__(self) -> Iterator[bytes]:
        try:
            if self._held:
                yield from self._take_held()
            if not self._whole:
                reads, usage_filter = self._observer.reads, self._usage_filter
                for part in self._inner if self._rest is None else self._rest:
                    if reads(part):
                        self._observer.finish(End("complete"))
                    yield part if usage_filter is None else usage_filter.feed(part)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._broke(error)
            raise
        self._observer.exhausted()
        if self._usage_filter is not None and (last := self._usage_filter.flush()):
            yield last

    def close(self) -> None:
        try:
            if isinstance(self._rest, Generator):
                with suppress(ValueError):  # another thread is reading it
                    self._rest.close()
        finally:
            try:
                self._inner.close()
            finally:
                self._observer.finish_soon("closed")


class AsyncObservedStream(_Observed):
    """An async body, observed."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for part in self._take_held():
                yield part
            if not self._whole:
                reads, usage_filter = self._observer.reads, self._usage_filter
                reading = self._reading = aiter(self._inner) if self._rest is None else self._rest
                async for part in reading:
                    if reads(part):
                        self._observer.finish(End("complete"))
                    yield part if usage_filter is None else usage_filter.feed(part)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._broke(error)
            raise
        self._observer.exhausted()
        if self._usage_filter is not None and (last := self._usage_filter.flush()):
            yield last

    async def aclose(self) -> None:
        try:
            if isinstance(self._reading, AsyncGenerator):
                with suppress(RuntimeError):  # another task is reading it
                    await self._reading.aclose()
        finally:  # it may await something, and be cancelled there
            try:
                await self._inner.aclose()
            finally:
                self._observer.finish_soon("closed")
