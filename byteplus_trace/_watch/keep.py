"""
Spans in a file: SQLite, one row a span, packed as in memory.

The file grows with what is received and is made for its owner alone, for there may be
conversations in it. A file that cannot be written any more is one trouble in the view, and
no reason to stop receiving.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from .._errors import SettingError
from .spans import Span, unpacked

_APPLICATION = 0x42705472
_VERSION = 1
_LARGEST = 8 * 1024 * 1024
_TABLE = """
CREATE TABLE IF NOT EXISTS spans (
    number INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (trace_id, span_id) ON CONFLICT REPLACE
)
"""


class Keep:
    """
    A file that spans are added to.

    Raises:
        SettingError: it cannot be written, or is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: str | None = None
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._file = sqlite3.connect(path, check_same_thread=False)
            is_new = not self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not is_new:
                _check(path, self._file)
            with self._file:
                self._file.execute("PRAGMA journal_mode = WAL")
                self._file.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._file.execute(f"PRAGMA user_version = {_VERSION}")
                self._file.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise SettingError(f"--keep {path}: cannot be written: {_why(error)}.") from error

    def add(self, spans: Sequence[Span], data: Sequence[bytes]) -> None:
        """Write spans, in one transaction."""
        rows = [(span.trace_id, span.span_id, each) for span, each in zip(spans, data, strict=True)]
        try:
            with self._file:
                self._file.executemany("INSERT INTO spans (trace_id, span_id, data) VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            self.trouble = f"{self.path} is not written: {_why(error)}"
        else:
            self.trouble = None

    def close(self) -> None:
        self._file.close()


def kept(path: Path, most: int) -> tuple[list[tuple[Span, bytes]], int]:
    """
    The newest spans of a file, in the order of their arrival, and how many more there are.

    Raises:
        SettingError: it cannot be read, or is something else.
    """
    try:
        path.open("rb").close()  # SQLite does not say why it cannot open a file
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
            _check(path, file)
            rows = file.execute(
                "SELECT data FROM spans WHERE length(data) <= ? ORDER BY number DESC LIMIT ?",
                (_LARGEST, most),
            ).fetchall()
            whole: int = file.execute("SELECT count(*) FROM spans").fetchone()[0]
    except OSError as error:
        raise SettingError(f"--open {path}: cannot be read: {error.strerror}.") from error
    except sqlite3.Error as error:
        raise SettingError(f"--open {path}: cannot be read: {_why(error)}.") from error
    spans: list[tuple[Span, bytes]] = []
    for (data,) in reversed(rows):
        try:
            spans.append((unpacked(data), data))
        except (msgspec.DecodeError, TypeError):
            continue
    return spans, whole - len(spans)


def _check(path: Path, file: sqlite3.Connection) -> None:
    if file.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise SettingError(
            f"{path} is not a file that 'byteplus-trace watch --keep' wrote. Name another one."
        )
    version = file.execute("PRAGMA user_version").fetchone()[0]
    if version != _VERSION:
        raise SettingError(
            f"{path} was written by another version of byteplus-trace (its form is {version}, not {_VERSION})."
        )


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
