"""What a view says of the receiver, in one value that also goes from process to process."""

from __future__ import annotations

from typing import Protocol

import msgspec

from .breakers import Reading
from .store import Store


class Status(msgspec.Struct, frozen=True, array_like=True):
    """How it goes."""

    place: str = ""
    """Where spans come from: an address, or a file."""
    received: int = 0
    dropped: int = 0
    """Spans that had to make room for newer ones, in the store that all views read."""
    rejected: int = 0
    """Spans without valid ids, or beyond the most of one request."""
    refused: int = 0
    """Requests that were not taken."""
    refusal: str = ""
    """Why the last one was not."""
    troubles: list[str] = []
    """What does not work: keeping, forwarding, a receiver that is gone."""
    program: str = ""
    """The program that runs here, and how it goes."""
    exit_status: int | None = None
    """That of the program, once it has ended."""


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """What a view of another process has not seen yet."""

    number: int
    spans: list[bytes]
    readings: list[Reading]
    status: Status
    output: list[str] = []
    """The last lines of the program that runs there."""


class Source(Protocol):
    """Where a view has its calls from."""

    store: Store

    def status(self) -> Status: ...

    def output(self) -> list[str]:
        """The last lines of the program that runs here; none where there is no such program."""
