"""
Generation tasks, video and 3D (ModelArk docs 1520757 and 1521309, 2026-11).

Asynchronous: one call makes a task, others read it. The finished task has usage or an error,
again each time it is read. If a task failed, reading it still went well.
"""

from __future__ import annotations

from .._facts import Answer
from .plain import PlainReader
from .usage import usage_of

ENDED = frozenset({"succeeded", "failed", "expired", "cancelled"})
"""The statuses after which a task does not change any more."""


class TaskReader(PlainReader):
    """Reads one task: its id is a task's, and it has a status."""

    __slots__ = ()

    def _is_answer(self, body: bytes) -> bool:
        return bool(self._known.id or self._known.status)

    def answer(self) -> Answer:
        known = self._known
        return Answer(
            model=known.model,
            usage=usage_of(known.usage),
            error=None if known.status in ENDED else self._error,
            complete=self._complete,
            service_tier=known.service_tier,
            task_id=known.id,
            status=known.status,
        )
