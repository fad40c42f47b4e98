"""One call under a policy: every row of the table, and every rule beside it."""

import pytest

from byteplus_trace import Breaker, Deadline, Policy, Retry
from byteplus_trace._policy.targets import Condition, Group
from byteplus_trace._routing.order import why_it_stays
from byteplus_trace._routing.resend import Prior
from byteplus_trace._routing.steps import Deliver, Failure, Keep, Peeked, Reply, Send

SG, EU = "ap-southeast-1", "eu-west-1"
ONCE = Retry(per_target=0)

CONNECT = Failure("connect", reached=False, error=OSError("refused"))
TIMEOUT = Failure("timeout", reached=True, error=TimeoutError("read"))
RESET = Failure("reset", reached=True, error=ConnectionError("reset"))
STALE = Failure("reset", reached=True, stale_connection=True, error=ConnectionError("stale"))
POOL = Failure("pool", reached=False, error=TimeoutError("pool"))
EMPTY = Peeked(empty=True)


def error(code):
    return Peeked(failed=True, code=code)


# What came of the first send -> the sends that a chat makes of it.
CHAT_ROWS = {
    "DNS, refused, TLS, connect timeout": (CONNECT, ["sg", "eu"]),
    "pool timeout": (POOL, ["sg"]),
    "read timeout": (TIMEOUT, ["sg", "eu"]),
    "reset": (RESET, ["sg", "eu"]),
    "a stale connection": (STALE, ["sg", "sg"]),
    "somebody's own fault": (Failure("other", reached=True), ["sg"]),
    "cancelled": (Failure("cancelled", reached=True), ["sg"]),
    "400": (Reply(400, "InvalidParameter"), ["sg"]),
    "413": (Reply(413), ["sg"]),
    "415": (Reply(415), ["sg"]),
    "422": (Reply(422), ["sg"]),
    "moderation": (Reply(400, "InputTextSensitiveContentDetected.PolicyViolation"), ["sg"]),
    "moderation under another status": (Reply(500, "OutputImageSensitiveContentDetected"), ["sg"]),
    "a closed endpoint": (Reply(400, "InvalidEndpoint.ClosedEndpoint"), ["sg", "eu"]),
    "401": (Reply(401, "AuthenticationError"), ["sg", "eu"]),
    "403 overdue": (Reply(403, "AccountOverdueError"), ["sg", "eu"]),
    "403": (Reply(403, "AccessDenied"), ["sg", "eu"]),
    "404 model": (Reply(404, "InvalidEndpointOrModel.NotFound"), ["sg", "eu"]),
    "404 not open": (Reply(404, "ModelNotOpen"), ["sg", "eu"]),
    "404": (Reply(404, "NotFound.Path"), ["sg"]),
    "408": (Reply(408), ["sg", "sg"]),
    "409": (Reply(409), ["sg", "sg"]),
    "429 endpoint": (Reply(429, "RateLimitExceeded.EndpointRPMExceeded"), ["sg", "eu"]),
    "429 model of the account": (Reply(429, "ModelAccountTpmRateLimitExceeded"), ["sg", "eu"]),
    "429 account": (Reply(429, "AccountRateLimitExceeded"), ["sg", "eu"]),
    "429 burst": (Reply(429, "RequestBurstTooFast"), ["sg", "eu"]),
    "429 quota": (Reply(429, "QuotaExceeded.AgentPlanQuotaExceeded"), ["sg", "eu"]),
    "429 safe experience": (Reply(429, "SetLimitExceeded"), ["sg", "eu"]),
    "429 overloaded": (Reply(429, "ServerOverloaded"), ["sg", "sg"]),
    "429 of no known code": (Reply(429, "SomethingNew"), ["sg", "eu"]),
    "429 without a code": (Reply(429), ["sg", "eu"]),
    "500": (Reply(500, "InternalServiceError"), ["sg", "sg"]),
    "502": (Reply(502), ["sg", "sg"]),
    "503": (Reply(503), ["sg", "sg"]),
    "another 4xx": (Reply(418), ["sg"]),
    "3xx": (Reply(307), ["sg"]),
    "a known error in a 200": (error("ServerOverloaded"), ["sg", "sg"]),
    "an unknown error in a 200": (error("SomethingNew"), ["sg", "sg"]),
    "an error without a code in a 200": (error(None), ["sg", "sg"]),
    "moderation in a 200": (error("OutputTextSensitiveContentDetected"), ["sg"]),
    "an empty 200": (EMPTY, ["sg", "sg"]),
    "a timeout before the first output": (("200", TIMEOUT), ["sg", "eu"]),
    "a cut before the first output": (("200", RESET), ["sg", "eu"]),
}


@pytest.mark.parametrize("row", CHAT_ROWS)
def test_what_a_chat_makes_of(row, world, two, call):
    outcome, targets = CHAT_ROWS[row]

    assert targets == world(two()).play(call(), outcome).targets


@pytest.mark.parametrize("row", [row for row, (_, targets) in CHAT_ROWS.items() if targets == ["sg", "sg"]])
def test_after_its_retry_the_next_target_is_asked(row, world, two, call):
    outcome, _ = CHAT_ROWS[row]

    trip = world(two()).play(call(), outcome, outcome)

    assert [("sg", "initial"), ("sg", "retry"), ("eu", "fallback")] == trip.hops


