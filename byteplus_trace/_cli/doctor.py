"""
`byteplus-trace doctor`: is everything there, does it work, and if not, what to do.

`checks.py` looks, this module prints. Only a failure, something that would stop the library
from working in this process, makes the exit status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from shutil import get_terminal_size
from textwrap import wrap

from .checks import Finding, Status, Surroundings, examine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Check this environment. Exits with 1 where the library could not work in it; warnings do not count."
    )
    parser.add_argument("--offline", action="store_true", help="leave out what needs a network")
    parser.add_argument(
        "--timeout", type=float, default=3.0, metavar="SECONDS", help="for each host (default: 3)"
    )


def run(args: argparse.Namespace) -> int:
    findings = examine(Surroundings(os.environ, args.offline, args.timeout))
    _show(findings)
    return 1 if any(finding.status == "fail" for finding in findings) else 0


_MARKS: Mapping[Status, tuple[str, str]] = {
    "ok": ("ok  ", "\033[32m"),
    "warn": ("warn", "\033[33m"),
    "fail": ("FAIL", "\033[1;31m"),
}


def _show(findings: list[Finding]) -> None:
    """One line a finding, its advice beneath; colours on a terminal only."""
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    widest = max(len(finding.subject) for finding in findings)
    room = max(get_terminal_size((100, 24)).columns - widest - 8, 40)
    for finding in findings:
        mark, colour = _MARKS[finding.status]
        shown = f"{colour}{mark}\033[0m" if colours else mark
        lines = [*wrap(finding.found, room), *wrap(f"-> {finding.advice}" if finding.advice else "", room)]
        for at, line in enumerate(lines):
            before = f"{shown}  {finding.subject:<{widest}}" if at == 0 else " " * (widest + 6)
            print(f"{before}  {line}")
    counts = {status: sum(finding.status == status for finding in findings) for status in _MARKS}
    print(f"\n{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} to mend")
