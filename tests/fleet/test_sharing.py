"""What processes learn from one another, through a store in memory and with clocks that agree on nothing."""

from random import Random

import pytest

from byteplus_trace import Policy, Target
from byteplus_trace._routing.fleet import BreakerNews, CoolingNews, PinNews, RefusedNews, digest_of
from byteplus_trace._routing.sharing import Sharing

SG = "https://ark.ap-southeast.bytepluses.com/api/v3"
KEY = digest_of("key")


def open_for_all(fleet, process):
    process.fail(5)
    fleet.turn()


def test_what_one_opened_is_skipped_by_all(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())

    open_for_all(fleet, one)

    assert "no" == other.admits()
    assert "yes" == other.admits("eu")
    (opening,) = other.heard.openings
    assert ("connect", "host/0") == (opening.reason, opening.who)
    assert opening.seconds == pytest.approx(10, rel=0.11)
    assert one.heard.openings[0].who is None


def test_who_starts_in_the_middle_of_an_outage_sends_nothing_there(fleet, policy):
    open_for_all(fleet, fleet.process(policy()))
    fleet.pass_time(5)

    late = fleet.process(policy())

    assert "no" == late.admits()
    fleet.pass_time(60)
    assert "no" == late.admits(), "it is half-open now, and the probe is the fleet's"


def test_two_policies_may_have_other_names_for_one_target(fleet, policy):
    one, other = fleet.process(policy("sg", "eu")), fleet.process(policy("primary", "eu"))
    other_place = fleet.process(policy("eu-as-sg", "sg-as-eu"))

    open_for_all(fleet, one)

    assert "no" == other.admits("primary")
    assert ["yes", "no"] == [other_place.admits(name) for name in ("eu-as-sg", "sg-as-eu")]


def test_another_key_is_another_target(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy(key="another"))

    open_for_all(fleet, one)

    assert "yes" == other.admits()


def test_targets_at_one_place_are_known_by_their_names(fleet, policy):
    one, other = fleet.process(policy("sg", "sg-mini")), fleet.process(policy("sg", "sg-mini"))

    open_for_all(fleet, one)

    assert ["no", "yes"] == [other.admits(name) for name in ("sg", "sg-mini")]


def test_each_operation_is_shared_for_itself(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())

    open_for_all(fleet, one)

    assert "yes" == other.admits(operation="embeddings")


def test_fifty_quiet_processes_open_one_together(fleet, policy):
    quiet = [fleet.process(policy(consecutive=None, min_requests=10, ratio=0.5)) for _ in range(50)]

    for process in quiet:
        process.fail()
        fleet.turn()
        fleet.pass_time(0.5)

    assert ["no"] * 50 == [process.admits() for process in quiet]
    assert 1 == sum(opening.who is None for process in quiet for opening in process.heard.openings)


def test_failures_in_a_row_are_those_of_all(fleet, policy):
    processes = [fleet.process(policy(ratio=None)) for _ in range(5)]

    for process in processes[:4]:
        process.fail()
        fleet.turn()
    processes[4].answer()
    processes[4].fail(4)
    fleet.turn()
    assert "yes" == processes[0].admits()
    processes[0].fail()
    fleet.turn()

    assert ["no"] * 5 == [process.admits() for process in processes]


def test_failures_are_counted_at_once_and_answers_within_a_second(fleet, policy):
    process = fleet.process(policy())
    process.answer(7)
    fleet.turn()
    assert not fleet.store.counts
    fleet.pass_time(1)
    fleet.turn()
    assert [[7, 0]] == list(fleet.store.counts.values())
    process.fail()
    fleet.turn()
    assert [[7, 1]] == list(fleet.store.counts.values())


def test_counts_older_than_the_window_open_nothing(fleet, policy):
    processes = [fleet.process(policy(consecutive=None, window=30)) for _ in range(9)]
    for process in processes:
        process.fail()
    fleet.turn()
    fleet.pass_time(36)
    processes[0].fail()
    fleet.turn()

    assert "yes" == processes[1].admits()


