"""Eight real processes, a real redis-server, and a region that dies under them."""

import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.server("redis-server")

PATIENCE = 1.0
"""On a machine that does other things meanwhile; the benchmark prints what it is."""


def failed(outage):
    return [call for report in outage.reports for call in report.failed]


def nothing_remains(outage):
    return [[*report.threads, *report.connections] for report in outage.reports] == [[]] * len(outage.reports)


def test_a_region_that_refuses_is_skipped_by_all_and_one_probe_closes_it_for_all(
    fleet_of_processes, redis_server
):
    found = fleet_of_processes.outage(
        redis_server.url, "refuses", late=1, before=1.5, during=3.0, after=8.0, open=3.0, open_max=3.0
    )

    assert [] == failed(found)
    *fleet, late = found.reports
    assert found.delays[7] < PATIENCE
    assert any(" in process " in line for report in fleet for line in report.lines)
    assert [] == [send for send in late.sent("sg") if send.at < found.returned_at and send.cause != "probe"]
    probes = [send for report in found.reports for send in report.sent("sg", cause="probe")]
    assert sum(send.at >= found.returned_at for send in probes) in {1, 2}, (
        "the last before it returned may be late"
    )
    assert all(report.closings for report in found.reports)
    closings = [report.closings[-1] for report in found.reports]
    assert max(closings) - min(closings) < PATIENCE
    assert nothing_remains(found)


def test_a_region_that_hangs_gets_nothing_but_the_probe(fleet_of_processes, redis_server):
    found = fleet_of_processes.outage(redis_server.url, "hangs", before=1.5, during=6.0, open=3.0)

    assert [] == failed(found)
    assert found.delays[-1] < PATIENCE
    since = found.opened_at + PATIENCE
    assert found.sent(since) == found.sent(since, "probe")
    assert found.sent(since, "probe") in {1, 2}


def test_sharing_halves_what_is_sent_into_a_dead_region(fleet_of_processes, redis_server):
    """Fewer calls a second than elsewhere, so that a busy machine does not decide it."""
    alone, shared = (
        fleet_of_processes.outage(store, "refuses", before=1.0, during=6.0, rate=4.0)
        for store in (None, redis_server.url)
    )

    assert shared.sent(shared.died_at) <= alone.sent(alone.died_at) / 2


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_no_call_fails_when_the_store_does(fleet_of_processes, redis_server, how):
    def meanwhile():
        getattr(redis_server, how)()
        time.sleep(2.5)
        redis_server.thaw() if how == "freeze" else redis_server.start()

    found = fleet_of_processes.outage(
        redis_server.url,
        "refuses",
        processes=4,
        before=1.0,
        during=4.0,
        after=6.0,
        open=1.0,
        meanwhile=meanwhile,
    )

    assert [] == failed(found)
    for report in found.reports:
        about = [line for line in report.lines if "health store" in line]
        assert ["cannot be used" in about[0], "is back" in about[-1]] == [True, True], about
    assert nothing_remains(found)


FORK = """
import os, sys, threading, time, httpx, byteplus_trace
from byteplus_trace import Breaker, Policy, Target

sg, eu, store = sys.argv[1:]
byteplus_trace.instrument(
    policy=Policy(
        targets=[Target("sg", region="ap-southeast-1", base_url=sg, api_key="a"),
                 Target("eu", region="eu-west-1", base_url=eu, api_key="b")],
        breaker=Breaker(consecutive=2),
    ),
    health_store=store,
)

def call():
    with httpx.Client() as client:
        reply = client.post(sg + "/chat/completions", json={"model": "m", "messages": []})
    return reply.status_code, reply.headers["x-byteplus-trace-attempts"]

def threads():
    return sum("health-store" in thread.name for thread in threading.enumerate())

from byteplus_trace._edge.instrumentation import Instrumentation

def until(look):
    ends_at = time.monotonic() + 20
    while not look():
        assert time.monotonic() < ends_at
        time.sleep(0.02)

health = Instrumentation.current().router.health
until(lambda: health.in_fleet)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    assert not health.in_fleet
    until(lambda: health.in_fleet)
    print("child", threads(), call(), call(), call(), flush=True)
    os.write(writing, b"x")
    byteplus_trace.uninstrument()
    print("child", threads(), flush=True)
    os._exit(0)
os.read(reading, 1)
until(lambda: not health.would_admit("sg", "chat"))
print("parent", threads(), call(), flush=True)
assert os.waitpid(child, 0)[1] == 0
until(lambda: health.in_fleet)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_shares_by_itself(ark, redis_server):
    ark.region("ap-southeast-1").fails(500, code="ServerOverloaded")

    done = subprocess.run(
        [
            sys.executable, "-W", "error", "-c", FORK, ark.base_url("ap-southeast-1"), ark.base_url("eu-west-1"),
            redis_server.url,
        ],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr
    assert ["child 0", "child 1 (200, '3') (200, '2') (200, '1')", "parent 1 (200, '1')"] == sorted(
        done.stdout.splitlines()
    )
    assert "Traceback" not in done.stderr


END = """
import sys, httpx, byteplus_trace
from byteplus_trace import Policy, Target
byteplus_trace.instrument(
    policy=Policy(targets=[Target("sg", region="ap-southeast-1", base_url=sys.argv[1], api_key="a")]),
    health_store=sys.argv[2],
)
httpx.post(sys.argv[1] + "/chat/completions", json={"model": "m", "messages": []})
"""


@pytest.mark.parametrize("how", ["well", "frozen"])
def test_a_process_ends_at_once(sg, redis_server, how):
    if how == "frozen":
        redis_server.freeze()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", END, sg, redis_server.url],
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr
    assert ("cannot be used" in done.stderr) is (how == "frozen"), done.stderr
    assert "Traceback" not in done.stderr
    redis_server.thaw()
    until = time.monotonic() + 5
    while len(redis_server.client().client_list()) > 1:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_without_a_store_nothing_imports_redis(sg):
    source = END.replace("    health_store=sys.argv[2],\n", "") + "\nassert 'redis' not in sys.modules\n"

    done = subprocess.run(
        [sys.executable, "-c", source, sg], env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)
