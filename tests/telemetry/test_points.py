"""Which series an exchange moves, and by how much."""

from __future__ import annotations

import pytest

from byteplus_trace._facts import Images, Skip, Usage
from byteplus_trace._instruments import FALLBACKS, INSTRUMENTS
from byteplus_trace._telemetry.bounds import Bound
from byteplus_trace._telemetry.points import points
from byteplus_trace._telemetry.zero_series import starts

MODEL, REGION = "seed-2-0-lite-260228", "ap-southeast-1"


def moved(exchange, *names):
    """Points without the common beginning of their names, of the series asked for."""
    told = [(row.name.removeprefix("modelark_"), *labels, amount) for row, labels, amount in points(exchange)]
    return [point for point in told if not names or point[0] in names]


def test_a_plain_chat_moves_six_series(exchange):
    call = exchange(seconds=0.7, usage=Usage(input_tokens=7, output_tokens=2))

    assert moved(call) == [
        ("operations_total", "chat", "chat_completions", MODEL, REGION, "ok", "", 1),
        ("operation_duration_seconds", "chat", MODEL, REGION, "false", "ok", 0.7),
        ("tokens_total", "chat", MODEL, REGION, "input", 7),
        ("tokens_total", "chat", MODEL, REGION, "output", 2),
        ("attempts_total", "chat", REGION, REGION, "ok", "none", 1),
        ("attempt_duration_seconds", "chat", REGION, REGION, "ok", 1.0),
    ]


def test_a_stream_tells_its_first_chunk_and_its_mean_gap(exchange):
    call = exchange(stream=True, first_chunk_seconds=0.5, last_chunk_seconds=2.5, chunks=5)

    assert moved(call, "time_to_first_chunk_seconds", "time_per_output_chunk_seconds") == [
        ("time_to_first_chunk_seconds", "chat", MODEL, REGION, 0.5),
        ("time_per_output_chunk_seconds", "chat", MODEL, REGION, 0.5),
    ]


def test_a_single_chunk_has_no_gap(exchange):
    call = exchange(stream=True, first_chunk_seconds=0.5, last_chunk_seconds=0.5, chunks=1)

    assert moved(call, "time_per_output_chunk_seconds") == []


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        ("ok", "ok"),
        ("rescued_retry", "ok"),
        ("rescued_fallback", "ok"),
        ("error", "error"),
        ("deadline", "error"),
        ("cancelled", "cancelled"),
        ("abandoned", "cancelled"),
    ],
)
def test_every_outcome_has_its_result(exchange, outcome, result):
    assert moved(exchange(outcome=outcome), "operation_duration_seconds")[0][-2] == result


def test_tokens_are_counted_by_type_and_only_where_known(exchange):
    usage = Usage(
        input_tokens=100, output_tokens=0, cache_read_tokens=80, reasoning_tokens=None, image_input_tokens=60
    )

    assert [point[-2:] for point in moved(exchange(usage=usage), "tokens_total")] == [
        ("input", 100),
        ("cache_read", 80),
        ("image_input", 60),
    ]


def test_a_fetched_response_counts_no_tokens_again(exchange):
    call = exchange("fetch_response", usage=Usage(input_tokens=7, output_tokens=2))

    assert moved(call, "tokens_total") == []


def test_the_area_of_an_image_is_no_token(exchange):
    call = exchange(
        "generate_content", images=Images(generated=3, failed=1, output_tokens=16_384), cost_usd="0.09"
    )

    assert moved(call, "tokens_total", "images_total", "cost_usd_total") == [
        ("images_total", MODEL, REGION, "generated", 3),
        ("images_total", MODEL, REGION, "failed", 1),
        ("cost_usd_total", "generate_content", MODEL, REGION, 0.09),
    ]


def test_a_call_without_attempts_counts_at_the_region_addressed(exchange):
    """As when every target was passed over, or the caller left before the first send."""
    call = exchange(attempts=(), outcome="cancelled", model=None)

    assert moved(call) == [
        ("operations_total", "chat", "chat_completions", "", REGION, "cancelled", "", 1),
        ("operation_duration_seconds", "chat", "", REGION, "false", "cancelled", 1.0),
    ]


def test_a_rescue_tells_where_from_where_to_and_why(exchange, attempt):
    call = exchange(
        outcome="rescued_fallback",
        attempts=[
            attempt("sg", result="error", reason="rate_limit", status=429),
            attempt("sg", cause="retry", result="error", reason="overloaded", status=429),
            attempt("eu", region="eu-west-1", cause="fallback"),
        ],
        skipped=[Skip("eu-mini", "breaker_open")],
    )

    assert moved(call, "retries_total", "fallbacks_total", "targets_skipped_total") == [
        ("retries_total", "chat", "sg", "rate_limit", 1),
        ("fallbacks_total", "chat", "sg", "eu", "overloaded", "ok", 1),
        ("targets_skipped_total", "eu-mini", "breaker_open", 1),
    ]
    assert [point[1:] for point in moved(call, "attempts_total")] == [
        ("chat", "sg", REGION, "error", "rate_limit", 1),
        ("chat", "sg", REGION, "error", "overloaded", 1),
        ("chat", "eu", "eu-west-1", "ok", "none", 1),
    ]


