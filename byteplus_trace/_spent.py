"""
What a call has spent: an estimate of its cost, and whether its tokens were spent only now.
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from decimal import Decimal
from functools import lru_cache

from . import _prices
from ._facts import Answer, Call
from ._telemetry.guard import fault

NANOSECONDS_A_DAY = 24 * 60 * 60 * 10**9


def cost(call: Call, answer: Answer, started_ns: int) -> Decimal | None:
    """The estimated cost in US dollars; None where no price is known, and of a response that is only fetched."""
    if call.operation == "fetch_response" or (answer.usage is None and answer.images is None):
        return None
    try:
        return _prices.estimate(
            answer.model or call.model,
            answer.usage,
            answer.images,
            _day(started_ns // NANOSECONDS_A_DAY),
            service_tier=answer.service_tier,
            batch=call.api.startswith("batch_"),
        )
    except Exception as error:
        fault("estimating the cost", error)
        return None


@lru_cache(maxsize=2)
def _day(number: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=number)


# A poller sees the usage of a finished task again and again; it was spent once.
_told_tasks: OrderedDict[str, None] = OrderedDict()
_REMEMBERED_TASKS = 10_000


def is_news(task_id: str) -> bool:
    """Whether the usage of this task was not told before."""
    first = task_id not in _told_tasks
    _told_tasks[task_id] = None
    while len(_told_tasks) > _REMEMBERED_TASKS:
        _told_tasks.popitem(last=False)
    return first