# An image is paid for: it is sent again only where it surely did not run.
IMAGE_ROWS = {
    "refused": (CONNECT, ["sg", "eu"]),
    "read timeout": (TIMEOUT, ["sg"]),
    "reset": (RESET, ["sg"]),
    "a stale connection": (STALE, ["sg"]),
    "a request that never left": (Failure("reset", reached=False), ["sg", "eu"]),
    "500": (Reply(500), ["sg"]),
    "502": (Reply(502), ["sg"]),
    "504": (Reply(504), ["sg"]),
    "503": (Reply(503, "InternalServiceError"), ["sg", "sg"]),
    "overloaded": (Reply(500, "ServerOverloaded"), ["sg", "sg"]),
    "429 overloaded": (Reply(429, "ServerOverloaded"), ["sg", "sg"]),
    "429": (Reply(429, "RateLimitExceeded"), ["sg", "eu"]),
    "401": (Reply(401), ["sg", "eu"]),
    "an error of the server in a 200": (error("InternalServiceError"), ["sg"]),
    "overloaded in a 200": (error("ServerOverloaded"), ["sg", "sg"]),
    "an empty 200": (EMPTY, ["sg"]),
    "a cut before the first output": (("200", RESET), ["sg"]),
}


@pytest.mark.parametrize("row", IMAGE_ROWS)
@pytest.mark.parametrize("api", ["images", "video_task_create", "responses"])
def test_what_a_paid_or_stored_call_makes_of(api, row, world, two, call):
    outcome, targets = IMAGE_ROWS[row]

    assert targets == world(two()).play(call(api), outcome).targets


def test_an_image_whose_first_copy_may_have_run_is_raised_and_counted(world, two, call):
    trip = world(two()).play(call("images"), TIMEOUT)

    assert trip.delivered.failure is TIMEOUT
    assert trip.delivered.spared


def test_an_earlier_reply_does_not_hide_that_an_image_may_have_run(world, two, call):
    trip = world(two(retry=ONCE)).play(call("images"), Reply(503), RESET)

    assert ["sg", "eu"] == trip.targets
    assert trip.delivered.failure is RESET
    assert trip.delivered.spared


def test_an_image_that_failed_with_a_reply_is_not_resent_by_the_sdk(world, two, call):
    assert Deliver(final=True, attempts=1) == world(two()).play(call("images"), Reply(500)).delivered


@pytest.mark.parametrize("api", ["responses_get", "video_task_get"])
def test_a_call_that_only_reads_runs_nothing_and_may_be_sent_again(api, world, two, call):
    here, read = world(two()), call(api, resource_id="made-before")

    assert ["sg", "sg"] == here.play(read, Reply(500)).targets
    delivered = here.play(read, RESET).delivered

    assert delivered.failure is RESET
    assert not delivered.spared


STATELESS = {
    "store: false": ({"store": False}, ["sg", "eu"]),
    "stored": ({}, ["sg"]),
    "store: false after an earlier response": ({"store": False, "conversation": "c"}, ["sg"]),
}


@pytest.mark.parametrize("row", STATELESS)
def test_a_response_may_run_twice_only_where_it_keeps_nothing(row, world, two, call):
    params, targets = STATELESS[row]

    assert targets == world(two()).play(call("responses", params=params), TIMEOUT).targets


def test_a_move_after_an_ambiguous_failure_is_counted_as_a_risk(world, two, call):
    trip = world(two()).play(call(), TIMEOUT)

    assert [False, True] == [send.replays for send in trip.sends]


@pytest.mark.parametrize("setting", ["ambiguous", "unsent_only"])
def test_replay_is_the_policys_to_say(setting, world, two, call):
    trip = world(two(replay={"images": setting, "chat": setting})).play(call("images"), TIMEOUT)

    assert (["sg", "eu"] if setting == "ambiguous" else ["sg"]) == trip.targets


# Waiting.


def test_a_retry_waits_a_random_while_between_base_and_cap(world, two, call):
    policy = two(retry=Retry(per_target=4, base=0.5, cap=2))
    trip = world(policy).play(call(), *[Reply(503)] * 4)

    waits = [wait.seconds for wait in trip.waits]
    assert 4 == len(waits) == len(set(waits)) or 2.0 in waits
    assert all(0.5 <= wait <= 2 for wait in waits)
    assert [0.0, *waits] == [send.waited_seconds for send in trip.sends]
    assert {("backoff", "sg", "server_error")} == {(w.source, w.target, w.reason) for w in trip.waits}


def test_retry_after_is_a_floor(world, two, call):
    (wait,) = world(two()).play(call(), Reply(503, None, 5.0)).waits

    assert (5.0, "retry-after") == (wait.seconds, wait.source)


def test_a_retry_after_beyond_the_cap_moves_on_instead(world, two, call):
    trip = world(two()).play(call(), Reply(503, None, 11.0))

    assert ["sg", "eu"] == trip.targets
    assert [] == trip.waits


