"""Several processes behind one /metrics: what dead ones counted, disks that are full, children that nobody sees."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

BEGIN = """
import logging, os, sys, threading
from byteplus_trace import prometheus
from byteplus_trace._facts import Answer, Call, Exchange
from byteplus_trace._telemetry.points import points
from byteplus_trace._telemetry.sink import Sink

logging.basicConfig(format="%(message)s")
call = Call("chat", "chat_completions", "POST", "", "ark", 443, "", "eu-west-1", model="m")
exchange = Exchange(call, (), Answer(), "ok", 0, 0.5)

def count(sink, times=1, begins=True):
    for n in range(times):
        if begins:
            sink.in_flight(call).begins(n, 10**9)
        sink.record(exchange, points(exchange))
        if begins:
            sink.in_flight(exchange.call).ends(n)

def forked(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    return pid

def scrape():
    body = prometheus.metrics_app()({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}, lambda *line: None)
    found = {}
    for line in b"".join(body).decode().splitlines():
        if line[:1] != "#":
            series, value = line.rsplit(" ", 1)
            found[series] = float(value)
    return found

def total(name):
    return sum(value for series, value in scrape().items() if series.startswith(name))
"""


def _run(script, **environ):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", BEGIN + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": os.environ.get("PATH", ""), **environ},
    )
    assert ran.returncode == 0, ran.stderr
    return ran


FOLDED = """
from types import SimpleNamespace

dead = [forked(lambda: count(Sink(), 3)) for _ in range(4)]
before = scrape()
for pid in dead:
    prometheus.child_exit(None, SimpleNamespace(pid=pid))
    assert total("modelark_operations_total{") == 12
after = scrape()
live = {"modelark_operations_in_flight", "modelark_oldest_operation_start_seconds"}
gone = {series for series in before if series.split("{")[0] in live}
assert {s: v for s, v in before.items() if s not in gone} == {s: v for s, v in after.items() if s not in gone}
print(sorted(name for name in os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]) if name.endswith(".db")))
forked(lambda: count(Sink(), 3))
print(total("modelark_operations_total{"), total("modelark_operation_duration_seconds_count"))
"""


def test_what_dead_workers_counted_is_one_file_and_the_same_sums(tmp_path):
    files, sums = _run(FOLDED, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).stdout.splitlines()

    assert files == "['counter_folded.db', 'histogram_folded.db']"
    assert sums == "15.0 15.0"


SCRAPED = """
from types import SimpleNamespace

dead = [forked(lambda: count(Sink(), 1)) for _ in range(12)]
seen, stop, begun = set(), threading.Event(), threading.Barrier(3)

def watch():
    seen.add(total("modelark_operations_total{"))
    begun.wait()
    while not stop.is_set():
        seen.add(total("modelark_operations_total{"))

watchers = [threading.Thread(target=watch) for _ in range(2)]
for each in watchers:
    each.start()
begun.wait()
for pid in dead:
    prometheus.child_exit(None, SimpleNamespace(pid=pid))
stop.set()
for each in watchers:
    each.join()
print(seen)
"""


def test_a_scrape_during_a_fold_sees_each_count_once(tmp_path):
    assert _run(SCRAPED, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)).stdout == "{12.0}\n"


def test_a_file_that_cannot_be_read_stays_and_is_named(tmp_path):
    broken = tmp_path / "counter_4000000.db"
    broken.write_bytes(b"\x10\x00\x00")
    ran = _run(
        "from types import SimpleNamespace\nprometheus.child_exit(None, SimpleNamespace(pid=4000000))",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path),
    )

    assert broken.exists()
    assert f"{broken} stays as it is" in ran.stderr


CLEARED = """
open(os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], "counter_4000000.db"), "w").close()
prometheus.on_starting(None)
print(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
count(Sink())
before = sorted(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
forked(lambda: prometheus.on_starting(None))
print(before == sorted(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])))
"""


def test_the_directory_is_cleared_at_the_start_and_not_while_a_process_lives(tmp_path):
    directory = tmp_path / "made" / "here"

    with pytest.raises(AssertionError):
        _run("count(Sink())", PROMETHEUS_MULTIPROC_DIR=str(directory))
    directory.mkdir(parents=True)
    assert _run(CLEARED, PROMETHEUS_MULTIPROC_DIR=str(directory)).stdout == "[]\nTrue\n"


FULL = """
import prometheus_client

theirs = prometheus_client.Counter("theirs", "of the application", ["n"])
theirs.labels("before").inc()
full = os.open(os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], "ballast"), os.O_RDWR | os.O_CREAT)

def fill():
    size = 0
    try:
        while True:
            size += os.write(full, b"x" * 4096)
    except OSError:
        pass

if os.environ["WHEN"] == "before it is made":
    fill()
sink = Sink()
if os.environ["WHEN"] == "at the start":
    fill()
sink.start_targets()
count(sink)
fill()
for n in range(3000):
    exchange = Exchange(
        Call("chat", "chat_completions", "POST", "", "ark", 443, "", "eu-west-1", model=f"model-{n % 90}-" + "x" * 200),
        (), Answer(), "error", 0, 0.5, error_type=f"E{n % 60}"
    )
    sink.in_flight(exchange.call).begins(n, 10**9)
    sink.record(exchange, points(exchange))
    sink.in_flight(exchange.call).ends(n)
