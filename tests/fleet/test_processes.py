"""Real processes and a real redis-server: forks, and ends."""

import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.server("redis-server")

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
    until(lambda: threads() and health.in_fleet)
    print("child", threads(), call(), call(), call(), flush=True)
    os.write(writing, b"x")
    byteplus_trace.uninstrument()
    print("child", threads(), flush=True)
    os._exit(0)
os.close(writing)  # so that a child that fails is no wait without end
assert os.read(reading, 1) == b"x"
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
