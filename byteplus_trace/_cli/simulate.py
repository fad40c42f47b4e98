"""
`byteplus-trace simulate`: a fake ModelArk in the foreground, one port per region.

`byteplus-trace simulate -- python app.py` runs a program to which this fake is ModelArk. No key
is needed, and what the program addresses by base_url() or a policy stays on this machine.

Faults apply from the start. An outage refuses connections between two times, in seconds
from the start, so that fallbacks and recoveries can be watched.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from .._errors import SettingError
from .._regions import region_named
from .._telemetry.tree import clean, cut
from ..testing import REGIONS, FakeRegion, ModelArk
from .arguments import port, seconds
from .program import run_program, simulated

_KINDS: dict[str, Callable[[FakeRegion], None]] = {
    "hang": FakeRegion.hangs,
    "reset": FakeRegion.resets,
    "cut": FakeRegion.cuts,
    "empty": FakeRegion.answers_empty,
    "stream-error": FakeRegion.errors_in_stream,
    "refuse": FakeRegion.refuses,
}
_EXAMPLE = """  curl {url}/chat/completions -H 'Authorization: Bearer any' -H 'Content-Type: application/json' \\
    -d '{{"model": "seed-2-0-lite-260428", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""


@dataclass(frozen=True, slots=True)
class Fault:
    region: str
    what: str
    """A status, perhaps with a code (`429:ServerOverloaded`), or one of the kinds."""


@dataclass(frozen=True, slots=True)
class Outage:
    region: str
    begins: float
    ends: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "byteplus-trace simulate [options] [-- PROGRAM [ARGUMENT ...]]"
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--port", type=port, help="the first region's port, the next one's is one more (8501; 0, or with a program: free ones)"
    )  # fmt: skip
    parser.add_argument("--region", action="append", metavar="REGION", help=f"a region, repeatable ({', '.join(REGIONS)})")  # fmt: skip
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="REGION:WHAT",
        help=f"a status such as 503 or 429:ServerOverloaded, or one of {', '.join(_KINDS)}; repeatable",
    )
    parser.add_argument(
        "--outage",
        action="append",
        default=[],
        type=_outage,
        metavar="REGION@FROM-TO",
        help="refuse connections between these seconds, such as ap-southeast-1@10-30; repeatable",
    )
    parser.add_argument(
        "--delay", type=seconds, default=0.0, metavar="SECONDS", help="before the headers of each reply"
    )
    parser.add_argument(
        "--between", type=seconds, default=0.0, metavar="SECONDS", help="between the events of a stream"
    )
    parser.add_argument(
        "--for", dest="lasts", type=seconds, metavar="SECONDS", help="stop by itself after that time"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or run a program and serve until it ends."""
    names = tuple(dict.fromkeys(args.region or REGIONS))
    for name in names:
        region_named(name)
    if args.program and args.lasts is not None:
        raise SettingError("--for stops the service, and a program ends by itself: leave one of them out.")
    for scripted in (*args.fault, *args.outage):
        if scripted.region not in names:
            print(
                f"There is no region {scripted.region!r} here (there is: {', '.join(names)}).",
                file=sys.stderr,
            )
            return 2
    first = args.port if args.port is not None else 0 if args.program else 8501
    ports = [first + at if first else 0 for at in range(len(names))]
    ark = ModelArk(names, ports=ports, keeps=1000)
    try:
        ark.start()
    except (OSError, OverflowError) as error:
        wanted = " and ".join(map(str, ports))
        print(
            f"Cannot listen on {wanted}: {str(error).rstrip('.')}. Choose another --port, or 0 for free ones.",
            file=sys.stderr,
        )
        ark.stop()
        return 1
    try:
        _prepare(ark, args)
        if args.program:
            return _run(args.program, ark, args.outage)
        _print_addresses(ark)
        _serve(ark, args.outage, args.lasts, sys.stdout)
    except KeyboardInterrupt:
        pass
    finally:
        ark.stop()
    print("\nStopped.")
    return 0


def _prepare(ark: ModelArk, args: argparse.Namespace) -> None:
    for region in ark.regions:
        if args.delay or args.between:
            region.delays(headers=args.delay, between=args.between)
    for fault in args.fault:
        region = ark.region(fault.region)
        if fault.what in _KINDS:
            _KINDS[fault.what](region)
        else:
            status, _, code = fault.what.partition(":")
            region.fails(int(status), code=code or None)


def _print_addresses(ark: ModelArk) -> None:
    for url, name in ark.base_urls.items():
        print(f"{name}  {url}\n{_EXAMPLE.format(url=url)}\n")
    pairs = ", ".join(f'"{url}": "{name}"' for url, name in ark.base_urls.items())
    print(f"byteplus_trace.instrument(base_urls={{{pairs}}})\n\nCtrl-C stops.", flush=True)


def _run(program: list[str], ark: ModelArk, outages: list[Outage]) -> int:
    """Run a program against the fake; its exit status."""
    print(
        f"byteplus-trace: ModelArk is simulated on this machine for: {cut(clean(shlex.join(program)), 80)}",
        file=sys.stderr,
    )
    threading.Thread(target=_serve, args=(ark, outages, None, sys.stderr), daemon=True).start()
    return run_program(program, simulated(ark, os.environ))


def _serve(ark: ModelArk, outages: list[Outage], lasts: float | None, out: TextIO) -> None:
    begun = time.monotonic()
    changes = sorted(
        [(outage.begins, outage.region, False) for outage in outages]
        + [(outage.ends, outage.region, True) for outage in outages]
    )
    for at, name, up in changes:
        if lasts is not None and at >= lasts:
            break
        time.sleep(max(0.0, begun + at - time.monotonic()))
        if up:
            ark.region(name).accepts()
        else:
            ark.region(name).refuses()
        change = "accepts connections again" if up else "refuses connections"
        print(f"{at:7.1f} s  {name} {change}", file=out, flush=True)
    if lasts is not None:
        time.sleep(max(0.0, begun + lasts - time.monotonic()))
        return
    while True:
        time.sleep(3600)


def _fault(text: str) -> Fault:
    region, _, what = text.partition(":")
    status = what.partition(":")[0]
    if what not in _KINDS and not (status.isdigit() and 400 <= int(status) <= 599):
        raise argparse.ArgumentTypeError(
            f"{text!r}: write REGION:STATUS with a status from 400 to 599, or REGION: and one of {', '.join(_KINDS)}"
        )
    return Fault(region, what)


def _outage(text: str) -> Outage:
    region, _, span = text.partition("@")
    begins, _, ends = span.partition("-")
    try:
        outage = Outage(region, seconds(begins), seconds(ends))
    except argparse.ArgumentTypeError:
        outage = Outage(region, 0.0, 0.0)
    if not 0 <= outage.begins < outage.ends:
        raise argparse.ArgumentTypeError(
            f"{text!r}: write REGION@FROM-TO in seconds, such as ap-southeast-1@10-30"
        )
    return outage
