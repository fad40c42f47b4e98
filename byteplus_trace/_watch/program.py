"""
A program that runs beside the view, unchanged, and the last lines of what it writes.

The view has the terminal, so the program's input is empty and its output is read here. The
environment is its own, but for two variables that are only set where they are missing:
where spans go, and that output is not held back.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress

from .._errors import SettingError, shown_url
from .._telemetry.exporting import DEFAULT_ENDPOINT, endpoint
from .plain import plain

LINES = 1000
_LONGEST = 64 * 1024
_COLOURS = re.compile(rb"\x1b\[[0-9;:?]*[ -/]*[@-~]")


class Program:
    """
    A program, not running yet.

    Args:
        command: its name and its arguments.
        environ: what it finds in its environment.
        port: the receiver's.
        is_simulated: the environment leads it to a fake ModelArk.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        environ: Mapping[str, str] = os.environ,
        *,
        is_simulated: bool = False,
    ) -> None:
        self.command = list(command)
        self._is_simulated = is_simulated
        receiver = f"http://localhost:{port}"
        self._environ = {
            **({"OTEL_EXPORTER_OTLP_ENDPOINT": receiver} if receiver != DEFAULT_ENDPOINT else {}),
            "PYTHONUNBUFFERED": "1",
            **environ,
        }
        elsewhere = endpoint(self._environ)
        self.goes_elsewhere = elsewhere if f":{port}" not in elsewhere else None
        """Where its spans go by its own environment, if that is not here."""
        self._lines: deque[str] = deque(maxlen=LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def shown(self) -> str:
        """Its name and its arguments, shortened."""
        return plain(shlex.join([os.path.basename(self.command[0]), *self.command[1:]]), 30)

    @property
    def state(self) -> str:
        """Its name and how it goes, in short."""
        status = self.exit_status
        notes = [f"{self.shown} {'runs' if status is None else f'ended with {status}'}"]
        if self._is_simulated:
            notes.append("ModelArk is simulated")
        if self.goes_elsewhere is not None:
            notes.append(f"its spans go to {shown_url(self.goes_elsewhere)}")
        return ", ".join(notes)

    @property
    def exit_status(self) -> int | None:
        """None while it runs; of a program that a signal ended, 128 and the signal's number, as shells have it."""
        status = self._process.poll() if self._process is not None else None
        return 128 - status if status is not None and status < 0 else status

    def start(self) -> None:
        """
        Run it.

        Raises:
            SettingError: there is no such program.
        """
        try:
            self._process = subprocess.Popen(
                self.command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            hint = f" Try {sys.executable}." if self.command[0] == "python" else ""
            raise SettingError(
                f"{plain(shlex.quote(self.command[0]))} cannot be run: {why}.{hint}"
            ) from error
        self._reader = threading.Thread(target=self._read, name="byteplus-trace-output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as output:
            while line := output.readline(_LONGEST):
                text = _COLOURS.sub(b"", line).decode("utf-8", "replace").rstrip("\r\n").expandtabs()
                self._lines.append(plain(text.rpartition("\r")[2]))

    def output(self) -> list[str]:
        """Its last lines, of characters that print."""
        return list(self._lines)

    def stop(self, patience: float = 3.0) -> None:
        """End it, and all that it started, if it still runs."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        if self._reader is not None:
            self._reader.join(1.0)
