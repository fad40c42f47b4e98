"""
Run the frameworks and print a row for each.

    python -m tests.frameworks [NAME ...] [--most-used] [--environments DIR] [--write]

An environment is made where there is none. `--write` writes docs/frameworks.md; the exit status is 1 where
a framework differs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from .table import FRAMEWORKS, Framework

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "frameworks.md"
PROMISES = ("result", "bytes", "tokens", "parent", "rescued")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks")
    names = [each.name for each in FRAMEWORKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--most-used", action="store_true", help="the six most used alone")
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "frameworks")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"not known: {', '.join(sorted(unknown))} (known: {', '.join(names)})")
    chosen = [
        each
        for each in FRAMEWORKS
        if (not args.names or each.name in args.names) and (not args.most_used or each.most_used)
    ]
    rows, failed = [], False
    for framework in chosen:
        found = run(framework, args.environments / framework.name)
        failed = failed or not all(found.get(promise) for promise in PROMISES)
        rows.append(row(framework, found))
        print(rows[-1], flush=True)
    if args.write:
        PAGE.write_text(page(rows), encoding="utf-8")
    return int(failed)


def run(framework: Framework, environment: Path) -> dict[str, Any]:
    """What came of one framework; its error where it did not come to its end."""
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        install = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "-e",
            ROOT,
            *framework.requirements,
        ]
        subprocess.run(install, check=True)
    distributions = [re.split(r"[\[<>=]", each)[0] for each in framework.requirements]
    done = subprocess.run(
        [python, "-m", "tests.frameworks.inside", framework.name, *distributions],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"error": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def row(framework: Framework, found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found.get("versions", {}).items())
    cells = [framework.name, versions or "-"]
    cells += ["yes" if found.get(promise) else "**no**" for promise in PROMISES]
    cells += [
        f"{found.get(f'calls_{retries}', '-')} ({found.get(f'sends_{retries}', '-')})" for retries in (0, 2)
    ]
    return f"| {' | '.join([*cells, framework.lines])} |"


def page(rows: list[str]) -> str:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"""# Frameworks

Written by `python -m tests.frameworks --write` on {today}, with CPython {sys.version.split()[0]}: each framework in an environment of its
own, over real sockets, against the fake service. One chat plain, the same chat beside us, one that is rescued, and one that
fails everywhere.

| framework | versions | same result | same bytes sent | tokens seen | under its caller's span | rescued | calls (sends), retries off | calls (sends), retries 2 | what to write |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

*Calls (sends)* is how many calls, and sends of them, one request of its user became where both regions were down and each
answer had `x-should-retry: false`: more than 1 call is a framework that repeats although it was asked not to.
"""


if __name__ == "__main__":
    sys.exit(main())
