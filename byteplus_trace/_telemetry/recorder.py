"""
CallSpan: one call becomes a logical span, a child span for each attempt, and points.

A `Recorder` lives as long as `instrument()`; it gives out one `CallSpan` for each call.
A `CallSpan` opens the logical span when the call starts and a span for each attempt; the
rest waits for the frozen `Exchange`, from which span, series and metrics are all
written, so that they cannot disagree.

Laws:
- A context is attached by the edge around one inner send only, never across a yield.
- An attempt span carries no `gen_ai.*`: a trace viewer would show another model call.
- With `attempt_spans="when_retried"` the spans of attempts are made when the call has ended,
  with their own times: only then is it known whether there was more than one. What is known
  of a single attempt goes onto the call's span, or onto another instrumentation's as long as
  that has no other send to hold.
- Where another instrumentation already has a GenAI span in the context, ours is not
  opened: its span gets our attributes, and the attempts hang under it.
- Each sink runs under its own guard; one that fails does not silence the others.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,  # its public context manager attaches; we only set
    Context,
)
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import _facts as facts
from . import semconv as sc
from .attributes import (
    LONGEST,
    Attributes,
    attempt_end_attributes,
    attempt_span_name,
    attempt_start_attributes,
    content_attributes,
    end_attributes,
    own_attributes,
    span_name,
    start_attributes,
)
from .guard import UserFunctionError, fault, guard
from .other_instrumentations import OuterSpan, outer_genai_span
from .points import points
from .secrets import without_secrets

if TYPE_CHECKING:
    from .in_flight import CallsInFlight
    from .meter import MeterSink
    from .provider import Tracers
    from .sink import Sink

# Where a context has its span: `set_span_in_context` sets this key and no other, in a copy of its own each time.
(_SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())

# In the context while one of our transports sends: a second one further in stays silent.
_SENDING = otel_context.create_key("byteplus_trace_sending")

# Not the global propagator, which sends baggage too, and an application's is not ModelArk's business.
_TRACE_CONTEXT = TraceContextTextMapPropagator()

_NO_TRACER: trace.Tracer = trace.NoOpTracer()

_GENAI_FAILURES = frozenset({"error", "deadline"})


@dataclass(frozen=True, slots=True)
class Settings:
    """How to record."""

    http_spans: str = "own"
    attempt_spans: str = "always"
    propagate: bool = False
    capture: bool = False
    redact: Callable[[str], str] | None = None
    on_exchange: Callable[[facts.Exchange], None] | None = None
    show: Callable[[facts.Exchange], None] | None = None
    """Prints a finished call, where the console was asked for."""


class Recorder:
    """Where every exchange goes."""

    def __init__(self, tracers: Tracers, sink: Sink, meter: MeterSink | None, settings: Settings) -> None:
        self.tracers = tracers
        self.sink = sink
        self.meter = meter
        self.settings = settings

    def begin(self, call: facts.Call, started_ns: int) -> CallSpan:
        """Open the logical span, unless another instrumentation has one open for this call."""
        parent = otel_context.get_current()
        tracer, outer, span, context = _NO_TRACER, None, None, parent
        try:
            tracer = self.tracers.tracer()
            if call.operation != "other":
                outer = outer_genai_span(parent) if parent else None
                if outer is None:
                    span = tracer.start_span(
                        span_name(call),
                        parent,
                        SpanKind.CLIENT,
                        start_attributes(call),
                        start_time=started_ns,
                    )
                    context = Context({**parent, _SPAN: span})
        except Exception as error:  # a provider, a sampler or a processor raised: all else is recorded
            fault("opening the span", error)
        # A call without a span of its own has only those of its attempts.
        defers = self.settings.attempt_spans == "when_retried" and not (span is None and outer is None)
        opened = CallSpan(self, tracer, call, span, context, outer, defers)
        # Last, so that a call that could not be begun is not in flight for ever.
        try:
            in_flight = opened.in_flight = self.sink.in_flight(call)
            in_flight.begins(opened, started_ns)
        except Exception as error:
            fault("counting calls in flight", error)
        return opened


def is_silent() -> bool:
    """Whether this context asked for no telemetry, or a transport of ours further out records the call already."""
    context = otel_context.get_current()
    # Most calls are made with nothing in the context at all.
    return bool(context) and (bool(context.get(_SENDING)) or not is_instrumentation_enabled())


class CallSpan(msgspec.Struct, eq=False):
    """One call, being recorded."""

    _recorder: Recorder
    _tracer: trace.Tracer
    _call: facts.Call
    _span: Span | None
    _context: Context
    _outer: OuterSpan | None
    _defers_attempts: bool
    """Attempts have their spans once the call has ended, and only where there are several."""
    in_flight: CallsInFlight | None = None
    """Where it is counted until it ends."""
    _attempts: list[Span | None] = msgspec.field(default_factory=list)
    """Their spans, in order, None for one that could not be opened: all there are of a call that makes no GenAI claim."""

    def attempt_begins(self, sending: facts.Sending | facts.Attempt, started_ns: int) -> AttemptSpan:
        """Open the attempt's span; the result says what to attach around the inner send."""
        call, within = self._call, self._context
        settings = self._recorder.settings
        if settings.http_spans == "otel":
            # OpenTelemetry's instrumentation sends what the context holds.
            within = within if settings.propagate else baggage.clear(within)
            return AttemptSpan(None, Context({**within, _SENDING: True}))
        span, sending_within = None, {**within, _SENDING: True, _SUPPRESS_HTTP_INSTRUMENTATION_KEY: True}
        # Where the call's span does not record, its child would not be kept.
        if not self._defers_attempts and (self._span is None or self._span.is_recording()):
            try:
                span = self._tracer.start_span(
                    attempt_span_name(call),
                    within,
                    SpanKind.CLIENT,
                    attempt_start_attributes(call, sending),
                    start_time=started_ns,
                )
                sending_within[_SPAN] = span
            except Exception as error:  # as above; the send is silent for others all the same
                fault("opening the attempt span", error)
            self._attempts.append(span)
        return AttemptSpan(span, Context(sending_within))

    def _record_attempts(self, attempts: Sequence[facts.Attempt], ended_ns: int) -> None:
        """Make the spans of attempts that are over, each with its own times."""
        self._defers_attempts = False  # `attempt_begins` opens them now
        for attempt in attempts:
            # The difference of two clock readings may be rounded up: no child ends after its call.
            attempt_ended_ns = min(attempt.started_ns + int(attempt.duration_seconds * 1e9), ended_ns)
            try:
                self.attempt_begins(attempt, attempt.started_ns).ends(attempt, attempt_ended_ns)
            except Exception as error:
                fault("opening the attempt span", error)

    def retry_waits(self, seconds: float, source: str, at_ns: int) -> None:
        self._event("retry", {"wait": seconds, "source": source}, at_ns)

    def falls_back(self, from_target: str, to_target: str, reason: str, at_ns: int) -> None:
        self._event("fallback", {"from": from_target, "to": to_target, "reason": reason}, at_ns)

    def target_skipped(self, target: str, reason: str, at_ns: int) -> None:
        self._event("target.skipped", {"target": target, "reason": reason}, at_ns)

    def _event(self, name: str, attributes: Attributes, at_ns: int) -> None:
        span = self._span or (self._outer.span if self._outer is not None else None)
        if span is not None:
            span.add_event(name, attributes, at_ns)

    def ends(self, exchange: facts.Exchange, ended_ns: int) -> None:
        """Write the whole exchange into every sink."""
        recorder = self._recorder
        sink = recorder.sink
        # Plain `try`, which costs nothing where nothing fails; four `guard`s would take 0.3% of a call of the SDK's.
        try:
            self._end_span(exchange, ended_ns)
        except Exception as error:
            fault("closing the span", error)
        try:
            if self.in_flight is not None:
                self.in_flight.ends(self)
        except Exception as error:
            fault("counting calls in flight", error)
        try:
            exemplar, attempts = None, []
            if sink.exemplars:
                span = self._span or (self._outer.span if self._outer is not None else None)
                attempts = list(map(_exemplar, self._attempts))
                exemplar = _exemplar(span) if span is not None else attempts[-1] if attempts else None
                if span is not None and None in attempts:
                    attempts = [each or exemplar for each in attempts]
            sink.record(exchange, points(exchange), exemplar, attempts)
        except Exception as error:
            fault("counting", error)
        meter = recorder.meter
        if self._outer is None and meter is not None:
            try:
                meter.record(exchange, self._context)
            except Exception as error:
                fault("counting for OpenTelemetry", error)
        if recorder.settings.show is not None:
            with guard("printing to the console"):
                recorder.settings.show(exchange)
        if recorder.settings.on_exchange is not None:
            try:
                recorder.settings.on_exchange(exchange)
            except KeyboardInterrupt:  # whoever runs the program stops it
                raise
            except BaseException as error:  # `SystemExit` too: a sink does not end its application's thread
                fault("on_exchange", error)

    def _end_span(self, exchange: facts.Exchange, ended_ns: int) -> None:
        span, holds_attempt = self._span, False
        if self._defers_attempts and (span is None or span.is_recording()):
            holds_attempt = len(exchange.attempts) == 1 and (span is not None or self._outer_holds(exchange))
            if not holds_attempt:
                self._record_attempts(exchange.attempts, ended_ns)
        if self._outer is not None:
            self._outer.annotate(own_attributes(exchange, holds_attempt=holds_attempt))
        if span is None:
            return
        if span.is_recording():
            span.set_attributes(end_attributes(exchange, holds_attempt=holds_attempt))
            if exchange.outcome in _GENAI_FAILURES:
                span.set_status(Status(StatusCode.ERROR, self._describe(exchange)))
            if self._recorder.settings.capture:
                with guard("capturing content"):  # a `redact` that raises: then nothing is captured
                    span.set_attributes(
                        content_attributes(exchange.call.content, exchange.answer.content, self._write)
                    )
                    stop = exchange.call.params.get("stop")
                    if stop:
                        span.set_attribute("gen_ai.request.stop_sequences", self._redacted(stop))
        span.end(ended_ns)

    def _outer_holds(self, exchange: facts.Exchange) -> bool:
        """
        Whether another instrumentation's span has room for what is known of the only attempt.

        To an SDK that sends again after a failure each send is one of many, and each is a call here.
        """
        may_be_one_of_many = exchange.call.sdk_retry > 0 or exchange.outcome in _GENAI_FAILURES
        return self._outer is not None and self._outer.span.is_recording() and not may_be_one_of_many

    def _describe(self, exchange: facts.Exchange) -> str:
        """What failed, without what the message may echo unless content is captured."""
        error = exchange.answer.error
        code = (error.code if error is not None else None) or exchange.error_type or exchange.reason
        parts = [code[:LONGEST]]
        if exchange.reason == "connect":
            parts += [attempt.unreachable for attempt in exchange.attempts[-1:] if attempt.unreachable]
        if exchange.request_id is not None:
            parts.append(f"request id {exchange.request_id[:LONGEST]}")
        message = error.message if error is not None and self._recorder.settings.capture else None
        # A key that is refused may be repeated in the message, and has no form by which to find it.
        if message is not None and exchange.reason != "auth":
            with guard("capturing content"):
                parts.append(self._redacted(message))
        return "; ".join(parts)

    def _write(self, content: Any) -> str:
        return msgspec.json.encode(self._redacted(content)).decode()

    def _redacted(self, content: Any) -> Any:
        redact = self._recorder.settings.redact or without_secrets
        if isinstance(content, str):
            try:
                text = redact(content)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # as of `on_exchange`
                raise UserFunctionError("redact") from error
            if not isinstance(text, str):
                raise UserFunctionError("redact") from TypeError(f"a {type(text).__name__} is no text")
            return text
        if isinstance(content, list):
            return [self._redacted(item) for item in content]
        if isinstance(content, dict):
            redacted: dict[str, Any] = {}
            for key, value in content.items():
                name = key if key in sc.MESSAGE_ATTRIBUTES else self._redacted(key)
                redacted[name if name not in redacted else f"{name} ({len(redacted) + 1})"] = self._redacted(
                    value
                )
            return redacted
        return content


