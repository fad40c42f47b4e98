"""
Performing a plan's steps for one call: what both colours share.

The two performers in `performers.py` add only what differs: calling the inner transport,
reading parts, sleeping and closing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._facts import Answer, Sending
from .._regions import DEFAULT_PORTS
from .._routing.steps import Deliver, Failure, Peeked, Reply, Send
from .._telemetry.guard import fault, guard
from .._wire.retry_after import retry_after
from .._wire.usage_filter import strainer
from .library import Library, content_of, failure_of, wanted_headers
from .rewrite import asks_usage, injected, origin, outgoing, rewritten_body, target_url
from .timeouts import Limits, WireWatch, died_silently

if TYPE_CHECKING:
    from .._telemetry.recorder import AttemptSpan
    from .instrumentation import Begun, Instrumentation

MOST_HELD_EVENTS = 64
MOST_HELD_BYTES = 256 * 1024
LARGEST_HELD_DOCUMENT = 32 * 1024 * 1024


class Held:
    """A reply in hand, and what was read of it."""

    __slots__ = ("drained", "headers", "number", "parts", "response", "rest", "size")

    def __init__(self, response: Any, number: int) -> None:
        self.response = response
        self.number = number
        self.headers: dict[str, str] = {}
        """Those that are looked at."""
        self.parts: list[bytes] = []
        self.size = 0
        self.rest: Any = None
        """The iterator that reading goes on with, once begun."""
        self.drained = False


class Performer:
    """One call's steps, up to where the colours part."""

    colour: str

    def __init__(
        self,
        library: Library,
        instrumentation: Instrumentation,
        request: Any,
        begun: Begun,
        transport_for: Callable[[Any], Any],
    ) -> None:
        assert begun.routed is not None, "what no policy moves is sent without a plan"
        self.routed = begun.routed
        self.library = library
        self.instrumentation = instrumentation
        self.request = request
        self.call = call = begun.call
        self.observer = begun.observer
        self.stripped = begun.stripped
        self.body = body = begun.body
        self.transport_for = transport_for
        self.asks_usage = body is not None and asks_usage(instrumentation.config, call)
        self.in_hand: Held | None = None
        self.kept: Held | None = None
        self.sent: Any = None
        self.word: BaseException | None = None
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

    def received(self, response: Any, step: Send) -> Held:
        """Response headers came."""
        held = self.in_hand = Held(response, step.number)
        if origin(self.sent.url) != origin(self.request.url):
            # The client would keep them for the host that its caller addressed, and send them there.
            response.headers.pop("set-cookie", None)
        headers = held.headers = wanted_headers(response.headers)
        content = content_of(response)
        if content is not None:
            headers.pop("content-encoding", None)
            held.parts, held.drained = [content], True
        self.observer.replied(response.status_code, headers)
        streaming = self.observer.body is not None and self.observer.body.streaming
        idles = self.limits.headers_received(step.idle_seconds if streaming else None)
        self.observer.idle_seconds = step.idle_seconds if idles else None
        if content is not None and self.observer.body is not None:
            self.observer.body.feed(content)
            self.observer.body.end()
        return held

    def remaining_seconds(self) -> float | None:
        """What is left of the attempt's share of the deadline."""
        return max(self.until - time.monotonic(), 0.0) if self.until is not None else None

    def reply(self, held: Held) -> Reply:
        """What the plan is told of a reply."""
        code = None
        body = self.observer.body
        if held.response.status_code >= 400 and held.drained and body is not None:
            error = body.answer().error
            code = error.code if error is not None else None
        return Reply(
            status=held.response.status_code,
            code=code,
            retry_after_seconds=retry_after(held.headers, time.time()),
            streaming=body is not None and body.streaming,
        )

    def hold(self, held: Held, part: bytes) -> bool:
        """Take a peeked part; true when enough was seen."""
        held.parts.append(part)
        held.size += len(part)
        body = self.observer.body
        if body is None:
            return True
        body.feed(part)
        if not body.legible:
            return True
        if not body.streaming:
            return held.size > LARGEST_HELD_DOCUMENT
        return (
            body.first_chunk_at is not None
            or body.failed
            or body.ended
            or body.events >= MOST_HELD_EVENTS
            or held.size >= MOST_HELD_BYTES
        )

    def drained(self, held: Held) -> None:
        """The peeked body came to its end."""
        held.drained = True
        body = self.observer.body
        if body is not None:
            body.end()

    def peeked(self, held: Held) -> Peeked:
        """What the plan is told of a held body."""
        body = self.observer.body
        answer = body.answer() if body is not None else Answer()
        if body is None or not body.legible:
            return Peeked(output=True)
        code = answer.error.code if answer.error is not None else None
        if body.first_chunk_at is not None:
            return Peeked(output=True)
        if answer.error is not None or body.failed:
            return Peeked(failed=True, code=code)
        ended = (held.drained or body.ended) and self.call.operation != "other"
        # What could not be read may have been an answer all the same.
        is_empty = ended and not answer.complete and not body.begins_document
        return Peeked(empty=True) if is_empty else Peeked(output=True)

    def raised(self, error: Exception) -> Failure:
        """What the plan is told of an exception; the attempt is over."""
        named, reached = failure_of(error)
        wire, began = self.wire, self.in_hand is not None
        if wire is not None and not began and named == "reset" and wire.connected and not wire.request_began:
            reached = False
        stale = wire is not None and not began and wire.reused and died_silently(error)
        self.observer.attempt_over("raised", error, named)
        return Failure(named, reached, stale, error)

    def is_unsent_by_a_fault_of_ours(self, error: BaseException) -> bool:
        """Whether we and not the HTTP library failed, before anything was sent: then the call goes as if we were not here."""
        if self.sent is not None or error is self.word or not isinstance(error, Exception):
            return False
        fault("performing a call", error)
        return True

    def too_late(self, cause: Exception | None) -> Failure:
        """A peek took longer than it may: the library's own word for that."""
        error = self.library.read_timeout("The reply took too long to begin.", request=self.request)
        error.__cause__ = cause
        return self.raised(error)

    def keep(self) -> None:
        """Set the reply in hand aside, in case nothing better comes."""
        self.kept = self.in_hand
        self.observer.attempt_over("exhausted")

    def deliverable(self, delivery: Deliver) -> Held:
        """The reply to hand on; where it is to be an exception, that is raised."""
        self.observer.skips(delivery.skipped)
        self.routed.served = delivery.served
        if delivery.spared:
            # A charge that was risked before is not undone by one that is avoided now.
            self.observer.duplicate = self.observer.duplicate or "raised"
        if delivery.failure is not None:
            self.routed.router.raises(self.routed, delivery)
            word = self._final_failure(delivery.failure)
            came_of = word.__context__
            try:
                raise word
            finally:
                # Raised here, it would come of what its caller is handling: SDKs call again while they do that.
                word.__context__ = came_of or word.__context__
        held = self.kept if delivery.kept else self.in_hand
        assert held is not None, "a plan delivers only what it was sent"
        if delivery.kept:
            self.observer.finish("exhausted", kept=held.number)
        with guard("marking the response"):
            self._mark(held, final=delivery.final)
        return held

    def _final_failure(self, failure: Failure) -> BaseException:
        error = failure.error
        if failure.kind == "deadline":
            last = self.library.read_timeout("The policy's deadline is spent.", request=self.request)
            last.__cause__ = error
            error = last
        if error is None:
            error = self.library.read_timeout("No target answered.", request=self.request)
        self.observer.finish("raised", error, failure.kind)
        self.word = error
        return error

    def _mark(self, held: Held, final: bool) -> None:
        """Say on the response who served."""
        served = self.observer.served(held.number)
        facts = {key: str(value) for key, value in served.items() if value is not None}
        for key, value in facts.items():
            held.response.headers[f"x-byteplus-trace-{key.replace('_', '-')}"] = value
        held.response.extensions["byteplus_trace"] = served
        if final:
            held.response.headers["x-should-retry"] = "false"

    def settle(self, held: Held, stream: Callable[..., Any]) -> Any:
        """Put the observed stream into a response and hand it on."""
        response = held.response
        if content_of(response) is None:
            response.stream = stream(
                response.stream,
                self.observer,
                held=held.parts,
                rest=held.rest,
                whole=held.drained,
                strained=self._strainer(held),
            )
        body = self.observer.body
        if held.drained:
            self.observer.exhausted()
        elif body is not None and body.ended:
            self.observer.finish("complete")
        return response

    def _strainer(self, held: Held) -> Any:
        return strainer(held.headers) if self.asks_usage and held.response.status_code < 400 else None
