"""The only control flow that exists twice: drive a plan by executing its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .. import _background
from .._routing.steps import Deliver, Plan, Result, Step


def run(plan: Plan, execute: Callable[[Step], Result]) -> Deliver:
    """Execute each step and send the plan its result, until the plan returns how to deliver."""
    try:
        step = next(plan)
        while True:
            step = plan.send(execute(step))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        plan.close()


async def arun(plan: Plan, execute: Callable[[Step], Awaitable[Result]]) -> Deliver:
    """As `run`, awaiting."""
    try:
        step = next(plan)
        while True:
            step = plan.send(await execute(step))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    except GeneratorExit:  # perhaps in the garbage collector, where a plan may take no lock
        _background.put(plan.close)
        raise
    except BaseException:
        plan.close()
        raise