def test_retry_after_is_not_read_from_a_409(world, two, call):
    (wait,) = world(two()).play(call(), Reply(409, None, 5.0)).waits

    assert wait.seconds < 1


def test_a_retry_after_may_be_left_unheeded(world, two, call):
    (wait,) = world(two(retry=Retry(use_retry_after=False))).play(call(), Reply(503, None, 5.0)).waits

    assert "backoff" == wait.source


def test_nothing_waits_after_the_last_attempt(world, two, call):
    trip = world(two(max_attempts=2)).play(call(), Reply(503), Reply(503))

    assert ["Send", "Keep", "Wait", "Send", "Discard"] == trip.step_names


def test_a_stale_connection_is_retried_at_once_and_only_once(world, two, call):
    trip = world(two(retry=Retry(per_target=3))).play(call(), STALE, STALE)

    assert ["sg", "sg", "eu"] == trip.targets
    assert [] == trip.waits


def test_retries_draw_on_a_budget_and_fallbacks_do_not(world, two, call):
    policy = two(
        retry=Retry(per_target=1, base=0.01, cap=0.01), breaker=Breaker(consecutive=None, ratio=None)
    )
    here = world(policy)

    retried = [here.play(call(), Reply(503)).targets == ["sg", "sg"] for _ in range(20)]

    assert [True] * 10 == retried[:10]
    assert 3 > sum(retried[12:])
    assert ["sg", "eu"] == here.play(call(), Reply(503)).targets


# Rate limits, quotas, credentials, models.


def test_a_rate_limited_call_waits_where_nobody_outside_the_quota_group_is_free(world, target, call):
    policy = Policy(
        targets=[
            target("sg", quota_group="acct"),
            target("sg-mini", quota_group="acct", models={"*": "mini"}),
        ]
    )

    trip = world(policy).play(call(), Reply(429, "RateLimitExceeded", 2.0))

    assert [("sg", "initial"), ("sg", "retry")] == trip.hops
    assert [2.0] == [wait.seconds for wait in trip.waits]


def test_a_rate_limited_target_cools_as_long_as_it_asked(world, two, call):
    here = world(two())
    here.play(call(), Reply(429, "RateLimitExceeded", 30.0))

    assert [("sg", "cooldown")] == here.play(call()).skips
    here.clock.now += 31
    assert ["sg"] == here.play(call()).targets


@pytest.mark.parametrize(("length", "skips"), [(512, [("sg", "cooldown")]), (513, [])])
def test_a_model_that_is_not_there_cools_while_its_name_is_one(world, two, call, length, skips):
    """A name of a megabyte is refused too, and is not to be remembered for that."""
    here, asked = world(two(retry=ONCE)), call(model="m" * length)
    here.play(asked, Reply(404, "ModelNotOpen"))

    assert skips == here.play(asked).skips


def test_a_rate_limited_account_cools_with_all_its_targets(world, target, call):
    policy = Policy(
        targets=[target("sg", quota_group="a"), target("sg2", quota_group="a"), target("eu", quota_group="b")]
    )

    trip = world(policy).play(call(), Reply(429, "ModelAccountRpmRateLimitExceeded", 30.0))

    assert ["sg", "eu"] == trip.targets
    assert [("sg2", "cooldown")] == trip.skips


def test_an_exhausted_quota_cools_its_group_for_minutes(world, target, call):
    policy = Policy(
        targets=[target("sg", quota_group="a"), target("sg2", quota_group="a"), target("eu", quota_group="b")]
    )
    here = world(policy)

    assert ["sg", "eu"] == here.play(call(), Reply(429, "QuotaExceeded", 1.0)).targets
    here.clock.now += 299
    assert [("sg", "cooldown"), ("sg2", "cooldown")] == here.play(call()).skips
    here.clock.now += 2
    assert ["sg"] == here.play(call()).targets


def test_a_refused_credential_is_dead_for_five_minutes_wherever_it_is_used(world, target, call):
    policy = Policy(targets=[target("sg", api_key="one"), target("sg2", api_key="one"), target("eu")])
    here = world(policy)

    first = here.play(call(), Reply(401, "AuthenticationError"))
    assert (["sg", "eu"], [("sg2", "dead_credential")]) == (first.targets, first.skips)
    here.clock.now += 299
    assert [("sg", "dead_credential"), ("sg2", "dead_credential")] == here.play(call()).skips
    here.clock.now += 2
    here.play(call(), Reply(401))
    assert ["sg"] == here.heard.dead


def test_one_callers_dead_credential_is_no_other_callers(world, target, call):
    here = world(Policy(targets=[target("sg", api_key=None), target("eu")]))

    here.play(call(), Reply(401), headers={"authorization": "Bearer of-alice"})

    assert ["sg"] == here.play(call(), headers={"authorization": "Bearer of-bob"}).targets
    assert ["eu"] == here.play(call(), headers={"authorization": "Bearer of-alice"}).targets