class AttemptSpan(msgspec.Struct, eq=False):
    """One attempt, being recorded."""

    _span: Span | None
    _sending: Context

    def attach(self) -> object:
        """Make this attempt current, only around the inner send. The result is for `detach`."""
        try:
            return otel_context.attach(self._sending)
        except Exception as error:
            fault("entering the attempt's context", error)
            return None

    def detach(self, token: Any) -> None:
        """Put the context back that `attach` replaced."""
        try:
            token.var.reset(token)
        except ValueError:
            pass  # a coroutine stopped from another context, where OpenTelemetry's own would log an error
        except Exception:
            # Another context runtime, such as ddtrace's, has tokens of its own.
            with guard("leaving the attempt's context"):
                if token is not None:
                    otel_context.detach(token)

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Write the trace context into a request's headers."""
        _TRACE_CONTEXT.inject(headers, self._sending)

    def ends(self, attempt: facts.Attempt, ended_ns: int) -> None:
        span = self._span
        if span is None:
            return
        if span.is_recording():
            span.set_attributes(attempt_end_attributes(attempt))
            if attempt.result == "error":
                span.set_status(Status(StatusCode.ERROR, attempt.unreachable))
        span.end(ended_ns)


def _exemplar(span: Span | None) -> dict[str, str] | None:
    if span is None:
        return None
    try:
        context = span.get_span_context()
        if not context.trace_flags.sampled:
            return None  # it would point to a trace that nobody kept
    except Exception as error:  # a span of another SDK's: the series count without it
        fault("counting", error)
        return None
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
