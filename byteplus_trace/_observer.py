"""
Everything learnt about one exchange, while it happens.

The edge reports each send, each reply and each part of the body to it; it gives the
recorder each attempt and, once, the whole `Exchange`. It finishes on the first of: the
protocol's last event, the end of the body, an exception, a close, being forgotten. Later
ends are ignored, whichever thread reports them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from . import _background, _forks, _prices
from ._call_end import Assessment, End, How, assessment, outcome_of, unknown_in, unreachable
from ._facts import Answer, Attempt, Call, Duplicate, Exchange, Sending, Skip
from ._recognise import LONGEST_NUMBER
from ._telemetry.guard import fault, guard
from ._wire.body import Body
from ._wire.tasks import ENDED

if TYPE_CHECKING:
    from ._telemetry.recorder import AttemptSpan, CallSpan
    from ._wire.families import Family


class _Open(msgspec.Struct):
    """The attempt under way."""

    sending: Sending
    started: float
    started_ns: int
    span: AttemptSpan | None = None
    status: int | None = None
    request_id: str | None = None
    upstream_ms: int | None = None


class _Over(msgspec.Struct):
    """An attempt that has ended, and what its body holds."""

    attempt: Attempt
    found: Assessment
    answer: Answer
    body: Body | None
    error: BaseException | None


class Observer:
    """
    One exchange, observed.

    `open_span` opens the call's span; None where the context asked for silence. `heard`
    gets the exchange, and the exception that ended it, before it is recorded, silence or not.
    """

    __slots__ = (
        "_attempts",
        "_call",
        "_call_span",
        "_capture",
        "_cost",
        "_family",
        "_forks",
        "_heard",
        "_open",
        "_over",
        "_pending",
        "_skipped",
        "_started",
        "_started_ns",
        "body",
        "duplicate",
        "idle_seconds",
    )

    def __init__(
        self,
        call: Call,
        family: Family | None,
        open_span: Callable[[Call, int], CallSpan] | None,
        capture: bool,
        heard: Callable[[Exchange, BaseException | None], None] | None = None,
        cost: Callable[[Call, Answer, int], Decimal | None] = _prices.cost,
    ) -> None:
        self._call = call
        self._family = family
        self._capture = capture
        self._heard = heard
        self._cost = cost
        self._forks = _forks.count
        self._started = time.perf_counter()
        self._started_ns = time.time_ns()
        self._over: list[_Over] = []
        self._attempts: list[Attempt] = []
        """Of those that are over, what is recorded."""
        self._skipped: tuple[Skip, ...] = ()
        self._open: _Open | None = None
        self.body: Body | None = None
        """What the reply in hand holds so far."""
        self._pending = [True]  # taken once, by whoever finishes: popping a list is atomic
        self.duplicate: Duplicate | None = None
        self.idle_seconds: float | None = None
        """A policy's limit on the silence of a stream, where it is at work."""
        self._call_span: CallSpan | None = None
        # Not `guard`, here and wherever every call passes: it takes as long as much of what it guards.
        if open_span is not None:
            try:
                self._call_span = open_span(call, self._started_ns)
            except Exception as error:
                fault("opening the span", error)

    def sends(self, sending: Sending) -> AttemptSpan | None:
        """An attempt begins. Returns its span, to attach around the send."""
        # Every time of a call derives from its one anchor: the wall clock may be set while it runs.
        started = time.perf_counter()
        attempt = self._open = _Open(sending, started, self._ns(started))
        if self._call_span is not None:
            try:
                before = self._attempts[-1] if self._attempts else None
                if before is not None and before.target != sending.target:
                    self._call_span.falls_back(
                        before.target, sending.target, before.reason, attempt.started_ns
                    )
                attempt.span = self._call_span.attempt_begins(sending, attempt.started_ns)
            except Exception as error:
                fault("opening the attempt span", error)
        return attempt.span

    def waits(self, seconds: float, source: str) -> None:
        """The plan waits before it tries again."""
        if self._call_span is not None:
            with guard("recording a wait"):
                self._call_span.retry_waits(seconds, source, self._ns(time.perf_counter()))

    def skips(self, skipped: tuple[Skip, ...]) -> None:
        """Targets were passed over."""
        self._skipped += skipped
        if self._call_span is not None:
            for skip in skipped:
                with guard("recording a skip"):
                    self._call_span.target_skipped(skip.target, skip.reason, self._ns(time.perf_counter()))

    def replied(self, status: int, headers: Mapping[str, str]) -> None:
        """Response headers were received."""
        attempt = self._open
        if attempt is None:
            return
        try:
            attempt.status = status
            attempt.request_id = headers.get("x-request-id")
            upstream = headers.get("x-envoy-upstream-service-time", "")
            known = upstream.isdecimal() and len(upstream) <= LONGEST_NUMBER
            attempt.upstream_ms = int(upstream) if known else None
            self.body = Body(
                self._family, status, headers, self._capture, time.perf_counter, self._call.stream
            )
        except Exception as error:
            fault("reading the reply's head", error)

    def attempt_over(self, end: End) -> None:
        """The attempt under way has failed; another one, or the end, follows."""
        attempt = self._open
        if attempt is not None:
            self._open = None
            self._close(attempt, end, self._ns(end.at))

    def served(self, number: int) -> dict[str, str | int | None]:
        """Who serves the call, for the caller to read: target, region, attempts, why it was moved."""
        tried = self._attempts
        if self._open is not None:
            target, region = self._open.sending.target, self._open.sending.region
        else:
            target, region = next((a.target, a.region) for a in tried if a.number == number)
        moved = any(attempt.target != target for attempt in tried)
        return {
            "target": target,
            "region": region,
            "attempts": len(tried) + (self._open is not None),
            "fallback_reason": tried[0].reason if moved else None,
        }

    @property
    def reads(self) -> Callable[[bytes], bool]:
        """
        What takes the next bytes of the reply in hand, and returns whether the protocol's last event was among them.

        The function itself and no method around it: calling one takes 3% of what watching a chunk does.
        """
        return self.body.feed if self.body is not None else _unread

    def exhausted(self) -> None:
        """The body ended."""
        if self.body is not None:
            self.body.end()
            self.finish(End("exhausted"))

    def finish_soon(self, how: How) -> None:
        """As `finish`, but from where only a queue may be touched; the call ends now all the same."""
        if self._pending and self._forks == _forks.count:
            end = End(how)
            _background.put(lambda: self.finish(end))

    def finish(self, end: End, *, kept: int | None = None) -> None:
        """
        The call has ended for its caller; only the first end counts.

        `kept` is the number of the attempt whose reply is handed on, where it is not
        the one in hand.
        """
        try:
            self._pending.pop()
        except IndexError:
            return
        try:
            ended_ns = self._ns(end.at)
            final: _Over | None = None
            if self._open is not None:
                attempt, self._open = self._open, None
                final = self._close(attempt, end, ended_ns)
            elif kept is not None:
                final = next(over for over in self._over if over.attempt.number == kept)
            elif end.error is not None and end.kind != "deadline":
                final = next((over for over in self._over if over.error is end.error), None)
            exchange = self._exchange(end, final)
            if self._heard is not None:
                self._heard(exchange, end.error)
            if self._call_span is not None:
                self._call_span.ends(exchange, ended_ns)
            # The exceptions of failed attempts hold the frames that hold this.
            self._over.clear()
        except Exception as own:
            fault("finishing", own)

    def _close(self, attempt: _Open, end: End, ended_ns: int) -> _Over:
        sending, body = attempt.sending, self.body
        self.body = None
        answer = body.answer() if body is not None else Answer()
        if body is not None and body.fault is not None:
            fault("reading the body", body.fault)
        refusal = answer.error
        found = assessment(self._call, end, answer, status=attempt.status, body=body)
        closed = Attempt(
            # By position as far as it is long: a call with more than 15 keywords makes a dict of them first.
            sending.number,
            sending.target,
            sending.region,
            sending.host,
            sending.port,
            sending.url,
            sending.cause,
            attempt.started_ns,
            duration_seconds=end.at - attempt.started,
            result=found.result,
            reason=found.reason,
            status=attempt.status,
            error_type=found.error_type,
            error_code=refusal.code if refusal is not None else None,
            request_id=attempt.request_id or (refusal.request_id if refusal is not None else None),
            upstream_ms=attempt.upstream_ms,
            waited_seconds=sending.waited_seconds,
        )
        if end.kind == "connect":
            closed = replace(closed, unreachable=unreachable(end.error))
        over = _Over(closed, found, answer, body, end.error)
        self._over.append(over)
        self._attempts.append(closed)
        if attempt.span is not None:
            try:
                attempt.span.ends(closed, ended_ns)
            except Exception as own:
                fault("closing the attempt span", own)
        return over

    def _exchange(self, end: End, final: _Over | None) -> Exchange:
        call, started = self._call, self._started
        attempts = tuple(self._attempts)
        if final is not None:
            attempt, found, answer, body = final.attempt, final.found, final.answer, final.body
            status, request_id, upstream_ms = attempt.status, attempt.request_id, attempt.upstream_ms
        else:
            answer, body = Answer(), None
            found = assessment(call, end, answer)
            status = request_id = upstream_ms = None
        target, region, host, port = call.region, call.region, call.host, call.port
        fallback_from, fallback_reason = None, None
        if attempts:
            last = attempts[-1]
            target, region, host, port = last.target, last.region, last.host, last.port
            for tried in attempts:
                if tried.target != target:
                    fallback_from, fallback_reason = tried.target, tried.reason
                    break
        first_chunk = first_answer = last_chunk = None
        if body is not None and body.streaming:
            first_chunk, first_answer = body.first_chunk_at, body.first_answer_at
            last_chunk = body.last_chunk_at
        task_ended = None
        if answer.task_id is not None and answer.status in ENDED:
            # A poller reads a finished task again and again. It ended once, and its tokens were spent once.
            if _prices.is_first_reading(answer.task_id):
                task_ended = answer.status
            elif answer.usage is not None:
                answer = replace(answer, usage=None)
        unknown: tuple[tuple[Literal["error_code", "event"], str], ...] = ()
        if answer.unknown_events or found.error_type is not None or len(attempts) > 1:
            unknown = unknown_in(attempts, answer)
        cost_usd = None
        try:  # not `with guard`: it costs a call two functions more
            cost_usd = self._cost(call, answer, self._started_ns)
        except Exception as error_of_ours:
            fault("estimating the cost", error_of_ours)
        return Exchange(
            # By position, as above.
            call,
            attempts,
            answer,
            outcome_of(found, end, attempts),
            self._started_ns,
            end.at - started,
            status,
            found.error_type,
            found.reason,
            first_chunk - started if first_chunk is not None else None,
            first_answer - started if first_answer is not None else None,
            last_chunk - started if last_chunk is not None else None,
            body.chunks if body is not None else 0,
            target,
            region,
            host,
            port,
            request_id,
            upstream_ms=upstream_ms,
            skipped=self._skipped,
            fallback_from=fallback_from,
            fallback_reason=fallback_reason,
            duplicate=self.duplicate,
            cost_usd=cost_usd,
            task_ended=task_ended,
            unknown=unknown,
        )

    def _ns(self, moment: float) -> int:
        return self._started_ns + int((moment - self._started) * 1e9)


def _unread(_part: bytes) -> bool:
    return False
