"""
What goes wrong in `traffic`, and when: phases of half a minute together, repeated.

A phase sets the faults of each region. It also names the kinds of call to make more often
meanwhile, so that each fault meets a call that shows it, even at a low rate. Together the
phases move every series: rate limits and cooldowns, overload and retries, a region that is
down and its breaker, streams that break before and after their first output, images that
may have been made, a service that answers with another model, and no answer at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from ..testing import REGIONS, FakeRegion, ModelArk

HOME, AWAY = REGIONS
SPENT_MODEL = "skylark-embedding-vision-250328"


def _fair(region: FakeRegion) -> None:
    """No fault except one model whose quota is spent; each API and each model has its own delay."""
    region.fails(429, code="QuotaExceeded", on=SPENT_MODEL)
    region.delays(headers=0.03, first_event=0.08, between=0.01, on="chat")
    region.delays(headers=0.1, first_event=0.2, between=0.02, on="seed-2-0-pro-260328")
    region.delays(headers=0.02, on="embeddings")
    region.delays(headers=0.35, between=0.1, on="generate_content")


def _slow(region: FakeRegion) -> None:
    _fair(region)
    region.delays(headers=0.3, first_event=0.4, between=0.04, on="chat")


def _rate_limited(region: FakeRegion) -> None:
    _fair(region)
    region.throttles(retry_after=1, times=12)


def _overloaded(region: FakeRegion) -> None:
    _fair(region)
    region.fails(503, code="ServerOverloaded", times=3)
    region.fails(500, times=2)


def _down(region: FakeRegion) -> None:
    region.refuses()


def _breaks_streams(region: FakeRegion) -> None:
    _fair(region)
    region.cuts(after_events=4, times=1, on="chat_completions")
    region.errors_in_stream(after_events=0, times=1, on="chat_completions")
    region.hangs(after_events=5, times=1, on="chat_completions")
    region.errors_in_stream(after_events=6, times=1, on="chat_completions")
    region.answers_empty(times=1, on="chat_completions")
    region.cuts(after_events=5, reset=True, times=1, on="chat_completions")
    region.fails_responses(times=2)


def _resets(region: FakeRegion) -> None:
    _fair(region)
    region.resets(times=4, on="images")
    region.resets(times=2, on="embeddings")


def _answers_with_another_model(region: FakeRegion) -> None:
    _fair(region)
    region.fails(400, code="InputTextSensitiveContentDetected", times=1, on="chat_completions")
    region.answers(model="seed-2-0-mini-260428", fallback_from="seed-2-0-pro-260328", times=4)


def _silent(region: FakeRegion) -> None:
    region.hangs()


@dataclass(frozen=True, slots=True)
class Phase:
    """What the regions do for a number of seconds."""

    seconds: float
    description: str
    home: Callable[[FakeRegion], None] = _fair
    away: Callable[[FakeRegion], None] = _fair
    more_of: tuple[str, ...] = ()
    """Every second call is one of these kinds."""


PHASES = (
    Phase(3, "both regions are well"),
    Phase(3, "ap-southeast-1 limits the rate", _rate_limited, more_of=("chat", "embedding")),
    Phase(3, "ap-southeast-1 is overloaded", _overloaded, more_of=("response",)),
    Phase(4, "ap-southeast-1 is down", _down, more_of=("chat", "endpoint chat")),
    Phase(4, "ap-southeast-1 is back, and slow", _slow, more_of=("streamed chat", "eu chat")),
    Phase(4, "streams break", _breaks_streams, _breaks_streams, more_of=("streamed chat", "eu streamed chat")),
    Phase(3, "connections are reset after the request", _resets, more_of=("image", "image set", "embedding")),
    Phase(2, "answers come from another model", _answers_with_another_model, more_of=("chat",)),
    Phase(4, "neither region answers", _silent, _silent, more_of=("chat", "short chat")),
)  # fmt: skip

CYCLE = sum(phase.seconds for phase in PHASES)


def phase_at(seconds: float) -> Phase:
    """The phase at that time after the start."""
    within = seconds % CYCLE
    return next(phase for phase, end in zip(PHASES, _ends(), strict=True) if within < end)


def set_in(ark: ModelArk, phase: Phase) -> None:
    """Set the faults of this phase, in place of the ones before."""
    for name, does in ((HOME, phase.home), (AWAY, phase.away)):
        region = ark.region(name)
        region.recovers()
        does(region)


def _ends() -> Iterator[float]:
    return accumulate(phase.seconds for phase in PHASES)