def test_a_worker_whose_own_network_is_broken_bars_nobody_else(fleet, policy):
    broken, well = fleet.process(policy()), fleet.process(policy())

    for _ in range(5):
        broken.fail()
        well.answer(20)
        fleet.pass_time(1)
        fleet.turn()

    assert "no" == broken.admits()
    assert "yes" == well.admits()
    fleet.pass_time(12)
    assert "probe" == broken.admits(), "what it opened alone it probes alone"


def test_a_foreign_opening_is_no_failure_of_this_process(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)
    until = other.health.reopens_at("sg", "chat")

    fleet.read()
    fleet.read()

    assert until == other.health.reopens_at("sg", "chat")
    assert 1 == len(other.heard.openings)


# Probes.


def half_open(fleet, *processes):
    open_for_all(fleet, processes[0])
    fleet.pass_time(12)


def test_one_probe_in_the_whole_fleet(fleet, policy):
    processes = [fleet.process(policy()) for _ in range(8)]
    half_open(fleet, *processes)
    assert ["no"] * 8 == [process.admits() for process in processes], "nobody has the lease yet"
    fleet.turn()

    assert ["probe"] + ["no"] * 7 == [process.admits() for process in processes]


def test_only_who_met_a_call_lately_takes_the_lease(fleet, policy):
    idle, busy = fleet.process(policy()), fleet.process(policy())
    half_open(fleet, idle, busy)
    busy.admits()
    fleet.turn()

    assert ["no", "probe"] == [idle.admits(), busy.admits()]
    busy.health.released("sg", "chat")
    fleet.pass_time(2.5)
    fleet.turn()
    assert not any(until > fleet.store.clock() for _, until in fleet.store.leases.values() if _ == "host/1")


def test_the_lease_is_taken_ahead_of_time(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)
    fleet.pass_time(other.health.reopens_at("sg", "chat") - other.clock() - 0.2)
    assert "no" == other.admits()
    fleet.turn()
    fleet.pass_time(0.3)

    assert "probe" == other.admits()


def test_one_probe_closes_the_breaker_for_all(fleet, policy):
    processes = [fleet.process(policy()) for _ in range(8)]
    half_open(fleet, *processes)
    processes[3].admits()
    fleet.turn()
    assert "probe" == processes[3].admits()

    processes[3].answer(probe=True)
    fleet.turn()

    assert ["yes"] * 8 == [process.admits() for process in processes]
    assert "yes" == fleet.process(policy()).admits()
    processes[0].fail()
    fleet.turn()
    assert ["yes"] * 8 == [process.admits() for process in processes], "what was before counts no more"


def test_one_failed_probe_opens_it_for_all_for_twice_as_long(fleet, policy):
    processes = [fleet.process(policy()) for _ in range(3)]
    half_open(fleet, *processes)
    for number, process in enumerate(processes):
        process.admits()
        fleet.turn()
        assert "probe" == process.admits()
        process.fail(probe=True)
        fleet.turn()
        lengths = [each.health.reopens_at("sg", "chat") - each.clock() for each in processes]
        assert [pytest.approx(20 * 2**number, rel=0.12)] * 3 == lengths
        fleet.pass_time(max(lengths))