@pytest.mark.parametrize(
    ("outcome", "second", "moves"),
    [
        (Reply(401), {"region": EU, "api_key": "key-of-sg"}, False),
        (Reply(403, "AccountOverdueError"), {"api_key": "another"}, True),
        (Reply(403), {"api_key": "key-of-sg"}, False),
        (Reply(403), {"api_key": "key-of-sg", "models": {"*": "other"}}, True),
        (Reply(403), {"api_key": "another"}, True),
        (Reply(404, "ModelNotOpen"), {"api_key": "another"}, False),
        (Reply(404, "ModelNotOpen"), {"region": EU}, True),
        (Reply(404, "ModelNotOpen"), {"models": {"seed-2-0-lite-260228": "other"}}, True),
        (Reply(429, "QuotaExceeded"), {"quota_group": "acct"}, False),
        (Reply(429, "QuotaExceeded"), {"quota_group": "another"}, True),
    ],
)
def test_a_call_moves_only_to_where_it_makes_a_difference(world, target, call, outcome, second, moves):
    policy = Policy(targets=[target("sg", quota_group="acct"), target("b", **second)])

    assert (["sg", "b"] if moves else ["sg"]) == world(policy).play(call(), outcome).targets


def test_a_model_that_is_not_open_is_not_asked_of_that_target_for_five_minutes(world, two, call):
    here = world(two())
    here.play(call(), Reply(404, "ModelNotOpen"))

    assert [("sg", "cooldown")] == here.play(call()).skips
    assert ["sg"] == here.play(call(model="another")).targets


# Deadlines.


def test_without_a_total_an_attempt_has_only_the_callers_timeouts(world, two, call):
    (send,) = world(two()).play(call()).sends

    assert send.timeout_seconds is None


def test_while_a_target_is_left_some_time_is_kept_for_it(world, two, call):
    trip = world(two(retry=ONCE, deadline=Deadline(total=10))).play(call(), (7.0, TIMEOUT))

    assert [7.0, 3.0] == [send.timeout_seconds for send in trip.sends]


def test_the_least_attempt_is_kept_back_where_that_is_more_than_the_reserve(world, two, call):
    policy = two(retry=ONCE, deadline=Deadline(total=10, min_attempt=4, reserve=0.1))

    assert 6.0 == world(policy).play(call()).sends[0].timeout_seconds


def test_a_fallback_is_made_however_little_is_left_and_a_retry_is_not(world, two, call):
    policy = two(deadline=Deadline(total=10, min_attempt=2))

    trip = world(policy).play(call(), (9.5, Reply(503)))

    assert ["sg", "eu"] == trip.targets
    assert 0.5 == pytest.approx(trip.sends[1].timeout_seconds)


def test_an_image_gets_all_the_time_because_it_could_not_move_after_a_timeout(world, two, call):
    assert 10.0 == world(two(deadline=Deadline(total=10))).play(call("images")).sends[0].timeout_seconds


def test_a_spent_deadline_is_told_with_its_last_cause(world, two, call):
    trip = world(two(retry=ONCE, deadline=Deadline(total=10))).play(call(), (7.0, RESET), (3.0, TIMEOUT))

    assert Failure("deadline", reached=True) == trip.delivered.failure
    assert trip.delivered.failure.error is TIMEOUT.error
    assert trip.delivered.final


def test_a_deadline_that_is_too_short_to_try_anything_in_sends_nothing(world, two, call):
    trip = world(two(deadline=Deadline(total=0.001))).play(call())

    assert [] == trip.steps
    assert (Failure("deadline", reached=False), True) == (trip.delivered.failure, trip.delivered.final)


def test_a_reply_is_worth_more_than_a_spent_deadline_that_came_after_it(world, two, call):
    trip = world(two(retry=ONCE, deadline=Deadline(total=10))).play(call(), (10.0, Reply(503)))

    assert ["sg"] == trip.targets
    assert Deliver(final=True, attempts=1, deadline_at=1_010.0) == trip.delivered


def test_a_target_may_have_a_timeout_of_its_own(world, two, call):
    trip = world(two(sg={"request_timeout": 2.0}, retry=ONCE)).play(call(), TIMEOUT)

    assert [2.0, None] == [send.timeout_seconds for send in trip.sends]


def test_a_stream_has_so_long_to_its_first_output_while_another_target_is_left(world, two, call):
    policy = two(retry=ONCE, deadline=Deadline(first_event=5))

    trip = world(policy).play(call(stream=True), (2.0, ("200", TIMEOUT)))

    assert [5.0, None] == [send.timeout_seconds for send in trip.sends]
    assert [3.0] == [peek.timeout_seconds for peek in trip.peeks]
    assert ["sg", "eu"] == trip.targets


def test_a_documents_first_byte_has_no_such_limit(world, two, call):
    trip = world(two(deadline=Deadline(first_event=5))).play(call())

    assert trip.sends[0].timeout_seconds is None
    assert trip.peeks[0].timeout_seconds is None


def test_a_total_bounds_the_last_targets_first_output_too(world, two, call):
    policy = two(retry=ONCE, deadline=Deadline(total=10, first_event=None))

    trip = world(policy).play(call(stream=True), (4.0, CONNECT), (1.0, Reply(200)))

    assert [pytest.approx(6.0)] == [send.timeout_seconds for send in trip.sends[1:]]
    assert [pytest.approx(5.0)] == [peek.timeout_seconds for peek in trip.peeks]


# Looking closer.


