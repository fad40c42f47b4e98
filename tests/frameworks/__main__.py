"""
Run the frameworks and print what each did.

    python -m tests.frameworks [NAME ...] [--most-used] [--environments DIR] [--write]

An environment is made where there is none, and made anew where its framework needs something else. `--write` runs all
of them and writes docs/frameworks.md and the table of docs/routing.md; the exit status is 1 where a framework differs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .table import FRAMEWORKS, Framework

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "frameworks.md"
ROUTING = ROOT / "docs" / "routing.md"
REPEATS = re.compile(r"(?s)(?<=<!-- the repeats -->\n).*?(?=<!-- that was the repeats -->)")
LONGEST = 300
SURROUNDINGS = {
    "PYTHONPATH": str(ROOT),
    "OTEL_TRACES_EXPORTER": "none",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks a server for its prices, three times where there is none
}
PROMISES = ("result", "sent", "tokens", "parent", "rescued")
TRACED = ("traced", "undisturbed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks")
    names = [each.name for each in FRAMEWORKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--most-used", action="store_true", help="the six most used alone")
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "frameworks")
    parser.add_argument("--write", action="store_true", help=f"all of them, to {PAGE.relative_to(ROOT)}")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"not known: {', '.join(sorted(unknown))} (known: {', '.join(names)})")
    if args.write and (args.names or args.most_used):
        parser.error("--write is of a run of all frameworks")
    chosen = [
        each
        for each in FRAMEWORKS
        if (not args.names or each.name in args.names) and (not args.most_used or each.most_used)
    ]
    results = []
    for framework in chosen:
        found = run(framework, args.environments / framework.name)
        results.append((framework, found))
        for line in (
            harm_row(framework, found),
            tracing_row(framework, found),
            repeats_row(framework, found),
        ):
            print(line, flush=True)
    if args.write:
        PAGE.write_text(page(results), encoding="utf-8")
        routing = ROUTING.read_text(encoding="utf-8")
        ROUTING.write_text(REPEATS.sub(lambda _: repeats(results), routing), encoding="utf-8")
    return int(not all(is_unharmed(framework, found) for framework, found in results))


def run(framework: Framework, environment: Path) -> dict[str, Any]:
    """The figures of one framework; under `without` why there are none."""
    requirements = [*framework.requirements]
    if framework.tracing is not None and framework.tracing.requirement:
        requirements.append(framework.tracing.requirement)
    error = install(requirements, environment)
    if error is not None:
        return {"without": f"could not be installed: {error}"}
    distributions = [re.split(r"[\[<>=]", each)[0] for each in requirements]
    streams = "no streams" if framework.no_streams else "streams"
    command = [environment / "bin" / "python", "-m", "tests.frameworks.inside", framework.name, streams]
    try:
        done = subprocess.run(
            [*command, *distributions],
            cwd=ROOT,
            env={**os.environ, **SURROUNDINGS},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"without": f"did not come to its end in {LONGEST} s"}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"without": f"did not come to its end: {done.stderr.strip().splitlines()[-1]}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def install(requirements: list[str], environment: Path) -> str | None:
    """Make the environment where it is not there with just these requirements; why it could not be made."""
    installed = environment / "requirements.txt"
    if installed.exists() and installed.read_text() == "\n".join(requirements):
        return None
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", ROOT]
    done = subprocess.run([*pip, *requirements], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    installed.write_text("\n".join(requirements))
    return None


def is_unharmed(framework: Framework, found: dict[str, Any]) -> bool:
    promises = PROMISES + (TRACED if framework.tracing is not None else ())
    return all(found.get(promise) for promise in promises)


def yes_or_no(found: dict[str, Any], promise: str) -> str:
    return "yes" if found.get(promise) else "**no**"


def table_row(framework: Framework, found: dict[str, Any], cells: list[str]) -> str:
    if "without" in found:
        cells = [found["without"], *[""] * (len(cells) - 1)]
    return f"| {' | '.join([framework.name, *cells])} |"


def harm_row(framework: Framework, found: dict[str, Any]) -> str:
    of_tracing = framework.tracing.requirement if framework.tracing is not None else ""
    versions = [
        f"{name} {version}" for name, version in found.get("versions", {}).items() if name != of_tracing
    ]
    streams = f"none: {framework.no_streams}" if framework.no_streams else "yes"
    return table_row(
        framework,
        found,
        [
            ", ".join(versions) or "-",
            *(yes_or_no(found, promise) for promise in PROMISES),
            streams,
            framework.lines,
        ],
    )


def tracing_row(framework: Framework, found: dict[str, Any]) -> str:
    if framework.tracing is None:
        return table_row(framework, found, [framework.no_tracing, "", "", "", ""])
    title, requirement = framework.tracing.title, framework.tracing.requirement
    if requirement:
        title += f": {requirement} {found.get('versions', {}).get(requirement, '-')}"
    spans = [str(found.get(f"model spans of {whose}", "-")) for whose in ("theirs", "ours")]
    return table_row(framework, found, [title, *(yes_or_no(found, promise) for promise in TRACED), *spans])


def repeats_row(framework: Framework, found: dict[str, Any]) -> str:
    calls = [
        f"{found.get(f'calls_{retries}', '-')} ({found.get(f'sends_{retries}', '-')})" for retries in (0, 2)
    ]
    repeats = [found.get(f"calls_{retries}", 1) > 1 for retries in (0, 2)]
    return table_row(
        framework, found, [*calls, "**always**" if repeats[0] else "**yes**" if repeats[1] else "no"]
    )


def source() -> str:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"by `python -m tests.frameworks --write` on {today}, with CPython {sys.version.split()[0]}"


def repeats(results: list[tuple[Framework, dict[str, Any]]]) -> str:
    return f"""\
Written {source()}; [frameworks](frameworks.md) has the versions.

| framework | calls (sends), retries off | calls (sends), retries 2 | repeats although asked not to |
|---|---|---|---|
{chr(10).join(repeats_row(*each) for each in results)}
"""


def page(results: list[tuple[Framework, dict[str, Any]]]) -> str:
    return f"""# Frameworks

Written {source()}: each framework in an environment of its own, over real sockets, against the fake service, a document
and a stream in each setting.

## With this library

Each without it, observed, and with a policy while its first region answers 503.

| framework | versions | same result | same bytes sent | one call, its tokens, counted once | under its caller's span | rescued | streams too | what to write |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(harm_row(*each) for each in results)}

## Beside its own tracing

The framework's own tracing alone, and with us, into one trace.

| framework | its own tracing | result, sends, calls, tokens and parents as without it | its spans as without us | model calls among its spans | among ours |
|---|---|---|---|---|---|
{chr(10).join(tracing_row(*each) for each in results)}

The series count each call once, whoever else traces it. Where both of the last two columns are 1, whoever adds up tokens
over spans counts them twice: use one of the two, or add up those of one scope.
[Beside other instrumentations](tracing.md#beside-other-instrumentations) says which step aside.

Which of them send again although they were asked not to: [SDKs that repeat](routing.md#sdks-that-repeat).
"""


if __name__ == "__main__":
    sys.exit(main())
