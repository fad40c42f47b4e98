"""What a suite counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Figures:
    """
    One row of the report: what was tried, and what harm came of it.

    Every number is counted while the suite runs. `failures` are what no number says, such as an exception that
    differs; each is one sentence.
    """

    part: str
    inputs: int = 0
    faults: int = 0
    calls: int = 0
    spans_lost: int = 0
    bytes_changed: int = 0
    canaries_leaked: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def require(self, holds: bool, failure: str) -> None:
        """Note a failure where this does not hold."""
        if not holds:
            self.failures.append(failure)

    @property
    def harm(self) -> list[str]:
        """Why this row fails; empty where it does not."""
        counted = {
            "spans lost": self.spans_lost,
            "bytes changed": self.bytes_changed,
            "canaries leaked": self.canaries_leaked,
        }
        # A suite that did nothing has shown nothing.
        idle = ["nothing was tried"] if not (self.inputs or self.calls) else []
        return [f"{count} {name}" for name, count in counted.items() if count] + self.failures + idle

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def bytes_that_differ(one: bytes, other: bytes) -> int:
    """How many bytes of either are not in the other at the same place."""
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))
