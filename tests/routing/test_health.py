"""What is known of targets: breakers, cooldowns, credentials, the budget, pins."""

import threading
from random import Random

import pytest

from byteplus_trace import Breaker, Policy, Retry
from byteplus_trace._routing.breaker import Opening
from byteplus_trace._routing.health import REMEMBERED, Health


@pytest.fixture
def health(world, target):
    """health(breaker settings): of one target called sg; with its clock and what it said."""

    def make(**breaker):
        here = world(Policy(targets=[target("sg")], breaker=Breaker(**breaker)))
        health = here.health
        return health, here.clock, here.heard

    return make


def fail(health, times, probe=False):
    for _ in range(times):
        health.failed("sg", "chat", "connect", probe=probe)


def test_it_opens_after_so_many_failures_in_a_row(health):
    health, _, heard = health(consecutive=3)

    fail(health, 2)
    health.succeeded("sg", "chat")
    fail(health, 2)
    assert "yes" == health.admit("sg", "chat")
    fail(health, 1)

    assert "no" == health.admit("sg", "chat")
    assert [("sg", "chat", 2)] == heard.states


def test_failures_in_a_row_count_however_slowly_they_come(health):
    health, clock, _ = health(consecutive=3, window=30)

    for _ in range(3):
        fail(health, 1)
        clock.now += 60

    assert health.reopens_at("sg", "chat") > 0


def test_it_opens_at_a_share_of_enough_calls_within_the_window(health):
    health, clock, _ = health(consecutive=None, min_requests=10, ratio=0.5, window=30)

    for _ in range(4):
        fail(health, 1)
    clock.now += 31  # forgotten
    for _ in range(4):
        fail(health, 1)
        health.succeeded("sg", "chat")
    fail(health, 1)
    assert "yes" == health.admit("sg", "chat")
    health.succeeded("sg", "chat")
    fail(health, 1)

    assert "no" == health.admit("sg", "chat")


def test_a_breaker_may_be_switched_off(health):
    health, _, _ = health(consecutive=None, ratio=None)

    fail(health, 100)

    assert "yes" == health.admit("sg", "chat")


def test_each_operation_and_each_target_is_judged_alone(health):
    health, _, _ = health(consecutive=1)

    fail(health, 1)

    assert "yes" == health.admit("sg", "embeddings")
    assert "yes" == health.admit("eu", "chat")


def test_one_probe_at_a_time(health):
    health, clock, heard = health(consecutive=1, open=10)
    fail(health, 1)
    clock.now += 12

    assert ["probe", "no", "no"] == [health.admit("sg", "chat") for _ in range(3)]
    assert not health.would_admit("sg", "chat")
    health.succeeded("sg", "chat", probe=True)

    assert "yes" == health.admit("sg", "chat")
    assert [2, 1, 0] == [state for _, _, state in heard.states]


def test_it_stays_open_twice_as_long_after_each_failed_probe_up_to_the_most(health):
    health, clock, _ = health(consecutive=1, open=10, open_max=60)
    fail(health, 1)
    lengths = []
    for _ in range(5):
        lengths.append(health.reopens_at("sg", "chat") - clock.now)
        clock.now = health.reopens_at("sg", "chat")
        assert "probe" == health.admit("sg", "chat")
        fail(health, 1, probe=True)

    assert [10, 20, 40, 60, 60] == [pytest.approx(length, rel=0.11) for length in lengths]
    assert max(lengths) <= 60


def test_it_says_why_it_opened_for_how_long_and_whether_it_was_a_probe_that_failed(health):
    health, clock, heard = health(consecutive=2, open=10)
    health.failed("sg", "chat", "connect")
    health.failed("sg", "chat", "overloaded")
    first = health.reopens_at("sg", "chat") - clock.now
    clock.now += 12
    health.admit("sg", "chat")
    health.released("sg", "chat")
    health.admit("sg", "chat")
    health.failed("sg", "chat", "timeout", probe=True)
    second = health.reopens_at("sg", "chat") - clock.now

    assert [Opening("overloaded", first, again=False), Opening("timeout", second, again=True)] == [
        Opening(opening.reason, pytest.approx(opening.seconds), opening.again) for opening in heard.openings
    ]


def test_it_opens_briefly_again_once_it_was_well(health):
    health, clock, _ = health(consecutive=1, open=10)
    for _ in range(3):
        fail(health, 1)
        clock.now += 12
        assert "probe" == health.admit("sg", "chat")
        health.succeeded("sg", "chat", probe=True)
    fail(health, 1)

    assert 10 == pytest.approx(health.reopens_at("sg", "chat") - clock.now, rel=0.11)


def test_calls_that_left_before_it_opened_have_no_say(health):
    health, clock, _ = health(consecutive=1, open=10)
    fail(health, 1)
    until = health.reopens_at("sg", "chat")

    health.succeeded("sg", "chat")
    fail(health, 3)
    clock.now += 12
    health.admit("sg", "chat")
    health.succeeded("sg", "chat")

    assert until == health.reopens_at("sg", "chat")
    assert "no" == health.admit("sg", "chat")