def test_a_body_is_looked_at_while_a_retry_or_another_target_is_left(world, two, target, call):
    assert ["Send", "Peek"] == world(two()).play(call()).step_names
    assert ["Send", "Peek"] == world(Policy(targets=[target("sg")])).play(call()).step_names
    assert ["Send"] == world(Policy(targets=[target("sg")], retry=ONCE)).play(call()).step_names


@pytest.mark.parametrize("api", ["files", "video_task_get"])
def test_what_no_reader_knows_passes_as_it_comes(api, world, two, call):
    assert ["Send"] == world(two()).play(call(api)).step_names


def test_after_the_first_output_nothing_is_switched(world, two, call):
    trip = world(two()).play(call(stream=True), Peeked(output=True, failed=True, code="ServerOverloaded"))

    assert ["Send", "Peek"] == trip.step_names
    assert Deliver(served=True, attempts=1) == trip.delivered


# The end.


def test_when_all_fail_the_caller_gets_the_first_reply(world, two, call):
    trip = world(two(retry=ONCE)).play(call(), Reply(503), Reply(500))

    assert ["Send", "Keep", "Send", "Discard"] == trip.step_names
    assert Deliver(kept=True, final=True, attempts=2) == trip.delivered


@pytest.mark.parametrize("alone", [{"only": {"images"}}, {"zone": "eu"}, {"api_key": None}])
def test_where_one_target_alone_can_serve_a_call_its_sdk_goes_on_repeating_it(alone, world, two, call):
    """Alone an SDK sends three times; a policy must not make that two."""
    zone = {"zone": "sg"} if "zone" in alone else {}

    trip = world(two(eu=alone, sg=zone)).play(call(), Reply(503), Reply(503))
    repeated = world(two(eu=alone, sg=zone)).play(call(sdk_retry=1), Reply(503))

    assert (["sg", "sg"], False) == (trip.targets, trip.delivered.final)
    assert (["sg"], False) == (repeated.targets, repeated.delivered.final)


def test_where_one_target_alone_can_serve_a_call_that_may_have_run_its_sdk_is_stopped(world, two, call):
    trip = world(two(eu={"only": {"chat"}})).play(call("images"), Reply(500))

    assert (["sg"], True) == (trip.targets, trip.delivered.final)


def test_a_reply_is_worth_more_than_an_exception_before_it(world, two, call):
    trip = world(two(retry=ONCE)).play(call(), CONNECT, Reply(503))

    assert Deliver(final=True, attempts=2) == trip.delivered


def test_a_reply_is_worth_more_than_an_exception_after_it(world, two, call):
    assert world(two(retry=ONCE)).play(call(), Reply(503), CONNECT).delivered.kept


def test_the_last_reply_where_the_policy_says_so(world, two, call):
    trip = world(two(retry=ONCE, final="last")).play(call(), Reply(503), Reply(500))

    assert ["Send", "Keep", "Send"] == trip.step_names
    assert Deliver(final=True, attempts=2) == trip.delivered


def test_the_last_reply_is_the_last_of_many(world, two, call):
    trip = world(two(final="last")).play(call(), Reply(503), Reply(502), CONNECT)

    assert ["Send", "Keep", "Wait", "Send", "Keep", "Send"] == trip.step_names
    assert trip.delivered.kept


# The outcomes after which a call has failed everywhere, the empty reply among them -> whether its caller gets the
# reply that was kept, else which exception; where neither, the one in hand.
EMPTY_REPLIES = {
    "before a refusal": ([EMPTY, Reply(503)], (False, None)),
    "after a refusal": ([Reply(503), EMPTY], (True, None)),
    "before an exception": ([EMPTY, CONNECT], (False, CONNECT)),
    "alone": ([EMPTY, EMPTY], (False, None)),
}


@pytest.mark.parametrize("final", ["primary", "last"])
@pytest.mark.parametrize("where", EMPTY_REPLIES)
def test_an_empty_reply_is_worth_less_than_one_that_says_what_failed(where, final, world, two, call):
    outcomes, (kept, failure) = EMPTY_REPLIES[where]
    policy = two(retry=ONCE, final=final, deadline=Deadline(total=60))

    delivered = world(policy).play(call(), *outcomes).delivered

    assert (kept, failure, True) == (delivered.kept, delivered.failure, delivered.final)


@pytest.mark.parametrize(("final", "raised"), [("primary", CONNECT), ("last", RESET)])
def test_of_exceptions_alone_the_first_or_the_last(final, raised, world, two, call):
    assert world(two(final=final)).play(call(), CONNECT, RESET).delivered.failure is raised


def test_no_more_sends_than_the_cap(world, two, call):
    policy = two(retry=Retry(per_target=5), max_attempts=4, breaker=Breaker(consecutive=None, ratio=None))

    assert 4 == len(world(policy).play(call(), *[Reply(503)] * 4).sends)


def test_a_body_that_can_be_sent_once_is_sent_once(world, two, call):
    trip = world(two(sg={"models": {"*": "mapped"}})).play(call(), CONNECT, replayable=False)

    assert ["sg"] == trip.targets
    assert trip.sends[0].model is None


# Breakers.


