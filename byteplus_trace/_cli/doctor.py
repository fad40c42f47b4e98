"""
`byteplus-trace doctor`: is everything there, does it work, and if not, what to do.

Without an argument it examines this environment (`checks.py`), with a URL the application
that serves its series there (`application.py`), and with `--live` the real service
(`live.py`). Only a failure, something that would stop the library from working, makes the
exit status 1.
"""

from __future__ import annotations

import argparse
import os

from . import live
from .application import at_url
from .arguments import seconds
from .checks import METRICS_PORT, Surroundings, examine
from .findings import Report

_WHAT = f"""\
This examines the environment, not your application. For that, call byteplus_trace.doctor()
in it, or run: byteplus-trace doctor http://localhost:{METRICS_PORT}/metrics
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Check this environment, or the application that serves its series at a URL. Exits with 1 where the "
        "library could not work; warnings do not count."
    )
    parser.add_argument("url", nargs="?", metavar="URL", help="of an application's /metrics")
    parser.add_argument("--offline", action="store_true", help="leave out what needs a network")
    parser.add_argument(
        "--timeout", type=seconds, default=3.0, metavar="SECONDS", help="for each host (default: 3)"
    )
    live.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.live:
        return live.run(args)
    if args.url is not None:
        report = Report(at_url(args.url, args.timeout))
    else:
        print(_WHAT)
        report = Report(examine(Surroundings(os.environ, args.offline, args.timeout)))
    print(report)
    return 0 if report.ok else 1