def test_a_probe_without_a_verdict_gives_its_slot_back(health):
    health, clock, heard = health(consecutive=1, open=10)
    fail(health, 1)
    clock.now += 12
    health.admit("sg", "chat")

    health.released("sg", "chat")

    assert "probe" == health.admit("sg", "chat")
    assert [2, 1, 2, 1] == [state for _, _, state in heard.states]


def test_who_insists_is_let_in_before_the_time(health):
    health, _, _ = health(consecutive=1)
    fail(health, 1)

    assert ["no", "probe", "yes"] == [
        health.admit("sg", "chat"), health.admit("sg", "chat", insist=True), health.admit("sg", "chat", insist=True),
    ]  # fmt: skip


def test_streams_that_break_after_their_first_output_count_as_failures(health):
    health, _, _ = health(consecutive=3)

    for _ in range(3):
        health.succeeded("sg", "chat")
        health.broke("sg", "chat", "cut")

    assert "no" == health.admit("sg", "chat")


def test_a_breaker_may_count_statuses_of_its_own(health):
    health, _, _ = health(on_status_codes={500})

    assert health.counts("sg", 500, otherwise=False)
    assert not health.counts("sg", 503, otherwise=True)
    assert health.counts("sg", None, otherwise=True)


def test_a_target_may_have_a_breaker_of_its_own(world, target):
    here = world(Policy(targets=[target("sg", breaker=Breaker(consecutive=1)), target("eu")])).health
    for name in ("sg", "eu"):
        here.failed(name, "chat", "connect")

    assert ["no", "yes"] == [here.admit(name, "chat") for name in ("sg", "eu")]


def test_a_cooldown_ends_when_the_longest_does(health):
    health, clock, _ = health()
    health.cool(("target", "sg"), 5)
    health.cool(("target", "sg"), 2)
    health.cool(("group", "g"), 9)

    assert clock.now + 9 == health.cool_until(("target", "sg"), ("group", "g"))
    clock.now += 5
    assert 0 == health.cool_until(("target", "sg"))


def test_a_dead_credential_is_told_once(health):
    health, clock, heard = health()
    for _ in range(3):
        health.bury("digest", "sg")
        assert health.dead_until("digest") > clock.now
        clock.now += 301
        assert 0 == health.dead_until("digest")

    assert ["sg"] == heard.dead
    assert 0 == health.dead_until(None)


def test_the_budget_holds_ten_and_grows_with_calls_and_time(world, target):
    here = world(Policy(targets=[target("sg")], retry=Retry(budget_ratio=0.1)))
    health = here.health
    assert [True] * 10 + [False] == [health.spend() for _ in range(11)]

    for _ in range(10):
        health.earn()
    assert [True, False] == [health.spend(), health.spend()]
    here.clock.now += 2
    assert [True, True, False] == [health.spend() for _ in range(3)]
    here.clock.now += 3_600
    assert 10 == sum(health.spend() for _ in range(50))


def test_the_oldest_pins_are_forgotten_first(health):
    health, _, _ = health()
    health.pin("old", "sg")
    for at in range(REMEMBERED):
        health.pinned("old")
        health.pin(f"resp_{at}", "eu")

    assert "sg" == health.pinned("old")
    assert health.pinned("resp_0") is None


def test_nothing_that_callers_send_can_fill_the_memory(health):
    health, _, _ = health()
    for at in range(REMEMBERED + 10):
        health.cool(("model", "sg", f"typo-{at}"), 300)
        health.bury(f"key-{at}", "sg")

    assert 0 == health.cool_until(("model", "sg", "typo-0"))
    assert 0 == health.dead_until("key-0")


class Relays:
    """A listener that asks back: it would hang if a lock were held."""

    health = None

    def breaker_changed(self, target, operation, state, opening):
        self.health.would_admit(target, operation)

    def credential_dead(self, target):
        self.health.spend()


def test_listeners_are_told_with_no_lock_held(target):
    relays = Relays()
    relays.health = health = Health(
        Policy(targets=[target("sg")], breaker=Breaker(consecutive=1)), lambda: 0.0, Random(1), relays
    )
    done = threading.Event()

    def work():
        health.failed("sg", "chat", "connect")
        health.bury("digest", "sg")
        done.set()

    threading.Thread(target=work, daemon=True).start()

    assert done.wait(5)


def test_threads_share_one_probe(target):
    clock = [0.0]
    health = Health(
        Policy(targets=[target("sg")], breaker=Breaker(consecutive=1, open=1)), lambda: clock[0], Random(1)
    )
    health.failed("sg", "chat", "connect")
    clock[0] = 10.0
    together, found = threading.Barrier(8), []

    def work():
        together.wait()
        for _ in range(200):
            found.append(health.admit("sg", "chat"))
            health.cool(("target", "sg"), 1)
            health.pin("x", "sg")
            health.earn()
            health.spend()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == found.count("probe")
    assert 1_600 == len(found)