def test_a_target_that_keeps_failing_is_left_alone_then_probed(world, two, call):
    here = world(two(retry=ONCE, breaker=Breaker(consecutive=3, open=15)))
    for _ in range(3):
        here.play(call(), CONNECT)

    assert [("sg", "breaker_open")] == here.play(call()).skips
    assert ["sg"] == here.play(call("embeddings")).targets
    here.clock.now += 17
    assert [("sg", "probe")] == here.play(call()).hops
    assert [("sg", "chat", 2), ("sg", "chat", 1), ("sg", "chat", 0)] == here.heard.states


def test_a_failed_probe_is_not_repeated(world, two, call):
    here = world(two(breaker=Breaker(consecutive=1, open=15)))
    here.play(call(), Reply(503))
    here.clock.now += 17

    assert [("sg", "probe"), ("eu", "fallback")] == here.play(call(), Reply(503)).hops


def test_a_target_that_opens_its_breaker_is_not_retried(world, two, call):
    assert ["sg", "eu"] == world(two(breaker=Breaker(consecutive=1))).play(call(), Reply(503)).targets


def test_one_poisonous_call_does_not_open_every_region(world, two, call):
    here = world(two(retry=ONCE, breaker=Breaker(consecutive=1)))

    here.play(call(), Reply(500), Reply(500))

    assert [("sg", "chat", 2)] == here.heard.states


def test_where_all_are_open_the_one_that_opens_soonest_is_tried_once(world, two, call):
    here = world(two(breaker=Breaker(consecutive=1)))
    here.play(call(), CONNECT, CONNECT)
    here.clock.now += 1

    trip = here.play(call(), Reply(503))

    assert 1 == len(trip.sends)
    assert ["probe"] == [send.cause for send in trip.sends]
    assert [({"sg": "eu", "eu": "sg"}[trip.targets[0]], "breaker_open")] == trip.skips
    assert Deliver(final=True, attempts=1) == trip.delivered


def test_where_all_are_cooling_the_first_to_be_well_is_tried_once(world, two, call):
    here = world(two())
    here.play(call(), Reply(429, "RateLimitExceeded", 90.0), Reply(429, "RateLimitExceeded", 30.0))

    assert ["eu"] == here.play(call(), Reply(429, "RateLimitExceeded")).targets


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_a_call_that_is_dropped_gives_its_probe_back(how, world, two, call):
    here = world(two(retry=ONCE, breaker=Breaker(consecutive=1, open=15)))
    here.play(call(), CONNECT)
    here.clock.now += 17
    steps = here.plan(call())
    assert "probe" == next(steps).cause
    assert "no" == here.health.admit("sg", "chat")

    if how == "closed":
        steps.close()
    else:
        with pytest.raises(StopIteration):
            steps.send(Failure("cancelled", reached=True))

    assert [("sg", "probe")] == here.play(call()).hops


# Where a call may go.


def test_targets_are_tried_in_the_policys_order_whichever_was_addressed(world, two, call):
    trip = world(two()).play(call(region=EU))

    (send,) = trip.sends
    assert ("sg", "https://ark.ap-southeast.bytepluses.com/api/v3", "key-of-sg") == (
        send.target, send.base_url, send.api_key,
    )  # fmt: skip


def test_the_addressed_target_keeps_the_callers_path(world, two, call):
    coding = call(url="https://ark.ap-southeast.bytepluses.com/api/coding/v3/chat/completions")

    assert [None] == [send.base_url for send in world(two()).play(coding).sends]


def test_a_target_without_a_key_serves_only_where_the_caller_has_one(world, target, call):
    policy = Policy(targets=[target("sg", api_key=None), target("eu", api_key=None)])

    trip = world(policy).play(call(), CONNECT)
    assert ([(None, None)], [("eu", "dead_credential")]) == (
        [(send.api_key, send.base_url) for send in trip.sends], trip.skips,
    )  # fmt: skip
    assert ["eu"] == world(policy).play(call(region=EU)).targets


def test_the_callers_key_does_not_go_to_another_address_in_its_region(world, target, call):
    policy = Policy(
        targets=[target("sg", api_key=None, base_url="https://ark.private.example/api/v3"), target("eu")]
    )

    assert ["eu"] == world(policy).play(call()).targets


def test_targets_that_do_not_serve_the_kind_are_passed_over(world, two, call):
    here = world(two(sg={"only": {"images"}}))

    assert (["eu"], [("sg", "operation")]) == (here.play(call()).targets, here.play(call()).skips)
    assert ["sg"] == here.play(call("images")).targets


def test_models_are_mapped_for_each_target(world, two, call):
    policy = two(eu={"models": {"ep-sg": "ep-eu", "*": "seed-2-0-mini"}}, retry=ONCE)

    assert [None, "ep-eu"] == [send.model for send in world(policy).play(call(model="ep-sg"), CONNECT).sends]
    assert [None, "seed-2-0-mini"] == [send.model for send in world(policy).play(call(), CONNECT).sends]


def test_an_endpoint_without_a_mapping_fits_only_the_region_it_is_in(world, two, call):
    trip = world(two()).play(call(model="ep-20260101-sg"), CONNECT)

    assert (["sg"], [("eu", "model")]) == (trip.targets, trip.skips)


