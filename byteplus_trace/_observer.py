"""
Everything learnt about one exchange, while it happens.

The edge tells it each send, each reply and each part of the body; it tells the recorder
each attempt and, once, the whole `Exchange`. It finishes on the first of: the
protocol's last word, the end of the body, an exception, a close, being forgotten. Later
words are ignored, from whichever thread they come.
"""

from __future__ import annotations

import datetime
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from . import _prices, _reaper
from ._ending import Ending, How, ending, outcome_of
from ._facts import Answer, Attempt, Call, Cause, Exchange, Skip
from ._telemetry.guard import fault, guard
from ._wire.body import Body

if TYPE_CHECKING:
    from ._routing.steps import FailureKind
    from ._telemetry.recorder import AttemptTelling, Telling
    from ._wire.reader import Family


NANOSECONDS_A_DAY = 24 * 60 * 60 * 10**9


class _Open:
    """The attempt under way."""

    __slots__ = (
        "body",
        "cause",
        "host",
        "number",
        "port",
        "region",
        "request_id",
        "started",
        "started_ns",
        "status",
        "target",
        "telling",
        "upstream_ms",
        "url",
        "waited_seconds",
    )
    cause: Cause

    def __init__(self, number: int, target: str, region: str, cause: Cause) -> None:
        self.number = number
        self.target = target
        self.region = region
        self.cause = cause
        self.host = ""
        self.port = 0
        self.url = ""
        self.waited_seconds = 0.0
        self.started = time.perf_counter()
        self.started_ns = time.time_ns()
        self.telling: AttemptTelling | None = None
        self.status: int | None = None
        self.request_id: str | None = None
        self.upstream_ms: int | None = None
        self.body: Body | None = None


class _Over(NamedTuple):
    """An attempt that has ended, and what its body said."""

    attempt: Attempt
    end: Ending
    answer: Answer
    body: Body | None
    error: BaseException | None