def test_a_lease_is_renewed_while_its_probe_runs(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    half_open(fleet, one, other)
    one.admits()
    fleet.turn()
    assert "probe" == one.admits()
    for _ in range(12):
        fleet.pass_time(0.5)
        assert "no" == other.admits()
        fleet.turn()
    one.answer(probe=True)
    fleet.turn()

    assert "yes" == other.admits()


def test_a_lease_whose_owner_died_is_over_two_seconds_later(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    half_open(fleet, one, other)
    one.admits()
    fleet.turn()
    one.leave()
    fleet.pass_time(2.1)
    assert "no" == other.admits()
    fleet.turn()

    assert "probe" == other.admits()


def test_a_call_with_every_target_barred_still_goes(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)

    assert ["no", "probe"] == [other.admits(), other.admits(insist=True)]
    other.fail(probe=True)
    fleet.turn()
    assert one.health.reopens_at("sg", "chat") - one.clock() < 12, (
        "its failure lengthens nothing for the others"
    )


def test_who_is_let_in_without_the_lease_and_is_answered_closes_it_for_all(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)
    other.admits(insist=True)
    other.answer(probe=True)
    fleet.turn()

    assert "yes" == one.admits()


# Cooldowns, keys, objects.


def test_cooldowns_are_shared(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy("primary"))
    one.health.cool(("target", "sg"), 30)
    one.health.cool(("model", "sg", "seed"), 300)
    fleet.turn()
    late = fleet.process(policy())

    for process, name in ((other, "primary"), (late, "sg")):
        assert process.health.cool_until(("target", name)) - process.clock() == pytest.approx(30)
        assert process.health.cool_until(("model", name, "seed")) - process.clock() == pytest.approx(300)
        assert 0 == process.health.cool_until(("model", name, "another"))


def test_a_quota_group_cools_each_of_its_targets(fleet, policy):
    def grouped(group):
        return Policy(
            targets=[
                Target("sg", region="ap-southeast-1", api_key="a", quota_group=group),
                Target("eu", region="eu-west-1", api_key="b", quota_group=group),
            ]
        )

    one, other = fleet.process(grouped("acct")), fleet.process(grouped(None))
    one.health.cool(("group", "acct"), 30)
    fleet.turn()

    assert [True, True] == [other.health.cool_until(("target", name)) > 0 for name in ("sg", "eu")]


def test_a_cooldown_that_is_over_soon_is_not_shared(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    one.health.cool(("target", "sg"), 0.25)
    fleet.turn()

    assert 0 == other.health.cool_until(("target", "sg"))


def test_a_refused_key_is_left_alone_by_all(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    one.health.bury(KEY, "sg")
    fleet.turn()

    assert other.health.dead_until(KEY) - other.clock() == pytest.approx(300)


def test_any_process_can_follow_an_object_up(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy("primary", "eu"))
    one.health.pin("resp_1", "sg")
    one.health.pin("made by a call that no target could serve", "ap-southeast-1")
    fleet.turn()
    late = fleet.process(policy())

    assert ["primary", "sg"] == [other.health.pinned("resp_1"), late.health.pinned("resp_1")]
    assert other.health.pinned("resp_2") is None
    assert "resp_1" not in repr(fleet.store.__dict__)


# What is lost, and who was cut off.


def test_a_lost_message_is_made_good_by_the_full_read(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    fleet.loses_messages = True
    open_for_all(fleet, one)
    assert "yes" == other.admits()
    fleet.read()

    assert "no" == other.admits()


def test_a_process_alone_probes_alone(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)
    other.leave()
    assert "no" == other.admits()
    fleet.pass_time(12)

    assert "probe" == other.admits()
    other.answer(probe=True)
    other.join()
    fleet.turn()
    assert "yes" == one.admits(), "what it saw holds for all"


def test_who_was_cut_off_opens_nothing_for_others(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    other.leave()
    other.fail(5)
    other.join()
    fleet.turn()
    fleet.read()

    assert "yes" == one.admits()
    assert "no" == other.admits()


def test_who_was_cut_off_learns_that_it_is_over(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)
    other.leave()
    fleet.pass_time(12)
    one.admits()
    fleet.turn()
    one.admits()
    one.answer(probe=True)
    fleet.turn()
    assert "probe" == other.admits()
    other.health.released("sg", "chat")
    other.join()

    assert "yes" == other.admits()


def test_what_one_opened_alone_is_not_closed_by_others(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)
    fleet.pass_time(12)
    one.admits()
    fleet.turn()
    one.admits()
    one.answer(probe=True)
    fleet.turn()
    other.leave()
    other.fail(5)
    other.join()
    fleet.read()

    assert "no" == other.admits()


def test_a_store_that_restarts_empty_opens_and_closes_nothing(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    open_for_all(fleet, one)
    fleet.store.breakers.clear()
    fleet.store.counts.clear()
    fleet.store.rows.clear()
    fleet.read()
    assert ["no", "no"] == [one.admits(), other.admits()]
    fleet.turn()

    assert "no" == fleet.process(policy()).admits(), "who saw it writes it again"


def test_a_forked_child_sends_nothing_of_its_parents(fleet, policy):
    process = fleet.process(policy())
    process.fail(4)
    process.health.pin("resp_1", "sg")
    process.health.after_fork()
    process.sharing.after_fork("host/child")
    process.join()
    fleet.pass_time(2)
    fleet.turn()

    assert not fleet.store.counts
    assert [] == fleet.store.pins


def test_a_breaker_that_opens_again_and_again_fills_no_memory(fleet, policy):
    process = fleet.process(policy(open=1, open_max=1))
    for _ in range(20):
        open_for_all(fleet, process)
        fleet.pass_time(1.2)
        process.admits()
        fleet.turn()
        assert "probe" == process.admits()
        process.answer(probe=True)
        fleet.turn()
        process.sharing.forget()

    assert len(process.sharing._counted) <= 1
    assert 1 == len(process.sharing.shared.breakers)
    assert "yes" == process.admits()


# What it believes.


def test_no_news_is_believed_for_longer_than_its_kind_allows(fleet, policy):
    process = fleet.process(policy(open=10, open_max=60))
    for news in (
        BreakerNews(SG, "chat", KEY, 1, False, 2**53, 1, "connect", "w"),
        CoolingNews(SG, KEY, "", 2**53),
        RefusedNews(KEY, 2**53),
    ):
        process.sharing.receive(news)

    now = process.clock()
    assert 60 == process.health.reopens_at("sg", "chat") - now
    assert 300 == process.health.cool_until(("target", "sg")) - now
    assert 300 == process.health.dead_until(KEY) - now


def test_news_of_other_places_or_operations_or_reasons_fill_no_memory(fleet, policy):
    process = fleet.process(policy())
    for at in range(100):
        process.sharing.receive(BreakerNews(f"https://{at}", "chat", KEY, 1, False, 9_000, 1, "connect", "w"))
        process.sharing.receive(BreakerNews(SG, f"operation-{at}", KEY, 1, False, 9_000, 1, "connect", "w"))
        process.sharing.receive(CoolingNews(f"https://{at}", KEY, "", 9_000))
        process.sharing.receive(PinNews(f"{at}", "nowhere"))

    shared = process.sharing.shared
    assert [0, 0, 0] == [len(shared.breakers), len(shared.barred), len(shared.pins)]
    process.sharing.receive(BreakerNews(SG, "chat", KEY, 1, False, 9_000, 1, "a reason of tomorrow", "w"))
    assert ["none"] == [opening.reason for opening in process.heard.openings]


def test_what_is_received_in_any_order_comes_to_the_same(fleet, policy):
    news = [
        BreakerNews(SG, "chat", KEY, epoch, closed, 5_000 * epoch, 1, "connect", f"host/{epoch}")
        for epoch in (1, 2, 3)
        for closed in (False, True)
    ][:5]
    for seed in range(50):
        process = fleet.process(policy(), joins=False)
        order = news * 2
        Random(seed).shuffle(order)
        for each in order:
            process.sharing.receive(each)

        assert "no" == process.admits()
        assert 15 == pytest.approx(process.health.reopens_at("sg", "chat") - process.clock())


def test_the_budget_of_retries_stays_this_processs(fleet, policy):
    one, other = fleet.process(policy()), fleet.process(policy())
    while one.health.spend():
        pass
    fleet.turn()

    assert other.health.spend()


def test_without_sharing_nothing_is_written_down():
    from byteplus_trace._routing.health import Health

    health = Health(Policy(targets=[Target("sg", region="ap-southeast-1")]), lambda: 0.0, Random(1))
    health.failed("sg", "chat", "connect")

    assert health.journal is None
    Sharing(health, Policy(targets=[Target("sg", region="ap-southeast-1")]), lambda: 0.0, "w")
    health.failed("sg", "chat", "connect")
    assert 1 == len(health.journal)