def test_a_probe_that_another_target_failed_into_is_a_fallback(exchange, attempt):
    call = exchange(
        outcome="error",
        attempts=[
            attempt("sg", result="error", reason="connect", status=None),
            attempt("eu", cause="probe", result="error", reason="timeout", status=None),
        ],
    )

    assert moved(call, "fallbacks_total") == [("fallbacks_total", "chat", "sg", "eu", "connect", "error", 1)]


@pytest.mark.parametrize(("chunks", "phase"), [(0, "before_output"), (4, "after_output")])
def test_a_broken_stream_tells_whether_output_had_begun(exchange, attempt, chunks, phase):
    cut = attempt("sg", result="error", reason="cut")
    call = exchange(stream=True, outcome="error", attempts=[cut], chunks=chunks)

    assert moved(call, "stream_breaks_total") == [("stream_breaks_total", "chat", "sg", phase, "cut", 1)]


def test_a_stream_given_up_for_another_target_broke_before_output(exchange, attempt):
    call = exchange(
        stream=True,
        outcome="rescued_fallback",
        attempts=[attempt("sg", result="error", reason="overloaded"), attempt("eu", cause="fallback")],
        chunks=9,
    )

    assert moved(call, "stream_breaks_total") == [
        ("stream_breaks_total", "chat", "sg", "before_output", "overloaded", 1)
    ]


@pytest.mark.parametrize("status", [None, 429, 500])
def test_a_stream_that_never_began_did_not_break(exchange, attempt, status):
    refused = attempt("sg", result="error", reason="timeout", status=status)

    assert moved(exchange(stream=True, outcome="error", attempts=[refused]), "stream_breaks_total") == []


def test_a_document_that_fails_is_no_broken_stream(exchange, attempt):
    empty = attempt("sg", result="error", reason="empty")

    assert moved(exchange(outcome="error", attempts=[empty]), "stream_breaks_total") == []


def test_the_services_own_fallback_and_a_possible_duplicate_are_counted(exchange):
    call = exchange(server_fallback="seed-2-0-pro", duplicate="replayed")

    assert moved(call, "server_fallbacks_total", "possible_duplicates_total") == [
        ("server_fallbacks_total", "chat", MODEL, 1),
        ("possible_duplicates_total", "chat", REGION, "replayed", 1),
    ]


def test_every_point_has_as_many_values_as_its_series_has_labels(exchange, attempt):
    call = exchange(
        stream=True,
        outcome="error",
        attempts=[
            attempt("sg", result="error", reason="cut"),
            attempt("eu", cause="fallback", result="error"),
        ],
        usage=Usage(1, 1),
        images=Images(1, 1),
        first_chunk_seconds=0.1,
        last_chunk_seconds=0.2,
        chunks=2,
        server_fallback="m",
        duplicate="raised",
        task_ended="failed",
        skipped=[Skip("x", "zone")],
        cost_usd="1",
    )
    told = points(call)

    assert all(len(labels) == len(row.labels) for row, labels, _ in told)
    assert {row.name for row, _, _ in told} == {row.name for row in INSTRUMENTS} - {
        "modelark_retries_total",  # this call had none
        "modelark_operations_in_flight",
        "modelark_breaker_state",
        "modelark_telemetry_errors_total",
        "modelark_build_info",
        "modelark_start_time_seconds",
    }


def test_every_series_with_a_target_has_a_start():
    targets = [("sg", "ap-southeast-1"), ("eu", "eu-west-1")]
    started = list(starts(targets, routed=True))

    assert {row.name for row, _ in started} == {
        row.name for row in INSTRUMENTS if {"target", "from_target"} & set(row.labels)
    }
    assert all(len(labels) == len(row.labels) for row, labels in started)
    assert len(started) == len(set(started))


def test_what_needs_a_policy_does_not_start_without_one():
    started = {row.name for row, _ in starts([("eu-west-1", "eu-west-1")], routed=False)}

    assert started == {
        "modelark_attempts_total",
        "modelark_attempt_duration_seconds",
        "modelark_stream_breaks_total",
        "modelark_possible_duplicates_total",
    }


def test_the_moves_that_start_grow_with_the_targets_and_not_with_their_square():
    def moves(count):
        targets = [(f"t{n}", "eu-west-1") for n in range(count)]
        return {labels[1:3] for row, labels in starts(targets, routed=True) if row is FALLBACKS}

    assert len(moves(4)) == 12
    assert len(moves(12)) == 11


def test_a_label_takes_so_many_values_and_then_other():
    bound = Bound(2)

    assert [bound(value) for value in ("a", "b", "c", "a", "", "other")] == [
        "a",
        "b",
        "other",
        "a",
        "",
        "other",
    ]


def test_a_value_that_cannot_be_encoded_is_admitted_without_what_spoils_it():
    assert Bound(2)("caf\udce9") == "caf?"