def test_a_call_addressed_to_a_zone_stays_in_it(world, target, call):
    policy = Policy(targets=[target("sg"), target("eu", zone="eu"), target("eu2", zone="eu", api_key="k")])

    trip = world(policy).play(call(region=EU), CONNECT, CONNECT, origin="eu")
    assert (["eu", "eu2"], [("sg", "zone")]) == (trip.targets, trip.skips)
    assert ["sg", "eu"] == world(policy).play(call(), CONNECT).targets


STAYING = {
    "encrypted": [{"x-session-token": "token"}, {"x-encrypt-info": "{}", "x-is-encrypted": "true"}],
    "signed": [
        {"x-signature": "0a1b"},
        {"signature-input": "sig1=()"},
        {"authorization": "AWS4-HMAC-SHA256 Credential=AK/20261101/region/ark/request, Signature=0a1b"},
        {"authorization": "HMAC-SHA256 Credential=AK, Signature=0a1b"},
    ],
}


@pytest.mark.parametrize(
    ("reason", "headers"), [(reason, each) for reason in STAYING for each in STAYING[reason]]
)
def test_a_call_that_one_place_alone_can_take_never_moves(world, two, call, reason, headers):
    trip = world(two()).play(call(region=EU), CONNECT, headers=headers)

    assert (["eu"], [("sg", reason)]) == (trip.targets, trip.skips)


@pytest.mark.parametrize("mark", ["true", "false", ""])
def test_a_call_that_is_only_marked_as_encrypted_moves(world, two, call, mark):
    """VeADK marks every call, and sends plain JSON."""
    trip = world(two()).play(call(region=EU), CONNECT, headers={"x-is-encrypted": mark})

    assert ["sg", "eu"] == trip.targets


def test_a_call_that_no_target_can_serve_travels_as_it_was(world, two, call):
    trip = world(two(sg={"only": {"images"}}, eu={"only": {"images"}})).play(call(), Reply(503))

    assert [Send(SG, SG, None, "initial", 1, skipped=trip.sends[0].skipped)] == trip.sends
    assert [("sg", "operation"), ("eu", "operation")] == trip.skips


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("@eu/m", {"eu": {"only": {"images"}}}),
        ("@eu/m", {"eu": {"api_key": None}}),
        ("@eu/m", {"sg": {"zone": "a"}, "eu": {"zone": "b"}}),
        ("@eu/ep-1", {}),
        ("@byteplus/m", {"sg": {"only": {"images"}}, "eu": {"only": {"images"}}}),
    ],
)
def test_the_name_of_a_target_that_cannot_serve_is_taken_off_all_the_same(world, two, call, model, settings):
    (send,) = world(two(**settings)).play(call(model=model)).sends

    assert (None, None, model.partition("/")[2]) == (send.base_url, send.api_key, send.model)


def test_of_a_body_that_cannot_be_rewritten_it_is_not(world, two, call):
    trip = world(two(eu={"only": {"images"}})).play(call(model="@eu/m"), replayable=False)

    assert [None] == [send.model for send in trip.sends]


PREFIXED = {
    "@eu/seed-2-0-lite": ("eu", "seed-2-0-lite"),
    "@byteplus/seed-2-0-lite": ("sg", "seed-2-0-lite"),
    "@byteplus-team/seed-2-0-lite": ("sg", "seed-2-0-lite"),
    "@nobody/seed-2-0-lite": ("sg", None),
}


@pytest.mark.parametrize("model", PREFIXED)
def test_a_model_may_name_its_target(model, world, two, call):
    (send,) = world(two()).play(call(model=model)).sends

    assert PREFIXED[model] == (send.target, send.model)


def test_a_call_that_names_its_target_does_not_leave_it(world, two, call):
    assert ["eu"] == world(two()).play(call(model="@eu/seed-2-0-lite"), CONNECT).targets


def test_a_region_that_the_request_asks_for_comes_first(world, two, call):
    trip = world(two()).play(call(), CONNECT, headers={"x-portkey-byteplus-region": EU})

    assert ["eu", "sg"] == trip.targets


OBJECTS = {
    "an earlier response": ("responses", {"params": {"previous_response_id": "resp_1"}}, {}),
    "a response by its id": ("responses_get", {"resource_id": "resp_1"}, {}),
    "a task": ("video_task_get", {"resource_id": "resp_1"}, {}),
    "a file in a chat": ("chat_completions", {}, {"files": ["resp_1"]}),
    "a file in a response": ("responses", {}, {"files": ["resp_1"]}),
}  # fmt: skip


@pytest.mark.parametrize("row", OBJECTS)
def test_what_was_made_somewhere_stays_there(row, world, two, call):
    api, facts, named = OBJECTS[row]
    here = world(two())

    assert ["sg"] == here.play(call(api, **facts), CONNECT, **named).targets
    here.health.pin("resp_1", "eu")
    assert ["eu"] == here.play(call(api, **facts), CONNECT, **named).targets


# Groups.


