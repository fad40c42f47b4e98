"""The only control flow that exists twice: drive a plan by performing its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING

import msgspec

from .. import _reaper
from .._routing.steps import Deliver, Result, Step

if TYPE_CHECKING:
    from .._facts import Call
    from .._observer import Observer
    from .._routing.resend import Key

Plan = Generator[Step, Result, Deliver]


class Begun(msgspec.Struct):
    """A call under way: who watches, what is needed to send it, who decides."""

    observer: Observer
    call: Call
    body: bytes | None
    stripped: bool
    plan: Plan | None = None
    """What a policy makes of it; None where none moves it."""
    key: Callable[[], Key] | None = None
    """How an SDK's resend would be known; None where none can be."""
    behind_gateway: bool = False
    """It goes to a gateway, which gets it as the caller wrote it."""


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
        _reaper.put(plan.close)
        raise
    except BaseException:
        plan.close()
        raise
