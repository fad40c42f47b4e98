"""The only control flow that exists twice: drive a plan by performing its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .. import _background
from .._routing.steps import Deliver, Plan, Result, Step


def run(plan: Plan, perform: Callable[[Step], Result]) -> Deliver:
    """Perform each step and send the plan what came of it, until it says how to deliver."""
    try:
        step = next(plan)
        while True:
            step = plan.send(perform(step))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        plan.close()


async def arun(plan: Plan, perform: Callable[[Step], Awaitable[Result]]) -> Deliver:
    """As `run`, awaiting."""
    try:
        step = next(plan)
        while True:
            step = plan.send(await perform(step))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    except GeneratorExit:  # perhaps in the garbage collector, where a plan may take no lock
        _background.put(plan.close)
        raise
    except BaseException:
        plan.close()
        raise
