"""
One suite in a process of its own: `python -m tests.report.inside NAME [thorough]`.

Prints each row as a line of JSON as soon as it is there, and last how much memory the process took.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from typing import Any

MOST_MEMORY = 6 * 1024**3
"""Bytes of addresses, of this process and of each that it starts."""


def main() -> None:
    name, *thorough = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    from .suites import SUITES

    run = next(suite for suite in SUITES if suite.name == name).run()
    output = sys.stdout
    # What the suites themselves print is not the report.
    with contextlib.redirect_stdout(sys.stderr):
        for figures in run(bool(thorough)):
            show(output, {"row": figures.as_dict()})
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    show(output, {"most_memory_mb": round(most / 1024)})


def show(output: Any, content: dict[str, Any]) -> None:
    print(json.dumps(content), file=output, flush=True)


if __name__ == "__main__":
    main()
