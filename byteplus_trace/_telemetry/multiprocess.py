"""
Several processes that count for one `/metrics`, in the directory that `PROMETHEUS_MULTIPROC_DIR` names.

`prometheus_client` gives each process a file for its counters, one for its histograms and
some for its gauges, and a scrape adds up all files. Three things it leaves to others:

- Files of dead processes stay, and every scrape reads them. `fold` adds a dead one's counts
  to one file. A scrape of ours waits meanwhile, so it sees each count once: a sum never falls.
- Space is not reserved. On a full disk the process would be killed where it writes into a
  file that it has mapped (SIGBUS); `reserve` makes of that an `OSError`, which a sink notices.
- A forked child without that directory counts where nobody looks. It warns, once.
"""

from __future__ import annotations

import glob
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:  # Windows, which has neither forks nor gunicorn
    fcntl = None  # type: ignore[assignment]

from .._errors import SettingError
from .._instruments import OLDEST, START_TIME

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = getLogger("byteplus_trace")

LOCK = "byteplus_trace.lock"
FOLDED = "folded"
SUMMED = ("counter", "histogram", "summary")
"""The kinds whose files can be added up; gauges have rules of their own."""


def multiprocess_directory() -> str | None:
    """
    Where the processes keep their numbers; None where there is one process.

    Raises:
        SettingError: it cannot be used; the message says what to do.
    """
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not directory:
        return None
    if not os.path.isdir(directory):
        raise SettingError(
            f"PROMETHEUS_MULTIPROC_DIR={directory!r} is not a directory: make it, empty, before the first worker starts."
        )
    from prometheus_client import values

    # Chosen when it is imported, by the same variable.
    if values.ValueClass is values.MutexValue:
        raise SettingError(
            f"PROMETHEUS_MULTIPROC_DIR={directory!r} was set after prometheus_client was imported, which writes nothing there then: set it before, best in the environment that the process starts with."
        )
    return directory


