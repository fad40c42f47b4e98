"""What a check found, and how a list of findings is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from textwrap import wrap
from typing import Literal

from .._telemetry.console import takes_colours

Status = Literal["ok", "warn", "fail"]

_MARKS: Mapping[Status, tuple[str, str]] = {
    "ok": ("ok  ", "\033[2m"),
    "warn": ("warn", "\033[1;36m"),
    "fail": ("FAIL", "\033[1;33m"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    status: Status
    subject: str
    found: str
    advice: str = ""


class Report(tuple[Finding, ...]):
    """Findings in their order. As text it is what `doctor` prints; `ok` says that none is a failure."""

    def __new__(cls, findings: Sequence[Finding]) -> Report:
        return super().__new__(cls, findings)

    @property
    def ok(self) -> bool:
        """Whether nothing stops the library from working."""
        return all(finding.status != "fail" for finding in self)

    @property
    def counts(self) -> str:
        """How many findings of each kind there are."""
        count = {status: sum(finding.status == status for finding in self) for status in _MARKS}
        return f"{count['ok']} ok, {count['warn']} to look at, {count['fail']} to mend"

    def __repr__(self) -> str:
        return f"<Report: {self.counts}>"

    def __str__(self) -> str:
        return "\n".join([*self._lines(), "", self.counts])

    def _lines(self) -> Iterator[str]:
        """One line a finding, its advice beneath; colours on a terminal only."""
        colours = sys.stdout is not None and takes_colours(sys.stdout)
        widest = max((len(finding.subject) for finding in self), default=0)
        width = max(get_terminal_size((100, 24)).columns - widest - 8, 40)
        for finding in self:
            mark, colour = _MARKS[finding.status]
            shown = f"{colour}{mark}\033[0m" if colours else mark
            texts = [_printable(finding.found), *([f"-> {finding.advice}"] if finding.advice else [])]
            # A command or a path that is cut at a hyphen cannot be copied.
            lines = [line for text in texts for line in wrap(text, width, break_on_hyphens=False)]
            for at, line in enumerate(lines):
                before = f"{shown}  {finding.subject:<{widest}}" if at == 0 else " " * (widest + 6)
                yield f"{before}  {line}"


def _printable(text: str) -> str:
    """A server's words without what would reach a terminal raw."""
    return "".join(each if each.isprintable() else "?" for each in text)
