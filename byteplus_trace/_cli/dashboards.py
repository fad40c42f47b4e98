"""`byteplus-trace dashboards DIR`: all that there is to import into Grafana, Prometheus and a Collector."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..dashboards import write

_NEXT = """
Next, with Docker:      docker compose -f {directory}/compose.yaml up -d     (then http://localhost:3000)
Or into what you have:  {directory}/README.md says where each file goes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write three Grafana dashboards, Prometheus rules, a compose file that shows them all, and a "
        "Collector's configuration."
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="made where it is missing")


def run(args: argparse.Namespace) -> int:
    try:
        for path in write(args.directory):
            print(path)
    except OSError as error:
        print(f"byteplus-trace: cannot write to {args.directory}: {error.strerror or error}", file=sys.stderr)
        return 1
    print(_NEXT.format(directory=args.directory))
    return 0
