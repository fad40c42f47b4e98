"""
Run suites, print a row for each part, and write docs/reliability.md.

    python -m tests.report [NAME ...] [--ci] [--thorough]

Each suite runs in a process of its own, in bounded memory and time, and what it started is ended with it. The exit
status is 1 where a suite fails. A section of the page is written anew for each suite that was run.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .figures import Figures
from .suites import SUITES, Suite

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
DISTRIBUTIONS = (
    "byteplus-trace", "httpx", "httpx2", "msgspec", "opentelemetry-sdk", "prometheus-client", "wrapt", "hypothesis",
)  # fmt: skip
HEADINGS = ("what", "inputs", "faults", "calls", "spans lost", "bytes changed", "canaries leaked", "noted", "command")  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """What came of one suite."""

    suite: Suite
    command: str
    rows: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    most_memory_mb: int | None = None

    @property
    def failed(self) -> bool:
        """Whether anything of it is not as promised."""
        return bool(self.failures or any(row.harm for row in self.rows))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.report")
    names = [suite.name for suite in SUITES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--ci", action="store_true", help="the quick ones alone, and write nothing")
    parser.add_argument("--thorough", action="store_true", help="ten times as much, or more")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"not known: {', '.join(sorted(unknown))} (known: {', '.join(names)})")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    outcomes = []
    for suite in SUITES:
        if (suite.name in args.names) if args.names else (suite.quick or not args.ci):
            outcomes.append(run(suite, args.thorough))
            print(summary(outcomes[-1]), flush=True)
            if not args.ci:
                before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
                PAGE.write_text(page(before, outcomes[-1]), encoding="utf-8")
    return int(any(outcome.failed for outcome in outcomes))


def run(suite: Suite, thorough: bool) -> Outcome:
    """Run one suite to its end, or until its time is over; nothing that it started is left."""
    outcome = Outcome(suite, f"python -m tests.report {suite.name}{' --thorough' * thorough}")
    command = [sys.executable, "-m", "tests.report.inside", suite.name, *["thorough"] * thorough]
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "BYTEPLUS_TRACE_"))
    }
    began = time.monotonic()
    most_seconds = suite.seconds * (10 if thorough else 1)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:

        def end() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        alarm = threading.Timer(most_seconds, end)
        alarm.daemon = True
        alarm.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                found = json.loads(line)
                outcome.most_memory_mb = found.get("most_memory_mb")
                if "row" in found:
                    outcome.rows.append(Figures(**found["row"]))
            process.wait()
        finally:
            alarm.cancel()
            end()
    outcome.seconds = time.monotonic() - began
    if process.returncode:
        why = (
            f"not done after {most_seconds} s"
            if outcome.seconds >= most_seconds
            else f"exit status {process.returncode}"
        )
        outcome.failures.append(f"{suite.name}: {why}")
    elif not outcome.rows:
        outcome.failures.append(f"{suite.name}: nothing was tried")
    return outcome


def summary(outcome: Outcome) -> str:
    """For a terminal."""
    lines = [f"{outcome.suite.name}: {'FAILED' if outcome.failed else 'ok'} in {outcome.seconds:.0f} s"]
    for row in outcome.rows:
        counts = f"{row.inputs} inputs, {row.faults} faults, {row.calls} calls"
        harm = f"{row.spans_lost} spans lost, {row.bytes_changed} bytes changed, {row.canaries_leaked} canaries leaked"
        lines.append(f"  {row.part}: {counts}; {harm}{''.join(f'; {note}' for note in row.notes)}")
        lines += [f"    ! {each}" for each in row.harm[:20]]
    return "\n".join([*lines, *(f"  ! {each}" for each in outcome.failures)])


def page(before: str, outcome: Outcome) -> str:
    """The page with a new section for this suite; the others stay."""
    sections = dict(re.findall(r"^<!-- (.+?) -->\n(.*?)(?=^<!-- |\Z)", before, re.DOTALL | re.MULTILINE))
    sections[outcome.command] = section(outcome)
    order = [f"python -m tests.report {suite.name}{size}" for suite in SUITES for size in ("", " --thorough")]
    body = "\n\n".join(f"<!-- {name} -->\n{sections[name].strip()}" for name in order if name in sections)
    return f"""# Reliability

What was tried to make the library hurt a call, and what came of it. `python -m tests.report` wrote this page: every number
was counted by the run that its section names, and the command of a row repeats it. It runs from a checkout with the `test`
extra. *Spans lost* are calls without a span; they are counted with a synchronous span processor, as batch processors drop by
design. *Bytes changed* are bytes of a request or of a reply that differ from those without us. *Canaries leaked* are secrets
that were found where no secret may be. What is promised is in [SECURITY.md](../SECURITY.md).

{body}
"""


def section(outcome: Outcome) -> str:
    """One suite's."""
    now = datetime.datetime.now(tz=datetime.UTC)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in DISTRIBUTIONS)
    title = outcome.suite.name + (", thorough" if "--thorough" in outcome.command else "")
    memory = f", at most {outcome.most_memory_mb} MB" if outcome.most_memory_mb else ""
    head = [
        f"## {title}",
        "",
        outcome.suite.what,
        "",
        f"{now:%Y-%m-%d}, CPython {sys.version.split()[0]}, {versions}. {outcome.seconds:.0f} s{memory}.",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|" + "---|" * len(HEADINGS),
    ]
    failed = [f"- **Failed:** {each}" for each in [*outcome.failures, *(f"{row.part}: {each}" for row in outcome.rows for each in row.harm[:20])]]  # fmt: skip
    return "\n".join(
        [*head, *(line(row, outcome.command) for row in outcome.rows), *([""] * bool(failed)), *failed]
    )


def line(row: Figures, command: str) -> str:
    """One row of a table."""
    counts = (row.inputs, row.faults, row.calls, row.spans_lost, row.bytes_changed, row.canaries_leaked)
    cells = [row.part, *(f"{count:,}" for count in counts), "; ".join(row.notes), f"`{command}`"]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
