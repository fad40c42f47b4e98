"""The methods with which a test scripts one region."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from . import faults, handler
from .odd_replies import ODD_REPLIES
from .server import Loop, RegionServer
from .values import Received, Wording


class FakeRegion:
    """
    One region of a fake ModelArk: its script, and the requests that it received.

    Every fault takes `times` (how many requests it meets; None: until `recovers()`) and
    `on` (an API such as `chat_completions`, an operation such as `chat`, or a model; None: all).
    """

    ODD_REPLIES: ClassVar[tuple[str, ...]] = tuple(ODD_REPLIES)
    """The names that `answers_oddly` takes."""

    def __init__(self, name: str, port: int, *, compress: bool, keeps: int | None, vague: bool) -> None:
        self.name = name
        self._region = handler.ServedRegion(name, vague=vague)
        self._listener = RegionServer(self._region, port, compress=compress, keeps=keeps)
        self._loop: Loop | None = None

    def __repr__(self) -> str:
        return f"FakeRegion({self.name!r}, {self.base_url!r}, requests={len(self.requests)})"

    @property
    def base_url(self) -> str:
        """Where it listens, for any SDK's `base_url=`."""
        return f"http://127.0.0.1:{self.port}/api/v3"

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1; the same after it refused connections."""
        return self._listener.port

    @property
    def requests(self) -> list[Received]:
        """The requests received, oldest first."""
        return self._listener.requests

    @property
    def keys(self) -> Mapping[str, str]:
        """Name to secret of the keys that are accepted; with none, every key is. A request without one gets a 401."""
        return self._region.keys

    @keys.setter
    def keys(self, keys: Mapping[str, str]) -> None:
        if not isinstance(keys, Mapping):
            raise TypeError(
                f"keys map a name to each secret, such as {{'shop': 'sk-1'}}; a {type(keys).__name__} has no names."
            )
        self._region.keys = dict(keys)

    def serves(self, *models: str) -> None:
        """Have only these models (patterns such as `seed-2-0-*`); others get a 404."""
        self._region.serves = models

    def answers(
        self,
        text: str | None = None,
        *,
        reasoning: str | None = None,
        usage: Mapping[str, Any] | None = None,
        finish_reason: str | None = None,
        model: str | None = None,
        fallback_from: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        times: int | None = None,
        on: str | None = None,
    ) -> None:
        """
        FakeReply with these values; None means the usual one.

        Args:
            usage: as it stands on the wire, instead of the counted one.
            model: the model that the reply names.
            fallback_from: the reply states that the service answered in place of this model.
            arguments: of a tool call.
        """
        written = None if arguments is None else json.dumps(arguments)
        wording = Wording(text, reasoning, usage, finish_reason, model, fallback_from, written)
        self._region.script.add(wording, times, on)

    def fails(
        self,
        status: int,
        *,
        code: str | None = None,
        message: str = "The request failed.",
        retry_after: float | str | None = None,
        retry_after_ms: int | None = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
        on: str | None = None,
    ) -> None:
        """Answer with this status and ModelArk's error envelope; `code` follows from the status where it is None."""
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"status={status!r}: write a status from 200 to 599, such as 503")
        sent = [*(headers or {}).items()]
        if retry_after is not None:
            sent.append(("retry-after", str(retry_after)))
        if retry_after_ms is not None:
            sent.append(("retry-after-ms", str(retry_after_ms)))
        known = code or faults.DEFAULT_CODES.get(status, "InternalServiceError")
        self._region.script.add(faults.Fails(status, known, message, tuple(sent)), times, on)

    def throttles(
        self, *, retry_after: float | str | None = None, times: int | None = None, on: str | None = None
    ) -> None:
        """Answer 429, as to an endpoint that is over its requests per minute."""
        self.fails(429, retry_after=retry_after, times=times, on=on)

    def refuses(self) -> None:
        """Refuse connections until `accepts()` or `recovers()`: the port stays ours, nothing listens, idle connections are gone."""
        self._running().run(self._listener.refuse())

    def accepts(self) -> None:
        """Accept connections again; the rest of the script stays."""
        self._running().run(self._listener.open())

    def hangs(
        self, *, after_events: int | None = None, times: int | None = None, on: str | None = None
    ) -> None:
        """Take the request and send nothing until `recovers()`; or, of a stream, after so many events."""
        self._region.script.add(faults.Hangs(after_events), times, on)

    def resets(self, *, times: int | None = None, on: str | None = None) -> None:
        """Take the request and reset the connection."""
        self._region.script.add(faults.Leaves(reset=True), times, on)

    def closes(self, *, times: int | None = None, on: str | None = None) -> None:
        """Take the request and close the connection without a reply."""
        self._region.script.add(faults.Leaves(reset=False), times, on)

    def cuts(
        self,
        *,
        after_events: int = 1,
        reset: bool = False,
        times: int | None = None,
        on: str | None = None,
    ) -> None:
        """
        End the connection in the body, once so many events of a stream have gone, or half of a document.

        The end is a FIN in the middle of a chunk, or with `reset` a RST.
        """
        self._region.script.add(faults.Cuts(after_events, reset), times, on)

    def delays(
        self,
        *,
        headers: float = 0.0,
        first_event: float = 0.0,
        between: float = 0.0,
        times: int | None = None,
        on: str | None = None,
    ) -> None:
        """Take so many seconds before the headers, the first event (or the body of a document), and each later one. Adds to any other fault."""
        self._region.script.add(faults.Delays(headers, first_event, between), times, on)

    def errors_in_stream(
        self,
        *,
        after_events: int = 0,
        code: str = "InternalServiceError",
        message: str = "The service encountered an unexpected internal error.",
        times: int | None = None,
        on: str | None = None,
    ) -> None:
        """Send an error event, in the API's own form, in place of the rest of a stream."""
        self._region.script.add(faults.ErrorInStream(after_events, code, message), times, on)

    def fails_responses(
        self,
        *,
        after_events: int = 2,
        code: str = "server_error",
        message: str = "The model encountered an internal error while generating a response.",
        times: int | None = None,
    ) -> None:
        """Answer `/responses` with 200 and a response that failed; of a stream, `response.failed` after so many events."""
        self._region.script.add(faults.ResponseFailed(after_events, code, message), times, None)

    def answers_empty(self, *, times: int | None = None, on: str | None = None) -> None:
        """Answer 200 with no body."""
        self.replays(b"", times=times, on=on)

    def answers_html(self, *, times: int | None = None, on: str | None = None) -> None:
        """Answer 200 with a page, as a proxy in between might."""
        self.replays(b"<html><body>Welcome</body></html>", content_type="text/html", times=times, on=on)

    def answers_garbage(self, *, times: int | None = None, on: str | None = None) -> None:
        """Answer with bytes that are not HTTP, and close."""
        self._region.script.add(faults.Garbage(b"\x16\x03\x01 this is no HTTP\r\n\r\n"), times, on)

    def answers_oddly(
        self, name: str, *, after_events: int = 1, times: int | None = None, on: str | None = None
    ) -> None:
        """
        Answer 200 with a reply that is none: one of `ODD_REPLIES`.

        Args:
            name: `only_end`, `error_first`, `error_last`, `error_and_end`, `unreadable_first` and `ends_early`
                meet only requests for a stream.
            after_events: for `ends_early`, the events before the end. The connection ends well, unlike in `cuts()`.

        Raises:
            ValueError: there is no such reply; the message lists those that there are.
        """
        if name not in ODD_REPLIES:
            raise ValueError(f"There is no odd reply {name!r} (there are: {', '.join(ODD_REPLIES)}).")
        self._region.script.add(faults.Odd(name, after_events), times, on)

    def replays(
        self,
        body: bytes,
        *,
        content_type: str = "application/json",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
        on: str | None = None,
    ) -> None:
        """Answer with these bytes; of a `text/event-stream`, event by event."""
        written = faults.Replays(body, status, content_type, tuple((headers or {}).items()))
        self._region.script.add(written, times, on)

    def recovers(self) -> None:
        """Forget every fault and `answers`, end every wait and accept connections."""
        self._region.script.clear()
        self._running().run(self._listener.recover())

    def _running(self) -> Loop:
        if self._loop is None:
            raise RuntimeError("The fake ModelArk is not running: use it in a `with`, or call start() first.")
        return self._loop

    def start(self, loop: Loop) -> None:
        """Listen; part of `ModelArk.start()`."""
        self._loop = loop
        loop.run(self._listener.open())

    def stop(self) -> None:
        """End every connection; part of `ModelArk.stop()`."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.run(self._listener.close())
