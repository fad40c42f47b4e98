"""
Executing a plan's steps for one call: what both colours share.

The two executors in `executors.py` add only what differs: calling the inner transport,
reading parts, sleeping and closing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from .._call_end import End
from .._facts import Answer, Sending
from .._regions import DEFAULT_PORTS
from .._routing.steps import Deliver, Failure, Peeked, Reply, Send
from .._telemetry.guard import fault
from .._wire.retry_after import RETRY_AFTER, retry_after
from .connections import was_unprocessed
from .library import REDIRECTED, Library, failure_of
from .received import Received
from .rewrite import asks_usage, injected, origin, outgoing, rewritten_body, target_url
from .timeouts import Limits, WireWatch, died_silently

if TYPE_CHECKING:
    from .._telemetry.recorder import AttemptSpan
    from .instrumentation import Begun, Instrumentation
    from .router import Routed

MOST_HELD_EVENTS = 64
MOST_HELD_BYTES = 256 * 1024
LARGEST_HELD_DOCUMENT = 32 * 1024 * 1024


class Executor:
    """One call's steps, up to where the colours part."""

    colour: str

    def __init__(
        self,
        library: Library,
        instrumentation: Instrumentation,
        request: Any,
        begun: Begun,
        routed: Routed,
        transport_for: Callable[[Any], Any],
    ) -> None:
        self.routed = routed
        self.library = library
        self.instrumentation = instrumentation
        self.request = request
        self.call = call = begun.call
        self.observer = begun.observer
        self.stripped = begun.stripped
        self.body = body = begun.body
        self.transport_for = transport_for
        self.asks_usage = body is not None and asks_usage(instrumentation.config, call)
        self.in_hand: Received | None = None
        self.kept: Received | None = None
        self.sent: Any = None
        self.held_bytes = 0
        """Of the reply in hand, what was read before it may be handed on."""
        self.failure: Failure | None = None
        """Of the last send that raised, and then the one that the caller is to have."""
        self.final_error: BaseException | None = None
        """The exception that the caller is to have."""
        self.limits = Limits(None, None)
        self.until: float | None = None
        """When the attempt's share of the deadline is spent, on the monotonic clock."""
        self.wire: WireWatch | None = None

    def prepare(self, step: Send) -> tuple[Any, Any, AttemptSpan | None]:
        """The request to send, the transport to send it through, and what to attach meanwhile."""
        self.observer.skips(step.skipped)
        if step.replays:
            self.observer.duplicate = self.observer.duplicate or "replayed"
        url = target_url(self.library, self.request.url, step.base_url, step.path)
        # Sent where its caller addressed it, a request keeps its URL as it was written.
        here = url is self.request.url
        port = self.call.port if here else (url.port or DEFAULT_PORTS[url.scheme])
        span = self.observer.sends(
            Sending(
                step.number,
                step.target,
                step.region,
                self.call.host if here else url.host,
                port,
                self.call.url if here else str(url.copy_with(query=None)),
                step.cause,
                step.waited_seconds,
            )
        )
        headers = injected(span) if self.instrumentation.config.propagate else {}
        changed = self.body
        if self.body is not None:
            model = {"model": step.model} if step.model is not None else {}
            changed = rewritten_body(self.body, {**step.override_params, **model}, self.asks_usage)
        rewritten = changed if changed is not self.body else None
        # Kept before it leaves: a fault of ours from here on may not let the call go out a second time.
        self.sent = self._copy(step, url, rewritten, headers)
        transport = self.instrumentation.sending(self.transport_for(url), self.library.name, self.colour)
        return self.sent, transport, span

    def _copy(self, step: Send, url: Any, body: bytes | None, headers: dict[str, str]) -> Any:
        self.until = time.monotonic() + step.share_seconds if step.share_seconds is not None else None
        self.limits = Limits(self.request.extensions.get("timeout"), step.timeout_seconds)
        self.wire = WireWatch(self.request.extensions.get("trace"), self.limits)
        return outgoing(
            self.library,
            self.request,
            url=url,
            api_key=step.api_key,
            forwarded=frozenset(self.routed.router.policy.forward_headers),
            body=body,
            stripped=self.stripped,
            injected=headers,
            timeouts=self.limits.timeouts,
            plain_encoding=self.asks_usage,
            trace=self.trace_extension(self.wire),
        )

    def trace_extension(self, wire: WireWatch) -> Any:
        raise NotImplementedError

    def received(self, response: Any, step: Send) -> Received:
        """Take a reply, of which the headers were received."""
        received = self.in_hand = Received(response, self.observer, step.number)
        if origin(self.sent.url) != origin(self.request.url):
            # The client would keep them for the host that its caller addressed, and send them there.
            response.headers.pop("set-cookie", None)
        self.held_bytes = 0
        self.failure = None  # an earlier send's
        streaming = self.observer.body is not None and self.observer.body.streaming
        idles = self.limits.headers_received(step.idle_seconds if streaming else None)
        self.observer.idle_seconds = step.idle_seconds if idles else None
        return received

    def remaining_seconds(self) -> float | None:
        """The attempt's remaining share of the deadline."""
        return max(self.until - time.monotonic(), 0.0) if self.until is not None else None

    def reply(self, received: Received) -> Reply:
        """A reply, as the plan sees it."""
        code = None
        body = self.observer.body
        if received.response.status_code >= 400 and received.drained and body is not None:
            error = body.answer().error
            code = error.code if error is not None else None
        return Reply(
            status=received.response.status_code,
            code=code,
            # Hardly any reply asks for a wait.
            retry_after_seconds=None
            if received.headers.keys().isdisjoint(RETRY_AFTER)
            else retry_after(received.headers, time.time()),
            streaming=body is not None and body.streaming,
        )

    def hold(self, received: Received, part: bytes) -> bool:
        """Hold back a part of the body. Returns true when enough was seen."""
        self.keeps(received, part)
        try:
            return self._shows_enough(part)
        except Exception as error:
            fault("looking at a reply", error)
            return True

    def _shows_enough(self, part: bytes) -> bool:
        body = self.observer.body
        if body is None:
            return True
        body.feed(part)
        if not body.legible:
            return True
        if not body.streaming:
            return self.held_bytes > LARGEST_HELD_DOCUMENT
        return (
            body.first_chunk_at is not None
            or body.failed
            or body.ended
            or body.events >= MOST_HELD_EVENTS
            or self.held_bytes >= MOST_HELD_BYTES
        )

    def drained(self, received: Received) -> None:
        """The body was read to its end."""
        received.drained = True
        body = self.observer.body
        if body is not None:
            body.end()

    def peeked(self, received: Received) -> Peeked:
        """What was read of a body, as the plan sees it."""
        body = self.observer.body
        answer = body.answer() if body is not None else Answer()
        if body is None or not body.legible:
            return Peeked(output=True)
        code = answer.error.code if answer.error is not None else None
        # Output first: an error after it is the caller's to see, for the call may not begin anew.
        if body.first_chunk_at is not None:
            return Peeked(output=True)
        if answer.error is not None or body.failed:
            return Peeked(failed=True, code=code)
        ended = (received.drained or body.ended) and self.call.operation != "other"
        # What could not be read may have been an answer all the same.
        is_empty = ended and not answer.complete and not body.begins_document
        return Peeked(empty=True) if is_empty else Peeked(output=True)

    def raised(self, error: Exception) -> Failure:
        """An exception, as the plan sees it; the attempt is over."""
        self.failure = Failure("other", reached=True, error=error)
        named, reached = failure_of(error)
        wire, began = self.wire, self.in_hand is not None
        # By the exception alone the server may have seen the request. What happened on the wire says more.
        if wire is not None and not began and named == "reset" and wire.connected and not wire.request_began:
            reached = False
        stale = wire is not None and not began and wire.reused and died_silently(error)
        counted = False
        if named == "reset":
            if not began and was_unprocessed(error, wire.stream_id if wire is not None else None):
                reached, stale = False, True  # a GOAWAY says so
            # One lost connection fails all of its streams, and is one failure of its target.
            counted = not self.routed.router.losses.is_new(error)
        self.failure = Failure(named, reached, stale, error, counted)
        self.observer.attempt_over(End("raised", error, named))
        return self.failure

    def is_for_caller(self, error: BaseException) -> bool:
        """Whether an exception is the one that the caller is to have, or a cancellation, and no fault of ours."""
        return error is self.final_error or not isinstance(error, Exception)

    def forget_errors(self) -> None:
        """Break the circle of an exception, its traceback, the frames there, and this."""
        self.failure = self.final_error = None

    def salvaged(self, error: BaseException) -> Received | None:
        """
        The reply to hand on although executing the plan failed, for a fault of ours costs the policy and not the call.

        None where nothing was sent: then the call goes out as if we were not here.

        Raises:
            the HTTP library's last exception, where there is no reply.
        """
        fault("performing a call", error)
        # Where its body broke, its caller is to know.
        if self.in_hand is not None and self.failure is None:
            return self.in_hand
        if self.kept is not None:
            self.observer.finish(End("exhausted"), kept=self.kept.number)
            return self.kept
        if self.sent is not None:  # it may have run: it does not go out once more
            self.failure = self.failure or Failure("other", reached=True)
            self._raise()
        self.observer.finish(End("raised", error))
        return None

    def too_late(self, cause: Exception | None) -> Failure:
        """A read took longer than it may: the library's own exception for that."""
        error = self.library.read_timeout("The reply took too long to begin.", request=self.request)
        error.__cause__ = cause
        return self.raised(error)

    def keeps(self, received: Received, part: bytes) -> bool:
        """Keep one more part of a reply that may yet be delivered. Returns whether there is room for others."""
        received.parts.append(part)
        self.held_bytes += len(part)
        return self.held_bytes <= LARGEST_HELD_DOCUMENT

    def keep(self) -> None:
        """Set the reply in hand aside, in case nothing better comes."""
        self.kept = self.in_hand
        self.observer.attempt_over(End("exhausted"))

    def deliverable(self, delivery: Deliver) -> Received:
        """The reply to hand on. Raises where the caller is to have an exception."""
        self.observer.skips(delivery.skipped)
        self.routed.served = delivery.served
        if delivery.spared:
            # A charge that was risked before is not undone by one that is avoided now.
            self.observer.duplicate = self.observer.duplicate or "raised"
        if delivery.failure is not None:
            self.routed.router.raises(self.routed, delivery)
            self.failure = delivery.failure
            del delivery  # the frame of a function that is left by an exception lives as long as that
            self._raise()
        received = self.kept if delivery.kept else self.in_hand
        assert received is not None, "a plan delivers only a reply that it was sent"
        if delivery.kept:
            self.observer.finish(End("exhausted"), kept=received.number)
        try:
            self._mark(received, final=delivery.final)
        except Exception as error:
            fault("marking the response", error)
        return received

    def _raise(self) -> NoReturn:
        """Raise the exception of `failure`."""
        error = self._final_error()
        context = error.__context__
        try:
            raise error
        finally:
            # An SDK calls again while it handles an exception, which Python would make the context of this one.
            error.__context__ = context or error.__context__
            del error, context

    def _final_error(self) -> BaseException:
        failure = self.failure
        assert failure is not None, "there is something to raise"
        error = failure.error
        if failure.kind == "deadline":
            last = self.library.read_timeout("The policy's deadline is spent.", request=self.request)
            last.__cause__ = error
            error = last
        if error is None:
            error = self.library.read_timeout("No target answered.", request=self.request)
        self.observer.finish(End("raised", error, failure.kind))
        self.final_error = error
        return error

    def _mark(self, received: Received, final: bool) -> None:
        """Name in the response who served."""
        response = received.response
        served = self.observer.served(received.number)
        for key, value in served.items():
            if value is not None:
                response.headers[f"x-byteplus-trace-{key.replace('_', '-')}"] = str(value)
        response.extensions["byteplus_trace"] = served
        if final:
            response.headers["x-should-retry"] = "false"
        if 300 <= response.status_code < 400:
            # Its client follows it with a request that has these extensions. A new dictionary, for this one
            # may be the caller's own.
            self.request.extensions = {**self.request.extensions, REDIRECTED: True}
