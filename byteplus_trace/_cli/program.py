"""
A program of the user's, run as a child process: unchanged, or with a fake service in place of ModelArk.

The fake stands in through environment variables alone. `byteplus_trace.base_url()` and the
targets of a policy lead to it, `instrument()` recognises it, and the keys are not real. A
base URL that the program itself writes out is not replaced.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from .._errors import SettingError
from .._regions import SIMULATED_VARIABLE
from ..testing import ModelArk

KEY = "simulated"
# The names that the documentation uses; others that begin in the same way are replaced too.
KEYS = ("ARK_API_KEY", "ARK_API_KEY_SG", "ARK_API_KEY_EU")


def simulated(ark: ModelArk, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment whose ModelArk is `ark`: its addresses, no real key, and no proxy in between."""
    regions = ",".join(f"{region}={url}" for url, region in ark.base_urls.items())
    keys = {*KEYS, *(name for name in environ if name.startswith("ARK_API_KEY"))}
    direct = {
        name: ",".join(filter(None, (environ.get(name), "127.0.0.1"))) for name in ("NO_PROXY", "no_proxy")
    }
    return {**environ, **dict.fromkeys(keys, KEY), **direct, SIMULATED_VARIABLE: regions}


def run_program(program: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run a program to its end; its exit status, and 128 more than the signal where one ended it.

    Raises:
        SettingError: there is no such program, or it may not be run.
    """
    try:
        child = subprocess.Popen(program, env=environ)
    except OSError as error:
        hint = f" Try {sys.executable}." if program[0] == "python" else ""
        raise SettingError(
            f"{shlex.quote(program[0])} cannot be run: {error.strerror or error}.{hint}"
        ) from None
    # Ctrl-C reaches the child from the terminal; it decides when to end.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    before_term = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    try:
        status = child.wait()
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, before_term)
    return status if status >= 0 else 128 - status