def test_a_load_is_balanced_by_weight_and_the_rest_are_tried_in_order(world, target, call):
    policy = Policy(
        targets=[target("a", weight=3), target("b", weight=1), target("off", weight=0)], mode="loadbalance"
    )
    here = world(policy)

    trips = [here.play(call("images"), CONNECT, CONNECT) for _ in range(4)]
    firsts = [world(policy, seed).play(call()).targets[0] for seed in range(400)]

    assert [{"a", "b"}] * 4 == [set(trip.targets) for trip in trips]
    assert 0.68 < firsts.count("a") / 400 < 0.82
    assert "off" not in firsts


def test_conditions_choose_the_target(world, target, call):
    policy = Policy(
        targets=[target("sg"), target("eu")],
        mode="conditional",
        conditions=[
            Condition({"metadata.plan": {"$eq": "paid"}}, "eu"),
            Condition({"params.size": {"$gt": 5}}, "eu"),
        ],
        default="sg",
    )

    assert ["eu"] == world(policy).play(call(metadata={"plan": "paid"}), CONNECT).targets
    assert ["eu"] == world(policy).play(call(), body={"size": 6}).targets
    assert ["sg"] == world(policy).play(call(), CONNECT).targets


def test_a_body_is_parsed_once_for_all_conditions(world, target, call):
    """And not at all where they ask for something else: it may have megabytes."""
    policy = Policy(
        targets=[target("sg"), target("eu")],
        mode="conditional",
        conditions=[
            Condition({"metadata.plan": "paid"}, "eu"),
            Condition({"params.size": {"$gt": 5, "$lt": 9}}, "eu"),
            Condition({"params.quality": "high"}, "eu"),
        ],
        default="sg",
    )
    parsed = []

    def body():
        parsed.append("parsed")
        return {"size": 1, "quality": "low"}

    assert ["eu"] == world(policy).play(call(metadata={"plan": "paid"}), body=body).targets
    assert [] == parsed
    assert ["sg"] == world(policy).play(call(), body=body).targets
    assert ["parsed"] == parsed


def test_a_group_moves_by_its_own_statuses_and_the_outer_by_its_own(world, target, call):
    inner = Group([target("a"), target("b")], on_status_codes={429})
    policy = Policy(targets=[inner, target("eu")], on_status_codes={503}, retry=ONCE)

    assert ["a", "eu"] == world(policy).play(call(), Reply(503)).targets
    assert ["a", "b"] == world(policy).play(
        call(),
        Reply(429),
    ).targets
    assert ["a"] == world(policy).play(call(), Reply(500)).targets
    assert ["a", "b", "eu"] == world(policy).play(call(), CONNECT, CONNECT).targets


def test_listed_statuses_do_not_send_an_image_twice(world, target, call):
    policy = Policy(targets=[target("sg"), target("eu")], on_status_codes={500})

    assert ["sg"] == world(policy).play(call("images"), Reply(500)).targets


def test_a_target_may_list_the_statuses_that_are_retried(world, target, call):
    policy = Policy(targets=[target("sg", retry=Retry(per_target=1, on_status_codes={418}))])

    assert ["sg", "sg"] == world(policy).play(call(), Reply(418)).targets
    assert ["sg"] == world(policy).play(call(), Reply(503)).targets


def test_a_single_group_asks_its_first_alone(world, two, call):
    assert ["sg"] == world(two(mode="single")).play(call(), CONNECT).targets


# What an SDK sends again.


def test_a_resend_goes_on_with_the_attempts_and_the_deadline_of_its_call(world, two, call):
    prior = Prior(attempts=5, deadline_at=1_004.0, failure=CONNECT, blocked=False)

    trip = world(two(deadline=Deadline(total=60))).play(call(), CONNECT, prior=prior)

    assert [4.0] == [send.timeout_seconds for send in trip.sends]
    assert (6, 1_004.0) == (trip.delivered.attempts, trip.delivered.deadline_at)


@pytest.mark.parametrize(
    ("prior", "raised"),
    [
        (Prior(1, None, TIMEOUT, blocked=True), TIMEOUT),
        (Prior(6, None, CONNECT, blocked=False), CONNECT),
        (Prior(1, 999.0, CONNECT, blocked=False), Failure("deadline", reached=False)),
    ],
    ids=["may have run", "no attempts left", "no time left"],
)
def test_a_resend_that_may_not_be_sent_is_raised_again(world, two, call, prior, raised):
    trip = world(two()).play(call(), prior=prior)

    assert [] == trip.steps
    assert raised == trip.delivered.failure
    assert prior.blocked == trip.delivered.spared


def test_a_kept_reply_is_set_aside_before_the_wait(world, two, call):
    trip = world(two()).play(call(), Reply(503))

    assert isinstance(trip.steps[1], Keep)
    assert ["Send", "Keep", "Wait", "Send", "Peek"] == trip.step_names


@pytest.mark.parametrize(
    ("authorization", "stays"),
    [
        ("AWS4-HMAC-SHA256 Credential=a", True),
        ("HMAC-SHA256 Credential=a", True),
        ('Signature keyId="a"', True),
        ("Bearer ark-7hmacAws4", False),
        ("bearer signature-of-nothing", False),
    ],
)
def test_a_call_is_signed_by_its_scheme_and_not_by_letters_of_a_key(authorization, stays):
    assert ("signed" if stays else None) == why_it_stays({"authorization": authorization})
