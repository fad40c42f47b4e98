"""
Generation tasks, video and 3D (ModelArk docs 1520757 and 1521309, 2026-11).

Asynchronous: a task is made in one call and asked after in others. Usage and errors come
with the finished task, and come again with each later look at it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._facts import Answer, WireError
from .embeddings import EmbeddingsReader
from .errors import error_in
from .reader import Asked
from .request import asked as _asked
from .usage import usage_of


class _Task(msgspec.Struct):
    id: Any = None
    model: Any = None
    status: Any = None
    usage: Any = None
    error: Any = None
    service_tier: Any = None


_task = msgspec.json.Decoder(_Task).decode


def asked(body: bytes, capture: bool) -> Asked:
    """What a task request asks for."""
    return _asked(body)


class TaskReader(EmbeddingsReader):
    """Reads one task."""

    __slots__ = ("_task",)

    def __init__(self, capture: bool = False) -> None:
        super().__init__()
        self._task = _Task()

    def document(self, body: bytes) -> None:
        try:
            self._task = _task(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        self._complete = True

    def answer(self) -> Answer:
        given = self._task
        return Answer(
            model=given.model if isinstance(given.model, str) else None,
            usage=usage_of(given.usage),
            error=self._error or self._task_error(),
            complete=self._complete,
            service_tier=given.service_tier if isinstance(given.service_tier, str) else None,
            task_id=given.id if isinstance(given.id, str) else None,
            status=given.status if isinstance(given.status, str) else None,
        )

    def _task_error(self) -> WireError | None:
        given = self._task
        return (error_in({"error": given.error}) or WireError()) if given.error else None


reader = TaskReader