def summed(directory: str) -> CollectorRegistry:
    """A registry that reads the sums over all processes."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    class Summed(MultiProcessCollector):
        def collect(self) -> Iterable[Any]:
            with _locked(directory, exclusive=False):
                return list(super().collect())  # type: ignore[no-untyped-call]

        @staticmethod
        def merge(files: Iterable[str], accumulate: bool = True) -> Iterable[Any]:
            metrics: dict[str, Any] = MultiProcessCollector._read_metrics(files)  # type: ignore[no-untyped-call]
            _drop_unset(metrics)
            merged: Iterable[Any] = MultiProcessCollector._accumulate_metrics(metrics, accumulate)  # type: ignore[no-untyped-call]
            return merged

    registry = CollectorRegistry()
    Summed(registry, directory)  # type: ignore[no-untyped-call]  # the client's own lack
    return registry


def _drop_unset(metrics: Mapping[str, Any]) -> None:
    """
    Drop what no process set. A gauge that a forked child inherited stands at 0 until it sets it; nothing has run since 1970.

    Before the processes are merged: the earliest of them counts, and a 0 would hide all others.
    """
    for name in (OLDEST.name, START_TIME.name):
        metric = metrics.get(name)
        if metric is not None:
            metric.samples = [sample for sample in metric.samples if sample.value]


def clear(directory: str) -> None:
    """Remove what earlier processes wrote, unless one of them lives: then its sums go on."""
    files = glob.glob(os.path.join(glob.escape(directory), "*.db"))
    if not any(_is_alive(file) for file in files):
        for file in files:
            os.unlink(file)


def _is_alive(file: str) -> bool:
    pid = file.removesuffix(".db").rpartition("_")[2]
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def fold(directory: str, pid: int) -> None:
    """
    Add what a dead process counted to one file, and let its gauges end.

    A file that cannot be read or added stays as it is, and is counted as before.
    """
    from prometheus_client.multiprocess import mark_process_dead

    with _locked(directory, exclusive=True):
        for kind in SUMMED:
            dead = Path(directory, f"{kind}_{pid}.db")
            if dead.exists():
                try:
                    _add(dead, Path(directory, f"{kind}_{FOLDED}.db"))
                except Exception as error:
                    logger.warning("%s stays as it is: what it counts cannot be folded (%s).", dead, error)
        mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]


def _add(dead: Path, folded: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    sums: dict[str, float] = {}
    for file in (folded, dead):
        if file.exists():
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
                sums[key] = sums.get(key, 0.0) + value
    written = folded.with_suffix(".new")
    written.unlink(missing_ok=True)
    try:
        _reserve_file(str(written))
        entries = MmapedDict(str(written))  # type: ignore[no-untyped-call]
        for key, value in sums.items():
            entries.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
        entries.close()  # type: ignore[no-untyped-call]
        written.replace(folded)
    finally:
        written.unlink(missing_ok=True)
    dead.unlink()


@contextmanager
def _locked(directory: str, *, exclusive: bool) -> Iterator[None]:
    """Scrapes read side by side; a fold is alone. Without a lock where there can be none."""
    descriptor = None
    if fcntl is not None:
        with suppress(OSError):
            descriptor = os.open(os.path.join(directory, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def reserve() -> None:
    """
    Have `prometheus_client` reserve the space of its files, also of those that it has open.

    Raises:
        OSError: there is no space left.
    """
    from prometheus_client import mmap_dict

    directory = glob.escape(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    if not hasattr(os, "posix_fallocate"):
        return
    if not hasattr(mmap_dict.MmapedDict, "_byteplus_trace_reserves"):
        _patch(mmap_dict.MmapedDict)
    for file in glob.glob(os.path.join(directory, f"*_{os.getpid()}.db")):
        _reserve_file(file)


def _patch(kind: Any) -> None:
    opens, adds = kind.__init__, kind._init_value

    def __init__(self: Any, filename: str, read_mode: bool = False) -> None:  # noqa: N807
        if not read_mode:
            _reserve_file(filename)
        opens(self, filename, read_mode)

    def _init_value(self: Any, key: str) -> None:
        # An entry: the key's length, the key up to the next multiple of 8, two doubles.
        length = len(key.encode()) + 4
        needed, capacity = self._used + length + 8 - length % 8 + 16, self._capacity
        while needed > capacity:
            capacity *= 2
        if capacity > self._capacity:
            os.posix_fallocate(self._f.fileno(), 0, capacity)
        adds(self, key)

    kind.__init__, kind._init_value = __init__, _init_value
    kind._byteplus_trace_reserves = True


def _reserve_file(filename: str) -> None:
    descriptor = os.open(filename, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            os.posix_fallocate(descriptor, 0, size or INITIAL_BYTES)
        except OSError:
            if not size:
                os.unlink(filename)  # an empty file would fail every scrape
            raise
    finally:
        os.close(descriptor)


INITIAL_BYTES = 1 << 16
"""As `prometheus_client` begins a file."""


# Forked children that nobody sees.

_serves = False
_unseen = False
_warned: list[mmap.mmap] = []
"""A byte that a process shares with its children: of all of them one warns."""


def serves() -> None:
    """This process shows its own counts on a `/metrics`, and nobody else's."""
    global _serves, _unseen
    _serves, _unseen = True, False
    if not _warned:
        _warned.append(mmap.mmap(-1, 1))


def warn_of_unseen_calls() -> None:
    """Say once that a child counts where nobody looks, and what to do."""
    if _unseen and not _warned[0][0]:
        _warned[0][0] = 1
        logger.warning(
            "ModelArk calls of process %s are not on /metrics: it was forked by a process that serves only its own. Set "
            "PROMETHEUS_MULTIPROC_DIR to an empty directory, in the environment that the first process starts with.",
            os.getpid(),
        )


def _in_child() -> None:
    global _serves, _unseen
    _serves, _unseen = False, _serves or _unseen


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