sink.telemetry_error("flushing")
sink.breaker("eu", "chat", 2)
theirs.labels("before").inc()
print("alive", theirs.labels("before")._value.get())
"""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    directory = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system of a limited size can be mounted here")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize("when", ["before it is made", "at the start", "later"])
def test_a_full_disk_stops_the_series_and_neither_calls_nor_the_process(small_disk, when):
    for file in small_disk.iterdir():
        file.unlink()
    ran = _run(FULL, PROMETHEUS_MULTIPROC_DIR=str(small_disk), WHEN=when)

    assert ran.stdout == "alive 2.0\n"
    assert ran.stderr.count("stand still in Prometheus") == 1
    assert ran.stderr.count("\n") == 1


UNSEEN = """
sink = Sink()
if os.environ["SERVES"]:
    app = prometheus.metrics_app()

def work():
    if os.environ["CHILD_SERVES"]:
        prometheus.metrics_app()
    count(sink, 2)

forked(work)
forked(work)
forked(lambda: None)
count(sink)
"""


@pytest.mark.parametrize(
    ("serves", "child_serves", "shared", "warnings"),
    [("yes", "", False, 1), ("", "", False, 0), ("yes", "yes", False, 0), ("yes", "", True, 0)],
    ids=["nobody sees the child", "nobody serves", "the child serves itself", "they share a directory"],
)
def test_children_that_count_where_nobody_looks_are_warned_of_once(
    tmp_path, serves, child_serves, shared, warnings
):
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if shared else {}
    ran = _run(UNSEEN, SERVES=serves, CHILD_SERVES=child_serves, **environ)

    assert ran.stderr.count("Set PROMETHEUS_MULTIPROC_DIR to an empty directory") == warnings
    assert ran.stderr.count("\n") == warnings


CHILD_IN_FLIGHT = """
sink = Sink()
sink.start_targets()
in_flight = sink.in_flight(call)
in_flight.begins("the parent's", 5 * 10**9)

def work():
    in_flight.ends("the parent's")
    sink.in_flight(call).begins("own", 7 * 10**9)
    print(total('modelark_operations_in_flight{operation="chat"'), total('modelark_oldest_operation_start_seconds{operation="chat"'))
    in_flight.ends("own")
    print(total('modelark_operations_in_flight{operation="chat"'), total('modelark_oldest_operation_start_seconds{operation="chat"'))

forked(work)
"""


def test_calls_under_way_at_a_fork_are_the_parents():
    assert _run(CHILD_IN_FLIGHT).stdout == "1.0 7.0\n0.0 inf\n"


OTHERS_METRICS = """
import prometheus_client

theirs = prometheus_client.Counter("theirs", "of the application")
sink = Sink()
sink.start_targets()
count(sink)
forked(lambda: theirs.inc())
print({series: value for series, value in scrape().items() if "oldest" in series})
"""


def test_a_child_that_only_counts_for_itself_has_no_call_from_1970(tmp_path):
    ran = _run(OTHERS_METRICS, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    assert " 0.0" not in ran.stdout


IDLE_CHILD = """
import prometheus_client

theirs = prometheus_client.Counter("theirs", "of the application")
sink = Sink()
sink.start_targets()
sink.build_info(version="1", httpx="", httpx2="", opentelemetry="")
sink.in_flight(call).begins("the parent's", 5 * 10**9)
before = scrape()

def work():
    theirs.inc()
    print({series for series in before if "_start_" in series and before[series] != scrape().get(series)})

forked(work)
print(before['modelark_oldest_operation_start_seconds{operation="chat"}'])
"""


def test_a_child_that_only_counts_for_itself_hides_no_call_of_others(tmp_path):
    ran = _run(IDLE_CHILD, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    assert ran.stdout == "set()\n5.0\n"


TWO_SINKS = """
one, other = Sink(), Sink()
count(one)
count(other)

def work():
    one = Sink() if os.environ["ANEW"] else globals()["one"]
    in_flight = one.in_flight(call)
    in_flight.begins("one", 7 * 10**9)
    of_other = other.in_flight(call)
    of_other.begins("other", 8 * 10**9)
    print(total('modelark_operations_in_flight{operation="chat"'), total('modelark_oldest_operation_start_seconds{operation="chat"'))
    of_other.ends("other")
    in_flight.ends("one")
    print(total('modelark_operations_in_flight{operation="chat"'), total('modelark_oldest_operation_start_seconds{operation="chat"'))

forked(work)
"""


@pytest.mark.parametrize("anew", ["", "yes"], ids=["made by the parent", "one made by the child"])
def test_the_calls_of_two_sinks_of_a_child_add_up_and_end_at_none(tmp_path, anew):
    """Such as `instrument()` and a transport with settings of its own."""
    ran = _run(TWO_SINKS, PROMETHEUS_MULTIPROC_DIR=str(tmp_path), ANEW=anew)

    assert ran.stdout == "2.0 7.0\n0.0 inf\n"
