"""The suites: what each is called, where it is, and how long it may take."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from .figures import Figures


@dataclass(frozen=True, slots=True)
class Suite:
    """A module of this package with `run(thorough)`, which yields figures."""

    name: str
    what: str
    quick: bool = True
    """In `--ci`."""
    seconds: int = 600
    """After which it is ended, and has failed; ten times that where it is thorough."""

    def run(self) -> Callable[[bool], Iterator[Figures]]:
        """The function that does the work; its module is imported now."""
        module = importlib.import_module(f"tests.report.{self.name}")
        return cast("Callable[[bool], Iterator[Figures]]", module.run)


SUITES = (
    Suite(
        "transparency", "The same calls with and without us: requests, replies and exceptions are compared."
    ),
    Suite("faults", "Every seam fails, alone and in pairs; the network fails at every byte of a reply."),
    Suite("ends", "A call ends in every way, and so does its process. Spans go to a synchronous processor."),
    Suite(
        "load", "Mixed calls, 200 in flight, while regions fail, throttle, reset, cut and wait.", seconds=900
    ),
    Suite("secrets", "Canaries in all that a call holds, looked for in all that we put out."),
    Suite("fuzz", "Bytes made by a fuzzer that sees which lines they reach.", quick=False, seconds=1800),
    Suite(
        "neighbours",
        "Other libraries that patch, record or replay the same calls.",
        quick=False,
        seconds=1800,
    ),
    Suite(
        "versions",
        "Every CPython of this machine; the oldest and the newest dependencies.",
        quick=False,
        seconds=3600,
    ),
)
