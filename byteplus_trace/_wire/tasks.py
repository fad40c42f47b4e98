"""
Generation tasks, video and 3D (ModelArk docs 1520757 and 1521309, 2026-11).

Asynchronous: a task is made in one call and asked after in others. Usage and errors come
with the finished task, and come again with each later look at it.
"""

from __future__ import annotations

from .._facts import Answer, WireError
from .plain import PlainReader
from .usage import usage_of


class TaskReader(PlainReader):
    """Reads one task: its id is a task's, and it has a status."""

    __slots__ = ()

    def answer(self) -> Answer:
        known = self._known
        return Answer(
            model=known.model,
            usage=usage_of(known.usage),
            error=self._error or (WireError() if known.status == "failed" else None),
            complete=self._complete,
            service_tier=known.service_tier,
            task_id=known.id,
            status=known.status,
        )
