"""
`byteplus-trace watch`: see calls as they end, in a terminal or a browser.

It receives OTLP over HTTP on 127.0.0.1:4318, where spans go by default. With `-- PROGRAM` it
runs a program beside the view; it ends with the view.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import SettingError
from .arguments import port

if TYPE_CHECKING:
    from .._watch.program import Program
    from .._watch.receiver import Receiver
    from .._watch.status import Source

PORT = 4318
WEB_PORT = 8318
VIEW = "--view-of-a-receiver"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "byteplus-trace watch [options] [-- PROGRAM [ARGUMENT ...]]"
    parser.add_argument("--port", type=port, default=PORT, help=f"where to receive ({PORT}; 0: a free one)")
    parser.add_argument("--web", action="store_true", help="show it in a browser, on this machine alone")
    parser.add_argument(
        "--web-port",
        type=port,
        default=WEB_PORT,
        metavar="PORT",
        help=f"where the browser asks ({WEB_PORT}; 0: a free one)",
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="also write spans to a file (SQLite)")
    parser.add_argument(
        "--open", type=Path, metavar="FILE", help="show the spans of such a file, and receive nothing"
    )
    parser.add_argument("--forward", metavar="URL", help="pass everything on to a Collector or Jaeger")
    parser.add_argument(VIEW, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--simulate", action="store_true", help="run the program against a fake ModelArk: no key is needed"
    )


def run(args: argparse.Namespace) -> int:
    """Show calls until `q`, or with `--web` until Ctrl-C."""
    import textual  # noqa: F401 - a missing extra is reported before anything is begun

    if args.view_of_a_receiver:
        return _view()
    if args.open is not None:
        if args.keep is not None or args.forward is not None or args.program or args.web:
            raise SettingError(
                "--open shows a file and receives nothing: leave out --keep, --forward, --web and the program."
            )
        return _open(args.open)
    if args.simulate and not args.program:
        raise SettingError("--simulate needs a program: byteplus-trace watch --simulate -- python app.py")
    if args.web and args.port == args.web_port != 0:
        raise SettingError(f"--port and --web-port are both {args.port}: choose another one for the browser.")
    if not args.web:
        _check_terminal(" --web shows it in a browser.")
    with ExitStack() as running:
        try:
            receiver = running.enter_context(_receiving(args))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SettingError(
                    f"Cannot listen on port {args.port}: {error.strerror or error}."
                ) from error
            from .._watch.port_in_use import explained

            print(f"byteplus-trace: {explained(args.port)}", file=sys.stderr)
            return 1
        if args.web:
            from .._watch.web import serve

            if not serve(receiver, args.web_port, [sys.executable, "-m", "byteplus_trace", "watch", VIEW]):
                return 1
        else:
            _show(receiver)
        return _ended(receiver.program)


@contextmanager
def _receiving(args: argparse.Namespace) -> Iterator[Receiver]:
    from .._watch.forward import Forward
    from .._watch.keep import Keep
    from .._watch.program import Program
    from .._watch.receiver import Receiver
    from .._watch.store import Store
    from ..testing import ModelArk
    from .program import simulated

    with ExitStack() as running:
        environ: Mapping[str, str] = os.environ
        if args.simulate:
            environ = simulated(running.enter_context(ModelArk(keeps=1000)), environ)
        forward = Forward(args.forward, args.port) if args.forward is not None else None
        keep = Keep(args.keep) if args.keep is not None else None
        receiver = Receiver(Store(), args.port, keep=keep, forward=forward, secret=secrets.token_urlsafe(32))
        receiver.start()
        running.callback(receiver.stop)
        if args.program:
            receiver.program = Program(args.program, receiver.port, environ, is_simulated=args.simulate)
            receiver.program.start()
            running.callback(receiver.program.stop)
        yield receiver


def _show(source: Source, *, live: bool = True) -> None:
    from .._watch.app import Watch

    # What is imported stays. The collector need not look at it each time, while a key waits.
    gc.freeze()
    Watch(source, live=live).run()


def _open(path: Path) -> int:
    from .._watch.view import OpenedFile

    source = OpenedFile(path)
    _check_terminal()
    _show(source, live=False)
    return 0


def _check_terminal(instead: str = "") -> None:
    """Textual reads keys from the standard input and draws on the standard error."""
    streams = {"input": sys.stdin, "output": sys.stdout, "error": sys.stderr}
    other = [name for name, stream in streams.items() if stream is None or not stream.isatty()]
    if other:
        raise SettingError(f"watch needs a terminal as its standard {', '.join(other)}.{instead}")


def _view() -> int:
    from .._watch.view import OtherProcess

    source = OtherProcess.from_environment()
    source.start()
    try:
        _show(source)
    finally:
        source.stop()
    return 0


def _ended(program: Program | None) -> int:
    """What a program that failed wrote last, now that the terminal is free again."""
    if program is None or program.exit_status in {None, 0}:
        return 0
    print(f"{program.state}. Its last lines:", file=sys.stderr)
    for line in program.output()[-20:]:
        print(f"  {line}", file=sys.stderr)
    return 1
