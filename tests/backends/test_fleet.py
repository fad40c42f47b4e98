"""Eight real processes, a real redis-server, and a region that dies under them."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.server("redis-server")

PATIENCE = 1.0
"""On a machine that does other things meanwhile; the benchmark prints what it is."""


@pytest.fixture(scope="module")
def fleet_of_processes():
    """The benchmark with real processes."""
    path = Path(__file__).parents[2] / "benchmarks" / "fleet_processes.py"
    spec = importlib.util.spec_from_file_location("benchmarks_fleet_of_processes", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def redis_server(fleet_of_processes):
    with fleet_of_processes.Redis() as server:
        yield server


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
