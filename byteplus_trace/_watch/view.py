"""
Sources of calls other than the receiver: a file, and the receiver of another process.

A view in a browser is a process of its own, so it asks the receiver for what is new, a few
times a second, and holds a copy of the same bounds.
"""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .._errors import SettingError
from .keep import kept
from .receiver import CHANGES, HOST
from .spans import unpacked
from .status import Changes, Status
from .store import Store

PORT_VARIABLE = "BYTEPLUS_TRACE_WATCH_PORT"
SECRET_VARIABLE = "BYTEPLUS_TRACE_WATCH_SECRET"
"""How the receiver's process says to a view where to ask. Not an argument, which every user of the machine can read."""


class OpenedFile:
    """
    The calls of a file.

    Raises:
        SettingError: it cannot be read, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.store = Store()
        spans, more = kept(path, self.store.most_spans)
        self.store.add_packed(spans)
        counts = self.store.counts()
        self._status = Status(place=str(path), received=counts.received + more, dropped=counts.dropped + more)

    def status(self) -> Status:
        return self._status

    def output(self) -> list[str]:
        return []


class OtherProcess:
    """The calls of a receiver in another process."""

    def __init__(self, port: int, secret: str, every: float = 0.25) -> None:
        self.store = Store()
        self._port = port
        self._secret = secret
        self._every = every
        self._number = 0
        self._status = Status(place=f"{HOST}:{port}")
        self._output: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="byteplus-trace-follow", daemon=True)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> OtherProcess:
        """The receiver that started this process."""
        try:
            return cls(int(environ[PORT_VARIABLE]), environ[SECRET_VARIABLE])
        except (KeyError, ValueError):
            raise SettingError(
                "This is a view of 'byteplus-trace watch --web', which starts it itself."
            ) from None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def status(self) -> Status:
        return self._status

    def output(self) -> list[str]:
        return self._output

    def _run(self) -> None:
        while True:
            pause = self._every
            try:
                if self._follow():
                    pause = 0.0
            except (OSError, http.client.HTTPException, msgspec.DecodeError):
                self._status = msgspec.structs.replace(self._status, troubles=["the receiver is gone"])
            if self._stopping.wait(pause):
                return

    def _follow(self) -> bool:
        """Take what is new; whether there was anything."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=10)
        try:
            connection.request(
                "GET", f"{CHANGES}?after={self._number}", headers={"Authorization": f"Bearer {self._secret}"}
            )
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise http.client.HTTPException(response.status)
        changes = msgspec.msgpack.decode(body, type=Changes)
        if changes.spans:
            self.store.add_packed([(unpacked(data), data) for data in changes.spans])
        if changes.readings:
            self.store.receive(changes.readings)
        self._number, self._status, self._output = changes.number, changes.status, changes.output
        return bool(changes.spans)
