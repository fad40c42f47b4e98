"""
`byteplus-trace`, and `python -m byteplus_trace`.

A command is a module of this folder with two functions: `add_arguments(parser)` and
`run(args) -> int`. Only the module of the command in question is imported, so a missing
extra stops that command alone, and `--help` costs nothing. What stands after `--` is a
program to run, which `args.program` holds.

Exit status: 0 done, 1 failed, 2 the request cannot be carried out, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from .._errors import SettingError
from .._regions import did_you_mean
from .._version import __version__

COMMANDS = {
    "demo": "watch real calls become spans and series, against a ModelArk inside this process",
    "watch": "see the calls of your own program as they end, in a terminal or a browser",
    "doctor": "check what is installed, patched, reachable and misconfigured, and say what to do",
    "simulate": "run a fake ModelArk, alone or for a program: simulate -- python app.py",
    "traffic": "drive steady, eventful traffic, so that dashboards have something to show",
    "prices": "show the prices that costs are estimated with, their age and source",
    "dashboards": "write the Grafana dashboards and the Prometheus rules",
    "config": "check a policy file and show how it is understood",
}

# The commands that run a program: `byteplus-trace simulate -- python app.py`.
RUN_PROGRAMS = frozenset({"simulate", "watch"})

# A package that may be missing, and the extra that installs it.
EXTRAS = {
    "openai": "demo",
    "rich": "demo",
    "httpx2": "httpx2",
    "textual": "watch",
    "textual_serve": "watch",
    "aiohttp": "watch",
    "grafana_foundation_sdk": "dashboards",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    program: list[str] = []
    empty = False
    if "--" in arguments:
        at = arguments.index("--")
        arguments, program = arguments[:at], arguments[at + 1 :]
        empty = not program
    name = next((each for each in arguments if not each.startswith("-")), None)
    if empty and name in ("simulate", "watch"):
        return _refuse(f"No program follows '--': byteplus-trace {name} -- python app.py", 2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the console cannot write, such as a target's on a Windows-1252 one, is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    try:
        return _run(arguments, name, program)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the pipe closed it; without this the interpreter complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SettingError as error:
        return _refuse(str(error), 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        return _refuse(
            f"'{name}' needs {package}, which is not installed: pip install 'byteplus-trace[{EXTRAS[package]}]'",
            1,
        )


class _Parser(argparse.ArgumentParser):
    """One that names what was meant, also for what belongs to a command."""

    def error(self, message: str) -> NoReturn:
        # Its quotes around choices come and go with Python's versions.
        wrong = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if wrong is not None:
            message += "." + did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        super().error(message)


def _run(arguments: Sequence[str], chosen: str | None, program: Sequence[str]) -> int:
    parser = _Parser(
        prog="byteplus-trace",
        description="See, measure and survive every BytePlus ModelArk call, inside your own process.",
        epilog="In your own application: import byteplus_trace; byteplus_trace.instrument()",
    )
    if chosen is not None and chosen not in COMMANDS:
        return _refuse(
            f"{chosen!r} is no command (there is: {', '.join(COMMANDS)}).{did_you_mean(chosen, COMMANDS)}", 2
        )
    if program and chosen not in RUN_PROGRAMS:
        return _refuse(
            f"only {' and '.join(sorted(RUN_PROGRAMS & COMMANDS.keys()))} can run a program after '--'", 2
        )
    if program and _needs_python(program[0]):
        python = "python" if shutil.which("python") else sys.executable
        meant = shlex.join(["byteplus-trace", *arguments, "--", python, *program])
        return _refuse(f"{shlex.quote(program[0])} cannot be run without Python. Try: {meant}", 2)
    parser.add_argument("--version", action="version", version=f"byteplus-trace {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    command: Any = None
    asked = parser
    for name, promise in COMMANDS.items():
        its_own = subparsers.add_parser(name, help=promise)
        if name == chosen:
            command, asked = import_module(f"{__name__}.{name}"), its_own
            command.add_arguments(its_own)
    parsed, rest = parser.parse_known_args(arguments)
    if rest and not program and chosen in RUN_PROGRAMS and not rest[0].startswith("-"):
        at = arguments.index(rest[0])
        meant = shlex.join(["byteplus-trace", *arguments[:at], "--", *arguments[at:]])
        return _refuse(f"A program follows '--': {meant}", 2)
    if rest:
        asked.error(
            f"unrecognized arguments: {' '.join(rest)}.{did_you_mean(rest[0], asked._option_string_actions)}"
        )
    if command is None:
        parser.print_help()
        return 0
    parsed.program = program
    return int(command.run(parsed))


def _needs_python(program: str) -> bool:
    """Whether this is a script that the system cannot run by itself."""
    return program.endswith(".py") and os.path.isfile(program) and shutil.which(program) is None


def _refuse(reason: str, status: int) -> int:
    print(f"byteplus-trace: {reason}", file=sys.stderr)
    return status
