"""
`byteplus-trace`, and `python -m byteplus_trace`.

A command is a module of this folder with two functions: `add_arguments(parser)` and
`run(args) -> int`. Only the module of the command that was asked for is imported, so a
missing extra stops that command alone, and `--help` costs nothing.

Exit status: 0 done, 1 failed, 2 asked for something that cannot be done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .._errors import SettingError
from .._version import __version__

COMMANDS = {
    "demo": "watch real calls become spans and series, against a ModelArk inside this process",
    "watch": "see the calls of your own program as they end, in a terminal or a browser",
    "doctor": "check what is installed, patched, reachable and misconfigured, and say what to do",
    "simulate": "run a fake ModelArk with two regions and scripted faults",
    "traffic": "drive steady, eventful traffic, so that dashboards have something to show",
    "dashboards": "write the Grafana dashboards and the Prometheus rules",
    "config": "check a policy file and show how it is understood",
}

# What an import that fails asks for: the package, and the extra that brings it.
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
    asked = next((word for word in arguments if not word.startswith("-")), None)
    try:
        return _run(arguments, asked)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has left; without this the interpreter complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SettingError as error:
        return _refuse(str(error), 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        return _refuse(
            f"'{asked}' needs {package}, which is not installed: pip install 'byteplus-trace[{EXTRAS[package]}]'",
            1,
        )


def _run(arguments: Sequence[str], asked: str | None) -> int:
    parser = argparse.ArgumentParser(
        prog="byteplus-trace",
        description="See, measure and survive every BytePlus ModelArk call, inside your own process.",
        epilog="In your own application: import byteplus_trace; byteplus_trace.instrument()",
    )
    parser.add_argument("--version", action="version", version=f"byteplus-trace {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command: Any = None
    for name, promise in COMMANDS.items():
        its_own = subparsers.add_parser(name, help=promise)
        if name == asked:
            command = import_module(f"{__name__}.{name}")
            command.add_arguments(its_own)
    parsed = parser.parse_args(arguments)
    return int(command.run(parsed))


def _refuse(reason: str, status: int) -> int:
    print(f"byteplus-trace: {reason}", file=sys.stderr)
    return status