class Observer:
    """
    One exchange, observed.

    `telling` opens the call's span; None where the context asked for silence. `heard`
    is given the exchange before it is told, silence or not.
    """

    __slots__ = (
        "_call",
        "_capture",
        "_family",
        "_forks",
        "_heard",
        "_open",
        "_over",
        "_pending",
        "_skipped",
        "_started",
        "_started_ns",
        "_telling",
        "duplicate",
        "idle_seconds",
    )

    def __init__(
        self,
        call: Call,
        family: Family | None,
        telling: Callable[[Call, int], Telling] | None,
        capture: bool,
        heard: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._call = call
        self._family = family
        self._capture = capture
        self._heard = heard
        self._forks = _reaper.forks
        self._started = time.perf_counter()
        self._started_ns = time.time_ns()
        self._over: list[_Over] = []
        self._skipped: list[Skip] = []
        self._open: _Open | None = None
        self._pending = [True]  # taken once, by whoever finishes: popping a list is atomic
        self.duplicate: Literal["raised", "replayed", "sdk_resend"] | None = None
        self.idle_seconds: float | None = None
        """A policy's limit on the silence of a stream, where it is at work."""
        self._telling: Telling | None = None
        if telling is not None:
            with guard("opening the span"):
                self._telling = telling(call, self._started_ns)

    def sends(
        self,
        *,
        number: int,
        target: str,
        region: str,
        host: str,
        port: int,
        url: str,
        cause: Cause,
        waited_seconds: float = 0.0,
    ) -> AttemptTelling | None:
        """An attempt begins; the result says what to attach around the send."""
        attempt = _Open(number, target, region, cause)
        attempt.host, attempt.port, attempt.url, attempt.waited_seconds = host, port, url, waited_seconds
        self._open = attempt
        if self._telling is not None:
            with guard("opening the attempt span"):
                before = self._over[-1].attempt if self._over else None
                if before is not None and before.target != target:
                    self._telling.falls_back(before.target, target, before.reason)
                attempt.telling = self._telling.attempt_begins(
                    number=number,
                    target=target,
                    region=region,
                    host=host,
                    port=port,
                    url=url,
                    cause=cause,
                    started_ns=attempt.started_ns,
                )
        return attempt.telling

    def waits(self, seconds: float, source: str) -> None:
        """The plan waits before it tries again."""
        if self._telling is not None:
            with guard("telling a wait"):
                self._telling.retry_waits(seconds, source)

    def skips(self, skipped: tuple[Skip, ...]) -> None:
        """Targets were passed over."""
        for skip in skipped:
            self._skipped.append(skip)
            if self._telling is not None:
                with guard("telling a skip"):
                    self._telling.target_skipped(skip.target, skip.reason)

    def replied(self, status: int, headers: Mapping[str, str]) -> None:
        """Response headers came."""
        attempt = self._open
        if attempt is not None:
            attempt.status = status
            attempt.request_id = headers.get("x-request-id")
            upstream = headers.get("x-envoy-upstream-service-time", "")
            attempt.upstream_ms = int(upstream) if upstream.isdecimal() else None
            attempt.body = Body(self._family, status, headers, self._capture, time.perf_counter)

    @property
    def body(self) -> Body | None:
        """What the reply in hand says so far."""
        return self._open.body if self._open is not None else None

    def attempt_over(
        self, how: How, error: BaseException | None = None, kind: FailureKind | None = None
    ) -> None:
        """The attempt under way came to nothing; another one, or the end, follows."""
        attempt = self._open
        if attempt is not None:
            self._open = None
            self._close(attempt, how, error, kind, time.perf_counter())

    def served(self, number: int) -> dict[str, str | int | None]:
        """Who serves the call, for the caller to read: target, region, attempts, why it was moved."""
        tried = [over.attempt for over in self._over]
        if self._open is not None:
            target, region = self._open.target, self._open.region
        else:
            target, region = next((a.target, a.region) for a in tried if a.number == number)
        left = next((a for a in tried if a.target != target), None)
        return {
            "target": target,
            "region": region,
            "attempts": len(tried) + (self._open is not None),
            "fallback_reason": left.reason if left is not None else None,
        }

    def feed(self, part: bytes) -> None:
        """Take the next bytes of the reply in hand; at the protocol's last word, finish."""
        attempt = self._open
        if attempt is None or attempt.body is None:
            return
        body = attempt.body
        # Not `guard`, here and below: it takes longer than reading a small part does.
        try:
            body.feed(part)
        except Exception as error:
            fault("reading the body", error)
        if body.ended:
            self.finish("complete")

    def exhausted(self) -> None:
        """The body came to its end."""
        body = self.body
        if body is not None:
            with guard("reading the body"):
                body.end()
            self.finish("exhausted")

    def later(self, how: How) -> None:
        """As `finish`, but from where only a queue may be touched; the call ends now all the same."""
        if self._pending and self._forks == _reaper.forks:
            ended = time.perf_counter()
            _reaper.put(lambda: self.finish(how, ended=ended))

    def finish(
        self,
        how: How,
        error: BaseException | None = None,
        kind: FailureKind | None = None,
        *,
        kept: int | None = None,
        ended: float | None = None,
    ) -> None:
        """
        The call has ended for its caller; only the first such word counts.

        `kept` is the number of the attempt whose reply is handed on, where it is not
        the one in hand.
        """
        try:
            self._pending.pop()
        except IndexError:
            return
        try:
            self._finish(how, error, kind, kept, ended if ended is not None else time.perf_counter())
        except Exception as own:
            fault("finishing", own)

    def _finish(
        self,
        how: How,
        error: BaseException | None,
        kind: FailureKind | None,
        kept: int | None,
        ended: float,
    ) -> None:
        final: _Over | None
        if self._open is not None:
            attempt, self._open = self._open, None
            final = self._close(attempt, how, error, kind, ended)
        elif kept is not None:
            final = next(over for over in self._over if over.attempt.number == kept)
        elif error is not None and kind != "deadline":
            final = next((over for over in self._over if over.error is error), None)
        else:
            final = None
        exchange = self._exchange(how, error, kind, final, ended)
        if self._heard is not None:
            self._heard(exchange)
        if self._telling is not None:
            self._telling.ends(exchange, self._ns(ended))

    def _close(
        self,
        attempt: _Open,
        how: How,
        error: BaseException | None,
        kind: FailureKind | None,
        ended: float,
    ) -> _Over:
        body = attempt.body
        answer = body.answer() if body is not None else Answer()
        end = ending(self._call, how, answer, status=attempt.status, body=body, error=error, kind=kind)
        closed = Attempt(
            number=attempt.number,
            target=attempt.target,
            region=attempt.region,
            host=attempt.host,
            port=attempt.port,
            url=attempt.url,
            cause=attempt.cause,
            started_ns=attempt.started_ns,
            duration_seconds=ended - attempt.started,
            result=end.result,
            reason=end.reason,
            status=attempt.status,
            error_type=end.error_type,
            error_code=answer.error.code if answer.error is not None else None,
            request_id=attempt.request_id or (answer.error.request_id if answer.error is not None else None),
            upstream_ms=attempt.upstream_ms,
            waited_seconds=attempt.waited_seconds,
        )
        over = _Over(closed, end, answer, body, error)
        self._over.append(over)
        if attempt.telling is not None:
            try:
                attempt.telling.ends(closed, self._ns(ended))
            except Exception as own:
                fault("telling the attempt", own)
        return over

    def _exchange(
        self,
        how: How,
        error: BaseException | None,
        kind: FailureKind | None,
        final: _Over | None,
        ended: float,
    ) -> Exchange:
        call = self._call
        attempts = tuple([over.attempt for over in self._over])
        last = attempts[-1] if attempts else None
        answer = final.answer if final is not None else Answer()
        body = final.body if final is not None else None
        end = final.end if final is not None else ending(call, how, answer, error=error, kind=kind)
        left = next((a for a in attempts if last is not None and a.target != last.target), None)
        if answer.task_id is not None and answer.usage is not None and not _first_usage_of(answer.task_id):
            answer = replace(answer, usage=None)
        return Exchange(
            call=call,
            attempts=attempts,
            answer=answer,
            outcome=outcome_of(end, how, kind, attempts),
            started_ns=self._started_ns,
            duration_seconds=ended - self._started,
            status=final.attempt.status if final is not None else None,
            error_type=end.error_type,
            reason=end.reason,
            first_chunk_seconds=self._since(body.first_chunk_at)
            if body is not None and body.streaming
            else None,
            first_answer_seconds=self._since(body.first_answer_at) if body is not None else None,
            last_chunk_seconds=self._since(body.last_chunk_at) if body is not None else None,
            chunks=body.chunks if body is not None else 0,
            target=last.target if last is not None else call.region,
            region=last.region if last is not None else call.region,
            host=last.host if last is not None else call.host,
            port=last.port if last is not None else call.port,
            request_id=final.attempt.request_id if final is not None else None,
            upstream_ms=final.attempt.upstream_ms if final is not None else None,
            skipped=tuple(self._skipped),
            fallback_from=left.target if left is not None else None,
            fallback_reason=left.reason if left is not None else None,
            duplicate=self.duplicate,
            cost_usd=_cost(call, answer, self._started_ns),
        )

    def _since(self, moment: float | None) -> float | None:
        return moment - self._started if moment is not None else None

    def _ns(self, moment: float) -> int:
        return self._started_ns + int((moment - self._started) * 1e9)


def _cost(call: Call, answer: Answer, started_ns: int) -> Decimal | None:
    if call.operation == "fetch_response" or (answer.usage is None and answer.images is None):
        return None
    on = _day(started_ns // NANOSECONDS_A_DAY)
    with guard("estimating the cost"):
        return _prices.estimate(
            answer.model or call.model,
            answer.usage,
            answer.images,
            on,
            service_tier=answer.service_tier,
            batch=call.api.startswith("batch_"),
        )
    return None


@lru_cache(maxsize=2)
def _day(number: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=number)


# A poller sees the usage of a finished task again and again; it was spent once.
_told_tasks: OrderedDict[str, None] = OrderedDict()
_REMEMBERED_TASKS = 10_000


def _first_usage_of(task_id: str) -> bool:
    first = task_id not in _told_tasks
    _told_tasks[task_id] = None
    while len(_told_tasks) > _REMEMBERED_TASKS:
        _told_tasks.popitem(last=False)
    return first
