"""The simulation of a fleet, small: what sharing is for, with messages lost and late."""

import pytest


@pytest.fixture(scope="module")
def outcomes(fleet_simulation):
    settings = fleet_simulation.Settings(processes=30, rate=1.0, lost=0.1, late=0.1)
    return {
        shares: fleet_simulation.Fleet(settings, shares=shares).run() for shares in (False, True)
    }, fleet_simulation


def test_fewer_calls_and_probes_go_into_a_dead_region(outcomes):
    found, _ = outcomes

    assert found[True].into_first <= found[False].into_first / 3
    assert found[True].probes <= found[False].probes / 5


def test_all_know_of_it_soon_though_messages_are_lost(outcomes):
    found, simulation = outcomes
    shared = found[True]

    assert 30 == len(shared.skipping_at)
    assert max(shared.skipping_at.values()) - shared.first_opened_at <= simulation.READ_SECONDS + 0.1


def test_all_return_to_it_once_one_probe_was_answered(outcomes):
    found, simulation = outcomes
    back = found[True].back_at.values()

    assert 30 == len(back)
    assert max(back) - min(back) <= simulation.READ_SECONDS + 0.1


def test_its_table_names_what_it_says(fleet_simulation):
    lines = list(fleet_simulation.table(fleet_simulation.Settings(processes=3, rate=0.5)))

    assert any(line.startswith("probes") for line in lines)
    assert any(line.startswith("commands") for line in lines)
